"""A camera that drives through the synthetic world, with ground truth for whoever subscribes.

The base stands on the ground below the camera. Its true motion is on odom, and, where tf2_msgs is
installed, on /tf, the camera's mounting on /tf_static.

Exits with 0 after `frames` frames, 2 for bad parameters.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from geometry_msgs.msg import Twist, Vector3
from nav_msgs.msg import Odometry
from rclpy.duration import Duration
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dino_foresight_ros.outputs import BY_NAME, HEADS
from dino_foresight_ros.recordings.camera import CameraModel
from dino_foresight_ros.recordings.motion import planar_pose
from dino_foresight_ros.recordings.transform_tree import TF_TYPE
from dino_foresight_ros.ros.camera_info import camera_info_msg
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.message_types import message_class
from dino_foresight_ros.ros.node_main import finish, run_node
from dino_foresight_ros.ros.parameters import Change, Parameters, ParameterSpec, usage
from dino_foresight_ros.ros.planar import pose_message
from dino_foresight_ros.ros.qos import latched_qos, output_qos
from dino_foresight_ros.ros.rivals import warn_of_rivals
from dino_foresight_ros.ros.time import ns_to_time
from dino_foresight_ros.ros.transforms import transform_message
from dino_foresight_ros.stamps import NS_PER_S
from dino_foresight_ros.synthetic import SCENES, WEATHERS, Frame, World, WorldConfig

# Discovery is not symmetric: the subscriber may know of the publisher a little later.
_SETTLE_S = 0.3
_DELIVERY_S = 2.0
_MAX_COUNT = 2**31 - 1
_MOTION_PERIOD_S, _MOTION_DEPTH = 0.1, 100
# In the place of normals that were rendered ahead: they are the largest, and seldom wanted.
_NOT_KEPT = np.empty((0, 0, 3), np.float32)
_ANY = "any"
_TRUTHS = [name for name in HEADS if name in {field.name for field in fields(Frame)}]


def _spec(
    name: str,
    default: bool | int | float | str,
    description: str,
    limits: tuple[float, float] | None = None,
    choices: tuple[str, ...] | None = None,
) -> ParameterSpec:
    return ParameterSpec(name, default, description, Change.NEVER, limits, choices)


PARAMETERS: tuple[ParameterSpec, ...] = (
    # The default is a sunny street with traffic and a turn: a good first look.
    _spec("seed", 20, "Which world: everything left open is chosen by it.", (0, _MAX_COUNT)),
    _spec("width", 640, "Width of the image in pixels.", (16, 8192)),
    _spec("height", 360, "Height of the image in pixels.", (16, 8192)),
    _spec("rate_hz", 20.0, "Frames per second.", (0.1, 1000.0)),
    _spec("rate", 1.0, "How fast to play: 2 is twice as fast.", (0.01, 100.0)),
    _spec("frames", 0, "How many frames to publish before ending; 0 never ends.", (0, _MAX_COUNT)),
    _spec("scene", _ANY, "Kind of surroundings; any: the seed's choice.", None, (_ANY, *SCENES)),
    _spec("weather", _ANY, "Weather; any: the seed's choice.", None, (_ANY, *WEATHERS)),
    _spec("supersample", 1, "Samples per pixel each way; above 1 is finer and slower.", (1, 4)),
    _spec("frame_id", "camera", "Frame of the images, an optical frame."),
    _spec("base_frame", "base_link", "Frame of the base, on the ground below the camera."),
    _spec("odom_frame", "odom", "Frame in which the odometry tells where the base is."),
    _spec(
        "publish_tf",
        True,
        "Publish odom_frame to base_frame on /tf and the camera's mounting on /tf_static.",
    ),
    _spec(
        "publish_clock",
        False,
        "Publish /clock from the frames' stamps. Then no frame is left out, and time runs slower "
        "where this machine does not keep up; otherwise frames that are late are left out.",
    ),
    _spec(
        "wait_for_subscriber_s",
        0.0,
        "Wait up to this many seconds for a subscriber of the image before the first frame.",
        (0.0, 86400.0),
    ),
    _spec(
        "render_ahead",
        0,
        "How many frames to render before the first is published, so that rendering them takes "
        "nothing from what is measured meanwhile; 1.9 MB each at 640x360.",
        (0, 100_000),
    ),
)


class SyntheticCameraNode(Node):
    """Renders and publishes from a thread of its own."""

    def __init__(self) -> None:
        super().__init__("synthetic_camera_node")
        settings = Parameters(self, PARAMETERS, lambda: False)
        self._settings = settings
        self._world = World(
            WorldConfig(
                seed=settings["seed"],
                width=settings["width"],
                height=settings["height"],
                frame_rate_hz=settings["rate_hz"],
                scene=None if settings["scene"] == _ANY else settings["scene"],
                weather=None if settings["weather"] == _ANY else settings["weather"],
                supersample=settings["supersample"],
            )
        )
        self._period_s = 1.0 / settings["rate_hz"]
        self._ahead: deque[Frame] = deque()
        self._stop = threading.Event()
        self._image = self.create_publisher(Image, "image", output_qos())
        self._info = self.create_publisher(CameraInfo, "camera_info", output_qos())
        self._truth = {
            name: self.create_publisher(Image, f"ground_truth/{name}", output_qos())
            for name in _TRUTHS
        }
        self._clock = (
            self.create_publisher(Clock, "/clock", output_qos(10))
            if settings["publish_clock"]
            else None
        )
        self._odometry = self.create_publisher(Odometry, "odom", output_qos(_MOTION_DEPTH))
        self._moved_s: float | None = None
        self._tf: Any = None
        if settings["publish_tf"]:
            self._offer_transforms()
        every = (self._image, self._clock)
        warn_of_rivals(self, lambda: [p.topic_name for p in every if p is not None])
        self._thread = threading.Thread(target=self._run, name="foresight-camera", daemon=True)
        self._thread.start()

    def _offer_transforms(self) -> None:
        """Tell how the camera is mounted, and be ready to tell where the base is."""
        kind = message_class(TF_TYPE)
        if kind is None:
            return
        self._tf = self.create_publisher(kind, "/tf", output_qos(100))
        self._tf_static = self.create_publisher(kind, "/tf_static", latched_qos())
        now, frames = self.get_clock().now().to_msg(), ("base_frame", "frame_id")
        names = [self._settings[name] for name in frames]
        mount = self._world.base_from_optical
        self._tf_static.publish(transform_message(now, names[0], names[1], mount))

    def _run(self) -> None:
        """Publish to the end, in the camera thread."""
        conditions = self._world.conditions
        try:
            self._world.render(0.0)  # builds the surroundings, which takes longer than a frame
            self._render_ahead()
            self._wait_for_subscriber()
            self.get_logger().info(
                f"driving: {conditions.scene}, {conditions.weather}, {conditions.hour:.0f} h"
            )
            published = self._drive()
            if not self._stop.is_set():
                self.get_logger().info(f"end after {published} frames")
                self._image.wait_for_all_acked(Duration(seconds=_DELIVERY_S))
                finish(0)
        except Exception as error:  # noqa: BLE001 - the last resort
            if not self._stop.is_set():
                text = " ".join(str(error).split())
                self.get_logger().error(f"{type(error).__name__}: {text}")
                finish(1)

    def _render_ahead(self) -> None:
        """Keep the first frames, without the normals: those that are wanted are rendered anew."""
        wanted, ahead = self._settings["frames"], self._settings["render_ahead"]
        for index in range(min(ahead, wanted) if wanted else ahead):
            if self._stop.is_set():
                return
            frame = self._render(index)
            self._ahead.append(replace(frame, normals=_NOT_KEPT))

    def _wait_for_subscriber(self) -> None:
        deadline_s = time.monotonic() + self._settings["wait_for_subscriber_s"]
        while time.monotonic() < deadline_s:
            if self._image.get_subscription_count() or self._stop.wait(0.05):
                self._stop.wait(_SETTLE_S)
                return

    def _drive(self) -> int:
        """Publish frames in time until all are out or the node ends; return how many."""
        wanted, rate = self._settings["frames"], self._settings["rate"]
        index = published = 0
        origin_ns, start_s, is_late = time.time_ns(), time.monotonic(), False
        while not self._stop.is_set() and (wanted == 0 or published < wanted):
            # None is left out while they are at hand, or the next would be another's.
            frame = self._ahead.popleft() if self._ahead else self._render(index)
            if self._stop.wait(max(0.0, start_s + frame.stamp_s / rate - time.monotonic())):
                break
            self._publish(frame, origin_ns)
            published, index = published + 1, index + 1
            behind = int((time.monotonic() - start_s) * rate / self._period_s) - index
            if behind < 1:
                continue
            if not is_late:
                is_late = True
                self.get_logger().warning(
                    f"this machine renders slower than {1 / self._period_s:g} Hz: "
                    + ("time runs slower" if self._clock else "frames are left out")
                )
            if self._clock or self._ahead:
                start_s = time.monotonic() - index * self._period_s / rate
            else:
                index += behind
        return published

    def _render(self, index: int) -> Frame:
        return self._world.render(index * self._period_s)

    def _publish(self, frame: Frame, origin_ns: int) -> None:
        stamp = ns_to_time(origin_ns + round(frame.stamp_s * NS_PER_S))
        header = Header(stamp=stamp, frame_id=self._settings["frame_id"])
        if self._clock is not None:
            self._clock.publish(Clock(clock=stamp))
        height, width = frame.depth.shape
        k = tuple(float(value) for value in frame.k.ravel())
        model = CameraModel(width=width, height=height, k=k, frame_id=header.frame_id)
        self._info.publish(camera_info_msg(model, header))
        for name, publisher in self._truth.items():
            if publisher.get_subscription_count():
                encoding, values = BY_NAME[name].encoding, getattr(frame, name)
                assert encoding is not None
                if values is _NOT_KEPT:
                    values = getattr(self._world.render(frame.stamp_s), name)
                publisher.publish(image_to_msg(values, encoding, header))
        self._publish_motion(frame.stamp_s, origin_ns)
        self._image.publish(image_to_msg(frame.image, "rgb8", header))

    def _publish_motion(self, until_s: float, origin_ns: int) -> None:
        """Where the base is and how it moves at an instant, and since the one before.

        Frames that are left out leave no gap in the odometry.
        """
        since_s = until_s if self._moved_s is None else self._moved_s
        count = max(1, math.ceil((until_s - since_s) / _MOTION_PERIOD_S - 1e-6))
        for k in range(1, count + 1):
            self._publish_motion_at(since_s + (until_s - since_s) * k / count, origin_ns)
        self._moved_s = until_s

    def _publish_motion_at(self, time_s: float, origin_ns: int) -> None:
        settings, world = self._settings, self._world
        ego = world.ego_state(time_s)
        pose = world.base_pose(ego)
        stamp = ns_to_time(origin_ns + round(time_s * NS_PER_S))
        header = Header(stamp=stamp, frame_id=settings["odom_frame"])
        message = Odometry(header=header, child_frame_id=settings["base_frame"])
        message.pose.pose = pose_message(pose)
        # The heading is that of the path, so it never goes to the side.
        message.twist.twist = Twist(
            linear=Vector3(x=ego.speed_mps), angular=Vector3(z=ego.yaw_rate_rps)
        )
        self._odometry.publish(message)
        if self._tf is not None:
            moved = planar_pose(pose)
            self._tf.publish(
                transform_message(stamp, settings["odom_frame"], settings["base_frame"], moved)
            )

    def destroy_node(self) -> None:
        """End the camera thread and take the node down."""
        self._stop.set()
        self._thread.join(timeout=5.0)
        super().destroy_node()


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until its frames are out or a signal comes; return the exit code."""
    summary = "Publishes a drive through a synthetic world: image, camera_info, ground_truth/*."
    return run_node(SyntheticCameraNode, args, usage("synthetic_camera_node", summary, PARAMETERS))


if __name__ == "__main__":
    sys.exit(main())
