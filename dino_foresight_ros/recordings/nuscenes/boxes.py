"""Labels of nuScenes' pictures from its annotated boxes: which object each pixel belongs to.

DIR/VERSION/{sample_annotation,instance,category,attribute,visibility}.json

A box has a place at every instant: between two keyframes that annotate it, the one that an even
motion gives. Its pixels are those of the lidar's points within it (as nuScenes' panoptic labels
were made), in cells as `lidar` has them; or, without a lidar, all pixels whose ray meets the box,
the nearest box first: masks that are fuller than the object, and that know nothing of what stands
before it but other boxes. Other pixels are unlabelled.

Boxes without any point of lidar or radar are left out, as nuScenes' detection benchmark does; of
the full masks those too of which 40 % and less are visible.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import (
    CLASS_IDS,
    NUSCENES_CATEGORIES,
    NUSCENES_TO_WORLD,
    UNLABELLED,
)
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.outputs import INSTANCES, SEGMENTATION
from dino_foresight_ros.recordings.labelled_pictures import Labels
from dino_foresight_ros.recordings.nuscenes.lidar import (
    NUSCENES_SPACE,
    TOLERANCE_S,
    LidarView,
    nearest_sweeps,
    view_of,
)
from dino_foresight_ros.recordings.nuscenes.scenes import Box, Reading
from dino_foresight_ros.recordings.poses import Matrix, inverse, pose_matrix, slerp
from dino_foresight_ros.stamps import NS_PER_S

POINTS, HULLS = "points", "hulls"
MAX_GAP_S = 0.75
"""Between two annotations of an object: keyframes are 0.5 s apart; of more it was lost between."""
HARDLY_VISIBLE = "v0-40"
_NEAREST_M = 0.1
MAX_ID = int(np.iinfo(np.uint16).max)


@dataclass(frozen=True)
class BoxTrack:
    """One object's boxes.

    Attributes:
        id: 1 and more, the same over a scene.
        class_id: of the label space.
        stamps_ns: (N,) of its annotations, rising.
        poses: (N, 7) of the box in the map's frame: x, y, z in metres and a unit (w, x, y, z).
        half_m: (3,) half of length, width and height, along the box's x, y and z.
    """

    id: int
    class_id: int
    stamps_ns: NDArray[np.int64]
    poses: Matrix
    half_m: Matrix

    def at(self, stamp_ns: int) -> Matrix | None:
        """(4, 4) pose in the map's frame at an instant; None where that is not known."""
        after = int(np.searchsorted(self.stamps_ns, stamp_ns))
        for place in (after - 1, after):
            if 0 <= place < len(self.stamps_ns) and self.stamps_ns[place] == stamp_ns:
                return _pose(self.poses[place])
        if 0 < after < len(self.stamps_ns):
            first, last = self.stamps_ns[after - 1 : after + 1]
            if last - first <= MAX_GAP_S * NS_PER_S:
                share = float((stamp_ns - first) / (last - first))
                before, then = self.poses[after - 1 : after + 1]
                turn = slerp(before[3:], then[3:], share)
                return pose_matrix((1 - share) * before[:3] + share * then[:3], turn)
        # Sensors of a keyframe look a little before or after the instant of its annotations.
        nearest = int(np.abs(self.stamps_ns - stamp_ns).argmin())
        if abs(int(self.stamps_ns[nearest]) - stamp_ns) <= TOLERANCE_S * NS_PER_S:
            return _pose(self.poses[nearest])
        return None


def _pose(row: Matrix) -> Matrix:
    return pose_matrix(row[:3], row[3:])


def box_tracks(
    boxes: Sequence[Box], in_world_classes: bool, hardly_visible: bool, table: Path
) -> tuple[BoxTrack, ...]:
    """The objects of a scene whose category has a class.

    Args:
        boxes: of the scene.
        in_world_classes: whether class ids are those of the synthetic world.
        hardly_visible: whether boxes of which 40 % and less are visible are kept.
        table: the boxes' file, for messages.

    Raises:
        InputError: more objects than 16-bit ids.
    """
    found: dict[int, list[Box]] = defaultdict(list)
    for box in boxes:
        if box.points and (hardly_visible or box.visibility != HARDLY_VISIBLE):
            found[box.number].append(box)
    tracks = []
    for number, some in sorted(found.items()):
        class_id = _class_of(some[0].category, in_world_classes)
        if class_id is None:
            continue
        if number >= MAX_ID:
            raise InputError(f"{table}: more than {MAX_ID} objects in one scene")
        some = sorted(some, key=lambda box: box.stamp_ns)
        stamps_ns, first = np.unique([box.stamp_ns for box in some], return_index=True)
        kept = [some[i] for i in first]
        poses = np.array([(*b.map_from_box.translation, *b.map_from_box.rotation) for b in kept])
        width, length, height = kept[0].size_m
        half_m = np.array([length, width, height]) / 2
        tracks.append(BoxTrack(number + 1, class_id, stamps_ns.astype(np.int64), poses, half_m))
    return tuple(tracks)


def _class_of(category: str, in_world_classes: bool) -> int | None:
    name = NUSCENES_CATEGORIES.get(category)
    if name is None:
        return None
    if not in_world_classes:
        return NUSCENES_SPACE.class_names.index(name)
    return CLASS_IDS[NUSCENES_TO_WORLD[name][0]] if name in NUSCENES_TO_WORLD else None


@dataclass(frozen=True, repr=False)
class BoxReader:
    """Reads ids of objects, or their classes.

    Attributes:
        tracks: of the scene.
        stamps_ns: index of a picture -> the instant that boxes are taken at.
        map_from_sensor: index -> (4, 4) of the camera, or of the lidar where there is a `view`.
        intrinsics: (3, 3) of the camera, pixels.
        size: (H, W) of the pictures.
        view: of the lidar's points; None takes all pixels of the boxes.
        kind: of label.
    """

    tracks: tuple[BoxTrack, ...]
    stamps_ns: Mapping[int, int]
    map_from_sensor: Mapping[int, Matrix]
    intrinsics: Matrix
    size: tuple[int, int]
    view: LidarView | None
    kind: str

    def __repr__(self) -> str:
        """What decides which pixel belongs to which object."""
        digest = hashlib.sha256()
        for track in self.tracks:
            digest.update(f"{track.id} {track.class_id}".encode())
            for values in (track.stamps_ns, track.poses.round(6), track.half_m.round(6)):
                digest.update(values.tobytes())
        for index in sorted(self.stamps_ns):
            digest.update(str(self.stamps_ns[index]).encode())
            digest.update(self.map_from_sensor[index].round(6).tobytes())
        digest.update(self.intrinsics.tobytes())
        return f"<BoxReader {self.kind} {self.size} {self.view} {digest.hexdigest()[:16]}>"

    def __call__(self, path: Path, index: int) -> NDArray[Any]:
        """(H, W) ids uint16, 0 none, or class ids uint8, 255 unlabelled."""
        boxes = [(track, track.at(self.stamps_ns[index])) for track in self.tracks]
        known = [
            (track, inverse(pose) @ self.map_from_sensor[index])
            for track, pose in boxes
            if pose is not None
        ]
        numbers = self._hulls(known) if self.view is None else self._points(known, index)
        if self.kind == INSTANCES:
            of_track = np.array([0, *(track.id for track, _ in known)], np.uint16)
        else:
            of_track = np.array([UNLABELLED, *(track.class_id for track, _ in known)], np.uint8)
        return of_track[numbers]

    def _points(self, boxes: Sequence[tuple[BoxTrack, Matrix]], index: int) -> NDArray[np.int64]:
        """(H, W) cells: 1 + the number of the box that the cell's point lies in, 0 none."""
        assert self.view is not None
        cloud = self.view.cloud(index)
        found, _ = self.view.placed(cloud, index)
        rows, columns = np.nonzero(found >= 0)
        points = cloud[found[rows, columns]]
        numbers = np.zeros(found.shape, np.int64)
        # Of boxes within one another the smallest has the point.
        volumes = [float(np.prod(track.half_m)) for track, _ in boxes]
        for number in sorted(range(len(boxes)), key=lambda i: -volumes[i]):
            track, box_from_lidar = boxes[number]
            places = points @ box_from_lidar[:3, :3].T + box_from_lidar[:3, 3]
            inside = (np.abs(places) <= track.half_m).all(axis=1)
            numbers[rows[inside], columns[inside]] = number + 1
        return numbers

    def _hulls(self, boxes: Sequence[tuple[BoxTrack, Matrix]]) -> NDArray[np.int64]:
        """(H, W) pixels: 1 + the number of the box that the pixel's ray meets first, 0 none."""
        numbers = np.zeros(self.size, np.int64)
        nearest = np.full(self.size, np.inf)
        for number, (track, box_from_camera) in enumerate(boxes, start=1):
            window = self._window(track, box_from_camera)
            if window is None:
                continue
            enters = self._enters(track, box_from_camera, window)
            is_first = enters < nearest[window]
            nearest[window][is_first] = enters[is_first]
            numbers[window][is_first] = number
        return numbers

    def _window(self, track: BoxTrack, box_from_camera: Matrix) -> tuple[slice, slice] | None:
        """Rows and columns of the picture that a box may cover; None where it covers none."""
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8).T
        camera_from_box = inverse(box_from_camera)
        corners = (signs * track.half_m) @ camera_from_box[:3, :3].T + camera_from_box[:3, 3]
        height, width = self.size
        if corners[:, 2].max() <= _NEAREST_M:
            return None
        if corners[:, 2].min() <= _NEAREST_M:  # the camera is beside it: anywhere
            return slice(0, height), slice(0, width)
        pixels = corners @ self.intrinsics.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        low = np.clip(np.floor(pixels.min(axis=0)), 0, (width, height)).astype(int)
        high = np.clip(np.floor(pixels.max(axis=0)) + 1, 0, (width, height)).astype(int)
        if (low >= high).any():
            return None
        return slice(low[1], high[1]), slice(low[0], high[0])

    def _enters(
        self, track: BoxTrack, box_from_camera: Matrix, window: tuple[slice, slice]
    ) -> Matrix:
        """Depths at which the rays of a window enter a box, metres; infinite where they miss it."""
        rows, columns = np.mgrid[window]
        pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
        turned = box_from_camera[:3, :3] @ np.linalg.inv(self.intrinsics)
        rays = pixels @ turned.T  # of depth 1
        origin = box_from_camera[:3, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            one, other = (-track.half_m - origin) / rays, (track.half_m - origin) / rays
        enters = np.fmin(one, other).max(axis=-1)
        leaves = np.fmax(one, other).min(axis=-1)
        met = np.maximum(enters, _NEAREST_M)
        return np.where(leaves >= met, met, np.inf)


def box_labels(
    pictures: Sequence[Reading],
    sweeps: Sequence[Reading],
    size: tuple[int, int],
    tracks: tuple[BoxTrack, ...],
    way: str,
    table: Path,
) -> dict[str, Labels]:
    """Classes and instances of a camera's pictures.

    Args:
        pictures: of one camera and scene, with poses.
        sweeps: of the lidar in that scene whose files are there, by time; for `POINTS`.
        size: (H, W) of the pictures.
        tracks: the scene's objects.
        way: `POINTS` or `HULLS`.
        table: the boxes' file.
    """
    intrinsics = np.array(pictures[0].sensor.intrinsics, np.float64).reshape(3, 3)
    if way == POINTS:
        of_pictures = nearest_sweeps(dict(enumerate(pictures)), sweeps)
    else:
        of_pictures = dict(enumerate(pictures))
    annotated = np.unique(np.concatenate([np.zeros(0, np.int64), *(t.stamps_ns for t in tracks)]))
    sensors = {
        index: reading
        for index, reading in of_pictures.items()
        if annotated.size and _is_between(reading.stamp_ns, annotated)
    }
    if not sensors:
        return {}
    view = view_of(pictures, sensors, intrinsics, size) if way == POINTS else None
    stamps_ns = {index: reading.stamp_ns for index, reading in sensors.items()}
    poses = {index: reading.map_from_sensor for index, reading in sensors.items()}
    files = dict.fromkeys(sensors, table) if view is None else dict(view.clouds)
    return {
        kind: Labels(
            files,
            BoxReader(tracks, stamps_ns, poses, intrinsics, size, view, kind),
            is_of_picture_size=view is None,
        )
        for kind in (SEGMENTATION, INSTANCES)
    }


def _is_between(stamp_ns: int, annotated: NDArray[np.int64]) -> bool:
    """Whether an instant lies between the first and the last annotation, or nearly so."""
    slack = round(TOLERANCE_S * NS_PER_S)
    return bool(annotated[0] - slack <= stamp_ns <= annotated[-1] + slack)
