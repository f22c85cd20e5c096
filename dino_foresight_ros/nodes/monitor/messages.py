"""Forecasts as the monitor compares them, and its judgements as messages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dino_foresight_ros.compare import Analysis, Judgement, Moment, Part, Prediction
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import Forecast, ForecastSkill
from dino_foresight_ros.outputs import MAX_STEPS
from dino_foresight_ros.ros.forecast_views import read_values
from dino_foresight_ros.ros.time import NS_PER_S, ns_to_time, time_to_ns

ENCODINGS: dict[str, tuple[str, DTypeLike]] = {
    "segmentation": ("mono8", np.uint8),
    "depth": ("32FC1", np.float32),
}


def read_map(message: Image, name: str) -> NDArray[Any] | None:
    """Segmentation or depth of an image message; None for an empty one.

    Raises:
        InputError: another encoding, or data that do not fit the size.
    """
    if message.width == 0 or message.height == 0:
        return None
    encoding, kind = ENCODINGS[name]
    if message.encoding != encoding:
        raise InputError(f"{name} is of encoding {message.encoding!r}, expected {encoding}")
    row_bytes = message.width * np.dtype(kind).itemsize
    if message.step < row_bytes or len(message.data) != message.height * message.step:
        raise InputError(
            f"{name} of {message.width}x{message.height} with rows of {message.step} bytes does "
            f"not fit {len(message.data)} bytes"
        )
    return read_values(message, kind)


def read_moment(message: Forecast, parts: Mapping[Part, Any]) -> tuple[Moment, list[Prediction]]:
    """A frame as the model sees it, and what was predicted from it.

    Args:
        message: the forecast.
        parts: of its stamp; "features" of step 0, 1, ..., "segmentation" and "depth" of step 0.

    Raises:
        InputError: a message that makes no sense.
    """
    interval_s = message.frame_interval
    if not 0.0 < interval_s < math.inf:
        raise InputError(f"a forecast's frame_interval is {interval_s} s")
    wrong = [step.step for step in message.steps if not 1 <= step.step <= MAX_STEPS]
    if wrong:
        raise InputError(f"a forecast has step {wrong[0]}; steps are 1 to {MAX_STEPS}")
    seen = Analysis(*(parts.get(Part(name)) for name in ("features", "segmentation", "depth")))
    moment = Moment(
        time_to_ns(message.header.stamp),
        message.header.frame_id,
        seen,
        round(interval_s * NS_PER_S),
        message.model_name,
        message.trained,
        any(step.depth_is_metric for step in message.steps),
    )
    predictions = [
        Prediction(
            step.step,
            time_to_ns(step.target_stamp),
            step.horizon,
            Analysis(
                parts.get(Part("features", step.step)),
                read_map(step.segmentation, "segmentation"),
                read_map(step.depth, "depth"),
            ),
        )
        for step in message.steps
    ]
    return moment, predictions


def build_skill(judgement: Judgement) -> ForecastSkill:
    """The ForecastSkill message of one step and arrived frame."""
    origin, prediction, _ = judgement.match
    forecast, copy, running = judgement.forecast, judgement.copy, judgement.running
    return ForecastSkill(
        header=arrived_header(judgement),
        forecast_stamp=ns_to_time(origin.stamp_ns),
        target_stamp=ns_to_time(prediction.target_ns),
        step=prediction.step,
        horizon=prediction.horizon_s,
        target_offset=judgement.match.offset_ns / NS_PER_S,
        model_name=origin.model_name,
        trained=origin.trained,
        feature_error=_float(forecast.feature_error),
        copy_feature_error=_float(copy.feature_error),
        skill=_float(judgement.skill),
        segmentation_agreement=forecast.segmentation_agreement,
        copy_segmentation_agreement=copy.segmentation_agreement,
        depth_error=_float(forecast.depth_error),
        copy_depth_error=_float(copy.depth_error),
        depth_is_metric=origin.depth_is_metric,
        window_count=running.forecasts,
        running_feature_error=_float(running.forecast.feature_error),
        running_copy_feature_error=_float(running.copy.feature_error),
        running_skill=_float(running.skill),
        running_segmentation_agreement=running.forecast.segmentation_agreement,
        running_copy_segmentation_agreement=running.copy.segmentation_agreement,
        running_depth_error=_float(running.forecast.depth_error),
        running_copy_depth_error=_float(running.copy.depth_error),
    )


def arrived_header(judgement: Judgement) -> Header:
    """Stamp of the frame that came, and its camera's optical frame."""
    arrived = judgement.match.arrived
    return Header(stamp=ns_to_time(arrived.stamp_ns), frame_id=arrived.frame_id)


def _float(value: float) -> float:
    """The value, as near as the message's 32 bits can hold it: rclpy refuses what is beyond."""
    largest = float(np.finfo(np.float32).max)
    return max(-largest, min(largest, value)) if math.isfinite(value) else value
