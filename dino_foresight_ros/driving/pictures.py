"""Pictures of a drive: the camera's view, what the policy does, and the truth from above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import WORLD_CLASSES
from dino_foresight_ros.driving.episode import RATE_HZ, Instant
from dino_foresight_ros.render.text import draw_tag
from dino_foresight_ros.render.video_writer import TimedVideo

Picture = NDArray[np.uint8]

PANEL = (270, 480)
_ABOVE = (132, 96)
_METRES, _BEHIND_M = 40.0, 6.0
_STRUCK, _STOPS = (220, 40, 40), (255, 180, 60)


def panel(name: str, instant: Instant, struck: bool) -> Picture:
    """One policy at one instant (H, W, 3)."""
    height, width = PANEL
    image = cv2.resize(instant.frame.image, (width, height), interpolation=cv2.INTER_LINEAR)
    above = seen_from_above(instant)
    image[height - _ABOVE[0] - 6 : height - 6, width - _ABOVE[1] - 6 : width - 6] = above
    ego, choice = instant.drive.ego, instant.choice
    draw_tag(image, (6, 6), f"{name}: {choice.name}", 17, _STOPS if choice.stops else (255,) * 3)
    facts = f"{ego.speed_mps * 3.6:.0f} km/h   {instant.drive.travelled_m:.0f} m"
    draw_tag(image, (6, height - 30), f"{facts}   collisions {instant.collisions}", 15)
    if struck:
        cv2.rectangle(image, (0, 0), (width - 1, height - 1), _STRUCK, 8)
    return np.asarray(image, np.uint8)


def seen_from_above(instant: Instant) -> Picture:
    """The true outlines around the ego (H, W, 3), which drives upwards."""
    height, width = _ABOVE
    image = np.full((height, width, 3), 40, np.uint8)
    scale = height / _METRES

    def pixels(places: NDArray[np.float64]) -> NDArray[np.int32]:
        x, y = instant.drive.to_base(places).T
        column, row = width / 2 - y * scale, height - (x + _BEHIND_M) * scale
        return np.rint(np.stack([column, row], axis=1)).astype(np.int32)

    for one in instant.drive.obstacles():
        color = WORLD_CLASSES[one.class_id].color
        cv2.fillConvexPoly(image, pixels(one.outline), tuple(min(c + 60, 255) for c in color))
    cv2.fillConvexPoly(image, pixels(instant.drive.outline()), (240, 240, 240))
    return image


def write_video(path: Path, panels: Mapping[str, Sequence[Picture]]) -> None:
    """Policies side by side, as they drive through one world."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    height, width = PANEL
    video = TimedVideo(path, RATE_HZ, (rows * height, columns * width))
    try:
        for step in range(max(len(of_one) for of_one in panels.values())):
            sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
            for place, of_one in enumerate(panels.values()):
                row, column = divmod(place, columns)
                shown = of_one[min(step, len(of_one) - 1)]
                sheet[row * height :, column * width :][:height, :width] = shown
            video.show(sheet, round(step / RATE_HZ * 1e9))
    finally:
        video.close()
