"""Objects of a map of instances: their boxes, centroids, and places in metres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.outputs import DEPTH, DETECTIONS, INSTANCES
from dino_foresight_ros.scene import Detection, Scene


def pixels_of(instances: NDArray[Any]) -> dict[int, tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Id -> (rows, columns) of its pixels, for every object of a map (H, W); 0 is none."""
    rows, columns = np.nonzero(instances)
    ids = instances[rows, columns]
    order = np.argsort(ids, kind="stable")
    found, starts = np.unique(ids[order], return_index=True)
    groups = zip(
        found.tolist(),
        np.split(rows[order], starts[1:]),
        np.split(columns[order], starts[1:]),
        strict=False,
    )
    return {number: (of_rows, of_columns) for number, of_rows, of_columns in groups}


def detections_of(
    instances: NDArray[Any], found: NDArray[np.floating[Any]]
) -> tuple[Detection, ...]:
    """Describe the objects of a map, highest score first.

    Args:
        instances: (H, W) ids.
        found: (N, 3) id, class id and score; rows of id 0, and of ids without a pixel, are left
            out.
    """
    pixels = pixels_of(instances)
    objects = []
    for number, class_id, score in found[np.argsort(-found[:, 2], kind="stable")].tolist():
        if int(number) not in pixels:
            continue
        rows, columns = pixels[int(number)]
        left, top = int(columns.min()), int(rows.min())
        size = int(columns.max()) - left + 1, int(rows.max()) - top + 1
        centroid = float(columns.mean()), float(rows.mean())
        box = float(left), float(top), float(size[0]), float(size[1])
        objects.append(Detection(int(number), int(class_id), score, box, centroid))
    return tuple(objects)


def true_detections(labels: Scene) -> tuple[Detection, ...]:
    """The objects of labels, each of the class of most of its pixels; none without both kinds."""
    ids, classes = labels.instances, labels.segmentation
    if ids is None or classes is None:
        return ()
    found = [
        (number, np.bincount(classes[where]).argmax(), 1.0)
        for number, where in pixels_of(ids).items()
    ]
    return detections_of(ids, np.array(found, np.float64).reshape(-1, 3))


def located(
    detections: Sequence[Detection],
    instances: NDArray[Any],
    depth: NDArray[np.floating[Any]],
    rays: NDArray[np.float32],
) -> tuple[Detection, ...]:
    """The same objects with their positions in the camera's optical frame.

    An object lies where the ray through its mask's centroid meets the median depth of its mask,
    which the pixels of its edge, of which some see what is behind it, leave alone.

    Args:
        detections: of `instances`.
        instances: (H, W) ids.
        depth: (H, W) metres along the optical axis, NaN unknown; an object without a known pixel
            keeps no position.
        rays: (H, W, 3) through the pixels (`CameraView.pixel_rays`), NaN where the lens sees
            nothing; an object there keeps no position.

    Raises:
        InputError: the maps are not of one size.
    """
    for name, shape in ((DEPTH, depth.shape), ("rays", rays.shape[:2])):
        if instances.shape != shape:
            raise InputError(f"instances of {instances.shape} pixels and {name} of {shape}")
    pixels = pixels_of(instances)
    return tuple(_placed(one, depth[pixels[one.id]], rays) for one in detections)


def _placed(
    one: Detection, depth: NDArray[np.floating[Any]], rays: NDArray[np.float32]
) -> Detection:
    known = depth[np.isfinite(depth) & (depth > 0)]
    ray = ray_at(rays, *one.centroid)
    if not known.size or not np.isfinite(ray).all():
        return one
    x, y, z = (ray * float(np.median(known))).tolist()
    return replace(one, position=(x, y, z))


def ray_at(rays: NDArray[np.float32], x: float, y: float) -> NDArray[np.float64]:
    """The ray (3,) at a place between the pixels of rays (H, W, 3); beyond the outer ones, on.

    Args:
        rays: of pixels.
        x, y: pixels, (0, 0) the centre of the first one.
    """
    column, row = (
        int(np.clip(np.floor(place), 0, max(count - 2, 0)))
        for place, count in ((x, rays.shape[1]), (y, rays.shape[0]))
    )
    cell = rays[row : row + 2, column : column + 2].astype(np.float64)
    lines = cell[:, 0] + (x - column) * (cell[:, -1] - cell[:, 0])
    found: NDArray[np.float64] = lines[0] + (y - row) * (lines[-1] - lines[0])
    return found


def scene_fields(maps: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Maps as heads decode them -> fields of `Scene`: the table of objects becomes detections."""
    fields: dict[str, Any] = dict(maps)
    if DETECTIONS in maps:
        fields[INSTANCES] = maps[INSTANCES].astype(np.uint16)
        fields[DETECTIONS] = detections_of(maps[INSTANCES], maps[DETECTIONS])
    return fields
