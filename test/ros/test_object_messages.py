"""Objects as messages: there and back, and in the shapes of vision_msgs and Autoware."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import (
    AccelWithCovariance,
    Polygon,
    Pose,
    PoseWithCovariance,
    TwistWithCovariance,
    Vector3,
)
from std_msgs.msg import Header

from dino_foresight_ros.objects import ObjectPath
from dino_foresight_ros.ros import object_messages
from dino_foresight_ros.runtime.frame import Forecast
from dino_foresight_ros.scene import Detection, Scene

HEADER = Header(frame_id="cam")
NAMES = ["road", "car", "person"]
CAR = Detection(7, 1, 0.75, (2.0, 3.0, 8.0, 4.0), (5.5, 4.5), (1.0, -0.5, 9.0), (0.25, 0.0, -2.0))
FORECAST = Forecast(10**9, (10**9,), 0.2, (), "name", True, 0.0)


def path(**changes: Any) -> ObjectPath:
    values: dict[str, Any] = {
        "id": 300,
        "class_id": 2,
        "score": 0.5,
        "horizons_s": np.array([0.0, 0.2, 0.4]),
        "positions": np.array([[0.0, 1.0, 8.0], [np.nan] * 3, [2.0, 1.0, 6.0]]),
        "spreads": np.array([0.3, np.nan, 0.5]),
        "centroids": np.array([[4.0, 5.0], [np.nan, np.nan], [6.0, 5.0]]),
        "size": (0.5, 1.75),
    }
    return ObjectPath(**{**values, **changes})


def test_an_object_is_the_same_there_and_back() -> None:
    unknown = Detection(65535, 200, 0.5, (0.0, 0.0, 1.0, 1.0), (0.0, 0.0))
    made = [object_messages.build_instance(one, NAMES) for one in (CAR, unknown)]
    back, lost = object_messages.read_detections(made)
    assert back == CAR
    assert (lost.id, lost.class_id) == (65535, 200)
    assert np.isnan(lost.position).all()
    assert [one.class_name for one in made] == ["car", "class 200"]


def test_paths_are_the_same_there_and_back() -> None:
    message = object_messages.build_objects([path()], FORECAST, HEADER, NAMES)
    assert (message.model_name, message.objects[0].class_name) == ("name", "person")
    (back,) = object_messages.read_objects(message)
    for name in ("horizons_s", "positions", "spreads", "centroids"):
        np.testing.assert_allclose(getattr(back, name), getattr(path(), name), rtol=1e-6)


def test_a_path_with_a_position_too_few_is_told() -> None:
    message = object_messages.build_objects([path()], FORECAST, HEADER, NAMES)
    message.objects[0].positions = message.objects[0].positions[:2]
    with pytest.raises(ValueError, match="object 300 has 3 horizons but 2, 3, 3, 3 positions"):
        object_messages.read_objects(message)


@pytest.mark.parametrize("package", ["vision_msgs", "autoware_perception_msgs"])
def test_without_their_packages_there_are_none(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"{package}.msg", None)
    kind = {
        "vision_msgs": object_messages.detection_array_class,
        "autoware_perception_msgs": object_messages.predicted_objects_class,
    }[package]
    assert kind() is None


# The fields of the messages as the packages define them; both are not in any index of packages.


@dataclass
class Point2D:
    x: float = 0.0
    y: float = 0.0


@dataclass
class Pose2D:
    position: Point2D = field(default_factory=Point2D)
    theta: float = 0.0


@dataclass
class BoundingBox2D:
    center: Pose2D = field(default_factory=Pose2D)
    size_x: float = 0.0
    size_y: float = 0.0


@dataclass
class ObjectHypothesis:
    class_id: str = ""
    score: float = 0.0


@dataclass
class ObjectHypothesisWithPose:
    hypothesis: ObjectHypothesis = field(default_factory=ObjectHypothesis)
    pose: PoseWithCovariance = field(default_factory=PoseWithCovariance)


@dataclass
class Detection2D:
    header: Header = field(default_factory=Header)
    results: list[ObjectHypothesisWithPose] = field(default_factory=list)
    bbox: BoundingBox2D = field(default_factory=BoundingBox2D)
    id: str = ""


@dataclass
class Detection2DArray:
    header: Header = field(default_factory=Header)
    detections: list[Detection2D] = field(default_factory=list)


@dataclass
class UUID:
    uuid: Any = None


@dataclass
class ObjectClassification:
    UNKNOWN, CAR, TRUCK, BUS, TRAILER, MOTORCYCLE, BICYCLE, PEDESTRIAN = range(8)
    label: int = 0
    probability: float = 0.0


@dataclass
class PredictedPath:
    path: list[Pose] = field(default_factory=list)
    time_step: Duration = field(default_factory=Duration)
    confidence: float = 0.0


@dataclass
class PredictedObjectKinematics:
    initial_pose_with_covariance: PoseWithCovariance = field(default_factory=PoseWithCovariance)
    initial_twist_with_covariance: TwistWithCovariance = field(default_factory=TwistWithCovariance)
    initial_acceleration_with_covariance: AccelWithCovariance = field(
        default_factory=AccelWithCovariance
    )
    predicted_paths: list[PredictedPath] = field(default_factory=list)


@dataclass
class Shape:
    BOUNDING_BOX, CYLINDER, POLYGON = range(3)
    type: int = 0
    footprint: Polygon = field(default_factory=Polygon)
    dimensions: Vector3 = field(default_factory=Vector3)


@dataclass
class PredictedObject:
    object_id: UUID = field(default_factory=UUID)
    existence_probability: float = 0.0
    classification: list[ObjectClassification] = field(default_factory=list)
    kinematics: PredictedObjectKinematics = field(default_factory=PredictedObjectKinematics)
    shape: Shape = field(default_factory=Shape)


@dataclass
class PredictedObjects:
    header: Header = field(default_factory=Header)
    objects: list[PredictedObject] = field(default_factory=list)


def install(monkeypatch: pytest.MonkeyPatch, package: str, *kinds: type) -> None:
    messages = ModuleType(f"{package}.msg")
    for kind in kinds:
        setattr(messages, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, package, ModuleType(package))
    monkeypatch.setitem(sys.modules, f"{package}.msg", messages)


def test_a_detection_array_has_centred_boxes_names_and_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install(monkeypatch, "vision_msgs", Detection2DArray, Detection2D, ObjectHypothesisWithPose)
    assert object_messages.detection_array_class() is Detection2DArray
    made = object_messages.build_detection_array(Scene(0, detections=(CAR,)), HEADER, NAMES)
    (one,) = made.detections
    assert (made.header.frame_id, one.header.frame_id, one.id) == ("cam", "cam", "7")
    assert one.results[0].hypothesis == ObjectHypothesis("car", 0.75)
    assert one.bbox == BoundingBox2D(Pose2D(Point2D(6.0, 5.0)), 8.0, 4.0)
    position = one.results[0].pose.pose.position
    assert (position.x, position.y, position.z) == CAR.position


def test_predicted_objects_have_even_paths_through_the_known_positions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = (PredictedObjects, PredictedObject, PredictedPath, ObjectClassification)
    install(monkeypatch, "autoware_perception_msgs", *kinds)
    nowhere = path(id=1, positions=np.full((3, 3), np.nan))
    made = object_messages.build_predicted_objects([nowhere, path()], HEADER, NAMES)
    (one,) = made.objects
    assert int.from_bytes(bytes(one.object_id.uuid), "big") == 300
    assert one.classification[0].label == ObjectClassification.PEDESTRIAN
    kinematics = one.kinematics
    (way,) = kinematics.predicted_paths
    assert (way.time_step.sec, way.time_step.nanosec) == (0, 200_000_000)
    places = [(pose.position.x, pose.position.y, pose.position.z) for pose in way.path]
    np.testing.assert_allclose(places, [(0, 1, 8), (1, 1, 7), (2, 1, 6)])
    assert kinematics.initial_pose_with_covariance.pose == way.path[0]
    covariance = np.array(kinematics.initial_pose_with_covariance.covariance).reshape(6, 6)
    assert np.trace(covariance) == pytest.approx(0.09)
    linear = kinematics.initial_twist_with_covariance.twist.linear
    np.testing.assert_allclose((linear.x, linear.y, linear.z), (5.0, 0.0, -5.0))
    assert one.shape.type == Shape.CYLINDER
    dimensions = one.shape.dimensions
    assert (dimensions.x, dimensions.y, dimensions.z) == (0.5, 0.5, 1.75)
