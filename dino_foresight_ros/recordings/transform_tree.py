"""The transforms of a recording (/tf and /tf_static), as a tree that gives them at any instant.

A transform takes points of the child frame to its parent: p_parent = T p_child.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag_reader import BagReader
from dino_foresight_ros.recordings.poses import Matrix, inverse, pose_matrix, slerp
from dino_foresight_ros.stamps import NS_PER_S
from dino_foresight_ros.topic_names import frame_name

TF_TYPE = "tf2_msgs/msg/TFMessage"
STATIC_TOPIC = "tf_static"
HOLD_NS = NS_PER_S // 50
"""So far beside a sample its pose is held: before the first, after the last, inside a gap."""
MAX_GAP_NS = NS_PER_S // 2
"""Between samples further apart nothing is interpolated."""


@dataclass(frozen=True)
class Track:
    """How one frame lies in its parent.

    Attributes:
        parent: the parent frame.
        stamps_ns: (N,) int64 rising; empty where it never moves.
        translations: (N, 3) metres, (1, 3) where it never moves.
        rotations: (N, 4) unit quaternions (w, x, y, z), (1, 4) where it never turns.
    """

    parent: str
    stamps_ns: NDArray[np.int64]
    translations: Matrix
    rotations: Matrix

    @property
    def is_static(self) -> bool:
        """Whether it holds at every instant."""
        return self.stamps_ns.size == 0

    def at(self, stamp_ns: int, hold_ns: int = HOLD_NS) -> Matrix | None:
        """parent_from_child (4, 4) at an instant; None where the samples do not tell."""
        if self.is_static:
            return self._sample(0)
        after = int(np.searchsorted(self.stamps_ns, stamp_ns))
        before, last = after - 1, len(self.stamps_ns) - 1
        if after <= last and self.stamps_ns[after] == stamp_ns:
            return self._sample(after)
        if before >= 0 and after <= last:
            gap_ns = int(self.stamps_ns[after] - self.stamps_ns[before])
            if gap_ns <= MAX_GAP_NS:
                fraction = int(stamp_ns - self.stamps_ns[before]) / gap_ns
                earlier, later = self.translations[before], self.translations[after]
                place = (1 - fraction) * earlier + fraction * later
                turn = slerp(self.rotations[before], self.rotations[after], fraction)
                return pose_matrix(place, turn)
        near = min(
            (i for i in (before, after) if 0 <= i <= last),
            key=lambda i: abs(int(self.stamps_ns[i]) - stamp_ns),
        )
        return self._sample(near) if abs(int(self.stamps_ns[near]) - stamp_ns) <= hold_ns else None

    def _sample(self, row: int) -> Matrix:
        return pose_matrix(self.translations[row], self.rotations[row])


_Row = tuple[int, list[float], list[float]]
"""(stamp_ns, translation, rotation)."""


class TransformTree:
    """Frames and how they lie in one another.

    Attributes:
        tracks: child frame -> how it lies in its parent.
    """

    def __init__(self, name: str, tracks: dict[str, Track]) -> None:
        """Take finished tracks; `name` stands in messages."""
        self.name = name
        self.tracks = tracks
        self._parents = {track.parent for track in tracks.values()}

    @property
    def frames(self) -> list[str]:
        """Every frame."""
        return sorted(self._parents.union(self.tracks))

    def path_up(self, frame: str) -> list[str]:
        """The frame, its parent, and so on to the root.

        Raises:
            InputError: there is no such frame, or it is its own ancestor.
        """
        if frame not in self.tracks and frame not in self._parents:
            known = ", ".join(self.frames[:20]) or "none at all"
            raise InputError(
                f"{self.name}: the frame {frame!r} is in neither /tf nor /tf_static (frames "
                f"there: {known}); record the transforms that lead to it"
            )
        path = [frame]
        while path[-1] in self.tracks:
            parent = self.tracks[path[-1]].parent
            if parent in path:
                raise InputError(f"{self.name}: the frame {parent!r} is its own ancestor in /tf")
            path.append(parent)
        return path

    def root(self, *frames: str) -> str:
        """The root of the tree that holds all the frames.

        Raises:
            InputError: they are in different trees, or there is no such frame.
        """
        roots = [self.path_up(frame)[-1] for frame in frames]
        for frame, root in zip(frames, roots, strict=True):
            if root != roots[0]:
                raise InputError(
                    f"{self.name}: no transform between the frames {frames[0]!r} (below "
                    f"{roots[0]!r}) and {frame!r} (below {root!r}); record /tf and /tf_static "
                    "with what connects them"
                )
        return roots[0]

    def is_rigid(self, first: str, second: str) -> bool:
        """Whether two frames never move against one another."""
        return all(self.tracks[frame].is_static for path in self._to_meet(first, second)
                   for frame in path)  # fmt: skip

    def lookup(self, target: str, source: str, stamp_ns: int) -> Matrix | None:
        """target_from_source (4, 4) at an instant; None where a transform is unknown then.

        Raises:
            InputError: no transform connects the two.
        """
        poses = []
        for path in self._to_meet(target, source):
            pose = np.eye(4)
            for frame in path:
                step = self.tracks[frame].at(stamp_ns)
                if step is None:
                    return None
                pose = step @ pose
            poses.append(pose)
        return inverse(poses[0]) @ poses[1]

    def _to_meet(self, first: str, second: str) -> tuple[list[str], list[str]]:
        """The frames below the first common ancestor, going up from either."""
        self.root(first, second)
        up, other = self.path_up(first), self.path_up(second)
        meet = next(frame for frame in up if frame in other)
        return up[: up.index(meet)], other[: other.index(meet)]


def read_transforms(reader: BagReader, warn: Callable[[str], None]) -> TransformTree:
    """Read every topic of transforms of a bag; those named .../tf_static never move.

    Transforms with NaN or a rotation of no length are left out and told of. A frame with several
    parents keeps the one that was sent most often, which is told of, too.
    """
    topics = [t.name for t in reader.topics.values() if t.msgtype == TF_TYPE]
    static: dict[str, dict[str, list[_Row]]] = {}
    moving: dict[str, dict[str, list[_Row]]] = {}
    bad: Counter[str] = Counter()
    for stored in reader.messages(topics):
        kept = static if stored.topic.split("/")[-1] == STATIC_TOPIC else moving
        for transform in _transforms(reader, stored, bad):
            parent, child = (
                frame_name(f) for f in (transform.header.frame_id, transform.child_frame_id)
            )
            row = _row(transform)
            if row is None:
                bad[f"{parent} to {child}"] += 1
                continue
            kept.setdefault(child, {}).setdefault(parent, []).append(row)
    for what, count in bad.items():
        warn(f"{reader.path}: {count} transforms left out, no pose is in them: {what}")
    tracks: dict[str, Track] = {}
    for kept in (static, moving):  # what moves takes precedence
        for child, by_parent in kept.items():
            parent = max(by_parent, key=lambda one: len(by_parent[one]))
            if len(by_parent) > 1:
                others = ", ".join(sorted(set(by_parent) - {parent}))
                warn(f"{reader.path}: the frame {child} has several parents: {parent} is taken, "
                     f"not {others}")  # fmt: skip
            tracks[child] = _track(parent, by_parent[parent], kept is static)
    return TransformTree(str(reader.path), tracks)


def _transforms(reader: BagReader, stored: Any, bad: Counter[str]) -> list[Any]:
    try:
        return list(reader.deserialize(stored).transforms)
    except Exception:  # noqa: BLE001 - a damaged message raises errors of every kind
        bad["damaged messages"] += 1
        return []


def _row(transform: Any) -> _Row | None:
    stamp = transform.header.stamp
    place, turn = transform.transform.translation, transform.transform.rotation
    values = np.array([place.x, place.y, place.z, turn.w, turn.x, turn.y, turn.z], np.float64)
    length = float(np.linalg.norm(values[3:]))
    if not np.isfinite(values).all() or length < 0.1:
        return None
    stamp_ns = int(stamp.sec) * NS_PER_S + int(stamp.nanosec)
    return stamp_ns, values[:3].tolist(), (values[3:] / length).tolist()


def _track(parent: str, rows: list[_Row], is_static: bool) -> Track:
    if is_static:
        rows = rows[-1:]
    latest = {row[0]: row for row in rows}  # of one stamp the last that was sent
    ordered = [latest[stamp_ns] for stamp_ns in sorted(latest)]
    stamps_ns = np.array([] if is_static else sorted(latest), np.int64)
    return Track(
        parent,
        stamps_ns,
        np.array([row[1] for row in ordered], np.float64),
        np.array([row[2] for row in ordered], np.float64),
    )
