"""Charts in the look of the other pictures, drawn by matplotlib."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.render import style
from dino_foresight_ros.render.colors import Color

DPI = 100
COLORS = {
    "forecast": "#ff8b3d",
    "copy_last": "#9aa4b2",
    "oracle": "#5cb878",
    "linear": "#5b9bd5",
    "mlp": "#edc949",
}
"""Colour of each predictor, in every chart."""

_MARGIN_IN = 0.25
_TITLE_PT, _FACT_PT, _BANNER_PT = 17, 10.5, 15


def hex_color(color: Color) -> str:
    """Such as "#ff8b3d"."""
    return "#" + "".join(f"{value:02x}" for value in color)


_TEXT, _DIM, _PANEL = map(hex_color, (style.TEXT, style.DIM, style.PANEL))
_STYLE: dict[Any, Any] = {
    "figure.facecolor": hex_color(style.BACKGROUND),
    "savefig.facecolor": hex_color(style.BACKGROUND),
    "axes.facecolor": _PANEL,
    "axes.edgecolor": _DIM,
    "axes.labelcolor": _DIM,
    "axes.titlecolor": _TEXT,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "figure.constrained_layout.h_pad": 0.14,
    "figure.constrained_layout.w_pad": 0.1,
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#454b57",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "legend.fontsize": 9,
    "legend.labelcolor": _TEXT,
    "lines.markersize": 5,
    "lines.linewidth": 2,
    "text.color": _TEXT,
    "xtick.color": _DIM,
    "ytick.color": _DIM,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
}


@contextmanager
def chart_file(
    path: Path,
    title: str,
    facts: Sequence[str] = (),
    note: str = "",
    trained: bool = True,
    width: int = 1600,
    height: int = 400,
) -> Iterator[Figure]:
    """A figure to draw into, which is written when the block ends without an error.

    Args:
        path: PNG file to write.
        title: large, at the top.
        facts: lines in small letters beneath it.
        note: in small letters at the bottom.
        trained: False puts a warning across the picture.
        width, height: pixels of what is drawn, below the title.

    Raises:
        ForesightError: the file cannot be written.
    """
    with mpl.rc_context(_STYLE):
        banner_in = 0.0 if trained else 0.42
        head_in = _MARGIN_IN + 0.4 + 0.22 * len(facts) + banner_in
        foot_in = 0.1 + (0.3 if note else 0.0)
        width_in, height_in = width / DPI, height / DPI + head_in + foot_in
        figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        edge, top = _MARGIN_IN / width_in, 1.0 - _MARGIN_IN / height_in
        engine = figure.get_layout_engine()
        assert engine is not None
        engine.set(  # type: ignore[call-arg]  # of the constrained layout
            rect=(edge, foot_in / height_in, 1.0 - 2 * edge, 1.0 - (head_in + foot_in) / height_in)
        )
        figure.text(edge, top, title, fontsize=_TITLE_PT, fontweight="bold", va="top")
        for place, fact in enumerate(facts):
            y = top - (0.38 + 0.22 * place) / height_in
            figure.text(edge, y, fact, fontsize=_FACT_PT, color=_DIM, va="top")
        if not trained:
            _warn(figure, 1.0 - head_in / height_in, banner_in / height_in)
        if note:
            y = _MARGIN_IN / 2 / height_in
            figure.text(edge, y, note, fontsize=9.5, color=_DIM, va="bottom")
        yield figure
        try:
            figure.savefig(path, dpi=DPI, metadata={"Software": None})
        except OSError as error:
            raise ForesightError(f"cannot write {path}: {error.strerror}") from error


def _warn(figure: Figure, y: float, height: float) -> None:
    """The warning across the whole width."""
    color = hex_color(style.WARNING)
    band = Rectangle((0, y), 1, height, transform=figure.transFigure, facecolor=color, linewidth=0)
    band.set_in_layout(False)
    figure.add_artist(band)
    figure.text(
        0.5,
        y + height / 2,
        style.UNTRAINED_TEXTS[0],
        fontsize=_BANNER_PT,
        fontweight="bold",
        color=hex_color(style.ON_WARNING),
        ha="center",
        va="center",
    )


def say_empty(axes: Axes, text: str = "nothing could be measured") -> None:
    """Write in the middle why there is nothing to see."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=_DIM)
    axes.set_xticks([])
    axes.set_yticks([])
