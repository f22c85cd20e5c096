"""What a camera does to the light: lens blur, vignette, exposure, noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.synthetic.config import Conditions

_NOISE_TILE = 1024


class Lens:
    """The camera of one world, for pictures of one size."""

    def __init__(self, seed: int, conditions: Conditions, width: int, height: int) -> None:
        rng = np.random.default_rng([seed, 17])
        c = conditions
        self._seed, self._blur_px = seed, c.blur_px * width / 640
        x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / (width / 2)
        y = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / (width / 2)
        fall = 1.0 - c.vignette * 0.75 * (x[None, :] ** 2 + y[:, None] ** 2)
        balance = np.float32((1.0, 1.0, 1.0)) + rng.normal(0, 0.025, 3).astype(np.float32)
        self._gain = (fall[..., None] * balance * np.float32(c.exposure)).astype(np.float32)
        self._noise = rng.normal(0, c.noise, (_NOISE_TILE, _NOISE_TILE, 3)).astype(np.float32)
        self._tile = (height // _NOISE_TILE + 1, width // _NOISE_TILE + 1, 1)
        self._saturation = np.float32(c.saturation)
        tone = np.arange(256, dtype=np.float32) / 255
        curve = tone + rng.uniform(0.0, 0.1) * np.sin(2 * np.pi * (tone - 0.5)) / np.pi
        self._curve = np.clip(np.rint(curve * 255), 0, 255).astype(np.uint8)

    def expose(
        self, light: NDArray[np.float32], edges: NDArray[np.uint8] | None, instant: int
    ) -> NDArray[np.uint8]:
        """Picture (H, W, 3) uint8 from light (H, W, 3); `edges` marks pixels to smooth.

        `instant` chooses the noise: the same instant always gives the same picture.
        """
        image = light * self._gain
        if edges is not None:
            soft = cv2.GaussianBlur(image, (3, 3), 0.8)
            cv2.copyTo(soft, edges, image)
        gray = image @ np.float32((0.299, 0.587, 0.114))
        image -= gray[..., None]
        image *= self._saturation
        image += gray[..., None]
        if self._blur_px > 0.05:
            image = cv2.GaussianBlur(image, (0, 0), self._blur_px)
        # Bright light is compressed rather than cut off.
        over = np.maximum(image - 190.0, 0.0)
        image -= over
        image += 65.0 * over / (over + 80.0)
        image += self._noise_at(instant, *image.shape[:2])
        out = np.clip(image, 0, 255, out=image).astype(np.uint8)
        return cv2.LUT(out, self._curve)

    def _noise_at(self, instant: int, height: int, width: int) -> NDArray[np.float32]:
        rng = np.random.default_rng([self._seed, 18, instant])
        dy, dx = rng.integers(_NOISE_TILE, size=2)
        tile = np.tile(self._noise, self._tile) if self._tile != (1, 1, 1) else self._noise
        y = int(dy) % max(tile.shape[0] - height, 1)
        x = int(dx) % max(tile.shape[1] - width, 1)
        return tile[y : y + height, x : x + width]
