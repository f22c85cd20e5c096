"""True depth of a bag's pictures, from the lidar in the same bag.

Points go from the lidar's frame at the lidar's instant to a fixed frame, and from there into the
camera at the picture's instant, so that the vehicle's own motion between the two is undone; all the
points of a cloud are taken to be of the stamp in its header.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.recordings.bag import BagRecording, bag_of
from dino_foresight_ros.recordings.bag_camera import read_view
from dino_foresight_ros.recordings.bag_reader import BagReader
from dino_foresight_ros.recordings.lidar_projection import (
    hidden_cells,
    nearest_in_cells,
    reach_cells,
)
from dino_foresight_ros.recordings.transform_tree import TransformTree
from dino_foresight_ros.stamps import NS_PER_S
from dino_foresight_ros.topic_names import frame_name
from dino_foresight_ros.training.evaluation.lidar.bag_clouds import BagLidar, LidarOptions, Warn

NO_CLOUD, NO_TRANSFORM, NO_POINT = "no cloud near its time", "no transform then", "no point in view"
_KEPT = 256
DepthMap = NDArray[np.float32]


@dataclass(frozen=True)
class LidarFacts:
    """How the depth of one camera's pictures came about.

    Attributes:
        recording: its name.
        points_topic, points_frame, camera_frame, fixed_frame: topic and frames.
        camera: how places in the picture are computed.
        moves: whether the camera moves in the fixed frame.
        clouds: in the bag.
        pictures: that were asked for and have points.
        mean_apart_s: mean time between those and their clouds.
        hidden: share of the cells with a point that was left out as hidden.
        without: why other pictures have none -> how many.
    """

    recording: str
    points_topic: str
    points_frame: str
    camera_frame: str
    fixed_frame: str
    camera: str
    moves: bool
    clouds: int
    pictures: int
    mean_apart_s: float
    hidden: float
    without: dict[str, int]


class CameraTruth:
    """Depth of the pictures of one recording of a bag."""

    def __init__(self, lidar: BagLidar, recording: BagRecording, cells: tuple[int, int]) -> None:
        """Find out how the camera looks and where it is.

        Args:
            lidar: of the same bag.
            recording: the pictures.
            cells: (H, W) of the depth maps.

        Raises:
            InputError: no camera_info, no transform between the frames, no cloud near any picture.
        """
        self._lidar, self._cells, options = lidar, cells, lidar.options
        self._name = recording.name
        reader = BagReader(lidar.path)
        try:
            self.view, info_frame = read_view(
                reader, recording.topic, recording.size, options.camera_info, options.rectified
            )
            picture = reader.deserialize(next(iter(reader.messages([recording.topic]))))
        finally:
            reader.close()
        self.frame = frame_name(picture.header.frame_id) or info_frame
        tree = lidar.tree
        self.fixed_frame = frame_name(options.fixed_frame or tree.root(self.frame, lidar.frame))
        tree.root(self.frame, lidar.frame, self.fixed_frame)
        self.moves = not tree.is_rigid(self.fixed_frame, self.frame)
        self._reach = reach_cells(options.occlusion_deg, self.view.focal_fractions, cells)
        self._check_times(recording)
        self._maps: OrderedDict[int, DepthMap | None] = OrderedDict()
        self._without: dict[int, str] = {}
        self._apart_s: dict[int, float] = {}
        self._hidden: dict[int, tuple[int, int]] = {}

    def _check_times(self, recording: BagRecording) -> None:
        lidar, stamps_ns = self._lidar, recording.stamps_ns
        apart_s = min(abs(self._apart(int(stamp_ns))) for stamp_ns in stamps_ns)
        if apart_s > lidar.options.tolerance_s:
            first, last = (int(lidar.stamps_ns[i]) / NS_PER_S for i in (0, -1))
            raise InputError(
                f"{lidar.path}: no cloud lies within {lidar.options.tolerance_s:g} s of a picture "
                f"of {recording.topic}: pictures are from {stamps_ns[0] / NS_PER_S:.3f} to "
                f"{stamps_ns[-1] / NS_PER_S:.3f} s, points from {first:.3f} to {last:.3f} s"
            )

    def _apart(self, stamp_ns: int) -> float:
        """Seconds from a picture to the nearest cloud."""
        row = self._lidar.nearest(stamp_ns)
        return float(int(self._lidar.stamps_ns[row]) - stamp_ns) / NS_PER_S

    def has_cloud(self, stamp_ns: int) -> bool:
        """Whether a cloud is near enough in time and the transforms are known, without reading."""
        if abs(self._apart(stamp_ns)) > self._lidar.options.tolerance_s:
            return False
        cloud_ns = int(self._lidar.stamps_ns[self._lidar.nearest(stamp_ns)])
        return self._camera_from_lidar(self._lidar.frame, cloud_ns, stamp_ns) is not None

    def depth(self, stamp_ns: int) -> DepthMap | None:
        """(H, W) metres along the optical axis, NaN unknown; None where the lidar does not tell.

        Raises:
            InputError: a damaged cloud.
        """
        if stamp_ns not in self._maps:
            self._maps[stamp_ns] = self._depth(stamp_ns)
            if len(self._maps) > _KEPT:
                self._maps.popitem(last=False)
        self._maps.move_to_end(stamp_ns)
        return self._maps[stamp_ns]

    def _depth(self, stamp_ns: int) -> DepthMap | None:
        options, row = self._lidar.options, self._lidar.nearest(stamp_ns)
        apart_s = self._apart(stamp_ns)
        if abs(apart_s) > options.tolerance_s:
            self._without[stamp_ns] = NO_CLOUD
            return None
        points, frame = self._lidar.cloud(row)
        pose = self._camera_from_lidar(frame, int(self._lidar.stamps_ns[row]), stamp_ns)
        if pose is None:
            self._without[stamp_ns] = NO_TRANSFORM
            return None
        places, depth_m = self.view.project(points @ pose[:3, :3].T + pose[:3, 3])
        # What is too near to be scored hides what is behind it all the same.
        found = nearest_in_cells(places, depth_m, self._cells, 0.0, options.max_m)
        seen = int(np.isfinite(found).sum())
        if options.occlusion_deg > 0:
            found[hidden_cells(found, self._reach)] = np.nan
        found[found < options.min_m] = np.nan
        left = int(np.isfinite(found).sum())
        if not left:
            self._without[stamp_ns] = NO_POINT
            return None
        self._apart_s[stamp_ns], self._hidden[stamp_ns] = abs(apart_s), (seen - left, seen)
        return found

    def _camera_from_lidar(
        self, frame: str, cloud_ns: int, picture_ns: int
    ) -> NDArray[np.float64] | None:
        tree = self._lidar.tree
        fixed_from_lidar = tree.lookup(self.fixed_frame, frame, cloud_ns)
        camera_from_fixed = tree.lookup(self.frame, self.fixed_frame, picture_ns)
        if fixed_from_lidar is None or camera_from_fixed is None:
            return None
        return camera_from_fixed @ fixed_from_lidar

    def rays(self) -> NDArray[np.float64]:
        """(H, W, 3) ray through the middle of each cell, z = 1, in the axes that depth is along."""
        height, width = self._cells
        down, across = np.mgrid[0:height, 0:width] + 0.5
        places = np.column_stack([(across / width).ravel(), (down / height).ravel()])
        return self.view.rays(places).reshape(height, width, 3)

    def facts(self) -> LidarFacts:
        """What happened so far."""
        hidden, seen = (sum(pair[i] for pair in self._hidden.values()) for i in (0, 1))
        return LidarFacts(
            recording=self._name,
            points_topic=self._lidar.options.points,
            points_frame=self._lidar.frame,
            camera_frame=self.frame,
            fixed_frame=self.fixed_frame,
            camera=self.view.summary,
            moves=self.moves,
            clouds=len(self._lidar.stamps_ns),
            pictures=len(self._apart_s),
            mean_apart_s=float(np.mean(list(self._apart_s.values()))) if self._apart_s else 0.0,
            hidden=hidden / seen if seen else 0.0,
            without=dict(Counter(self._without.values())),
        )


def open_truths(
    recordings: Sequence[Recording], options: LidarOptions, cells: tuple[int, int], warn: Warn
) -> dict[BagRecording, CameraTruth]:
    """Open the lidar of every recording, each bag once.

    Returns:
        Whole recording -> its depth.

    Raises:
        InputError: something that is needed is missing in a bag, or a recording is of none.
    """
    bags: dict[Path, BagLidar] = {}
    truths: dict[BagRecording, CameraTruth] = {}
    for recording in recordings:
        whole = bag_of(recording)
        if whole is None:
            raise InputError(f"{recording.name} is of no rosbag2; lidar points are read from bags")
        if whole.path not in bags:
            bags[whole.path] = BagLidar(whole.path, options, warn)
        if whole not in truths:
            truths[whole] = CameraTruth(bags[whole.path], whole, cells)
            if not truths[whole].moves:
                warn(_stands_still(truths[whole], bags[whole.path].tree))
    return truths


def _stands_still(truth: CameraTruth, tree: TransformTree) -> str:
    moving = sorted(name for name, track in tree.tracks.items() if not track.is_static)
    return (
        f"{tree.name}: {truth.frame} never moves in the fixed frame {truth.fixed_frame}, so points "
        "stay where the lidar saw them; name a frame that stands still by --fixed-frame (frames "
        f"that move in their parents: {', '.join(moving) or 'none; record /tf of the drive'})"
    )
