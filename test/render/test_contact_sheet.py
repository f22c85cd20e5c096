"""Sheets and mosaics: forecast and what came stand beside each other, each in its own place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from dino_foresight_ros.render import Mosaic, Style, columns_of, contact_sheet, style
from dino_foresight_ros.render.contact_sheet import comparison_block
from dino_foresight_ros.render.text import untrained_banner, with_untrained_banner
from dino_foresight_ros.render.tile_grid import Grid
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene

MakeStyle = Callable[..., Style]
MakeForecast = Callable[..., ComparedForecast]
ROAD, CAR, SKY = 0, 1, 2
ROWS = ("camera", "segmentation", "depth", "normals")


def flat(segmentation: int, depth: float, normal: tuple[float, float, float]) -> dict[str, Any]:
    """Maps of one value each."""
    return {
        "segmentation": np.full((9, 16), segmentation, np.uint8),
        "depth": np.full((9, 16), depth, np.float32),
        "normals": np.full((9, 16, 3), normal, np.float32),
    }


def gray(value: int) -> np.ndarray:
    return np.full((90, 160, 3), value, np.uint8)


@pytest.fixture
def forecast() -> ComparedForecast:
    """Now is road, the forecast car, what came sky."""
    step = ComparedStep(
        Scene(250_000_000, step=1, horizon_s=0.25, **flat(CAR, 9.0, (0, -1, 0))),
        Scene(250_000_000, image=gray(200), **flat(SKY, 90.0, (0, 0, -1))),
    )
    now = Scene(0, image=gray(50), **flat(ROAD, 3.0, (-1, 0, 0)))
    return ComparedForecast(now, (step,), 12.0)


class Drawn:
    """A block that knows the middle of each of its tiles."""

    def __init__(
        self, forecast: ComparedForecast, style: Style, steps: tuple[int, ...] = (1,)
    ) -> None:
        self.grid = Grid.pairs(900, len(steps), 16 / 9)
        self.block = comparison_block(forecast, style, self.grid, steps)

    def at(self, row: str, place: int, came: bool = False) -> tuple[int, ...]:
        height, width = self.grid.tile_size
        column = 2 * place if came or not place else 2 * place - 1
        x, y = self.grid.corner(ROWS.index(row), column)
        return tuple(self.block[y + height // 3, x + width // 3].tolist())


def test_each_map_stands_in_its_own_place(
    forecast: ComparedForecast, make_style: MakeStyle
) -> None:
    style = make_style(alpha=1.0)
    drawn = Drawn(forecast, style)
    assert style.palette is not None
    assert style.depth_scale is not None
    places = [(0, False), (1, False), (1, True)]
    seen = [drawn.at("segmentation", *place) for place in places]
    assert seen == [style.palette.colors[i] for i in (ROAD, CAR, SKY)]
    depths = [drawn.at("depth", *place) for place in places]
    expected = style.depth_scale.colorize(np.array([[3.0, 9.0, 90.0]], np.float32))[0].tolist()
    assert depths == [tuple(color) for color in expected]
    # Red grows to the right, green upwards, blue towards the camera; -1 is 0, 0 the middle.
    normals = [drawn.at("normals", *place) for place in places]
    assert normals == [(0, 128, 128), (128, 255, 128), (128, 128, 255)]
    assert drawn.at("camera", 0) == (50, 50, 50)
    assert drawn.at("camera", 1, came=True) == (200, 200, 200)


def test_truth_goes_before_what_the_heads_say_but_only_where_it_is_known(
    forecast: ComparedForecast, make_style: MakeStyle
) -> None:
    style = make_style(alpha=1.0)
    truth = Scene(250_000_000, segmentation=np.full((90, 160), ROAD, np.uint8))
    known = replace(forecast, steps=(replace(forecast.steps[0], truth=truth),))
    plain, better = Drawn(forecast, style), Drawn(known, style)
    assert style.palette is not None
    assert better.at("segmentation", 1, came=True) == style.palette.colors[ROAD]
    assert better.at("depth", 1, came=True) == plain.at("depth", 1, came=True)


def test_classes_lie_over_the_frame_that_came_or_over_now_where_none_did(
    forecast: ComparedForecast, make_style: MakeStyle
) -> None:
    style = make_style(alpha=0.0)
    lost = replace(forecast, steps=(replace(forecast.steps[0], arrived=None),))
    assert Drawn(forecast, style).at("segmentation", 1) == (200, 200, 200)
    assert Drawn(lost, style).at("segmentation", 1) == (50, 50, 50)
    # Nothing is shown as having come.
    assert Drawn(lost, style).at("camera", 1, came=True) == Drawn(lost, style).at(
        "depth", 1, came=True
    )


def test_frames_that_no_model_looked_at_are_drawn_alone(
    forecast: ComparedForecast, make_style: MakeStyle
) -> None:
    came = Scene(250_000_000, image=gray(200))
    step = replace(forecast.steps[0], arrived=came)
    bare = replace(forecast, newest=Scene(0, image=gray(50)), steps=(step,))
    drawn, full = Drawn(bare, make_style()), Drawn(forecast, make_style())
    assert drawn.at("camera", 1, came=True) == (200, 200, 200)
    assert drawn.at("segmentation", 1) == full.at("segmentation", 1)
    assert drawn.at("depth", 1, came=True) == drawn.at("normals", 1, came=True)


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
@pytest.mark.parametrize("width", [600, 1200, 1920])
def test_tiles_lie_within_the_block_and_none_on_another(steps: int, width: int) -> None:
    grid = Grid.pairs(width, steps, 16 / 9)
    lefts = grid.lefts
    assert len(lefts) == 1 + 2 * steps
    assert all(b - a >= grid.tile_width for a, b in pairwise(lefts))
    assert lefts[0] > 0
    assert lefts[-1] + grid.tile_width <= width
    assert grid.corner(3, 0)[1] + grid.tile_height == grid.height(4)


def count_of(picture: np.ndarray, color: tuple[int, int, int]) -> int:
    return int((picture == color).all(-1).sum())


def contains(picture: np.ndarray, tile: np.ndarray) -> bool:
    """Whether a tile occurs anywhere, unchanged."""
    height, width = tile.shape[:2]
    corner = (picture == tile[0, 0]).all(-1)
    return any(
        np.array_equal(picture[y : y + height, x : x + width], tile)
        for y, x in zip(*np.nonzero(corner), strict=True)
    )


@pytest.mark.parametrize("width", [800, 1600])
def test_sheet_is_as_wide_as_asked(
    make_forecast: MakeForecast, make_style: MakeStyle, width: int
) -> None:
    sheet = contact_sheet([make_forecast()], make_style(), "title", ["one", "two"], width)
    assert sheet.dtype == np.uint8
    assert sheet.shape[1:] == (width, 3)


@pytest.mark.slow
def test_each_forecast_adds_the_same_height(
    make_forecast: MakeForecast, make_style: MakeStyle
) -> None:
    forecasts = [make_forecast(seed=i) for i in range(4)]
    heights = [len(contact_sheet(forecasts[:n], make_style(), "title")) for n in range(1, 5)]
    assert len(set(np.diff(heights))) == 1
    # Camera, segmentation, depth and normals: four rows of seven tiles.
    assert heights[1] - heights[0] > 4 * 130


def test_frames_that_came_are_shown_and_missing_ones_are_not(
    make_forecast: MakeForecast, make_style: MakeStyle
) -> None:
    forecast = make_forecast(arrived=2)
    mosaic = Mosaic(make_style(), [1, 2, 3], 16 / 9, width=700)
    # At the size of a tile, pictures are shown unchanged (but for the tag at the bottom).
    height, width = mosaic.grid.tile_size
    forecast = make_forecast(arrived=2, size=(height, width))
    frame = mosaic.draw(forecast)
    assert forecast.newest.image is not None
    assert contains(frame, forecast.newest.image)
    for step in forecast.steps[:2]:
        assert step.arrived is not None
        assert step.arrived.image is not None
        assert contains(frame, step.arrived.image[: height // 2])
    left, _ = mosaic.grid.corner(0, 3)
    assert not contains(frame[:, left:], forecast.newest.image[: height // 2])


def test_untrained_weights_are_announced_on_the_sheet_and_on_each_forecast(
    make_forecast: MakeForecast, make_style: MakeStyle
) -> None:
    forecast = make_forecast()
    trained = contact_sheet([forecast], make_style(), "title")
    untrained = contact_sheet([forecast], make_style(trained=False), "title")
    assert count_of(trained, style.WARNING) == 0
    banner = untrained_banner(1920, round(1920 * 0.024))
    assert contains(untrained, banner)
    # Nine forecasts carry the tag: no row of the banner reaches below the header.
    below = untrained[len(untrained) // 3 :]
    amber = (np.abs(below.astype(int) - style.WARNING) < 60).all(-1)
    assert amber.sum() > 9 * 20


@pytest.mark.parametrize("width", [120, 640, 1600])
def test_banner_replaces_the_top_of_any_picture(width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (width // 2, width, 3), np.uint8)
    marked = with_untrained_banner(image)
    assert marked.shape == image.shape
    changed = (marked != image).any(-1)
    assert changed[:10].mean() > 0.95
    assert not changed[len(changed) // 2 :].any()
    # The words are there: something dark on the bright band.
    band = marked[: max(16, width // 24)]
    assert (band.astype(int).sum(-1) < 250).sum() > 20
    # And whole: bright at both ends.
    assert (band[:, :2] == style.WARNING).all()
    assert (band[:, -2:] == style.WARNING).all()


@pytest.mark.parametrize(
    ("changes", "rows"),
    [({"palette": None}, 3), ({"depth_scale": None}, 3), ({"has_normals": False}, 3), ({}, 4)],
)
def test_a_model_without_a_head_has_no_row_for_it(
    make_forecast: MakeForecast, make_style: MakeStyle, changes: dict[str, object], rows: int
) -> None:
    mosaic = Mosaic(make_style(**changes), [1, 2, 3], 16 / 9)
    assert mosaic.draw(make_forecast()).shape == (*mosaic.size, 3)
    tile = mosaic.grid.tile_height
    assert rows * tile < mosaic.size[0] < (rows + 0.5) * tile


@pytest.mark.parametrize("steps", [1, 2, 4, 9])
@pytest.mark.parametrize("size", [(90, 160), (160, 90), (100, 100)])
def test_any_number_of_steps_and_any_shape_of_camera_can_be_drawn(
    make_forecast: MakeForecast, make_style: MakeStyle, steps: int, size: tuple[int, int]
) -> None:
    forecast = make_forecast(steps=steps, arrived=steps, size=size)
    assert contact_sheet([forecast], make_style(), "title").shape[1] == 1920
    mosaic = Mosaic(make_style(), columns_of([forecast]), size[1] / size[0])
    frame = mosaic.draw(forecast)
    assert frame.shape == (*mosaic.size, 3)
    assert all(side % 2 == 0 for side in mosaic.size)


def test_a_step_that_one_forecast_lacks_leaves_its_place_empty(
    make_forecast: MakeForecast, make_style: MakeStyle
) -> None:
    mosaic = Mosaic(make_style(), [1, 2, 3], 16 / 9)
    assert mosaic.draw(make_forecast(steps=1)).shape == mosaic.draw(make_forecast(steps=3)).shape


def test_segmentation_lies_over_the_frame_that_came(
    make_forecast: MakeForecast, make_style: MakeStyle
) -> None:
    forecast = make_forecast()
    with_frames = Mosaic(make_style(alpha=1.0), [1, 2, 3], 16 / 9).draw(forecast)
    palette = make_style().palette
    assert palette is not None
    for color in palette.colors:
        assert count_of(with_frames, color) > 500


def test_many_steps_are_thinned_to_a_few_columns(make_forecast: MakeForecast) -> None:
    assert columns_of([make_forecast(steps=9)]) == [1, 4, 6, 9]
    assert columns_of([make_forecast(steps=3)]) == [1, 2, 3]


def test_sheet_without_forecasts_is_refused(make_style: MakeStyle) -> None:
    with pytest.raises(ValueError, match="at least one forecast"):
        contact_sheet([], make_style(), "title")


def test_long_titles_and_facts_are_cut_at_the_margin(
    make_forecast: MakeForecast, make_style: MakeStyle
) -> None:
    sheet = contact_sheet([make_forecast()], make_style(), "long " * 200, ["fact " * 400], 1600)
    assert (sheet[:120, -20:] == style.BACKGROUND).all()
