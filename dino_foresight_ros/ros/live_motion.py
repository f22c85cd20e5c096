"""Where the robot's base is and how it will move: odometry, and the plan that it follows."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from rclpy.node import Node

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.planar_motion import Motion, compose, motion_of, of_twist
from dino_foresight_ros.recordings.motion import find_jumps, planar_pose
from dino_foresight_ros.ros import planar
from dino_foresight_ros.ros.motion_parameters import NONE, PATH, base_from_camera
from dino_foresight_ros.ros.parameters import Parameters
from dino_foresight_ros.ros.qos import image_input_qos, output_qos, subscribe
from dino_foresight_ros.ros.time import time_to_ns
from dino_foresight_ros.ros.transforms import Transforms
from dino_foresight_ros.topic_names import frame_name

ODOMETRY, PLAN = "odom", "plan"
KEPT_S = 3.0
"""Odometry is kept for so long."""
_LATE_S = 3.0
"""A message that is older than the newest by less came late; by more, and time went back."""
_JUMP_MEMORY_S = 0.5
"""After a jump the odometry is not believed for so long."""
_QUEUE = 10
_LOG_PERIOD_S = 30.0


class _Sample(NamedTuple):
    """One odometry message."""

    stamp_ns: int
    pose: tuple[float, float, float]
    twist: tuple[float, float, float]


class BaseState(NamedTuple):
    """The base at an instant.

    Attributes:
        pose: (3,) x, y in metres and yaw in rad in the odometry's frame.
        twist: (3,) m/s forward, m/s to the left, rad/s to the left.
        frame: the odometry's.
    """

    pose: Motion
    twist: Motion
    frame: str


class LiveMotion:
    """Listens to odometry and plan, from `want` on; asked from any thread."""

    def __init__(
        self,
        node: Node,
        parameters: Parameters,
        transforms: Transforms,
        with_plan: bool = True,
        kept_s: float = KEPT_S,
    ) -> None:
        """Prepare; nothing is subscribed to yet.

        Args:
            node: the node that all of it belongs to.
            parameters: the node's; base_frame and odometry_timeout_s, with paths path_speed_mps,
                and with `until` motion are read.
            transforms: between frames.
            with_plan: whether the plan is listened to as well.
            kept_s: for how long odometry is kept, seconds: so far back may be asked.
        """
        self._with_plan, self._kept_ns = with_plan, round(kept_s * 1e9)
        self._node, self._parameters, self._transforms = node, parameters, transforms
        self._lock = threading.Lock()
        self._samples: deque[_Sample] = deque()
        self._frame = ""
        self._broken: str | None = None
        self._plan: Path | None = None
        self._subscriptions: list[Any] = []
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """Why the motion until horizons was not known the last time; None where it was."""
        return self._problem

    @property
    def is_open(self) -> bool:
        """Whether odometry is listened to."""
        return bool(self._subscriptions)

    def want(self) -> None:
        """Listen from now on."""
        if self._subscriptions:
            return
        qos = image_input_qos(depth=_QUEUE)
        self._subscriptions.append(subscribe(self._node, Odometry, ODOMETRY, self.on_odometry, qos))
        if self._with_plan:
            self._subscriptions.append(
                subscribe(self._node, Path, PLAN, self.on_plan, output_qos(1))
            )

    def close(self) -> None:
        """Unsubscribe, and forget what came."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        with self._lock:
            self._samples.clear()
            self._plan = self._broken = self._problem = None

    # In the executor's thread

    def on_odometry(self, message: Odometry) -> None:
        stamp_ns = time_to_ns(message.header.stamp)
        try:
            child, base = frame_name(message.child_frame_id), self._parameters["base_frame"]
            if child not in ("", base):
                raise InputError(f"odometry is of frame {child}, and base_frame is {base}")
            pose = planar.planar_pose(message.pose.pose)
            twist = planar.planar_twist(message.twist.twist)
            if not np.isfinite(twist).all():
                raise InputError("odometry has a twist that is not finite")
            broken = None
        except InputError as error:
            broken = str(error)
        with self._lock:
            self._broken = broken
            if broken is not None:
                return
            frame = frame_name(message.header.frame_id)
            if self._samples and (stamp_ns <= self._samples[-1].stamp_ns or frame != self._frame):
                back_s = (self._samples[-1].stamp_ns - stamp_ns) / 1e9
                if 0 <= back_s < _LATE_S and frame == self._frame:
                    return  # late, or twice
                self._samples.clear()  # time went back, or another frame
            self._frame = frame
            self._samples.append(_Sample(stamp_ns, pose, twist))
            while stamp_ns - self._samples[0].stamp_ns > self._kept_ns:
                self._samples.popleft()

    def on_plan(self, message: Path) -> None:
        self._plan = message

    # From any thread

    @property
    def has_come(self) -> bool:
        """Whether any odometry came since it is listened to."""
        with self._lock:
            return bool(self._samples) or self._broken is not None

    @property
    def newest_ns(self) -> int | None:
        """Stamp of the newest odometry that is kept, nanoseconds; None without any."""
        with self._lock:
            return self._samples[-1].stamp_ns if self._samples else None

    def twist(self, stamp_ns: int) -> Motion:
        """(3,) m/s forward, m/s left, rad/s left: of the odometry nearest to an instant.

        A jump of the pose says nothing against it.

        Raises:
            InputError: there is none, it is stale or of another frame, or has NaN.
        """
        samples, _ = self._believed()
        return np.array(samples[self._nearest(samples, stamp_ns)].twist)

    def state(self, stamp_ns: int | None) -> BaseState:
        """The base at an instant, from the odometry around it; at the newest when None.

        Raises:
            InputError: there is none, it is stale or of another frame, has NaN, or jumps.
        """
        samples, frame = self._believed()
        stamp_ns = samples[-1].stamp_ns if stamp_ns is None else stamp_ns
        sample = samples[self._nearest(samples, stamp_ns)]
        stamps = np.array([one.stamp_ns for one in samples])
        off_s = (stamp_ns - stamps) / 1e9
        within_s = max(2 * _JUMP_MEMORY_S, self._parameters["odometry_timeout_s"])
        recent = np.flatnonzero(np.abs(off_s) <= within_s)
        poses = planar_pose(np.array([samples[i].pose for i in recent]))
        jumps = np.flatnonzero(find_jumps(stamps[recent], poses))
        since_s = (stamp_ns - stamps[recent][jumps + 1]) / 1e9
        if (np.abs(since_s) <= _JUMP_MEMORY_S).any():
            raise InputError(f"odometry on {self._topic} jumped")
        # From the nearest sample on, its twist held.
        moved = of_twist(np.array(sample.twist), (stamp_ns - sample.stamp_ns) / 1e9)
        return BaseState(compose(sample.pose, moved), np.array(sample.twist), frame)

    @property
    def _topic(self) -> str:
        return str(self._node.resolve_topic_name(ODOMETRY))

    def _believed(self) -> tuple[list[_Sample], str]:
        """What is kept of the odometry, and its frame."""
        with self._lock:
            samples, frame, broken = list(self._samples), self._frame, self._broken
        if broken is not None:
            raise InputError(f"{self._topic}: {broken}")
        if not samples:
            raise InputError(f"no odometry came on {self._topic}")
        return samples, frame

    def _nearest(self, samples: Sequence[_Sample], stamp_ns: int) -> int:
        """Index of the sample nearest to an instant; refused where that is far."""
        off_s = np.array([(stamp_ns - sample.stamp_ns) / 1e9 for sample in samples])
        nearest = int(np.abs(off_s).argmin())
        timeout_s = self._parameters["odometry_timeout_s"]
        if abs(off_s[nearest]) > timeout_s:
            when = "before" if off_s[nearest] > 0 else "after"
            raise InputError(
                f"odometry is stale: the nearest on {self._topic} is {abs(off_s[nearest]):.2g} s "
                f"{when} the frame, and odometry_timeout_s is {timeout_s:g} s"
            )
        return nearest

    def until(self, stamp_ns: int, horizons_s: Sequence[float]) -> Motion | None:
        """The motion (S, 3) that is assumed until horizons; None where it is not known.

        Why it is not known is said once.
        """
        how = self._parameters["motion"]
        if how == NONE or not self.is_open:
            self._problem = None
            return None
        try:
            if how == PATH:
                found = self.along_plan(stamp_ns, horizons_s)
            else:
                twist = self.state(stamp_ns).twist
                found = of_twist(twist, list(horizons_s))
            problem = None
        except InputError as error:
            found, problem = None, str(error)
        self._say(problem)
        return found

    def moved(self, from_ns: int, to_ns: int) -> Motion:
        """The motion (3,) of the base between two instants near each other: a twist that is held.

        Raises:
            InputError: see `twist`.
        """
        if from_ns == to_ns:
            return np.zeros(3)
        twist = self.twist((from_ns + to_ns) // 2)
        return np.asarray(of_twist(twist, (to_ns - from_ns) / 1e9))

    def camera_pose(self, index: int, frame_id: str) -> NDArray[np.float64]:
        """(4, 4) pose of a camera's optical frame on the base, see `base_from_camera`."""
        return base_from_camera(self._parameters, index, frame_id, self._transforms)

    def fixed_on_base(self, frame: str) -> NDArray[np.float64] | None:
        """(4, 4) pose on the base of a frame that rides along with it, as a camera's.

        Returns:
            None of one that does not, such as the odometry's, or that TF does not know.
        """
        base = self._parameters["base_frame"]
        with self._lock:
            is_odometry = bool(self._samples) and frame == self._frame
        return None if is_odometry else self._transforms.fixed(base, frame or base)

    def along_plan(self, stamp_ns: int, horizons_s: Sequence[float]) -> Motion:
        """The motion (S, 3) along the newest plan from an instant on.

        Raises:
            InputError: no plan came, or one that cannot be followed.
        """
        plan, topic = self._plan, self._node.resolve_topic_name(PLAN)
        if plan is None:
            raise InputError(f"no plan came on {topic}")
        try:
            return self.along(plan, stamp_ns, horizons_s)
        except InputError as error:
            raise InputError(f"{topic}: {error}") from error

    def _say(self, problem: str | None) -> None:
        before, self._problem = self._problem, problem
        log = self._node.get_logger()
        # Odometry that comes and goes, as on a busy machine, does not fill the log.
        if problem is not None and before is None:
            log.warning(
                f"forecasts go without motion: {problem}", throttle_duration_sec=_LOG_PERIOD_S
            )
        elif problem is None and before is not None:
            log.info("forecasts know the motion again", throttle_duration_sec=_LOG_PERIOD_S)

    def along(self, path: Path, stamp_ns: int, horizons_s: Sequence[float]) -> Motion:
        """The motion (S, 3) along a path from an instant on.

        Poses without stamps, as global planners give them, are driven at the present speed, but not
        slower than path_speed_mps.

        Raises:
            InputError: a path that cannot be followed, or of a frame that is unknown.
        """
        # Imports torch, which a node that starts does not wait for.
        from dino_foresight_ros.runtime.candidate import path_motions, path_times

        if len(path.poses) < 2:
            raise InputError(f"its path has {len(path.poses)} pose; give two or more")
        poses = np.array([planar.planar_pose(pose.pose) for pose in path.poses])
        stamps = [time_to_ns(pose.header.stamp) for pose in path.poses]
        frame = frame_name(path.header.frame_id or path.poses[0].header.frame_id)
        start = self.start_in(frame, stamp_ns)
        if len(set(stamps)) > 1:
            times_s = [(stamp - stamp_ns) / 1e9 for stamp in stamps]
        else:
            # What is behind was driven: on from the pose that is nearest.
            away = np.hypot(*(poses[:, :2] - start[:2]).T)
            poses = poses[min(int(away.argmin()), len(poses) - 2) :]
            times_s = path_times(poses, self._speed(stamp_ns), start)
        return path_motions(poses, times_s, horizons_s, start)

    def start_in(self, frame: str, stamp_ns: int) -> Motion:
        """Pose (3,) of the base in a frame at an instant: x, y in metres and yaw in rad.

        Raises:
            InputError: the frame is unknown, or the odometry in it is not to be believed.
        """
        base = self._parameters["base_frame"]
        if frame in ("", base):
            return np.zeros(3)
        with self._lock:
            is_odometry = bool(self._samples) and frame == self._frame
        if is_odometry:
            return self.state(stamp_ns).pose
        try:
            pose = self._transforms.matrix(frame, base, stamp_ns)
        except InputError as error:
            raise InputError(
                f"frame {frame} is unknown ({error}); use {base}, the odometry's frame, or one "
                "that TF knows"
            ) from error
        return motion_of(pose)

    def _speed(self, stamp_ns: int) -> float:
        least = float(self._parameters["path_speed_mps"])
        try:
            return max(float(np.hypot(*self.state(stamp_ns).twist[:2])), least)
        except InputError:
            return least
