"""plan_node beside a peer that offers foresight/imagine and knows the world exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

import rclpy
from forecast_peers import header_at, stamp_of
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros_bench import TIMEOUT_S, close_node, wait_until
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker, MarkerArray

from dino_foresight_ros.msg import CandidateHorizon, CandidateScore, Labels
from dino_foresight_ros.nodes.plan import node as plan_node
from dino_foresight_ros.nodes.plan.node import PlanNode
from dino_foresight_ros.recordings.image_decoding import ImageDecoder
from dino_foresight_ros.ros.forecast_sources import ForecastSource
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.planar import planar_pose, planar_twist, pose_message
from dino_foresight_ros.ros.qos import latched_qos
from dino_foresight_ros.runtime.candidate import twist_motions
from dino_foresight_ros.srv import Imagine

HORIZONS_S = (0.5, 1.0, 2.0)
STAMP_NS = 1_700_000_000_000_000_000


class ImaginePeer(Node):
    """Answers for a world with one round obstacle; `context` says why it cannot, when set."""

    def __init__(self) -> None:
        super().__init__("imagine_peer", use_global_arguments=False)
        self.obstacle: tuple[float, float, float] | None = None  # x, y, radius
        self.problem = ""
        self.requests: list[Imagine.Request] = []
        self.create_service(Imagine, "foresight/imagine", self.answer)
        self.odometry = self.create_publisher(Odometry, "odom", 5)
        self.goals = self.create_publisher(PoseStamped, "goal_pose", 1)
        labels = self.create_publisher(Labels, "foresight/labels", latched_qos())
        labels.publish(
            Labels(names=["road", "car"], palette=[128, 64, 128, 0, 0, 142], unlabelled=255)
        )

    def answer(self, request: Imagine.Request, response: Imagine.Response) -> Imagine.Response:
        self.requests.append(request)
        if self.problem:
            return Imagine.Response(success=False, message=self.problem)
        response.success = response.motion_aware = response.trained = True
        response.header = header_at(STAMP_NS)
        response.header.frame_id = "base_link"
        response.weights = [4.0, 1.0, 0.5, 1.0]
        response.scores = [self.score(k, c, request.maps) for k, c in enumerate(request.candidates)]
        response.ranking = [int(k) for k in np.argsort([s.total for s in response.scores])]
        return response

    def score(self, index: int, candidate: object, maps: bool) -> CandidateScore:
        motions = twist_motions(planar_twist(candidate.twist), 99.0, np.linspace(0.05, 2.0, 40))
        meets = 0.0
        if self.obstacle is not None:
            x, y, radius = self.obstacle
            meets = float((np.hypot(motions[:, 0] - x, motions[:, 1] - y) < radius).any())
        found = CandidateScore(index=index, total=4 * meets, cost_occupied=meets)
        found.time_to_contact = 1.0 if meets else math.inf
        found.reason = "meets car in 1.0 s (probability 1.00)" if meets else ""
        for horizon_s in HORIZONS_S:
            motion = twist_motions(planar_twist(candidate.twist), 99.0, [horizon_s])[0]
            one = CandidateHorizon(horizon=horizon_s, probability_occupied=meets)
            one.pose, one.class_id, one.class_name = pose_message(motion), 1, "car"
            if maps:
                ids = np.full((8, 16), int(meets), np.uint8)
                one.segmentation = image_to_msg(ids, "mono8", header_at(STAMP_NS))
            found.horizons.append(one)
        return found


class World:
    """Both nodes, spun together, and what the planner published."""

    def __init__(self, planner: PlanNode, peer: ImaginePeer) -> None:
        self.planner, self.peer = planner, peer
        self.executor = SingleThreadedExecutor()
        for node in (planner, peer):
            self.executor.add_node(node)
        self.paths: list[Path] = []
        self.markers: list[MarkerArray] = []
        peer.create_subscription(Path, "foresight/best_path", self.paths.append, 5)
        peer.create_subscription(MarkerArray, "foresight/candidates", self.markers.append, 5)

    def spin_until(self, condition: object) -> None:
        def holds() -> bool:
            self.executor.spin_once(timeout_sec=0.02)
            return bool(condition())  # type: ignore[operator]

        assert wait_until(holds, TIMEOUT_S)

    def plan(self) -> Path:
        """The next plan that was begun from now on."""
        asked = len(self.peer.requests) + 3
        self.spin_until(lambda: len(self.peer.requests) >= asked)
        self.paths.clear()
        self.markers.clear()
        self.spin_until(lambda: self.paths and self.markers)
        return self.paths[-1]

    def go_to(self, frame: str, pose: tuple[float, float, float]) -> None:
        goal = PoseStamped(header=header_at(STAMP_NS), pose=pose_message(pose))
        goal.header.frame_id = frame
        before = self.planner.goal
        self.peer.goals.publish(goal)
        self.spin_until(lambda: self.planner.goal is not before)


@pytest.fixture(scope="module")
def world(ros_domain: dict[str, str]) -> Iterator[World]:
    words = ("rate_hz:=20.0", "max_speed_mps:=3.0", "candidates:=24", "rounds:=3")
    rclpy.init(args=["--ros-args", *(w for p in words for w in ("-p", p))])
    peer = ImaginePeer()
    planner = PlanNode()
    found = World(planner, peer)
    yield found
    found.executor.shutdown()
    close_node(planner)
    close_node(peer)
    rclpy.shutdown()


@pytest.fixture(autouse=True)
def _empty(world: World) -> None:
    world.peer.obstacle, world.peer.problem, world.planner.goal = None, "", None


def end_of(path: Path) -> tuple[float, float, float]:
    return planar_pose(path.poses[-1].pose)


def test_without_goal_and_obstacle_the_best_is_straight_on_at_full_speed(world: World):
    path = world.plan()
    x, y, yaw = end_of(path)
    assert (x, abs(y), abs(yaw)) == pytest.approx((6.0, 0.0, 0.0), abs=0.3)
    assert path.header.frame_id == "base_link"
    assert [stamp_of(p.header.stamp) - STAMP_NS for p in path.poses] == [
        0, 500_000_000, 1_000_000_000, 2_000_000_000
    ]  # fmt: skip
    assert planar_pose(path.poses[0].pose) == (0.0, 0.0, 0.0)


def test_an_obstacle_is_gone_round_and_losers_say_what_they_meet(world: World):
    world.peer.obstacle = (4.0, 0.0, 1.2)
    x, y, _ = end_of(world.plan())
    assert np.hypot(x, y) > 3.0
    assert abs(y) > 1.0
    markers = world.markers[-1].markers
    lines = [m for m in markers if m.type == Marker.LINE_STRIP and m.action == Marker.ADD]
    assert len(lines) == 24
    assert len({line.id for line in lines}) == 24
    best, other = lines[0], next(line for line in lines if line.color.r > 0.9)
    assert best.scale.x > other.scale.x
    assert best.color.g > 0.9
    texts = [m.text for m in markers if m.type == Marker.TEXT_VIEW_FACING]
    assert any("meets car" in text for text in texts)
    assert len(set(texts)) == len(texts) <= 3


def test_the_goal_is_reached_for_in_the_frame_of_the_odometry_too(world: World):
    odometry = Odometry(header=header_at(STAMP_NS), child_frame_id="base_link")
    odometry.header.frame_id = "odom"
    odometry.pose.pose = pose_message((10.0, 0.0, math.radians(90)))  # looks along y of odom
    world.spin_until(lambda: world.peer.odometry.get_subscription_count())
    world.peer.odometry.publish(odometry)
    world.go_to("odom", (8.0, 4.0, 0.0))  # 4 m ahead and 2 m to the left
    x, y, _ = end_of(world.plan())
    assert np.hypot(x - 4.0, y - 2.0) < 0.6


def test_goal_of_an_unknown_frame_is_said_once_and_the_next_goal_taken(
    world: World, capfd: pytest.CaptureFixture[str]
):
    world.go_to("mars", (8.0, 4.0, 0.0))
    asked = len(world.peer.requests) + 3
    world.spin_until(lambda: len(world.peer.requests) >= asked)
    assert capfd.readouterr().err.count("frame mars is unknown") == 1
    world.go_to("base_link", (3.0, 1.0, 0.0))
    x, y, _ = end_of(world.plan())
    assert np.hypot(x - 3.0, y - 1.0) < 0.6


def test_answer_that_there_is_none_is_said_once_and_planning_goes_on(
    world: World, capfd: pytest.CaptureFixture[str]
):
    for filled in range(1, 4):
        world.peer.problem = f"nothing can be forecast yet: the context has {filled}/4 frames"
        asked = len(world.peer.requests) + 2
        world.spin_until(lambda n=asked: len(world.peer.requests) >= n)
    assert capfd.readouterr().err.count("no plan: nothing can be forecast yet") == 1
    world.peer.problem = ""
    world.plan()


def test_imagined_views_of_the_best_and_of_the_worst_are_drawn_side_by_side(world: World):
    world.peer.obstacle = (4.0, 0.0, 1.2)
    pictures: list[Image] = []
    subscription = world.peer.create_subscription(
        Image, "foresight/imagined/image_color", pictures.append, 1
    )
    world.spin_until(lambda: pictures)
    world.peer.destroy_subscription(subscription)
    drawn = ImageDecoder().take(pictures[-1])()
    height, width = drawn.shape[:2]
    column = width // 2
    # Road on the chosen way, a car on the refused one.
    np.testing.assert_array_equal(drawn[height // 2, column // 2], [128, 64, 128])
    np.testing.assert_array_equal(drawn[height // 2, column + column // 2], [0, 0, 142])


def test_classes_are_those_of_any_of_several_cameras(world: World):
    """forecast_node then has no foresight/labels, but one for each camera."""
    world.spin_until(lambda: world.planner.palette is not None)  # the only camera's come first
    known, world.planner.palette = world.planner.palette, None
    labels = world.peer.create_publisher(Labels, "front/foresight/labels", latched_qos())
    labels.publish(Labels(names=["sky"], palette=[1, 2, 3], unlabelled=255))
    front = ForecastSource("front", "/front/foresight", "/front/image", "", False, "/peer")
    other = front._replace(folder="/robot2/front/foresight")
    with mock.patch.object(plan_node, "find_sources", return_value=[other, front]):
        world.planner.find_labels()
    world.spin_until(lambda: world.planner.palette is not None)
    assert world.planner.palette.names == ("sky",)
    world.peer.destroy_publisher(labels)
    world.planner.palette = known
