"""Single tiles of sheets and mosaics: a scene's maps as pictures of one size."""

from __future__ import annotations

import cv2
import numpy as np

from dino_foresight_ros.render import theme
from dino_foresight_ros.render.normals import colorize_normals
from dino_foresight_ros.render.palette import Picture, overlay
from dino_foresight_ros.render.panels import empty_panel
from dino_foresight_ros.render.text import draw_tag
from dino_foresight_ros.render.views import Look, SceneMaps

CAMERA, SEGMENTATION, DEPTH, NORMALS = "camera", "segmentation", "depth", "normals"


def row_names(look: Look) -> list[str]:
    """The rows that a look has: the camera always, the others where there is a head."""
    names = [CAMERA]
    if look.palette is not None:
        names.append(SEGMENTATION)
    if look.scale is not None:
        names.append(DEPTH)
    if look.has_normals:
        names.append(NORMALS)
    return names


def fit(image: Picture, size: tuple[int, int]) -> Picture:
    """Resize a picture to (height, width)."""
    height, width = size
    if image.shape[:2] == size:
        return image
    shrinks = image.shape[0] > height
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), np.uint8)


def enlarge(colors: Picture, size: tuple[int, int]) -> Picture:
    """Resize colours that stand for something, without inventing ones between them."""
    nearest = cv2.resize(colors, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(nearest, np.uint8)


def map_tile(name: str, scene: SceneMaps | None, beneath: Picture, look: Look) -> Picture:
    """One map of a scene as a tile; a plain panel that says so where there is none.

    Args:
        name: SEGMENTATION, DEPTH or NORMALS.
        scene: whose map; None where nothing is known.
        beneath: (H, W, 3) uint8, the picture that classes are laid over; it gives the size.
        look: colours shared by all tiles.
    """
    size = (beneath.shape[0], beneath.shape[1])
    values = None if scene is None else getattr(scene, name)
    if values is None:
        return empty_panel(*size, f"no {name}")
    if name == SEGMENTATION and look.palette is not None:
        return overlay(beneath, enlarge(look.palette.colorize(values), size), look.alpha)
    if name == DEPTH and look.scale is not None:
        return enlarge(look.scale.colorize(values), size)
    return enlarge(colorize_normals(values), size)


def mark_untrained(tile: Picture, look: Look) -> Picture:
    """Write "untrained" into the corner of a forecast from random weights, in place."""
    if not look.trained:
        at = (tile.shape[1], tile.shape[0])
        draw_tag(tile, at, theme.UNTRAINED_TAG, tag_size(tile), theme.WARNING, anchor="rb")
    return tile


def mark(tile: Picture, text: str) -> Picture:
    """Write a remark into the lower left corner, in place."""
    draw_tag(tile, (0, len(tile)), text, tag_size(tile), theme.TEXT, anchor="lb")
    return tile


def tag_size(tile: Picture) -> int:
    """Font size of what is written on a tile, in pixels."""
    return max(12, tile.shape[1] // 28)
