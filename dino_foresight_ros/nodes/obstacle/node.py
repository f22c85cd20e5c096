"""obstacle_node: what a robot does with forecasts. Works on messages alone, on any machine.

In: foresight/forecast, foresight/labels and camera_info of each camera, odom, TF.
Out: OBSTACLE_TOPICS, and /diagnostics.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, PointCloud2, Range
from std_msgs.msg import Header

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.msg import Forecast, Labels, TimeToContact
from dino_foresight_ros.nodes.obstacle.mapper import (
    Camera,
    CameraObstacles,
    ObstacleMap,
    obstacles_of,
)
from dino_foresight_ros.nodes.obstacle.messages import (
    contact_message,
    grid_message,
    range_message,
)
from dino_foresight_ros.nodes.obstacle.parameters import (
    OBSTACLE_PARAMETERS,
    grid_of,
)
from dino_foresight_ros.obstacles import GridSpec, ObstacleOptions
from dino_foresight_ros.outputs import CONFIDENCE, DEPTH, SEGMENTATION, SPREAD
from dino_foresight_ros.planar_motion import motion_between, of_twist
from dino_foresight_ros.recordings.camera_view import camera_view
from dino_foresight_ros.recordings.poses import mounting
from dino_foresight_ros.ros.camera_feed import RepeatedWarnings
from dino_foresight_ros.ros.camera_info import CameraInfoInput
from dino_foresight_ros.ros.clouds import obstacle_cloud
from dino_foresight_ros.ros.live_motion import LiveMotion
from dino_foresight_ros.ros.messages import build_diagnostics, read_step
from dino_foresight_ros.ros.motion_parameters import footprint_of
from dino_foresight_ros.ros.node_main import run_node
from dino_foresight_ros.ros.parameters import Parameters, usage
from dino_foresight_ros.ros.qos import (
    advertise,
    check_overrides,
    latched_qos,
    output_qos,
    subscribe,
    unused_overrides,
)
from dino_foresight_ros.ros.time import time_to_ns
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
DIAGNOSTICS_PERIOD_S = 1.0
SILENT_S = 5.0
_READ = (SEGMENTATION, CONFIDENCE, DEPTH, SPREAD)


class _Source:
    """One camera's newest calibration and classes, and what its newest forecast said.

    Attributes:
        image_topic: full name of the pictures' topic, which tells rectified ones.
    """

    def __init__(self, image_topic: str) -> None:
        self.image_topic = image_topic
        self.info: CameraInfo | None = None
        self.names: tuple[str, ...] = ()
        self.camera: Camera | None = None
        self.obstacles: CameraObstacles | None = None
        self.problem: str | None = "no forecast came"


class ObstacleNode(Node):
    """Makes obstacles of each forecast as it comes."""

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        check_overrides(self)
        self.parameters = Parameters(self, OBSTACLE_PARAMETERS, lambda: False)
        get = self.parameters
        self.grid = grid_of({spec.name: get[spec.name] for spec in OBSTACLE_PARAMETERS})
        self._footprint = footprint_of(
            list(get["footprint"]), get["robot_radius_m"], get["footprint_padding_m"]
        )
        if len(get["camera_pose"]) and len(get["cameras"]) > 1:
            raise UsageError("camera_pose is of one camera; give several by TF")
        self.transforms = Transforms(self)
        self._warnings = RepeatedWarnings(self)
        self.motion = LiveMotion(self, self.parameters, self.transforms, with_plan=False)
        self.motion.want()
        self._motion_problem: str | None = "no odometry came"
        self._grid_problem: str | None = None
        self._took_ms = 0.0
        self._last_s: float | None = None
        self.sources: dict[str, _Source] = {}
        for topics in camera_topics(get["cameras"], get["camera_topic"]):
            self.sources[topics.camera] = self.listen(topics)

        def make(kind: type, topic: MadeTopic, step: int = 0, latched: bool = False) -> Any:
            qos = latched_qos() if latched else output_qos()
            return advertise(self, kind, topic.of_step(step), qos)

        steps = range(1, get["steps"] + 1)
        self._clouds = [make(PointCloud2, OBSTACLE_POINTS, k) for k in steps]
        self._grids = [make(OccupancyGrid, OBSTACLE_GRID, k, latched=True) for k in steps]
        self._swept = make(OccupancyGrid, OBSTACLE_SWEPT, latched=True)
        self._contact = make(TimeToContact, OBSTACLE_CONTACT)
        self._range = make(Range, OBSTACLE_RANGE)
        self._diagnostics = advertise(self, DiagnosticArray, "/diagnostics", output_qos())
        # Not the node's clock, which stands still while a recording is paused.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._diagnose, clock=steady)
        for sentence in unused_overrides(self):
            self.get_logger().warning(sentence)

    # In

    def listen(self, topics: CameraTopics) -> _Source:
        source = _Source(self.resolve_topic_name(topics.image))

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
        twist = self.twist_at(stamp_ns)
        try:
            source.camera = self.camera_of(source, message)
            scenes = [read_step(step, _READ) for step in message.steps[: len(self._clouds)]]
            if not scenes:
                raise InputError("the forecast has no steps")
            poses = of_twist(np.broadcast_to(twist, (len(scenes), 3)),
                             [scene.horizon_s for scene in scenes])  # fmt: skip
            source.obstacles = obstacles_of(
                scenes,
                stamp_ns,
                source.camera,
                poses,
                self._options(source),
                self.parameters["min_probability"],
            )
            source.problem = source.camera.mounting_problem(self.parameters["ground_height_m"])
        except (InputError, UsageError, ValueError) as error:
            source.obstacles, source.problem = None, str(error)
        if source.problem is not None:
            self._warnings.warn(f"{lead}{source.problem}")
        if source.obstacles is not None:
            self._publish(message, stamp_ns, twist, source.names)
            self._last_s = time.monotonic()
        self._took_ms = 1000 * (time.perf_counter() - began)

    def camera_of(self, source: _Source, message: Forecast) -> Camera:
        """The camera, made anew when its calibration or place changed.

        Raises:
            InputError: no calibration, or no transform, and which one.
        """
        if source.info is None:
            raise InputError("no camera_info came")
        get = self.parameters
        numbers = list(get["camera_pose"])
        if numbers:
            pose = mounting(numbers)
        else:
            frame = frame_name(message.header.frame_id)
            pose = self.transforms.matrix(get["base_frame"], frame)
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
        )

    # Out

    def _publish(
        self,
        message: Forecast,
        stamp_ns: int,
        twist: NDArray[np.float64],
        names: tuple[str, ...],
    ) -> None:
        within_ns = self.parameters["fuse_within_s"] * 1e9
        fused = [
            one.obstacles
            for one in self.sources.values()
            if one.obstacles is not None and abs(stamp_ns - one.obstacles.stamp_ns) <= within_ns
        ]
        floor_m = self.parameters["ground_height_m"]
        grid, of_grid, rise_m = self.placed_grid(message.header.stamp)
        found = ObstacleMap(fused, grid or self.grid, floor_m)
        header = Header(stamp=message.header.stamp, frame_id=self.parameters["base_frame"])
        for step, horizon_s in enumerate(found.horizons_s):
            if self._clouds[step].get_subscription_count():
                self._clouds[step].publish(obstacle_cloud(found.points[step], horizon_s, header))
            if grid is not None and self._grids[step].get_subscription_count():
                cells = found.cells(step)
                self._grids[step].publish(grid_message(cells, grid, of_grid, floor_m + rise_m))
        if grid is not None and self._swept.get_subscription_count():
            self._swept.publish(grid_message(found.swept(), grid, of_grid, floor_m + rise_m))
        if self._contact.get_subscription_count():
            seconds = list(found.horizons_s)
            poses = of_twist(np.broadcast_to(twist, (len(seconds), 3)), seconds)
            met = found.contact(poses, self._footprint, self.parameters["contact_probability"])
            self._contact.publish(
                contact_message(met, twist, header, names, message.model_name, message.trained)
            )
        if self._range.get_subscription_count():
            nearest = found.points[0]
            reach_m = self.parameters["max_range_m"]
            self._range.publish(range_message(nearest, self._footprint, header, reach_m))

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
        header = Header(stamp=self.get_clock().now().to_msg())
        name = self.get_fully_qualified_name().lstrip("/")
        text = "; ".join(problems) or "publishing obstacles"
        return build_diagnostics(name, "", level, text, values, header)


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
