"""The parameters of forecast_node. config/forecast.yaml states them with their defaults."""

from __future__ import annotations

import re

from dino_foresight_ros.ros.parameters import Change, ParameterSpec

OUTPUTS = ("segmentation", "confidence", "depth", "normals")
MAX_STEPS = 16
MAX_OUTPUT_SIDE = 8192


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


def parse_output_size(text: str) -> tuple[int, int] | None:
    """(height, width) of "WxH"; None for "grid" and "input".

    Raises:
        ValueError: anything else, or a side of 0 or beyond `MAX_OUTPUT_SIDE`.
    """
    if text in ("grid", "input"):
        return None
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise ValueError(text)
    width, height = int(match[1]), int(match[2])
    if not (1 <= width <= MAX_OUTPUT_SIDE and 1 <= height <= MAX_OUTPUT_SIDE):
        raise ValueError(text)
    return height, width


FORECAST_PARAMETERS: tuple[ParameterSpec, ...] = (
    ParameterSpec(
        "bundle",
        "untrained-tiny",
        "Folder of the model to run, or untrained-tiny: a small model with random weights.",
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
        "Number format of the model: auto is 16 bits where the hardware is fast at it (GPU, AMX).",
        choices=("auto", "float32", "bfloat16", "float16"),
    ),
    ParameterSpec(
        "acceleration",
        "none",
        "none, compile (torch.compile; a minute at start) or cudagraphs (GPU only).",
        choices=("none", "compile", "cudagraphs"),
    ),
    ParameterSpec(
        "steps",
        3,
        "How many steps to forecast, each one frame interval of the model further ahead.",
        limits=(1, MAX_STEPS),
    ),
    ParameterSpec(
        "outputs",
        list(OUTPUTS),
        "What may be computed; of these, only what somebody subscribes to is.",
        choices=OUTPUTS,
    ),
    ParameterSpec(
        "output_size",
        "grid",
        "Size of the predicted images: grid (patch grid x 8), input (as the camera's) or WxH.",
        check=_check_output_size,
    ),
    ParameterSpec(
        "publish_features",
        False,
        "Whether predicted features may be published on foresight/features.",
    ),
    ParameterSpec(
        "image_transport",
        "raw",
        "What arrives on the image topic: raw (Image) or compressed (CompressedImage).",
        choices=("raw", "compressed"),
    ),
    ParameterSpec(
        "image_reliability",
        "auto",
        "How images are subscribed to: auto (reliable while all publishers are), best_effort "
        "or reliable.",
        choices=("auto", "best_effort", "reliable"),
    ),
    ParameterSpec(
        "stream_timeout_s",
        5.0,
        "Seconds without a frame after which the stream counts as stopped.",
        Change.ANY_TIME,
        limits=(0.2, 3600.0),
    ),
    ParameterSpec(
        "autostart",
        True,
        "Configure and activate at start; false waits for lifecycle transitions.",
        Change.NEVER,
    ),
)
