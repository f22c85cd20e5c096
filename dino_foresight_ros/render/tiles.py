"""Single tiles of sheets and mosaics: pictures and maps of a scene, all of one size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import cv2
import numpy as np

from dino_foresight_ros.outputs import DEPTH, INSTANCES, NORMALS, SEGMENTATION
from dino_foresight_ros.render.colors import Picture, colorize_normals, overlay
from dino_foresight_ros.render.objects import Place, draw_objects
from dino_foresight_ros.render.panels import (
    empty_panel,
    legend_entries,
    legend_panel,
    normals_panel,
    objects_panel,
    scale_panel,
)
from dino_foresight_ros.render.style import TEXT, UNTRAINED_TAG, WARNING, Style
from dino_foresight_ros.render.text import draw_tag
from dino_foresight_ros.scene import Scene

CAMERA = "camera"


def row_names(style: Style) -> list[str]:
    """The rows that there are: the camera's, then one for each output that can be drawn."""
    there = {
        SEGMENTATION: style.palette is not None,
        DEPTH: style.depth_scale is not None,
        NORMALS: style.has_normals,
        INSTANCES: style.has_instances,
    }
    return [CAMERA, *(name for name, is_there in there.items() if is_there)]


def key_tile(
    name: str, style: Style, size: tuple[int, int], class_ids: Iterable[int] | None = None
) -> Picture:
    """The key to the colours of an output as a tile of (height, width); classes: None for all."""
    if name == SEGMENTATION and style.palette is not None:
        return legend_panel(legend_entries(style.palette, class_ids), *size)
    if name == DEPTH and style.depth_scale is not None:
        return scale_panel(style.depth_scale, *size)
    if name == INSTANCES:
        return objects_panel(*size)
    return normals_panel(*size)


def map_tile(
    name: str,
    scene: Scene | None,
    beneath: Picture,
    style: Style,
    before: Mapping[int, Place] | None = None,
) -> Picture:
    """One output of a scene as a tile; a plain panel that says so where there is none.

    Args:
        name: of the output, one of `row_names`.
        scene: whose; None where nothing is known.
        beneath: (H, W, 3) uint8, the picture that classes are laid over; it gives the size.
        style: colours shared by all tiles.
        before: where objects were earlier, for arrows.
    """
    size = (beneath.shape[0], beneath.shape[1])
    values = None if scene is None else getattr(scene, name)
    if scene is None or values is None:
        return empty_panel(*size, f"no {name}")
    if name == SEGMENTATION and style.palette is not None:
        return overlay(beneath, enlarge(style.palette.colorize(values), size), style.alpha)
    if name == DEPTH and style.depth_scale is not None:
        return enlarge(style.depth_scale.colorize(values), size)
    if name == INSTANCES:
        return draw_objects(beneath, scene, before)
    return enlarge(colorize_normals(values), size)


def predicted_tile(
    name: str,
    scene: Scene,
    beneath: Picture,
    style: Style,
    before: Mapping[int, Place] | None = None,
) -> Picture:
    """`map_tile` of a forecast: from random weights, "untrained" stands in its corner."""
    tile = map_tile(name, scene, beneath, style, before)
    if not style.trained:
        at = (tile.shape[1], tile.shape[0])
        draw_tag(tile, at, UNTRAINED_TAG, _tag_size(tile), WARNING, anchor="rb")
    return tile


def picture_of(scene: Scene | None) -> Picture | None:
    """The camera's picture of a scene; None where there is none."""
    return None if scene is None else scene.image


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


def marked(tile: Picture, text: str) -> Picture:
    """A copy of a tile with a remark in its lower left corner."""
    tile = np.array(tile)
    draw_tag(tile, (0, len(tile)), text, _tag_size(tile), TEXT, anchor="lb")
    return tile


def _tag_size(tile: Picture) -> int:
    return max(12, tile.shape[1] // 28)
