"""This package's messages from the engine's results, and their images and features as arrays."""

from __future__ import annotations

import array
import math
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import FeatureMap, ForecastStep, Labels
from dino_foresight_ros.msg import Forecast as ForecastMsg
from dino_foresight_ros.output_row import Output
from dino_foresight_ros.outputs import IMAGE_NAMES, IMAGES
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.object_messages import build_instance, read_detections
from dino_foresight_ros.ros.time import ns_to_time, time_to_ns
from dino_foresight_ros.scene import Scene

if TYPE_CHECKING:
    from dino_foresight_ros.runtime.frame import Forecast

_FEATURE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def build_header(forecast: Forecast, frame_id: str) -> Header:
    """Stamp of the newest context frame and the camera's frame."""
    return Header(stamp=ns_to_time(forecast.stamp_ns), frame_id=frame_id)


def build_step_images(step: Scene, header: Header) -> dict[str, Image]:
    """Output name -> image, for each output that the step has."""
    return {
        output.name: image_to_msg(values, output.encoding, header)
        for output in IMAGES
        if output.encoding and (values := getattr(step, output.name)) is not None
    }


def build_forecast(
    forecast: Forecast,
    header: Header,
    images: Sequence[dict[str, Image]],
    latency_s: float,
    class_names: Sequence[str] = (),
) -> ForecastMsg:
    """The Forecast message.

    Args:
        forecast: the engine's result.
        header: as `build_header` makes it.
        images: per step what `build_step_images` made; an absent output stays an empty image.
        latency_s: seconds from receiving the frame until now.
        class_names: of the objects.
    """
    targets = [ns_to_time(step.target_stamp_ns) for step in forecast.steps]
    steps = [
        ForecastStep(
            target_stamp=target,
            horizon=float(step.horizon_s),
            step=step.step,
            depth_is_metric=step.depth_is_metric,
            detections=[build_instance(one, class_names) for one in step.detections],
            **{
                field: step_images[output.name]
                for output in IMAGES
                if (field := output.message_field) and output.name in step_images
            },
        )
        for step, target, step_images in zip(forecast.steps, targets, images, strict=True)
    ]
    return ForecastMsg(
        header=header,
        context_stamps=[ns_to_time(stamp) for stamp in forecast.context_stamps_ns],
        target_stamps=targets,
        frame_interval=float(forecast.frame_interval_s),
        steps=steps,
        model_name=forecast.model_name,
        trained=forecast.trained,
        latency=latency_s,
    )


def build_feature_map(step: Scene, header: Header) -> FeatureMap:
    """The (h, w, C) PCA features of one predicted step, as float32."""
    assert step.features is not None
    features = np.ascontiguousarray(step.features, np.float32)
    height, width, channels = features.shape
    return FeatureMap(
        header=header,
        target_stamp=ns_to_time(step.target_stamp_ns),
        step=step.step,
        grid_height=height,
        grid_width=width,
        channels=channels,
        dtype="float32",
        is_bigendian=sys.byteorder == "big",
        data=array.array("B", features.tobytes()),
    )


def build_labels(
    model_name: str,
    names: Sequence[str],
    palette: Sequence[Sequence[int]],
    depth_is_metric: bool,
    header: Header,
) -> Labels:
    """Class names and colours; `palette` holds one (r, g, b) per class."""
    return Labels(
        header=header,
        model_name=model_name,
        names=list(names),
        palette=array.array("B", [value for color in palette for value in color]),
        unlabelled=UNLABELLED,
        depth_is_metric=depth_is_metric,
    )


def color_table(palette: Sequence[Sequence[int]]) -> np.ndarray:
    """(256, 3) uint8 RGB by class id; black where there is no class."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8).reshape(-1, 3)
    return table


def build_diagnostics(
    name: str, hardware_id: str, level: bytes, message: str, values: dict[str, object], now: Header
) -> DiagnosticArray:
    """A DiagnosticArray of one status; floats are written with three decimals."""
    texts = {k: f"{v:.3f}" if isinstance(v, float) else str(v) for k, v in values.items()}
    status = DiagnosticStatus(
        level=level,
        name=name,
        hardware_id=hardware_id,
        message=message,
        values=[KeyValue(key=key, value=text) for key, text in texts.items()],
    )
    return DiagnosticArray(header=now, status=[status])


def read_step(step: ForecastStep, names: Collection[str] = IMAGE_NAMES) -> Scene:
    """One predicted instant, with its objects, and the named outputs where they were sent.

    Raises:
        InputError: another encoding, or data that do not fit the sizes of an image.
    """
    maps: dict[str, Any] = {
        output.name: read_image(getattr(step, output.message_field), output)
        for output in IMAGES
        if output.name in names and output.message_field
    }
    return Scene(
        time_to_ns(step.target_stamp),
        step=step.step,
        horizon_s=step.horizon,
        depth_is_metric=bool(step.depth_is_metric),
        detections=read_detections(step.detections),
        **maps,
    )


def read_image(message: Image, output: Output) -> NDArray[Any] | None:
    """(H, W) or (H, W, channels) values of an output's image; None for an empty one.

    Raises:
        InputError: another encoding, or data that do not fit the sizes.
    """
    if message.width == 0 or message.height == 0:
        return None
    if message.encoding != output.encoding:
        raise InputError(
            f"{output.name} is of encoding {message.encoding!r}, expected {output.encoding}"
        )
    native, channels = np.dtype(output.dtype), output.channels or 1
    stored = native.newbyteorder(">" if message.is_bigendian else "<")
    needed = message.width * channels * stored.itemsize
    if len(message.data) != message.height * message.step or message.step < needed:
        raise InputError(
            f"{output.name} of {message.width}x{message.height} with rows of {message.step} bytes "
            f"does not fit {len(message.data)} bytes"
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    values = rows[:, :needed].copy().view(stored)
    if channels > 1:
        values = values.reshape(message.height, message.width, channels)
    return values.astype(native, copy=False)


def read_features(message: FeatureMap) -> NDArray[np.float32]:
    """(h, w, C) PCA features.

    Raises:
        InputError: an unknown number format, or data that do not fit the sizes.
    """
    size = _FEATURE_BYTES.get(message.dtype)
    if size is None:
        raise InputError(
            f"features are of type {message.dtype!r}; valid: {', '.join(_FEATURE_BYTES)}"
        )
    shape = (message.grid_height, message.grid_width, message.channels)
    if len(message.data) != math.prod(shape) * size or 0 in shape:
        raise InputError(
            f"features of {shape[0]}x{shape[1]} patches, {shape[2]} channels and {message.dtype} "
            f"do not fit {len(message.data)} bytes"
        )
    order = ">" if message.is_bigendian else "<"
    if message.dtype == "bfloat16":  # the upper half of a float32
        upper = np.frombuffer(message.data, f"{order}u2").astype(np.uint32) << 16
        return upper.view(np.float32).reshape(shape)
    values = np.frombuffer(message.data, f"{order}f{size}")
    return values.astype(np.float32, copy=False).reshape(shape)
