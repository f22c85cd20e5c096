"""Everything that the forecast node publishes about its forecasts, and who wants it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import FeatureMap, Instances, Labels, Objects
from dino_foresight_ros.msg import Forecast as ForecastMsg
from dino_foresight_ros.nodes.forecast.label_info import build_label_info, label_info_class
from dino_foresight_ros.nodes.forecast.model_info import ModelInfo
from dino_foresight_ros.objects import locate, object_paths, with_velocities
from dino_foresight_ros.output_row import Topic
from dino_foresight_ros.outputs import DEPTH, FEATURES, INSTANCES, MAX_STEPS, step_topics
from dino_foresight_ros.ros.camera_info import scale_camera_info
from dino_foresight_ros.ros.clouds import depth_with_info, rays_of
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.messages import (
    build_feature_map,
    build_forecast,
    build_header,
    build_labels,
    build_step_images,
    color_table,
)
from dino_foresight_ros.ros.object_messages import (
    build_detection_array,
    build_instances,
    build_objects,
    build_predicted_objects,
    detection_array_class,
    predicted_objects_class,
)
from dino_foresight_ros.ros.qos import latched_qos, output_qos, overrides
from dino_foresight_ros.topic_names import (
    DETECTIONS,
    INSTANCE_LIST,
    OBJECTS,
    PREDICTED_OBJECTS,
    MadeTopic,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dino_foresight_ros.runtime.frame import Forecast
    from dino_foresight_ros.scene import Scene

_CAMERA_INFO = "camera_info"
_LIST, _DETECTIONS = (topic.name.rpartition("/")[2] for topic in (INSTANCE_LIST, DETECTIONS))


class ForecastPublishers:
    """Publishers about one camera: built at configure, destroyed at cleanup.

    `publish`, `subscribed` and `subscribed_of_samples` are called in the worker's thread too; the
    lock keeps publishers from going away while they are used.
    """

    def __init__(
        self,
        node: LifecycleNode,
        model: ModelInfo,
        steps: int,
        publish_features: bool,
        folder: str = "foresight",
    ) -> None:
        """Create the publishers, all of them in the folder."""
        self._node = node
        self._folder = folder
        self._model = model
        self._colors = color_table(model.palette)
        self._lock = threading.Lock()
        self._is_active = False
        self._is_destroyed = False
        self._forecast = self._create(ForecastMsg, "forecast")
        self._labels = self._create(Labels, "labels", latched_qos())
        label_info = label_info_class()
        self._label_info = label_info and self._create(label_info, "label_info", latched_qos())
        self._features: Any = None
        self._objects: dict[MadeTopic, Any] = {}
        self._steps: dict[int, dict[str, Any]] = {}  # 0 is the newest context frame itself
        self._labels_frame_id: str | None = None
        self.change(model.outputs, steps, publish_features)

    @property
    def topic_name(self) -> str:
        """Full name of the forecast's topic, remaps applied."""
        return str(self._forecast.topic_name)

    def change(self, outputs: frozenset[str], steps: int, publish_features: bool) -> None:
        """Publish other things from now on; what stays does so without a gap."""
        with self._lock:
            self._is_active = self._forecast.is_activated
            self._model = replace(self._model, outputs=outputs)
            if publish_features and self._features is None:
                # All steps of a forecast go out at once.
                self._features = self._create(FeatureMap, FEATURES, output_qos(MAX_STEPS + 1))
            elif not publish_features and self._features is not None:
                self._node.destroy_lifecycle_publisher(self._features)
                self._features = None
            self._change_objects()
            for gone in [step for step in self._steps if step > steps]:
                self._keep_only((), self._steps.pop(gone))
            for step in range(steps + 1):
                self._change_step(step, self._steps.setdefault(step, {}))

    def _change_step(self, step: int, publishers: dict[str, Any]) -> None:
        names = [*self._step_topics(step), *self._sample_topics(step)]
        kinds: dict[str, type] = {**dict.fromkeys(names, Image), _CAMERA_INFO: CameraInfo}
        if INSTANCES in self._outputs_of(step):
            kinds[_LIST] = Instances
            if (detections := detection_array_class()) is not None:
                kinds[_DETECTIONS] = detections
        self._keep_only(list(kinds), publishers)
        for name, kind in kinds.items():
            if name not in publishers:
                publishers[name] = self._create(kind, f"step_{step}/{name}")

    def _change_objects(self) -> None:
        """What is published of a forecast's objects, all steps together."""
        kinds = {OBJECTS: Objects, PREDICTED_OBJECTS: predicted_objects_class()}
        if INSTANCES not in self._model.outputs:
            kinds = {}
        for gone in [topic for topic in self._objects if topic not in kinds]:
            self._node.destroy_lifecycle_publisher(self._objects.pop(gone))
        for topic, kind in kinds.items():
            if kind is not None and topic not in self._objects:
                self._objects[topic] = self._create(kind, topic.name)

    def _keep_only(self, names: Sequence[str], publishers: dict[str, Any]) -> None:
        for name in [name for name in publishers if name not in names]:
            self._node.destroy_lifecycle_publisher(publishers.pop(name))

    def destroy(self) -> None:
        """Take the publishers down."""
        with self._lock:
            self._is_destroyed = True
            every = [self._forecast, self._labels, self._label_info, self._features]
            every += self._objects.values()
            every += [publisher for step in self._steps.values() for publisher in step.values()]
            for publisher in every:
                if publisher is not None:
                    self._node.destroy_lifecycle_publisher(publisher)

    def subscribed(self) -> Mapping[int, frozenset[str]]:
        """Step -> names of the outputs that somebody subscribes to now.

        Steps count from 1; 0, the newest context frame itself, is left out where nobody wants it.
        """
        with self._lock:
            if self._is_destroyed:
                return {}
            everywhere: set[str] = set()
            if self._features is not None and self._features.get_subscription_count():
                everywhere.add(FEATURES)
            predicted = set(everywhere)
            if self._forecast.get_subscription_count():
                predicted |= self._model.outputs
            of_objects = self._subscribed_objects()
            wanted = {
                step: frozenset(
                    (predicted if step else everywhere)
                    | self._subscribed_images(step)
                    | of_objects.get(step, set())
                )
                for step in self._steps
            }
        return wanted if wanted[0] else {step: wanted[step] for step in wanted if step}

    def subscribed_of_samples(self) -> frozenset[str]:
        """Names of the outputs of single futures that somebody subscribes to now."""
        with self._lock:
            if self._is_destroyed:
                return frozenset()
            images = frozenset(
                topic.output
                for step, publishers in self._steps.items()
                for name, (_, topic) in self._sample_topics(step).items()
                if name in publishers and publishers[name].get_subscription_count()
            )
            # The spread of positions is that of the futures'.
            with_objects = self._model.samples > 1 and any(map(_is_heard, self._objects.values()))
            return images | (self._of_objects(1) if with_objects else frozenset())

    def publish_labels(self, frame_id: str) -> None:
        """Publish class names and colours once per camera frame; they stay latched."""
        if frame_id == self._labels_frame_id:
            return
        self._labels_frame_id = frame_id
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id=frame_id)
        model = self._model
        labels = build_labels(
            model.name, model.class_names, model.palette, model.depth_is_metric, header
        )
        with self._lock:
            if self._is_destroyed:
                return
            self._labels.publish(labels)
            if self._label_info is not None:
                self._label_info.publish(build_label_info(model.class_names, header))

    def publish(
        self,
        forecast: Forecast,
        frame_id: str,
        info: CameraInfo | None,
        received_s: float,
        image_topic: str = "",
    ) -> None:
        """Publish a forecast on every topic that has subscribers.

        Args:
            forecast: the engine's result.
            frame_id: the camera's.
            info: the camera's calibration, None when unknown.
            received_s: when the newest frame came in, seconds of `time.monotonic`.
            image_topic: the camera's; its name tells rectified images.
        """
        with self._lock:
            if not self._is_destroyed:
                self._publish(forecast, frame_id, info, received_s, image_topic)

    def _publish(
        self,
        forecast: Forecast,
        frame_id: str,
        info: CameraInfo | None,
        received_s: float,
        image_topic: str,
    ) -> None:
        header = build_header(forecast, frame_id)
        steps = forecast.steps if forecast.step_0 is None else (forecast.step_0, *forecast.steps)
        if any(step.detections for step in steps):
            steps = with_velocities([locate(s, _rays(s, info, image_topic)) for s in steps])
            forecast = replace(forecast, steps=steps[len(steps) - len(forecast.steps) :])
        self._publish_objects(forecast, steps, header, info, image_topic)
        images = [build_step_images(step, header) for step in steps]
        for step, made in zip(steps, images, strict=True):
            self._publish_step(step, made, header, info)
            self._publish_instances(forecast, step, header)
        if self._features is not None and self._features.get_subscription_count():
            for step in steps:
                if step.features is not None:
                    self._features.publish(build_feature_map(step, header))
        if forecast.steps and self._forecast.get_subscription_count():
            latency_s = time.monotonic() - received_s
            predicted = images[-len(forecast.steps) :]
            names = self._model.class_names
            message = build_forecast(forecast, header, predicted, latency_s, names)
            self._forecast.publish(message)

    def _publish_instances(self, forecast: Forecast, step: Scene, header: Header) -> None:
        """The objects of one step."""
        publishers, names = self._steps.get(step.step, {}), self._model.class_names
        if step.instances is None:
            return
        if _is_heard(publishers.get(_LIST)):
            publishers[_LIST].publish(build_instances(step, forecast, header, names))
        if _is_heard(publishers.get(_DETECTIONS)):
            publishers[_DETECTIONS].publish(build_detection_array(step, header, names))

    def _publish_objects(
        self,
        forecast: Forecast,
        steps: Sequence[Scene],
        header: Header,
        info: CameraInfo | None,
        image_topic: str,
    ) -> None:
        """The objects of all steps together."""
        heard = [topic for topic, publisher in self._objects.items() if _is_heard(publisher)]
        known = [step for step in steps if step.instances is not None]
        if not heard or not known:
            return
        paths = object_paths(known, _rays(known[0], info, image_topic))
        names = self._model.class_names
        if OBJECTS in heard:
            self._objects[OBJECTS].publish(build_objects(paths, forecast, header, names))
        if PREDICTED_OBJECTS in heard:
            message = build_predicted_objects(paths, header, names)
            self._objects[PREDICTED_OBJECTS].publish(message)

    def _publish_step(
        self,
        step: Scene,
        made: dict[str, Image],
        header: Header,
        info: CameraInfo | None,
    ) -> None:
        topics = {name: (step, made, t) for name, t in self._step_topics(step.step).items()}
        of_samples = [build_step_images(sample, header) for sample in step.samples]
        for name, (number, topic) in self._sample_topics(step.step).items():
            if number < len(of_samples):
                topics[name] = step.samples[number], of_samples[number], topic
        for name, publisher in self._steps.get(step.step, {}).items():
            if name in (_LIST, _DETECTIONS) or not publisher.get_subscription_count():
                continue
            if name == _CAMERA_INFO:
                if info is not None and made:
                    publisher.publish(_step_camera_info(info, made, header))
            elif name in topics:
                scene, images, topic = topics[name]
                if (image := images.get(topic.output)) is not None:
                    publisher.publish(self._color(scene, topic, header) or image)

    def _color(self, step: Scene, topic: Topic, header: Header) -> Image | None:
        """The output in colours; None for a topic of its values."""
        if not topic.is_colored or step.segmentation is None:
            return None
        return image_to_msg(self._colors[step.segmentation], topic.encoding, header)

    def _create(self, kind: type, name: str, qos: Any = None) -> Any:
        topic = f"{self._folder}/{name}"
        publisher = self._node.create_lifecycle_publisher(
            kind,
            topic,
            qos or output_qos(),
            qos_overriding_options=overrides(self._node, topic, "publisher"),
        )
        if self._is_active:  # born too late for the node's own transition
            publisher.on_activate(None)
        return publisher

    def _step_topics(self, step: int) -> dict[str, Topic]:
        """One step's image topics by name."""
        topics = step_topics(self._outputs_of(step), self._model.depth_is_metric)
        return {topic.name: topic for topic in topics}

    def _outputs_of(self, step: int) -> frozenset[str]:
        """The outputs that a step can have."""
        model = self._model
        return model.outputs if step else model.outputs - model.only_predicted

    def _of_objects(self, step: int) -> frozenset[str]:
        """The outputs that a step's objects are made of."""
        names = {INSTANCES, DEPTH} if self._model.depth_is_metric else {INSTANCES}
        return self._outputs_of(step) & names

    def _subscribed_objects(self) -> dict[int, frozenset[str]]:
        """Step -> the outputs that objects which somebody subscribes to are made of.

        Velocities are differences from the step before, so that one is computed too.
        """
        heard = {
            step
            for step, publishers in self._steps.items()
            if _is_heard(publishers.get(_LIST)) or _is_heard(publishers.get(_DETECTIONS))
        }
        heard |= {step - 1 for step in heard if step} if self._model.depth_is_metric else set()
        if any(map(_is_heard, self._objects.values())):
            heard = set(self._steps)
        return {step: self._of_objects(step) for step in heard}

    def _sample_topics(self, step: int) -> dict[str, tuple[int, Topic]]:
        """Image topics of single futures of a step by name; each with its future, from 0."""
        model = self._model
        if step == 0 or model.samples == 1:
            return {}
        topics = step_topics(model.sample_outputs & model.outputs, model.depth_is_metric)
        return {
            f"sample_{number + 1}/{topic.name}": (number, topic)
            for number in range(model.samples)
            for topic in topics
        }

    def _subscribed_images(self, step: int) -> set[str]:
        """The outputs of which somebody subscribes to an image topic of this step."""
        publishers = self._steps[step]
        topics = list(self._step_topics(step).items())
        # A future is computed of the steps whose mean is.
        topics += [(name, topic) for name, (_, topic) in self._sample_topics(step).items()]
        return {topic.output for name, topic in topics if publishers[name].get_subscription_count()}


def _is_heard(publisher: Any) -> bool:
    return publisher is not None and publisher.get_subscription_count() > 0


def _rays(step: Scene, info: CameraInfo | None, image_topic: str) -> NDArray[np.float32] | None:
    """(H, W, 3) through the pixels of the step's `instances`; None without points."""
    if step.instances is None or info is None:
        return None
    try:
        _, scaled = depth_with_info(step, info, None, image_topic)
    except InputError:
        return None
    size = (step.instances.shape[0], step.instances.shape[1])
    return rays_of(scale_camera_info(scaled, size))


def _step_camera_info(info: CameraInfo, made: dict[str, Image], header: Header) -> CameraInfo:
    image = next(iter(made.values()))
    scaled = scale_camera_info(info, (image.height, image.width))
    scaled.header = header
    return scaled
