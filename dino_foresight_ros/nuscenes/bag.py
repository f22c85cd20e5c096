"""One nuScenes scene as a rosbag2, and a check that everything got into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.media.bag_reader import BagReader
from dino_foresight_ros.media.bag_writer import Storage, create_bag
from dino_foresight_ros.media.source import NS_PER_S
from dino_foresight_ros.media.transforms import rotation_matrix
from dino_foresight_ros.nuscenes import messages
from dino_foresight_ros.nuscenes.tables import Reading, Scene, Sensor, Tables, Transform

LIDAR = "LIDAR_TOP"


@dataclass(frozen=True)
class Wishes:
    """What a bag shall hold.

    Attributes:
        cameras: channels; all of them when empty.
        sweeps: pictures (and lidar sweeps) between the keyframes, too.
        lidar: /lidar_top.
        annotations: /annotations.
        storage: mcap or sqlite3.
    """

    cameras: tuple[str, ...] = ()
    sweeps: bool = True
    lidar: bool = False
    annotations: bool = False
    storage: Storage = "mcap"


class Item(NamedTuple):
    """One message to write; `make` builds it when its turn comes."""

    stamp_ns: int
    topic: str
    msgtype: str
    make: Callable[[], Any]
    latched: bool = False


def write_scene(
    tables: Tables,
    name: str,
    wishes: Wishes,
    out: Path,
    force: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, int]:
    """Write one scene.

    Args:
        tables: of the data set.
        name: of the scene.
        wishes: what the bag shall hold.
        out: rosbag2 folder; it appears when it is complete and checked.
        force: replace an existing bag.
        on_progress: called with the numbers of messages written and to be written.

    Returns:
        Number of messages by topic.

    Raises:
        InputError: rows or files are missing (named), `out` exists, or what was written cannot be
            read back in full.
    """
    cameras = wishes.cameras or tables.channels("camera")
    channels = (*cameras, LIDAR) if wishes.lidar else cameras
    scene = tables.load(name, channels, wishes.sweeps, wishes.annotations)
    if not scene.readings:
        raise InputError(f"{tables.folder}: {name} has no data of {', '.join(channels)}")
    items = sorted(_items(scene), key=lambda item: item.stamp_ns)
    with create_bag(out, wishes.storage, force=force) as bag:
        for number, item in enumerate(items):
            bag.write(item.topic, item.msgtype, item.stamp_ns, item.make(), latched=item.latched)
            on_progress(number + 1, len(items))
    counts = dict(Counter(item.topic for item in items))
    check_counts(out, counts)
    return counts


def check_counts(bag: Path, expected: dict[str, int]) -> None:
    """Read a bag through and compare its messages with what was written.

    Raises:
        InputError: they differ.
    """
    reader = BagReader(bag)
    try:
        found = Counter(message.topic for message in reader.messages(list(expected)))
    finally:
        reader.close()
    if found != expected or reader.damage:
        wrong = [t for t in expected if found[t] != expected[t]]
        raise InputError(
            f"{bag} is incomplete ({reader.damage or 'it can be read'}): "
            + ", ".join(f"{t} has {found[t]} of {expected[t]} messages" for t in wrong)
            + "; write it again with --force"
        )


def camera_topic(sensor: Sensor) -> str:
    """Where a camera's pictures go."""
    return f"/{sensor.frame_id}/image_rect/compressed"


def _items(scene: Scene) -> Iterator[Item]:
    sensors = {reading.sensor.channel: reading.sensor for reading in scene.readings}
    poses = _poses(scene.readings)
    yield Item(
        poses[0][0],
        "/tf_static",
        "tf2_msgs/msg/TFMessage",
        lambda: messages.static_frames(list(sensors.values()), poses[0][0]),
        latched=True,
    )
    yield from _motion(poses)
    for reading in scene.readings:
        yield from _reading(reading)
    for stamp_ns, group in groupby(scene.boxes, key=lambda box: box.stamp_ns):
        boxes = list(group)
        yield Item(
            stamp_ns,
            "/annotations",
            "visualization_msgs/msg/MarkerArray",
            lambda boxes=boxes: messages.markers(boxes),  # type: ignore[misc]
        )


def _reading(reading: Reading) -> Iterator[Item]:
    stamp_ns, sensor = reading.stamp_ns, reading.sensor
    if sensor.modality != "camera":
        topic, kind = f"/{sensor.frame_id}", "sensor_msgs/msg/PointCloud2"
        yield Item(stamp_ns, topic, kind, lambda: messages.points(reading))
        return
    # The calibration first: who synchronises the two by arrival then waits for nothing.
    info = f"/{sensor.frame_id}/camera_info"
    yield Item(stamp_ns, info, "sensor_msgs/msg/CameraInfo", lambda: messages.camera_info(reading))
    kind = "sensor_msgs/msg/CompressedImage"
    yield Item(stamp_ns, camera_topic(sensor), kind, lambda: messages.picture(reading))


def _motion(poses: Sequence[tuple[int, Transform]]) -> Iterator[Item]:
    """/tf and /odom at the rate of the ego poses."""
    linear, angular = velocities(poses)
    for number, (stamp_ns, pose) in enumerate(poses):
        frame = [(stamp_ns, messages.MAP_FRAME, messages.BASE_FRAME, pose)]
        yield Item(
            stamp_ns,
            "/tf",
            "tf2_msgs/msg/TFMessage",
            lambda frame=frame: messages.transforms(frame),  # type: ignore[misc]
        )
        twist = (linear[number], angular[number])
        yield Item(
            stamp_ns,
            "/odom",
            "nav_msgs/msg/Odometry",
            lambda stamp_ns=stamp_ns, pose=pose, twist=twist: messages.odometry(  # type: ignore[misc]
                stamp_ns, pose, *twist
            ),
        )


def _poses(readings: Sequence[Reading]) -> list[tuple[int, Transform]]:
    """The vehicle's pose at every instant that some sensor looked."""
    by_stamp = {reading.stamp_ns: reading.ego for reading in readings}
    return sorted(by_stamp.items())


def velocities(
    poses: Sequence[tuple[int, Transform]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Velocity (m/s) and turning rate (rad/s), (N, 3) each, in the vehicle's frame.

    From the poses before and after each, at least 50 ms apart: poses of neighbouring sensors lie
    milliseconds apart, where the rounding of a pose would be most of the difference.
    """
    times = np.array([stamp_ns for stamp_ns, _ in poses], np.int64)
    places = np.array([pose.translation for _, pose in poses])
    turns = np.stack([rotation_matrix(pose.rotation) for _, pose in poses])
    linear, angular = np.zeros((len(times), 3)), np.zeros((len(times), 3))
    apart_ns = NS_PER_S // 20
    before = np.maximum(np.searchsorted(times, times - apart_ns, side="right") - 1, 0)
    after = np.minimum(np.searchsorted(times, times + apart_ns), len(times) - 1)
    for i, (first, last) in enumerate(zip(before, after, strict=True)):
        seconds = (times[last] - times[first]) / NS_PER_S
        if seconds <= 0:
            continue
        linear[i] = turns[i].T @ (places[last] - places[first]) / seconds
        turned = turns[first].T @ turns[last]  # small: its skew part is the rotation vector
        skew = turned - turned.T
        angular[i] = np.array([skew[2, 1], skew[0, 2], skew[1, 0]]) / (2 * seconds)
    return linear, angular
