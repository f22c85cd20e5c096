"""Occupancy grids against floors and boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from box_world import Box, optical_pose, see

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.obstacles import (
    GridSpec,
    GroundView,
    ObstacleOptions,
    ObstaclePoints,
    obstacle_points,
    smeared,
)
from dino_foresight_ros.recordings.camera_view import CameraView

SPEC = GridSpec(0.1, ahead_m=15.0, behind_m=5.0, aside_m=10.0)


def at(*places: tuple[float, float, float]) -> ObstaclePoints:
    """Points of x, y and probability."""
    values = np.array(places, np.float32).reshape(-1, 3)
    xyz = np.column_stack([values[:, :2], np.full(len(values), 0.5, np.float32)])
    return ObstaclePoints(xyz, np.zeros(len(values), np.uint8), values[:, 2])


def test_points_fall_into_the_cells_that_hold_them() -> None:
    cells = SPEC.occupancy(at((2.05, 3.05, 0.4), (2.06, 3.01, 0.9), (99.0, 0.0, 1.0)))
    assert cells.shape == (200, 200)
    assert cells[130, 70] == 90
    assert (cells != -1).sum() == 1


def test_a_smeared_grid_has_what_is_anywhere_at_any_time() -> None:
    steps = [SPEC.occupancy(at((x, 0.05, 0.8))) for x in (2.05, 3.05, 4.05)]
    swept = smeared(steps)
    assert [int(swept[100, column]) for column in (70, 80, 90)] == [80, 80, 80]
    assert swept[100, 75] == -1


def test_seen_ground_is_free_and_what_is_behind_an_obstacle_unknown() -> None:
    size = (88, 160)
    camera = CameraView.pinhole(np.array([[80.0, 0, 79.5], [0, 80.0, 43.5], [0, 0, 1]]), size)
    pose, rays = optical_pose(pitch_deg=10.0), camera.pixel_rays(size)
    scene = see(rays, pose, [Box((6.0, -1.0, 0.0), (6.5, 1.0, 2.5))])
    points = obstacle_points(scene, rays, pose, ObstacleOptions(ground_ids=(0,), sky_ids=(9,)))
    cells = SPEC.occupancy(points, [GroundView(camera, pose, scene.depth)])

    def cell(x: float, y: float) -> int:
        return int(cells[int((y + 10) * 10 + 0.5), int((x + 5) * 10 + 0.5)])

    assert cell(4.0, 0.0) == 0
    assert cell(10.0, 6.0) == 0
    assert max(int(cells[100 + k, 110]) for k in range(-3, 4)) == 100
    assert cell(9.0, 0.0) == -1
    assert cell(-3.0, 0.0) == -1


@pytest.mark.parametrize("base", [(0.0, 0.0, 0.0), (103.27, -48.61, 0.7), (-7.04, 3.33, -2.9)])
def test_a_grid_of_another_frame_has_the_same_at_the_same_places(
    base: tuple[float, float, float],
) -> None:
    size = (88, 160)
    camera = CameraView.pinhole(np.array([[80.0, 0, 79.5], [0, 80.0, 43.5], [0, 0, 1]]), size)
    pose, rays = optical_pose(pitch_deg=10.0), camera.pixel_rays(size)
    scene = see(rays, pose, [Box((6.0, -1.0, 0.0), (6.5, 1.0, 2.5))])
    points = obstacle_points(scene, rays, pose, ObstacleOptions(ground_ids=(0,), sky_ids=(9,)))
    spec = replace(SPEC, base=base)
    cells = spec.occupancy(points, [GroundView(camera, pose, scene.depth)])
    assert cells.shape == (300, 300)
    corner = np.array(spec.origin)
    assert corner / 0.1 == pytest.approx(np.round(corner / 0.1), abs=1e-6)
    assert np.abs(corner + 15.0 - base[:2]).max() < 0.101

    def around(x: float, y: float) -> np.ndarray:
        """Cells about a place of the base frame."""
        c, s = np.cos(base[2]), np.sin(base[2])
        column, row = ((base[0] + c * x - s * y, base[1] + s * x + c * y) - corner) / 0.1
        return cells[int(row) - 2 : int(row) + 3, int(column) - 2 : int(column) + 3]

    assert (around(4.0, 0.0) == 0).all()
    assert (around(10.0, 6.0) == 0).all()
    assert around(6.0, 0.0).max() == 100
    assert (around(9.0, 0.0) == -1).all()
    assert (around(-3.0, 0.0) == -1).all()
    assert 20 <= (cells == 100).sum() <= 100  # the front of 2 m, and a part of the top


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.001, 15.0, 5.0, 10.0), "20000x20000 cells; at most 4000 a side"),
        ((0.0, 15.0, 5.0, 10.0), "above 0"),
        ((0.1, -5.0, 5.0, 10.0), "above 0"),
    ],
)
def test_grids_that_cannot_be_are_refused(values: tuple[float, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        GridSpec(*values)
