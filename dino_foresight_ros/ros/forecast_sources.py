"""Which forecasts there are in the graph, and from which cameras' topics they are made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rclpy.node import Node

from dino_foresight_ros.ros.image_subscription import OTHER_TYPES

FORECAST_TYPE = "dino_foresight_ros/msg/Forecast"
IMAGE_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
_FORECAST = "/forecast"


class ForecastSource(NamedTuple):
    """One camera that is forecast.

    Attributes:
        name: of the camera where there are several; empty for the only one.
        folder: full name of the folder of the outputs, such as /foresight.
        image, camera_info: full names of the topics that come in; camera_info may be empty.
        is_compressed: whether images come as CompressedImage.
        node: full name of the node that forecasts.
    """

    name: str
    folder: str
    image: str
    camera_info: str
    is_compressed: bool
    node: str

    @property
    def shared_folder(self) -> str:
        """The folder of what all cameras of the node share, such as a planner's topics."""
        if not self.name:
            return self.folder
        above, _, last = self.folder.rpartition("/")
        return f"{above.removesuffix(self.name)}{last}"

    def is_first_beside(self, others: Iterable[ForecastSource]) -> bool:
        """Whether none of these cameras is of the same node: what is shared is shown once."""
        return all(other.shared_folder != self.shared_folder for other in others)


def find_sources(node: Node) -> list[ForecastSource]:
    """Every forecast that is published now by a node that listens to its camera, by topic."""
    sources = []
    for topic, types in sorted(node.get_topic_names_and_types()):
        if FORECAST_TYPE not in types or not topic.endswith(_FORECAST):
            continue
        for info in node.get_publishers_info_by_topic(topic):
            source = _source(node, topic, info.node_name, info.node_namespace)
            if source is not None:
                sources.append(source)
                break
    return sources


def _source(node: Node, topic: str, name: str, namespace: str) -> ForecastSource | None:
    try:
        heard = node.get_subscriber_names_and_types_by_node(name, namespace)
    except RuntimeError:  # the node went away, or its name is not known yet
        return None
    folder = topic.removesuffix(_FORECAST)
    # Below the node's namespace stands the camera's name, where there are several cameras.
    base = f"{namespace.rstrip('/')}/"
    parts = folder.removeprefix(base).split("/")
    camera = "/".join(parts[:-1])
    images = [(t, kind) for t, kinds in heard for kind in kinds if kind in _IMAGE_TYPES]
    image = _of_camera([t for t, _ in images], camera)
    if image is None:
        return None
    infos = [t for t, kinds in heard if CAMERA_INFO_TYPE in kinds]
    return ForecastSource(
        name=camera,
        folder=folder,
        image=image,
        camera_info=_of_camera(infos, camera) or "",
        is_compressed=(image, IMAGE_TYPE) not in images,
        node=f"{base}{name}",
    )


_IMAGE_TYPES = (IMAGE_TYPE, COMPRESSED_TYPE, *OTHER_TYPES)


def _of_camera(topics: Iterable[str], camera: str) -> str | None:
    """The only topic, or the only one with the camera's name in it; None where it is not clear."""
    every = sorted(set(topics))
    if len(every) == 1:
        return every[0]
    named = [topic for topic in every if camera and camera in topic.split("/")]
    if not named:
        named = [topic for topic in every if camera and camera in topic]
    return named[0] if len(named) == 1 else None
