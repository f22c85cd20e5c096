"""Planar motion against homogeneous matrices and step-by-step integration."""

from __future__ import annotations

import numpy as np
import pytest
from box_world import optical_pose
from numpy.typing import NDArray
from scipy.linalg import expm

from dino_foresight_ros.planar_motion import (
    compose,
    inverse,
    motion_at,
    motion_between,
    moved_until,
    of_twist,
    seen_by,
    twist_of,
)

MOTIONS = np.random.default_rng(0).uniform(-3.0, 3.0, (40, 2, 3))


def matrix(motion: object) -> NDArray[np.float64]:
    """A motion as a 4x4 pose."""
    x, y, yaw = np.asarray(motion, np.float64)
    turn = expm(yaw * np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 0]]))
    pose = np.eye(4)
    pose[:3, :3], pose[:2, 3] = turn, (x, y)
    return pose


@pytest.mark.parametrize(("first", "then"), MOTIONS)
def test_motions_multiply_as_matrices_do(first, then):
    a, b = matrix(first), matrix(then)
    np.testing.assert_allclose(matrix(compose(first, then)), a @ b, atol=1e-9)
    np.testing.assert_allclose(matrix(inverse(first)), np.linalg.inv(a), atol=1e-9)
    np.testing.assert_allclose(matrix(motion_between(a, b)), np.linalg.inv(a) @ b, atol=1e-9)


@pytest.mark.parametrize("twist", [*MOTIONS[:, 0], [2.0, 0.1, 0.0], [2.0, 0.1, 1e-8]])
@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_a_held_twist_is_the_exponential_of_its_matrix(twist, seconds):
    vx, vy, w = twist
    generator = np.zeros((4, 4))
    generator[:2, :2], generator[:2, 3] = [[0, -w], [w, 0]], (vx, vy)
    found = of_twist(twist, seconds)
    np.testing.assert_allclose(matrix(found), expm(generator * seconds), atol=1e-7)
    np.testing.assert_allclose(of_twist(twist_of(found)), found, atol=1e-6)


@pytest.mark.parametrize("roll", [0.0, 0.2])
@pytest.mark.parametrize(("yaw_deg", "pitch_deg"), [(0, 0), (90, 10), (180, 0), (-110, -30)])
def test_a_camera_sees_the_motion_of_a_base_that_looks_where_it_does(yaw_deg, pitch_deg, roll):
    pose = optical_pose(0.4, -0.2, 1.4, yaw_deg=yaw_deg, pitch_deg=pitch_deg)
    pose = pose @ expm(roll * np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0] * 4, [0] * 4]))
    turn = matrix((0.0, 0.0, np.radians(yaw_deg)))
    for first, then in MOTIONS:
        between = motion_between(matrix(first), matrix(then))
        expected = motion_between(matrix(first) @ turn, matrix(then) @ turn)
        np.testing.assert_allclose(seen_by(between, pose), expected, atol=1e-9)


def test_a_camera_astern_is_told_of_going_backwards_and_one_that_looks_down_of_nothing_else():
    ahead = np.array([1.0, 0.0, 0.1])
    np.testing.assert_allclose(
        seen_by(ahead, optical_pose(yaw_deg=180)), [-1.0, 0.0, 0.1], atol=1e-9
    )
    np.testing.assert_allclose(
        seen_by(ahead, optical_pose(yaw_deg=90)), [0.0, -1.0, 0.1], atol=1e-9
    )
    np.testing.assert_array_equal(seen_by(ahead, optical_pose(yaw_deg=90, pitch_deg=85)), ahead)
    np.testing.assert_array_equal(seen_by(ahead, None), ahead)


def test_forward_and_left_turn_are_positive():
    np.testing.assert_allclose(
        of_twist([2.0, 0, 0.5], 1.0)[1:], [1 / 0.5 * 2 * (1 - np.cos(0.5)), 0.5]
    )
    assert (of_twist([2.0, 0, 0.5]) > 0).all()


def test_between_known_instants_the_twist_is_held():
    twist = np.array([3.0, 0.2, -0.4])
    known = of_twist(np.tile(twist, (3, 1)), [0.2, 0.5, 1.0])
    for at_s in (0.05, 0.2, 0.37, 0.9, 1.0):
        np.testing.assert_allclose(motion_at(known, [0.2, 0.5, 1.0], at_s), of_twist(twist, at_s))


def test_motions_of_steps_add_up_from_the_first_on():
    steps = np.random.default_rng(0).normal(size=(2, 4, 3))
    steps[1, 2, 0] = np.nan
    found = moved_until(steps)
    until = np.eye(4)
    for number in range(4):
        until = until @ matrix(steps[0, number])
        np.testing.assert_allclose(matrix(found[0, number]), until, atol=1e-12)
    assert np.isnan(found[1]).any(axis=-1).tolist() == [False, False, True, True]


def test_what_is_made_of_an_unknown_motion_is_unknown():
    unknown = [1.0, np.nan, 0.1]
    for found in (compose(unknown, [1, 0, 0]), inverse(unknown), of_twist(unknown)):
        assert np.isnan(found).any()


@pytest.mark.parametrize("lean", [0.0, 0.05])
def test_poses_of_many_instants_are_compared_at_once(lean: float):
    a = np.stack([matrix([i, 0, 0.1 * i]) for i in range(4)])
    b = np.stack([matrix([i, 0, 0.1 * i]) @ matrix([1.0, 0.5, 0.2]) for i in range(4)])
    b[:, :3, :3] = b[:, :3, :3] @ expm(lean * np.array([[0.0, 0, 1], [0, 0, 0], [-1, 0, 0]]))
    found = motion_between(a, b)
    np.testing.assert_allclose(found, np.tile([1.0, 0.5, 0.2], (4, 1)), atol=1e-9)
