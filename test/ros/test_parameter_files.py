"""Which sections of a parameter file fit a node: asked of ROS itself."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from rclpy.context import Context
from rclpy.node import Node
from ros_bench import Bench

from dino_foresight_ros.ros import parameters as parameters_module
from dino_foresight_ros.ros.parameter_files import parameters_for, unused_files
from dino_foresight_ros.ros.parameters import Parameters

SECTIONS = {
    "/**": True,
    "/*": False,
    "/*/*": True,
    "forecast_node": False,  # of no namespace
    "/forecast_node": False,
    "/robot1/forecast_node": True,
    "robot1/forecast_node": True,
    "/robot1/*": True,
    "/*/forecast_node": True,
    "/**/forecast_node": True,
    "/robot1/forecast": False,
    "/robot2/forecast_node": False,
}


def section(name: str, value: int) -> str:
    return f"{name}:\n  ros__parameters:\n    x: {value}\n"


def test_sections_fit_as_ros_says(ros_domain: dict[str, str], tmp_path: Path) -> None:
    for number, (name, wanted) in enumerate(SECTIONS.items()):
        file = tmp_path / f"{number}.yaml"
        file.write_text(section(name, number))
        context = Context()
        context.init(args=["--ros-args", "--params-file", str(file)])
        try:
            node = Node("forecast_node", context=context, namespace="robot1")
            node.declare_parameter("x", -1)
            assert (node.get_parameter("x").value == number) == wanted, name
            full_name = node.get_fully_qualified_name()
            node.destroy_node()
        finally:
            context.try_shutdown()
        assert parameters_for([file], full_name) == ({"x": number} if wanted else {}), name


def test_later_files_go_over_earlier_ones_and_names_may_be_nested(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(section("/**", 1) + "    y: 2\n")
    second.write_text("robot1:\n  forecast_node:\n    ros__parameters: {x: 3}\n")
    assert parameters_for([first, second], "/robot1/forecast_node") == {"x": 3, "y": 2}
    assert parameters_for([first, second], "/forecast_node") == {"x": 1, "y": 2}


def test_a_file_for_other_nodes_is_named_with_what_would_fit(tmp_path: Path) -> None:
    mine, other, empty, broken = (tmp_path / f"{n}.yaml" for n in ("mine", "other", "no", "bad"))
    mine.write_text(section("/**", 1))
    other.write_text(section("forecast", 1) + section("/robot1/monitor_node", 2))
    empty.touch()
    broken.write_text("a: [")
    words = [w for f in (mine, other, empty, broken) for w in ("--params-file", str(f))]
    assert unused_files(["--ros-args", *words, "-p", "steps:=2"], "/forecast_node") == [
        f"parameter file {other} sets nothing for this node, /forecast_node: it is for /forecast, "
        "/robot1/monitor_node; name the section /forecast_node or /**",
        f"parameter file {empty} sets nothing for this node, /forecast_node: it is empty; name the "
        "section /forecast_node or /**",
    ]


def test_a_node_warns_of_a_file_that_sets_nothing(
    ros_domain: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: object
) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(section("forecast", 1))
    words = ("--ros-args", "--params-file", str(file))
    monkeypatch.setattr(parameters_module, "arguments_of_run", lambda: words)
    bench = Bench()
    try:
        Parameters(bench.make("forecast_node"), (), lambda: False)
    finally:
        bench.close()
    said = capfd.readouterr().err  # type: ignore[attr-defined]
    assert "[WARN]" in said
    assert f"parameter file {file} sets nothing for this node, /forecast_node" in said
