"""Sheets of sample clips: what was known, what was forecast, what then came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.compare import FORECAST
from dino_foresight_ros.outputs import DEPTH, FEATURES, NORMALS, SEGMENTATION
from dino_foresight_ros.render import style
from dino_foresight_ros.render.colors import (
    ClassPalette,
    DepthScale,
    Picture,
    colorize_normals,
    overlay,
)
from dino_foresight_ros.render.grid import Grid
from dino_foresight_ros.render.panels import empty_panel, legend_entries, legend_panel, scale_panel
from dino_foresight_ros.render.png import write_png
from dino_foresight_ros.render.text import draw_tag, draw_text, shortened, untrained_banner
from dino_foresight_ros.render.tiles import fit
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.training.evaluation.predictors import TITLES
from dino_foresight_ros.training.evaluation.results import Report, SheetSample, SheetStep
from dino_foresight_ros.training.evaluation.sheet_samples import LABELS, SHOWN

WIDTH = 1600
_COLUMNS = 4
_NAMES = {LABELS: "labels", **TITLES}
_NOTE = (
    "Forecast: from frames up to t. Oracle: the same heads on the features of the frame that then "
    "came. Copy-last: on those of the frame at t. Classes are laid over the frame that came."
)


def draw_sheet(report: Report, folder: Path) -> list[Path]:
    """Draw one sheet per head (of features where there are no heads); return the files."""
    if not report.samples:
        return []
    kinds = [kind for kind in report.bundle.heads if _shown(report.samples, kind)]
    paths = []
    for kind in kinds or [FEATURES]:
        path = folder / f"sheet_{kind}.png"
        write_png(path, _Sheet(report, kind).draw())
        paths.append(path)
    return paths


def _shown(samples: Sequence[SheetSample], kind: str) -> bool:
    steps = (step for sample in samples for step in sample.steps)
    return any(getattr(step.scenes[FORECAST], kind) is not None for step in steps)


class _Sheet:
    """One sheet: a block per sample, columns t and the steps, rows what came and each source."""

    def __init__(self, report: Report, kind: str) -> None:
        self._report, self._kind, self._samples = report, kind, report.samples
        self._margin = round(WIDTH * 0.02)
        steps = [step for sample in self._samples for step in sample.steps]
        present = {
            name for step in steps for name in step.scenes if self._values(step, name) is not None
        }
        self._rows = [name for name in (FORECAST, LABELS, *SHOWN[1:]) if name in present]
        image = self._samples[0].newest.image
        assert image is not None
        # With few steps tiles would be as large as the screen.
        columns = max(_COLUMNS, 1 + max(len(sample.steps) for sample in self._samples))
        aspect = image.shape[1] / image.shape[0]
        self._grid = Grid.even(WIDTH - 2 * self._margin, columns, aspect)
        self._color = self._colors(steps)

    def _values(self, step: SheetStep, name: str) -> NDArray[Any] | None:
        """What is shown of a predictor; None where it says nothing."""
        scene = step.scenes.get(name)
        values: NDArray[Any] | None = None if scene is None else getattr(scene, self._kind)
        return values

    def _colors(self, steps: Sequence[SheetStep]) -> Callable[[NDArray[Any]], Picture]:
        """How a map becomes a picture; sets the key to the colours."""
        bundle, size = self._report.bundle, self._grid.tile_size
        every = (self._values(step, name) for step in steps for name in step.scenes)
        maps = [values for values in every if values is not None]
        self._key: Picture | None = None
        if self._kind == SEGMENTATION:
            palette = ClassPalette(bundle.class_names, bundle.palette)
            seen = set().union(*(set(np.unique(one).tolist()) for one in maps))
            self._key = legend_panel(legend_entries(palette, seen), *size)
            return palette.colorize
        if self._kind == DEPTH:
            floats = [np.asarray(one, np.float32) for one in maps]
            scale = DepthScale.spanning(floats, bundle.depth_is_metric)
            self._key = scale_panel(scale, *size)
            return scale.colorize
        if self._kind == NORMALS:
            return colorize_normals
        return _FeatureColors(maps)

    def draw(self) -> Picture:
        """(H, WIDTH, 3) uint8."""
        pieces = [self._header()]
        if not self._report.bundle.trained:
            pieces += [untrained_banner(WIDTH, round(WIDTH * 0.026)), _space(self._margin // 2)]
        for sample in self._samples:
            pieces += [self._block(sample), _space(self._margin)]
        footer = _space(self._margin)
        size = round(WIDTH * 0.0105)
        room = WIDTH - 2 * self._margin
        draw_text(footer, (self._margin, 0), shortened(_NOTE, room, size), size, style.DIM)
        return np.concatenate([*pieces, footer])

    def _header(self) -> Picture:
        large, small = round(WIDTH * 0.02), round(WIDTH * 0.0115)
        header = _space(self._margin + 3 * large)
        bundle = self._report.bundle
        title = f"{bundle.name}: {self._kind}"
        draw_text(header, (self._margin, self._margin * 2 // 3), title, large, bold=True)
        height, width = bundle.image_size
        facts = (
            f"{bundle.context_frames} context frames {1000 * bundle.frame_interval_s:.0f} ms "
            f"apart, {width} x {height} pixels, {bundle.encoder}"
        )
        at = (self._margin, self._margin * 2 // 3 + round(large * 1.6))
        draw_text(header, at, facts, small, style.DIM)
        return header

    def _block(self, sample: SheetSample) -> Picture:
        grid = self._grid
        rows = 1 + len(self._rows)
        block = _space(grid.height(rows))
        inner = block[:, self._margin :]
        self._heading(inner, 0, "now", sample.recording)
        self._paste(inner, 0, 0, fit(_image(sample.newest), grid.tile_size))
        if self._key is not None:
            self._paste(inner, 1, 0, self._key)
        for column, step in enumerate(sample.steps, 1):
            self._heading(
                inner,
                column,
                f"+{1000 * step.arrived.horizon_s:.0f} ms",
                f"step {step.arrived.step}",
            )
            came = fit(_image(step.arrived), grid.tile_size).copy()
            self._tag(came, "what then came")
            self._paste(inner, 0, column, came)
            for row, name in enumerate(self._rows, 1):
                self._paste(inner, row, column, self._tile(step, name))
        return block

    def _tile(self, step: SheetStep, name: str) -> Picture:
        size = self._grid.tile_size
        values = self._values(step, name)
        if values is None:
            return empty_panel(*size, f"no {_NAMES[name]}")
        colors = self._color(values)
        enlarged = cv2.resize(colors, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
        tile = np.ascontiguousarray(enlarged, np.uint8)
        if self._kind == SEGMENTATION:
            tile = overlay(fit(_image(step.arrived), size), tile, 0.6)
        self._tag(tile, _NAMES[name])
        if not self._report.bundle.trained and name != LABELS:
            at = (size[1], size[0])
            draw_tag(tile, at, style.UNTRAINED_TAG, size[1] // 28, style.WARNING, anchor="rb")
        return tile

    def _tag(self, tile: Picture, text: str) -> None:
        draw_tag(tile, (0, len(tile)), text, max(11, tile.shape[1] // 24), style.TEXT, anchor="lb")

    def _heading(self, inner: Picture, column: int, name: str, remark: str) -> None:
        grid = self._grid
        size = max(11, round(grid.heading * 0.58))
        x, _ = grid.corner(0, column)
        baseline = round(grid.heading * 0.7)
        _, _, right, _ = draw_text(
            inner, (x, baseline), name, size, style.TEXT, anchor="ls", bold=True
        )
        room = x + grid.tile_width - right - size
        text = shortened(remark, room, round(size * 0.82))
        at = (right + size // 2, baseline)
        draw_text(inner, at, text, round(size * 0.82), style.DIM, anchor="ls")

    def _paste(self, inner: Picture, row: int, column: int, tile: Picture) -> None:
        x, y = self._grid.corner(row, column)
        inner[y : y + tile.shape[0], x : x + tile.shape[1]] = tile


def _image(scene: Scene) -> Picture:
    assert scene.image is not None
    return scene.image


class _FeatureColors:
    """Three channels as red, green and blue, one scale for all."""

    def __init__(self, features: Sequence[NDArray[np.float32]]) -> None:
        values = np.concatenate([one.reshape(-1, one.shape[-1]) for one in features])
        self._low, self._high = np.percentile(values, (2, 98), axis=0)

    def __call__(self, features: NDArray[np.float32]) -> Picture:
        shares = (features - self._low) / np.maximum(self._high - self._low, 1e-6)
        return np.asarray((shares.clip(0, 1) * 255).round(), np.uint8)


def _space(height: int) -> Picture:
    space = np.empty((height, WIDTH, 3), np.uint8)
    space[:] = style.BACKGROUND
    return space
