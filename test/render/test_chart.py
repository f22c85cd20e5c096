from __future__ import annotations

from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import pytest

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.render import style
from dino_foresight_ros.render.chart import chart_file, say_empty


def read(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture[..., ::-1]


def warning_rows(picture: np.ndarray) -> int:
    return int((picture == np.array(style.WARNING)).all(-1).any(1).sum())


@pytest.mark.parametrize("trained", [True, False])
def test_a_chart_is_as_large_as_asked_for_and_warns_of_untrained_weights(
    tmp_path: Path, trained: bool
) -> None:
    path = tmp_path / "chart.png"
    with chart_file(path, "title", ["fact"], trained=trained, width=900, height=300) as figure:
        figure.subplots().plot([1, 2], [3, 4])
    picture = read(path)
    assert picture.shape[1] == 900
    assert picture.shape[0] > 300
    assert (warning_rows(picture) > 30) is not trained
    assert (picture[2, 2] == style.BACKGROUND).all()


def test_what_is_drawn_lies_below_the_title_and_above_the_note(tmp_path: Path) -> None:
    with chart_file(tmp_path / "c.png", "title", ["a", "b"], "note", False) as figure:
        axes = figure.subplots()
        say_empty(axes)
        axes.set_title("of the axes")
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        box = axes.get_tightbbox(renderer)
        texts = [text.get_window_extent(renderer) for text in figure.texts]
        assert box is not None
        assert not any(box.overlaps(text) for text in texts)
        assert not any(a.overlaps(b) for a in texts for b in texts if a is not b)
        assert all(text.x0 >= 0 and text.x1 <= figure.bbox.x1 for text in texts)


def test_settings_of_other_charts_are_left_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    with chart_file(tmp_path / "c.png", "title") as figure:
        figure.subplots()
    assert dict(mpl.rcParams) == before


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ForesightError, match=r"cannot write .*nowhere/c\.png: No such file"),
        chart_file(tmp_path / "nowhere" / "c.png", "title") as figure,
    ):
        figure.subplots()
