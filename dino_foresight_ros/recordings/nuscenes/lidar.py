"""Labels of nuScenes' pictures from its lidar: depth, and classes and objects of the points.

DIR/samples/LIDAR_TOP/*.pcd.bin (2 Hz), DIR/sweeps/LIDAR_TOP/*.pcd.bin (the rest of 20 Hz)
DIR/VERSION/lidarseg.json, DIR/lidarseg/VERSION/*_lidarseg.bin: a class id per point, uint8
DIR/VERSION/panoptic.json, DIR/panoptic/VERSION/*_panoptic.npz: 1000 x class id + object, uint16

Points go from the lidar at its instant over the map into the camera at the picture's, so that the
vehicle's own motion between the two is undone; what moves by itself is displaced by its way in
that time. Each label is a map of cells, a quarter of the picture's height and width: points are too
far apart for more. A cell takes its nearest point; points that the lidar sees past something nearer
are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import (
    NUSCENES_CATEGORIES,
    NUSCENES_CLASSES,
    NUSCENES_TO_WORLD,
    UNLABELLED,
)
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.outputs import DEPTH, INSTANCES, SEGMENTATION
from dino_foresight_ros.recordings.label_tables import LabelTable
from dino_foresight_ros.recordings.labelled_pictures import Labels
from dino_foresight_ros.recordings.lidar_projection import (
    hidden_cells,
    nearest_points,
    reach_cells,
)
from dino_foresight_ros.recordings.nuscenes.scenes import Reading
from dino_foresight_ros.recordings.nuscenes.tables import Tables
from dino_foresight_ros.recordings.poses import Matrix, inverse
from dino_foresight_ros.recordings.recording import LabelSpace, UnreadableFrame
from dino_foresight_ros.stamps import NS_PER_S

LIDAR = "LIDAR_TOP"
CELL_PX = 4
"""Pixels along one side of a cell."""
TOLERANCE_S = 0.1
"""So far from the picture a sweep may lie in time."""
MIN_M, MAX_M = 1.0, 80.0
OCCLUSION_DEG = 2.0
"""More than lies between two beams of the lidar (1.3 degrees)."""
_VALUES = 5  # of a point: x, y, z, intensity, ring
_OBJECTS = 1000

NUSCENES_SPACE = LabelSpace(
    class_names=tuple(info.name for info in NUSCENES_CLASSES),
    palette=tuple(info.color for info in NUSCENES_CLASSES),
    moving=tuple(index for index, info in enumerate(NUSCENES_CLASSES) if info.is_moving),
)


@dataclass(frozen=True, repr=False)
class LidarView:
    """What the lidar sees of a camera's pictures.

    Attributes:
        clouds: index of a picture -> the file of the nearest sweep.
        camera_from_lidar: index -> (4, 4) between the two at their own instants.
        intrinsics: (3, 3) of the camera, pixels.
        size: (H, W) of its pictures.
    """

    clouds: Mapping[int, Path]
    camera_from_lidar: Mapping[int, Matrix]
    intrinsics: Matrix
    size: tuple[int, int]

    def __repr__(self) -> str:
        """What decides which point is seen where."""
        poses = [self.camera_from_lidar[i].round(6).tobytes() for i in sorted(self.clouds)]
        digest = hashlib.sha256(b"".join([self.intrinsics.tobytes(), *poses])).hexdigest()[:16]
        return f"<LidarView {self.size} {digest}>"

    @property
    def cells(self) -> tuple[int, int]:
        """(H, W) of the maps."""
        height, width = (max(1, round(side / CELL_PX)) for side in self.size)
        return height, width

    def cloud(self, index: int) -> NDArray[np.float64]:
        """(N, 3) metres, the points of a picture's sweep in the lidar's frame.

        Raises:
            UnreadableFrame: a damaged sweep.
        """
        path = self.clouds[index]
        values = _content(path, index, np.float32)
        if values.size % _VALUES:
            raise UnreadableFrame(str(path), index, "it is cut off: no whole number of points")
        return values.reshape(-1, _VALUES)[:, :3].astype(np.float64)

    def points(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.float32], int]:
        """Find the points of a picture.

        Returns:
            As `placed`, and how many points the sweep has.

        Raises:
            UnreadableFrame: a damaged sweep.
        """
        points = self.cloud(index)
        return *self.placed(points, index), len(points)

    def placed(
        self, points: NDArray[np.float64], index: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Where a picture's `cloud` is seen.

        Returns:
            (H, W) numbers of points, -1 none; (H, W) their depths in metres, NaN none.
        """
        pose = self.camera_from_lidar[index]
        x, y, z = (points @ pose[:3, :3].T + pose[:3, 3]).T
        (fx, _, cx), (_, fy, cy) = self.intrinsics[:2]
        height, width = self.size
        with np.errstate(divide="ignore", invalid="ignore"):
            # Pixel (0, 0) is the centre of the first one.
            u, v = (fx * x / z + cx + 0.5) / width, (fy * y / z + cy + 0.5) / height
        places = np.where((z > 0)[:, None], np.stack([u, v], axis=1), np.nan)
        # What is too near to be a label hides what is behind it all the same.
        found = nearest_points(places, z, self.cells, 0.0, MAX_M)
        depth = np.full(found.shape, np.nan, np.float32)
        depth[found >= 0] = z[found[found >= 0]]
        reach = reach_cells(OCCLUSION_DEG, (fx / width, fy / height), self.cells)
        gone = hidden_cells(depth, reach) | (depth < MIN_M)
        found[gone], depth[gone] = -1, np.nan
        return found, depth


@dataclass(frozen=True)
class LidarDepth:
    """Reads depth of a sweep."""

    view: LidarView

    def __call__(self, path: Path, index: int) -> NDArray[np.float32]:
        """(H, W) metres along the optical axis; NaN where no point is."""
        return self.view.points(index)[1]


@dataclass(frozen=True)
class PointClasses:
    """Reads classes of points.

    Attributes:
        view: of the camera.
        table: from the data set's ids.
    """

    view: LidarView
    table: LabelTable

    def __call__(self, path: Path, index: int) -> NDArray[np.uint8]:
        """(H, W) ids of the table's label space; 255 where no point is, or one without class."""
        ids = _of_points(path, index)
        classes = (ids // _OBJECTS if ids.dtype == np.uint16 else ids).astype(np.uint8)
        return np.asarray(_in_cells(self.view, path, index, classes, UNLABELLED, self.table))


@dataclass(frozen=True)
class PointObjects:
    """Reads which object each point belongs to."""

    view: LidarView

    def __call__(self, path: Path, index: int) -> NDArray[np.uint16]:
        """(H, W) ids of objects, the same over a scene; 0 none."""
        ids = _of_points(path, index)
        objects = np.where(ids % _OBJECTS > 0, ids, 0).astype(np.uint16)
        return np.asarray(_in_cells(self.view, path, index, objects, 0, None))


def _in_cells(
    view: LidarView,
    path: Path,
    index: int,
    values: NDArray[Any],
    nothing: int,
    table: LabelTable | None,
) -> NDArray[Any]:
    found, _, count = view.points(index)
    if len(values) != count:
        reason = f"labels of {len(values)} points; {view.clouds[index]} has {count}"
        raise UnreadableFrame(str(path), index, reason)
    known = found >= 0
    of_points = values if table is None else table.translate(values, path)
    result = np.full(found.shape, nothing, values.dtype)
    result[known] = of_points[found[known]]
    return result


def _of_points(path: Path, index: int) -> NDArray[Any]:
    """A value per point: uint8 of .bin, uint16 of .npz."""
    if path.suffix != ".npz":
        return _content(path, index, np.uint8)
    try:
        with np.load(path) as content:
            values: NDArray[Any] = content["data"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise UnreadableFrame(str(path), index, "it is no whole .npz with data") from error
    if values.dtype != np.uint16 or values.ndim != 1:
        raise UnreadableFrame(str(path), index, f"{values.dtype} values, not 16 bits a point")
    return values


def _content(path: Path, index: int, dtype: type[Any]) -> NDArray[Any]:
    try:
        return np.fromfile(path, dtype)
    except OSError as error:
        raise UnreadableFrame(str(path), index, error.strerror or str(error)) from error


@dataclass(frozen=True)
class PointLabels:
    """What a data set knows of the points of its keyframes.

    Attributes:
        classes, objects: token of a lidar reading -> file; empty where there are none.
        table: from ids of categories to classes.
    """

    classes: Mapping[str, Path]
    objects: Mapping[str, Path]
    table: LabelTable


def read_point_labels(tables: Tables, in_world_classes: bool) -> PointLabels:
    """Read where labels of points lie: of lidarseg, else of panoptic.

    Raises:
        InputError: categories without an index, as before lidarseg was unpacked over the tables.
    """
    seg, panoptic = (_files(tables, name) for name in ("lidarseg", "panoptic"))
    classes = seg or panoptic
    table = LabelTable(NUSCENES_SPACE, {}, range(256))
    if classes:
        table = _table(tables)
    if in_world_classes:
        table = table.to_world(NUSCENES_TO_WORLD, False)
    return PointLabels(classes, panoptic, table)


def _files(tables: Tables, name: str) -> dict[str, Path]:
    if not tables.rows.file(name).is_file():
        return {}
    rows = tables.rows.rows(name, "sample_data_token", "filename")
    return {row["sample_data_token"]: tables.dataroot / row["filename"] for row in rows}


def _table(tables: Tables) -> LabelTable:
    ids: dict[int, int] = {}
    unlabelled: list[int] = []
    for row in tables.rows.rows("category", "name"):
        if not isinstance(row.get("index"), int):
            raise InputError(
                f"{tables.rows.file('category')}: row {row['token']} has no index; unpack lidarseg "
                "or panoptic over the data set's own tables"
            )
        name = NUSCENES_CATEGORIES.get(row["name"])
        if name is None:
            unlabelled.append(row["index"])
        else:
            ids[row["index"]] = NUSCENES_SPACE.class_names.index(name)
    return LabelTable(NUSCENES_SPACE, ids, unlabelled)


def lidar_labels(
    pictures: Sequence[Reading],
    sweeps: Sequence[Reading],
    size: tuple[int, int],
    points: PointLabels,
) -> dict[str, Labels]:
    """Labels of a camera's pictures.

    Args:
        pictures: of one camera and scene, with poses.
        sweeps: of the lidar in that scene whose files are there, by time.
        size: (H, W) of the pictures.
        points: what is known of the points of keyframes.
    """
    if not sweeps:
        return {}
    intrinsics = np.array(pictures[0].sensor.intrinsics, np.float64).reshape(3, 3)
    keys = [sweep for sweep in sweeps if sweep.is_keyframe]
    key_pictures = {i: picture for i, picture in enumerate(pictures) if picture.is_keyframe}
    near = nearest_sweeps(dict(enumerate(pictures)), sweeps)
    near_keys = nearest_sweeps(key_pictures, keys)
    view, of_keys = (view_of(pictures, found, intrinsics, size) for found in (near, near_keys))
    labels = {DEPTH: Labels(view.clouds, LidarDepth(view), is_of_picture_size=False)}
    for kind, files, read in (
        (SEGMENTATION, points.classes, PointClasses(of_keys, points.table)),
        (INSTANCES, points.objects, PointObjects(of_keys)),
    ):
        known = {i: files[s.token] for i, s in near_keys.items() if s.token in files}
        there = {index: path for index, path in known.items() if path.is_file()}
        if there:
            labels[kind] = Labels(there, read, is_of_picture_size=False)
    return labels


def nearest_sweeps(
    pictures: Mapping[int, Reading], sweeps: Sequence[Reading]
) -> dict[int, Reading]:
    """Index of each picture with a sweep near enough -> that sweep."""
    if not sweeps:
        return {}
    stamps_ns = np.array([sweep.stamp_ns for sweep in sweeps], np.int64)
    found: dict[int, Reading] = {}
    for index, picture in pictures.items():
        apart = np.abs(stamps_ns - picture.stamp_ns)
        place = int(apart.argmin())
        if apart[place] <= TOLERANCE_S * NS_PER_S:
            found[index] = sweeps[place]
    return found


def view_of(
    pictures: Sequence[Reading],
    sweeps: Mapping[int, Reading],
    intrinsics: Matrix,
    size: tuple[int, int],
) -> LidarView:
    """What the lidar sees of pictures, which all have poses: index of a picture -> its sweep."""
    poses: dict[int, Matrix] = {}
    for index, sweep in sweeps.items():
        poses[index] = inverse(pictures[index].map_from_sensor) @ sweep.map_from_sensor
    clouds = {index: sweep.file for index, sweep in sweeps.items()}
    return LidarView(clouds, poses, intrinsics, size)
