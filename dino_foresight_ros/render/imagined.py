"""Candidates of a planner: what is imagined on them, and where they lead, by their risk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.render.colors import ClassPalette, Picture
from dino_foresight_ros.render.style import TEXT
from dino_foresight_ros.render.text import draw_tag, draw_text, shortened, with_untrained_banner
from dino_foresight_ros.render.tile_grid import background
from dino_foresight_ros.render.tiles import enlarge

TILE_WIDTH, GAP, _SIZE = 480, 8, 15
_MOST_ROWS = 3
_BEHIND_M, _RING_M, _LEAST_M = 3.0, 5.0, 18.0
_RING = (70, 70, 70)


class ImaginedTrajectory(NamedTuple):
    """What is imagined on a candidate.

    Attributes:
        name: of it, such as "5.0 m/s  +10 deg/s".
        reason: why it was refused; empty for the chosen one.
        horizons_s: seconds of each view.
        risks: probability of a contact until then.
        views: (H, W) class ids at each horizon.
    """

    name: str
    reason: str
    horizons_s: Sequence[float]
    risks: Sequence[float]
    views: Sequence[NDArray[np.uint8]]


def arc_name(arc: Sequence[float] | NDArray[np.float64]) -> str:
    """m/s and rad/s in words."""
    return f"{arc[0]:.1f} m/s  {np.degrees(arc[1]):+.0f} deg/s"


def risk_rgb(risk: float) -> tuple[int, int, int]:
    """Green for 0 over yellow to red for 1."""
    risk = float(np.clip(risk, 0.0, 1.0))
    return round(255 * min(1.0, 2 * risk)), round(255 * min(1.0, 2 * (1 - risk))), 25


def imagined_columns(
    trajectories: Sequence[ImaginedTrajectory], palette: ClassPalette, trained: bool
) -> Picture:
    """A column per candidate, a row per horizon, of which there are three at most."""
    picture = beside([_column(trajectory, palette) for trajectory in trajectories])
    return picture if trained else with_untrained_banner(picture)


def beside(columns: Sequence[Picture]) -> Picture:
    """Pictures side by side, aligned at the top."""
    height = max(len(column) for column in columns)
    width = sum(column.shape[1] for column in columns) + GAP * (len(columns) - 1)
    picture, left = background(height, width), 0
    for column in columns:
        picture[: len(column), left : left + column.shape[1]] = column
        left += column.shape[1] + GAP
    return picture


def beneath(tiles: Sequence[Picture]) -> Picture:
    """Pictures of one width beneath each other."""
    height = sum(len(tile) for tile in tiles) + GAP * (len(tiles) - 1)
    column, top = background(height, tiles[0].shape[1]), 0
    for tile in tiles:
        column[top : top + len(tile)] = tile
        top += len(tile) + GAP
    return column


def _column(trajectory: ImaginedTrajectory, palette: ClassPalette) -> Picture:
    tiles = []
    rows = len(trajectory.views)
    for k in sorted({round(k) for k in np.linspace(0, rows - 1, min(rows, _MOST_ROWS))}):
        ids = trajectory.views[k]
        size = (round(TILE_WIDTH * ids.shape[0] / ids.shape[1]), TILE_WIDTH)
        tile = enlarge(palette.colorize(ids), size).copy()
        risk = f"t+{trajectory.horizons_s[k]:.2f} s   risk {trajectory.risks[k]:.2f}"
        draw_tag(tile, (_SIZE // 2, size[0] - 2 * _SIZE), risk, _SIZE)
        tiles.append(tile)
    lines = (
        [f"{trajectory.name}  refused", trajectory.reason]
        if trajectory.reason
        else [f"{trajectory.name}  chosen"]
    )
    for row, text in enumerate(lines):
        place = _SIZE // 2, _SIZE // 2 + row * round(1.6 * _SIZE)
        draw_tag(tiles[0], place, shortened(text, TILE_WIDTH - 2 * _SIZE, _SIZE), _SIZE)
    return beneath(tiles)


def seen_from_above(
    paths: Sequence[NDArray[np.float64]],
    risks: Sequence[float],
    ranking: Sequence[int],
    obstacles: NDArray[np.float32],
    colors: NDArray[np.uint8],
    outline: NDArray[np.float64],
    size: tuple[int, int],
) -> Picture:
    """Candidates around the robot, which looks up, the best one wide; rings are 5 m apart.

    Args:
        paths: (P, 2) x and y in metres of each candidate.
        risks: of each.
        ranking: their places, best first.
        obstacles: (N, 2) x and y in metres.
        colors: (N, 3) uint8 RGB of them.
        outline: (M, 2) of the robot.
        size: (height, width) in pixels.
    """
    height, width = size
    picture = background(height, width)
    far_m = max([_LEAST_M, *(float(np.abs(path).max()) * 1.2 for path in paths)])
    scale = height / (far_m + _BEHIND_M)

    def pixels(places: NDArray[np.float64] | NDArray[np.float32]) -> NDArray[np.int32]:
        column, row = width / 2 - places[:, 1] * scale, (far_m - places[:, 0]) * scale
        return np.rint(np.stack([column, row], axis=1)).astype(np.int32)

    (center,) = pixels(np.zeros((1, 2)))
    for ring_m in np.arange(_RING_M, far_m + _RING_M, _RING_M):
        cv2.circle(picture, center.tolist(), round(ring_m * scale), _RING, 1, cv2.LINE_AA)
        aside = 0.62 * ring_m * scale  # where candidates seldom lead
        place = (int(center[0] + aside) + 4, int(center[1] - 0.78 * ring_m * scale))
        draw_text(picture, place, f"{ring_m:.0f} m", 12, TEXT)
    for place, color in zip(pixels(obstacles), colors, strict=True):
        cv2.circle(picture, place.tolist(), 2, color.tolist(), -1)
    cv2.fillPoly(picture, [pixels(outline)], (225, 225, 225))
    for index in reversed(list(ranking)):
        thickness = 4 if index == ranking[0] else 1
        line = [pixels(paths[index])]
        cv2.polylines(picture, line, False, risk_rgb(risks[index]), thickness, cv2.LINE_AA)
    return picture
