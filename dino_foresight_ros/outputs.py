"""The table of what a forecast can hold, with the limits and drop reasons that all rooms share.

Adding an output takes a row here, a field of `Scene`, the head's decoding in `model/tasks.py`, and
its loss in `training/head_tasks.py`: docs/architecture.md shows one. Parameters, topics, messages
and the documentation's tables follow the row. Packages that are installed beside this one add rows
by an entry point (`plugins.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from itertools import pairwise

from dino_foresight_ros.output_row import Output, StepZero, Topic
from dino_foresight_ros.plugins import installed_heads

MAX_STEPS = 16
"""Most steps of one forecast."""
MAX_HORIZON_S = 10.0
"""Farthest horizon of one forecast, seconds from the newest frame."""
MAX_CONTEXT_FRAMES = 16
"""Most frames that a forecast is made from."""
MAX_SAMPLES = 64
"""Most futures that are drawn of one frame."""
MAX_OUTPUT_SIDE = 8192
"""Most pixels along one side of a predicted image."""

SEGMENTATION = "segmentation"
CONFIDENCE = "confidence"
DEPTH = "depth"
NORMALS = "normals"
INSTANCES = "instances"
DETECTIONS = "detections"
FEATURES = "features"
SPREAD = "spread"

METRIC, RELATIVE = "metric", "relative"
DEPTH_KINDS = (RELATIVE, METRIC)
"""What a depth head gives: inverse depth without a scale, or metres."""


_OWN: tuple[Output, ...] = (
    Output(
        SEGMENTATION,
        "class ids, 255 unlabelled",
        head=SEGMENTATION,
        dtype="uint8",
        channels=1,
        encoding="mono8",
        topics=(
            Topic("segmentation", SEGMENTATION, "mono8", "class ids, 255 unlabelled"),
            Topic(
                "segmentation_color", SEGMENTATION, "rgb8", "the same in colours", is_colored=True
            ),
        ),
        message_field="segmentation",
    ),
    Output(
        CONFIDENCE,
        "probability of the class in segmentation, 0 to 1",
        head=SEGMENTATION,
        dtype="float32",
        channels=1,
        encoding="32FC1",
        message_field="confidence",
    ),
    Output(
        DEPTH,
        "metres along the optical axis (NaN unknown) from a metric head, else inverse depth",
        head=DEPTH,
        dtype="float32",
        channels=1,
        encoding="32FC1",
        topics=(
            Topic(
                "depth", DEPTH, "32FC1", "metres along the optical axis, from a metric head", METRIC
            ),
            Topic(
                "depth_relative",
                DEPTH,
                "32FC1",
                "from a relative head: inverse depth, 0 far to 255 near",
                RELATIVE,
            ),
        ),
        message_field="depth",
    ),
    Output(
        NORMALS,
        "unit vectors in the camera's optical frame",
        head=NORMALS,
        dtype="float32",
        channels=3,
        encoding="32FC3",
        topics=(Topic("normals", NORMALS, "32FC3", "unit vectors in the optical frame"),),
        message_field="normals",
    ),
    Output(
        INSTANCES,
        "ids of single objects, 0 none",
        head=INSTANCES,
        dtype="uint16",
        channels=1,
        encoding="mono16",
        topics=(Topic("instances", INSTANCES, "mono16", "ids of single objects, 0 none"),),
        message_field="instances",
        beside=DETECTIONS,
    ),
    Output(
        SPREAD,
        "how far several futures differ: their standard deviation, root mean square over channels",
        head=None,
        dtype="float32",
        channels=1,
        encoding="32FC1",
        topics=(
            Topic("spread", SPREAD, "32FC1", "how far several futures differ, in PCA features"),
        ),
        message_field="spread",
        step_0=StepZero.NEVER,
    ),
    Output(
        FEATURES,
        "PCA features on the patch grid",
        head=None,
        dtype="float32",
        channels=None,
        step_0=StepZero.ALWAYS,
    ),
)


def _with_plugins(own: tuple[Output, ...]) -> tuple[Output, ...]:
    """Rows of heads of other packages, after those of this one and before the features."""
    taken = {output.name for output in own} | {output.head for output in own}
    found = [
        output
        for name, plugin in installed_heads().items()
        if name not in taken
        for output in plugin.outputs
        if output.name not in taken
    ]
    return (*own[:-1], *found, own[-1])


OUTPUTS: tuple[Output, ...] = _with_plugins(_OWN)
BY_NAME: dict[str, Output] = {output.name: output for output in OUTPUTS}
IMAGES: tuple[Output, ...] = tuple(output for output in OUTPUTS if output.encoding is not None)
"""The outputs that are images."""
SAMPLE_OUTPUTS: tuple[str, ...] = (SEGMENTATION, DEPTH, INSTANCES)
"""The outputs that can be had of each of several futures."""
IMAGE_NAMES: tuple[str, ...] = tuple(output.name for output in IMAGES)
HEAD_OF: dict[str, str] = {o.name: o.head for o in OUTPUTS if o.head is not None}
"""The head that gives each output; what the forecaster itself predicts is left out."""
BESIDE: dict[str, str] = {o.name: o.beside for o in OUTPUTS if o.beside is not None}
"""What comes with an output without being asked for."""
HEADS: tuple[str, ...] = tuple(dict.fromkeys(HEAD_OF.values()))
"""Names of the heads, which are their tasks' names too."""


def horizons_problem(ahead_s: Sequence[float], has_zero: bool = False) -> str | None:
    """Why these seconds ahead cannot be asked for; None where they can.

    Args:
        ahead_s: of step 1, 2, ...
        has_zero: whether 0 is a horizon too.
    """
    text = ", ".join(f"{ahead:g}" for ahead in ahead_s)
    if not 1 <= len(ahead_s) <= MAX_STEPS:
        return f"{len(ahead_s)} horizons are asked for; it must be 1 to {MAX_STEPS}"
    if not all(0 < ahead <= MAX_HORIZON_S or (has_zero and ahead == 0) for ahead in ahead_s):
        limits = (
            f"from 0 to {MAX_HORIZON_S:g}" if has_zero else f"above 0 and up to {MAX_HORIZON_S:g}"
        )
        return f"horizons {text} s are not all {limits} s"
    if any(later <= earlier for earlier, later in pairwise(ahead_s)):
        return f"horizons {text} s must rise, without repetition"
    return None


def outputs_of_heads(heads: Collection[str]) -> frozenset[str]:
    """Names of all outputs that these heads give."""
    return frozenset(output.name for output in OUTPUTS if output.head in heads)


def outputs_of_step_0(names: Collection[str], layered_heads: Collection[str]) -> frozenset[str]:
    """Those of the named outputs that the newest context frame itself has.

    Args:
        names: outputs that can be had of predicted steps.
        layered_heads: heads that read the forecaster's layers.
    """
    return frozenset(
        name
        for name in names
        if BY_NAME[name].step_0 is StepZero.ALWAYS
        or (
            BY_NAME[name].step_0 is StepZero.FROM_FEATURES
            and HEAD_OF.get(name) not in layered_heads
        )
    )


def step_topics(names: Collection[str], depth_is_metric: bool) -> list[Topic]:
    """The topics of a step on which these outputs are published.

    Args:
        names: outputs to publish.
        depth_is_metric: whether the depth head gives metres.
    """
    kind = METRIC if depth_is_metric else RELATIVE
    return [
        topic
        for output in OUTPUTS
        if output.name in names
        for topic in output.topics
        if topic.kind in (None, kind)
    ]


class _Reason(str, Enum):
    """A reason that is its own text, with a description for the documentation."""

    description: str

    def __new__(cls, value: str, description: str = "") -> _Reason:
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    __str__ = str.__str__  # formats as its value on every Python


class DropReason(_Reason):
    """Why a frame gave no forecast, as diagnostics spell it (`dropped.REASON`)."""

    CONTEXT_FILLING = (
        "context_filling",
        "the context is not full yet, or has a hole; the frame is kept for it",
    )
    SUPERSEDED = "superseded", "a newer frame came before this one's turn"
    RATE_LIMITED = "rate_limited", "beyond `max_rate_hz`"
    CONTEXT_ONLY = (
        "context_only",
        "superseded or rate-limited, but encoded for a newer frame's context",
    )
    UNWANTED = "unwanted", "nobody subscribes"
    TOO_OLD = "too_old", "older than `max_age_ms` by the node's clock; kept for the context"
    DUPLICATE_STAMP = "duplicate_stamp", "a frame with this stamp came before"
    OUT_OF_ORDER = "out_of_order", "a newer frame came before"
    TIME_JUMP = "time_jump", "the stamp jumped back; the context starts anew with this frame"
    NO_STAMP = "no_stamp", "the stamp is 0"
    BAD_STAMP = "bad_stamp", "no clock gives such a stamp"
    BAD_IMAGE = "bad_image", "the image is broken or of an unknown encoding"
    BAD_OUTPUT = "bad_output", "the model predicted NaN or infinity"
    OUT_OF_MEMORY = "out_of_memory", "no memory, after a second try"
    ERROR = "error", "anything else that failed"
    DISABLED = "disabled", "paused by `~/set_enabled`"
    INACTIVE = "inactive", "the node is not active, or stopped meanwhile"
    RESET = "reset", "waited when `~/reset` was called or the clock jumped"


class UnmatchedReason(_Reason):
    """Why a prediction was compared with no frame, as the monitor's diagnostics spell it."""

    NO_FRAME = "no_frame", "no frame came near enough to the instant"
    TIME_JUMP = (
        "time_jump",
        "stamps went back (a recording that loops); the running means stay",
    )
    MODEL_CHANGED = (
        "model_changed",
        "another bundle forecasts now; the running means start anew",
    )
    MEMORY = "memory", "more than `memory_mb` waited"
