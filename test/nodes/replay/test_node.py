"""The replay node as a process of its own, seen over DDS."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from forecast_peers import NodeProcess  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from ros_bench import Bench, wait_until  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402

from dino_foresight_ros.nodes.replay.node import main  # noqa: E402
from dino_foresight_ros.nodes.replay.parameters import REPLAY_PARAMETERS  # noqa: E402
from dino_foresight_ros.recordings import CameraModel, bag_messages  # noqa: E402
from dino_foresight_ros.recordings import bag_writer as bags  # noqa: E402
from dino_foresight_ros.recordings.image_decoding import decode_picture  # noqa: E402

START_NS = 1_600_000_000_000_000_000
STEP_NS = 40_000_000
WAIT = "wait_for_subscriber_s:=120.0"


def picture(index: int) -> np.ndarray:
    """(24, 32, 3) noise of its own for each index."""
    return np.random.default_rng(index).integers(0, 256, (24, 32, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return 12 pictures without times."""
    path = tmp_path / "pictures"
    path.mkdir()
    for index in range(12):
        cv2.imwrite(str(path / f"{index}.png"), cv2.cvtColor(picture(index), cv2.COLOR_RGB2BGR))
    return path


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Return a bag of a raw and a compressed camera with calibration, 12 messages each."""
    camera = CameraModel.from_fov(32, 24, 80.0)
    with bags.create_bag(tmp_path / "bag") as writer:
        for index in range(12):
            stamp_ns = START_NS + index * STEP_NS
            writer.write_camera_info("/cam/camera_info", camera, stamp_ns, "lens")
            writer.write_image("/cam/image_raw", picture(index), stamp_ns, "lens")
            writer.write_compressed(
                "/cam/image_raw/compressed", picture(index), stamp_ns, "lens", "png"
            )
    return tmp_path / "bag"


class Listener(Bench):
    """A node of the test's that keeps what it receives."""

    def __init__(self) -> None:
        super().__init__()
        self.node = self.make("listener")
        self.received: dict[str, list[Any]] = {}
        self.thread = threading.Thread(target=self.executor.spin, daemon=True)

    def listen(self, kind: type, topic: str, qos: QoSProfile | int = 50) -> None:
        self.received[topic] = []
        self.node.create_subscription(kind, topic, self.received[topic].append, qos)

    def has_taken_all(self) -> bool:
        """Whether nothing new came in two rounds of the executor, which takes of each topic one."""
        before = sum(map(len, self.received.values()))
        for _ in range(2):
            round_ = self.executor.create_task(lambda: None)
            assert wait_until(round_.done)
        return before == sum(map(len, self.received.values()))

    def stamps_ns(self, topic: str) -> list[int]:
        stamps = [message.header.stamp for message in self.received[topic]]
        return [stamp.sec * 10**9 + stamp.nanosec for stamp in stamps]

    def close(self) -> None:
        super().close()
        if self.thread.is_alive():
            self.thread.join()


@pytest.fixture
def listener(ros_domain: dict[str, str]) -> Iterator[Listener]:
    client = Listener()
    yield client
    client.close()


Start = Callable[..., NodeProcess]


@pytest.fixture
def start(ros_domain: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a replay."""
    started: list[NodeProcess] = []

    def run(*parameters: str, remaps: tuple[str, ...] = ()) -> NodeProcess:
        log = tmp_path / "node.log"
        node = NodeProcess(ros_domain, log, *parameters, remaps=remaps, program=main)
        started.append(node)
        return node

    yield run
    for node in started:
        node.kill()


def receive(listener: Listener, start: Start, *parameters: str, **options: Any) -> str:
    """Play to the end while listening; return what the node printed."""
    listener.thread.start()
    node = start(*parameters, WAIT, **options)
    assert node.wait() == 0, node.text
    # What is still on its way, however busy the machine is.
    assert wait_until(listener.has_taken_all)
    return node.text


def test_folder_arrives_whole_and_exact(listener: Listener, start: Start, folder: Path) -> None:
    listener.listen(Image, "/image")
    listener.listen(CameraInfo, "/camera_info")
    before_ns = time.time_ns()
    receive(listener, start, f"input:={folder}", "frame_rate_hz:=20.0")
    images = listener.received["/image"]
    assert len(images) == 12
    for index, image in enumerate(images):
        assert (image.encoding, image.height, image.width, image.step) == ("rgb8", 24, 32, 96)
        assert bytes(image.data) == picture(index).tobytes()
        assert image.header.frame_id == "camera_optical_frame"
    stamps_ns = listener.stamps_ns("/image")
    assert before_ns < stamps_ns[0] < time.time_ns()
    assert np.diff(stamps_ns).tolist() == [50_000_000] * 11
    assert listener.received["/camera_info"] == []


def test_bag_keeps_its_stamps_frame_and_calibration(
    listener: Listener, start: Start, bag: Path
) -> None:
    listener.listen(Image, "/front/image")
    listener.listen(CameraInfo, "/front/camera_info")
    listener.listen(Clock, "/clock")
    parameters = (f"input:={bag}", "topic:=/cam/image_raw", "start_s:=0.08", "rate:=0.5")
    receive(listener, start, *parameters, remaps=("__ns:=/front",))
    expected_ns = [START_NS + index * STEP_NS for index in range(2, 12)]
    assert listener.stamps_ns("/front/image") == expected_ns
    assert listener.stamps_ns("/front/camera_info") == expected_ns
    image, info = listener.received["/front/image"][0], listener.received["/front/camera_info"][0]
    assert bytes(image.data) == picture(2).tobytes()
    assert image.header.frame_id == info.header.frame_id == "lens"
    assert list(info.k) == pytest.approx(CameraModel.from_fov(32, 24, 80.0).k)
    clock_ns = [m.clock.sec * 10**9 + m.clock.nanosec for m in listener.received["/clock"]]
    assert clock_ns == sorted(clock_ns)
    assert clock_ns[0] == expected_ns[0]
    assert clock_ns[-1] == expected_ns[-1]


def test_several_image_topics_ask_for_a_choice(start: Start, bag: Path) -> None:
    node = start(f"input:={bag}")
    assert node.wait() == 1
    assert node.text.splitlines() == [
        f"replay_node: {bag} has 2 image topics; set topic to one of: "
        "/cam/image_raw, /cam/image_raw/compressed"
    ]


def test_compressed_transport_sends_compressed_images(
    listener: Listener, start: Start, folder: Path
) -> None:
    listener.listen(CompressedImage, "/image")
    parameters = ("image_transport:=compressed", "frame_id:=nose", "fov_deg:=70.0")
    receive(listener, start, f"input:={folder}", "frame_rate_hz:=50.0", *parameters)
    images = listener.received["/image"]
    assert len(images) == 12
    assert images[0].format == "rgb8; jpeg compressed bgr8"
    assert images[0].header.frame_id == "nose"
    assert decode_picture(bytes(images[0].data)).shape == (24, 32, 3)


def test_bag_is_played_as_recorded(listener: Listener, start: Start, bag: Path) -> None:
    listener.listen(Image, "/cam/image_raw")
    listener.listen(CompressedImage, "/cam/image_raw/compressed")
    listener.listen(CameraInfo, "/cam/camera_info")
    receive(listener, start, f"input:={bag}", "as_recorded:=true")
    expected_ns = [START_NS + index * STEP_NS for index in range(12)]
    for topic in listener.received:
        assert listener.stamps_ns(topic) == expected_ns
    compressed = listener.received["/cam/image_raw/compressed"][7]
    assert np.array_equal(decode_picture(bytes(compressed.data)), picture(7))


def test_cameras_without_a_time_get_that_of_recording(
    listener: Listener, start: Start, tmp_path: Path
) -> None:
    """Several cameras as one camera: what is forecast needs a time."""
    camera, frame_id = CameraModel.from_fov(32, 24, 80.0), "lens"
    with bags.create_bag(tmp_path / "bag") as writer:
        for index in range(6):
            stamp_ns = START_NS + index * STEP_NS
            for name in ("left", "right"):
                info = bag_messages.camera_info(camera, 0, frame_id)
                writer.write(f"/{name}/camera_info", info.__msgtype__, stamp_ns, info)
                image = bag_messages.image(picture(index), 0, frame_id)
                writer.write(f"/{name}/image_raw", image.__msgtype__, stamp_ns, image)
    for name in ("left", "right"):
        listener.listen(Image, f"/{name}/image_raw")
        listener.listen(CameraInfo, f"/{name}/camera_info")
    printed = receive(listener, start, f"input:={tmp_path / 'bag'}", "as_recorded:=true")
    for topic in listener.received:
        assert listener.stamps_ns(topic) == [START_NS + index * STEP_NS for index in range(6)]
        assert printed.count(f"{topic} has no time in its headers; time of recording taken") == 1
    newest = listener.received["/right/image_raw"][-1]
    assert bytes(newest.data) == picture(5).tobytes()
    assert newest.header.frame_id == frame_id


def test_unknown_message_types_are_skipped_and_named_once(
    listener: Listener, start: Start, tmp_path: Path
) -> None:
    with bags.create_bag(tmp_path / "bag") as writer:
        writer.write_image("/cam/image_raw", picture(0), START_NS, "lens")
        raw: Any = writer.writer
        for name in ("left", "right"):
            connection = raw.add_connection(
                f"/gripper/{name}",
                "claw_msgs/msg/Claw",
                msgdef="float64 width\n",
                rihs01="RIHS01_0",
            )
            raw.write(connection, START_NS, b"\x00\x01\x00\x00" + bytes(8))
    listener.listen(Image, "/cam/image_raw")
    printed = receive(listener, start, f"input:={tmp_path / 'bag'}", "all_topics:=true")
    assert len(listener.received["/cam/image_raw"]) == 1
    warnings = [line for line in printed.splitlines() if "WARN" in line]
    assert len(warnings) == 1
    assert "/gripper/left (claw_msgs/msg/Claw), /gripper/right (claw_msgs" in warnings[0]


def test_latched_topics_reach_those_who_come_late(
    listener: Listener, start: Start, tmp_path: Path
) -> None:
    camera = CameraModel.from_fov(32, 24, 80.0)
    with bags.create_bag(tmp_path / "bag") as writer:
        info = bag_messages.camera_info(camera, START_NS, "lens")
        writer.write("/cam/camera_info", bags.CAMERA_INFO_TYPE, START_NS, info, latched=True)
        for index in range(10):
            writer.write_image("/cam/image_raw", picture(0), START_NS + index * STEP_NS, "lens")
    late = QoSProfile(depth=5, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    listener.listen(CameraInfo, "/cam/camera_info", late)
    listener.listen(Image, "/cam/image_raw")
    # The calibration was recorded before the part that is played.
    receive(listener, start, f"input:={tmp_path / 'bag'}", "as_recorded:=true", "start_s:=0.2")
    assert listener.stamps_ns("/cam/camera_info") == [START_NS]
    assert len(listener.received["/cam/image_raw"]) == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_loop_repeats_the_stamps_until_a_signal_ends_it(
    listener: Listener, start: Start, folder: Path, number: signal.Signals
) -> None:
    listener.listen(Image, "/image")
    listener.thread.start()
    node = start(f"input:={folder}", "loop:=true", "frame_rate_hz:=100.0", WAIT)
    assert wait_until(lambda: len(listener.received["/image"]) >= 30)
    assert node.end(number) == 0
    stamps_ns = listener.stamps_ns("/image")
    assert stamps_ns[:12] == stamps_ns[12:24]
    assert len(set(stamps_ns)) == 12


def test_signal_while_waiting_for_a_subscriber_ends_the_node(start: Start, folder: Path) -> None:
    node = start(f"input:={folder}", "wait_for_subscriber_s:=60.0")
    node.wait_for_text("waiting for a subscriber of /image")
    before = node.text
    assert node.end(signal.SIGINT) == 0
    assert node.text == before


def test_the_named_node_is_waited_for_whoever_else_listens(
    listener: Listener, start: Start, folder: Path
) -> None:
    listener.listen(Image, "image")  # as overlay_node does while the model is loaded
    listener.thread.start()
    node = start(f"input:={folder}", "rate:=1000.0", "wait_for_node:=forecast_node", WAIT)
    node.wait_for_text("waiting for /forecast_node of /image")
    seen = lambda: listener.node.count_publishers("/image") == 1  # noqa: E731
    assert wait_until(seen)
    assert not wait_until(lambda: "playing" in node.text, 1.0)
    forecast_node = listener.make("forecast_node")
    forecast_node.create_subscription(Image, "image", lambda message: None, 50)
    assert node.wait() == 0, node.text
    assert "end of input after 12 images" in node.text
    assert "did not subscribe" not in node.text
    assert wait_until(lambda: len(listener.received["image"]) == 12)
    assert "has no calibration" in node.text
    assert "fov_deg:=70.0" in node.text


def test_cut_video_is_played_to_the_cut_and_said(
    listener: Listener, start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50.0, (32, 24))
    for index in range(30):
        writer.write(picture(index))
    writer.release()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    listener.listen(Image, "/image")
    printed = receive(listener, start, f"input:={path}")
    count = len(listener.received["/image"])
    assert 5 < count < 30
    assert f"clip.avi is truncated: {count} of 30 frames could be decoded" in printed


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("input", "", "set it to a video"),
        ("rate", 0.0, "0 is not above 0 and at most 1000"),
        ("rate", float("nan"), "nan is not above 0"),
        ("rate", float("inf"), "inf is not above 0"),
        ("start_s", -1.0, "out of range"),
        ("fov_deg", 180.0, "180 is not from 0 to below 180"),
        ("image_transport", "theora", "valid: raw, compressed"),
        ("topics", ["/a", "no topic"], "'no topic' is not a topic name"),
    ],
)
def test_senseless_parameters_are_named(name: str, value: Any, text: str) -> None:
    (spec,) = [spec for spec in REPLAY_PARAMETERS if spec.name == name]
    assert text in (spec.problem(value) or "")


def test_help_lists_every_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {spec.name} (default " in shown for spec in REPLAY_PARAMETERS)


def test_defaults_are_valid_except_for_the_missing_input() -> None:
    refused = [spec.name for spec in REPLAY_PARAMETERS if spec.problem(spec.default)]
    assert refused == ["input"]
