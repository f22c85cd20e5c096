"""Single objects in metres: where they are, how they move, and their way through a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.detections import located, ray_at
from dino_foresight_ros.scene import Detection, Scene


@dataclass(frozen=True, eq=False)
class ObjectPath:
    """One object through the instants of a forecast; NaN at those where it is not found.

    Attributes:
        id: of the object.
        class_id, score: as it was found first.
        horizons_s: (S,) seconds from the newest context frame, rising.
        positions: (S, 3) metres in the camera's optical frame at that instant.
        spreads: (S,) metres, the standard deviation of the position over several futures: the root
            of the mean squared distance from their mean.
        centroids: (S, 2) pixels x, y.
        size: width and height of what is seen of it where it is found first, metres.
    """

    id: int
    class_id: int
    score: float
    horizons_s: NDArray[np.float64]
    positions: NDArray[np.float64]
    spreads: NDArray[np.float64]
    centroids: NDArray[np.float64]
    size: tuple[float, float] = (float("nan"), float("nan"))

    @property
    def ends(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """First and last known position, (3,) each; None without any."""
        known = self.positions[np.isfinite(self.positions).all(axis=1)]
        return (known[0], known[-1]) if len(known) else None


def locate(scene: Scene, rays: NDArray[np.float32] | None) -> Scene:
    """The scene, its detections with positions, as `detections.located` finds them.

    Args:
        scene: with `instances` and metric depth; any other stays as it is.
        rays: (H, W, 3) through the pixels of `instances`, as `located` takes them; None unknown.
    """
    ids, depth = scene.instances, scene.depth
    if ids is None or depth is None or rays is None or not scene.depth_is_metric:
        return scene
    if depth.shape != ids.shape:
        size = (ids.shape[1], ids.shape[0])
        depth = np.asarray(cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST), np.float32)
    found = located(scene.detections, ids, depth, rays)
    samples = tuple(locate(one, rays) for one in scene.samples)
    return replace(scene, detections=found, samples=samples)


def with_velocities(scenes: Sequence[Scene]) -> tuple[Scene, ...]:
    """The scenes, their detections with velocities: by difference from the instant before.

    Args:
        scenes: by rising instant, the same object with the same id. One that the instant before
            does not have keeps an unknown velocity.
    """
    before: dict[int, Detection] = {}
    before_ns = 0
    made = []
    for scene in scenes:
        past_s = (scene.stamp_ns - before_ns) / 1e9
        found = tuple(_with_velocity(d, before.get(d.id), past_s) for d in scene.detections)
        made.append(replace(scene, detections=found) if found else scene)
        before, before_ns = {d.id: d for d in scene.detections}, scene.stamp_ns
    return tuple(made)


def _with_velocity(detection: Detection, before: Detection | None, past_s: float) -> Detection:
    if before is None or past_s <= 0.0:
        return detection
    x, y, z = (np.array(detection.position) - np.array(before.position)) / past_s
    return replace(detection, velocity=(float(x), float(y), float(z)))


def object_paths(
    scenes: Sequence[Scene], rays: NDArray[np.float32] | None = None
) -> tuple[ObjectPath, ...]:
    """The way of each object, highest score first.

    Args:
        scenes: of a forecast, by rising instant, the same object with the same id, those of futures
            (`samples`) too.
        rays: as `locate` takes them, for sizes.
    """
    scenes = [scene for scene in scenes if scene.instances is not None]
    first: dict[int, Detection] = {}
    for scene in scenes:
        for detection in scene.detections:
            first.setdefault(detection.id, detection)
    horizons = np.array([scene.horizon_s for scene in scenes], np.float64)
    by_id = [{d.id: d for d in scene.detections} for scene in scenes]
    paths = []
    for number, known in first.items():
        positions = np.full((len(scenes), 3), np.nan)
        centroids = np.full((len(scenes), 2), np.nan)
        for place, found in enumerate(by_id):
            if number in found:
                positions[place] = found[number].position
                centroids[place] = found[number].centroid
        spreads = np.array([_spread(scene, number) for scene in scenes], np.float64)
        paths.append(
            ObjectPath(
                number,
                known.class_id,
                known.score,
                horizons,
                positions,
                spreads,
                centroids,
                _size(known, rays),
            )
        )
    return tuple(sorted(paths, key=lambda path: (-path.score, path.id)))


def _spread(scene: Scene, number: int) -> float:
    """NaN with fewer than two futures that have the object."""
    positions = np.array(
        [d.position for one in scene.samples for d in one.detections if d.id == number], np.float64
    ).reshape(-1, 3)
    positions = positions[np.isfinite(positions).all(axis=1)]
    if len(positions) < 2:
        return float("nan")
    return float(np.sqrt(((positions - positions.mean(axis=0)) ** 2).sum(axis=1).mean()))


def _size(detection: Detection, rays: NDArray[np.float32] | None) -> tuple[float, float]:
    """Width and height in metres, at the object's depth, of the box through its middle."""
    if rays is None:
        return float("nan"), float("nan")
    left, top, width, height = detection.box
    left, top = left - 0.5, top - 0.5  # the edge of its first pixels
    x, y = left + width / 2, top + height / 2
    across = ray_at(rays, left + width, y) - ray_at(rays, left, y)
    down = ray_at(rays, x, top + height) - ray_at(rays, x, top)
    z = detection.position[2]
    return float(across[0] * z), float(down[1] * z)
