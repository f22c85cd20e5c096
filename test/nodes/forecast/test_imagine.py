"""foresight/imagine and the motion of the robot over DDS: real Odometry, Path and Imagine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

import pytest
import torch
from micro_bundle import make_micro_bundle

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from forecast_peers import (
    INTERVAL_NS,
    Client,
    NodeProcess,
    header_at,
    newest_is_forecast,
    picture,
    stamp_of,
    values_of,
)
from geometry_msgs.msg import Pose, PoseStamped, Twist, Vector3
from nav_msgs.msg import Odometry, Path
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.parameter import Parameter
from ros_bench import wait_until
from sensor_msgs.msg import CameraInfo

from dino_foresight_ros import msg as messages
from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster
from dino_foresight_ros.msg import Candidate
from dino_foresight_ros.ros.planar import planar_pose, pose_message
from dino_foresight_ros.runtime.candidate import twist_motions
from dino_foresight_ros.srv import Imagine

pytestmark = pytest.mark.process
SERVICE = "foresight/imagine"
INFO = CameraInfo(
    width=200,
    height=120,
    k=[100.0, 0.0, 99.5, 0.0, 100.0, 59.5, 0.0, 0.0, 1.0],
    p=[100.0, 0.0, 99.5, 0.0, 0.0, 100.0, 59.5, 0.0, 0.0, 0.0, 1.0, 0.0],
)


def PARAMETERS(folder: FilePath) -> tuple[str, ...]:  # noqa: N802 - of the fixture `node`
    """Of a node whose small bundle takes motion."""
    config = WorldConfig(
        channels=30, width=24, layers=1, heads=2, rope=(4, 4, 4), motion="blocks",
        motion_speeds=(5.0, 0.5, 0.5),
    )  # fmt: skip
    torch.manual_seed(0)
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    forecaster.initialise(block_scale=0.5)
    for name, parameter in forecaster.named_parameters():
        if name.startswith("motion."):  # as after a training: motion makes a difference
            torch.nn.init.normal_(parameter, std=0.5)
    bundle = replace(make_micro_bundle(), forecaster=forecaster)
    path = bundle.save(folder / "world")
    return (
        f"bundle:={path}",
        "device:=cpu",
        "dtype:=float32",
        "horizons_s:=[0.2, 0.5]",
        "camera_mounts:=[0.2, 0.0, 1.4, 0.0, 5.0, 0.0]",
        "footprint:=[-0.5, -0.5, 1.0, -0.5, 1.0, 0.5, -0.5, 0.5]",
        "stream_timeout_s:=600.0",  # pictures come while a test wants them
    )


class Robot:
    """A client with odometry, a plan and a calibration."""

    def __init__(self, client: Client) -> None:
        self.client, node = client, client.node
        self.odometry = node.create_publisher(Odometry, "odom", 10)
        self.plan = node.create_publisher(Path, "plan", 1)
        self.info = node.create_publisher(CameraInfo, "camera_info", 1)
        self.now_ns = time.time_ns() // INTERVAL_NS * INTERVAL_NS

    def drive(self, speed: float = 2.0, yaw_rate: float = 0.0, **changes: Any) -> None:
        """A frame of the camera with the odometry around it."""
        self.now_ns += INTERVAL_NS
        for back_ns in (INTERVAL_NS // 2, 0):
            stamp_ns = self.now_ns - back_ns
            driven = speed * (stamp_ns % 10**11) / 1e9
            message = Odometry(header=header_at(stamp_ns), child_frame_id="base_link")
            message.header.frame_id = "odom"
            message.pose.pose = pose_message((driven, 5.0, 0.0))
            message.twist.twist = twist(speed, yaw_rate)
            for name, value in changes.items():
                setattr(message, name, value)
            self.odometry.publish(message)
        self.info.publish(INFO)
        self.client.publish(self.now_ns)
        self.client.spin_for(0.05)

    def drive_until(self, condition: Callable[[], bool], **changes: Any) -> None:
        def holds() -> bool:
            if not condition():
                self.drive(**changes)
            return condition()

        assert wait_until(holds)

    def call(self, *candidates: Candidate, **more: Any) -> Imagine.Response:
        request = Imagine.Request(**{"candidates": list(candidates), **more})
        return self.client.call(Imagine, SERVICE, request)

    def set(self, name: str, value: Any) -> None:
        """Set a parameter of the node."""
        parameter = Parameter(name, value=value).to_parameter_msg()
        request = SetParametersAtomically.Request(parameters=[parameter])
        service = "forecast_node/set_parameters_atomically"
        assert self.client.call(SetParametersAtomically, service, request).result.successful


def twist(speed: float, yaw_rate: float) -> Twist:
    return Twist(linear=Vector3(x=speed), angular=Vector3(z=yaw_rate))


def arc(speed: float, yaw_rate: float) -> Candidate:
    return Candidate(twist=twist(speed, yaw_rate), duration=10.0)


def path(frame: str, *poses: tuple[int, tuple[float, float, float]]) -> Path:
    """Of stamps and poses."""
    found = Path()
    found.header.frame_id = frame
    for stamp_ns, pose in poses:
        found.poses.append(PoseStamped(header=header_at(stamp_ns), pose=pose_message(pose)))
    return found


@pytest.fixture(scope="module")
def robot(_client: Client, node: NodeProcess) -> Iterator[Robot]:
    """One whose camera has filled the node's context."""
    _client.wait_until_heard(node)
    robot = Robot(_client)
    assert _client.spin_until(lambda: robot.odometry.get_subscription_count() > 0)
    assert _client.spin_until(lambda: robot.info.get_subscription_count() > 0)
    early = robot.call(arc(1.0, 0.0))
    assert not early.success
    assert "no frame" in early.message or "context has" in early.message
    forecasts = _client.subscribe(messages.Forecast, "foresight/forecast")
    robot.drive_until(lambda: newest_is_forecast(_client, forecasts))
    return robot


def test_candidates_are_ranked_by_what_their_own_views_show(robot: Robot):
    ways = [(2.0, 0.4), (2.0, 0.0), (2.0, -0.4), (0.0, 0.0)]
    response = robot.call(*(arc(*way) for way in ways), maps=True, points=True)
    assert response.success, response.message
    assert response.motion_aware
    assert not response.trained
    assert sorted(response.ranking) == [0, 1, 2, 3]
    totals = [response.scores[index].total for index in response.ranking]
    assert totals == sorted(totals)
    assert stamp_of(response.header.stamp) == robot.now_ns
    assert response.header.frame_id == "base_link"
    assert response.scores[response.ranking[0]].reason == ""
    for way, score in zip(ways, response.scores, strict=True):
        assert [round(h.horizon, 3) for h in score.horizons] == [0.2, 0.5]
        expected = twist_motions((way[0], 0.0, way[1]), 10.0, [0.2, 0.5])
        for horizon, motion in zip(score.horizons, expected, strict=True):
            assert planar_pose(horizon.pose) == pytest.approx(tuple(motion), abs=1e-5)
            assert 0 <= horizon.probability_occupied <= 1
            assert (horizon.depth.height, horizon.depth.width) == (32, 48)
            assert horizon.segmentation.header.frame_id == "cam"
        weighted = sum(
            weight * getattr(score, f"cost_{name}")
            for weight, name in zip(
                response.weights, ("occupied", "distance", "unknown", "progress"), strict=True
            )
        )
        assert score.total == pytest.approx(weighted, abs=1e-4)
    depths = {bytes(score.horizons[1].depth.data) for score in response.scores}
    assert len(depths) == 4  # each sees its own


def test_path_is_the_same_as_the_twist_that_it_samples_whatever_its_frame(robot: Robot):
    times_s = [0.1, 0.3, 0.6]
    motions = twist_motions((2.0, 0.0, 0.4), 10.0, times_s)
    stamps = [robot.now_ns + round(t * 1e9) for t in times_s]
    driven = 2.0 * (robot.now_ns % 10**11) / 1e9  # the base in odom now, see Robot.drive
    in_odom = [(x + driven, y + 5.0, a) for x, y, a in motions]
    response = robot.call(
        arc(2.0, 0.4),
        Candidate(path=path("base_link", *zip(stamps, motions, strict=True))),
        Candidate(path=path("odom", *zip(stamps, in_odom, strict=True))),
        horizons=[0.2, 0.5],
    )
    assert response.success, response.message
    for score in response.scores[1:]:
        assert score.total == pytest.approx(response.scores[0].total, abs=1e-3)
        for one, other in zip(score.horizons, response.scores[0].horizons, strict=True):
            assert planar_pose(one.pose) == pytest.approx(planar_pose(other.pose), abs=1e-3)


def bad_requests(now_ns: int) -> list[tuple[str, dict[str, Any]]]:
    past, before, ahead, later, last = (now_ns + k * 10**9 for k in (-2, -1, 1, 2, 3))
    pose = (1.0, 0.0, 0.0)
    broken = path("base_link", (ahead, pose), (later, pose))
    broken.poses[0].pose = Pose()
    broken.poses[0].pose.orientation.w = 0.0

    def of(found: Path) -> dict[str, Any]:
        return {"candidates": [arc(1.0, 0.0), Candidate(path=found)]}

    return [
        ("0 candidates are given; give 1 to 1024", {"candidates": []}),
        ("10000 candidates are given", {"candidates": [Candidate()] * 10_000}),
        ("candidate 1: its path has 1 pose", of(path("base_link", (ahead, pose)))),
        (
            "candidate 1: the stamps of its path go backwards at pose 2",
            of(path("base_link", (ahead, pose), (last, pose), (later, pose))),
        ),
        (
            "candidate 1: frame mars is unknown",
            of(path("mars", (ahead, pose), (later, pose))),
        ),
        ("candidate 1: a pose has an orientation of length 0", of(broken)),
        ("candidate 0: its twist is held for 0 s", {"candidates": [Candidate()]}),
        (
            "candidate 0: its twist or duration is not a finite number",
            {"candidates": [arc(math.nan, 0.0)]},
        ),
        ("horizons 0.5, 0.2 s must rise", {"horizons": [0.5, 0.2]}),
        ("17 horizons are given; give 1 to 16", {"horizons": [0.1 * k for k in range(1, 18)]}),
        ("horizons nan, 0.5 s are not all above 0", {"horizons": [math.nan, 0.5]}),
        ("horizons 0, 0.5 s are not all above 0", {"horizons": [0.0, 0.5]}),
        ("weights [1.0] must be 4 numbers", {"weights": [1.0]}),
        ("must be 4 numbers from 0 up", {"weights": [1.0, math.nan, 0.0, 0.0]}),
        (
            "candidate 1: its path ended before the newest frame",
            of(path("base_link", (past, pose), (before, pose))),
        ),
        (
            "candidate 1: a pose has a number that is not finite",
            of(path("base_link", (ahead, pose), (later, (math.nan, 0.0, 0.0)))),
        ),
        (
            "candidate 0: its twist or duration is not a finite number",
            {"candidates": [Candidate(twist=twist(1.0, 0.0), duration=math.inf)]},
        ),
        ("candidate 0: its twist turns by 100 rad/s", {"candidates": [arc(1.0, 100.0)]}),
        (
            "maps or points of 65 candidates are asked for",
            {"candidates": [arc(1.0, 0.0)] * 65, "maps": True},
        ),
    ]


@pytest.mark.parametrize("number", range(19))
def test_request_that_cannot_be_answered_gets_one_line_and_the_node_lives_on(
    robot: Robot, number: int
):
    said, request = bad_requests(robot.now_ns)[number]
    response = robot.call(**{"candidates": [arc(1.0, 0.0)], **request})
    assert not response.success
    assert said in response.message
    assert "\n" not in response.message
    assert robot.call(arc(1.0, 0.0)).success


def test_picture_that_is_old_is_not_imagined_from(robot: Robot):
    robot.set("stream_timeout_s", 0.2)
    assert wait_until(lambda: not robot.call(arc(1.0, 0.0)).success)
    said = robot.call(arc(1.0, 0.0)).message
    assert "its newest picture is" in said
    assert "stream_timeout_s is 0.2 s" in said
    assert "\n" not in said
    statuses = robot.client.subscribe(DiagnosticArray, "/diagnostics")
    statuses.clear()
    assert robot.client.spin_until(lambda: bool(statuses))
    assert "refused: its newest picture is" in values_of(statuses[-1])["imagine"]
    robot.set("stream_timeout_s", 600.0)
    assert robot.call(arc(1.0, 0.0)).success


def test_candidate_faster_than_the_training_is_answered_and_marked(robot: Robot):
    response = robot.call(arc(2.0, 0.1), arc(20.0, 0.0), arc(1.0, 2.0), arc(1.0, 4 * math.pi))
    assert response.success, response.message
    assert response.camera == ""  # the only one, which has no name
    marks = [[h.outside_trained_range for h in score.horizons] for score in response.scores]
    assert marks == [[False, False], [True, True], [True, True], [True, True]]


def test_frames_are_forecast_while_many_candidates_are_judged(robot: Robot):
    forecasts = robot.client.subscribe(messages.Forecast, "foresight/forecast")
    robot.drive_until(lambda: bool(forecasts))
    request = Imagine.Request(candidates=[arc(2.0, 0.001 * k) for k in range(64)])
    future = robot.client.caller(Imagine, SERVICE).call_async(request)
    before = len(forecasts)
    robot.drive_until(future.done)
    assert future.result().success, future.result().message
    assert len(future.result().scores) == 64
    assert robot.client.spin_until(lambda: len(forecasts) > before)


def test_goal_picture_counts_as_progress_and_one_that_is_none_is_named(
    robot: Robot, tmp_path: FilePath
):
    def set_goal(path: FilePath | str) -> None:
        robot.set("goal_image", str(path))

    ways = [arc(2.0, 0.4), arc(2.0, -0.4), arc(0.5, 0.0)]
    before = [score.cost_progress for score in robot.call(*ways).scores]
    cv2.imwrite(str(tmp_path / "goal.png"), picture(robot.now_ns)[..., ::-1])
    set_goal(tmp_path / "goal.png")
    response = robot.call(*ways)
    assert response.success, response.message
    assert response.goal_picture
    after = [score.cost_progress for score in response.scores]
    assert before[:2] == pytest.approx([0.0, 0.0], abs=1e-5)  # as far as each other
    assert min(after) > 0.2  # random weights lead nowhere near the picture
    for path, said in ((tmp_path / "no.png", "cannot be read"), (FilePath(__file__), "no picture")):
        set_goal(path)
        response = robot.call(*ways)
        assert not response.success
        assert said in response.message
    set_goal("")
    assert not robot.call(*ways).goal_picture
    assert [s.cost_progress for s in robot.call(*ways).scores] == pytest.approx(before, abs=0.1)


def drive_until_told(robot: Robot, text: str, **changes: Any) -> None:
    """Until diagnostics say so of the motion, with such odometry."""
    statuses = robot.client.subscribe(DiagnosticArray, "/diagnostics")
    statuses.clear()
    robot.drive_until(
        lambda: bool(statuses) and text in values_of(statuses[-1]).get("motion", ""), **changes
    )


def test_odometry_that_cannot_be_believed_is_left_out_and_said(robot: Robot, node: NodeProcess):
    drive_until_told(robot, "hold")
    drive_until_told(robot, "base_link", child_frame_id="wheel")
    assert "without motion: " in node.text
    drive_until_told(robot, "hold")
    assert "forecasts know the motion again" in node.text
    drive_until_told(robot, "not finite", speed=math.nan)
    drive_until_told(robot, "hold")
