"""The options of a demo run, and the input that it plays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dino_foresight_ros.demo.processes import ParameterValue
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.outputs import HEADS
from dino_foresight_ros.shipped import (
    TINY,
    UNTRAINED_TINY,
    find_shipped,
    names_bundle,
)
from dino_foresight_ros.topic_names import CAMERA_FIELD, CameraTopics, camera_topics

# A town in daylight, with traffic.
DEFAULT_SEED = 20
SYNTHETIC_FRAMES = 150
SYNTHETIC_RATE_HZ = 10.0
# Longer than the forecast node may take to load its model, which the demo limits.
_WAIT_FOR_SUBSCRIBER_S = 900.0
_LAST_DOMAIN = 232
# Frames of the synthetic world: 0.6 GB.
_MOST_AHEAD = 300
_LATENCY = "from a frame's arrival at the forecast node to the publication of its forecast"
MEASURED = {
    "synthetic": f"{_LATENCY}; the drive was rendered before (its first {_MOST_AHEAD} frames)",
    "recorded": f"{_LATENCY}; the same machine read and decoded the input meanwhile",
}
"""What latency and rate in metrics.json are of, in words."""


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
        topic: which image topic of a bag; of several cameras the pattern with {camera}.
        cameras: several cameras of a bag, or the one word "all".
        fov_deg: horizontal field of view to assume of the input, degrees; None assumes none.
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
    cameras: tuple[str, ...] = ()
    fov_deg: float | None = None
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
        if self.cameras and self.input is None:
            raise UsageError("--cameras chooses cameras of a bag: give the bag with --input")
        if self.fov_deg is not None and not 0.0 < self.fov_deg < 180.0:
            raise UsageError(f"--fov-deg {self.fov_deg:g}: give more than 0 and less than 180")
        if self.fov_deg is not None and (self.input is None or self.cameras):
            raise UsageError(
                "--fov-deg calibrates one camera that is played: give --input, and no --cameras"
            )
        if self.cameras and self.topic is not None and CAMERA_FIELD not in self.topic:
            raise UsageError(
                f"--topic {self.topic}: with --cameras it is a pattern, such as "
                f"/{CAMERA_FIELD}/image_raw"
            )

    @property
    def chosen_bundle(self) -> str:
        """The bundle to run: as asked for, else the trained one that came with the package."""
        if self.bundle is not None:
            folder = Path(self.bundle).expanduser()
            is_folder = folder.exists() and not names_bundle(self.bundle)
            return str(folder.absolute()) if is_folder else self.bundle
        return UNTRAINED_TINY if find_shipped(TINY) is None else TINY

    def forecast_parameters(self, played: DemoInput) -> dict[str, ParameterValue]:
        """What to set on the forecast node."""
        parameters: dict[str, ParameterValue] = {
            "bundle": self.chosen_bundle,
            # What the pictures show; the other outputs would only cost time.
            "outputs": list(HEADS),
            "publish_features": True,
        }
        if played.cameras:
            parameters["cameras"] = list(played.cameras)
            parameters["camera_topic"] = played.camera_topic
            parameters["image_transport"] = "compressed" if played.compressed else "raw"
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
        frame_count: how many frames are expected, of all cameras, None when unknown.
        stop_after: end the player after so many frames of a camera, None to play to the end.
        facts: more for metrics.json.
        cameras: names of several cameras; empty for a single one.
        camera_topic: image topic of each of them, {camera} being its name.
        compressed: whether their images are CompressedImage.
        recorded: how many frames each of them has.
    """

    kind: str
    name: str
    node: str
    parameters: dict[str, ParameterValue]
    frame_bytes: int
    frame_count: int | None
    stop_after: int | None
    facts: dict[str, Any]
    cameras: tuple[str, ...] = ()
    camera_topic: str = ""
    compressed: bool = False
    recorded: Mapping[str, int] = field(default_factory=dict)

    @property
    def topics(self) -> list[CameraTopics]:
        """Topics of each camera."""
        return camera_topics(self.cameras, self.camera_topic)


def open_input(options: DemoOptions, on_warning: Callable[[str], None]) -> DemoInput:
    """Make sure that the input can be played, before anything is started.

    Raises:
        InputError: it is missing, unreadable, or not clear which part is meant.
    """
    if options.input is None:
        return _synthetic(options)
    if options.cameras:
        return _several_cameras(options, options.input, on_warning)
    from dino_foresight_ros.recordings import open_recording

    try:
        with open_recording(options.input, topic=options.topic, on_warning=on_warning) as recording:
            # A file may open and yet hold no picture that can be decoded.
            frame_bytes = int(next(recording.frames()).image.nbytes)
            kind, name, rate_hz = recording.kind, recording.name, recording.frame_rate_hz
            frame_count = recording.frame_count
    except InputError as error:
        # In the words of this command: nodes have a parameter instead.
        hint = "choose several with --cameras, or one with --topic"
        text = str(error).replace("set topic to one of", hint)
        raise InputError(text) from error
    parameters = _replay_parameters(options, options.input)
    if options.topic is not None:
        parameters["topic"] = options.topic
    if options.fov_deg is not None:
        parameters["fov_deg"] = float(options.fov_deg)
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
        facts={**facts, "rate": options.rate, "fov_deg": options.fov_deg},
    )


def _replay_parameters(options: DemoOptions, path: Path) -> dict[str, ParameterValue]:
    return {
        "input": str(path.expanduser().absolute()),
        "rate": float(options.rate),
        "wait_for_subscriber_s": _WAIT_FOR_SUBSCRIBER_S,
        "publish_clock": False,
    }


def _several_cameras(
    options: DemoOptions, path: Path, on_warning: Callable[[str], None]
) -> DemoInput:
    """Some cameras of a bag, as they were recorded."""
    from dino_foresight_ros.recordings import open_recording
    from dino_foresight_ros.recordings.bag_cameras import choose_cameras
    from dino_foresight_ros.recordings.bag_reader import BagReader
    from dino_foresight_ros.recordings.bag_topics import no_pictures
    from dino_foresight_ros.recordings.file_kinds import check_exists, is_bag

    path = path.expanduser()
    check_exists(path)
    if not is_bag(path):
        raise InputError(f"{path} is not a rosbag2, so it has no several cameras")
    reader = BagReader(path)
    others = no_pictures(reader)
    reader.close()
    found = choose_cameras(path, reader.topics, options.cameras, options.topic, "--topic", others)
    if found.left_out:
        on_warning(f"left out: {', '.join(found.left_out)}")
    topics, frame_bytes = list(found.topics.values()), 0
    for topic in topics:
        # The first picture is decoded: a camera whose pictures are broken is told of at once.
        with open_recording(path, topic=topic.name) as recording:
            frame_bytes = max(frame_bytes, recording.size[0] * recording.size[1] * 3)
    counts = [min(t.message_count, options.frames or t.message_count) for t in topics]
    return DemoInput(
        kind="bag",
        name=path.name,
        node="replay_node",
        parameters={
            **_replay_parameters(options, path),
            "topics": [topic.name for topic in topics],
        },
        frame_bytes=frame_bytes,
        frame_count=sum(counts),
        stop_after=options.frames,
        facts={
            "path": str(options.input),
            "topic": found.template,
            "cameras": list(found.names),
            "rate": options.rate,
        },
        cameras=found.names,
        camera_topic=found.template,
        compressed=found.compressed,
        recorded={name: topic.message_count for name, topic in found.topics.items()},
    )


def _synthetic(options: DemoOptions) -> DemoInput:
    frames = options.frames or SYNTHETIC_FRAMES
    parameters: dict[str, ParameterValue] = {
        "frames": frames,
        "seed": options.seed,
        "rate_hz": SYNTHETIC_RATE_HZ,
        "rate": float(options.rate),
        # Its time runs slower where this machine does not keep up, and no frame is left out.
        "publish_clock": True,
        "wait_for_subscriber_s": _WAIT_FOR_SUBSCRIBER_S,
        # Or what is measured would be the renderer, on the same cores.
        "render_ahead": min(frames, _MOST_AHEAD),
    }
    return DemoInput(
        kind="synthetic",
        name="the synthetic world",
        node="synthetic_camera_node",
        parameters=parameters,
        frame_bytes=640 * 360 * 3,
        frame_count=frames,
        stop_after=None,
        facts={"seed": options.seed, "frame_rate_hz": SYNTHETIC_RATE_HZ, "rate": options.rate},
    )
