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
from diagnostic_msgs.msg import DiagnosticStatus
from forecast_peers import header_at, stamp_of
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_bench import TIMEOUT_S, close_node, wait_until
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker, MarkerArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import CandidateHorizon, CandidateScore, Labels
from dino_foresight_ros.nodes.plan import node as plan_node
from dino_foresight_ros.nodes.plan.node import PlanNode
from dino_foresight_ros.planar_motion import compose
from dino_foresight_ros.recordings.image_decoding import ImageDecoder
from dino_foresight_ros.recordings.poses import mounting
from dino_foresight_ros.ros.forecast_sources import ForecastSource
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.planar import planar_pose, planar_twist, pose_message
from dino_foresight_ros.ros.qos import latched_qos
from dino_foresight_ros.runtime.candidate import twist_motions
from dino_foresight_ros.srv import Imagine

HORIZONS_S = (0.5, 1.0, 2.0)
STAMP_NS = 1_700_000_000_000_000_000


class ImaginePeer(Node):
    """Answers for a world with one round obstacle; `problem` says why it cannot, when set.

    With `picture` it has a goal picture of what is seen on that arc's yaw rate. Every answer is of
    a newer picture, but while it `is_frozen`.
    """

    def __init__(self) -> None:
        super().__init__("imagine_peer", use_global_arguments=False)
        self.obstacle: tuple[float, float, float] | None = None  # x, y, radius
        self.problem = ""
        self.picture: float | None = None
        self.is_frozen = False
        self.now_ns = STAMP_NS
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
        self.now_ns += not self.is_frozen
        response.header = header_at(self.now_ns)
        response.header.frame_id = "base_link"
        response.weights = [4.0, 1.0, 0.5, 1.0]
        response.goal_picture = self.picture is not None
        response.scores = [self.score(k, c, request.maps) for k, c in enumerate(request.candidates)]
        response.ranking = [int(k) for k in np.argsort([s.total for s in response.scores])]
        return response

    def score(self, index: int, candidate: object, maps: bool) -> CandidateScore:
        motions = twist_motions(planar_twist(candidate.twist), 99.0, np.linspace(0.05, 2.0, 40))
        meets = 0.0
        if self.obstacle is not None:
            x, y, radius = self.obstacle
            meets = float((np.hypot(motions[:, 0] - x, motions[:, 1] - y) < radius).any())
        progress = 0.0
        if self.picture is not None:
            progress = min(abs(self.picture - candidate.twist.angular.z) / 0.8, 1.0)
        total = 4 * meets + progress
        found = CandidateScore(index=index, total=total, cost_occupied=meets)
        found.cost_progress = progress
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

    def drive(self, distance_m: float, start: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        """Straight on at 2 m/s, by odometry, which gives the newest picture's instant too."""
        for driven_m in np.arange(0.0, distance_m + 0.01, 0.1):
            self.peer.now_ns += 50_000_000
            now_ns, pose = self.peer.now_ns, compose(start, (driven_m, 0.0, 0.0))
            message = Odometry(header=header_at(now_ns), child_frame_id="base_link")
            message.header.frame_id = "odom"
            message.pose.pose, message.twist.twist.linear.x = pose_message(pose), 2.0
            self.spin_until(self.peer.odometry.get_subscription_count)
            self.peer.odometry.publish(message)
            self.spin_until(lambda wanted=pose, at_ns=now_ns: self.is_at(wanted, at_ns))

    def is_at(self, pose: np.ndarray, stamp_ns: int) -> bool:
        if self.planner.motion.newest_ns != stamp_ns:
            return False  # none may come late
        try:
            state = self.planner.motion.state(stamp_ns)
        except InputError:
            return False
        return bool(np.allclose(state.pose, pose, atol=1e-3))

    def go_to(
        self, frame: str, pose: tuple[float, float, float], stamp_ns: int | None = None
    ) -> None:
        goal = PoseStamped(pose=pose_message(pose))
        goal.header = header_at(self.peer.now_ns if stamp_ns is None else stamp_ns)
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
    world.peer.picture, world.peer.is_frozen, world.planner.is_at_goal = None, False, False
    world.peer.now_ns += 10**10  # other tests' odometry is stale


def end_of(path: Path) -> tuple[float, float, float]:
    return planar_pose(path.poses[-1].pose)


def test_without_goal_and_obstacle_the_best_is_straight_on_at_full_speed(world: World):
    path = world.plan()
    x, y, yaw = end_of(path)
    assert (x, abs(y), abs(yaw)) == pytest.approx((6.0, 0.0, 0.0), abs=0.3)
    assert path.header.frame_id == "base_link"
    stamp_ns = stamp_of(path.header.stamp)
    assert [stamp_of(p.header.stamp) - stamp_ns for p in path.poses] == [
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


def test_picture_of_the_goal_leads_where_it_was_taken(world: World):
    world.peer.picture = 0.7
    _, _, yaw = end_of(world.plan())
    assert yaw == pytest.approx(1.4, abs=0.25)


def test_the_goal_is_reached_for_in_the_frame_of_the_odometry_too(world: World):
    world.drive(0.5, (10.0, -0.5, math.radians(90)))  # looks along y of odom, at its end (10, 0)
    world.go_to("odom", (8.0, 4.0, 0.0))  # 4 m ahead and 2 m to the left
    x, y, _ = end_of(world.plan())
    assert np.hypot(x - 4.0, y - 2.0) < 0.6


def test_answer_that_took_long_is_of_where_the_base_was_then(world: World):
    """Odometry goes on for 10 s, as while a slow machine imagines: the goal is seen from before."""
    world.drive(0.5)
    world.go_to("odom", (4.5, 2.0, 0.0))
    for late_s in np.arange(0.1, 10.0, 0.1):
        message = Odometry(header=header_at(world.peer.now_ns + round(late_s * 1e9)))
        message.header.frame_id, message.child_frame_id = "odom", "base_link"
        message.pose.pose = pose_message((0.5 + 0.2 * late_s, 0.0, 0.0))
        message.twist.twist.linear.x = 0.2
        world.planner.motion.on_odometry(message)
    x, y, _ = end_of(world.plan())
    assert np.hypot(x - 4.0, y - 2.0) < 0.6
    world.peer.now_ns += 10**10  # on from the odometry


@pytest.mark.parametrize(("frame", "stamped"), [("base_link", True), ("", False)])
def test_goal_that_is_relative_to_the_robot_stays_where_it_was_set(
    world: World, frame: str, stamped: bool
):
    start = (1.0, 2.0, math.radians(90))
    world.drive(0.0, start)
    world.go_to(frame, (5.0, 1.0, 0.0), None if stamped else 0)
    world.drive(2.0, start)
    x, y, _ = end_of(world.plan())
    assert np.hypot(x - 3.0, y - 1.0) < 0.4


def test_goal_in_the_frame_of_a_camera_stays_where_it_was_set(world: World):
    """3 m ahead of a camera that looks to the left: its z goes ahead, its y down."""
    start = (1.0, 2.0, math.radians(90))
    world.drive(0.0, start)
    on_base = mounting([0.5, 0.2, 1.4, 0.0, 0.0, 90.0])
    goal = PoseStamped(header=header_at(world.peer.now_ns))
    goal.header.frame_id = "camera_optical"
    goal.pose.position.y, goal.pose.position.z, goal.pose.orientation.w = 1.4, 3.0, 2.0
    with mock.patch.object(world.planner.motion, "fixed_on_base", {"camera_optical": on_base}.get):
        world.planner.take_goal(goal)
    found = world.planner.goal
    assert found is not None
    assert found.header.frame_id == "odom"
    # In the base (0.5, 3.2); the base looks along y of odom.
    assert planar_pose(found.pose)[:2] == pytest.approx((1.0 - 3.2, 2.0 + 0.5), abs=1e-3)


def test_goal_relative_to_a_robot_that_is_nowhere_is_refused(
    world: World, capfd: pytest.CaptureFixture[str]
):
    goal = PoseStamped(header=header_at(world.peer.now_ns), pose=pose_message((3.0, 0.0, 0.0)))
    goal.header.frame_id = "base_link"
    world.planner.take_goal(goal)
    assert world.planner.goal is None
    said = capfd.readouterr().err
    assert "goal not taken: it is relative to base_link, which rides along, and where" in said
    assert said.count("\n") == 1


def test_robot_stands_at_a_goal_that_was_reached_until_another_one_comes(world: World):
    world.drive(0.0)
    world.go_to("base_link", (2.0, 0.0, 0.0))
    world.drive(1.8)
    world.spin_until(lambda: world.planner.is_at_goal)
    world.paths.clear()
    asked = len(world.peer.requests)
    world.spin_until(lambda: len(world.paths) >= 3)
    assert len(world.peer.requests) <= asked + 1  # one may have been on its way
    assert [len(path.poses) for path in world.paths] == [1, 1, 1]
    assert planar_pose(world.paths[-1].poses[0].pose) == (0.0, 0.0, 0.0)
    assert world.paths[-1].header.frame_id == "base_link"
    assert world.planner.status().status[0].message.startswith("standing at the goal")
    world.go_to("odom", (5.8, 0.0, 0.0))
    assert end_of(world.plan())[0] == pytest.approx(4.0, abs=0.4)


def test_another_heading_ends_the_standing_at_a_goal(world: World):
    world.planner.is_at_goal = True
    world.spin_until(lambda: world.paths and len(world.paths[-1].poses) == 1)
    world.planner.set_parameters([Parameter("heading_deg", value=60.0)])
    x, y, _ = end_of(world.plan())
    assert y > 0.5 * x > 0
    world.planner.set_parameters([Parameter("heading_deg", value=0.0)])


def test_robot_turns_on_the_spot_to_a_goal_behind(world: World):
    world.drive(0.0)
    world.go_to("base_link", (-5.0, 0.5, 0.0))
    x, y, yaw = end_of(world.plan())
    assert math.hypot(x, y) < 0.3
    assert yaw > 1.2


def test_car_that_nothing_leads_nearer_says_so_once(
    world: World, capfd: pytest.CaptureFixture[str]
):
    world.drive(0.0)
    world.planner.set_parameters([Parameter("min_turning_radius_m", value=4.0)])
    world.go_to("base_link", (-0.8, 0.0, 0.0))
    for _ in range(2):
        x, y, yaw = end_of(world.plan())
        assert (x, y, yaw) == pytest.approx((0.0, 0.0, 0.0), abs=0.02)
    assert capfd.readouterr().err.count("standing is best, 0.8 m before the goal") == 1
    world.planner.set_parameters([Parameter("min_turning_radius_m", value=0.0)])


def test_goal_of_an_unknown_frame_is_said_once_and_the_next_goal_taken(
    world: World, capfd: pytest.CaptureFixture[str]
):
    world.go_to("mars", (8.0, 4.0, 0.0))
    asked = len(world.peer.requests) + 3
    world.spin_until(lambda: len(world.peer.requests) >= asked)
    assert capfd.readouterr().err.count("frame mars is unknown") == 1
    world.drive(0.0)
    world.go_to("base_link", (3.0, 1.0, 0.0))
    x, y, _ = end_of(world.plan())
    assert np.hypot(x - 3.0, y - 1.0) < 0.6


def test_old_picture_is_no_reason_to_go_on(world: World, capfd: pytest.CaptureFixture[str]):
    world.planner.set_parameters([Parameter("stream_timeout_s", value=0.2)])
    world.peer.is_frozen = True
    said: list[str] = []

    def is_said() -> bool:
        said.append(capfd.readouterr().err)
        return "the newest picture has been the same for" in "".join(said)

    world.spin_until(is_said)
    world.paths.clear()
    asked = len(world.peer.requests) + 4
    world.spin_until(lambda: len(world.peer.requests) >= asked)
    assert not world.paths
    status = world.planner.status().status[0]
    assert status.level == DiagnosticStatus.WARN
    assert "the newest picture has been the same for" in status.message
    world.peer.is_frozen = False
    world.plan()
    status = world.planner.status().status[0]
    assert (status.level, status.message) == (DiagnosticStatus.OK, "planning")
    values = {value.key: value.value for value in status.values}
    assert values["goal"] == "none"
    assert float(values["plan_age_s"]) < 60
    world.planner.set_parameters([Parameter("stream_timeout_s", value=5.0)])


def test_answer_to_a_plan_that_was_given_up_is_not_heard(world: World):
    planner = world.planner
    world.spin_until(lambda: planner.asked is None)
    planner.plan()
    late = planner.asked
    with mock.patch.object(plan_node, "ANSWER_TIMEOUT_S", 0.0):
        planner.plan()
    assert late is not None
    heard = planner.asked
    assert heard is not None
    assert heard is not late
    world.spin_until(heard.answer.done)
    world.plan()
    assert not late.answer.done()


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

    def halves() -> list[list[int]]:
        """Colours in the middle of the left and of the right half of the newest picture."""
        drawn = ImageDecoder().take(pictures[-1])()
        height, width = drawn.shape[:2]
        return [
            drawn[height // 2, width // 4].tolist(),
            drawn[height // 2, 3 * width // 4].tolist(),
        ]

    # Road on the chosen way, a car on the refused one; the first may be of a plan from before.
    world.spin_until(lambda: bool(pictures) and halves() == [[128, 64, 128], [0, 0, 142]])
    world.peer.destroy_subscription(subscription)


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
