"""Motion from poses and twists against numeric integration of a path that is known at any time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from integrated_twist import integrated
from numpy.typing import NDArray

from dino_foresight_ros.planar_motion import compose, of_twist
from dino_foresight_ros.recordings.motion import MotionTrack, planar_pose, relative_motion

NS = 1_000_000_000


def twist(t_s: Any) -> NDArray[np.float64]:
    """A drive: it speeds up, weaves, and slips a little to the side."""
    return np.array([6 + 2 * np.sin(0.7 * t_s), 0.1 * np.cos(t_s), 0.5 * np.sin(0.9 * t_s + 0.3)])


def driven_between(from_s: float, to_s: float, steps: int = 1000) -> NDArray[np.float64]:
    """The motion between two instants."""
    return integrated(twist, from_s, to_s, steps)


def driven(rate_hz: float = 20.0, seconds: float = 4.0) -> tuple[NDArray[np.int64], NDArray]:
    """Stamps and exact poses, in a world whose origin lies elsewhere."""
    stamps = (np.arange(0, seconds, 1 / rate_hz) * NS).astype(np.int64)
    place, poses = np.array([400.0, -90.0, 2.0]), []
    for number, stamp in enumerate(stamps):
        if number:
            place = compose(place, driven_between(stamps[number - 1] / NS, stamp / NS, 50))
        poses.append(planar_pose(place))
    return stamps, np.stack(poses)


STAMPS, POSES = driven()
BETWEEN = [(0.5, 1.5), (0.52, 1.033), (1.0, 0.4), (3.0, 3.01), (0.0, 3.9)]


@pytest.mark.parametrize(("from_s", "to_s"), BETWEEN)
def test_poses_and_twists_give_the_motion_between_any_two_instants(from_s: float, to_s: float):
    expected = driven_between(from_s, to_s)
    of_poses = MotionTrack.from_poses(STAMPS, POSES)
    dense = np.arange(0, 4 * NS, NS // 50)
    of_twists = MotionTrack.from_twists(dense, [twist(t / NS) for t in dense])
    for track, tolerance in ((of_poses, 2e-3), (of_twists, 1e-2)):
        found = track.between(round(from_s * NS), round(to_s * NS))
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_axes_are_those_of_the_base_at_the_first_instant():
    left_turn = np.stack([planar_pose(of_twist([5.0, 0, 0.4], t)) for t in (0.0, 0.5, 1.0)])
    dx, dy, dyaw = relative_motion(left_turn, 1, 2)
    assert dx == pytest.approx(2.483, abs=1e-3)
    assert dy == pytest.approx(0.249, abs=1e-3)  # to the left
    assert dyaw == pytest.approx(0.2)


def test_order_and_repeated_stamps_do_not_matter():
    order = np.random.default_rng(0).permutation(len(STAMPS))
    stamps, poses = np.append(STAMPS[order], STAMPS[3]), np.append(POSES[order], POSES[3:4], axis=0)
    track = MotionTrack.from_poses(stamps, poses)
    assert (np.diff(track.stamps_ns) > 0).all()
    np.testing.assert_allclose(track.between(0, 2 * NS), driven_between(0, 2), atol=2e-3)


@pytest.mark.parametrize("jump", [(1.5, 0.0, 0.0), (0.0, -0.8, 0.0), (0.0, 0.0, 0.5)])
def test_across_a_jump_of_the_localisation_nothing_is_known(jump: tuple[float, float, float]):
    poses = POSES.copy()
    poses[40:] = planar_pose(jump) @ poses[40:] if jump[2] == 0 else poses[40:] @ planar_pose(jump)
    track = MotionTrack.from_poses(STAMPS, poses)
    assert track.segments.tolist() == [0] * 40 + [1] * 40
    assert np.isnan(track.between(1 * NS, 3 * NS)).all()
    assert np.isnan(track.between(STAMPS[39] + 1 * NS // 40, 3 * NS)).all()  # in the jump
    for from_s, to_s in ((0.5, 1.8), (2.2, 3.0)):
        found = track.between(round(from_s * NS), round(to_s * NS))
        if jump[2] == 0:
            np.testing.assert_allclose(found, driven_between(from_s, to_s), atol=2e-3)
        assert np.isfinite(found).all()
    ego = track.ego(STAMPS[::10])
    assert np.isnan(ego.between(0, 6)).all()
    assert np.isfinite(ego.between(0, 3)).all()
    assert np.isfinite(ego.at(np.arange(5, 8)).between(0, 2)).all()


def test_hard_braking_and_standing_still_are_no_jump():
    speed = np.maximum(15 - 9 * np.maximum(np.arange(0, 4, 0.1) - 1, 0), 0)
    place = np.append(0, np.cumsum((speed[1:] + speed[:-1]) / 2 * 0.1))
    poses = planar_pose(np.stack([place, 0 * place, 0 * place], axis=1))
    track = MotionTrack.from_poses((np.arange(0, 4, 0.1) * NS).astype(np.int64), poses)
    assert not track.segments.any()


def test_gaps_ends_and_nan_are_unknown():
    poses = POSES.copy()
    poses[30] = np.nan
    keep = np.r_[0:20, 30:80]  # nothing from 1.0 to 1.5 s, and then a NaN
    track = MotionTrack.from_poses(STAMPS[keep], poses[keep])
    assert np.isfinite(track.between(0, NS * 95 // 100)).all()
    for from_s, to_s in ((0.5, 1.2), (0.5, 2.0), (3.0, 4.2), (-1.0, 1.0)):
        assert np.isnan(track.between(round(from_s * NS), round(to_s * NS))).all()
    assert np.isnan(MotionTrack.from_poses([], np.empty((0, 4, 4))).between(0, 1)).all()


def test_frames_get_poses_and_speed():
    track = MotionTrack.from_poses(STAMPS, POSES)
    frames = STAMPS[4:-4:2] + 7_000_000
    ego = track.ego(frames)
    assert ego.world_from_ego.shape == (len(frames), 4, 4)
    speed = [twist(stamp / NS)[0] for stamp in frames]
    np.testing.assert_allclose(ego.speed_mps[1:-1], speed[1:-1], atol=0.05)
    np.testing.assert_allclose(
        ego.between(2, 9), driven_between(frames[2] / NS, frames[9] / NS), atol=2e-3
    )
