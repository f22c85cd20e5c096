"""Textures of facades, shops, roofs, walls and fences. Alpha 255 takes the polygon's tint."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.synthetic.noise import Noise, colored, fractal, grain, rgb, rgba

Image = NDArray[np.uint8]

_WALLS = (
    (196, 186, 168),
    (176, 150, 122),
    (156, 92, 70),
    (206, 198, 188),
    (138, 128, 122),
    (200, 170, 120),
    (120, 78, 62),
    (168, 172, 176),
    (214, 206, 176),
    (150, 160, 150),
)


def wall(rng: np.random.Generator, height: int, width: int, brick: bool) -> tuple[Noise, Noise]:
    """A wall (H, W, 3) and the tone (H, W) it was made with."""
    base = np.array(_WALLS[rng.integers(len(_WALLS))]) * rng.uniform(0.8, 1.1)
    tone = 0.06 * fractal(rng, height, width, 1.3) + 0.05 * grain(rng, height, width)
    # Rain streaks run down.
    tone += 0.05 * fractal(rng, width, height, 0.9, stretch=6.0).T
    if brick:
        course = 8
        for row in range(0, height, course):
            cells = rng.normal(0, 0.1, width // 16 + 1).repeat(16)[:width]
            shift = 8 * ((row // course) % 2)
            tone[row : row + course] += np.roll(cells, shift)[None, :]
            tone[row] -= 0.16
            tone[row : row + course, shift::16] -= 0.14
    return colored(tuple(base), tone, 1.0), tone


def _glass(rng: np.random.Generator, height: int, width: int) -> Noise:
    """A window pane with a reflected sky above and darkness or a curtain behind."""
    v = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    sky, dark = rgb((150, 168, 186)), rgb((38, 44, 52))
    mix = np.clip(rng.uniform(0.2, 0.8) - v * rng.uniform(0.3, 1.0), 0.0, 1.0)[..., None]
    pane = np.broadcast_to(sky * mix + dark * (1 - mix), (height, width, 3)).copy()
    slant = np.arange(width)[None, :] + np.arange(height)[:, None]
    pane *= np.where((slant // max(width // 3, 1)) % 3 == 0, 1.15, 1.0)[..., None]
    kind = rng.random()
    if kind < 0.35:
        edge = int(width * rng.uniform(0.15, 0.4))
        curtain = rgb((198, 190, 176)) * rng.uniform(0.5, 1.0)
        pane[:, :edge] = pane[:, width - edge :] = curtain
    elif kind < 0.5:
        pane[: int(height * rng.uniform(0.2, 0.9))] = rgb((176, 170, 160))
    elif kind < 0.58:
        pane[:] = rgb((214, 186, 128))
    return pane


def facade(rng: np.random.Generator) -> Image:
    """Two bays by two floors, about 6.4 m x 6.4 m."""
    size = 256
    office = rng.random() < 0.2
    color, tone = wall(rng, size, size, brick=rng.random() < 0.45)
    alpha = np.full((size, size), 255.0, dtype=np.float32)
    w = int(rng.uniform(96, 118)) if office else int(rng.uniform(40, 78))
    h = int(rng.uniform(78, 104)) if office else int(rng.uniform(58, 84))
    trim = rgb((226, 222, 214)) * rng.uniform(0.35, 1.0)
    balcony = rng.random() < 0.25
    for floor in range(2):
        y = floor * 128 + (128 - h) // 2 - 4
        if rng.random() < 0.5 and not office:
            color[floor * 128 + 122 : floor * 128 + 128] *= 1.16
            color[floor * 128 : floor * 128 + 2] *= 0.7
        for bay in range(2):
            x = bay * 128 + (128 - w) // 2
            color[y - 5 : y + h + 5, x - 5 : x + w + 5] = trim
            color[y - 5 : y - 2, x - 5 : x + w + 5] *= 0.6
            color[y : y + h, x : x + w] = _glass(rng, h, w)
            alpha[y : y + h, x : x + w] = 0.0
            bars = 2 if w > 60 else 1
            for k in range(1, bars + 1):
                at = x + k * w // (bars + 1)
                color[y : y + h, at - 1 : at + 2] = trim
            color[y : y + 4, x : x + w] *= 0.45  # the lintel's shadow
            color[y + h + 3 : y + h + 9, x - 8 : x + w + 8] = trim * 0.95
            color[y + h + 9 : y + h + 13, x - 8 : x + w + 8] *= 0.68
            if balcony:
                rail = y + h - 30
                color[rail : y + h + 6, x - 12 : x + w + 12 : 4] = trim * 0.5
                color[rail : rail + 3, x - 12 : x + w + 12] = trim * 0.5
    return rgba(color * (1 + 0.2 * tone[..., None]), alpha)


def shop(rng: np.random.Generator) -> Image:
    """A ground floor with windows, a door and an awning or sign, about 6.4 m x 3.6 m."""
    height, width = 128, 256
    color, _ = wall(rng, height, width, brick=rng.random() < 0.3)
    color *= 0.85
    alpha = np.zeros((height, width), dtype=np.float32)
    frame = rgb(rng.uniform(25, 120, 3))
    x = 8
    while x < width - 30:
        w = int(rng.uniform(34, 92))
        w = min(w, width - 8 - x)
        top, low = 40, 120 if rng.random() < 0.3 else 104
        color[top - 3 : low + 3, x - 3 : x + w + 3] = frame
        color[top:low, x : x + w] = _glass(rng, low - top, w)
        goods = rng.uniform(30, 200, (5, max(w // 9, 1), 3)).astype(np.float32)
        shelf = cv2.resize(goods, (w, 26), interpolation=cv2.INTER_NEAREST)
        color[low - 28 : low - 2, x : x + w] *= 0.55
        color[low - 28 : low - 2, x : x + w] += 0.3 * shelf
        x += w + int(rng.uniform(8, 26))
    band = rgb(rng.uniform(30, 215, 3))
    color[14:34] = band
    if rng.random() < 0.6:
        text = rng.random((1, 34)) < 0.6
        marks = cv2.resize(text.astype(np.float32), (150, 10), interpolation=cv2.INTER_NEAREST)
        left = int(rng.integers(10, 90))
        color[19:29, left : left + 150] += (235 - band) * marks[..., None]
    if rng.random() < 0.5:
        stripes = (np.arange(width) // 12) % 2
        color[34:46] = np.where(stripes[:, None] > 0, band, rgb((228, 224, 216)))
        color[46:52] *= 0.5
    color[-7:] *= 0.6
    return rgba(color, alpha)


def roof(rng: np.random.Generator) -> Image:
    """Tiles, 4 m each way."""
    size = 128
    base = ((136, 72, 52), (92, 84, 82), (110, 96, 84), (70, 72, 80))[rng.integers(4)]
    tone = 0.08 * fractal(rng, size, size, 0.9) + 0.05 * grain(rng, size, size)
    for row in range(0, size, 8):
        tone[row : row + 2] -= 0.25
        tone[row : row + 8] += np.roll(rng.normal(0, 0.06, 16).repeat(8), 4 * (row % 16 == 0))
    return rgba(colored(base, tone, 1.0))


def planks(rng: np.random.Generator) -> Image:
    """A wooden fence, 2 m x 1.6 m."""
    size = 128
    tone = 0.1 * fractal(rng, size, size, 0.8, stretch=0.15) + 0.05 * grain(rng, size, size)
    tone += rng.normal(0, 0.12, 8).repeat(16)[None, :]
    tone[:, ::16] -= 0.55
    tone[:, 1::16] -= 0.25
    base = ((132, 98, 68), (150, 142, 130), (92, 70, 54), (206, 202, 192))[rng.integers(4)]
    return rgba(colored(base, tone.astype(np.float32), 1.0))


def rail(rng: np.random.Generator) -> Image:
    """A crash barrier's beam, 4 m x 0.35 m."""
    v = np.linspace(0, 2 * np.pi, 64, dtype=np.float32)[:, None]
    tone = 0.22 * np.cos(2 * v) + 0.06 * fractal(rng, 64, 256, 1.0)
    color = colored((158, 162, 166), tone.astype(np.float32), 1.0)
    color[:, ::128] *= 0.7
    return rgba(color)


def stones(rng: np.random.Generator) -> Image:
    """A wall of concrete or stone, 3 m each way."""
    size = 128
    color, _ = wall(rng, size, size, brick=rng.random() < 0.6)
    return rgba(color)


def leaves(rng: np.random.Generator, hue: float) -> Image:
    """Foliage, 2 m each way; `hue` from 0 (deep green) to 1 (yellowish). Dark gaps between."""
    size = 128
    fine = 0.6 * fractal(rng, size, size, 0.35) + 0.6 * fractal(rng, size, size, 0.9)
    tone = np.clip(0.95 + 0.42 * fine, 0.12, 1.9)[..., None]
    deep, light = rgb((44, 68, 28)), rgb((104, 112, 40))
    base = deep + hue * (light - deep)
    warm = np.clip(fractal(rng, size, size, 0.6), -1, 2)[..., None] * rgb((14, 8, 2))
    return rgba(base * tone + warm)


def bark(rng: np.random.Generator) -> Image:
    """Bark with the light of a round trunk is left to the polygons' normals."""
    tone = 0.25 * fractal(rng, 128, 64, 0.9, stretch=0.2) + 0.08 * grain(rng, 128, 64)
    return rgba(colored((92, 76, 60), tone, 1.0))
