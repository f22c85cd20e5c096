"""Points in cells and which of them are hidden, against plain loops and scenes that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dino_foresight_ros.recordings.lidar_projection import (
    NEARER,
    hidden_cells,
    nearest_in_cells,
    reach_cells,
)


def test_the_nearest_point_of_each_cell_is_kept() -> None:
    random = np.random.default_rng(0)
    places = random.uniform(-0.2, 1.2, (3000, 2))
    depth = random.uniform(0.5, 100, 3000)
    places[::50] = np.nan
    found = nearest_in_cells(places, depth, (6, 10), 1.0, 80.0)
    want = np.full((6, 10), np.inf)
    for (x, y), z in zip(places, depth, strict=True):
        if 0 <= x < 1 and 0 <= y < 1 and 1 <= z <= 80:
            row, column = math.floor(y * 6), math.floor(x * 10)
            want[row, column] = min(want[row, column], z)
    np.testing.assert_allclose(found, want, rtol=1e-6)
    assert np.isnan(nearest_in_cells(places[:0], depth[:0], (2, 2), 1, 80)).all()


def brute_force(metres: np.ndarray, down: int, across: int) -> np.ndarray:
    """Every point against every strip, cell by cell."""
    height, width = metres.shape
    hidden = np.zeros(metres.shape, bool)

    def nearer(rows: range, columns: range, z: float) -> bool:
        return any(
            metres[r, c] < NEARER * z
            for r in rows for c in columns
            if 0 <= r < height and 0 <= c < width
        )  # fmt: skip

    for r in range(height):
        for c in range(width):
            z, side, flat = metres[r, c], max(down // 6, 1), across // 6
            columns, rows = range(c - side, c + side + 1), range(r - flat, r + flat + 1)
            above = nearer(range(r - down, r), columns, z)
            below = nearer(range(r + 1, r + down + 1), columns, z)
            left = nearer(rows, range(c - across, c), z)
            right = nearer(rows, range(c + 1, c + across + 1), z)
            hidden[r, c] = (above and below) or (left and right)
    return hidden


@pytest.mark.parametrize("reach", [(1, 1), (3, 5), (7, 2), (6, 13)])
def test_hidden_points_are_those_of_a_loop_over_all_pairs(reach: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    metres = random.uniform(5, 60, (20, 24)).astype(np.float32)
    metres[random.uniform(size=metres.shape) < 0.7] = np.nan
    found = hidden_cells(metres, reach)
    np.testing.assert_array_equal(found, brute_force(metres, *reach))
    assert 0 < found.sum() < np.isfinite(metres).sum()


def test_a_wall_between_the_beams_on_a_car_is_hidden_and_beside_it_is_not() -> None:
    metres = np.full((40, 60), np.nan, np.float32)
    metres[::4, ::2] = 40.0  # beams on a wall
    metres[12:30, 20:40] = np.nan
    metres[12:30:4, 20:40:2] = 10.0  # beams on a car
    metres[14:28:4, 21:39:2] = 40.0  # the wall, that the lidar sees past the car
    hidden = hidden_cells(metres, (5, 5))
    inside = np.zeros_like(hidden)
    inside[14:28, 21:39] = True
    np.testing.assert_array_equal(hidden, inside & (metres == 40))


def test_no_point_of_an_open_road_is_hidden() -> None:
    rows = np.arange(100)[:, None].repeat(40, axis=1)
    horizon, focal, height_m = 30, 100.0, 1.5
    with np.errstate(divide="ignore"):
        metres = np.where(rows > horizon, focal * height_m / (rows - horizon), np.nan)
    assert not hidden_cells(metres.astype(np.float32), (5, 5)).any()


def test_reach_is_the_angle_in_cells() -> None:
    # 45 degrees span one focal length: half the width, or the whole height.
    assert reach_cells(44.999, (0.5, 1.0), (48, 80)) == (48, 40)
    assert reach_cells(0.001, (0.5, 1.0), (48, 80)) == (1, 1)
