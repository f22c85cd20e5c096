"""`foresight view` in the words of its command line."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from parser_options import options_of

from dino_foresight_ros.cli import view
from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.view import rerun_sdk


def parameters_of(*words: str) -> dict[str, object]:
    """What the options set on view_node, read as ROS reads it."""
    parser = argparse.ArgumentParser()
    view.add_parser(parser.add_subparsers())
    arguments = view.ros_arguments(parser.parse_args(["view", *words]))
    assert arguments[0] == "--ros-args"
    assert set(arguments[1::2]) == {"-p"}
    pairs = (argument.split(":=", 1) for argument in arguments[2::2])
    return {name: yaml.safe_load(value) for name, value in pairs}


def test_defaults_are_the_nodes_but_a_browser_is_opened() -> None:
    assert parameters_of() == {"open_browser": True}
    assert parameters_of("--no-browser") == {"open_browser": False}


def test_options_become_parameters() -> None:
    given = parameters_of(
        *("--port", "9500", "--memory-limit", "2GB", "--max-rate", "5", "--no-page", "--force"),
        *("--record", "a.rrd", "--record", "/b c/d.mcap", "--image", "/camera/image_raw"),
    )
    assert given == {
        "open_browser": True,
        "port": 9500,
        "memory_limit": "2GB",
        "max_rate_hz": 5.0,
        "serve": False,
        "force": True,
        "record": [str(Path("a.rrd").absolute()), "/b c/d.mcap"],
        "image_topic": "/camera/image_raw",
    }


def test_every_option_is_a_parameter_of_the_node() -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    from dino_foresight_ros.nodes.view.parameters import VIEW_PARAMETERS

    parser = view.add_parser(argparse.ArgumentParser().add_subparsers())
    names = options_of(parser)
    assert {"port", "serve", "outputs"} < names
    every_nodes = {"use_sim_time"}
    assert names <= {spec.name for spec in VIEW_PARAMETERS} | every_nodes


def test_a_missing_sdk_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)  # as if it were not installed
    with pytest.raises(ForesightError, match=r"pip install 'rerun-sdk>=0\.39'$") as caught:
        rerun_sdk.load()
    assert "\n" not in str(caught.value)


@pytest.mark.process
def test_the_command_line_does_not_wait_for_the_sdk() -> None:
    code = (
        "import sys; from dino_foresight_ros.cli.main import build_parser; build_parser(); "
        "import dino_foresight_ros.view.server, dino_foresight_ros.view.blueprint; "
        "print([m for m in ('rerun', 'rclpy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "[]", done.stderr
