"""The command for `ros2 bag play` is read as it is meant, by its own rules for arguments."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag_play import first_frame_id, play_command, with_transforms
from dino_foresight_ros.recordings.bag_writer import create_bag

STAMP_NS = 1_700_000_000_000_000_000


def ros2_bag_play() -> argparse.ArgumentParser:
    """These arguments as ros2bag declares them (ros2bag/verb/play.py, Humble to Jazzy)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bag_path")
    parser.add_argument("-r", "--rate", type=float, default=1.0)
    parser.add_argument("--topics", type=str, default=[], nargs="+")
    parser.add_argument("-l", "--loop", action="store_true")
    parser.add_argument("--remap", "-m", default="", nargs="+")
    parser.add_argument("--clock", type=float, nargs="?", const=40, default=0)
    parser.add_argument("--start-offset", type=float, default=0.0)
    return parser


@pytest.mark.parametrize("topics", [(), ("/a/image_raw", "/b/image_raw", "/tf")])
@pytest.mark.parametrize("remappings", [{}, {"/a": "/robot/a", "/b": "/robot/b"}])
@pytest.mark.parametrize("others", [{}, {"rate": "2.5", "start_s": "1.5", "loop": True}])
def test_every_word_reaches_its_option(
    topics: tuple[str, ...], remappings: dict[str, str], others: dict[str, object]
) -> None:
    words = play_command(Path("/drives/one"), topics, remappings, **others)  # type: ignore[arg-type]
    assert words[:3] == ["ros2", "bag", "play"]
    read = ros2_bag_play().parse_args(words[3:])
    assert read.bag_path == "/drives/one"
    assert read.clock == 40
    assert tuple(read.topics) == topics
    assert list(read.remap) == [f"{old}:={new}" for old, new in remappings.items()]
    expected = (2.5, 1.5, True) if others else (1.0, 0.0, False)
    assert (read.rate, read.start_offset, read.loop) == expected


def test_those_transform_topics_are_added_that_the_bag_has() -> None:
    known = ["/tf_static", "/a", "/b", "/tf"]
    assert with_transforms(["/a"], known) == ["/a", "/tf", "/tf_static"]
    assert with_transforms(["/a"], ["/a", "/tf_static"]) == ["/a", "/tf_static"]
    assert with_transforms(["/a", "/tf"], known) == ["/a", "/tf", "/tf_static"]


def test_frame_is_that_of_the_first_image_of_the_topic(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    with create_bag(bag) as writer:
        for index, camera in enumerate(("left", "right", "left")):
            image = np.zeros((4, 6, 3), np.uint8)
            stamp_ns = STAMP_NS + index * 1_000_000
            writer.write_image(f"/{camera}/image_raw", image, stamp_ns, f"/{camera}_optical")
    assert first_frame_id(bag) == "left_optical"
    assert first_frame_id(bag, "/right/image_raw") == "right_optical"
    assert first_frame_id(bag, "/nowhere/image_raw") == ""
    with pytest.raises(InputError, match="is not a readable rosbag2"):
        first_frame_id(tmp_path)
