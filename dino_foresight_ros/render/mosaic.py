"""One frame of the demo's video: the newest picture beside the predicted steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dino_foresight_ros.render.colors import Picture
from dino_foresight_ros.render.objects import Place, places_of
from dino_foresight_ros.render.panels import empty_panel
from dino_foresight_ros.render.style import DIM, TEXT, Style
from dino_foresight_ros.render.text import draw_text, text_size, untrained_banner
from dino_foresight_ros.render.tile_grid import Grid, background
from dino_foresight_ros.render.tiles import (
    CAMERA,
    fit,
    key_tile,
    marked,
    picture_of,
    predicted_tile,
    row_names,
)
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene
from dino_foresight_ros.spread import spread

MOSAIC_WIDTH = 1280


class Mosaic:
    """Draws forecasts of one run, all to the same size.

    The first column holds the newest frame that the forecast knew, and beneath it the keys to the
    colours. In the others, one per step, the camera's row shows the frame that really came, and
    classes are laid over that frame (over the newest known one where it is not known).
    """

    def __init__(
        self, style: Style, steps: Sequence[int], aspect: float, width: int = MOSAIC_WIDTH
    ) -> None:
        """Fix the layout.

        Args:
            style: shared by all frames.
            steps: the steps that have a column.
            aspect: width / height of the camera's pictures.
            width: of a frame in pixels, even.
        """
        self._style, self._steps, self._rows = style, list(steps), row_names(style)
        self._margin = round(width * 0.0125)
        self.grid = Grid.even(width - 2 * self._margin, 1 + len(steps), aspect)
        self._banner = 0 if style.trained else round(width * 0.022)
        height = self._banner + self.grid.height(len(self._rows)) + self._margin
        # Video codecs need even sides.
        self.size = (height + height % 2, width + width % 2)
        """(height, width) of a frame."""

    def draw(self, forecast: ComparedForecast) -> Picture:
        """(H, W, 3) uint8 of `size`; the forecast's `seen` has an image."""
        frame = background(*self.size)
        if self._banner:
            frame[: self._banner] = untrained_banner(self.size[1], self._banner)
        block = self._draw_block(forecast)
        top, left = self._banner, self._margin
        frame[top : top + block.shape[0], left : left + block.shape[1]] = block
        return frame

    def _draw_block(self, forecast: ComparedForecast) -> Picture:
        grid, size = self.grid, self.grid.tile_size
        block = grid.blank(self._rows)
        seen = forecast.newest
        assert seen.image is not None
        now = fit(seen.image, size)
        made = "" if forecast.latency_ms is None else f"forecast in {forecast.latency_ms:.0f} ms"
        self._head(block, 0, "now", made, seen.stamp_ns)
        keys = [key_tile(name, self._style, size) for name in self._rows if name != CAMERA]
        grid.put(block, 0, [now, *keys])
        by_step = {step.predicted.step: step for step in forecast.steps}
        for column, number in enumerate(self._steps, 1):
            step = by_step.get(number)
            if step is None:
                missing = [empty_panel(*size, "no forecast")] * len(self._rows)
                grid.put(block, column, missing)
                continue
            scene = step.predicted
            self._head(block, column, f"t+{number}", horizon_text(scene), scene.stamp_ns)
            grid.put(block, column, self._step_tiles(step, now, places_before(forecast, number)))
        return block

    def _step_tiles(
        self, step: ComparedStep, now: Picture, before: Mapping[int, Place]
    ) -> list[Picture]:
        size = self.grid.tile_size
        came = picture_of(step.arrived)
        beneath = now if came is None else fit(came, size)
        first = (
            empty_panel(*size, "no frame of this instant")
            if came is None
            else marked(beneath, "what really came")
        )
        names = [name for name in self._rows if name != CAMERA]
        predicted, style = step.predicted, self._style
        return [first, *(predicted_tile(n, predicted, beneath, style, before) for n in names)]

    def _head(self, block: Picture, column: int, name: str, remark: str, stamp_ns: int) -> None:
        """Name at the left (bold), remark after it, time stamp at the right (dim)."""
        grid, stamp = self.grid, self._style.time_text(stamp_ns)
        size = max(10, round(grid.heading * 0.56))
        small = max(9, round(size * 0.82))
        x, _ = grid.corner(0, column)
        baseline = round(grid.heading * 0.7)
        stamp_left = x + grid.tile_width - text_size(stamp, small)[0] - 1
        right = draw_text(block, (x, baseline), name, size, TEXT, anchor="ls", bold=True)[2]
        remark_at = (right + size // 2, baseline)
        if remark_at[0] + text_size(remark, small)[0] + size // 2 <= stamp_left:
            draw_text(block, remark_at, remark, small, TEXT, anchor="ls")
        draw_text(block, (stamp_left, baseline), stamp, small, DIM, anchor="ls")


def places_before(forecast: ComparedForecast, number: int) -> dict[int, Place]:
    """Where objects of a step were: now, or at the first step before it that has them."""
    earlier = [step.predicted for step in forecast.steps if step.predicted.step < number]
    return places_of([forecast.newest, *earlier])


def horizon_text(scene: Scene) -> str:
    """How far ahead a prediction lies."""
    return f"in {scene.horizon_s * 1000.0:.0f} ms"


def columns_of(forecasts: Sequence[ComparedForecast], most: int = 4) -> list[int]:
    """Steps that get a column: all of them, or `most` spread ones where there are more."""
    steps = sorted({step.predicted.step for one in forecasts for step in one.steps})
    return [steps[i] for i in spread(len(steps), most)]
