"""What `ros2 bag play` is asked for, and what a bag says of itself beforehand. Imports no ROS."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from dino_foresight_ros.recordings.bag_reader import BagReader
from dino_foresight_ros.recordings.bag_topics import image_topics
from dino_foresight_ros.topic_names import frame_name

TRANSFORM_TOPICS = ("/tf", "/tf_static")


def play_command(
    bag: Path,
    topics: Sequence[str] = (),
    remappings: Mapping[str, str] | None = None,
    rate: str = "",
    start_s: str = "",
    loop: bool = False,
) -> list[str]:
    """Return the words that play a bag with its clock.

    Args:
        bag: what to play.
        topics: just these; all when empty.
        remappings: from recorded to published topic.
        rate, start_s: as `ros2 bag play` takes them; its defaults when empty.
        loop: whether to start again at the end.
    """
    # The bag comes first: --clock would take a word after it for its frequency, and --topics and
    # --remap every word up to the next option.
    command = ["ros2", "bag", "play", str(bag), "--clock"]
    if rate:
        command += ["--rate", rate]
    if start_s:
        command += ["--start-offset", start_s]
    if loop:
        command.append("--loop")
    if topics:
        command += ["--topics", *topics]
    if remappings:
        command += ["--remap", *(f"{old}:={new}" for old, new in remappings.items())]
    return command


def with_transforms(topics: Sequence[str], known: Collection[str]) -> list[str]:
    """Return topics and those of TF that the bag has: 3D is seen in other frames only with them."""
    return list(dict.fromkeys([*topics, *(name for name in TRANSFORM_TOPICS if name in known)]))


def first_frame_id(bag: Path, topic: str = "") -> str:
    """Return the frame of the bag's first readable image; empty where there is none.

    Args:
        bag: to look into.
        topic: of the image; any when empty.

    Raises:
        InputError: the bag cannot be read.
    """
    reader = BagReader(bag)
    try:
        names = [topic] if topic else [found.name for found in image_topics(reader.topics)]
        for message in reader.messages(names):
            try:
                return frame_name(reader.deserialize(message).header.frame_id)
            except Exception:  # noqa: BLE001 - damaged messages raise errors of every kind
                continue
        return ""
    finally:
        reader.close()
