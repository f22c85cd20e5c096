"""One nuScenes scene as a rosbag2, and a check that everything got into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag_messages import odometry, transforms
from dino_foresight_ros.recordings.bag_reader import BagReader
from dino_foresight_ros.recordings.bag_writer import Storage, create_bag
from dino_foresight_ros.recordings.nuscenes import scene_messages as messages
from dino_foresight_ros.recordings.nuscenes.scenes import (
    Reading,
    SceneError,
    SceneRows,
    SceneTables,
)
from dino_foresight_ros.recordings.nuscenes.tables import Sensor, Tables
from dino_foresight_ros.recordings.poses import Transform, rotation_matrix
from dino_foresight_ros.stamps import NS_PER_S

LIDAR = "LIDAR_TOP"


@dataclass(frozen=True)
class BagContent:
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


def scene_rows(tables: Tables, names: Collection[str], content: BagContent) -> SceneRows:
    """Collect what the bags of some scenes are made of; errors as of `SceneRows`."""
    cameras = content.cameras or tables.channels("camera")
    channels = (*cameras, LIDAR) if content.lidar else cameras
    return SceneRows(tables, names, channels, content.sweeps, content.annotations)


def write_scene(
    scene: SceneTables,
    out: Path,
    storage: Storage = "mcap",
    force: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, int]:
    """Write one scene.

    Args:
        scene: as wanted.
        out: rosbag2 folder; it appears when it is complete and checked.
        storage: mcap or sqlite3.
        force: replace an existing bag.
        on_progress: called with the numbers of messages written and to be written.

    Returns:
        Number of messages by topic.

    Raises:
        SceneError: files are missing or damaged (named).
        InputError: `out` exists, cannot be written, or cannot be read back in full.
    """
    _check_files(scene)
    items = _in_order(scene)
    counts = dict(Counter(item.topic for item in items))

    def check(bag: Path) -> None:
        check_counts(bag, counts, out)

    with create_bag(out, storage, force=force, check=check) as bag:
        for number, item in enumerate(items):
            bag.write(item.topic, item.msgtype, item.stamp_ns, item.make(), latched=item.latched)
            on_progress(number + 1, len(items))
    return counts


def check_counts(bag: Path, expected: dict[str, int], out: Path) -> None:
    """Read a bag through, which is to become `out`, and compare it with what was written.

    Raises:
        InputError: they differ.
    """
    reader = BagReader(bag)
    try:
        found = Counter(message.topic for message in reader.messages(list(expected)))
    finally:
        reader.close()
    if found != expected or reader.damage:
        wrong = [
            f"{t} has {found[t]} of {expected[t]} messages" for t in _differing(found, expected)
        ]
        reason = "; ".join([*([reader.damage] if reader.damage else []), *wrong])
        raise InputError(
            f"{out} was not written, because its messages could not be read back ({reason}); "
            "check the disk and write it again"
        )


def check_finished(scene: SceneTables, storage: Storage, out: Path) -> None:
    """Compare an existing bag with what would be written there, by its index.

    Raises:
        InputError: it holds something else (what, is named), is damaged or is no bag.
    """
    items = _in_order(scene)
    expected = Counter(item.topic for item in items)
    reason = _difference(out, expected, items[0].stamp_ns, storage)
    if reason:
        raise InputError(
            f"{out} is there, but is not the bag wanted of {scene.name}: {reason}; choose another "
            "--out, or replace it with --force"
        )


def _difference(out: Path, expected: Counter[str], start_ns: int, storage: Storage) -> str:
    """What is different, or nothing."""
    try:
        reader = BagReader(out)
    except InputError as error:
        return str(error)
    reader.close()
    found = {name: topic.message_count for name, topic in reader.topics.items()}
    if reader.damage:
        return reader.damage
    wrong = _differing(found, expected)
    if wrong:
        first = wrong[0]
        more = f", and {len(wrong) - 1} more topics differ" if len(wrong) > 1 else ""
        return f"{first} has {found.get(first, 0)} messages, not {expected[first]}{more}"
    if reader.start_ns != start_ns:
        return "it begins at another time"
    if not any(out.glob("*.mcap" if storage == "mcap" else "*.db3")):
        return f"its storage is not {storage}"
    return ""


def _differing(found: Mapping[str, int], expected: Mapping[str, int]) -> list[str]:
    topics = sorted({*found, *expected})
    return [topic for topic in topics if found.get(topic, 0) != expected.get(topic, 0)]


def _check_files(scene: SceneTables) -> None:
    missing = [reading.file for reading in scene.readings if not reading.file.is_file()]
    if missing:
        raise SceneError(
            f"{missing[0]} is missing ({len(missing)} of {len(scene.readings)} files of "
            f"{scene.name} are); unpack the archive that has it, or choose a scene that is there"
        )


def _in_order(scene: SceneTables) -> list[Item]:
    return sorted(_items(scene), key=lambda item: item.stamp_ns)


def camera_topic(sensor: Sensor) -> str:
    """Where a camera's pictures go."""
    return f"/{sensor.frame_id}/image_rect/compressed"


def _items(scene: SceneTables) -> Iterator[Item]:
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
            lambda frame=frame: transforms(frame),  # type: ignore[misc]
        )
        twist = (linear[number], angular[number])
        yield Item(
            stamp_ns,
            "/odom",
            "nav_msgs/msg/Odometry",
            lambda stamp_ns=stamp_ns, pose=pose, twist=twist: odometry(  # type: ignore[misc]
                stamp_ns, messages.MAP_FRAME, messages.BASE_FRAME, pose, *twist
            ),
        )


def _poses(readings: Sequence[Reading]) -> list[tuple[int, Transform]]:
    """The vehicle's pose at every instant that some sensor looked."""
    by_stamp = {reading.stamp_ns: reading.ego for reading in readings if reading.ego is not None}
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
