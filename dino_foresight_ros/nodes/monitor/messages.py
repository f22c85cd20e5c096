"""Forecast messages as the monitor compares them, and its comparisons as messages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from std_msgs.msg import Header

from dino_foresight_ros.compare import AnalysedFrame, Comparison
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import Forecast, ForecastSkill
from dino_foresight_ros.nodes.monitor.assembly import Part
from dino_foresight_ros.outputs import DEPTH, FEATURES, MAX_STEPS, SEGMENTATION, SPREAD
from dino_foresight_ros.ros.messages import read_step
from dino_foresight_ros.ros.time import ns_to_time, time_to_ns
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.stamps import NS_PER_S


def read_forecast(
    message: Forecast, parts: Mapping[Part, Any]
) -> tuple[AnalysedFrame, list[Scene]]:
    """A frame as the model sees it, and what was predicted from it.

    Args:
        message: the forecast.
        parts: what came beside it: features of step 0, 1, ..., maps of step 0.

    Raises:
        InputError: a message that makes no sense.
    """
    interval_s = message.frame_interval
    if not 0.0 < interval_s < math.inf:
        raise InputError(f"a forecast's frame_interval is {interval_s} s")
    wrong = [step.step for step in message.steps if not 1 <= step.step <= MAX_STEPS]
    if wrong:
        raise InputError(f"a forecast has step {wrong[0]}; steps are 1 to {MAX_STEPS}")
    is_metric = any(step.depth_is_metric for step in message.steps)
    seen = Scene(
        time_to_ns(message.header.stamp),
        segmentation=parts.get(Part(SEGMENTATION)),
        depth=parts.get(Part(DEPTH)),
        features=parts.get(Part(FEATURES)),
        depth_is_metric=is_metric,
    )
    frame = AnalysedFrame(
        seen,
        message.header.frame_id,
        round(interval_s * NS_PER_S),
        message.model_name,
        message.trained,
    )
    predictions = [
        replace(
            read_step(step, (SEGMENTATION, DEPTH, SPREAD)),
            features=parts.get(Part(FEATURES, step.step)),
            depth_is_metric=is_metric,
        )
        for step in message.steps
    ]
    return frame, predictions


def build_skill(comparison: Comparison) -> ForecastSkill:
    """The ForecastSkill message of one step and arrived frame."""
    origin, predicted = comparison.origin, comparison.predicted
    forecast, copy, running = comparison.forecast, comparison.copy, comparison.running
    return ForecastSkill(
        header=arrived_header(comparison),
        forecast_stamp=ns_to_time(origin.stamp_ns),
        target_stamp=ns_to_time(predicted.stamp_ns),
        step=predicted.step,
        horizon=predicted.horizon_s,
        target_offset=comparison.offset_ns / NS_PER_S,
        model_name=origin.model_name,
        trained=origin.trained,
        feature_error=_float(forecast.feature_error),
        copy_feature_error=_float(copy.feature_error),
        skill=_float(comparison.skill),
        segmentation_agreement=forecast.segmentation_agreement,
        copy_segmentation_agreement=copy.segmentation_agreement,
        depth_error=_float(forecast.depth_error),
        copy_depth_error=_float(copy.depth_error),
        depth_is_metric=origin.scene.depth_is_metric,
        window_count=running.forecasts,
        running_feature_error=_float(running.forecast.feature_error),
        running_copy_feature_error=_float(running.copy.feature_error),
        running_skill=_float(running.skill),
        running_segmentation_agreement=running.forecast.segmentation_agreement,
        running_copy_segmentation_agreement=running.copy.segmentation_agreement,
        running_depth_error=_float(running.forecast.depth_error),
        running_copy_depth_error=_float(running.copy.depth_error),
        within_spread=comparison.within_spread,
    )


def arrived_header(comparison: Comparison) -> Header:
    """Stamp of the frame that came, and its camera's optical frame."""
    arrived = comparison.arrived
    return Header(stamp=ns_to_time(arrived.stamp_ns), frame_id=arrived.frame_id)


def _float(value: float) -> float:
    """The value, as near as the message's 32 bits can hold it: rclpy refuses what is beyond."""
    largest = float(np.finfo(np.float32).max)
    return max(-largest, min(largest, value)) if math.isfinite(value) else value
