"""Forecast and what came stand beside each other, each in its own place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from dino_foresight_ros.render import Look, Moment, StepView
from dino_foresight_ros.render.comparison import PairGrid, comparison_block
from dino_foresight_ros.render.views import SceneMaps

MakeLook = Callable[..., Look]
MakeMoment = Callable[..., Moment]
ROAD, CAR, SKY = 0, 1, 2
ROWS = ("camera", "segmentation", "depth", "normals")


def flat(segmentation: int, depth: float, normal: tuple[float, float, float]) -> dict:
    """Maps of one value each."""
    return {
        "segmentation": np.full((9, 16), segmentation, np.uint8),
        "depth": np.full((9, 16), depth, np.float32),
        "normals": np.full((9, 16, 3), normal, np.float32),
    }


def gray(value: int) -> np.ndarray:
    return np.full((90, 160, 3), value, np.uint8)


@pytest.fixture
def moment() -> Moment:
    """Now is road, the forecast car, what came sky."""
    view = StepView(
        1,
        0.25,
        250_000_000,
        arrived=gray(200),
        oracle=SceneMaps(**flat(SKY, 90.0, (0, 0, -1))),
        **flat(CAR, 9.0, (0, -1, 0)),
    )
    now = SceneMaps(**flat(ROAD, 3.0, (-1, 0, 0)))
    return Moment(gray(50), 0, (view,), 12.0, now)


class Drawn:
    """A block that knows the middle of each of its tiles."""

    def __init__(self, moment: Moment, look: Look, steps: tuple[int, ...] = (1,)) -> None:
        self.grid = PairGrid.fitting(900, len(steps), 16 / 9)
        self.block = comparison_block(moment, look, self.grid, steps)

    def at(self, row: str, place: int, came: bool = False) -> tuple[int, ...]:
        height, width = self.grid.tile_size
        y = self.grid.top(ROWS.index(row)) + height // 3
        return tuple(self.block[y, self.grid.left(place, came) + width // 3].tolist())


def test_each_map_stands_in_its_own_place(moment: Moment, make_look: MakeLook) -> None:
    look = make_look(alpha=1.0)
    drawn = Drawn(moment, look)
    assert look.palette is not None
    assert look.scale is not None
    places = [(0, False), (1, False), (1, True)]
    seen = [drawn.at("segmentation", *place) for place in places]
    assert seen == [look.palette.colors[i] for i in (ROAD, CAR, SKY)]
    depths = [drawn.at("depth", *place) for place in places]
    expected = look.scale.colorize(np.array([[3.0, 9.0, 90.0]], np.float32))[0].tolist()
    assert depths == [tuple(color) for color in expected]
    # Red grows to the right, green upwards, blue towards the camera; -1 is 0, 0 the middle.
    normals = [drawn.at("normals", *place) for place in places]
    assert normals == [(0, 128, 128), (128, 255, 128), (128, 128, 255)]
    assert drawn.at("camera", 0) == (50, 50, 50)
    assert drawn.at("camera", 1, came=True) == (200, 200, 200)


def test_truth_goes_before_what_the_heads_say_but_only_where_it_is_known(
    moment: Moment, make_look: MakeLook
) -> None:
    look = make_look(alpha=1.0)
    truth = SceneMaps(segmentation=np.full((90, 160), ROAD, np.uint8))
    known = replace(moment, steps=(replace(moment.steps[0], truth=truth),))
    plain, better = Drawn(moment, look), Drawn(known, look)
    assert look.palette is not None
    assert better.at("segmentation", 1, came=True) == look.palette.colors[ROAD]
    assert better.at("depth", 1, came=True) == plain.at("depth", 1, came=True)


def test_classes_lie_over_the_frame_that_came_or_over_now_where_none_did(
    moment: Moment, make_look: MakeLook
) -> None:
    look = make_look(alpha=0.0)
    lost = replace(moment, steps=(replace(moment.steps[0], arrived=None, oracle=None),))
    assert Drawn(moment, look).at("segmentation", 1) == (200, 200, 200)
    assert Drawn(lost, look).at("segmentation", 1) == (50, 50, 50)
    # Nothing is shown as having come.
    assert Drawn(lost, look).at("camera", 1, came=True) == Drawn(lost, look).at(
        "depth", 1, came=True
    )


def test_a_moment_that_was_not_judged_is_drawn_without_what_came(
    moment: Moment, make_look: MakeLook
) -> None:
    bare = replace(moment, now=None, steps=(replace(moment.steps[0], oracle=None),))
    drawn, full = Drawn(bare, make_look()), Drawn(moment, make_look())
    assert drawn.at("camera", 1, came=True) == (200, 200, 200)
    assert drawn.at("segmentation", 1) == full.at("segmentation", 1)
    assert drawn.at("depth", 1, came=True) == drawn.at("normals", 1, came=True)


@pytest.mark.parametrize("steps", [1, 2, 3, 9])
@pytest.mark.parametrize("width", [600, 1200, 1920])
def test_tiles_lie_within_the_block_and_none_on_another(steps: int, width: int) -> None:
    grid = PairGrid.fitting(width, steps, 16 / 9)
    lefts = [grid.left(0)]
    lefts += [grid.left(k, came) for k in range(1, steps + 1) for came in (False, True)]
    assert all(b - a >= grid.tile_width for a, b in pairwise(lefts))
    assert lefts[0] > 0
    assert lefts[-1] + grid.tile_width <= width
    assert grid.top(3) + grid.tile_height == grid.height(4)
