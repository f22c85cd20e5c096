"""`foresight replay`: options become parameters and remappings of replay_node."""

from __future__ import annotations

import argparse

import pytest
from parser_options import options_of

from dino_foresight_ros.cli.main import build_parser, main
from dino_foresight_ros.cli.replay import add_parser, ros_arguments


def arguments_for(*words: str) -> list[str]:
    return ros_arguments(build_parser().parse_args(["replay", *words]))


def test_only_what_was_given_is_passed_on() -> None:
    assert arguments_for("a.mp4") == ["--ros-args", "-p", 'input:="a.mp4"']


def test_values_keep_their_types() -> None:
    words = arguments_for("a.mp4", "--rate", "2", "--loop", "--no-clock", "--topics", "/a", "/b")
    assert words[3::2] == ["-p"] * 4
    assert set(words[4::2]) == {
        "rate:=2.0",
        "loop:=true",
        "publish_clock:=false",
        'topics:=["/a", "/b"]',
    }


def test_topics_are_remapped() -> None:
    words = arguments_for("a", "--image-topic", "/cam/image", "--camera-info-topic", "/cam/info")
    assert words[1:5] == ["-r", "image:=/cam/image", "-r", "camera_info:=/cam/info"]


@pytest.mark.parametrize("name", ["1.0", "true", "a b: c.mp4", 'quote"s.mp4', "[x]", "~", "ü.mp4"])
def test_any_file_name_arrives_as_it_is(name: str, ros_domain: dict[str, str]) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    from rclpy.context import Context
    from rclpy.node import Node

    context = Context()
    context.init(args=["replay", *arguments_for(name)])
    node = Node("replay_node", context=context)
    try:
        assert node.declare_parameter("input", "").value == name
    finally:
        node.destroy_node()
        context.shutdown()


def test_every_option_is_a_parameter_of_the_node() -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    from dino_foresight_ros.nodes.replay.parameters import REPLAY_PARAMETERS

    parser = add_parser(argparse.ArgumentParser().add_subparsers())
    options = options_of(parser, "drive.mp4")
    parameters = {spec.name for spec in REPLAY_PARAMETERS}
    assert options == parameters | {"image_topic", "camera_info_topic"}


@pytest.mark.usefixtures("node_in_this_process")
def test_missing_input_fails_in_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    assert main(["replay", "/nowhere.mp4"]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert "/nowhere.mp4 does not exist" in line
