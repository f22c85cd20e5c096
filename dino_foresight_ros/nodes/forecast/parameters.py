"""The parameters of forecast_node. config/forecast.yaml states them with their defaults."""

from __future__ import annotations

import math
import re
from typing import Literal

from dino_foresight_ros.choices import (
    ACCELERATIONS,
    FROM_FRAME,
    HORIZON_FROM,
    PRECISIONS,
    PROVIDERS,
)
from dino_foresight_ros.outputs import (
    IMAGE_NAMES,
    MAX_CONTEXT_FRAMES,
    MAX_HORIZON_S,
    MAX_OUTPUT_SIDE,
    MAX_SAMPLES,
    MAX_STEPS,
    SAMPLE_OUTPUTS,
    horizons_problem,
)
from dino_foresight_ros.picture_size import parse_sides
from dino_foresight_ros.ros.motion_parameters import (
    MOTION,
    MOTION_PARAMETERS,
    ROBOT_PARAMETERS,
)
from dino_foresight_ros.ros.parameters import (
    CAMERA_TOPIC,
    CAMERAS,
    DIAGNOSTICS_PERIOD,
    IMAGE_RELIABILITY,
    IMAGE_TRANSPORT,
    Change,
    ParameterSpec,
    path_problem,
)


def _check_device(name: str) -> str | None:
    if re.fullmatch(r"auto|cpu|cuda|cuda:\d+", name):
        return None
    return f"{name!r} is unknown; valid: auto, cpu, cuda, cuda:N"


def _check_output_size(text: str) -> str | None:
    try:
        parse_output_size(text)
    except ValueError:
        return f"{text!r} is unknown; valid: grid, input, WIDTHxHEIGHT such as 640x360"
    return None


def parse_output_size(text: str) -> tuple[int, int] | Literal["input"] | None:
    """(height, width) of "WxH"; "input" as it is; None for "grid".

    Raises:
        ValueError: anything else, or a side of 0 or beyond `MAX_OUTPUT_SIDE`.
    """
    if text == "input":
        return "input"
    if text == "grid":
        return None
    sides = parse_sides(text)
    if sides is None or max(sides) > MAX_OUTPUT_SIDE:
        raise ValueError(text)
    width, height = sides
    return height, width


def _check_horizons(horizons_s: list[float]) -> str | None:
    return horizons_problem(horizons_s, has_zero=True) if horizons_s else None


def _check_weights(weights: list[float]) -> str | None:
    if len(weights) != 4 or not all(0 <= weight < math.inf for weight in weights):
        return f"{weights} are not four numbers from 0 up"
    return None


FORECAST_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "bundle",
        "tiny",
        "Folder of the model to run, hub:owner/name, tiny (small, trained, comes with the package) "
        "or untrained-tiny (random weights).",
        check=path_problem,
    ),
    ParameterSpec(
        "device",
        "auto",
        "Where the model runs: auto (a GPU where there is one), cpu, cuda or cuda:N.",
        check=_check_device,
    ),
    ParameterSpec(
        "dtype",
        "auto",
        "Number format of the model; auto: 16 bits where the hardware computes fast in them (GPU, "
        "AMX), else float32; float32 with onnxruntime.",
        choices=PRECISIONS,
    ),
    ParameterSpec(
        "acceleration",
        "auto",
        "auto (trace for a small model on a CPU, else none), none, trace (the same kernels, called "
        "from graphs instead of Python), compile (torch.compile; a minute at start), cudagraphs "
        "(GPU only) or onnxruntime (graphs are exported at the first start, and kept).",
        choices=("auto", *ACCELERATIONS),
    ),
    ParameterSpec(
        "execution_provider",
        "auto",
        "Of acceleration onnxruntime: auto (cuda or openvino where the installed onnxruntime has "
        "it, else cpu), cpu, cuda, openvino or tensorrt.",
        choices=("auto", *PROVIDERS),
    ),
    ParameterSpec(
        "steps",
        3,
        "How many steps to forecast, each one frame interval of the model further ahead.",
        Change.ANY_TIME,
        limits=(1, MAX_STEPS),
    ),
    ParameterSpec(
        "horizons_s",
        [],
        "How far ahead each step lies, rising, seconds up to 10, such as [0.1, 0.5, 2.0]; then "
        "there are as many steps. Empty: multiples of the model's frame interval, as many as steps "
        "says. A masked model has no others.",
        check=_check_horizons,
        element=float,
    ),
    ParameterSpec(
        "horizon_from",
        FROM_FRAME,
        "What horizons count from: the frame's stamp, or now, the moment of publication, which "
        "the node foresees from its own latency; then 0 is a horizon too. now needs a model of "
        "kind world.",
        choices=HORIZON_FROM,
    ),
    ParameterSpec(
        "samples",
        1,
        "How many futures to draw; their mean is published, with their spread and agreement. "
        "Above 1 needs a model that draws futures.",
        limits=(1, MAX_SAMPLES),
    ),
    ParameterSpec(
        "sample_outputs",
        [],
        "What may be published of each of several futures, on foresight/step_K/sample_I/...; "
        "computed while somebody subscribes.",
        choices=SAMPLE_OUTPUTS,
    ),
    ParameterSpec(
        "context_frames",
        0,
        "How many frames a model of kind world forecasts from, 2 to 16; 0: as its bundle says.",
        limits=(0, MAX_CONTEXT_FRAMES),
        check=lambda value: "1 frame shows no motion; valid: 0, 2 to 16" if value == 1 else None,
    ),
    ParameterSpec(
        "max_context_age_s",
        0.0,
        "How much older than the newest frame a context frame may be, for a model of kind world, "
        "seconds; 0: as its bundle says.",
        limits=(0.0, 60.0),
    ),
    ParameterSpec(
        "feed_back_beyond_s",
        0.0,
        "Farther horizons are asked of predictions that are taken as context, for a model of kind "
        "world, seconds; 0: as its bundle says.",
        limits=(0.0, MAX_HORIZON_S),
    ),
    ParameterSpec(
        "outputs",
        list(IMAGE_NAMES),
        "What may be computed; of these, only what somebody subscribes to is.",
        Change.ANY_TIME,
        choices=IMAGE_NAMES,
    ),
    ParameterSpec(
        "output_size",
        "grid",
        "Size of the predicted images: grid (patch grid x 8), input (as the camera's) or WxH.",
        Change.ANY_TIME,
        check=_check_output_size,
    ),
    ParameterSpec(
        "publish_features",
        False,
        "Whether predicted features may be published on foresight/features.",
        Change.ANY_TIME,
    ),
    CAMERAS,
    CAMERA_TOPIC,
    ParameterSpec(
        "sync_tolerance_s",
        0.05,
        "How far apart, in seconds, the stamps of different cameras' frames in one batch may lie. "
        "A frame waits about that long for the frames of the other cameras.",
        limits=(0.0, 1.0),
    ),
    IMAGE_TRANSPORT,
    IMAGE_RELIABILITY,
    ParameterSpec(
        "stream_timeout_s",
        5.0,
        "After how many seconds without a frame a stream counts as stopped; diagnostics are STALE "
        "then.",
        Change.ANY_TIME,
        limits=(0.2, 3600.0),
    ),
    DIAGNOSTICS_PERIOD,
    ParameterSpec(
        "fill_context",
        True,
        "Whether a model that is slower than its camera also encodes frames that were superseded, "
        "to fill its context. Without them, such a model seldom forecasts.",
        Change.ANY_TIME,
    ),
    ParameterSpec(
        "max_rate_hz",
        0.0,
        "Most forecasts per second and camera; frames beyond that only fill the context. 0 sets no "
        "limit.",
        Change.ANY_TIME,
        limits=(0.0, 1000.0),
    ),
    ParameterSpec(
        "max_age_ms",
        0.0,
        "Highest age of a frame, by its stamp and the node's clock, when its turn comes; an older "
        "one is not forecast. 0 sets no limit.",
        Change.ANY_TIME,
        limits=(0.0, 3_600_000.0),
    ),
    ParameterSpec(
        "latency_warn_ms",
        500.0,
        "Diagnostics are WARN when the latency, from the frame's arrival to the forecast's "
        "publication, is above this. 0: never.",
        Change.ANY_TIME,
        limits=(0.0, 3_600_000.0),
    ),
    ParameterSpec(
        "latency_error_ms",
        2000.0,
        "Diagnostics are ERROR when the latency is above this. 0: never.",
        Change.ANY_TIME,
        limits=(0.0, 3_600_000.0),
    ),
    ParameterSpec(
        "min_rate_hz",
        0.0,
        "Diagnostics are WARN when there are fewer forecasts per second, of all cameras together, "
        "although frames come and somebody subscribes. 0: never.",
        Change.ANY_TIME,
        limits=(0.0, 1000.0),
    ),
    MOTION,
    *MOTION_PARAMETERS,
    *ROBOT_PARAMETERS,
    ParameterSpec(
        "robot_height_m",
        2.0,
        "What is higher above the ground is no obstacle, metres.",
        Change.ANY_TIME,
        limits=(0.2, 20.0),
    ),
    ParameterSpec(
        "safe_distance_m",
        1.0,
        "Obstacles farther from the footprint cost a candidate nothing, metres.",
        Change.ANY_TIME,
        limits=(0.0, 100.0),
    ),
    ParameterSpec(
        "imagine_weights",
        [4.0, 1.0, 0.5, 1.0],
        "How much a candidate's costs count: occupied, distance, unknown and progress.",
        Change.ANY_TIME,
        check=_check_weights,
        element=float,
    ),
    ParameterSpec(
        "goal_image",
        "",
        "Picture of where to be, as the first camera would see it there: foresight/imagine then "
        "counts likeness to it, in features, as progress. Empty: progress is metres ahead.",
        Change.ANY_TIME,
        check=lambda path: path_problem(path) if path else None,
    ),
    ParameterSpec(
        "autostart",
        True,
        "Configure and activate at start; false waits for lifecycle transitions.",
        Change.NEVER,
    ),
)
