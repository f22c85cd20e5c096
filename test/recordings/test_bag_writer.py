"""Written bags against the rules of rosbag2, by readers other than the library that wrote them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dino_foresight_ros.recordings import CameraModel
from dino_foresight_ros.recordings.bag_reader import BagReader
from dino_foresight_ros.recordings.bag_writer import create_bag

STAMP_NS = 1_700_000_000_123_456_789
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
CAMERA = CameraModel.from_fov(64, 48, 90.0)
TYPES = {
    "/cam/image": "sensor_msgs/msg/Image",
    "/cam/image/compressed": "sensor_msgs/msg/CompressedImage",
    "/cam/camera_info": "sensor_msgs/msg/CameraInfo",
}
storages = pytest.mark.parametrize("storage", ["mcap", "sqlite3"])


@pytest.fixture
def bag(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes two messages on each of three topics."""

    def write(storage: str) -> Path:
        with create_bag(tmp_path / "drive", storage) as writer:  # type: ignore[arg-type]
            for stamp_ns in (STAMP_NS, STAMP_NS + 40_000_000):
                writer.write_image("/cam/image", IMAGE, stamp_ns, "optical")
                writer.write_compressed("/cam/image/compressed", IMAGE, stamp_ns, "optical", "png")
                writer.write_camera_info("/cam/camera_info", CAMERA, stamp_ns, "optical")
        return tmp_path / "drive"

    return write


@storages
def test_metadata_is_what_rosbag2_reads(bag: Callable[[str], Path], storage: str) -> None:
    """The keys and types that rosbag2_storage's yaml.hpp asks for, up to Jazzy's version 9."""
    path = bag(storage)
    suffix = {"mcap": "mcap", "sqlite3": "db3"}[storage]
    info = yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert info["version"] <= 9
    assert info["storage_identifier"] == storage
    assert info["relative_file_paths"] == [f"drive.{suffix}"]
    assert (path / f"drive.{suffix}").is_file()
    assert info["duration"] == {"nanoseconds": 40_000_000}
    assert info["starting_time"] == {"nanoseconds_since_epoch": STAMP_NS}
    assert info["message_count"] == 6
    assert (info["compression_format"], info["compression_mode"]) == ("", "")
    assert info["files"][0]["path"] == f"drive.{suffix}"
    assert info["files"][0]["message_count"] == 6
    assert isinstance(info["ros_distro"], str)
    assert not info["custom_data"]
    topics = {t["topic_metadata"]["name"]: t for t in info["topics_with_message_count"]}
    assert {name: t["topic_metadata"]["type"] for name, t in topics.items()} == TYPES
    assert all(t["message_count"] == 2 for t in topics.values())
    assert all(t["topic_metadata"]["serialization_format"] == "cdr" for t in topics.values())


@storages
def test_qos_profiles_can_be_offered_again(bag: Callable[[str], Path], storage: str) -> None:
    """Below version 9 rosbag2 takes a text that holds rmw's enumeration values."""
    info = yaml.safe_load((bag(storage) / "metadata.yaml").read_text())
    for topic in info["rosbag2_bagfile_information"]["topics_with_message_count"]:
        text = topic["topic_metadata"]["offered_qos_profiles"]
        (profile,) = yaml.safe_load(text)
        assert profile["history"] == 1  # RMW_QOS_POLICY_HISTORY_KEEP_LAST
        assert profile["depth"] >= 1
        assert profile["reliability"] == 1  # RMW_QOS_POLICY_RELIABILITY_RELIABLE
        assert profile["durability"] == 2  # RMW_QOS_POLICY_DURABILITY_VOLATILE
        assert profile["liveliness"] == 1  # RMW_QOS_POLICY_LIVELINESS_AUTOMATIC
        for name in ("deadline", "lifespan", "liveliness_lease_duration"):
            # RMW_DURATION_INFINITE
            assert profile[name] == {"sec": 9223372036, "nsec": 854775807}
        assert profile["avoid_ros_namespace_conventions"] is False


@storages
def test_type_hashes_are_those_of_the_installed_messages(
    bag: Callable[[str], Path], storage: str
) -> None:
    packages = pytest.importorskip("ament_index_python.packages")
    try:
        share = Path(packages.get_package_share_directory("sensor_msgs"))
    except packages.PackageNotFoundError:
        pytest.skip("sensor_msgs is not in AMENT_PREFIX_PATH")
    info = yaml.safe_load((bag(storage) / "metadata.yaml").read_text())
    for topic in info["rosbag2_bagfile_information"]["topics_with_message_count"]:
        metadata = topic["topic_metadata"]
        description = json.loads(
            (share / f"{metadata['type'].removeprefix('sensor_msgs/')}.json").read_text()
        )
        hashes = {h["type_name"]: h["hash_string"] for h in description["type_hashes"]}
        assert metadata["type_description_hash"] == hashes[metadata["type"]]


@storages
def test_messages_are_those_that_ros_reads(bag: Callable[[str], Path], storage: str) -> None:
    """ROS's own type support takes the bytes apart."""
    serialization = pytest.importorskip("rclpy.serialization")
    messages = pytest.importorskip("sensor_msgs.msg")
    reader = BagReader(bag(storage))
    found: dict[str, Any] = {}
    for message in reader.messages(list(TYPES)):
        kind = getattr(messages, TYPES[message.topic].rpartition("/")[2])
        found.setdefault(message.topic, serialization.deserialize_message(message.data, kind))
    reader.close()
    for content in found.values():
        assert content.header.frame_id == "optical"
        assert content.header.stamp.sec * 10**9 + content.header.stamp.nanosec == STAMP_NS
    image = found["/cam/image"]
    assert (image.height, image.width, image.encoding, image.step) == (48, 64, "rgb8", 192)
    assert bytes(image.data) == IMAGE.tobytes()
    assert found["/cam/image/compressed"].format == "rgb8; png compressed bgr8"
    assert bytes(found["/cam/image/compressed"].data).startswith(b"\x89PNG")
    info = found["/cam/camera_info"]
    assert (info.height, info.width, info.distortion_model) == (48, 64, "plumb_bob")
    assert list(info.r) == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert list(info.k) == pytest.approx([32, 0, 31.5, 0, 32, 23.5, 0, 0, 1])
    assert list(info.p) == pytest.approx([32, 0, 31.5, 0, 0, 32, 23.5, 0, 0, 0, 1, 0])


def test_mcap_is_indexed_and_complete_for_another_reader(bag: Callable[[str], Path]) -> None:
    mcap_reader = pytest.importorskip("mcap.reader")
    with (bag("mcap") / "drive.mcap").open("rb") as file:
        reader = mcap_reader.make_reader(file, validate_crcs=True)
        header, summary = reader.get_header(), reader.get_summary()
        messages = list(reader.iter_messages())
    assert header.profile == "ros2"
    assert summary.statistics.message_count == 6
    assert {s.name for s in summary.schemas.values()} == set(TYPES.values())
    for schema, channel, message in messages:
        assert schema.encoding == "ros2msg"
        assert TYPES[channel.topic] == schema.name
        assert b"std_msgs/Header header" in schema.data
        assert b"MSG: std_msgs/Header" in schema.data
        assert channel.message_encoding == "cdr"
        assert yaml.safe_load(channel.metadata["offered_qos_profiles"])[0]["reliability"] == 1
        assert message.data[:2] == b"\x00\x01"  # CDR, little endian
    assert [message.log_time for _, _, message in messages[::3]] == [
        STAMP_NS,
        STAMP_NS + 40_000_000,
    ]


def test_sqlite_has_the_tables_of_rosbag2(bag: Callable[[str], Path]) -> None:
    connection = sqlite3.connect(bag("sqlite3") / "drive.db3")
    rows = connection.execute(
        "SELECT topics.name, topics.type, messages.timestamp FROM messages "
        "JOIN topics ON messages.topic_id = topics.id ORDER BY messages.timestamp"
    ).fetchall()
    definitions = dict(
        connection.execute("SELECT topic_type, encoding FROM message_definitions").fetchall()
    )
    (schema_version,) = connection.execute("SELECT schema_version FROM schema").fetchone()
    connection.close()
    assert schema_version <= 4
    assert len(rows) == 6
    assert {name: kind for name, kind, _ in rows} == TYPES
    assert definitions == dict.fromkeys(TYPES.values(), "ros2msg")


@pytest.mark.parametrize(("fov_deg", "focal"), [(90.0, 32.0), (60.0, 55.4256)])
def test_field_of_view_gives_the_focal_length(fov_deg: float, focal: float) -> None:
    camera = CameraModel.from_fov(64, 48, fov_deg)
    assert camera.k[0] == camera.k[4] == pytest.approx(focal, rel=1e-5)
    # The left edge of the first pixel is seen at half the field of view.
    assert np.degrees(np.arctan((camera.k[2] + 0.5) / camera.k[0])) == pytest.approx(fov_deg / 2)
