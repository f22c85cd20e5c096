"""Single objects as messages: this package's, those of vision_msgs, and those of Autoware."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import Header

from dino_foresight_ros.classes import UNLABELLED, class_label
from dino_foresight_ros.msg import Instance, Instances, ObjectForecast, Objects
from dino_foresight_ros.objects import ObjectPath
from dino_foresight_ros.ros.time import ns_to_time
from dino_foresight_ros.scene import Detection, Scene

if TYPE_CHECKING:
    from dino_foresight_ros.runtime.frame import Forecast

_AUTOWARE_LABELS = {
    "car": "CAR",
    "truck": "TRUCK",
    "bus": "BUS",
    "trailer": "TRAILER",
    "motorcycle": "MOTORCYCLE",
    "bicycle": "BICYCLE",
    "rider": "BICYCLE",
    "cyclist": "BICYCLE",
    "bicyclist": "BICYCLE",
    "person": "PEDESTRIAN",
    "pedestrian": "PEDESTRIAN",
}
_LEAST_TIME_STEP_S = 0.01


def build_instance(detection: Detection, names: Sequence[str]) -> Instance:
    """One object; `names` are the classes'."""
    left, top, width, height = (float(v) for v in detection.box)
    x, y, z = (float(v) for v in detection.position)
    vx, vy, vz = (float(v) for v in detection.velocity)
    return Instance(
        id=detection.id,
        class_id=detection.class_id,
        class_name=class_label(detection.class_id, names),
        score=float(detection.score),
        box_x=left,
        box_y=top,
        box_width=width,
        box_height=height,
        centroid_x=float(detection.centroid[0]),
        centroid_y=float(detection.centroid[1]),
        position=Point(x=x, y=y, z=z),
        velocity=Vector3(x=vx, y=vy, z=vz),
    )


def read_detections(instances: Sequence[Instance]) -> tuple[Detection, ...]:
    """The objects of a message."""
    return tuple(
        Detection(
            id=one.id,
            class_id=one.class_id,
            score=one.score,
            box=(one.box_x, one.box_y, one.box_width, one.box_height),
            centroid=(one.centroid_x, one.centroid_y),
            position=(one.position.x, one.position.y, one.position.z),
            velocity=(one.velocity.x, one.velocity.y, one.velocity.z),
        )
        for one in instances
    )


def build_instances(
    scene: Scene, forecast: Forecast, header: Header, names: Sequence[str]
) -> Instances:
    """The objects of one instant."""
    return Instances(
        header=header,
        target_stamp=ns_to_time(scene.target_stamp_ns),
        step=scene.step,
        horizon=float(scene.horizon_s),
        model_name=forecast.model_name,
        trained=forecast.trained,
        instances=[build_instance(detection, names) for detection in scene.detections],
    )


def build_objects(
    paths: Sequence[ObjectPath], forecast: Forecast, header: Header, names: Sequence[str]
) -> Objects:
    """All objects of a forecast, each at all horizons."""
    return Objects(
        header=header,
        model_name=forecast.model_name,
        trained=forecast.trained,
        objects=[
            ObjectForecast(
                id=path.id,
                class_id=path.class_id,
                class_name=class_label(path.class_id, names),
                score=float(path.score),
                horizons=path.horizons_s.astype(np.float32),
                positions=[Point(x=x, y=y, z=z) for x, y, z in path.positions.tolist()],
                spreads=path.spreads.astype(np.float32),
                centroids_x=path.centroids[:, 0].astype(np.float32),
                centroids_y=path.centroids[:, 1].astype(np.float32),
            )
            for path in paths
        ],
    )


def read_objects(message: Objects) -> tuple[ObjectPath, ...]:
    """The objects of a message.

    Raises:
        ValueError: one has another number of positions, spreads or centroids than of horizons.
    """
    paths = []
    for one in message.objects:
        lists = (one.positions, one.spreads, one.centroids_x, one.centroids_y)
        if any(len(values) != len(one.horizons) for values in lists):
            raise ValueError(
                f"object {one.id} has {len(one.horizons)} horizons but "
                f"{', '.join(str(len(values)) for values in lists)} positions, spreads, centroids"
            )
        positions = np.array([(p.x, p.y, p.z) for p in one.positions], np.float64).reshape(-1, 3)
        centroids = np.stack([one.centroids_x, one.centroids_y], axis=-1).astype(np.float64)
        horizons, spreads = (np.array(v, np.float64) for v in (one.horizons, one.spreads))
        paths.append(
            ObjectPath(one.id, one.class_id, one.score, horizons, positions, spreads, centroids)
        )
    return tuple(paths)


def _message(package: str, name: str) -> type[Any] | None:
    try:
        messages = importlib.import_module(f"{package}.msg")
    except ImportError:
        return None
    kind: type[Any] | None = getattr(messages, name, None)
    return kind


def detection_array_class() -> type[Any] | None:
    """vision_msgs/Detection2DArray; None where it is not installed."""
    return _message("vision_msgs", "Detection2DArray")


def build_detection_array(scene: Scene, header: Header, names: Sequence[str]) -> Any:
    """The objects of one instant as a Detection2DArray; `detection_array_class` must have found it.

    The class is its name, the id a decimal number. The pose is the position, without turn; NaN
    where it is not known.
    """
    messages = importlib.import_module("vision_msgs.msg")
    made = messages.Detection2DArray(header=header)
    for detection in scene.detections:
        result = messages.ObjectHypothesisWithPose()
        result.hypothesis.class_id = class_label(detection.class_id, names)
        result.hypothesis.score = float(detection.score)
        x, y, z = (float(v) for v in detection.position)
        result.pose.pose = Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))
        one = messages.Detection2D(header=header, results=[result], id=str(detection.id))
        left, top, width, height = (float(v) for v in detection.box)
        one.bbox.center.position.x = left + width / 2.0
        one.bbox.center.position.y = top + height / 2.0
        one.bbox.size_x, one.bbox.size_y = width, height
        made.detections.append(one)
    return made


def predicted_objects_class() -> type[Any] | None:
    """autoware_perception_msgs/PredictedObjects; None where it is not installed."""
    return _message("autoware_perception_msgs", "PredictedObjects")


def build_predicted_objects(
    paths: Sequence[ObjectPath], header: Header, names: Sequence[str]
) -> Any:
    """The objects as Autoware's planners take them; `predicted_objects_class` must have found it.

    Each has one path, from the newest context frame on, at even times as close as the closest two
    horizons, linear between the horizons. Objects that have no position at all are left out. The
    shape is a cylinder as wide and high as what is seen; the turn is not known.
    """
    messages = importlib.import_module("autoware_perception_msgs.msg")
    return messages.PredictedObjects(
        header=header,
        objects=[
            _predicted_object(messages, path, names)
            for path in paths
            if np.isfinite(path.positions).all(axis=1).any()
        ],
    )


def _predicted_object(messages: Any, path: ObjectPath, names: Sequence[str]) -> Any:
    known = np.isfinite(path.positions).all(axis=1)
    times, positions = path.horizons_s[known], path.positions[known]
    gaps = np.diff(path.horizons_s)
    time_step_s = max(_LEAST_TIME_STEP_S, float(gaps.min())) if len(gaps) else 0.1
    even = np.arange(0.0, float(times[-1]) + 1e-6, time_step_s)
    way = np.stack([np.interp(even, times, positions[:, axis]) for axis in range(3)], axis=-1)
    made = messages.PredictedObject()
    made.object_id.uuid = np.frombuffer(path.id.to_bytes(16, "big"), np.uint8)
    made.existence_probability = float(path.score)
    label = messages.ObjectClassification()
    name = class_label(path.class_id, names) if path.class_id != UNLABELLED else ""
    label.label = getattr(label, _AUTOWARE_LABELS.get(name.lower(), "UNKNOWN"))
    label.probability = float(path.score)
    made.classification = [label]
    poses = [
        Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))
        for x, y, z in way.tolist()
    ]
    kinematics = made.kinematics
    kinematics.initial_pose_with_covariance.pose = poses[0]
    spread = path.spreads[known][0]
    if math.isfinite(spread):
        covariance = np.zeros((6, 6))
        # The spread is over three axes together.
        covariance[range(3), range(3)] = spread**2 / 3.0
        kinematics.initial_pose_with_covariance.covariance = covariance.reshape(-1)
    if len(times) > 1:
        x, y, z = ((positions[1] - positions[0]) / (times[1] - times[0])).tolist()
        kinematics.initial_twist_with_covariance.twist.linear = Vector3(x=x, y=y, z=z)
    whole, rest = divmod(round(time_step_s * 1e9), 10**9)
    predicted = messages.PredictedPath(
        path=poses, time_step=Duration(sec=whole, nanosec=rest), confidence=float(path.score)
    )
    kinematics.predicted_paths = [predicted]
    made.shape.type = made.shape.CYLINDER
    width, height = (side if math.isfinite(side) else 0.0 for side in path.size)
    made.shape.dimensions = Vector3(x=width, y=width, z=height)
    return made
