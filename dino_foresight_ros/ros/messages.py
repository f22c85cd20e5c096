"""The engine's results as messages."""

from __future__ import annotations

import array
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.msg import FeatureMap, ForecastStep, Labels
from dino_foresight_ros.msg import Forecast as ForecastMsg
from dino_foresight_ros.outputs import IMAGES
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.time import ns_to_time

if TYPE_CHECKING:
    from dino_foresight_ros.runtime.forecast import Forecast
    from dino_foresight_ros.scene import Scene


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
) -> ForecastMsg:
    """The Forecast message.

    Args:
        forecast: the engine's result.
        header: as `build_header` makes it.
        images: per step what `build_step_images` made; an absent output stays an empty image.
        latency_s: seconds from receiving the frame until now.
    """
    targets = [ns_to_time(step.target_stamp_ns) for step in forecast.steps]
    steps = [
        ForecastStep(
            target_stamp=target,
            horizon=float(step.horizon_s),
            step=step.step,
            depth_is_metric=step.depth_is_metric,
            **step_images,
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
