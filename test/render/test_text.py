from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_foresight_ros.render.text import (
    draw_tag,
    draw_text,
    fitting_size,
    shortened,
    text_size,
)

SIZES = (9, 14, 24, 60)


def blank(height: int = 100, width: int = 400) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("anchor", ["lt", "mm", "rb", "ls"])
def test_letters_stay_inside_the_box_that_is_returned(size: int, anchor: str) -> None:
    image = blank(300, 1200)
    left, top, right, bottom = draw_text(image, (600, 150), "Wg|(y) 0.20 s", size, anchor=anchor)
    rows, columns = np.nonzero(image.any(-1))
    assert left <= columns.min()
    assert columns.max() < right
    assert top <= rows.min()
    assert rows.max() < bottom
    # And fill most of it.
    assert columns.max() - columns.min() > 0.9 * (right - left - size / 4)


@pytest.mark.parametrize("size", SIZES)
def test_anchor_names_the_point_that_lies_at_the_position(size: int) -> None:
    left, top, right, bottom = (
        draw_text(blank(), (150, 50), "now", size, anchor=anchor)[side]
        for side, anchor in enumerate(("lt", "lt", "rb", "rb"))
    )
    assert (left, top, right, bottom) == (150, 50, 150, 50)
    middle = draw_text(blank(), (150, 50), "now", size, anchor="mm")
    assert abs((middle[0] + middle[2]) / 2 - 150) <= 1
    assert abs((middle[1] + middle[3]) / 2 - 50) <= 1
    # Letters without descenders stand on the baseline.
    image = blank()
    draw_text(image, (150, 50), "HE", size, anchor="ls")
    assert abs(int(np.nonzero(image.any(-1))[0].max()) - 49) <= 1


@pytest.mark.parametrize("size", SIZES)
def test_edges_are_smooth(size: int) -> None:
    image = blank()
    draw_text(image, (5, 5), "ROS", size, (255, 255, 255))
    levels = np.unique(image)
    assert len(levels) > 8
    assert levels.max() > 220


def test_text_has_its_color_whatever_lies_beneath() -> None:
    for beneath in (0, 128, 255):
        image = np.full((60, 200, 3), beneath, np.uint8)
        draw_text(image, (5, 5), "MMMM", 40, (255, 0, 0), bold=True)
        assert (image == [255, 0, 0]).all(-1).sum() > 200


def test_bold_has_more_ink() -> None:
    plain, bold = blank(), blank()
    draw_text(plain, (5, 5), "forecast", 24)
    draw_text(bold, (5, 5), "forecast", 24, bold=True)
    assert bold.sum() > 1.1 * plain.sum()


@given(x=st.integers(-300, 500), y=st.integers(-200, 200), size=st.integers(6, 80))
def test_text_is_cut_off_at_the_edges(x: int, y: int, size: int) -> None:
    image = blank(40, 60)
    whole = blank(800, 1600)
    draw_text(whole, (x + 600, y + 300), "edge", size)
    draw_text(image, (x, y), "edge", size)
    assert np.array_equal(image, whole[300:340, 600:660])


@pytest.mark.parametrize("anchor", ["lt", "rb", "mm"])
def test_tag_darkens_its_box_and_nothing_else(anchor: str) -> None:
    image = np.full((100, 300, 3), 200, np.uint8)
    draw_tag(image, (150, 50), "untrained", 16, anchor=anchor)
    changed = (image != 200).any(-1)
    rows, columns = np.nonzero(changed)
    box = changed[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert box.mean() > 0.95
    assert text_size("untrained", 16)[0] < box.shape[1] < 2 * text_size("untrained", 16)[0]


def test_characters_outside_of_ascii_are_drawn() -> None:
    one, other = blank(), blank()
    draw_text(one, (0, 0), "20 °C", 30)
    draw_text(other, (0, 0), "20 C", 30)
    assert not np.array_equal(one, other)


@given(text=st.text("abcdefgh _", min_size=1, max_size=60), width=st.integers(20, 400))
def test_shortened_text_fits(text: str, width: int) -> None:
    result = shortened(text, width, 12)
    assert text_size(result, 12)[0] <= max(width, text_size("...", 12)[0])
    if text_size(text, 12)[0] <= width:
        assert result == text


def test_fitting_size_is_the_largest_that_fits() -> None:
    size = fitting_size("UNTRAINED", 200, 100)
    assert text_size("UNTRAINED", size)[0] <= 200 < text_size("UNTRAINED", size + 1)[0]
