"""view_node as a process of its own: what it records of what peers publish, and what it says."""

from __future__ import annotations

import io
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from optional import NEEDS_RERUN

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

import hasty_view_node
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from forecast_peers import Client, NodeProcess, header_at, picture
from rcl_interfaces.srv import GetParameters
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_bench import TIMEOUT_S
from rosgraph_msgs.msg import Clock
from rrd_files import Row, read_rrd
from sensor_msgs.msg import CameraInfo, Image

from dino_foresight_ros.msg import Forecast, ForecastSkill, ForecastStep, Labels
from dino_foresight_ros.nodes.view import node as view_node
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.time import ns_to_time

pytestmark = NEEDS_RERUN

NODE = [sys.executable, "-m", "dino_foresight_ros.nodes.view.node"]
SIZE = (120, 200)
SMALL = (24, 40)
STAMP_NS = 1_700_000_000_000_000_000
K = [150.0, 0.0, 99.5, 0.0, 150.0, 59.5, 0.0, 0.0, 1.0]


IMAGINED = np.full((30, 64, 3), (200, 100, 50), np.uint8)


def segmentation(step: int) -> np.ndarray:
    ids = np.zeros(SMALL, np.uint8)
    ids[:, 10 * step :] = 1
    return ids


def depth(step: int) -> np.ndarray:
    values = np.full(SMALL, 10.0 + step, np.float32)
    values[0] = np.nan
    values[1] = 500.0
    return values


class Robot:
    """A peer that plays camera, forecast node and monitor; it publishes until it is heard.

    Of its topics only the newest message is kept: Fast DDS asks for the receipt of such a message
    at once, of others every 3 s.
    """

    def __init__(self) -> None:
        client = self.client = Client("forecast_node", image_qos=QoSProfile(depth=1))
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        create = client.node.create_publisher
        self.forecasts = create(Forecast, "foresight/forecast", 1)
        self.info = create(CameraInfo, "camera_info", 1)
        self.skill = create(ForecastSkill, "foresight/skill", 1)
        self.diagnostics = create(DiagnosticArray, "/diagnostics", 1)
        self.imagined = create(Image, "foresight/imagined/image_color", 1)
        self.answers = client.node.create_client(GetParameters, "view_node/get_parameters")
        self.labels = create(Labels, "foresight/labels", latched)
        self.labels.publish(Labels(names=["a", "b"], palette=[9, 8, 7, 6, 5, 4], unlabelled=255))
        # What it listens to tells which camera it forecasts.
        client.subscribe(Image, "image")
        client.subscribe(CameraInfo, "camera_info")
        self.stamps: list[int] = []

    def tick(self) -> None:
        """Say on /clock that it is now the time of the next frame."""
        if self.clock is None:
            self.clock = self.client.node.create_publisher(Clock, "/clock", 10)
        stamp_ns = STAMP_NS + len(self.stamps) * 200_000_000
        self.clock.publish(Clock(clock=ns_to_time(stamp_ns)))
        self.client.spin_for(0.1)
        self.wait_for_node()

    clock: Any = None

    def step(self) -> None:
        """One frame and all that comes of it."""
        stamp_ns = STAMP_NS + len(self.stamps) * 200_000_000
        self.stamps.append(stamp_ns)
        header = header_at(stamp_ns)
        self.client.publish(stamp_ns, SIZE)
        info = CameraInfo(header=header, k=K, width=SIZE[1], height=SIZE[0])
        info.p = [*K[:3], 0.0, *K[3:6], 0.0, *K[6:], 0.0]
        self.info.publish(info)
        steps = [
            ForecastStep(
                step=k,
                horizon=0.2 * k,
                target_stamp=ns_to_time(stamp_ns + k * 200_000_000),
                segmentation=image_to_msg(segmentation(k), "mono8", header),
                depth=image_to_msg(depth(k), "32FC1", header),
                depth_is_metric=True,
            )
            for k in (1, 2)
        ]
        self.forecasts.publish(
            Forecast(header=header, steps=steps, model_name="m", latency=0.03, frame_interval=0.2)
        )
        self.imagined.publish(image_to_msg(IMAGINED, "rgb8", header))
        self.skill.publish(ForecastSkill(header=header, step=2, horizon=0.4, running_skill=0.25))
        values = {"output_rate_hz": "4.5", "input_rate_hz": "5.0", "dropped_total": "7"}
        status = DiagnosticStatus(name="forecast_node: forecast")
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        other = DiagnosticStatus(name="other_node: forecast")
        other.values = [KeyValue(key="dropped_total", value="99")]
        self.diagnostics.publish(DiagnosticArray(status=[other, status]))
        topics = (self.client.images, self.forecasts, self.info, self.skill, self.diagnostics)
        for publisher in topics:
            assert publisher.wait_for_all_acked(Duration(seconds=TIMEOUT_S))
        self.wait_for_node()

    def wait_for_node(self) -> None:
        """Until the node has handled what has reached it.

        Between two answers its executor takes a waiting message of each topic.
        """
        for _ in range(3):
            self.client.ask(self.answers, GetParameters.Request())

    def play(self, count: int, listeners: int, node: NodeProcess) -> None:
        """So many steps from when so many subscriptions are there to each topic."""
        own = {self.client.images: 1, self.info: 1}
        every = (self.forecasts, self.client.images, self.info, self.labels, self.skill)
        every += (self.imagined,)

        def are_heard() -> bool:
            counts = [p.get_subscription_count() - own.get(p, 0) for p in every]
            return min(counts) >= listeners

        assert self.client.spin_until(are_heard), node.text
        for _ in range(count):
            self.step()


class Recorded(NamedTuple):
    """What one run of the node left."""

    robot: Robot
    folder: Path
    log: str


@pytest.fixture(scope="module")
def recorded(
    ros_domain: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("recorded")
    files = [str(folder / name) for name in ("drive.rrd", "drive.mcap")]
    options = ("serve:=false", "max_rate_hz:=0.0", "max_points:=300", f"record:={files}")
    robot = Robot()
    node = NodeProcess(ros_domain, folder / "log", *options, program=NODE)
    try:
        # For the page and for the file.
        robot.play(8, listeners=2, node=node)
        assert not any(Path(file).exists() for file in files)  # until they are complete
        assert node.end(signal.SIGINT) == 0, node.text
        yield Recorded(robot, folder, node.text)
    finally:
        node.kill()
        robot.client.close()


@pytest.fixture(scope="module")
def entities(recorded: Recorded) -> dict[str, list[Row]]:
    return read_rrd(recorded.folder / "drive.rrd")


@pytest.fixture
def start(ros_domain: dict[str, str], tmp_path: Path) -> Iterator[Any]:
    nodes = []

    def start(*parameters: str) -> NodeProcess:
        log = tmp_path / f"log{len(nodes)}"
        node = NodeProcess(ros_domain, log, *parameters, program=view_node.main)
        nodes.append(node)
        return node

    yield start
    for node in nodes:
        node.kill()


def by_stamp(rows: list[Row]) -> dict[int, dict[str, Any]]:
    return {row.times["stamp"]: row.values for row in rows if "stamp" in row.times}


def test_what_is_published_is_recorded_value_for_value(
    recorded: Recorded, entities: dict[str, list[Row]]
) -> None:
    assert f"recorded {recorded.folder / 'drive.rrd'}" in recorded.log
    newest = by_stamp(entities["/step_2/depth"])
    assert len(newest) >= 6, recorded.log
    assert set(newest) <= set(recorded.robot.stamps)
    for stamp_ns, values in newest.items():
        shown = np.frombuffer(bytes(values["buffer"][0]), np.float32).reshape(SMALL)
        np.testing.assert_array_equal(shown, depth(2))
        ids = by_stamp(entities["/step_1/segmentation"])[stamp_ns]["buffer"][0]
        np.testing.assert_array_equal(np.reshape(ids, SMALL), segmentation(1))
    contexts = [row for row in entities["/step_1/segmentation"] if "context" in row.values]
    context = contexts[-1].values["context"][0]
    labels = [entry["class_description"]["info"]["label"] for entry in context]
    assert labels == ["a", "b", "unlabelled"]


def test_imagined_views_of_a_planner_are_shown(entities: dict[str, list[Row]]) -> None:
    pictures = by_stamp(entities["/imagined"])
    assert len(pictures) >= 4
    for values in pictures.values():
        data = np.frombuffer(bytes(values["blob"][0]), np.uint8)
        shown = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        assert shown.shape == IMAGINED.shape
        assert np.abs(shown.astype(int) - IMAGINED).max() <= 8


def test_latency_rate_and_skill_are_plotted(entities: dict[str, list[Row]]) -> None:
    plotted = {
        name: {round(row.values["scalars"][0], 3) for row in entities[name] if row.times}
        for name in ("/latency_ms", "/skill/step_2", "/rate/forecasts", "/rate/frames", "/dropped")
    }
    assert plotted == {
        "/latency_ms": {30.0},
        "/skill/step_2": {0.25},
        "/rate/forecasts": {4.5},
        "/rate/frames": {5.0},
        "/dropped": {7.0},
    }


def test_points_lie_where_the_camera_would_see_them(entities: dict[str, list[Row]]) -> None:
    values = entities["/world/points"][-1].values
    points = np.array(values["positions"])
    # Every second pixel of a row and column; neither the unknown nor the far ones.
    assert len(points) == 20 * 11
    np.testing.assert_allclose(points[:, 2], 12.0)
    # camera_info is for 200x120, of which the depth is a fifth.
    u = points[:, 0] / points[:, 2] * 30.0 + 19.9
    v = points[:, 1] / points[:, 2] * 30.0 + 11.9
    np.testing.assert_allclose(u, np.tile(np.arange(0, 40, 2), 11), atol=1e-4)
    np.testing.assert_allclose(v, np.repeat(np.arange(2, 24, 2), 20), atol=1e-4)
    np.testing.assert_array_equal(values["class_ids"], (u >= 19.99).astype(int))


def test_untrained_forecasts_say_so(entities: dict[str, list[Row]]) -> None:
    (about,) = {row.values["text"][0] for row in entities["/about"]}
    assert "**UNTRAINED: the weights are random, these forecasts mean nothing.**" in about


def test_an_mcap_holds_the_messages_as_they_were_sent(recorded: Recorded) -> None:
    reader_module = pytest.importorskip("mcap.reader")
    from rclpy.serialization import deserialize_message

    data = (recorded.folder / "drive.mcap").read_bytes()
    reader = reader_module.make_reader(io.BytesIO(data))
    summary = reader.get_summary()
    types = {c.topic: summary.schemas[c.schema_id].name for c in summary.channels.values()}
    assert types["/foresight/forecast"] == "dino_foresight_ros/msg/Forecast"
    assert types["/image"] == "sensor_msgs/msg/Image"
    assert {"/camera_info", "/foresight/labels", "/foresight/skill", "/diagnostics"} <= set(types)
    schemas = {schema.name: schema for schema in summary.schemas.values()}
    schema = schemas["dino_foresight_ros/msg/Forecast"]
    # Whoever reads it needs no package of ours: every message in it is defined in the file.
    assert schema.encoding == "ros2msg"
    assert b"MSG: dino_foresight_ros/ForecastStep" in schema.data.replace(b"/msg/", b"/")
    stored = [message.data for _, _, message in reader.iter_messages(["/foresight/forecast"])]
    assert len(stored) >= 6, recorded.log
    for step in deserialize_message(stored[-1], Forecast).steps:
        assert step.depth == image_to_msg(depth(step.step), "32FC1", step.depth.header)
    image = [message.data for _, _, message in reader.iter_messages(["/image"])][-1]
    frame = deserialize_message(image, Image)
    expected = picture(frame.header.stamp.sec * 10**9 + frame.header.stamp.nanosec, SIZE)
    np.testing.assert_array_equal(np.reshape(frame.data, (*SIZE, 3)), expected)
    assert not list(recorded.folder.glob(".*"))


def test_log_times_follow_the_clock_of_a_replayed_drive(start: Any, tmp_path: Path) -> None:
    """What came before the first /clock as well, such as latched labels."""
    reader_module = pytest.importorskip("mcap.reader")
    path = tmp_path / "old.mcap"
    node = start("serve:=false", "use_sim_time:=true", f"record:=['{path}']")
    robot = Robot()
    try:
        robot.play(2, listeners=1, node=node)
        robot.tick()
        assert robot.client.spin_until(robot.clock.get_subscription_count), node.text
        for _ in range(6):
            robot.tick()
            robot.step()
        assert node.end(signal.SIGINT) == 0, node.text
    finally:
        robot.client.close()
    with path.open("rb") as file:
        stored = [
            (channel.topic, message.log_time)
            for _, channel, message in reader_module.make_reader(file).iter_messages()
        ]
    times = [log_time for _, log_time in stored]
    assert STAMP_NS <= min(times) <= max(times) <= STAMP_NS + 8 * 200_000_000
    assert len(set(times)) >= 3
    topics = [topic for topic, _ in stored]
    assert "/foresight/labels" in topics
    assert topics.count("/foresight/forecast") == 8


@pytest.mark.long  # the end of a full file was seen to take rerun over 30 s, in 2 of 16 runs
def test_a_recording_that_cannot_be_completed_keeps_its_partial_name(
    start: Any, tmp_path: Path
) -> None:
    path = tmp_path / "drive.rrd"
    node = start("serve:=false", "max_rate_hz:=0.0", f"record:=['{path}']")
    robot = Robot()
    try:
        robot.play(2, listeners=1, node=node)
        # Files of that process can grow no further, as on a full disk.
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (40_000, hard))
        for _ in range(2):
            robot.step()
        node.process.send_signal(signal.SIGINT)
        assert node.wait() == 1
    finally:
        robot.client.close()
    assert not path.exists()
    assert path.with_name("drive.rrd.part").exists()
    said = [line for line in node.text.splitlines() if f"{path} is not complete" in line]
    assert len(said) == 1
    assert said[0].endswith(f"what was written is in {path}.part")
    assert "Traceback" not in node.text
    assert f"recorded {path}" not in node.text


@pytest.mark.parametrize(
    ("parameters", "code", "line"),
    [
        (["record:=['x.avi']"], 2, "'x.avi' has no known ending; valid: .rrd (for rerun)"),
        (["serve:=false"], 2, "nothing to do: there is neither a page nor a file"),
        (["record:=['/proc/x/y.mcap']"], 1, "/proc/x/y.mcap cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    start: Any, parameters: list[str], code: int, line: str
) -> None:
    node = start(*parameters)
    assert node.wait() == code
    assert line in node.text
    assert "Traceback" not in node.text


@pytest.mark.parametrize("offset", [0, 1])
def test_a_port_in_use_is_one_clear_line(start: Any, offset: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        node = start(f"port:={port - offset}")
        assert node.wait() == 1
    assert f"port {port} of 127.0.0.1 cannot be used (address already in use)" in node.text
    assert len([line for line in node.text.splitlines() if "port" in line]) == 1
    assert "Traceback" not in node.text


def test_when_nothing_is_forecast_it_says_what_it_waits_for(
    second_ros_domain: dict[str, str], tmp_path: Path
) -> None:
    options = ("serve:=false", f"record:=['{tmp_path / 'x.rrd'}']")
    node = NodeProcess(second_ros_domain, tmp_path / "log", *options, program=hasty_view_node.main)
    try:
        node.wait_for_text("waiting for a node that forecasts a camera, in ROS domain")
        assert node.end(signal.SIGINT) == 0
    finally:
        node.kill()
