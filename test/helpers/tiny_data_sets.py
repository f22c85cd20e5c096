"""Tiny data sets in each exact format, made of the synthetic world's pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dino_foresight_ros.recordings.bag_writer import create_bag
from dino_foresight_ros.synthetic import World, WorldConfig

HEIGHT, WIDTH = 48, 80
START_NS = 1_700_000_000_000_000_000
CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


@pytest.fixture(scope="session")
def world_frames() -> list[Any]:
    """Return 12 frames of one world at 10 Hz, 48x80."""
    config = WorldConfig(seed=5, width=WIDTH, height=HEIGHT, frame_rate_hz=10.0)
    return list(World(config).frames(12))


def write_picture(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def write_ids(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), ids)


@pytest.fixture
def make_drive(tmp_path: Path, world_frames: list[Any]) -> Callable[..., Path]:
    """Write a video of the world's frames, over and over."""

    def make(name: str = "drive.mp4", count: int = 60, rate_hz: float = 20.0) -> Path:
        path = tmp_path / name
        code = cv2.VideoWriter.fourcc(*("MJPG" if name.endswith(".avi") else "mp4v"))
        writer = cv2.VideoWriter(str(path), code, rate_hz, (WIDTH, HEIGHT))
        assert writer.isOpened()
        for index in range(count):
            image = world_frames[index % len(world_frames)].image.copy()
            image[:8, :8] = (index * 4) % 256  # no two frames are the same
            writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        writer.release()
        return path

    return make


@pytest.fixture
def make_stills(tmp_path: Path, world_frames: list[Any]) -> Callable[..., Path]:
    """Write pictures named by their time in nanoseconds."""

    def make(name: str = "pictures", count: int = 12) -> Path:
        for index in range(count):
            path = tmp_path / name / f"{START_NS + index * 100_000_000}.png"
            write_picture(path, world_frames[index % len(world_frames)].image)
        return tmp_path / name

    return make


@pytest.fixture
def make_bag(tmp_path: Path, world_frames: list[Any]) -> Callable[..., Path]:
    """Write a bag; of each message its topic, number of the picture and stamp."""

    def make(
        name: str = "bag",
        messages: list[tuple[str, int, int]] | None = None,
        storage: Any = "mcap",
        compressed: bool = False,
    ) -> Path:
        if messages is None:
            step = 100_000_000
            messages = [("/camera/image_raw", i, START_NS + i * step) for i in range(12)]
        with create_bag(tmp_path / name, storage) as bag:
            for topic, number, stamp_ns in messages:
                image = world_frames[number % len(world_frames)].image
                if compressed:
                    bag.write_compressed(topic, image, stamp_ns, "camera", "png")
                else:
                    bag.write_image(topic, image, stamp_ns, "camera")
        return tmp_path / name

    return make


@pytest.fixture
def make_camvid(tmp_path: Path, world_frames: list[Any]) -> Callable[..., Path]:
    """Write CamVid's layout: two sequences in train, one in test."""

    def make(name: str = "camvid") -> Path:
        root = tmp_path / name
        stems = {
            "train": [f"0001TP_{n:06d}" for n in range(6690, 6690 + 6 * 30, 30)]
            + [f"0006R0_f{n:05d}" for n in range(930, 930 + 4 * 30, 30)],
            "test": [f"Seq05VD_f{n:05d}" for n in range(0, 90, 30)],
        }
        for split, names in stems.items():
            for index, stem in enumerate(names):
                frame = world_frames[index]
                write_picture(root / split / "images" / f"{stem}.jpg", frame.image)
                ids = (frame.segmentation % 12).astype(np.uint8)  # all of CamVid's, 11 too
                write_ids(root / split / "labels" / f"{stem}.png", ids)
        return root

    return make


COMMA10K_COLOURS = ("402020", "ff0000", "808060", "00ff66", "cc00ff")


@pytest.fixture
def make_comma10k(tmp_path: Path, world_frames: list[Any]) -> Callable[..., Path]:
    """Write comma10k's layout: 10 pictures, 2 of val, and 1 moment of two cameras in imgs2.

    The class in a mask is the world's class modulo 5.
    """
    colours = np.array([list(bytes.fromhex(text)) for text in COMMA10K_COLOURS], np.uint8)

    def make(name: str = "comma10k", pictures: str = "imgs") -> Path:
        root = tmp_path / name
        for index in range(10):
            stem = (
                f"{index:04d}_{index:016x}_2018-08-{index + 10}--13-26-08_11_{860 + index % 5 * 3}"
            )
            write_picture(root / pictures / f"{stem}.png", world_frames[index].image)
            mask = colours[world_frames[index].segmentation % 5]
            write_picture(root / "masks" / f"{stem}.png", mask)
        for camera in "ef":
            stem = f"00000_{camera}_20f59690c1da9379_2021-02-08--09-26-00_7_646"
            image = world_frames[10].image
            write_picture(root / "imgs2" / f"{stem}.png", image[:24] if camera == "f" else image)
            if camera == "e":
                mask = colours[world_frames[10].segmentation % 5]
                write_picture(root / "masks2" / f"{stem}.png", mask)
        return root

    return make


@pytest.fixture
def make_cityscapes(tmp_path: Path, world_frames: list[Any]) -> Callable[..., Path]:
    """Write Cityscapes' layout: snippets of 30 frames, the 20th with labels and disparity."""

    def make(name: str = "cityscapes", train_ids: bool = False) -> Path:
        root = tmp_path / name
        snippets = [
            ("train", "aachen", "000000", 0),
            ("train", "aachen", "000001", 0),
            ("train", "hanover", "000000", 145),
            ("train", "hanover", "000000", 362),
            ("val", "lindau", "000000", 0),
        ]
        for split, city, sequence, first in snippets:
            for place in range(30):
                frame = world_frames[place % len(world_frames)]
                stem = f"{city}_{sequence}_{first + place:06d}"
                pictures = root / "leftImg8bit_sequence" / split / city
                write_picture(pictures / f"{stem}_leftImg8bit.png", frame.image)
                if place == 19:
                    _write_labels(root, split, city, stem, frame, train_ids)
        return root

    return make


def _write_labels(
    root: Path, split: str, city: str, stem: str, frame: Any, train_ids: bool
) -> None:
    train = (frame.segmentation % 19).astype(np.uint8)
    train[0, 0] = 255
    by_label = np.append(np.array(CITYSCAPES_IDS, np.uint8), np.zeros(237, np.uint8))
    ids, kind = (train, "labelTrainIds") if train_ids else (by_label[train], "labelIds")
    write_ids(root / "gtFine" / split / city / f"{stem}_gtFine_{kind}.png", ids)
    # A depth of 2 m x 10 px / disparity, in 1/256 px; 0 unknown.
    disparity = np.full((HEIGHT, WIDTH), 256 * 4 + 1, np.uint16)
    disparity[0] = 0
    write_ids(root / "disparity" / split / city / f"{stem}_disparity.png", disparity)
    camera = root / "camera" / split / city / f"{stem}_camera.json"
    camera.parent.mkdir(parents=True, exist_ok=True)
    camera.write_text(json.dumps({"extrinsic": {"baseline": 2.0}, "intrinsic": {"fx": 10.0}}))


NUSCENES_START_US = 1_532_402_927_612_460
SPEED_MPS = 6.0
YAW_RAD = 0.5


@pytest.fixture
def make_nuscenes(tmp_path: Path, world_frames: list[Any]) -> Callable[..., Path]:
    """Write nuScenes' tables with all references: two scenes, two cameras and a lidar."""

    def make(name: str = "nuscenes", can_bus: bool = True) -> Path:
        root = tmp_path / name
        _NuScenes(root, world_frames).write(can_bus)
        return root

    return make


class _NuScenes:
    """Keyframes at 2 Hz and sweeps between them, as 12 Hz cameras give."""

    def __init__(self, root: Path, frames: list[Any]) -> None:
        self.root, self.frames = root, frames
        self.tables: dict[str, list[dict[str, Any]]] = {
            name: []
            for name in (
                "scene",
                "sample",
                "sample_data",
                "ego_pose",
                "calibrated_sensor",
                "sensor",
                "log",
                "map",
                "attribute",
            )
        }

    def write(self, can_bus: bool) -> None:
        for channel, modality in (
            ("CAM_FRONT", "camera"),
            ("CAM_BACK", "camera"),
            ("LIDAR_TOP", "lidar"),
        ):
            self._add("sensor", f"sensor-{channel}", channel=channel, modality=modality)
            self._add(
                "calibrated_sensor",
                f"cal-{channel}",
                sensor_token=f"sensor-{channel}",
                translation=[1.7, 0.0, 1.5],
                rotation=[0.5, -0.5, 0.5, -0.5],
                camera_intrinsic=[[50, 0, 40], [0, 50, 24], [0, 0, 1]],
            )
        for number, scene in enumerate(("scene-0061", "scene-0103")):
            self._scene(scene, NUSCENES_START_US + number * 100_000_000, can_bus)
        folder = self.root / "v1.0-mini"
        folder.mkdir(parents=True)
        for name, rows in self.tables.items():
            (folder / f"{name}.json").write_text(json.dumps(rows, indent=0))

    def _add(self, table: str, token: str, **fields: Any) -> None:
        self.tables[table].append({"token": token, **fields})

    def _scene(self, scene: str, start_us: int, can_bus: bool) -> None:
        self._add(
            "scene",
            f"token-{scene}",
            name=scene,
            log_token="log",
            nbr_samples=2,
            first_sample_token=f"{scene}-0",
            last_sample_token=f"{scene}-1",
            description="x",
        )
        for key in range(2):
            self._add(
                "sample",
                f"{scene}-{key}",
                timestamp=start_us + key * 500_000,
                scene_token=f"token-{scene}",
                prev="",
                next="",
            )
        # The rows come in no order, as in the original.
        for index in (3, 0, 11, 7, 1, 2, 4, 5, 6, 10, 9, 8):
            for channel in ("CAM_FRONT", "CAM_BACK", "LIDAR_TOP"):
                self._picture(scene, channel, index, start_us + index * 83_333)
        if can_bus:
            self._can_bus(scene, start_us)

    def _picture(self, scene: str, channel: str, index: int, stamp_us: int) -> None:
        key = index % 6 == 0
        end = "pcd.bin" if channel == "LIDAR_TOP" else "jpg"
        file = f"{'samples' if key else 'sweeps'}/{channel}/{scene}__{channel}__{stamp_us}.{end}"
        token = f"{scene}-{channel}-{index}"
        self._add(
            "sample_data",
            token,
            sample_token=f"{scene}-{index // 6}",
            ego_pose_token=token,
            calibrated_sensor_token=f"cal-{channel}",
            timestamp=stamp_us,
            fileformat=end,
            is_key_frame=key,
            height=HEIGHT if end == "jpg" else 0,
            width=WIDTH if end == "jpg" else 0,
            filename=file,
            prev="",
            next="",
        )
        way = SPEED_MPS * index * 0.083333
        self._add(
            "ego_pose",
            token,
            timestamp=stamp_us,
            rotation=[math.cos(YAW_RAD / 2), 0.0, 0.0, math.sin(YAW_RAD / 2)],
            translation=[400 + way * math.cos(YAW_RAD), 1100 + way * math.sin(YAW_RAD), 0.0],
        )
        if end == "jpg":
            write_picture(self.root / file, self.frames[index].image)

    def _can_bus(self, scene: str, start_us: int) -> None:
        folder = self.root / "can_bus"
        folder.mkdir(parents=True, exist_ok=True)
        times = [start_us - 10_000 + 20_000 * k for k in range(60)]
        write = {
            "pose": [{"utime": t, "vel": [7.0, 0.0, 0.0]} for t in times],
            "steeranglefeedback": [
                {"utime": t, "value": (t - start_us) * 1e-6 * 0.5} for t in times
            ],
            "vehicle_monitor": [
                {"utime": t, "vehicle_speed": 36.0, "steering": 90.0} for t in times
            ],
        }
        for name, rows in write.items():
            (folder / f"{scene}_{name}.json").write_text(json.dumps(rows))
