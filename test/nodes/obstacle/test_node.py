"""obstacle_node in this process: what it makes of forecasts of a world of boxes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

import rclpy
from box_world import CAR, Box, optical_pose, see
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import OccupancyGrid, Odometry, Path
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_bench import close_node, wait_until
from sensor_msgs.msg import CameraInfo, PointCloud2, PointField, Range
from std_msgs.msg import Header

from dino_foresight_ros.classes import WORLD_CLASSES
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import Forecast, ForecastStep, TimeToContact
from dino_foresight_ros.nodes.obstacle.messages import range_message
from dino_foresight_ros.nodes.obstacle.node import ObstacleNode
from dino_foresight_ros.nodes.obstacle.parameters import OBSTACLE_PARAMETERS
from dino_foresight_ros.obstacles import Footprint, ObstacleMap, ObstaclePoints
from dino_foresight_ros.recordings.camera_view import CameraView, camera_view
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.time import ns_to_time
from dino_foresight_ros.topic_names import camera_topics

SIZE = (88, 160)
K = [80.0, 0.0, 79.5, 0.0, 80.0, 43.5, 0.0, 0.0, 1.0]
RAYS = CameraView.pinhole(np.array(K), SIZE).pixel_rays(SIZE)
STAMP_NS = 1_700_000_000_000_000_000
POSE = optical_pose(x=0.3, z=1.4, pitch_deg=5.0)
TOPICS = {
    "obstacles/step_1/points": PointCloud2,
    "obstacles/step_2/points": PointCloud2,
    "obstacles/step_1/grid": OccupancyGrid,
    "obstacles/swept": OccupancyGrid,
    "obstacles/time_to_contact": TimeToContact,
    "obstacles/range": Range,
}


def forecast(
    ahead_m: list[float],
    stamp_ns: int = STAMP_NS,
    metric: bool = True,
    horizons_s: Sequence[float] = (0.5, 1.0),
) -> Forecast:
    """A car whose rear is so far ahead of the base at each step, 0.5 s apart."""
    header = Header(stamp=ns_to_time(stamp_ns), frame_id="camera_optical")
    steps = []
    for k, x in enumerate(ahead_m, start=1):
        scene = see(RAYS, POSE, [Box((x, -1.0, 0.0), (x + 4, 1.0, 1.5), CAR)])
        steps.append(
            ForecastStep(
                target_stamp=ns_to_time(stamp_ns + k * 500_000_000),
                horizon=horizons_s[k - 1],
                step=k,
                segmentation=image_to_msg(scene.segmentation, "mono8", header),
                confidence=image_to_msg(scene.confidence, "32FC1", header),
                depth=image_to_msg(scene.depth, "32FC1", header),
                depth_is_metric=metric,
            )
        )
    return Forecast(header=header, steps=steps, trained=True, model_name="boxes")


class Bench:
    """The node, and a peer that hears what it publishes."""

    def __init__(self) -> None:
        self.peer = rclpy.create_node("peer", use_global_arguments=False)
        self.node = ObstacleNode()
        self.heard: dict[str, Any] = {}
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        for topic, kind in TOPICS.items():
            qos = latched if kind is OccupancyGrid else 5
            self.peer.create_subscription(
                kind, topic, lambda m, topic=topic: self.heard.__setitem__(topic, m), qos
            )
        self.source = self.node.sources[""]
        p = [*K[:3], 0.0, *K[3:6], 0.0, *K[6:], 0.0]
        self.info = CameraInfo(width=SIZE[1], height=SIZE[0], k=K, p=p)

    def spin_until(self, condition: Callable[[], bool]) -> None:
        def holds() -> bool:
            rclpy.spin_once(self.peer, timeout_sec=0.02)
            return condition()

        assert wait_until(holds)

    def give(self, message: Forecast, unheard: Collection[str] = ()) -> None:
        """Hand a forecast over, and hear all that comes of it, which these topics lack."""
        topics = set(TOPICS) - set(unheard)
        topics -= {"obstacles/step_2/points"} if len(message.steps) < 2 else set()
        self.spin_until(lambda: all(map(self.node.count_subscribers, TOPICS)))
        self.heard.clear()
        self.node.on_forecast("", self.source, message)
        if self.source.obstacles is None:
            return
        self.hear(topics, message.header.stamp)

    def hear(self, topics: Collection[str], stamp: Time) -> None:
        """Wait for messages of this stamp on these topics, and none on others."""

        def heard() -> set[str]:
            return {topic for topic, m in self.heard.items() if m.header.stamp == stamp}

        self.spin_until(lambda: heard() >= set(topics))
        assert heard() == set(topics)

    def drive(self, forward_mps: float, stamp_ns: int = STAMP_NS, child: str = "base_link") -> None:
        """Hand odometry over as the first that comes, of the forecast's stamp."""
        self.node.motion.close()
        self.node.motion.want()
        odometry = Odometry(child_frame_id=child)
        odometry.header.stamp = ns_to_time(stamp_ns)
        odometry.twist.twist.linear.x = forward_mps
        self.node.motion.on_odometry(odometry)


@pytest.fixture(scope="module")
def bench(ros_domain: dict[str, str]) -> Iterator[Bench]:
    rclpy.init(args=["--ros-args", "-p", "camera_mounts:=[0.3, 0.0, 1.4, 0.0, 5.0, 0.0]"])
    made = Bench()
    yield made
    close_node(made.node)
    close_node(made.peer)
    rclpy.shutdown()


@pytest.fixture(autouse=True)
def _anew(bench: Bench) -> None:
    """The node, which the tests share, knows its calibration and has seen nothing."""
    bench.source.info, bench.source.camera, bench.source.obstacles = bench.info, None, None
    bench.source.names = tuple(info.name for info in WORLD_CLASSES)
    bench.drive(0.0)


def test_clouds_grids_and_contact_lie_in_the_base_frame_of_now(bench: Bench) -> None:
    bench.drive(4.0)
    bench.give(forecast([2.4, 0.4]))  # a standing car 4.4 m ahead, approached at 4 m/s
    cloud = bench.heard["obstacles/step_1/points"]
    assert (cloud.header.frame_id, cloud.height) == ("base_link", 1)
    assert cloud.header.stamp == ns_to_time(STAMP_NS)
    assert [(f.name, f.datatype) for f in cloud.fields] == [
        ("x", PointField.FLOAT32), ("y", PointField.FLOAT32), ("z", PointField.FLOAT32),
        ("class_id", PointField.UINT8), ("probability", PointField.FLOAT32),
        ("horizon", PointField.FLOAT32),
    ]  # fmt: skip
    rows = np.frombuffer(cloud.data, np.uint8).reshape(-1, cloud.point_step)
    assert len(rows) == cloud.width > 300
    x, y, z = (rows[:, i : i + 4].copy().view("<f4")[:, 0] for i in (0, 4, 8))
    assert float(x.min()) == pytest.approx(4.4, rel=0.05)
    assert float(np.abs(y).max()) == pytest.approx(1.0, rel=0.05)
    assert 0.1 < float(z.min()) < float(z.max()) < 1.55
    assert set(rows[:, 12]) == {CAR}
    assert set(rows[:, 20:24].copy().view("<f4")[:, 0]) == {0.5}
    assert bench.heard["obstacles/step_2/points"].width > 300

    met = bench.heard["obstacles/time_to_contact"]
    assert met.contact
    assert (met.class_name, met.course.linear.x) == ("car", 4.0)
    assert met.distance == pytest.approx(4.4 - 0.45, abs=0.2)
    assert met.time_to_contact == pytest.approx(met.distance / 4.0, abs=1e-3)


@pytest.mark.parametrize(
    ("forward_mps", "late_s", "child", "said"),
    [
        (4.0, -0.6, "base_link", "odometry is stale: the nearest on /odom is 0.6 s before"),
        (4.0, 0.6, "base_link", "0.6 s after"),
        (float("nan"), 0.0, "base_link", "/odom: odometry has a twist that is not finite"),
        (4.0, 0.0, "laser", "/odom: odometry is of frame laser, and base_frame is base_link"),
    ],
)
def test_odometry_that_cannot_be_used_is_told_and_the_course_is_straight_ahead(
    bench: Bench, forward_mps: float, late_s: float, child: str, said: str
) -> None:
    bench.drive(forward_mps, STAMP_NS + round(late_s * 1e9), child)
    assert bench.node.twist_at(STAMP_NS).tolist() == [0.0, 0.0, 0.0]
    status = bench.node.status().status[0]
    assert said in status.message
    assert {v.key: v.value for v in status.values}["motion"] == "straight ahead"
    bench.drive(1.5)
    assert bench.node.twist_at(STAMP_NS).tolist() == [1.5, 0.0, 0.0]
    status = bench.node.status().status[0]
    assert "odometry" not in status.message
    assert {v.key: v.value for v in status.values}["motion"] == "odometry"


def test_grids_are_as_nav2_reads_them(bench: Bench) -> None:
    bench.drive(0.0)
    bench.give(forecast([6.0, 3.0]))
    one, swept = bench.heard["obstacles/step_1/grid"], bench.heard["obstacles/swept"]
    for grid in (one, swept):
        assert (grid.info.width, grid.info.height) == (200, 200)
        assert grid.info.resolution == pytest.approx(0.1)
        assert (grid.info.origin.position.x, grid.info.origin.position.y) == (-5.0, -10.0)
        assert grid.info.origin.orientation.w == 1.0
        assert grid.header.frame_id == "base_link"
        assert set(np.unique(grid.data)) <= set(range(-1, 101))

    def column(grid: OccupancyGrid) -> np.ndarray:
        return np.array(grid.data, np.int8).reshape(200, 200)[95:105].max(0)

    def nearest_m(grid: OccupancyGrid) -> float:
        return float(np.flatnonzero(column(grid) > 50)[0] * 0.1 - 5.0)

    assert nearest_m(one) == pytest.approx(6.0, abs=0.11)
    assert nearest_m(swept) == pytest.approx(3.0, abs=0.11)
    assert column(swept)[109:112].max() > 50
    assert bench.heard["obstacles/range"].range == pytest.approx(6.0, abs=0.1)


def test_the_range_is_that_of_its_frame_and_of_what_the_robot_would_meet(bench: Bench) -> None:
    """nav2's range layer puts it so far ahead of the origin of the header's frame."""
    for ahead_m, said in ((6.0, 6.0), (0.6, 0.6), (60.0, float("inf"))):
        bench.give(forecast([ahead_m, ahead_m]))
        found = bench.heard["obstacles/range"]
        assert found.range == pytest.approx(said, abs=0.1)
        assert found.header.frame_id == "base_link"
        assert found.min_range == pytest.approx(0.5 / np.cos(np.pi / 24) + 0.05, abs=0.01)
    # What is nearer than the robot's front is minus infinity (REP-117).
    points = ObstaclePoints(
        np.full((3, 3), 0.3, np.float32), np.full(3, CAR, np.uint8), np.ones(3, np.float32)
    )
    seen = bench.source.obstacles
    assert seen is not None
    near = replace(seen, points=(points,), horizons_s=(0.5,), views=seen.views[:1])
    ahead_m = ObstacleMap([near], bench.node.grid, 0.0).ahead(0, Footprint.circle(0.4), 0.5)
    assert range_message(ahead_m, Footprint.circle(0.4), Header(), 30.0).range == -float("inf")
    # Two points are no obstacle, and neither are three of which one is not sure enough.
    faint = replace(points, probability=np.array([1.0, 1.0, 0.4], np.float32))
    for some in (points.where(slice(2)), faint):
        found = ObstacleMap([replace(near, points=(some,))], bench.node.grid, 0.0)
        assert found.ahead(0, Footprint.circle(0.4), 0.5) == float("inf")


@pytest.mark.parametrize("horizons_s", [(0.5, 0.5), (1.0, 0.5), (float("nan"), 1.0), (-1.0, 1.0)])
def test_a_forecast_whose_horizons_do_not_rise_is_refused_and_the_next_one_is_taken(
    bench: Bench, horizons_s: tuple[float, float]
) -> None:
    bench.give(forecast([6.0, 6.0], STAMP_NS, True, horizons_s))
    assert "they must rise from 0 on" in bench.node.status().status[0].message
    assert bench.heard == {}
    bench.give(forecast([6.0, 6.0], STAMP_NS + 1))
    assert bench.node.status().status[0].message == "publishing obstacles"


def test_who_listens_to_a_grid_later_gets_the_newest(bench: Bench) -> None:
    """Though nobody listened as it was made."""
    for ahead_m, late_ns in ((6.0, 0), (3.0, 100_000_000)):
        with mock.patch.object(bench.node, "_publish_grid"):
            bench.node.on_forecast("", bench.source, forecast([ahead_m] * 2, STAMP_NS + late_ns))
    heard: list[OccupancyGrid] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    late = bench.peer.create_subscription(
        OccupancyGrid, "obstacles/step_2/grid", heard.append, latched
    )
    newest = ns_to_time(STAMP_NS + 100_000_000)
    try:
        for _ in range(3000):
            if heard and heard[-1].header.stamp == newest:
                break
            rclpy.spin_once(bench.node, timeout_sec=0.02)
            rclpy.spin_once(bench.peer, timeout_sec=0.02)
        assert heard[-1].header.stamp == newest
    finally:
        bench.peer.destroy_subscription(late)


@pytest.mark.parametrize(
    ("names", "ground", "said"),
    [
        ((), None, "no labels came: which class is ground"),
        (None, ["raod"], "no class is named in ground_classes (raod); classes are: road, "),
        (("cat", "dog"), None, "no class is named in ground_classes (road, "),
        (None, ["road", "gras"], "ground_classes: there is no class gras"),
        (None, None, None),
    ],
)
def test_ground_that_no_class_names_is_told(
    bench: Bench, names: tuple[str, ...] | None, ground: list[str] | None, said: str | None
) -> None:
    values = {spec.name: bench.node.parameters[spec.name] for spec in OBSTACLE_PARAMETERS}
    values["ground_classes"] = ground or values["ground_classes"]
    if names is not None:
        bench.source.names = names
    with mock.patch.object(bench.node, "parameters", values):
        bench.give(forecast([6.0, 6.0]))
    assert said is None if bench.source.problem is None else said and said in bench.source.problem
    assert (bench.node.status().status[0].level == DiagnosticStatus.OK) == (said is None)


def test_another_cameras_older_forecast_is_moved_to_where_the_base_is_now(bench: Bench) -> None:
    """A car that stands 10 m ahead, and a base at 5 m/s: each camera sees it from where it was."""
    late_ns = 200_000_000
    other = type(bench.source)(0, "image_raw", "camera_info")
    other.info, other.names = bench.info, bench.source.names
    bench.drive(5.0)
    for k in range(1, 6):
        odometry = Odometry(child_frame_id="base_link")
        odometry.header.stamp = ns_to_time(STAMP_NS + k * 50_000_000)
        odometry.twist.twist.linear.x = 5.0
        odometry.pose.pose.position.x = 0.25 * k
        bench.node.motion.on_odometry(odometry)
    seen_from_b = forecast([10.0 - 2.5, 10.0 - 5.0], STAMP_NS)
    seen_from_a = forecast([9.0 - 2.5, 9.0 - 5.0], STAMP_NS + late_ns)
    with mock.patch.dict(bench.node.sources, {"b": other}):
        bench.node.on_forecast("b", other, seen_from_b)
        bench.give(seen_from_a)
        assert nearest_faces(bench.heard["obstacles/step_1/points"]) == [9.0]
        both = bench.heard["obstacles/step_1/points"].width
        # One that comes late is fused into the same instant, not the newer one into its.
        other.obstacles = None
        bench.heard.clear()
        bench.node.on_forecast("b", other, seen_from_b)
        bench.hear(TOPICS, seen_from_a.header.stamp)
        cloud = bench.heard["obstacles/step_1/points"]
        assert (nearest_faces(cloud), cloud.width) == ([9.0], both)


def test_views_lie_where_the_plan_leads_as_those_of_forecast_node(bench: Bench) -> None:
    """A base that stands now, and is to be 1 m and 2 m ahead at the two steps."""
    values = {spec.name: bench.node.parameters[spec.name] for spec in OBSTACLE_PARAMETERS}
    values["motion"] = "path"
    plan = Path()
    plan.header.frame_id = "base_link"
    for seconds in (0, 1, 2):
        pose = PoseStamped()
        pose.header.stamp = ns_to_time(STAMP_NS + seconds * 1_000_000_000)
        pose.pose.position.x, pose.pose.orientation.w = 2.0 * seconds, 1.0
        plan.poses.append(pose)
    with mock.patch.object(bench.node, "parameters", values):
        bench.give(forecast([7.0 - 1.0, 7.0 - 2.0]))
        assert nearest_faces(bench.heard["obstacles/step_1/points"]) == [6.0]
        assert "plan not used: no plan came on /plan" in bench.node.status().status[0].message
        bench.node.motion.on_plan(plan)
        bench.source.obstacles = None
        bench.give(forecast([7.0 - 1.0, 7.0 - 2.0], STAMP_NS + 1))
        for step in (1, 2):
            assert nearest_faces(bench.heard[f"obstacles/step_{step}/points"]) == [7.0]
        assert bench.node.status().status[0].message == "publishing obstacles"


def nearest_faces(cloud: PointCloud2) -> list[float]:
    """Where, to 0.1 m, many points have the same x: faces that are looked at straight on."""
    rows = np.frombuffer(cloud.data, np.uint8).reshape(-1, cloud.point_step)
    x = rows[:, :4].copy().view("<f4")[:, 0]
    places, counts = np.unique(x.round(1), return_counts=True)
    return [round(float(place), 1) for place in places[counts > 100]]


def test_a_forecast_without_metric_depth_is_refused_and_told(bench: Bench) -> None:
    bench.give(forecast([6.0], metric=False))
    assert "relative" in (bench.source.problem or "")
    assert bench.source.obstacles is None
    assert bench.heard == {}


def test_stamps_that_go_back_begin_anew(bench: Bench) -> None:
    bench.give(forecast([6.0]))
    bench.give(forecast([5.0], STAMP_NS - 10_000_000_000))
    assert bench.source.obstacles is not None
    assert bench.source.obstacles.stamp_ns == STAMP_NS - 10_000_000_000


def test_heights_between_which_nothing_can_lie_are_refused(bench: Bench) -> None:
    result = bench.node.set_parameters_atomically([Parameter("max_height_m", value=0.1)])
    assert "0.1 is not above min_height_m, which is 0.15" in result.reason
    assert bench.node.parameters["max_height_m"] == 2.2


def test_a_camera_without_calibration_is_told(bench: Bench) -> None:
    bench.source.info = CameraInfo()
    bench.give(forecast([6.0], STAMP_NS + 1))
    assert "no focal length" in (bench.source.problem or "")
    bench.source.info = None
    bench.give(forecast([6.0], STAMP_NS + 2))
    assert bench.source.problem == "no camera_info came on /camera_info"


def test_a_lens_model_that_is_unknown_is_refused_by_name(bench: Bench) -> None:
    bench.source.info = CameraInfo(
        width=SIZE[1], height=SIZE[0], k=K, distortion_model="scaramuzza", d=[0.1] * 4
    )
    bench.give(forecast([6.0], STAMP_NS + 3))
    assert "'scaramuzza'" in (bench.source.problem or "")


@pytest.mark.parametrize(
    ("image", "is_bent"), [("/cam/image_raw", True), ("/cam/image_rect_color/compressed", False)]
)
def test_pictures_are_rectified_where_the_name_of_their_topic_says_so(
    bench: Bench, image: str, is_bent: bool
) -> None:
    info, message = bench.source.info, forecast([6.0], STAMP_NS + 4)
    d = [-0.3, 0.1, 0.0, 0.0, 0.0]
    assert info is not None
    bent = CameraInfo(
        width=SIZE[1], height=SIZE[0], k=K, p=info.p, d=d, distortion_model="plumb_bob"
    )
    with (
        mock.patch.object(bench.source, "info", bent),
        mock.patch.object(bench.source, "camera", None),
        mock.patch.object(bench.source, "image_topic", image),
    ):
        camera = bench.node.camera_of(bench.source, message)
    assert np.allclose(camera.rays(SIZE), RAYS, atol=1e-6) is not is_bent


def test_several_cameras_topics_are_those_of_forecast_node(bench: Bench) -> None:
    topics = camera_topics(["front"], "/rig/{camera}/image_rect")[0]
    assert bench.node.listen(topics).image_topic == "/rig/front/image_rect"
    heard = {subscription.topic_name for subscription in bench.node.subscriptions}
    assert heard >= {"/rig/front/camera_info", "/front/foresight/forecast"}


@pytest.fixture
def remounted(bench: Bench) -> Iterator[Callable[..., None]]:
    """Puts the camera elsewhere: x, y, z (m), roll, pitch, yaw (degrees), or nothing for TF."""
    values = {spec.name: bench.node.parameters[spec.name] for spec in OBSTACLE_PARAMETERS}
    with mock.patch.object(bench.node, "parameters", values):
        yield lambda *numbers: values.update(camera_mounts=list(numbers))


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((0.3, 0.0, 1.4, 0.0, -80.0, 0.0), "the camera looks at the sky"),
        ((0.3, 0.0, 1.4, 0.0, 80.0, 0.0), "the camera looks at the floor"),
        ((0.3, 0.0, 1.4, 180.0, 5.0, 0.0), "the camera hangs upside down"),
        ((0.3, 0.0, -0.4, 0.0, 5.0, 0.0), "0.40 m below the floor: check its extrinsics"),
        (
            (0.3, 0.0, 2.8, 0.0, 5.0, 0.0),
            "2.00 times what it is for the ground to lie",
        ),
    ],
)
def test_odd_mountings_are_told_and_what_is_seen_is_published_all_the_same(
    bench: Bench, remounted: Callable[..., None], numbers: tuple[float, ...], said: str
) -> None:
    remounted(*numbers)
    bench.give(forecast([6.0, 6.0], STAMP_NS + 10))
    assert said in (bench.source.problem or "")
    assert "obstacles/swept" in bench.heard
    assert said in bench.node.status().status[0].message


def test_without_a_transform_it_is_told_which_one_and_the_node_goes_on(
    bench: Bench, remounted: Callable[..., None]
) -> None:
    remounted()
    bench.give(forecast([6.0, 6.0], STAMP_NS + 20))
    assert "camera_optical" in (bench.source.problem or "")
    assert "base_link" in (bench.source.problem or "")
    assert bench.heard == {}
    remounted(0.3, 0.0, 1.4, 0.0, 5.0, 0.0)
    bench.give(forecast([6.0, 6.0], STAMP_NS + 30))
    assert "obstacles/swept" in bench.heard


@pytest.mark.parametrize(
    ("d", "said"),
    [([float("nan")] * 5, "number in D that is not finite"), ([1e6] * 5, "leads no ray through")],
)
def test_a_lens_that_sees_nothing_is_no_free_way(bench: Bench, d: list[float], said: str) -> None:
    bench.source.info = CameraInfo(
        width=SIZE[1], height=SIZE[0], k=K, distortion_model="plumb_bob", d=d
    )
    bench.give(forecast([6.0, 6.0], STAMP_NS + 35))
    assert said in bench.node.status().status[0].message
    assert bench.heard == {}


def test_stamps_that_jump_ahead_leave_nothing_of_before(bench: Bench) -> None:
    bench.give(forecast([3.0, 3.0], STAMP_NS + 40))
    bench.give(forecast([8.0, 8.0], STAMP_NS + 100_000_000_000))
    assert bench.heard["obstacles/range"].range == pytest.approx(8.0, abs=0.1)


def test_calibration_with_k_alone_or_p_alone_does() -> None:
    p = [*K[:3], 0.0, *K[3:6], 0.0, *K[6:], 0.0]
    rays = [
        camera_view(CameraInfo(width=160, height=88, **given), rectified, "info").pixel_rays(SIZE)
        for given, rectified in (({"k": K}, False), ({"k": K}, True), ({"p": p}, True))
    ]
    assert all(np.array_equal(one, rays[0]) for one in rays)
    with pytest.raises(InputError, match="no focal length"):
        camera_view(CameraInfo(width=160, height=88, p=p), False, "info")


def test_grids_of_odom_stay_on_the_ground_and_without_its_transform_there_are_none(
    bench: Bench,
) -> None:
    """nav2's static layer takes the newest transform of a grid's frame, not that of its stamp."""
    placed = replace(bench.node.grid, base=(0.0, 0.0, 0.0))
    frames = {**{s.name: bench.node.parameters[s.name] for s in OBSTACLE_PARAMETERS},
              "grid_frame": "odom"}  # fmt: skip
    pose = np.eye(4)
    pose[:2, 3], pose[2, 3] = (20.0, 5.0), 0.25
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    pose[:2, :2] = turn  # to the left: ahead is y of odom
    with (
        mock.patch.object(bench.node, "grid", placed),
        mock.patch.object(bench.node, "parameters", frames),
    ):
        with mock.patch.object(bench.node.transforms, "matrix", return_value=pose):
            bench.give(forecast([6.0, 6.0], STAMP_NS + 50))
        grid = bench.heard["obstacles/swept"]
        assert grid.header.frame_id == "odom"
        assert grid.info.origin.position.z == pytest.approx(0.25)
        cells = np.array(grid.data, np.int8).reshape(grid.info.height, grid.info.width)
        row, column = np.argwhere(cells > 50).min(axis=0)
        corner = grid.info.origin.position
        assert corner.y + 0.1 * row == pytest.approx(5.0 + 6.0, abs=0.15)
        assert corner.x + 0.1 * column == pytest.approx(20.0 - 1.0, abs=0.15)
        grids = {topic for topic, kind in TOPICS.items() if kind is OccupancyGrid}
        bench.give(forecast([6.0, 6.0], STAMP_NS + 60), unheard=grids)
        assert "no grids: " in bench.node.status().status[0].message
