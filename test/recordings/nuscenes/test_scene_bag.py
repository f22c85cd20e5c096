"""nuScenes scenes as bags: everything in them, at the right time and place; broken tables named."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nuscenes_set import CAMERAS, START_US, STEP_US, NuScenesSet, map_from_base, matrix

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.recordings.bag_reader import BagReader
from dino_foresight_ros.recordings.opening import open_recording

pytestmark = pytest.mark.slow

LENGTH = 13


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> NuScenesSet:
    made = NuScenesSet(tmp_path_factory.mktemp("nuscenes"), scenes=2, length=LENGTH)
    made.write()
    return made


@pytest.fixture(scope="module")
def bag(data: NuScenesSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bags") / "drive"
    assert convert(data.root, out, "--lidar", "--annotations") == 0
    return out


def convert(root: Path, out: Path, *more: str, scene: str = "scene-0061") -> int:
    return main(
        [
            "bag",
            "from-nuscenes",
            "--dataroot",
            str(root),
            "--scene",
            scene,
            "--out",
            str(out),
            *more,
        ]
    )


def read(bag: Path) -> dict[str, list[Any]]:
    reader = BagReader(bag)
    found: dict[str, list[Any]] = {name: [] for name in reader.topics}
    for message in reader.messages(list(reader.topics)):
        found[message.topic].append(reader.deserialize(message))
    reader.close()
    return found


def stamp_us(message: Any) -> int:
    ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
    assert ns % 1000 == 0
    return ns // 1000


def test_every_picture_is_there_with_its_own_bytes_and_stamp(data: NuScenesSet, bag: Path):
    found = read(bag)
    for channel in CAMERAS:
        files = sorted(
            (*data.root.glob(f"samples/{channel}/scene-0061*"),
             *data.root.glob(f"sweeps/{channel}/scene-0061*")),
            key=lambda path: path.name,
        )  # fmt: skip
        pictures = found[f"/{channel.lower()}/image_rect/compressed"]
        assert len(pictures) == len(files) == LENGTH
        for picture, file in zip(pictures, files, strict=True):
            assert bytes(picture.data) == file.read_bytes()
            assert stamp_us(picture) == int(file.stem.split("__")[2])
            assert picture.header.frame_id == channel.lower()
            assert "jpeg" in picture.format


def test_camera_info_stands_beside_each_picture(data: NuScenesSet, bag: Path):
    found = read(bag)
    infos = found["/cam_back_left/camera_info"]
    pictures = found["/cam_back_left/image_rect/compressed"]
    assert [stamp_us(i) for i in infos] == [stamp_us(p) for p in pictures]
    k = data.frames["scene-0061"][0].k
    for info in infos:
        np.testing.assert_allclose(np.reshape(info.k, (3, 3)), k)
        np.testing.assert_allclose(np.reshape(info.p, (3, 4)), np.column_stack([k, np.zeros(3)]))
        np.testing.assert_allclose(np.reshape(info.r, (3, 3)), np.eye(3))
        assert (info.width, info.height) == data.size


def chain(transform: Any) -> np.ndarray:
    t, r = transform.translation, transform.rotation
    return matrix((t.x, t.y, t.z), (r.w, r.x, r.y, r.z))


def test_lidar_points_through_tf_hit_the_depth_of_the_front_camera(data: NuScenesSet, bag: Path):
    found = read(bag)
    static = {t.child_frame_id: t for t in found["/tf_static"][0].transforms}
    assert {t.header.frame_id for t in static.values()} == {"base_link"}
    assert set(static) == {channel.lower() for channel in (*CAMERAS, "LIDAR_TOP")}
    base_at = {stamp_us(t): chain(t.transform) for m in found["/tf"] for t in m.transforms}
    k = np.reshape(found["/cam_front/camera_info"][0].k, (3, 3))
    for index, cloud in enumerate(found["/lidar_top"]):
        assert [f.name for f in cloud.fields] == ["x", "y", "z", "intensity", "ring"]
        points = np.frombuffer(bytes(cloud.data), np.float32).reshape(-1, 5)
        assert len(points) == cloud.width
        assert cloud.row_step == len(bytes(cloud.data))
        world = base_at[stamp_us(cloud)] @ chain(static["lidar_top"].transform)
        camera = base_at[stamp_us(found["/cam_front/image_rect/compressed"][index])] @ chain(
            static["cam_front"].transform
        )
        homogeneous = np.column_stack([points[:, :3], np.ones(len(points))]).T
        seen = (np.linalg.inv(camera) @ world @ homogeneous)[:3]
        u, v = np.round((k @ (seen / seen[2]))[:2]).astype(int)
        truth = data.frames["scene-0061"][index].depth[v, u]
        np.testing.assert_allclose(seen[2], truth, rtol=1e-4)


def test_odometry_has_the_speed_of_the_drive(data: NuScenesSet, bag: Path):
    found = read(bag)
    frames = data.frames["scene-0061"]
    own = {START_US + i * STEP_US: frame for i, frame in enumerate(frames)}
    checked = 0
    for odometry in found["/odom"][2:-2]:
        frame = own.get(stamp_us(odometry))
        assert odometry.header.frame_id == "map"
        assert odometry.child_frame_id == "base_link"
        if frame is None:
            continue
        linear, angular = odometry.twist.twist.linear, odometry.twist.twist.angular
        assert linear.x == pytest.approx(frame.speed_mps, rel=0.05, abs=0.1)
        assert angular.z == pytest.approx(frame.yaw_rate_rps, abs=0.05)
        checked += 1
    assert checked > 5
    rates = Counter(stamp_us(m) for m in found["/odom"])
    assert set(rates.values()) == {1}
    assert len(found["/odom"]) == len(found["/tf"]) == LENGTH * 6  # front and lidar look together


def test_boxes_are_in_the_map_at_keyframes(bag: Path):
    found = read(bag)["/annotations"]
    assert len(found) == 3
    for key, array in zip((0, 6, 12), found, strict=True):
        boxes = {m.ns: m for m in array.markers}
        car = boxes["boxes/vehicle.car"]
        assert stamp_us(car) == START_US + key * STEP_US
        assert car.header.frame_id == "map"
        assert (car.scale.x, car.scale.y, car.scale.z) == (4.5, 1.9, 1.6)  # length along x
        assert car.pose.position.x == 10.0 + key
        assert boxes["names/vehicle.car"].text == "vehicle.car (vehicle.moving, visible v80-100)"
        assert car.id != boxes["boxes/human.pedestrian.adult"].id


def test_messages_lie_in_the_order_of_time_and_static_frames_are_latched(bag: Path):
    reader = BagReader(bag)
    times = [message.log_time_ns for message in reader.messages(list(reader.topics))]
    assert times == sorted(times)
    (qos,) = reader.topics["/tf_static"].qos
    assert qos.durability.name == "TRANSIENT_LOCAL"
    assert {t.qos[0].durability.name for n, t in reader.topics.items() if n != "/tf_static"} == {
        "VOLATILE"
    }
    reader.close()


def test_a_camera_of_the_bag_plays_like_any_other(data: NuScenesSet, bag: Path):
    with open_recording(bag, topic="/cam_front/image_rect/compressed") as source:
        frames = list(source.frames())
    assert [frame.stamp_ns for frame in frames] == [
        (START_US + i * STEP_US) * 1000 for i in range(LENGTH)
    ]
    error = np.abs(frames[3].image.astype(int) - data.frames["scene-0061"][3].image)
    assert error.mean() < 8  # JPEG


def test_rows_about_what_a_subset_lacks_are_no_fault(data: NuScenesSet, bag: Path):
    """As v1.0-mini has them: maps of foreign logs, radars without files, links to nowhere."""
    logs = {row["token"] for row in data.tables["log"]}
    assert all(set(row["log_tokens"]) - logs for row in data.tables["map"])
    radars = [row for row in data.tables["sample_data"] if "RADAR" in row["filename"]]
    assert radars
    assert not any((data.root / row["filename"]).exists() for row in radars)
    boxes = {m.ns: m for array in read(bag)["/annotations"] for m in array.markers}
    walker = boxes["names/human.pedestrian.adult"]
    assert walker.text == "human.pedestrian.adult"  # without attributes and visibility


def test_the_hint_to_play_takes_the_bag_before_an_option_with_an_optional_value(
    data: NuScenesSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "drive"
    assert convert(data.root, out, "--cameras", "CAM_BACK", "--keyframes-only") == 0
    hint = capsys.readouterr().out.splitlines()[-1]
    parser = argparse.ArgumentParser()  # as rosbag2's verb declares them
    parser.add_argument("bag_path")
    parser.add_argument("--clock", type=float, nargs="?", const=40, default=0)
    parsed = parser.parse_args(hint.partition("ros2 bag play ")[2].split())
    assert (parsed.bag_path, parsed.clock) == (str(out), 40)


def remove(table: str, token: str) -> Callable[[NuScenesSet], None]:
    def breaking(made: NuScenesSet) -> None:
        rows = made.tables[table]
        before = len(rows)
        rows[:] = [row for row in rows if row["token"] != token]
        assert len(rows) < before

    return breaking


def change(table: str, token: str, **fields: Any) -> Callable[[NuScenesSet], None]:
    def breaking(made: NuScenesSet) -> None:
        next(row for row in made.tables[table] if row["token"] == token).update(fields)

    return breaking


@pytest.mark.parametrize(
    ("breaking", "words"),
    [
        (remove("ego_pose", "scene-0061-CAM_BACK-4"), "the ego_pose scene-0061-CAM_BACK-4, which"),
        (remove("calibrated_sensor", "scene-0061-CAM_FRONT"), "the calibrated_sensor scene-0061"),
        (remove("sensor", "sensor-CAM_BACK"), "the sensor sensor-CAM_BACK, which"),
        (remove("log", "log"), "the log log, which"),
        (remove("sample", "scene-0061-s6"), "the sample scene-0061-s6, which"),
        (remove("instance", "scene-0061-car"), "the instance scene-0061-car, which"),
        (remove("category", "cat-car"), "the category cat-car, which"),
        (remove("attribute", "att-moving"), "the attribute att-moving, which"),
        (remove("visibility", "4"), "the visibility 4, which"),
        (change("map", "map", log_tokens=["gone"]), "no row names the log log of scene-0061"),
        (change("ego_pose", "scene-0061-CAM_BACK-4", rotation=[2, 0, 0, 0]), "no unit quaternion"),
        (change("ego_pose", "scene-0061-CAM_BACK-4", translation=[1, 2]), "no translation of 3"),
        (change("sample_data", "scene-0061-CAM_BACK-4", filename="samples/x.jpg"), "x.jpg is miss"),
        (change("sample_data", "scene-0061-CAM_BACK-4", timestamp=None), "no time stamp"),
        (change("calibrated_sensor", "scene-0061-CAM_BACK", camera_intrinsic=[]), "no camera_intr"),
    ],
)
def test_a_broken_table_is_named_and_nothing_is_left(
    breaking: Callable[[NuScenesSet], None],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    made = NuScenesSet(tmp_path / "data", size=(32, 18))
    breaking(made)
    made.write()
    out = tmp_path / "bag"
    assert convert(made.root, out, "--lidar", "--annotations") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert words in error
    assert not out.exists()


def test_missing_and_cut_off_tables_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    made = NuScenesSet(tmp_path / "data", size=(32, 18))
    made.write()
    table = made.root / "v1.0-mini" / "ego_pose.json"
    table.write_text(table.read_text()[:500])
    assert convert(made.root, tmp_path / "bag") == 1
    assert "ego_pose.json is cut off" in capsys.readouterr().err
    table.unlink()
    assert convert(made.root, tmp_path / "bag") == 1
    assert "ego_pose.json cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--version", "v1.0-trainval"), "versions there: v1.0-mini"),
        (("--cameras", "CAM_TOP"), "valid: CAM_BACK, CAM_BACK_LEFT"),
    ],
)
def test_bad_arguments_list_the_valid_ones(
    data: NuScenesSet,
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
):
    assert convert(data.root, tmp_path / "bag", *arguments) == 2
    assert words in capsys.readouterr().err
    assert convert(data.root, tmp_path / "bag", scene="scene-9") == 2
    assert "valid: all, scene-0061, scene-0062" in capsys.readouterr().err


def test_poses_of_the_set_are_those_of_the_world(data: NuScenesSet):
    """The helper's own geometry, against the world's camera."""
    frame = data.frames["scene-0061"][5]
    again = map_from_base(frame) @ matrix((1.7, 0.0, 1.5), (0.5, -0.5, 0.5, -0.5))
    np.testing.assert_allclose(again, frame.world_from_camera, atol=1e-9)
