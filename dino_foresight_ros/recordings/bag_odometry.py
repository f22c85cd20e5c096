"""How the vehicle of a rosbag2 moves: from odometry, transforms, or twists that are integrated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag_reader import NEW_RUN_NS, BagReader
from dino_foresight_ros.recordings.motion import MotionTrack
from dino_foresight_ros.recordings.poses import inverse, pose_matrix
from dino_foresight_ros.recordings.transform_tree import TF_TYPE, TransformTree, read_transforms
from dino_foresight_ros.stamps import NS_PER_S
from dino_foresight_ros.topic_names import frame_name

ODOMETRY_TYPE = "nav_msgs/msg/Odometry"
TWIST_TYPES = (
    "geometry_msgs/msg/TwistStamped",
    "geometry_msgs/msg/TwistWithCovarianceStamped",
)
BASE_FRAMES = ("base_link", "base_footprint")
FIXED_FRAMES = ("odom", "map")
"""In this order: odom is continuous, map may jump."""
Warn = Callable[[str], None]


def read_motion(reader: BagReader, warn: Warn) -> MotionTrack | None:
    """The motion of base_link, from the best source that the bag has; None where it has none.

    In this order: nav_msgs/Odometry, TF from odom (else map, else the root) to base_link, and
    TwistStamped of topics that are no commands.
    """
    tree: TransformTree | None = None
    if any(topic.msgtype == TF_TYPE for topic in reader.topics.values()):
        tree = read_transforms(reader, warn)
    for read in (_of_odometry, _of_transforms, _of_twists):
        track = read(reader, tree, warn)
        if track is not None and len(track) > 1:
            jumps = int(track.segments[-1])
            if jumps:
                warn(f"{reader.path}: the localisation jumps or pauses {jumps} times; no motion is "
                     "taken across these")  # fmt: skip
            return track
    return None


def _of_odometry(reader: BagReader, tree: TransformTree | None, warn: Warn) -> MotionTrack | None:
    topic = _choose(reader, (ODOMETRY_TYPE,), ("odom",), warn)
    if topic is None:
        return None
    stamps: list[int] = []
    poses: list[NDArray[np.float64]] = []
    child = ""
    bad = 0
    for message in reader.messages([topic]):
        content = _content(reader, message)
        if content is None:
            bad += 1
            continue
        place, turn = content.pose.pose.position, content.pose.pose.orientation
        values = np.array([place.x, place.y, place.z, turn.w, turn.x, turn.y, turn.z], np.float64)
        length = float(np.linalg.norm(values[3:]))
        if not np.isfinite(values).all() or length < 0.1:
            bad += 1
            continue
        child = frame_name(content.child_frame_id) or child
        stamps.append(_stamp(content.header, message.log_time_ns))
        poses.append(pose_matrix(values[:3], values[3:] / length))
    if bad:
        warn(f"{reader.path}: {bad} messages of {topic} left out, no pose is in them")
    if not poses or not _is_one_run(reader, topic, stamps, warn):
        return None
    child_from_base = _mounting(tree, child)
    if child_from_base is None:
        if child.endswith("optical_frame"):
            warn(f"{reader.path}: {topic} is of {child}, and /tf_static does not say how that lies "
                 "in base_link; it is not used")  # fmt: skip
            return None
        if child and child not in BASE_FRAMES:
            warn(f"{reader.path}: {topic} is of {child}, which is taken for base_link")
        child_from_base = np.eye(4)
    return MotionTrack.from_poses(stamps, np.stack(poses) @ child_from_base)


def _of_transforms(reader: BagReader, tree: TransformTree | None, warn: Warn) -> MotionTrack | None:
    base = next((f for f in BASE_FRAMES if tree is not None and f in tree.frames), None)
    if tree is None or base is None:
        return None
    try:
        path = tree.path_up(base)
    except InputError as error:
        warn(str(error))
        return None
    fixed = next((frame for frame in FIXED_FRAMES if frame in path), path[-1])
    chain = path[: path.index(fixed)]
    moving = [tree.tracks[frame].stamps_ns for frame in chain if not tree.tracks[frame].is_static]
    if not moving:
        return None
    stamps = np.unique(np.concatenate(moving))
    found = [tree.lookup(fixed, base, int(stamp)) for stamp in stamps]
    known = [pose for pose in found if pose is not None]
    if not known:
        return None
    is_known = np.array([pose is not None for pose in found])
    return MotionTrack.from_poses(stamps[is_known], np.stack(known))


def _of_twists(reader: BagReader, tree: TransformTree | None, warn: Warn) -> MotionTrack | None:
    topic = _choose(reader, TWIST_TYPES, ("twist", "velocity"), warn)
    if topic is None:
        return None
    stamps: list[int] = []
    twists: list[tuple[float, float, float]] = []
    for message in reader.messages([topic]):
        content = _content(reader, message)
        if content is None:
            continue
        twist = getattr(content.twist, "twist", content.twist)
        stamps.append(_stamp(content.header, message.log_time_ns))
        twists.append((twist.linear.x, twist.linear.y, twist.angular.z))
    if not twists or not _is_one_run(reader, topic, stamps, warn):
        return None
    return MotionTrack.from_twists(stamps, twists)


def _choose(
    reader: BagReader, types: Sequence[str], names: Sequence[str], warn: Warn
) -> str | None:
    """The topic of a type whose name ends as usual, else the one with most messages."""
    topics = [t for t in reader.topics.values() if t.msgtype in types and "cmd" not in t.name]
    topics = [topic for topic in topics if topic.message_count]
    if not topics:
        return None

    def rank(topic: Any) -> tuple[bool, int, int]:
        last = topic.name.rsplit("/", 1)[-1]
        return last in names, -topic.name.count("/"), topic.message_count

    chosen = max(topics, key=rank)
    others = sorted(topic.name for topic in topics if topic is not chosen)
    if others:
        warn(f"{reader.path}: the motion is that of {chosen.name}, not of {', '.join(others)}")
    return str(chosen.name)


def _mounting(tree: TransformTree | None, child: str) -> NDArray[np.float64] | None:
    """child_from_base (4, 4), where the two never move against one another; None if unknown."""
    if tree is None or child in ("", *BASE_FRAMES):
        return np.eye(4) if child in BASE_FRAMES else None
    for base in BASE_FRAMES:
        try:
            if tree.is_rigid(child, base):
                base_from_child = tree.lookup(base, child, 0)
                return None if base_from_child is None else inverse(base_from_child)
        except InputError:
            continue
    return None


def _content(reader: BagReader, message: Any) -> Any:
    """A message's fields; None of a damaged one."""
    try:
        return reader.deserialize(message)
    except Exception:  # noqa: BLE001 - a damaged message raises errors of every kind
        return None


def _stamp(header: Any, log_time_ns: int) -> int:
    stamp_ns = int(header.stamp.sec) * NS_PER_S + int(header.stamp.nanosec)
    return stamp_ns or log_time_ns


def _is_one_run(reader: BagReader, topic: str, stamps: Sequence[int], warn: Warn) -> bool:
    if len(stamps) > 1 and int(np.diff(stamps).min()) < -NEW_RUN_NS:
        warn(f"{reader.path}: the clock of {topic} goes back, its runs cannot be told apart; no "
             "motion is taken from it")  # fmt: skip
        return False
    return True
