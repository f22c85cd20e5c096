"""Motions of candidates against numeric integration, and paths against what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.runtime.candidate import (
    alike,
    check_turn,
    outside_range,
    path_motions,
    path_times,
    progress,
    trajectory_times,
    twist_motions,
)

HORIZONS_S = (0.2, 0.7, 1.5)


def integrated(twist: tuple[float, float, float], seconds: float) -> list[float]:
    """By small steps of the body's own velocity."""
    x = y = yaw = 0.0
    steps = 20_000
    for _ in range(steps):
        middle = yaw + twist[2] * seconds / steps / 2
        x += (twist[0] * math.cos(middle) - twist[1] * math.sin(middle)) * seconds / steps
        y += (twist[0] * math.sin(middle) + twist[1] * math.cos(middle)) * seconds / steps
        yaw += twist[2] * seconds / steps
    return [x, y, math.remainder(yaw, 2 * math.pi)]


@pytest.mark.parametrize(
    "twist", [(8.0, 0.0, 0.5), (-1.0, 0.3, -2.5), (3.0, 0.0, 0.0), (0.0, 0.0, 1.0)]
)
def test_constant_twist_is_integrated_exactly_and_the_robot_stands_afterwards(
    twist: tuple[float, float, float],
):
    motions = twist_motions(twist, 1.0, HORIZONS_S)
    for motion, horizon_s in zip(motions, HORIZONS_S, strict=True):
        assert motion == pytest.approx(integrated(twist, min(horizon_s, 1.0)), abs=1e-4)


def test_path_that_samples_an_arc_is_that_arc_between_its_poses_too():
    twist, times = (6.0, 0.0, 0.8), [0.5, 1.0, 2.0]
    poses = twist_motions(twist, 10.0, times)
    motions = path_motions(poses, times, HORIZONS_S, (0.0, 0.0, 0.0))
    np.testing.assert_allclose(motions, twist_motions(twist, 10.0, HORIZONS_S), atol=1e-9)


def test_path_in_another_frame_is_seen_from_where_the_base_is_there():
    start = (100.0, -50.0, math.radians(90))  # looks along y
    poses = [(100.0, -50.0, math.radians(90)), (99.0, -48.0, math.radians(135))]
    motions = path_motions(poses, [0.0, 0.2], HORIZONS_S, start)
    # 2 m ahead, 1 m to the left, 45 degrees to the left; there it stands.
    np.testing.assert_allclose(motions, [[2.0, 1.0, math.radians(45)]] * 3, atol=1e-9)


def test_poses_of_the_past_are_passed_over_and_of_equal_stamps_the_last_counts():
    poses = [(-5.0, 0.0, 0.0), (-1.0, 3.0, 0.0), (1.0, 0.0, 0.0), (2.0, 0.0, 0.0)]
    motions = path_motions(poses, [-1.0, 0.0, 1.0, 1.0], (0.5, 1.0), (0.0, 0.0, 0.0))
    np.testing.assert_allclose(motions, [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]], atol=1e-9)


@pytest.mark.parametrize(
    ("poses", "times", "said"),
    [
        ([(1.0, 0.0, 0.0)], [1.0], "1 pose; give two or more"),
        ([(1.0, 0.0, 0.0), (2.0, 0.0, 0.0)], [1.0, 0.5], "go backwards at pose 1"),
        ([(1.0, 0.0, 0.0), (math.nan, 0.0, 0.0)], [1.0, 2.0], "not a finite number"),
        ([(1.0, 0.0, 0.0), (2.0, 0.0, 0.0)], [-2.0, -1.0], "ended before the newest frame"),
    ],
)
def test_path_that_cannot_be_followed_is_refused(
    poses: list[tuple[float, float, float]], times: list[float], said: str
):
    with pytest.raises(InputError, match=said):
        path_motions(poses, times, HORIZONS_S, (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("twist", "duration_s", "said"),
    [((math.inf, 0, 0), 1.0, "finite"), ((1, 0, 0), 0.0, "above 0"), ((1, 0, 0), -1.0, "above 0")],
)
def test_twist_that_cannot_be_held_is_refused(
    twist: tuple[float, float, float], duration_s: float, said: str
):
    with pytest.raises(InputError, match=said):
        twist_motions(twist, duration_s, HORIZONS_S)


def test_path_without_times_is_driven_at_a_speed():
    times = path_times([(3.0, 4.0, 0.0), (3.0, 4.0, 1.0), (3.0, 6.0, 1.0)], 2.0, (0.0, 0.0, 0.0))
    assert times == pytest.approx([2.5, 2.5, 3.5], abs=1e-5)


def test_progress_is_the_length_of_the_way_and_falls_when_reversing():
    assert progress(twist_motions((5.0, 0.0, 1.5), 9.0, (0.5, 1.0, 2.0))) == pytest.approx(10.0)
    assert progress(twist_motions((-1.0, 0.0, 0.2), 9.0, (0.5, 1.0, 2.0))) == pytest.approx(-2.0)


def test_motion_faster_than_the_training_is_marked_where_it_is():
    motions = twist_motions((10.0, 0.0, 0.3), 0.5, (0.5, 1.0))[None]
    assert outside_range(motions, (0.5, 1.0), (12.0, 1.0, 0.5)).tolist() == [[False, False]]
    assert outside_range(motions, (0.5, 1.0), (8.0, 1.0, 0.5)).tolist() == [[True, False]]
    assert outside_range(motions, (0.5, 1.0), (12.0, 1.0, 0.2)).tolist() == [[True, False]]


@pytest.mark.parametrize("rounds", [-2, 1, 3])
def test_whole_turns_are_not_taken_for_slow_ones(rounds: int):
    times_s, twist = trajectory_times([1.0]), (0.5, 0.0, 2 * math.pi * rounds)
    motions = twist_motions(twist, 9.0, times_s)
    assert motions[-1] == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)  # round and round
    assert outside_range(motions, times_s, (5.0, 1.0, 0.7))[-1]
    assert progress(motions) == pytest.approx(0.5)


def test_ways_are_told_of_every_tenth_of_a_second_and_at_every_horizon():
    times_s = trajectory_times([0.25, 1.0, 10.0])
    assert {0.25, 1.0, 10.0} <= set(times_s)
    steps = np.diff(times_s, prepend=0.0)
    assert steps.min() > 0
    assert steps[:11].max() <= 0.1 + 1e-9
    assert len(times_s) <= 3 + 8 + 64


def test_turn_that_no_instants_can_tell_is_refused():
    check_turn(31.0, trajectory_times([1.0]))
    with pytest.raises(InputError, match=r"62.8319 rad/s, half a turn .* within 0.1 s; .* 31.4"):
        check_turn(20 * math.pi, trajectory_times([1.0]))


@pytest.mark.parametrize("within", [(0.5, 0.07), (2.0, 0.5), (0.0, 0.1)])
def test_motions_are_alike_to_an_earlier_one_that_is_near(within: tuple[float, float]):
    random = np.random.default_rng(0)
    motions = random.uniform((0, -2, -1), (5, 2, 1), (80, 3))
    motions[40:50] = motions[:10]
    motions[50] = motions[3] + [0, 0, 2 * math.pi]
    found = alike(motions, *within)
    heads = np.unique(found)
    assert (found[heads] == heads).all()
    assert (found <= np.arange(80)).all()
    assert (found[40:50] == found[:10]).all()

    def apart(one: np.ndarray, other: np.ndarray) -> float:
        turn = abs(math.remainder(one[2] - other[2], 2 * math.pi))
        if not within[0]:
            return 0.0 if (one == other).all() else 2.0
        return math.dist(one[:2], other[:2]) / within[0] + turn / within[1]

    for index, head in enumerate(found):
        assert apart(motions[index], motions[head]) < 1
        # Each head was alike to none before it.
    for k, head in enumerate(heads):
        assert all(apart(motions[head], motions[other]) >= 1 for other in heads[:k])
    if within[0]:
        assert found[50] == found[3]
