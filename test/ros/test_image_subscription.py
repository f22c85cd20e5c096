"""The image subscription follows what publishers offer, and loses no large frame to that."""

from __future__ import annotations

import array
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_bench import Bench
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from dino_foresight_ros.ros import image_subscription
from dino_foresight_ros.ros.image_subscription import (
    OTHER_TYPES,
    VIDEO_DEPTH,
    ImageInput,
    image_topic_text,
)

RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
FRAMES = 10
PUBLISH = """
import time, rclpy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String
rclpy.init()
node = rclpy.create_node("camera")
publisher = node.create_publisher(Image, "large", 5)
message = Image(height=540, width=960, step=2880, encoding="rgb8", data=bytes(540 * 2880))
while not publisher.get_subscription_count():
    time.sleep(0.05)
time.sleep(1.0)  # the subscription follows the publisher's offer
while True:
    message.header.stamp.sec += 1
    publisher.publish(message)
    time.sleep(0.1)
"""


class Listener(Bench):
    """A node, and what its input received."""

    def __init__(self, *overrides: Parameter) -> None:
        super().__init__()
        self.node = self.make("bench", parameter_overrides=list(overrides))
        self.got: list[Any] = []

    def input(self, topic: str, reliability: str = "auto", kind: type[Any] = Image) -> ImageInput:
        return ImageInput(self.node, topic, kind, self.got.append, reliability)

    def publisher(self, topic: str, policy: ReliabilityPolicy) -> Any:
        return self.node.create_publisher(Image, topic, QoSProfile(depth=1, reliability=policy))

    def policies(self, topic: str) -> list[ReliabilityPolicy]:
        infos = self.node.get_subscriptions_info_by_topic(f"/{topic}")
        return [info.qos_profile.reliability for info in infos]


@pytest.fixture
def bench(ros_domain: dict[str, str], request: pytest.FixtureRequest) -> Iterator[Listener]:
    bench = Listener(*getattr(request, "param", ()))
    yield bench
    bench.close()


@pytest.fixture
def driver(ros_domain: dict[str, str]) -> Iterator[Node]:
    """A node of another participant: one participant has one type on a topic."""
    bench = Bench()
    yield bench.make("driver")
    bench.close()


def test_without_publishers_it_is_best_effort(bench: Listener):
    bench.input("alone")
    bench.spin_for(0.5)
    assert bench.policies("alone") == [BEST_EFFORT]


def test_it_is_reliable_while_all_publishers_are(bench: Listener):
    images = bench.input("followed")
    first = bench.publisher("followed", RELIABLE)
    assert bench.spin_until(lambda: bench.policies("followed") == [RELIABLE])
    second = bench.publisher("followed", BEST_EFFORT)
    assert bench.spin_until(lambda: bench.policies("followed") == [BEST_EFFORT])
    bench.node.destroy_publisher(second)
    assert bench.spin_until(lambda: bench.policies("followed") == [RELIABLE])
    first.publish(Image(height=1))
    assert bench.spin_until(lambda: bool(bench.got))
    images.close()
    assert bench.spin_until(lambda: bench.policies("followed") == [])


@pytest.mark.parametrize(("wanted", "offered"), [("best_effort", RELIABLE), ("reliable", RELIABLE)])
def test_a_fixed_reliability_stays(bench: Listener, wanted: str, offered: ReliabilityPolicy):
    bench.input("fixed", wanted)
    bench.publisher("fixed", offered)
    bench.spin_for(1.0)
    assert bench.policies("fixed") == [ReliabilityPolicy[wanted.upper()]]


def test_a_best_effort_camera_is_heard(bench: Listener):
    bench.input("driver")
    publisher = bench.publisher("driver", BEST_EFFORT)

    def heard() -> bool:
        publisher.publish(Image(height=1))
        return bool(bench.got)

    assert bench.spin_until(heard)


def test_large_frames_of_a_reliable_camera_arrive(bench: Listener, ros_domain: dict[str, str]):
    bench.input("large")
    camera = subprocess.Popen([sys.executable, "-c", PUBLISH], env=ros_domain)
    try:
        assert bench.spin_until(lambda: len(bench.got) >= FRAMES)
    finally:
        camera.kill()
        camera.wait()
    # Only the newest frame waits, so a pause of this process costs some on a busy machine.
    assert bench.got[-1].header.stamp.sec < 10 * FRAMES


@pytest.mark.parametrize("with_raw", [True, False])
def test_compressed_images_are_heard_where_image_transport_puts_them(
    bench: Listener, driver: Node, with_raw: bool
):
    """As users of image_transport write it: image:=/cam/image_raw image_transport:=compressed."""
    if with_raw:
        driver.create_publisher(Image, "cam/image_raw", 1)
        assert bench.spin_until(lambda: bench.node.count_publishers("cam/image_raw") == 1)
    images = bench.input("cam/image_raw", kind=CompressedImage)
    assert images.topic_name == "/cam/image_raw"
    publisher = driver.create_publisher(CompressedImage, "cam/image_raw/compressed", 1)

    def heard() -> bool:
        publisher.publish(CompressedImage(format="jpeg"))
        return bool(bench.got)

    assert bench.spin_until(heard)
    assert images.topic_name == "/cam/image_raw/compressed"
    assert bench.spin_until(lambda: bench.policies("cam/image_raw/compressed") == [RELIABLE])
    assert images.unheard() == []
    # It stays while the driver starts anew.
    driver.destroy_publisher(publisher)
    bench.spin_for(0.5)
    assert images.topic_name == "/cam/image_raw/compressed"


def test_compressed_images_on_the_topic_itself_go_before_those_below(bench: Listener):
    images = bench.input("direct", kind=CompressedImage)
    for topic in ("direct/compressed", "direct"):
        bench.node.create_publisher(CompressedImage, topic, 1)
        assert bench.spin_until(lambda t=topic: images.topic_name == f"/{t}")


def test_every_message_of_a_video_is_taken(bench: Listener, driver: Node):
    images = bench.input("video", kind=CompressedImage)
    publisher = driver.create_publisher(CompressedImage, "video", 100)

    def is_deep() -> bool:
        publisher.publish(CompressedImage(format="h264"))
        bench.executor.spin_once(timeout_sec=0.02)
        return images.subscription.qos_profile.depth == VIDEO_DEPTH

    assert bench.spin_until(is_deep)
    assert bench.spin_until(lambda: publisher.get_subscription_count() == 1)
    bench.got.clear()
    for number in range(20):
        publisher.publish(CompressedImage(format=f"h264;{number}"))
    assert bench.spin_until(lambda: any(m.format == "h264;19" for m in bench.got))
    taken = [message.format for message in bench.got if ";" in message.format]
    assert taken == [f"h264;{number}" for number in range(20)]


def test_messages_of_other_packages_become_compressed_images(
    bench: Listener, driver: Node, monkeypatch: pytest.MonkeyPatch
):
    """A String stands for a package that is installed; the real ones' fields are built here."""
    of_string = {"std_msgs/msg/String": lambda message: CompressedImage(format=message.data)}
    monkeypatch.setattr(image_subscription, "OTHER_TYPES", OTHER_TYPES | of_string)
    images = bench.input("cam/image_raw", kind=CompressedImage)
    publisher = driver.create_publisher(String, "cam/image_raw/ffmpeg", 1)

    def heard() -> bool:
        publisher.publish(String(data="libx264"))
        return bool(bench.got)

    assert bench.spin_until(heard)
    assert images.topic_name == "/cam/image_raw/ffmpeg"
    assert (type(bench.got[0]), bench.got[0].format) == (CompressedImage, "libx264")
    time, data = Time(sec=5), array.array("B", [7])
    foxglove = SimpleNamespace(timestamp=time, frame_id="f", format="h265", data=data)
    packet = SimpleNamespace(header=Header(stamp=time, frame_id="f"), encoding="h265", data=data)
    for kind, adapt in OTHER_TYPES.items():
        made = adapt(packet if "ffmpeg" in kind else foxglove)
        assert (made.header.stamp, made.header.frame_id, made.format) == (time, "f", "h265")
        assert bytes(made.data) == b"\x07"


HELD = Parameter("qos_overrides./held.subscription.reliability", value="reliable")


@pytest.mark.parametrize("bench", [(HELD,)], indirect=True, ids=["overridden"])
def test_override_of_reliability_holds_whatever_is_published(bench: Listener):
    images = bench.input("held")
    subscription = images.subscription
    first = bench.publisher("held", RELIABLE)
    bench.spin_for(1.0)
    assert images.subscription is subscription  # there is nothing to follow
    bench.node.destroy_publisher(first)
    bench.publisher("held", BEST_EFFORT)
    assert bench.spin_until(lambda: bool(images.unheard()))
    bench.spin_for(0.5)
    assert bench.policies("held") == [RELIABLE]
    assert "reliability is best_effort there, reliable is asked for here" in images.unheard()[0]
    assert images.met_incompatible()
    assert not images.met_incompatible()


def test_publisher_that_auto_follows_is_heard(bench: Listener):
    images = bench.input("followed_down")
    bench.publisher("followed_down", RELIABLE)
    assert bench.spin_until(lambda: bench.policies("followed_down") == [RELIABLE])
    bench.publisher("followed_down", BEST_EFFORT)
    assert bench.spin_until(lambda: bench.policies("followed_down") == [BEST_EFFORT])
    assert images.unheard() == []


def test_publishers_are_followed_while_simulated_time_stands_still(bench: Listener):
    bench.node.set_parameters([Parameter("use_sim_time", value=True)])
    bench.input("paused")
    bench.publisher("paused", RELIABLE)
    assert bench.spin_until(lambda: bench.policies("paused") == [RELIABLE])


def test_an_image_topic_is_told_with_what_its_messages_take(monkeypatch: pytest.MonkeyPatch):
    packet = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
    installed: list[str] = []
    monkeypatch.setattr(
        image_subscription, "message_class", lambda name: Image if name in installed else None
    )
    assert image_topic_text("/a", ["sensor_msgs/msg/Image"]) == "/a"
    assert image_topic_text("/a", [packet, "sensor_msgs/msg/CompressedImage"]) == "/a"
    assert image_topic_text("/a", ["sensor_msgs/msg/CameraInfo"]) == ""
    told = f"/a/ffmpeg ({packet}; install ffmpeg_image_transport_msgs, image_transport:=compressed)"
    assert image_topic_text("/a/ffmpeg", [packet]) == told
    installed.append(packet)
    assert image_topic_text("/a", [packet]) == f"/a ({packet}; image_transport:=compressed)"
