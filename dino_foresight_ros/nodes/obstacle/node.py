"""obstacle_node: what a robot does with forecasts. Works on messages alone, on any machine.

In: foresight/forecast, foresight/labels and camera_info of each camera, odom, plan, TF.
Out: OBSTACLE_TOPICS, and /diagnostics.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from rclpy.event_handler import QoSPublisherMatchedInfo
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, PointCloud2, Range
from std_msgs.msg import Header

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.msg import Forecast, Labels, TimeToContact
from dino_foresight_ros.nodes.obstacle.messages import (
    contact_message,
    grid_message,
    range_message,
)
from dino_foresight_ros.nodes.obstacle.parameters import (
    OBSTACLE_PARAMETERS,
    grid_of,
    heights_problem,
)
from dino_foresight_ros.obstacles import (
    GROUND_CLASSES,
    Camera,
    CameraObstacles,
    GridSpec,
    ObstacleMap,
    ObstacleOptions,
    ids_of_classes,
    obstacles_of,
)
from dino_foresight_ros.outputs import CONFIDENCE, DEPTH, SEGMENTATION
from dino_foresight_ros.planar_motion import motion_between, of_twist
from dino_foresight_ros.recordings.camera_view import camera_view
from dino_foresight_ros.ros.camera_feed import RepeatedWarnings
from dino_foresight_ros.ros.camera_info import CameraInfoInput
from dino_foresight_ros.ros.clouds import obstacle_cloud
from dino_foresight_ros.ros.live_motion import LiveMotion
from dino_foresight_ros.ros.messages import build_diagnostics, read_step
from dino_foresight_ros.ros.motion_parameters import PATH, base_from_camera, footprint_of
from dino_foresight_ros.ros.node_main import run_node
from dino_foresight_ros.ros.parameters import Parameters, usage
from dino_foresight_ros.ros.qos import (
    advertise,
    check_overrides,
    latched_qos,
    output_qos,
    subscribe,
    warn_of_unused_overrides,
)
from dino_foresight_ros.ros.time import ns_to_time, time_to_ns
from dino_foresight_ros.ros.timers import steady_timer
from dino_foresight_ros.ros.transforms import Transforms
from dino_foresight_ros.topic_names import (
    OBSTACLE_CONTACT,
    OBSTACLE_GRID,
    OBSTACLE_POINTS,
    OBSTACLE_RANGE,
    OBSTACLE_SWEPT,
    CameraTopics,
    MadeTopic,
    camera_topics,
    frame_name,
    is_rectified,
)

NODE_NAME = "obstacle_node"
SILENT_S = 5.0
_READ = (SEGMENTATION, CONFIDENCE, DEPTH)


class _Source:
    """One camera's newest calibration and classes, and what its newest forecast said.

    Attributes:
        index: which of the cameras it is.
        image_topic: full name of the pictures' topic, which tells rectified ones.
        info_topic: full name of the calibration's.
    """

    def __init__(self, index: int, image_topic: str, info_topic: str) -> None:
        self.index, self.image_topic, self.info_topic = index, image_topic, info_topic
        self.info: CameraInfo | None = None
        self.names: tuple[str, ...] = ()
        self.camera: Camera | None = None
        self.obstacles: CameraObstacles | None = None
        self.problem: str | None = "no forecast came"


class _Grids(NamedTuple):
    """Of what the newest grids are made, also for who listens later.

    Attributes:
        spec: around the base.
        header: theirs.
        floor_m: height of the floor in the header's frame.
    """

    found: ObstacleMap
    spec: GridSpec
    header: Header
    floor_m: float


class ObstacleNode(Node):
    """Makes obstacles of each forecast as it comes."""

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        check_overrides(self)
        self.parameters = Parameters(self, OBSTACLE_PARAMETERS, lambda: False, heights_problem)
        get = self.parameters
        self.grid = grid_of({spec.name: get[spec.name] for spec in OBSTACLE_PARAMETERS})
        self.transforms = Transforms(self)
        self._warnings = RepeatedWarnings(self)
        self.motion = LiveMotion(self, self.parameters, self.transforms)
        self.motion.want()
        self._motion_problem: str | None = "no odometry came"
        self._plan_problem: str | None = None
        self._grid_problem: str | None = None
        self._took_ms = 0.0
        self._last_s: float | None = None
        self.sources: dict[str, _Source] = {}
        for topics in camera_topics(get["cameras"], get["camera_topic"]):
            self.sources[topics.camera] = self.listen(topics)

        def make(kind: type, topic: MadeTopic, step: int = 0) -> Any:
            return advertise(self, kind, topic.of_step(step), output_qos())

        def make_grid(topic: MadeTopic, step: int) -> Any:
            """Latched, and made only for those who listen: who comes later gets the newest."""

            def on_matched(info: QoSPublisherMatchedInfo) -> None:
                if info.current_count_change > 0:
                    self._publish_grid(step)

            return advertise(self, OccupancyGrid, topic.of_step(step), latched_qos(), on_matched)

        steps = range(1, get["steps"] + 1)
        self._newest: _Grids | None = None
        self._clouds = [make(PointCloud2, OBSTACLE_POINTS, k) for k in steps]
        self._grids = [make_grid(OBSTACLE_SWEPT, 0)]  # then of each step
        self._grids += [make_grid(OBSTACLE_GRID, k) for k in steps]
        self._contact = make(TimeToContact, OBSTACLE_CONTACT)
        self._range = make(Range, OBSTACLE_RANGE)
        self._diagnostics = advertise(self, DiagnosticArray, "/diagnostics", output_qos())
        steady_timer(self, get["diagnostics_period_s"], self._diagnose)
        warn_of_unused_overrides(self)

    # In

    def listen(self, topics: CameraTopics) -> _Source:
        full = self.resolve_topic_name
        source = _Source(len(self.sources), full(topics.image), full(topics.camera_info))

        def on_info(message: CameraInfo) -> None:
            if source.info is None or not _same_lens(source.info, message):
                source.camera = None
            source.info = message

        def on_labels(message: Labels) -> None:
            source.names = tuple(message.names)

        def on_forecast(message: Forecast) -> None:
            self.on_forecast(topics.camera, source, message)

        CameraInfoInput(self, topics.camera_info, on_info)
        subscribe(self, Labels, f"{topics.outputs}/labels", on_labels, latched_qos())
        subscribe(self, Forecast, f"{topics.outputs}/forecast", on_forecast, output_qos(1))
        return source

    def on_forecast(self, name: str, source: _Source, message: Forecast) -> None:
        began = time.perf_counter()
        lead = f"{name}: " if name else ""
        stamp_ns = time_to_ns(message.header.stamp)
        before = source.obstacles
        if before is not None and stamp_ns < before.stamp_ns:
            self._warnings.warn(f"{lead}stamps went back; what was seen before is forgotten")
            for one in self.sources.values():
                one.obstacles = None
            self._newest = None
        try:
            self._take(source, message)
        except (InputError, UsageError, ValueError) as error:
            source.obstacles, source.problem = None, str(error)
        if source.problem is not None:
            self._warnings.warn(f"{lead}{source.problem}")
        self._took_ms = 1000 * (time.perf_counter() - began)

    def _take(self, source: _Source, message: Forecast) -> None:
        """Read a forecast and publish what it says.

        Raises:
            InputError, UsageError: it cannot be used, and why.
        """
        stamp_ns = time_to_ns(message.header.stamp)
        source.camera = self.camera_of(source, message)
        scenes = [read_step(step, _READ) for step in message.steps[: len(self._clouds)]]
        options = self._options(source)
        horizons_s = [scene.horizon_s for scene in scenes]
        poses = self.poses_at(stamp_ns, horizons_s)
        source.obstacles = obstacles_of(
            scenes, stamp_ns, source.camera, poses, options, self.parameters["min_probability"]
        )
        odd = [
            source.camera.mounting_problem(self.parameters["ground_height_m"]),
            _scale_problem(source.obstacles.floor_scale, options),
        ]
        if any(scene.segmentation is not None for scene in scenes):
            odd.append(self._classes_problem(source, options))
        source.problem = "; ".join(filter(None, odd)) or None
        self._publish(self.fused(source.obstacles), message, source.names)
        self._last_s = time.monotonic()

    def camera_of(self, source: _Source, message: Forecast) -> Camera:
        """The camera, made anew when its calibration or place changed.

        Raises:
            InputError: no calibration, or no transform, and which one.
        """
        if source.info is None:
            raise InputError(f"no camera_info came on {source.info_topic}")
        pose = base_from_camera(
            self.parameters, source.index, message.header.frame_id, self.transforms
        )
        known = source.camera
        if known is not None and np.array_equal(known.base_from_optical, pose):
            return known
        view = camera_view(source.info, is_rectified(source.image_topic), "camera_info")
        return Camera(view, pose)

    def twist_at(self, stamp_ns: int) -> NDArray[np.float64]:
        """m/s forward, m/s left, rad/s left: of the odometry, or straight ahead without any."""
        try:
            twist = self.motion.twist(stamp_ns)
        except InputError as error:
            self._motion_problem = str(error)
            if self.motion.has_come:  # a robot that stands needs none
                self._warnings.warn(f"odometry not used: {error}")
            return np.array([self.parameters["speed_mps"], 0.0, 0.0])
        self._motion_problem = None
        return twist

    def poses_at(self, stamp_ns: int, horizons_s: Sequence[float]) -> NDArray[np.float64]:
        """(S, 3) x, y, yaw of the base at horizons: by the twist, or along the plan if asked."""
        self._plan_problem = None
        if self.parameters["motion"] == PATH:
            try:
                return self.motion.along_plan(stamp_ns, horizons_s)
            except InputError as error:
                self._plan_problem = f"plan not used: {error}"
                self._warnings.warn(self._plan_problem)
        return of_twist(self.twist_at(stamp_ns), horizons_s)

    def fused(self, newest: CameraObstacles) -> list[CameraObstacles]:
        """What the cameras saw about the time of one, all in the base frame of the last of them.

        The last of them is the first in the list.
        """
        within_s = self.parameters["fuse_within_s"]
        every = [one.obstacles for one in self.sources.values() if one.obstacles is not None]
        stamp_ns = max(one.stamp_ns for one in every if _late_s(one, newest.stamp_ns) <= within_s)
        every = [one for one in every if 0 <= (stamp_ns - one.stamp_ns) / 1e9 <= within_s]
        every.sort(key=lambda one: (-one.stamp_ns, -len(one.horizons_s)))
        return [one.at(stamp_ns, self.motion_from(stamp_ns, one.stamp_ns)) for one in every]

    def motion_from(self, from_ns: int, to_ns: int) -> NDArray[np.float64]:
        """x, y, yaw of the base at one instant in the base at another, by the twist between."""
        if from_ns == to_ns:
            return np.zeros(3)
        return of_twist(self.twist_at((from_ns + to_ns) // 2), (to_ns - from_ns) / 1e9)

    def _classes_problem(self, source: _Source, options: ObstacleOptions) -> str | None:
        """What of the classes is not known; None where ground and its names are."""
        if not source.names:
            return "no labels came: which class is ground and which is sky is not known"
        wanted = list(self.parameters["ground_classes"])
        if not options.ground_ids:
            return (
                f"no class is named in ground_classes ({', '.join(wanted)}); classes are: "
                + ", ".join(source.names)
            )
        strange = [name for name in wanted if name not in GROUND_CLASSES]
        unknown = [name for name in strange if not ids_of_classes(source.names, [name])]
        if unknown:
            return f"ground_classes: there is no class {', '.join(unknown)}"
        return None

    def _options(self, source: _Source) -> ObstacleOptions:
        get = self.parameters
        return ObstacleOptions.of_classes(
            source.names,
            ground=list(get["ground_classes"]),
            min_height_m=get["min_height_m"],
            ground_height_m=max(get["min_height_m"], 0.6),
            max_height_m=get["max_height_m"],
            max_range_m=get["max_range_m"],
            ground_z_m=get["ground_height_m"],
            max_scale=get["max_depth_scale"],
        )

    # Out

    def _publish(
        self, cameras: list[CameraObstacles], message: Forecast, names: tuple[str, ...]
    ) -> None:
        get = self.parameters
        footprint = footprint_of(
            list(get["footprint"]), get["robot_radius_m"], get["footprint_padding_m"]
        )
        stamp = ns_to_time(cameras[0].stamp_ns)
        grid, of_grid, rise_m = self.placed_grid(stamp)
        floor_m = get["ground_height_m"]
        found = ObstacleMap(cameras, grid or self.grid, floor_m, get["fuse_within_s"])
        header = Header(stamp=stamp, frame_id=get["base_frame"])
        self._newest = None
        if grid is not None:
            self._newest = _Grids(found, grid, of_grid, floor_m + rise_m)
        for publisher, points, horizon_s in zip(
            self._clouds, found.points, found.horizons_s, strict=False
        ):
            if publisher.get_subscription_count():
                publisher.publish(obstacle_cloud(points, horizon_s, header))
        for step in range(len(self._grids)):
            self._publish_grid(step)
        if self._contact.get_subscription_count():
            twist = self.twist_at(found.stamp_ns)
            poses = of_twist(twist, found.horizons_s)
            met = found.contact(poses, footprint, get["contact_probability"])
            self._contact.publish(
                contact_message(met, twist, header, names, message.model_name, message.trained)
            )
        if self._range.get_subscription_count():
            ahead_m = found.ahead(0, footprint, get["contact_probability"])
            self._range.publish(range_message(ahead_m, footprint, header, get["max_range_m"]))

    def _publish_grid(self, step: int) -> None:
        """Publish the newest grid where somebody hears it: that of a step or, 0, the swept one."""
        newest, publisher = self._newest, self._grids[step]
        if newest is None or step > len(newest.found.points):
            return
        if publisher.get_subscription_count():
            cells = newest.found.cells(step - 1) if step else newest.found.swept()
            publisher.publish(grid_message(cells, newest.spec, newest.header, newest.floor_m))

    def placed_grid(self, stamp: Any) -> tuple[GridSpec | None, Header, float]:
        """The grid around the base at an instant, its header, and the base's height in its frame.

        None where TF does not know the base in its frame, which is told.
        """
        base_frame = self.parameters["base_frame"]
        frame = frame_name(self.parameters["grid_frame"]) or base_frame
        header, self._grid_problem = Header(stamp=stamp, frame_id=frame), None
        if self.grid.base is None:
            return self.grid, header, 0.0
        try:
            pose = self.transforms.matrix(frame, base_frame, time_to_ns(stamp))
        except InputError as error:
            self._grid_problem = f"no grids: {error}"
            self._warnings.warn(self._grid_problem)
            return None, header, 0.0
        x, y, yaw = motion_between(np.eye(4), pose).tolist()
        return replace(self.grid, base=(x, y, yaw)), header, float(pose[2, 3])

    def _diagnose(self) -> None:
        self._diagnostics.publish(self.status())

    def status(self) -> DiagnosticArray:
        """What the node says of itself on /diagnostics."""
        problems = [
            f"{name}: {one.problem}" if name else one.problem
            for name, one in self.sources.items()
            if one.problem is not None
        ]
        if self._last_s is not None and time.monotonic() - self._last_s > SILENT_S:
            problems.append(f"no forecast for {time.monotonic() - self._last_s:.0f} s")
        if self._grid_problem is not None:
            problems.append(self._grid_problem)
        if self._plan_problem is not None:
            problems.append(self._plan_problem)
        if self._motion_problem is not None and self.motion.has_come:
            problems.append(f"odometry not used: {self._motion_problem}")
        level = DiagnosticStatus.WARN if problems else DiagnosticStatus.OK
        values: dict[str, object] = {"time_ms": self._took_ms}
        values["motion"] = "odometry" if self._motion_problem is None else "straight ahead"
        for name, one in self.sources.items():
            if one.obstacles is not None:
                lead = f"camera.{name}." if name else ""
                values[f"{lead}points"] = sum(map(len, one.obstacles.points))
                values[f"{lead}ground_share"] = one.obstacles.ground_share
                values[f"{lead}ground_tilt_deg"] = one.obstacles.tilt_deg
                values[f"{lead}depth_scale"] = one.obstacles.floor_scale
        header = Header(stamp=self.get_clock().now().to_msg())
        name = self.get_fully_qualified_name().lstrip("/")
        text = "; ".join(problems) or "publishing obstacles"
        return build_diagnostics(name, "", level, text, values, header)


def _scale_problem(scale: float, options: ObstacleOptions) -> str | None:
    """What is odd about the scale that the height of the camera gives depths."""
    if options.max_scale == 1 or not np.isfinite(scale) or options.believes_scale(scale):
        return None
    return (
        f"the depth would have to be {scale:.2f} times what it is for the ground to lie on the "
        "floor, and is left as it is: check ground_height_m and the height of the camera"
    )


def _late_s(one: CameraObstacles, stamp_ns: int) -> float:
    """How far its stamp is from another one, seconds."""
    return abs(one.stamp_ns - stamp_ns) / 1e9


def _same_lens(one: CameraInfo, other: CameraInfo) -> bool:
    names = ("width", "height", "distortion_model", "roi")
    arrays = ("k", "d", "r", "p")
    return all(getattr(one, n) == getattr(other, n) for n in names) and all(
        list(getattr(one, n)) == list(getattr(other, n)) for n in arrays
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the node; returns the process's exit code."""
    summary = "Makes obstacles, occupancy grids and time to contact of forecasts, for nav2."
    return run_node(ObstacleNode, args, usage(NODE_NAME, summary, OBSTACLE_PARAMETERS))


if __name__ == "__main__":
    sys.exit(main())
