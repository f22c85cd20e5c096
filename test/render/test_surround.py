from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dino_foresight_ros.render import Style
from dino_foresight_ros.render.surround import SurroundMosaic, arrange
from dino_foresight_ros.scene import ComparedForecast

NUSCENES = [
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_RIGHT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_FRONT_LEFT",
]


def test_cameras_of_nuscenes_stand_as_around_the_car() -> None:
    assert arrange([name.lower() for name in NUSCENES]) == [
        ["cam_front_left", "cam_front", "cam_front_right"],
        ["cam_back_left", "cam_back", "cam_back_right"],
    ]


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["left", "right"], [["left", "right"]]),
        (["rear_camera", "front_camera"], [["front_camera"], ["rear_camera"]]),
        (
            ["front", "left", "right", "rear"],
            [[None, "front", None], ["left", None, "right"], [None, "rear", None]],
        ),
        # Names that say nothing of the place, or the same place twice.
        (["cam0", "cam1", "cam2"], [["cam0", "cam1"], ["cam2", None]]),
        (["front", "camera_front"], [["front", "camera_front"]]),
        (["camera"], [["camera"]]),
        (["front_wide", "front"], [["front_wide", "front"]]),
    ],
)
def test_other_names_are_placed_by_what_they_say_or_in_a_grid(
    names: list[str], rows: list[list[str | None]]
) -> None:
    assert arrange(names) == rows


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 12])
def test_every_camera_has_one_place(count: int) -> None:
    names = [f"cam{i}" for i in range(count)]
    placed = [name for row in arrange(names) for name in row if name is not None]
    assert placed == names


@pytest.mark.slow
def test_each_camera_is_drawn_in_its_own_cell(
    make_style: Callable[..., Style], make_forecast: Callable[..., ComparedForecast]
) -> None:
    names = [name.lower() for name in NUSCENES]
    mosaic = SurroundMosaic(make_style(), names, 3, 16 / 9)
    forecasts = {name: make_forecast(seed=i, size=mosaic.tile_size) for i, name in enumerate(names)}
    picture = mosaic.draw(forecasts)
    assert picture.shape == (*mosaic.size, 3)
    assert all(side % 2 == 0 for side in mosaic.size)
    # The keys to the colours lie beneath both rows.
    half, third = round(picture.shape[0] * 0.42), picture.shape[1] // 3
    for row, line in enumerate(arrange(names)):
        for column, name in enumerate(line):
            assert name is not None
            # The upper part: the lower carries a tag.
            seen = forecasts[name].newest.image
            assert seen is not None
            image = seen[: mosaic.tile_size[0] // 2]
            y, x = place_of(image, picture)
            middle = x + mosaic.tile_size[1] // 2
            assert (y // half, middle // third) == (row, column)


@pytest.mark.slow
def test_a_camera_without_a_forecast_leaves_its_cell_empty(
    make_style: Callable[..., Style], make_forecast: Callable[..., ComparedForecast]
) -> None:
    mosaic = SurroundMosaic(make_style(), ["left", "right"], 3, 16 / 9)
    whole = mosaic.draw({"left": make_forecast(), "right": make_forecast(seed=1)})
    alone = mosaic.draw({"left": make_forecast()})
    half = whole.shape[1] // 2
    assert len(np.unique(whole[:300, half:].reshape(-1, 3), axis=0)) > 10_000
    assert np.array_equal(whole[:, :half], alone[:, :half])
    assert len(np.unique(alone[:300, half:].reshape(-1, 3), axis=0)) < 1000


def place_of(tile: np.ndarray, picture: np.ndarray) -> tuple[int, int]:
    """(y, x) of where a tile occurs, unchanged."""
    corner = (picture == tile[0, 0]).all(-1)
    for y, x in zip(*np.nonzero(corner), strict=True):
        if np.array_equal(picture[y : y + tile.shape[0], x : x + tile.shape[1]], tile):
            return int(y), int(x)
    raise AssertionError("the tile is nowhere")
