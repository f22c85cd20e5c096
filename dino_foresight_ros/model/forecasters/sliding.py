"""A forecaster trained on a small patch grid, run over a larger one window by window.

One of the paper's three ways to high resolution (sec. 3.3); the others are `resize_grid` and
training on at the larger grid.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.forecasters.autoregressive import AutoregressiveForecaster, append
from dino_foresight_ros.model.forecasters.interface import Wrap
from dino_foresight_ros.model.forecasters.masked import MaskedForecaster


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """First rows (or columns) of the windows that cover `length`.

    Every `stride`, and one flush with the end where the stride leaves a rest uncovered.
    """
    starts = list(range(0, length - window + 1, stride))
    if starts[-1] + window < length:
        starts.append(length - window)
    return starts


class SlidingForecaster(AutoregressiveForecaster):
    """A masked forecaster on a larger patch grid; overlaps are averaged.

    Heads cannot read its layers, since each window has tokens of its own.
    """

    kind = "masked"

    def __init__(
        self,
        forecaster: MaskedForecaster,
        grid: tuple[int, int],
        window: tuple[int, int] | None = None,
        stride: tuple[int, int] | None = None,
    ) -> None:
        """Wrap.

        Args:
            forecaster: used as it is for its own grid; position embeddings are stretched in a
                copy for another window.
            grid: (h, w) patch grid to forecast.
            window: (h, w) of a window; the forecaster's grid when None.
            stride: (rows, columns) from window to window; the window when None (no overlap).

        Raises:
            BundleError: a window larger than the grid, or a stride that leaves gaps.
        """
        super().__init__()
        self.window = forecaster.config.grid if window is None else (window[0], window[1])
        self.stride = self.window if stride is None else (stride[0], stride[1])
        self._grid = (grid[0], grid[1])
        for side, span, step in zip(self.grid, self.window, self.stride, strict=True):
            if not 1 <= step <= span <= side:
                raise BundleError(
                    f"sliding window {self.window} with stride {self.stride} does not cover the "
                    f"patch grid {self.grid}; it needs 1 <= stride <= window <= grid"
                )
        if self.window != forecaster.config.grid:
            forecaster = copy.deepcopy(forecaster).resize_grid(*self.window)
        self.inner: MaskedForecaster = forecaster

    @property
    def context_frames(self) -> int:
        """N_c, the number of context frames."""
        return self.inner.context_frames

    @property
    def channels(self) -> int:
        """C, values per patch in and out."""
        return self.inner.channels

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) rows and columns of the whole patch grid."""
        return self._grid

    @property
    def part(self) -> nn.Module:
        """The forecaster of one window."""
        return self.inner

    def to_dict(self) -> dict[str, Any]:
        """The inner forecaster's configuration, and how windows lie."""
        windows = {"grid": list(self.grid), "stride": list(self.stride)}
        return {**self.inner.to_dict(), "sliding": windows}

    def with_wrapped_core(self, wrap: Wrap) -> SlidingForecaster:
        """A twin on the same weights whose windows' transformer pass is wrapped."""
        twin = copy.copy(self)
        twin._modules = {**self._modules, "inner": self.inner.with_wrapped_core(wrap)}
        return twin

    def passes(self, context: Tensor, layers: Sequence[int] = ()) -> Iterator[tuple[Tensor, ...]]:
        """As `AutoregressiveForecaster.passes`, without layers."""
        if layers:
            raise ValueError(f"layers {list(layers)} do not exist; sliding windows give none")
        while True:
            frames = self._predict_windows(context)
            yield (frames,)
            context = append(context, frames)

    def _predict_windows(self, context: Tensor) -> Tensor:
        """(B, N_c, h, w, C) -> (B, M, h, w, C), all windows in one batch.

        Raises:
            ValueError: the context does not have this grid.
        """
        if tuple(context.shape[2:4]) != self.grid:
            raise ValueError(
                f"context has the patch grid {tuple(context.shape[2:4])}, expected {self.grid}"
            )
        corners = [
            (row, column)
            for row in window_starts(self.grid[0], self.window[0], self.stride[0])
            for column in window_starts(self.grid[1], self.window[1], self.stride[1])
        ]
        height, width = self.window
        windows = [context[:, :, r : r + height, c : c + width] for r, c in corners]
        predicted = self.inner.predict(torch.cat(windows)).unflatten(0, (len(corners), -1))
        shape = (context.shape[0], predicted.shape[2], *self.grid, context.shape[-1])
        total = predicted.new_zeros(shape)
        count = predicted.new_zeros(self.grid)[:, :, None]
        for (r, c), part in zip(corners, predicted, strict=True):
            total[:, :, r : r + height, c : c + width] += part
            count[r : r + height, c : c + width] += 1
        return total / count
