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
        balance = 1.0 + rng.normal(0, 0.025, 3)
        self._gain = np.repeat(fall[..., None], 3, axis=2)
        gray = np.array([[0.299, 0.587, 0.114]])
        self._color = (
            np.diag(balance) @ (np.eye(3) * c.saturation + (1 - c.saturation) * gray) * c.exposure
        ).astype(np.float32)
        noise = rng.normal(0, c.noise, (_NOISE_TILE + 64, _NOISE_TILE + 64, 3))
        repeat = (height // _NOISE_TILE + 1, width // _NOISE_TILE + 1, 1)
        self._noise = np.tile(np.rint(noise).astype(np.int16), repeat)
        tone = np.arange(256, dtype=np.float32) / 255
        curve = tone + rng.uniform(0.0, 0.1) * np.sin(2 * np.pi * (tone - 0.5)) / np.pi
        self._curve = np.clip(np.rint(curve * 255), 0, 255).astype(np.uint8)

    def expose(
        self, light: NDArray[np.float32], edges: NDArray[np.uint8] | None, instant: int
    ) -> NDArray[np.uint8]:
        """Picture (H, W, 3) uint8 from light (H, W, 3); `edges` marks pixels to smooth.

        `instant` chooses the noise: the same instant always gives the same picture.
        """
        image = cv2.transform(light, self._color)
        image *= self._gain
        # Bright light is compressed rather than cut off.
        np.minimum(image, image * np.float32(0.4) + np.float32(126.0), out=image)
        out = np.clip(image, 0, 255, out=image).astype(np.uint8)
        if edges is not None:
            cv2.copyTo(cv2.GaussianBlur(out, (3, 3), 0.8), edges, out)
        if self._blur_px > 0.05:
            out = cv2.GaussianBlur(out, (0, 0), self._blur_px)
        out = cv2.add(out, self._noise_at(instant, *out.shape[:2]), dtype=cv2.CV_8U)
        return cv2.LUT(out, self._curve)

    def _noise_at(self, instant: int, height: int, width: int) -> NDArray[np.int16]:
        """A window of the noise tile that depends on the instant."""
        rng = np.random.default_rng([self._seed, 18, instant])
        spare_y, spare_x = self._noise.shape[0] - height, self._noise.shape[1] - width
        y, x = int(rng.integers(spare_y + 1)), int(rng.integers(spare_x + 1))
        return np.ascontiguousarray(self._noise[y : y + height, x : x + width])
