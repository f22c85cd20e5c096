"""Textures of the ground. Alpha of the road texture is how much of a texel is lane marking."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.synthetic.config import Conditions
from dino_foresight_ros.synthetic.layout import RoadLayout
from dino_foresight_ros.synthetic.noise import Noise, colored, cracks, fractal, grain, rgb, rgba

Image = NDArray[np.uint8]

ROAD_PERIOD_M = 48.0


def road_span_m(layout: RoadLayout) -> float:
    """Width of the ground that the road texture covers, centred on the centre line."""
    return 16.0 if max(layout.half_width(1), layout.half_width(-1)) < 7.8 else 32.0


def asphalt(rng: np.random.Generator, height: int, width: int, shade: float) -> Noise:
    """Asphalt (H, W, 3) in grey levels around `shade`."""
    size = 512
    tone = 0.05 * fractal(rng, size, size, 1.3) + 0.09 * fractal(rng, size, size, 0.45)
    tone += 0.07 * grain(rng, size, size)
    repeat = (max(1, height // size), max(1, width // size))
    tone = np.tile(tone, repeat)[:height, :width]
    tone = tone + 0.05 * cv2.resize(fractal(rng, 128, 128, 1.4), (width, height))
    warm = rng.uniform(-0.03, 0.03)
    return colored((shade * (1 + warm), shade, shade * (1 - warm)), tone, 1.0)


def road(rng: np.random.Generator, layout: RoadLayout, conditions: Conditions) -> Image:
    """The carriageway: u along the road (ROAD_PERIOD_M), v across it from right to left."""
    span = road_span_m(layout)
    width, height = 2048, 512 if span < 20 else 1024
    across, along = height / span, width / ROAD_PERIOD_M
    shade = rng.uniform(78, 132) * (0.72 if conditions.weather == "wet" else 1.0)
    color = asphalt(rng, height, width, shade)
    d = (np.arange(height) + 0.5) / across - span / 2
    color *= _wheel_tracks(rng, layout, d)[:, None, None]
    _patch(rng, color, along, across)
    lines = cracks(rng, height, width, int(rng.integers(0, 60)))
    color *= 1.0 - 0.35 * lines[..., None]
    # Gutters collect dirt.
    for direction in (1, -1):
        away = np.abs(d * direction - layout.half_width(direction))
        color *= (1 - 0.25 * np.exp(-away / 0.25))[:, None, None]
    marking = _markings(layout, height, width, along, across, span)
    worn = fractal(rng, 512, 512, 0.7)
    cover = np.clip(1.15 - rng.uniform(0.0, 0.35) * np.maximum(worn, 0) ** 1.5, 0.0, 1.0)
    repeat = (max(1, height // 512), width // 512)
    worn, cover = np.tile(worn, repeat)[:height, :width], np.tile(cover, repeat)[:height, :width]
    paint = np.full((height, 1, 3), rng.uniform(205, 235), dtype=np.float32)
    if layout.yellow_center:
        paint[np.abs(d) < layout.median_m / 2 + 0.5] = (214, 168, 60)
    alpha = (marking * cover).astype(np.float32)[..., None]
    return rgba(
        color * (1 - alpha) + (paint * (1 + 0.04 * worn[..., None]) * alpha).astype(np.float32),
        marking * 255.0,
    )


def _wheel_tracks(
    rng: np.random.Generator, layout: RoadLayout, d: NDArray[np.floating[Any]]
) -> Noise:
    tone = np.ones_like(d)
    strength = rng.uniform(-0.14, 0.10)
    for forward, count in ((True, layout.lanes_forward), (False, layout.lanes_backward)):
        for index in range(count):
            center = layout.lane_center(forward, index)
            for wheel in (-0.8, 0.8):
                tone += strength * np.exp(-(((d - center - wheel) / 0.32) ** 2))
            tone -= 0.06 * np.exp(-(((d - center) / 0.3) ** 2))  # oil
    return tone.astype(np.float32)


def _patch(rng: np.random.Generator, color: Noise, along: float, across: float) -> None:
    """Repaired rectangles, in place."""
    height, width = color.shape[:2]
    for _ in range(rng.integers(0, 7)):
        w, h = int(rng.uniform(1, 7) * along), int(rng.uniform(0.6, 2.5) * across)
        x, y = int(rng.integers(0, max(width - w, 1))), int(rng.integers(0, max(height - h, 1)))
        color[y : y + h, x : x + w] *= rng.uniform(0.78, 1.12)
        cv2.rectangle(color, (x, y), (x + w, y + h), (42.0, 42.0, 44.0), 2)


def _markings(
    layout: RoadLayout, height: int, width: int, along: float, across: float, span: float
) -> Noise:
    """Coverage (H, W) in 0..1 of the lines along the road."""
    cover = np.zeros((height, width), dtype=np.float32)
    s = (np.arange(width) + 0.5) / along
    dashed = (np.mod(s, layout.dash_period_m) < layout.dash_m).astype(np.float32)
    solid = np.ones(width, dtype=np.float32)

    def line(d: float, pattern: Noise, line_m: float = 0.14) -> None:
        rows = (np.arange(height) + 0.5) / across - span / 2
        profile = np.clip((line_m / 2 - np.abs(rows - d)) * across + 0.5, 0.0, 1.0)
        np.maximum(cover, profile[:, None].astype(np.float32) * pattern, out=cover)

    if layout.median_m > 0:
        for sign in (-1, 1):
            line(sign * layout.median_m / 2, solid)
    elif layout.solid_center or layout.lanes_forward > 1:
        for sign in (-1, 1):
            line(sign * 0.14, solid, 0.12)
    else:
        line(0.0, dashed)
    for forward, count in ((True, layout.lanes_forward), (False, layout.lanes_backward)):
        for index in range(count - 1):
            inner = layout.lane_center(forward, index)
            line(inner + np.sign(inner) * layout.lane_m / 2, dashed)
    for direction in (1, -1):
        if layout.edge_line or layout.parking_m > 0:
            parked = layout.parking_m > 0 and not layout.edge_line
            pattern = (np.mod(s, 2.0) < 1.0).astype(np.float32) if parked else solid
            line(direction * (layout.lanes_edge(direction) - 0.08), pattern, 0.11)
    return cover


def slabs(rng: np.random.Generator) -> Image:
    """Paving of a sidewalk, 2.4 m each way."""
    size = 256
    count = int(rng.choice([2, 4, 6, 8]))
    shade = rng.uniform(105, 175)
    tint = (shade * rng.uniform(0.98, 1.1), shade, shade * rng.uniform(0.86, 1.0))
    tone = 0.05 * fractal(rng, size, size, 1.1) + 0.06 * grain(rng, size, size)
    cells = rng.normal(0, 0.07, (count, count)).astype(np.float32)
    tone += cv2.resize(cells, (size, size), interpolation=cv2.INTER_NEAREST)
    color = colored(tint, tone, 1.0)
    step = size // count
    for k in range(count):
        color[(k * step) % size] *= 0.62
        shift = (step // 2) * (k % 2) if count > 2 else 0
        rows = slice(k * step, (k + 1) * step)
        for x in range(shift, size, step):
            color[rows, x] *= 0.62
    return rgba(color)


def grass(rng: np.random.Generator, dry: float) -> Image:
    """Grass or field, 6 m each way; `dry` from 0 (green) to 1 (straw)."""
    size = 256
    tone = 0.16 * fractal(rng, size, size, 1.0) + 0.16 * fractal(rng, size, size, 0.3)
    green, straw = np.array((74.0, 98.0, 44.0)), np.array((142.0, 124.0, 78.0))
    color = colored(tuple(green + dry * (straw - green)), tone, 1.0)
    patchy = np.clip(fractal(rng, size, size, 1.5) * 0.5, 0, 1)[..., None]
    return rgba(color * (1 - 0.35 * patchy) + 0.35 * patchy * rgb((128, 112, 78)))


def plain(
    rng: np.random.Generator, base: tuple[float, float, float], strength: float = 0.08
) -> Image:
    """A slightly dirty even surface, 128 x 128."""
    tone = fractal(rng, 128, 128, 1.1) + 0.7 * grain(rng, 128, 128)
    return rgba(colored(base, tone, strength))
