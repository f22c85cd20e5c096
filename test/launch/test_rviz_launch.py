"""forecast.launch.py rviz:=true, with a program in rviz2's place that subscribes as it does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("launch", reason="needs ros2/launch, which no package index has")
pytest.importorskip("launch_ros", reason="needs ros2/launch_ros, which no package index has")

from forecast_peers import START_TIMEOUT_S, Client
from launch_processes import kill_all, run_launch

# Prints its arguments and, for every topic of the file, the one that it really subscribes to.
RVIZ = """#!{python}
import re, sys
from pathlib import Path
import rclpy
print("ARGUMENTS", *sys.argv[1 : sys.argv.index("--ros-args")], flush=True)
rclpy.init()
node = rclpy.create_node("rviz2")
text = Path(sys.argv[sys.argv.index("-d") + 1]).read_text()
for topic in sorted(set(re.findall(r"(?:Value|Topic): (/\\S+)", text))):
    print("SHOWS", topic, node.resolve_topic_name(topic), flush=True)
calibration = "/foresight/step_1/camera_info"
print("SHOWS", calibration, node.resolve_topic_name(calibration), flush=True)
print("SHOWS everything", flush=True)
"""


@pytest.fixture
def environment(ros_domain: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """An environment in which a package rviz2 is installed."""
    prefix = tmp_path / "rviz2"
    index = prefix / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    (index / "rviz2").touch()
    program = prefix / "lib" / "rviz2" / "rviz2"
    program.parent.mkdir(parents=True)
    program.write_text(RVIZ.format(python=sys.executable))
    program.chmod(0o755)
    prefixes = f"{prefix}{os.pathsep}{ros_domain.get('AMENT_PREFIX_PATH', '')}"
    return {**ros_domain, "ROS_LOG_DIR": str(tmp_path / "log"), "AMENT_PREFIX_PATH": prefixes}


def shown_topics(launched: subprocess.Popen[str]) -> tuple[str, dict[str, str]]:
    """What rviz2 was started with, and its topics by those of the file."""
    assert launched.stdout is not None
    arguments, topics = "", {}
    for line in launched.stdout:
        if "ARGUMENTS" in line:
            arguments = line
        elif "SHOWS everything" in line:
            return arguments, topics
        elif "[rviz2-" in line and "has died" in line:
            break
        elif found := re.search(r"SHOWS (\S+) (\S+)", line):
            topics[found[1]] = found[2]
    pytest.fail("rviz2 did not start")


def published_topics(client: Client, wanted: set[str]) -> set[str]:
    """Those of the wanted topics that somebody publishes, once all of them are or time is up."""
    deadline = time.monotonic() + START_TIMEOUT_S
    missing = set(wanted)
    while missing and time.monotonic() < deadline:
        client.spin_until(lambda: False, 0.2)
        missing = {topic for topic in missing if not client.node.count_publishers(topic)}
    return wanted - missing


@pytest.mark.parametrize(
    ("arguments", "outputs", "shown"),
    [
        (
            ["namespace:=robot1", "image:=cam/image_raw", "fixed_frame:=map"],
            "/robot1",
            "map_view.rviz -f map",
        ),
        (["image:=/cam/image_raw"], "", "forecast.rviz"),
        (
            [
                "namespace:=robot1",
                "cameras:=left,right",
                "camera_topic:={camera}/image_rect/compressed",
                "image_transport:=compressed",
                "fixed_frame:=left",
                "rviz_view:=camera",
            ],
            "/robot1/left",
            "forecast.rviz -f left",
        ),
    ],
)
def test_rviz_shows_what_the_nodes_publish(
    project_root: Path,
    environment: dict[str, str],
    arguments: list[str],
    outputs: str,
    shown: str,
) -> None:
    file = project_root / "launch" / "forecast.launch.py"
    extra = ["preset:=tiny-cpu", "rviz:=true", "monitor:=true"]
    launched = run_launch(file, environment, *extra, *arguments)
    client = Client("rviz_launch_client")
    try:
        said, topics = shown_topics(launched)
        assert f"/config/{shown}\n" in f"{said.rstrip()}\n"
        lidar = topics.pop("/lidar_top", "/lidar_top")  # the recording's, whichever camera is shown
        assert lidar == "/lidar_top"
        # Whatever transport the camera's own pictures have.
        now = "/foresight/step_0/image_color"
        assert topics[now] == f"{outputs}{now}"
        assert topics["/foresight/step_1/camera_info"] == f"{outputs}/foresight/step_1/camera_info"
        assert len(topics) >= 12
        # Those of forecast, overlay and monitor node alike; nothing that a camera publishes.
        # Obstacles come from obstacle_node, which has a launch file of its own.
        wanted = {topic for topic in topics.values() if "/obstacles/" not in topic}
        assert published_topics(client, wanted) == wanted
        if outputs == "/robot1/left":
            other = {"/robot1/right/foresight/markers"}
            assert published_topics(client, other) == other
    finally:
        client.close()
        kill_all(launched)
