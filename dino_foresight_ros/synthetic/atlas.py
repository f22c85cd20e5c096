"""All textures in one picture, each prefiltered for every stretch along u and along v.

A texture seen at a grazing angle shrinks in one direction only, so it is stored as a ripmap: one
version per halving of its width and of its height, each with a wrapped border for interpolation.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

_SMALLEST = 2
_BORDER = 1


class Atlas:
    """A packed ripmap of RGBA textures whose sides are powers of two.

    `place(texture, lu, lv)` gives the pixel of the top left texel and the size of one version.
    """

    def __init__(self, textures: list[Image], width: int = 4608) -> None:
        levels = [_levels(t.shape) for t in textures]
        most = max(max(nu, nv) for nu, nv in levels)
        self._place = np.zeros((len(textures), most, most, 4), dtype=np.float32)
        self._limits = np.array([(nu - 1, nv - 1) for nu, nv in levels], dtype=np.intp)
        self._sizes = np.array([(t.shape[1], t.shape[0]) for t in textures], dtype=np.float64)
        shelves, height = _pack(textures, width)
        self.image = np.zeros((height, width, 4), dtype=np.uint8)
        for number, (texture, (x, y)) in enumerate(zip(textures, shelves, strict=True)):
            self._write(number, texture, x, y)
        self.mean = np.array([_mean(t) for t in textures], np.float32)

    def choose(
        self, texture: NDArray[np.int32], rate: NDArray[np.float32], bias: float = -0.35
    ) -> NDArray[np.float32]:
        """Versions for textures (N,) seen at `rate` (2, N) repeats per pixel along u and v.

        Returns (4, N): x and y of the first texel, size along u and along v, in pixels. A bias
        below 0 prefers sharper versions.
        """
        texels = rate.T * self._sizes[texture]
        level = np.floor(np.log2(np.maximum(texels, 1e-6)) + 0.5 + bias).astype(np.intp)
        level = np.clip(level, 0, self._limits[texture])
        return np.ascontiguousarray(self._place[texture, level[:, 0], level[:, 1]].T)

    def _write(self, number: int, texture: Image, x0: int, y0: int) -> None:
        row, y = texture, y0
        for lv in range(self._limits[number, 1] + 1):
            version, x = row, x0
            for lu in range(self._limits[number, 0] + 1):
                h, w = version.shape[:2]
                border = (_BORDER,) * 4
                padded = cv2.copyMakeBorder(version, *border, cv2.BORDER_WRAP)
                self.image[y : y + h + 2, x : x + w + 2] = padded
                self._place[number, lu, lv] = (x + _BORDER, y + _BORDER, w, h)
                x += w + 2 * _BORDER
                if w > _SMALLEST:
                    version = cv2.resize(version, (w // 2, h), interpolation=cv2.INTER_AREA)
            h, w = row.shape[:2]
            y += h + 2 * _BORDER
            if h > _SMALLEST:
                row = cv2.resize(row, (w, h // 2), interpolation=cv2.INTER_AREA)


def _mean(texture: Image) -> NDArray[np.float64]:
    """Red, green and blue (3,) on average; ten times as fast as `mean` of NumPy."""
    return np.array(cv2.sumElems(texture)[:3]) / (texture.shape[0] * texture.shape[1])


def _levels(shape: tuple[int, ...]) -> tuple[int, int]:
    return tuple(int(np.log2(n // _SMALLEST)) + 1 for n in (shape[1], shape[0]))  # type: ignore[return-value]


def _footprint(shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height that all versions of a texture take together."""
    nu, nv = _levels(shape)
    return (
        sum((shape[1] >> i) + 2 * _BORDER for i in range(nu)),
        sum((shape[0] >> i) + 2 * _BORDER for i in range(nv)),
    )


def _pack(textures: list[Image], width: int) -> tuple[list[tuple[int, int]], int]:
    """Shelf packing, tall ones first: top left corners in the order given, and the height."""
    sizes = [_footprint(t.shape) for t in textures]
    corners: list[tuple[int, int]] = [(0, 0)] * len(textures)
    x = y = shelf = 0
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i][1]):
        w, h = sizes[index]
        if x + w > width:
            x, y, shelf = 0, y + shelf, 0
        corners[index] = (x, y)
        x, shelf = x + w, max(shelf, h)
    return corners, y + shelf
