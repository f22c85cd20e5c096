"""replay.launch.py, run by the real launch system where it is installed."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from launch_processes import RUNNER, kill_all
from launch_processes import run_launch as start_launch

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
launch = pytest.importorskip("launch", reason="needs ros2/launch, which no package index has")
pytest.importorskip("launch_ros", reason="needs ros2/launch_ros, which no package index has")

TIMEOUT_S = 180.0


@pytest.fixture(scope="module")
def launch_file(project_root: Path) -> Path:
    return project_root / "launch" / "replay.launch.py"


@pytest.fixture(scope="module")
def module(launch_file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("replay_launch", launch_file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def run_launch(launch_file: Path, ros_domain: dict[str, str], tmp_path: Path) -> Any:
    """Return a function that runs the launch file to its end and returns what it printed."""

    def run(*arguments: str, **environment: str) -> str:
        process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, str(launch_file), *arguments],
            env={**ros_domain, "ROS_LOG_DIR": str(tmp_path / "log"), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            return process.communicate(timeout=TIMEOUT_S)[0]
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=20)

    return run


def test_every_parameter_of_the_node_is_a_described_argument(module: Any) -> None:
    from dino_foresight_ros.nodes.replay.parameters import REPLAY_PARAMETERS

    arguments = {argument.name: argument for argument in module.declare_arguments()}
    parameters = {spec.name for spec in REPLAY_PARAMETERS}
    # image_transport is declared by forecast.launch.py, which this one includes.
    assert parameters - set(arguments) == {"image_transport"}
    assert all(len(argument.description) > 15 for argument in arguments.values())
    assert {"bag", "shutdown_at_end"} <= set(arguments)


def test_recording_plays_into_the_forecast_and_both_end(run_launch: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(6):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((90, 160, 3), 40 * index, np.uint8))
    printed = run_launch(
        f"input:={folder}",
        "frame_rate_hz:=5.0",
        "rate:=2.0",
        "image:=/camera/image_raw",
        "namespace:=robot1",
        "device:=cpu",
    )
    assert "waiting for /robot1/forecast_node of /camera/image_raw" in printed
    assert "did not subscribe" not in printed
    assert "end of input after 6 images" in printed
    assert printed.count("process has finished cleanly") == 2, printed


def test_bad_input_ends_the_launch_with_the_reason(run_launch: Any) -> None:
    printed = run_launch("input:=/nowhere.mp4", "device:=cpu")
    assert "replay_node: /nowhere.mp4 does not exist" in printed
    assert "exit code 1" in printed
    assert "Traceback" not in printed


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """A bag of compressed pictures on /front/image_rect/compressed."""
    from dino_foresight_ros.cli.main import main

    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(6):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((90, 160, 3), 40 * index, np.uint8))
    bag = tmp_path / "bag"
    words = ["bag", "from-video", str(folder), "--frame-rate", "5", "--out", str(bag)]
    assert main([*words, "--topic", "/front/image_rect", "--compressed", "png"]) == 0
    return bag


def has_rosbag2() -> bool:
    return importlib.util.find_spec("ros2bag") is not None


@pytest.mark.skipif(has_rosbag2(), reason="rosbag2 is installed here")
def test_bag_is_played_by_replay_node_where_rosbag2_is_absent(run_launch: Any, bag: Path) -> None:
    printed = run_launch(f"bag:={bag}", "preset:=tiny-cpu", "rate:=2.0")
    assert "replay_node plays the bag: ros2 bag play is not installed" in printed
    assert "waiting for /forecast_node of /image" in printed
    assert "end of input after 6 images" in printed
    assert printed.count("process has finished cleanly") == 2, printed


@pytest.fixture
def rosbag2(tmp_path: Path) -> dict[str, str]:
    """rosbag2 is in no package index: a stand-in for `ros2` tells how it was called."""
    installed = tmp_path / "prefix" / "share" / "ament_index" / "resource_index" / "packages"
    installed.mkdir(parents=True)
    (installed / "ros2bag").touch()
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ros2").write_text('#!/bin/sh\necho "called: ros2 $*"\n')
    (programs / "ros2").chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "AMENT_PREFIX_PATH": f"{tmp_path / 'prefix'}:{os.environ['AMENT_PREFIX_PATH']}",
    }


def test_bag_is_played_by_ros2_bag_play_into_the_nodes_topic(
    run_launch: Any, bag: Path, rosbag2: dict[str, str]
) -> None:
    common = (f"bag:={bag}", "preset:=tiny-cpu", "namespace:=robot1")
    printed = run_launch(*common, "image:=seen/image", "rate:=2.0", "start_s:=1.5", **rosbag2)
    assert "listening on /robot1/seen/image (CompressedImage)" in printed
    assert printed.index("active: listening") < printed.index("called: ros2")
    assert (
        f"called: ros2 bag play {bag} --clock --rate 2.0 --start-offset 1.5 --remap "
        "/front/image_rect/compressed:=/robot1/seen/image "
        "/front/camera_info:=/robot1/seen/camera_info\n"
    ) in printed
    # What it cannot do, replay_node does.
    printed = run_launch(*common, "fov_deg:=60.0", **rosbag2)
    assert "called: ros2" not in printed
    assert "replay_node plays the bag: ros2 bag play has no fov_deg" in printed
    assert "end of input after 6 images" in printed


@pytest.fixture
def rig(tmp_path: Path) -> Path:
    """A bag of three cameras and of static transforms."""
    from dino_foresight_ros.recordings.bag_messages import typestore
    from dino_foresight_ros.recordings.bag_writer import create_bag

    bag = tmp_path / "rig"
    tf = typestore().types["tf2_msgs/msg/TFMessage"](transforms=[])
    with create_bag(bag, "mcap") as writer:
        writer.write("/tf_static", tf.__msgtype__, 1_700_000_000_000_000_000, tf, latched=True)
        for index in range(6):
            for camera in ("left", "front", "right"):
                image = np.full((90, 160, 3), 40 * index, np.uint8)
                stamp_ns = 1_700_000_000_000_000_000 + index * 200_000_000
                writer.write_image(f"/rig/{camera}/image_raw", image, stamp_ns, camera)
    return bag


def test_cameras_of_a_bag_are_found_by_name_and_only_those_are_played(
    run_launch: Any, rig: Path
) -> None:
    printed = run_launch(f"input:={rig}", "cameras:=front,left", "device:=cpu", "rate:=2.0")
    for camera in ("front", "left"):
        assert f"listening on /rig/{camera}/image_raw (Image)" in printed
    assert "as recorded, /rig/front/image_raw, /rig/left/image_raw" in printed
    # Played too, or named as skipped where tf2_msgs is not installed; the third camera is neither.
    assert "/tf_static" in printed
    assert "/rig/right" not in printed
    assert "end of input after 12 images" in printed
    assert printed.count("process has finished cleanly") == 2, printed


def test_cameras_and_transforms_are_played_by_ros2_bag_play(
    run_launch: Any, rig: Path, rosbag2: dict[str, str]
) -> None:
    printed = run_launch(f"bag:={rig}", "cameras:=front,left", "device:=cpu", **rosbag2)
    assert "listening on /rig/left/image_raw (Image)" in printed
    topics = "/rig/front/image_raw /rig/left/image_raw /tf_static"
    assert f"called: ros2 bag play {rig} --clock --topics {topics}\n" in printed
    assert "replay_node" not in printed


def test_one_interrupt_ends_everything_while_a_bag_is_played(
    launch_file: Path,
    ros_domain: dict[str, str],
    rig: Path,
    rosbag2: dict[str, str],
    tmp_path: Path,
) -> None:
    """Ctrl-C in a terminal reaches the player too, which then ends by itself."""
    player = tmp_path / "bin" / "ros2"
    player.write_text('#!/bin/sh\ntrap "exit 0" INT\necho "called: ros2 $*"\n'
                      "while :; do sleep 0.1; done\n")  # fmt: skip
    environment = {**ros_domain, "ROS_LOG_DIR": str(tmp_path / "log"), **rosbag2}
    arguments = (f"bag:={rig}", "cameras:=front,left", "preset:=tiny-cpu", "rviz:=true")
    running = start_launch(launch_file, environment, *arguments)
    try:
        assert running.stdout is not None
        lines = []
        for line in running.stdout:
            lines.append(line)
            if "called: ros2" in line:
                break
        else:
            pytest.fail("".join(lines))
        os.killpg(running.pid, signal.SIGINT)
        rest, _ = running.communicate(timeout=60)
    finally:
        kill_all(running)
    assert running.returncode == 0, rest
    assert "adapter" not in rest
    assert "Traceback" not in rest
    assert rest.count("process has finished cleanly") == 4, rest  # player, forecast, two overlays


@pytest.mark.parametrize(
    ("arguments", "frame"),
    [
        (["input:={rig}", "cameras:=left,front"], "left"),
        (["bag:={rig}", "cameras:=right"], "right"),
        (["input:={rig}", "topic:=rig/right/image_raw"], "right"),
        (["input:={rig}", "topic:=/rig/right/image_raw", "frame_id:=mine"], "mine"),
        (["input:={rig}", "cameras:=left", "frame_id:=mine"], "left"),
        (["input:={rig}", "cameras:=left", "fixed_frame:=map"], "map"),
        (["input:=/drive.mp4"], "camera_optical_frame"),
        (["input:=/drive.mp4", "rviz:=false"], ""),
    ],
)
def test_fixed_frame_is_that_of_the_first_images_unless_given(
    module: Any, rig: Path, arguments: list[str], frame: str
) -> None:
    context = launch.LaunchContext()
    context.launch_configurations["rviz"] = "true"
    for name, value in (word.format(rig=rig).split(":=") for word in arguments):
        context.launch_configurations[name] = value
    for action in module.prepare(context):
        action.execute(context)
    assert context.launch_configurations.get("fixed_frame", "") == frame
    # A frame that was found, not given, is the camera's.
    is_found = frame and not any("fixed_frame" in word for word in arguments)
    assert context.launch_configurations.get("rviz_view", "") == ("camera" if is_found else "")


def test_a_camera_that_the_bag_lacks_ends_the_launch_with_those_it_has(
    run_launch: Any, rig: Path
) -> None:
    printed = run_launch(f"input:={rig}", "cameras:=front,top", "device:=cpu")
    assert "has no camera top; its cameras: front, left, right" in printed
    assert "process started" not in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give either input:=VIDEO_FOLDER_OR_BAG or bag:=BAG"),
        (["bag:=/nowhere", "input:=/nowhere"], "give either input:=VIDEO_FOLDER_OR_BAG or bag:="),
    ],
)
def test_not_exactly_one_recording_ends_the_launch_at_once(
    run_launch: Any, arguments: list[str], reason: str
) -> None:
    printed = run_launch(*arguments)
    assert reason in printed
    assert "process started" not in printed
    assert "Traceback" not in printed
