"""Forecast and what came stand beside each other, each in its own place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from dino_foresight_ros.render import Style
from dino_foresight_ros.render.contact_sheet import comparison_block
from dino_foresight_ros.render.grid import Grid
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene

MakeStyle = Callable[..., Style]
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
    bare = replace(forecast, seen=Scene(0, image=gray(50)), steps=(step,))
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
