"""Tileable noise, the raw material of the textures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Noise = NDArray[np.float32]


def fractal(
    rng: np.random.Generator, height: int, width: int, roughness: float = 1.2, stretch: float = 1.0
) -> Noise:
    """Wrapping noise (H, W) with mean 0 and deviation 1; larger `roughness` means smoother blobs.

    `stretch` above 1 draws it out along the columns' axis (u).
    """
    white = np.fft.rfft2(rng.standard_normal((height, width)))
    damping = _damping(height, width, roughness, stretch)
    field = np.fft.irfft2(white / damping, s=(height, width))
    field /= field.std() + 1e-12
    return field.astype(np.float32)


@lru_cache(maxsize=64)
def _damping(height: int, width: int, roughness: float, stretch: float) -> NDArray[np.float64]:
    """By what each frequency is divided, (H, W // 2 + 1)."""
    fy = np.fft.fftfreq(height)[:, None] * max(height, width)
    fx = np.fft.rfftfreq(width)[None, :] * max(height, width) * stretch
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf
    damping: NDArray[np.float64] = frequency**roughness
    return damping


def grain(rng: np.random.Generator, height: int, width: int) -> Noise:
    """White noise (H, W), deviation 1."""
    return rng.standard_normal((height, width)).astype(np.float32)


def colored(base: Sequence[float] | NDArray[np.float64], value: Noise, strength: float) -> Noise:
    """(H, W, 3): `base` in grey levels, brightened by `value` times `strength`."""
    return np.asarray(base, dtype=np.float32) * (1.0 + strength * value[..., None])


def rgb(values: Sequence[float] | NDArray[np.float64]) -> Noise:
    """A colour (3,) as float32."""
    return np.asarray(values, dtype=np.float32)


def rgba(color: Noise, alpha: Noise | float = 255.0) -> NDArray[np.uint8]:
    """Pack (H, W, 3) and an alpha plane or constant, in grey levels, into (H, W, 4) uint8."""
    out = np.empty((*color.shape[:2], 4), dtype=np.float32)
    out[..., :3], out[..., 3] = color, alpha
    return np.clip(out, 0, 255).astype(np.uint8)


def cracks(rng: np.random.Generator, height: int, width: int, count: int) -> Noise:
    """Wandering thin lines (H, W) in 0..1."""
    canvas = np.zeros((height, width), dtype=np.uint8)
    for _ in range(count):
        steps = rng.integers(10, 40)
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.35, steps))
        moves = np.stack([np.cos(angle), np.sin(angle)], axis=1) * rng.uniform(4, 9)
        points = np.cumsum(moves, axis=0) + rng.uniform(0, (width, height))
        cv2.polylines(canvas, [points.astype(np.int32)], False, 255, 1, cv2.LINE_AA)
    return canvas.astype(np.float32) / 255.0
