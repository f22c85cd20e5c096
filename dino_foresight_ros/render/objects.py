"""Draws single objects: outlines, ids, and arrows from where they are now to where they will be."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping
from functools import lru_cache

import cv2
import numpy as np

from dino_foresight_ros.objects import ObjectPath
from dino_foresight_ros.render.colors import Color, Picture
from dino_foresight_ros.render.text import draw_tag, text_size
from dino_foresight_ros.scene import Scene

Place = tuple[float, float]
"""(x, y) as a share of the picture's width and height."""

_RIM: Color = (0, 0, 0)
_LEAST_ARROW = 0.012  # of the picture's diagonal, and
_LEAST_LINES = 5  # thicknesses of its line; a shorter one is only a blot
_LEAST_TAGGED = 1.5  # heights of the letters; a smaller object has no number
_GOLDEN = 0.618034


@lru_cache(maxsize=4096)
def object_color(number: int) -> Color:
    """The colour of an id: bright, and far from those of the ids beside it."""
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1.0, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def places_of(scenes: Iterable[Scene]) -> dict[int, Place]:
    """Id -> the middle of the object in the first scene that has it.

    Args:
        scenes: of one forecast, the earliest instant first, the same object with the same id.
    """
    places: dict[int, Place] = {}
    for scene in scenes:
        if scene.instances is not None:
            height, width = scene.instances.shape
            for one in scene.detections:
                x, y = one.centroid
                places.setdefault(one.id, ((x + 0.5) / width, (y + 0.5) / height))
    return places


def places_now(paths: Iterable[ObjectPath], size: tuple[int, int]) -> dict[int, Place]:
    """Id -> where the object is found first.

    Args:
        paths: of a forecast.
        size: (height, width) of the pictures that their centroids are of.
    """
    places: dict[int, Place] = {}
    for path in paths:
        known = path.centroids[np.isfinite(path.centroids).all(axis=1)]
        if len(known):
            x, y = known[0].tolist()
            places[path.id] = (x + 0.5) / size[1], (y + 0.5) / size[0]
    return places


def draw_objects(
    picture: Picture, scene: Scene, before: Mapping[int, Place] | None = None
) -> Picture:
    """Draw a scene's objects on a copy of a picture of the same view.

    Args:
        picture: (H, W, 3) uint8 RGB, any size.
        scene: its `instances` and `detections`; without them the picture stays as it is.
        before: where objects were earlier, `places_of`; an arrow leads from there.
    """
    drawn = picture.copy()
    if scene.instances is None or not scene.detections:
        return drawn
    height, width = picture.shape[:2]
    ids = scene.instances
    thick = max(2, round(min(height, width) / 200))
    size = max(9, round(height * 0.034))
    here = places_of([scene])
    # The surest last, so that it lies on top.
    for detection in reversed(scene.detections):
        color = object_color(detection.id)
        mask = (ids == detection.id).astype(np.uint8)
        whole = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(whole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(drawn, outlines, -1, _RIM, thick + 2, cv2.LINE_AA)
        cv2.drawContours(drawn, outlines, -1, color, thick, cv2.LINE_AA)
    for detection in reversed(scene.detections):
        color, (x, y) = object_color(detection.id), here[detection.id]
        end = round(x * width), round(y * height)
        if before is not None and detection.id in before:
            start_x, start_y = before[detection.id]
            start = round(start_x * width), round(start_y * height)
            _arrow(drawn, start, end, color, thick)
        rows = np.flatnonzero((ids == detection.id).any(axis=1))
        if rows.size * height < _LEAST_TAGGED * size * ids.shape[0]:
            continue  # far objects stand close together: their numbers would cover them
        top = round(rows[0] * height / ids.shape[0]) if rows.size else end[1]
        text = str(detection.id)
        room = text_size(text, size)[0]
        left = min(max(end[0] - room // 2, 0), max(0, width - 2 * room))
        pale: Color = (color[0] + 255) // 2, (color[1] + 255) // 2, (color[2] + 255) // 2
        draw_tag(drawn, (left, max(top, round(size * 1.4))), text, size, pale, anchor="lb")
    return drawn


def _arrow(
    picture: Picture, start: tuple[int, int], end: tuple[int, int], color: Color, thick: int
) -> None:
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    least = max(_LEAST_ARROW * float(np.hypot(*picture.shape[:2])), _LEAST_LINES * thick)
    if length < least:
        return
    tip = min(0.5, 6.0 * thick / length)
    for line_color, line in ((_RIM, thick + 2), (color, thick)):
        cv2.arrowedLine(picture, start, end, line_color, line, cv2.LINE_AA, 0, tip)
