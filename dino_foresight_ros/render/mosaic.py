"""One frame of the demo's video: a moment side by side with its predicted steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dino_foresight_ros.render import theme
from dino_foresight_ros.render.banner import untrained_banner
from dino_foresight_ros.render.block import Grid, moment_block
from dino_foresight_ros.render.palette import Picture
from dino_foresight_ros.render.tiles import row_names
from dino_foresight_ros.render.views import Look, Moment

MOSAIC_WIDTH = 1280


class Mosaic:
    """Draws moments of one run, all to the same size."""

    def __init__(
        self, look: Look, steps: Sequence[int], aspect: float, width: int = MOSAIC_WIDTH
    ) -> None:
        """Fix the layout.

        Args:
            look: colours shared by all frames.
            steps: the steps that have a column.
            aspect: width / height of the camera's pictures.
            width: of a frame in pixels, even.
        """
        self._look = look
        self._steps = list(steps)
        self._margin = round(width * 0.0125)
        self._grid = Grid.fitting(width - 2 * self._margin, 1 + len(steps), aspect)
        self._banner = 0 if look.trained else round(width * 0.022)
        height = self._banner + self._grid.height(len(row_names(look))) + self._margin
        # Video codecs need even sides.
        self.size = (height + height % 2, width + width % 2)
        """(height, width) of a frame."""

    def draw(self, moment: Moment) -> Picture:
        """(H, W, 3) uint8 of `size`."""
        frame = np.empty((*self.size, 3), np.uint8)
        frame[:] = theme.BACKGROUND
        if self._banner:
            frame[: self._banner] = untrained_banner(self.size[1], self._banner)
        block = moment_block(moment, self._look, self._grid, self._steps)
        top, left = self._banner, self._margin
        frame[top : top + block.shape[0], left : left + block.shape[1]] = block
        return frame
