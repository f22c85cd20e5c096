"""Conventions for names of topics and frames; topics of what is made of forecasts. No ROS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

CAMERA_FIELD = "{camera}"


class CameraTopics(NamedTuple):
    """A camera's name and its topics, relative to the node's namespace.

    Attributes:
        camera: empty where the node has only one, unnamed.
        image, camera_info: what comes in.
        outputs: the folder of what goes out.
    """

    camera: str = ""
    image: str = "image"
    camera_info: str = "camera_info"
    outputs: str = "foresight"

    @classmethod
    def of(cls, camera: str, template: str) -> CameraTopics:
        """Topics of a named camera; in the image topic's template {camera} is its name."""
        image = template.replace(CAMERA_FIELD, camera)
        return cls(camera, image, camera_info_beside(image), f"{camera}/foresight")


class MadeTopic(NamedTuple):
    """A topic of what is drawn or measured of forecasts, `foresight/NAME`.

    Attributes:
        name: with step_k where there is one for every step k.
        type: of its messages; an Image's encoding after a comma.
        description: for the documentation.
    """

    name: str
    type: str
    description: str

    def of_step(self, step: int) -> str:
        """Its name for a step."""
        return self.name.replace("step_k", f"step_{step}")


INSTANCE_LIST = MadeTopic(
    "step_k/instance_list",
    "dino_foresight_ros/Instances",
    "objects: id, class, score, box, centroid, and with metric depth position and velocity",
)
DETECTIONS = MadeTopic(
    "step_k/detections",
    "vision_msgs/Detection2DArray",
    "the same objects, where vision_msgs is installed",
)
OBJECTS = MadeTopic(
    "objects", "dino_foresight_ros/Objects", "where each object is at all horizons, with spread"
)
PREDICTED_OBJECTS = MadeTopic(
    "predicted_objects",
    "autoware_perception_msgs/PredictedObjects",
    "the same in metres, where autoware_perception_msgs is installed",
)
INSTANCE_TOPICS = (INSTANCE_LIST, DETECTIONS, OBJECTS, PREDICTED_OBJECTS)
"""What forecast_node publishes of objects beside the images, with a head for instances."""

NEWEST_DRAWN = MadeTopic(
    "step_0/image_color",
    "sensor_msgs/Image, rgb8",
    "the picture that was forecast from, raw whatever transport came in",
)
CLASSES_DRAWN = MadeTopic(
    "step_k/image_color",
    "sensor_msgs/Image, rgb8",
    "predicted classes over that picture; objects as outlines, with ids, and arrows from now",
)
DEPTH_DRAWN = MadeTopic(
    "step_k/depth_color",
    "sensor_msgs/Image, rgb8",
    "depth of metric and relative heads in colours: near bright, unknown black",
)
POINTS_DRAWN = MadeTopic(
    "step_k/points",
    "sensor_msgs/PointCloud2",
    "metric depth as a cloud coloured by class, by P of camera_info, or K where P is empty",
)
MOSAIC_DRAWN = MadeTopic(
    "mosaic/image_color", "sensor_msgs/Image, rgb8", "the picture and every step in one"
)
CAPTIONS_DRAWN = MadeTopic(
    "markers",
    "visualization_msgs/MarkerArray",
    "step, horizon and age as text in the scene; arrows from where objects are to where they go",
)
OVERLAY_TOPICS = (
    NEWEST_DRAWN, CLASSES_DRAWN, DEPTH_DRAWN, POINTS_DRAWN, MOSAIC_DRAWN, CAPTIONS_DRAWN,
)  # fmt: skip
"""What overlay_node publishes."""

OBSTACLE_POINTS = MadeTopic(
    "obstacles/step_k/points",
    "sensor_msgs/PointCloud2",
    "x, y, z, class_id, probability, horizon (s); without ground, sky and what is above the robot",
)
OBSTACLE_GRID = MadeTopic(
    "obstacles/step_k/grid",
    "nav_msgs/OccupancyGrid, latched",
    "100 x probability of occupied at that instant, 0 seen and free, -1 unknown",
)
OBSTACLE_SWEPT = MadeTopic(
    "obstacles/swept", "nav_msgs/OccupancyGrid, latched", "occupied at any of the instants"
)
OBSTACLE_CONTACT = MadeTopic(
    "obstacles/time_to_contact",
    "dino_foresight_ros/TimeToContact",
    "the first contact on the present course: when, how far, with what",
)
OBSTACLE_RANGE = MadeTopic(
    "obstacles/range",
    "sensor_msgs/Range",
    "metres from the origin of base_frame to what the robot meets straight ahead at step 1; "
    "infinity without any, -infinity where it is nearer than the robot's front (min_range)",
)
OBSTACLE_TOPICS = (
    OBSTACLE_POINTS, OBSTACLE_GRID, OBSTACLE_SWEPT, OBSTACLE_CONTACT, OBSTACLE_RANGE,
)  # fmt: skip
"""What obstacle_node publishes beside its diagnostics, in the base frame."""

SKILL = MadeTopic(
    "skill", "dino_foresight_ros/ForecastSkill", "one message per step and frame that came"
)
SURPRISE = MadeTopic(
    "surprise", "sensor_msgs/Image, 32FC1", "where the world did not do what was expected"
)
SURPRISE_DRAWN = MadeTopic("surprise/image_color", "sensor_msgs/Image, rgb8", "the same in colours")
MONITOR_TOPICS = (SKILL, SURPRISE, SURPRISE_DRAWN)
"""What monitor_node publishes beside its diagnostics."""

CANDIDATES = MadeTopic(
    "candidates", "visualization_msgs/MarkerArray", "arcs by their risk, and why the first lost"
)
BEST_PATH = MadeTopic("best_path", "nav_msgs/Path", "the best arc, its poses at the horizons")
IMAGINED_DRAWN = MadeTopic(
    "imagined/image_color",
    "sensor_msgs/Image, rgb8",
    "what is imagined on the best arc and on the worst one, side by side",
)
PLAN_TOPICS = (CANDIDATES, BEST_PATH, IMAGINED_DRAWN)
"""What plan_node publishes beside its diagnostics."""


def camera_topics(cameras: Sequence[str], template: str) -> list[CameraTopics]:
    """Topics of each of the named cameras, or those of the only, unnamed one."""
    return [CameraTopics.of(camera, template) for camera in cameras] or [CameraTopics()]


def camera_info_names(image_topic: str) -> list[str]:
    """Where a camera's calibration may be by convention, the likeliest first.

    /camera/image_raw and /camera/image_raw/compressed both go with /camera/camera_info.
    """
    base, _, last = image_topic.rpartition("/")
    if base and last == "compressed":
        return [_beside(base), _beside(image_topic)]
    if base and last == "raw":  # rather a name of its own than a transport
        return [_beside(image_topic), _beside(base)]
    return [_beside(image_topic)]


def camera_info_beside(image_topic: str) -> str:
    """The likeliest of `camera_info_names`."""
    return camera_info_names(image_topic)[0]


def _beside(topic: str) -> str:
    folder, slash, _ = topic.rpartition("/")
    return f"{folder}{slash}camera_info"


def is_rectified(image_topic: str) -> bool:
    """Whether a topic's last part, without the transport, says that its pictures are rectified.

    As image_pipeline names them, such as image_rect or image_rect_color/compressed.
    """
    return "rect" in image_topic.removesuffix("/compressed").rpartition("/")[2]


def full_name(namespace: str, topic: str) -> str:
    """Return the full name of a topic, or of a deeper namespace, that is given within a namespace.

    A name that begins with / is full already; an empty one gives the namespace itself.
    """
    if topic.startswith("/"):
        return topic
    return "/" + "/".join(filter(None, [namespace.strip("/"), topic]))


def frame_name(frame_id: str) -> str:
    """Return a frame's name without the leading slash of ROS 1, which tf2 refuses."""
    return frame_id.lstrip("/")
