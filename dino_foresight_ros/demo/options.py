"""What the demo was asked to do, and what it plays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dino_foresight_ros.demo.processes import ParameterValue
from dino_foresight_ros.errors import InputError, UsageError

# A town in daylight, with traffic.
DEFAULT_SEED = 20
SYNTHETIC_FRAMES = 150
SYNTHETIC_RATE_HZ = 10.0
# Longer than the forecast node may take to load its model, which the demo limits.
_WAIT_FOR_SUBSCRIBER_S = 600.0
_LAST_DOMAIN = 232


@dataclass(frozen=True)
class DemoOptions:
    """The arguments of `foresight demo`; None leaves a node's own default.

    Attributes:
        out: folder for the results.
        input: video, folder of pictures or rosbag2; None plays the synthetic world.
        bundle: folder of the model, or a name that the forecast node knows.
        steps: how many steps to forecast.
        frames: stop after so many frames.
        device: where the model runs.
        rate: how fast to play: 2 is twice as fast.
        topic: which image topic of a bag.
        seed: of the synthetic world.
        domain_id: the ROS domain; None looks for one that nobody uses.
    """

    out: Path
    input: Path | None = None
    bundle: str | None = None
    steps: int | None = None
    frames: int | None = None
    device: str | None = None
    rate: float = 1.0
    topic: str | None = None
    seed: int = DEFAULT_SEED
    domain_id: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"--steps {self.steps}: give 1 or more")
        if self.frames is not None and self.frames < 1:
            raise UsageError(f"--frames {self.frames}: give 1 or more")
        if not 0.01 <= self.rate <= 100.0:
            raise UsageError(f"--rate {self.rate:g}: give 0.01 to 100 (2 is twice as fast)")
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"--seed {self.seed}: give 0 to 2147483647")
        if self.domain_id is not None and not 0 <= self.domain_id <= _LAST_DOMAIN:
            raise UsageError(f"--domain-id {self.domain_id}: give 0 to {_LAST_DOMAIN}")
        if self.topic is not None and self.input is None:
            raise UsageError("--topic chooses a topic of a bag: give the bag with --input")

    def forecast_parameters(self) -> dict[str, ParameterValue]:
        """What to set on the forecast node."""
        # What the pictures show; the other outputs would only cost time.
        parameters: dict[str, ParameterValue] = {"outputs": ["segmentation", "depth"]}
        if self.bundle is not None:
            folder = Path(self.bundle).expanduser()
            parameters["bundle"] = str(folder.absolute()) if folder.exists() else self.bundle
        if self.steps is not None:
            parameters["steps"] = self.steps
        if self.device is not None:
            parameters["device"] = self.device
        return parameters


@dataclass(frozen=True)
class DemoInput:
    """What is played.

    Attributes:
        kind: "synthetic", "video", "folder" or "bag".
        name: for people.
        node: the node that plays it.
        parameters: what to set on that node.
        frame_bytes: size of a frame as a message.
        frame_count: how many frames are expected, None when unknown.
        stop_after: end the player after so many frames, None to play to the end.
        facts: more for metrics.json.
    """

    kind: str
    name: str
    node: str
    parameters: dict[str, ParameterValue]
    frame_bytes: int
    frame_count: int | None
    stop_after: int | None
    facts: dict[str, Any]


def open_input(options: DemoOptions, on_warning: Callable[[str], None]) -> DemoInput:
    """Make sure that the input can be played, before anything is started.

    Raises:
        InputError: it is missing, unreadable, or not clear which part is meant.
    """
    if options.input is None:
        return _synthetic(options)
    from dino_foresight_ros.media import open_source

    try:
        with open_source(options.input, topic=options.topic, on_warning=on_warning) as source:
            # A file may open and yet hold no picture that can be decoded.
            frame_bytes = int(next(iter(source)).image.nbytes)
            kind, name, rate_hz = source.kind, source.name, source.frame_rate_hz
            frame_count = source.frame_count
    except InputError as error:
        # In the words of this command: nodes have a parameter instead.
        text = str(error).replace("set topic to one of", "choose one with --topic")
        raise InputError(text) from error
    parameters: dict[str, ParameterValue] = {
        "input": str(options.input.expanduser().absolute()),
        "rate": float(options.rate),
        "wait_for_subscriber_s": _WAIT_FOR_SUBSCRIBER_S,
        "publish_clock": False,
    }
    if options.topic is not None:
        parameters["topic"] = options.topic
    counts = [count for count in (frame_count, options.frames) if count is not None]
    facts = {"path": str(options.input), "topic": options.topic, "frame_rate_hz": rate_hz}
    return DemoInput(
        kind=kind,
        name=Path(name).name,
        node="replay_node",
        parameters=parameters,
        frame_bytes=frame_bytes,
        frame_count=min(counts, default=None),
        stop_after=options.frames,
        facts={**facts, "rate": options.rate},
    )


def _synthetic(options: DemoOptions) -> DemoInput:
    frames = options.frames or SYNTHETIC_FRAMES
    rate_hz = SYNTHETIC_RATE_HZ * options.rate
    parameters: dict[str, ParameterValue] = {
        "frames": frames,
        "seed": options.seed,
        "rate_hz": rate_hz,
        # Its time runs slower where this machine does not keep up, and no frame is left out.
        "publish_clock": True,
        "wait_for_subscriber_s": _WAIT_FOR_SUBSCRIBER_S,
    }
    return DemoInput(
        kind="synthetic",
        name="the synthetic world",
        node="synthetic_camera_node",
        parameters=parameters,
        frame_bytes=640 * 360 * 3,
        frame_count=frames,
        stop_after=None,
        facts={"seed": options.seed, "frame_rate_hz": rate_hz, "rate": options.rate},
    )


def warn(text: str) -> None:
    """Tell the user something that does not stop the demo."""
    print(f"foresight: warning: {text}", file=sys.stderr, flush=True)
