"""Textures of vehicles, people, signs and poles. Alpha 255 takes the polygon's tint (paint)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.synthetic.noise import Noise, colored, fractal, grain, rgb, rgba

Image = NDArray[np.uint8]

_GLASS = rgb((44, 52, 60))


def _paint(height: int, width: int) -> tuple[Noise, Noise]:
    """White paint with the sky reflected above and the road below, and a full alpha plane."""
    v = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    tone = 1.0 - 0.28 * v + 0.1 * np.exp(-(((v - 0.3) / 0.08) ** 2))
    color = np.broadcast_to((222 * tone)[..., None], (height, width, 3)).astype(np.float32)
    return color.copy(), np.full((height, width), 255.0, dtype=np.float32)


def _reflecting_glass(height: int, width: int, bright: float = 1.0) -> Noise:
    v = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    pane = _GLASS + (1 - v) ** 1.5 * rgb((92, 104, 116)) * bright
    pane = np.broadcast_to(pane, (height, width, 3)).copy()
    slant = (np.arange(width)[None, :] - 0.6 * np.arange(height)[:, None]) / width
    pane *= np.where(np.abs(slant - 0.35) < 0.12, 1.25, 1.0)[..., None]
    return pane.astype(np.float32)


def car_side() -> Image:
    """The lower body seen from its right: doors, sill, handles; front at u = 1."""
    height, width = 64, 256
    color, alpha = _paint(height, width)
    for x in (80, 128, 182):
        color[4:56, x : x + 2] *= 0.45
    for x in (116, 168):
        color[14:18, x : x + 10] *= 0.5
    color[52:], alpha[52:] = rgb((34, 34, 36)), 0.0
    color[40:42] *= 0.8
    color[10:26, 246:], alpha[10:26, 246:] = rgb((226, 226, 214)), 0.0
    color[10:24, :7], alpha[10:24, :7] = rgb((176, 26, 22)), 0.0
    return rgba(color, alpha)


def car_windows() -> Image:
    """The side windows between their pillars."""
    height, width = 64, 128
    color, alpha = _paint(height, width)
    color[8:58, 8:120] = _reflecting_glass(50, 112)
    alpha[8:58, 8:120] = 0.0
    for x in (44, 82):
        color[8:58, x : x + 5] = 24.0
    return rgba(color, alpha)


def car_glass(rear: bool) -> Image:
    """Windscreen or rear window."""
    height, width = 64, 128
    color, alpha = _paint(height, width)
    color[3:61, 5:123], alpha[3:61, 5:123] = _reflecting_glass(58, 118, 0.8), 0.0
    if not rear:
        cv2.ellipse(color, (40, 50), (14, 16), 0, 180, 360, (26.0, 28.0, 30.0), -1)
        cv2.ellipse(color, (88, 50), (14, 16), 0, 180, 360, (26.0, 28.0, 30.0), -1)
    return rgba(color, alpha)


def car_front(rng: np.random.Generator) -> Image:
    """Grille, headlights, number plate, bumper."""
    height, width = 64, 128
    color, alpha = _paint(height, width)

    def dark(y0: int, y1: int, x0: int, x1: int, value: tuple[float, float, float]) -> None:
        color[y0:y1, x0:x1], alpha[y0:y1, x0:x1] = rgb(value), 0.0

    dark(16, 32, 34, 94, (30, 31, 33))
    for y in range(18, 32, 4):
        color[y, 34:94] = 92.0
    for x in (4, 98):
        dark(12, 26, x, x + 26, (196, 200, 202))
        dark(14, 24, x + 6, x + 20, (246, 246, 236))
    dark(50, 64, 0, 128, (36, 36, 38))
    dark(38, 47, 48, 80, (224, 222, 206) if rng.random() < 0.7 else (226, 200, 60))
    return rgba(color, alpha)


def car_rear(rng: np.random.Generator, braking: bool) -> Image:
    """Tail lights, number plate, bumper, boot line."""
    height, width = 64, 128
    color, alpha = _paint(height, width)
    red = rgb((250, 46, 34)) if braking else rgb((150, 22, 18))
    for x in (2, 102):
        color[9:25, x : x + 24], alpha[9:25, x : x + 24] = red, 0.0
        color[19:23, x + 6 : x + 18] = (210, 190, 180)
    if braking:
        color[2:5, 52:76], alpha[2:5, 52:76] = red, 0.0
    color[31:33, 8:120] *= 0.5
    color[20:29, 48:80], alpha[20:29, 48:80] = rgb((224, 222, 206)), 0.0
    color[48:], alpha[48:] = rgb((40, 40, 42)), 0.0
    color[50:53, 16:112] = rng.uniform(50, 90)
    return rgba(color, alpha)


def car_body() -> Image:
    """Bonnet, roof and boot."""
    color, alpha = _paint(32, 64)
    u = np.linspace(-1, 1, 64, dtype=np.float32)[None, :, None]
    return rgba(color * (1.08 - 0.16 * u**2), alpha)


def wheel() -> Image:
    """A tyre with its rim."""
    size = 64
    color = np.full((size, size, 3), 26.0, dtype=np.float32)
    cv2.circle(color, (32, 32), 20, (142.0, 144.0, 148.0), -1, cv2.LINE_AA)
    for k in range(5):
        angle = k * 2 * np.pi / 5
        at = (int(32 + 12 * np.cos(angle)), int(32 + 12 * np.sin(angle)))
        cv2.circle(color, at, 4, (40.0, 40.0, 42.0), -1, cv2.LINE_AA)
    return rgba(color, 0.0)


def truck_side(rng: np.random.Generator, bus: bool) -> Image:
    """A box body with lettering, or a bus with windows."""
    height, width = 128, 256
    color, alpha = _paint(height, width)
    color = color * (1 + 0.03 * fractal(rng, height, width, 1.0)[..., None])
    if bus:
        for x in range(8, 244, 40):
            color[18:66, x : x + 34] = _reflecting_glass(48, 34)
            alpha[18:66, x : x + 34] = 0.0
        stripe = rgb(rng.uniform(40, 220, 3))
        color[80:88], alpha[80:88] = stripe, 0.0
    else:
        color[:, ::64] *= 0.8
        stripe = rgb(rng.uniform(30, 210, 3))
        letters = cv2.resize(
            (rng.random((3, 12)) < 0.65).astype(np.float32), (150, 34), interpolation=0
        )
        at = color[40:74, 50:200]
        at += (stripe - at) * letters[..., None]
        alpha[40:74, 50:200] *= 1 - letters
    color[116:], alpha[116:] = rgb((38, 38, 40)), 0.0
    return rgba(color, alpha)


def truck_end(rng: np.random.Generator, front: bool) -> Image:
    """Front with a large windscreen, or rear doors with lights."""
    color, alpha = _paint(128, 128)
    if front:
        color[24:70, 8:120], alpha[24:70, 8:120] = _reflecting_glass(46, 112), 0.0
        color[84:104, 30:98], alpha[84:104, 30:98] = 34.0, 0.0
        for x in (6, 104):
            color[96:108, x : x + 18], alpha[96:108, x : x + 18] = (240, 240, 228), 0.0
    else:
        color[6:104, 63:66] *= 0.4
        color[6:104, 20:22] *= 0.6
        color[6:104, 106:108] *= 0.6
        for x in (4, 108):
            color[106:116, x : x + 16], alpha[106:116, x : x + 16] = (170, 24, 20), 0.0
    color[114:], alpha[114:] = rgb((36, 36, 38)), 0.0
    return rgba(color * (1 + 0.03 * fractal(rng, 128, 128, 1.0)[..., None]), alpha)


def cloth(rng: np.random.Generator) -> Image:
    """A round limb or trunk: bright in the middle of u, darker to the sides, with folds."""
    u = np.linspace(-1, 1, 32, dtype=np.float32)[None, :]
    round_shade = 0.55 + 0.5 * np.sqrt(np.maximum(1 - u**2, 0))
    folds = 0.1 * fractal(rng, 64, 32, 0.9, stretch=3.0) + 0.05 * grain(rng, 64, 32)
    return rgba(colored((225, 225, 225), (round_shade - 1 + folds).astype(np.float32), 1.0))


def head() -> Image:
    """A head from behind or from the side: hair above skin."""
    size = 32
    u = np.linspace(-1, 1, size, dtype=np.float32)[None, :]
    shade = (0.6 + 0.45 * np.sqrt(np.maximum(1 - u**2, 0)))[..., None]
    color = np.broadcast_to(rgb((206, 158, 128)), (size, size, 3)).copy()
    color[:10] = (52, 40, 32)
    return rgba(color * shade, 0.0)


def signs(rng: np.random.Generator) -> list[Image]:
    """Speed limit, warning, mandatory arrow, priority, no entry, and a direction board."""
    out = []
    for kind in range(6):
        color = np.full((64, 64, 3), 236.0, dtype=np.float32)
        middle = (32, 32)
        if kind == 0:
            cv2.circle(color, middle, 31, (198.0, 30.0, 34.0), 9, cv2.LINE_AA)
            text = str(int(rng.choice([30, 50, 60, 70])))
            digits = np.zeros((64, 64), dtype=np.uint8)  # OpenCV writes on 8 bits only
            cv2.putText(digits, text, (13, 42), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 4)
            color[digits > 127] = 20.0
        elif kind == 1:
            color[:] = (204, 34, 36)
            inner = np.array([[32, 16], [53, 54], [11, 54]], dtype=np.int32)
            cv2.fillPoly(color, [inner], (240.0, 238.0, 226.0))
            cv2.line(color, (32, 28), (32, 44), (20.0, 20.0, 20.0), 4)
        elif kind == 2:
            color[:] = (26, 84, 170)
            cv2.arrowedLine(color, (32, 52), (32, 12), (240.0, 240.0, 240.0), 6, tipLength=0.4)
        elif kind == 3:
            cv2.rectangle(color, (13, 13), (51, 51), (238.0, 190.0, 30.0), -1)
        elif kind == 4:
            color[:] = (200, 30, 34)
            color[27:37, 10:54] = 240.0
        else:
            color[:] = (22, 96, 60) if rng.random() < 0.5 else (28, 74, 158)
            for y in (14, 32, 48):
                length = int(rng.integers(20, 50))
                color[y : y + 6, 8 : 8 + length] = 232.0
        out.append(rgba(color, 0.0))
    return out


def traffic_light(state: int) -> Image:
    """A signal head, 0 red, 1 green."""
    color = np.full((64, 32, 3), 22.0, dtype=np.float32)
    lamps = ((64.0, 20.0, 18.0), (60.0, 50.0, 16.0), (16.0, 56.0, 34.0))
    lit = {0: (255.0, 40.0, 30.0), 2: (40.0, 240.0, 150.0)}
    for k, y in enumerate((12, 32, 52)):
        on = (state == 0 and k == 0) or (state == 1 and k == 2)
        cv2.circle(color, (16, y), 8, lit[k] if on else lamps[k], -1, cv2.LINE_AA)
    return rgba(color, 0.0)


def metal(rng: np.random.Generator) -> Image:
    """Galvanised steel."""
    tone = 0.06 * fractal(rng, 64, 32, 1.0) + 0.04 * grain(rng, 64, 32)
    return rgba(colored((176, 178, 180), tone, 1.0))
