from __future__ import annotations

import numpy as np
import pytest

from dino_foresight_ros.classes import WORLD_CLASSES
from dino_foresight_ros.render import ClassPalette, DepthScale
from dino_foresight_ros.render.colors import UNLABELLED_COLOR
from dino_foresight_ros.render.panels import legend_entries, legend_panel, scale_panel
from dino_foresight_ros.render.text import text_size

WORLD = ClassPalette(
    tuple(info.name for info in WORLD_CLASSES), tuple(info.color for info in WORLD_CLASSES)
)


def has_patch_of(panel: np.ndarray, color: tuple[int, int, int]) -> bool:
    return int((panel == color).all(-1).sum()) >= 64


def test_legend_shows_the_present_classes_and_no_other() -> None:
    present = {0, 9, 12}
    panel = legend_panel(legend_entries(WORLD, present), 200, 360)
    for index, color in enumerate(WORLD.colors):
        assert has_patch_of(panel, color) == (index in present)


def test_whole_legend_shows_every_class() -> None:
    panel = legend_panel(legend_entries(WORLD), 200, 360)
    assert all(has_patch_of(panel, color) for color in WORLD.colors)


def test_pixels_without_a_class_are_explained_once() -> None:
    entries = legend_entries(WORLD, {0, 200, 255})
    assert [name for name, _ in entries] == ["road", "unlabelled"]
    assert entries[-1][1] == UNLABELLED_COLOR
    assert "unlabelled" not in [name for name, _ in legend_entries(WORLD)]


@pytest.mark.parametrize("size", [(200, 360), (168, 299), (90, 160), (400, 150)])
def test_names_do_not_run_into_the_next_column(size: tuple[int, int]) -> None:
    # Where the columns are too narrow, names are shortened: the gap before a square stays free.
    entries = legend_entries(WORLD)
    panel = legend_panel(entries, *size)
    assert panel.shape == (*size, 3)
    squares = (panel == WORLD.colors[-1]).all(-1)
    if squares.any():
        left = int(np.nonzero(squares)[1].min())
        gap = panel[:, left - 2 : left]
        assert (gap == panel[0, 0]).all()


def test_classes_that_do_not_fit_are_counted() -> None:
    names = tuple(f"class number {i}" for i in range(150))
    colors = tuple((i + 50, 255 - i, 40) for i in range(150))
    palette = ClassPalette(names, colors)
    packing = np.uint32([1, 256, 65536])

    def shown_of(count: int) -> int:
        """How many classes a legend of `count` classes shows."""
        pixels = legend_panel(legend_entries(palette, range(count)), 120, 200) @ packing
        values, areas = np.unique(pixels, return_counts=True)
        large = {int(value) for value, area in zip(values, areas, strict=True) if area >= 64}
        return len(large & {int(np.uint32(color) @ packing) for color in colors})

    shown = [shown_of(count) for count in (*range(60), 150)]
    # All of them up to as many as fit; beyond that, one place goes to the count of the others.
    most = max(shown)
    assert 3 < most < 60
    assert shown[: most + 1] == list(range(most + 1))
    assert shown[-1] == most - 1


def test_empty_legend_is_an_empty_panel() -> None:
    assert len(np.unique(legend_panel((), 50, 80).reshape(-1, 3), axis=0)) == 1


@pytest.mark.parametrize("scale", [DepthScale(2.0, 100.0), DepthScale.fixed(is_metric=False)])
@pytest.mark.parametrize("size", [(209, 370), (168, 299), (80, 140)])
def test_scale_panel_holds_the_bar(scale: DepthScale, size: tuple[int, int]) -> None:
    panel = scale_panel(scale, *size)
    ends = scale.bar(1, 2)[0]
    columns = [np.nonzero((panel == end).all(-1))[1] for end in ends]
    assert columns[0].max() < size[1] * 0.2
    assert columns[1].min() > size[1] * 0.8


def test_text_of_the_legend_is_as_large_as_fits() -> None:
    few, many = (legend_panel(legend_entries(WORLD, range(n)), 200, 360) for n in (3, 14))
    heights = [int((p == WORLD.colors[0]).all(-1).any(1).sum()) for p in (few, many)]
    assert heights[0] >= heights[1] >= 9
    assert heights[0] >= 15
    assert text_size("road", heights[0])[0] > 0
