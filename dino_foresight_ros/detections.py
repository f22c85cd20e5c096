"""Objects of a map of instances: their boxes, centroids, and places in metres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.outputs import DETECTIONS, INSTANCES
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
    k: NDArray[np.float64],
) -> tuple[Detection, ...]:
    """The same objects with their positions in the camera's optical frame.

    An object lies where the ray through its mask's centroid meets the median depth of its mask,
    which the pixels of its edge, of which some see what is behind it, leave alone.

    Args:
        detections: of `instances`.
        instances: (H, W) ids.
        depth: (H, W) metres along the optical axis, NaN unknown; an object without a known pixel
            keeps no position.
        k: (3, 3) intrinsics of a picture of that size.

    Raises:
        InputError: the maps are not of one size.
    """
    if instances.shape != depth.shape:
        raise InputError(f"instances of {instances.shape} pixels and depth of {depth.shape}")
    pixels = pixels_of(instances)
    return tuple(_placed(one, depth[pixels[one.id]], k) for one in detections)


def _placed(one: Detection, depth: NDArray[np.floating[Any]], k: NDArray[np.float64]) -> Detection:
    known = depth[np.isfinite(depth) & (depth > 0)]
    if not known.size:
        return one
    z = float(np.median(known))
    x, y = one.centroid
    place = (x - k[0, 2]) / k[0, 0] * z, (y - k[1, 2]) / k[1, 1] * z, z
    return replace(one, position=(float(place[0]), float(place[1]), z))


def scene_fields(maps: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Maps as heads decode them -> fields of `Scene`: the table of objects becomes detections."""
    fields: dict[str, Any] = dict(maps)
    if DETECTIONS in maps:
        fields[INSTANCES] = maps[INSTANCES].astype(np.uint16)
        fields[DETECTIONS] = detections_of(maps[INSTANCES], maps[DETECTIONS])
    return fields
