"""Nodes start where no log file can be written, and say so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.ros.environment import (
    check_domain,
    check_middleware,
    log_folder,
    logging_arguments,
)

NODE = """
import sys
from rclpy.node import Node
from dino_foresight_ros.ros.node_main import finish, run_node
class Hello(Node):
    def __init__(self):
        super().__init__("hello")
        self.get_logger().info("alive")
        self.create_timer(0.1, finish)
sys.exit(run_node(Hello, sys.argv[1:]))
"""
VARIABLES = ("HOME", "ROS_HOME", "ROS_LOG_DIR")


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", NODE, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "HOME is not set"),
        ({"HOME": "/proc/nowhere"}, "/proc/nowhere/.ros/log: No such file or directory"),
        ({"ROS_LOG_DIR": "/proc/nowhere"}, "/proc/nowhere: No such file or directory"),
        ({"ROS_HOME": "/dev/null"}, "/dev/null/log: Not a directory"),
    ],
)
def test_node_runs_without_log_files_and_says_so(
    ros_domain: dict[str, str], variables: dict[str, str], reason: str
) -> None:
    environment = {k: v for k, v in ros_domain.items() if k not in VARIABLES} | variables
    done = run(environment, "--ros-args", "-p", "x:=1")
    assert done.returncode == 0, done.stderr
    assert f"no log file is written ({reason}); set ROS_LOG_DIR" in done.stderr
    assert "alive" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_log_files_are_written_where_they_can_be(
    ros_domain: dict[str, str], tmp_path: Path
) -> None:
    done = run({**ros_domain, "ROS_LOG_DIR": str(tmp_path / "new" / "log")})
    assert done.returncode == 0, done.stderr
    assert "no log file" not in done.stderr
    (file,) = (tmp_path / "new" / "log").iterdir()
    assert "alive" in file.read_text()


def test_folder_is_the_one_that_ros_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert log_folder() is None
    monkeypatch.setenv("HOME", str(tmp_path))
    assert log_folder() == tmp_path / ".ros" / "log"
    monkeypatch.setenv("ROS_HOME", str(tmp_path / "ros"))
    assert log_folder() == tmp_path / "ros" / "log"
    monkeypatch.setenv("ROS_LOG_DIR", "~/logs")
    assert log_folder() == tmp_path / "logs"
    assert logging_arguments() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_user_without_rights_or_home_runs_a_node(ros_domain: dict[str, str]) -> None:
    environment = {k: v for k, v in ros_domain.items() if k not in VARIABLES}
    words = [sys.executable, "-c", NODE]
    try:
        done = subprocess.run(
            words, env=environment, user=65534, group=65534, capture_output=True, text=True, cwd="/"
        )
    except PermissionError:
        pytest.skip("other users may not run this Python")
    assert done.returncode == 0, done.stderr
    assert "alive" in done.stderr


@pytest.mark.parametrize("text", ["233", "-1", "abc", "1.5"])
def test_a_domain_that_is_none_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=rf"^ROS_DOMAIN_ID={text}: give 0 to 232"):
        check_domain({"ROS_DOMAIN_ID": text})


def test_a_domain_that_is_one_or_unset_is_taken() -> None:
    for text in ("0", "42", "232", "", " 7"):
        check_domain({"ROS_DOMAIN_ID": text})
    check_domain({})


@pytest.mark.process
def test_nodes_say_what_is_wrong_with_the_environment_in_one_line() -> None:
    for name, value in (("RMW_IMPLEMENTATION", "rmw_none_cpp"), ("ROS_DOMAIN_ID", "500")):
        done = subprocess.run(
            [sys.executable, "-m", "dino_foresight_ros.nodes.replay.node"],
            env=os.environ | {name: value},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert f"node: {name}={value}" in line


def test_a_middleware_that_is_not_installed_is_refused_with_those_that_are(tmp_path: Path) -> None:
    index = tmp_path / "b" / "share" / "ament_index" / "resource_index" / "rmw_typesupport"
    index.mkdir(parents=True)
    for name in ("rmw_implementation", "rmw_one_cpp", "rmw_two_cpp"):
        (index / name).touch()
    variables = {"AMENT_PREFIX_PATH": f"{tmp_path / 'a'}:{tmp_path / 'b'}"}
    for name in ("rmw_two_cpp", ""):
        check_middleware(variables | {"RMW_IMPLEMENTATION": name})
    check_middleware({"RMW_IMPLEMENTATION": "rmw_none_cpp"})  # nobody knows what is installed
    with pytest.raises(UsageError, match=r"installed: rmw_one_cpp, rmw_two_cpp"):
        check_middleware(variables | {"RMW_IMPLEMENTATION": "rmw_none_cpp"})
