from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_foresight_ros.render import theme
from dino_foresight_ros.render.chart import Chart, Line, draw_chart, nice_top

RED, BLUE = (220, 60, 60), (60, 60, 220)


def rows_of(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return np.nonzero((picture == color).all(-1))[0]


def columns_of(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return np.nonzero((picture == color).all(-1))[1]


def chart(*lines: Line, span: tuple[float, float] | None = None) -> Chart:
    return Chart("error", "lower is better", ("200 ms", "400 ms", "600 ms"), lines, span)


def drawn(*lines: Line, span: tuple[float, float] | None = None) -> np.ndarray:
    """The plot itself, without the legend above it."""
    return draw_chart(chart(*lines, span=span), 400, 700)[80:]


@given(st.floats(1e-6, 1e6))
def test_axis_ends_at_or_above_the_largest_value_and_not_far_above(value: float) -> None:
    end, parts = nice_top(value)
    assert value <= end * 1.001
    assert end <= 2.1 * value
    assert 3 <= parts <= 5


def test_larger_values_lie_higher_and_the_smallest_is_not_at_the_bottom() -> None:
    picture = drawn(Line("a", (1.0, 1.0, 1.0), RED), Line("b", (2.0, 2.0, 2.0), BLUE))
    low, high = rows_of(picture, RED).mean(), rows_of(picture, BLUE).mean()
    assert high < low
    # The axis begins at 0: half as large is half as high.
    bottom = 400 - 80 - round(1.2 * 17) - round(1.6 * 17)
    assert (bottom - low) / (bottom - high) == pytest.approx(0.5, abs=0.02)


def test_a_span_of_its_own_spreads_what_lies_close_together() -> None:
    lines = Line("a", (80.0, 80.0, 80.0), RED), Line("b", (90.0, 90.0, 90.0), BLUE)
    wide = drawn(*lines, span=(0.0, 100.0))
    close = drawn(*lines, span=(70.0, 100.0))
    gaps = [rows_of(p, RED).mean() - rows_of(p, BLUE).mean() for p in (wide, close)]
    assert gaps[1] == pytest.approx(gaps[0] * 100 / 30, rel=0.05)


def test_a_missing_value_leaves_a_gap() -> None:
    whole = columns_of(drawn(Line("a", (1.0, 1.0, 1.0), RED)), RED)
    gap = columns_of(drawn(Line("a", (1.0, None, 1.0), RED)), RED)
    assert 350 in whole
    assert 350 not in gap
    assert gap.min() == whole.min()
    assert gap.max() == whole.max()


def test_the_first_line_lies_on_top() -> None:
    picture = drawn(Line("a", (1.0, 2.0, 3.0), RED), Line("b", (1.0, 2.0, 3.0), BLUE))
    assert len(rows_of(picture, RED)) > 200
    assert len(rows_of(picture, BLUE)) == 0


def test_without_any_value_it_says_so() -> None:
    empty = draw_chart(chart(Line("a", (None, None, None), RED)), 400, 700)
    middle = empty[180:220, 200:500]
    assert (middle != theme.PANEL).any(-1).sum() > 100
