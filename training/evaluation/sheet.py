"""Sheets of sample clips: what was known, what was forecast, what then came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE
from dino_foresight_ros.outputs import DEPTH, FEATURES, NORMALS, SEGMENTATION
from dino_foresight_ros.render import style
from dino_foresight_ros.render.colors import ClassPalette, DepthScale, Picture
from dino_foresight_ros.render.contact_sheet import footer, header, indented
from dino_foresight_ros.render.panels import empty_panel
from dino_foresight_ros.render.png import write_png
from dino_foresight_ros.render.text import draw_tag, draw_text, shortened, untrained_banner
from dino_foresight_ros.render.tile_grid import Grid, background
from dino_foresight_ros.render.tiles import (
    enlarge,
    fit,
    key_tile,
    map_tile,
    marked,
)
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene
from dino_foresight_ros.training.evaluation.predictors import TITLES
from dino_foresight_ros.training.evaluation.results import BundleFacts, Report, SheetSample

WIDTH = 1600
_MARGIN = round(WIDTH * 0.02)
_COLUMNS = 4
_LABELS = "labels"
_ROWS = (FORECAST, _LABELS, ORACLE, COPY_LAST)
_NAMES = {_LABELS: "labels", **TITLES}
_NOTE = (
    "Forecast: from frames up to t. Oracle: the same heads on the features of the frame that then "
    "came. Copy-last: on those of the frame at t. Classes are laid over the frame that came."
)


def draw_sheet(report: Report, folder: Path) -> list[Path]:
    """Draw one sheet per head (of features where there are no heads); return the files."""
    if not report.samples:
        return []
    steps = [step for sample in report.samples for step in sample.forecast.steps]
    kinds = [
        kind
        for kind in report.bundle.heads
        if any(getattr(step.predicted, kind) is not None for step in steps)
    ]
    paths = []
    for kind in kinds or [FEATURES]:
        path = folder / f"sheet_{kind}.png"
        write_png(path, _Sheet(report, kind).draw())
        paths.append(path)
    return paths


def _scenes(forecast: ComparedForecast, step: ComparedStep) -> dict[str, Scene | None]:
    """Row -> what it says of the step's instant."""
    return {
        FORECAST: step.predicted,
        _LABELS: step.truth,
        ORACLE: step.arrived,
        COPY_LAST: forecast.newest,
    }


class _Sheet:
    """One sheet: a block per sample, columns t and the steps, rows what came and each source."""

    def __init__(self, report: Report, kind: str) -> None:
        self._bundle, self._kind, self._samples = report.bundle, kind, report.samples
        present = {name for name, _ in self._maps()}
        self._rows = [name for name in _ROWS if name in present]
        image = _image(self._samples[0].forecast.newest)
        # With few steps tiles would be as large as the screen.
        most = max(len(sample.forecast.steps) for sample in self._samples)
        aspect = image.shape[1] / image.shape[0]
        self._grid = Grid.even(WIDTH - 2 * _MARGIN, max(_COLUMNS, 1 + most), aspect)
        maps = [values for _, values in self._maps()]
        self._style = _style(self._bundle, kind, maps)
        self._feature_colors = _feature_colors(maps) if kind == FEATURES else None
        ids = {int(i) for one in maps for i in np.unique(one)} if kind == SEGMENTATION else None
        self._keys = (
            [] if kind == FEATURES else [key_tile(kind, self._style, self._grid.tile_size, ids)]
        )

    def _maps(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """All that is shown: row and values."""
        for sample in self._samples:
            for step in sample.forecast.steps:
                for name, scene in _scenes(sample.forecast, step).items():
                    values = None if scene is None else getattr(scene, self._kind)
                    if values is not None:
                        yield name, values

    def draw(self) -> Picture:
        """(H, WIDTH, 3) uint8."""
        bundle = self._bundle
        height, width = bundle.image_size
        facts = (
            f"{bundle.context_frames} context frames {1000 * bundle.frame_interval_s:.0f} ms "
            f"apart, {width} x {height} pixels, {bundle.encoder}"
        )
        pieces = [header(WIDTH, _MARGIN, f"{bundle.name}: {self._kind}", [facts])]
        if not bundle.trained:
            banner = untrained_banner(WIDTH, round(WIDTH * 0.026))
            pieces += [banner, background(_MARGIN // 2, WIDTH)]
        for sample in self._samples:
            block = indented(self._block(sample), WIDTH, _MARGIN)
            pieces += [block, background(_MARGIN, WIDTH)]
        return np.concatenate([*pieces, footer(WIDTH, _MARGIN, _NOTE)])

    def _block(self, sample: SheetSample) -> Picture:
        grid, forecast = self._grid, sample.forecast
        block = grid.blank([""] * (1 + len(self._rows)))
        self._heading(block, 0, "now", sample.recording)
        grid.put(block, 0, [fit(_image(forecast.newest), grid.tile_size), *self._keys])
        for column, step in enumerate(forecast.steps, 1):
            horizon = f"+{1000 * step.predicted.horizon_s:.0f} ms"
            self._heading(block, column, horizon, f"step {step.predicted.step}")
            assert step.arrived is not None
            came = fit(_image(step.arrived), grid.tile_size)
            scenes = _scenes(forecast, step)
            tiles = [self._tile(name, scenes[name], came) for name in self._rows]
            grid.put(block, column, [marked(came, "what then came"), *tiles])
        return block

    def _tile(self, name: str, scene: Scene | None, came: Picture) -> Picture:
        size = self._grid.tile_size
        values = None if scene is None else getattr(scene, self._kind)
        if scene is None or values is None:
            return empty_panel(*size, f"no {_NAMES[name]}")
        if self._feature_colors is not None:
            tile = enlarge(self._feature_colors(values), size)
        else:
            tile = map_tile(self._kind, scene, came, self._style)
        tile = marked(tile, _NAMES[name])
        if not self._bundle.trained and name != _LABELS:
            at = (size[1], size[0])
            draw_tag(tile, at, style.UNTRAINED_TAG, size[1] // 28, style.WARNING, anchor="rb")
        return tile

    def _heading(self, block: Picture, column: int, name: str, remark: str) -> None:
        grid = self._grid
        size = max(11, round(grid.heading * 0.58))
        small = round(size * 0.82)
        x, _ = grid.corner(0, column)
        y = round(grid.heading * 0.7)
        right = draw_text(block, (x, y), name, size, style.TEXT, anchor="ls", bold=True)[2]
        text = shortened(remark, x + grid.tile_width - right - size, small)
        draw_text(block, (right + size // 2, y), text, small, style.DIM, anchor="ls")


def _style(bundle: BundleFacts, kind: str, maps: Sequence[NDArray[Any]]) -> style.Style:
    """The colours of one output; depth on a scale that suits all maps."""
    scale = None
    if kind == DEPTH:
        floats = [np.asarray(one, np.float32) for one in maps]
        scale = DepthScale.spanning(floats, bundle.depth_is_metric)
    palette = ClassPalette(bundle.class_names, bundle.palette) if kind == SEGMENTATION else None
    return style.Style(
        palette, scale, trained=bundle.trained, alpha=0.6, has_normals=kind == NORMALS
    )


def _image(scene: Scene) -> Picture:
    assert scene.image is not None
    return scene.image


def _feature_colors(
    features: Sequence[NDArray[np.float32]],
) -> Callable[[NDArray[np.float32]], Picture]:
    """Three channels as red, green and blue, one scale for all."""
    values = np.concatenate([one.reshape(-1, one.shape[-1]) for one in features])
    low, high = np.percentile(values, (2, 98), axis=0)

    def colorize(one: NDArray[np.float32]) -> Picture:
        fractions = (one - low) / np.maximum(high - low, 1e-6)
        return np.asarray((fractions.clip(0, 1) * 255).round(), np.uint8)

    return colorize
