"""The lidar of a bag: its clouds, found by their stamps, and its transforms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.compare import nearest_frames
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings.bag_index import MessageFiles
from dino_foresight_ros.recordings.bag_messages import typestore
from dino_foresight_ros.recordings.bag_reader import BagReader
from dino_foresight_ros.recordings.point_cloud import CLOUD_TYPE, cloud_points
from dino_foresight_ros.recordings.transform_tree import TransformTree, read_transforms
from dino_foresight_ros.topic_names import frame_name

DEFAULT_POINTS = "/lidar_top"
Warn = Callable[[str], None]


@dataclass(frozen=True)
class LidarOptions:
    """How lidar points become depth.

    Attributes:
        points: topic of the clouds.
        fixed_frame: a frame that does not move; None: the root of the transforms.
        camera_info: its topic; None: beside the image topic.
        rectified: whether pictures are rectified; None: where the topic's name says "rect".
        min_m, max_m: depths that are scored.
        tolerance_s: so far from the picture a cloud may lie in time.
        occlusion_deg: how far around a point nearer ones hide it; 0: nothing is hidden.
    """

    points: str = DEFAULT_POINTS
    fixed_frame: str | None = None
    camera_info: str | None = None
    rectified: bool | None = None
    min_m: float = 1.0
    max_m: float = 80.0
    tolerance_s: float = 0.1
    occlusion_deg: float = 2.0

    def __post_init__(self) -> None:
        if not (0 < self.min_m < self.max_m and math.isfinite(self.max_m)):
            raise UsageError(f"depths {self.min_m:g} to {self.max_m:g} m are no range above 0")
        if not 0 <= self.tolerance_s <= 10:
            raise UsageError(f"points {self.tolerance_s:g} s off a picture: give 0 to 10")
        if not 0 <= self.occlusion_deg < 45:
            raise UsageError(f"occlusion within {self.occlusion_deg:g} degrees: give 0 to 45")


class BagLidar:
    """The clouds and transforms of one bag."""

    def __init__(self, path: Path, options: LidarOptions, warn: Warn) -> None:
        """Read the transforms and find the clouds.

        Raises:
            InputError: no such points.
        """
        self.path, self.options = path, options
        reader = BagReader(path)
        try:
            self.topics = dict(reader.topics)
            self._check_points()
            self.tree: TransformTree = read_transforms(reader, warn)
        finally:
            reader.close()
        self._files = MessageFiles(path)
        index = self._files.index(options.points)
        has_time = bool((index.stamps_ns != 0).all())
        if not has_time:
            warn(f"{path}: {options.points} has no time in its headers; time of recording taken")
        stamps_ns = index.stamps_ns if has_time else index.log_times_ns
        order = np.argsort(stamps_ns, kind="stable")
        self.stamps_ns, self._places = stamps_ns[order], index.places[order]
        if not len(order):
            raise InputError(f"{path} has no whole message on {options.points}")
        self.frame = self.cloud(0)[1]

    def _check_points(self) -> None:
        points = self.options.points
        clouds = [t.name for t in self.topics.values() if t.msgtype == CLOUD_TYPE]
        if points not in clouds:
            there = ", ".join(sorted(clouds)) or "none"
            raise InputError(
                f"{self.path} has no points on {points}; its {CLOUD_TYPE} topics: {there}; give "
                "one by --points, or record one"
            )

    def nearest(self, stamp_ns: int) -> int:
        """Row of the cloud nearest in time."""
        return int(nearest_frames(self.stamps_ns, np.int64(stamp_ns)))

    def cloud(self, row: int) -> tuple[NDArray[np.float64], str]:
        """Points (N, 3) of a cloud in metres, and the frame they are in.

        Raises:
            InputError: it is damaged.
        """
        try:
            data = self._files.read(self.options.points, self._places[row])
            message: Any = typestore().deserialize_cdr(data, CLOUD_TYPE)
        except Exception as error:  # a damaged message raises errors of every kind
            raise InputError(
                f"{self.path}: cloud {row} of {self.options.points} is damaged"
            ) from error
        try:
            return cloud_points(message), frame_name(message.header.frame_id)
        except InputError as error:
            raise InputError(f"{self.path}: {self.options.points}, cloud {row}: {error}") from error
