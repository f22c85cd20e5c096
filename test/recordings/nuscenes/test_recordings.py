"""nuScenes from its tables: pictures, ego motion, and what is missing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings import Recording, open_recordings
from dino_foresight_ros.recordings.nuscenes.splits import Split, official_splits

START_NS = 1_532_402_927_612_460_000


def edit(root: Path, table: str, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    path = root / "v1.0-mini" / f"{table}.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))


def opened(root: Path, options: str = "", warnings: list[str] | None = None) -> list[Recording]:
    return open_recordings([f"nuscenes:{root}{options}"], (warnings or []).append)


def test_each_scene_of_the_front_camera_at_12_hz(
    make_nuscenes: Callable[..., Path], world_frames: list
) -> None:
    found = opened(make_nuscenes())
    assert [recording.name for recording in found] == [
        "scene-0061-CAM_FRONT",
        "scene-0103-CAM_FRONT",
    ]
    expected = [START_NS + i * 83_333_000 for i in range(12)]
    assert found[0].stamps_ns.tolist() == expected
    camera = found[0].camera
    assert camera is not None
    assert (camera.width, camera.height, camera.frame_id) == (*found[0].size[::-1], "cam_front")
    assert camera.k == (50.0, 0.0, 40.0, 0.0, 50.0, 24.0, 0.0, 0.0, 1.0)  # calibrated_sensor's
    # In the order of time, though the table's rows are not; JPEG changes pixels a little.
    for frame, true in zip(found[0].read(range(12)), world_frames, strict=True):
        assert np.abs(frame.image.astype(int) - true.image).mean() < 12


def test_cameras_scenes_and_keyframes_can_be_chosen(make_nuscenes: Callable[..., Path]) -> None:
    root = make_nuscenes()
    (one,) = opened(root, "?cameras=CAM_BACK&scenes=scene-0103&sweeps=no")
    assert one.name == "scene-0103-CAM_BACK"
    assert np.diff(one.stamps_ns).tolist() == [6 * 83_333_000]
    assert len(opened(root, "?cameras=all")) == 4
    for options, message in (
        ("?cameras=LIDAR_TOP", "give all, or some of CAM_BACK, CAM_FRONT"),
        ("?scenes=scene-9999", "give all, or some of scene-0061, scene-0103"),
        ("?version=v1.0-trainval", "give one of v1.0-mini"),
    ):
        with pytest.raises(UsageError, match=message):
            opened(root, options)


def test_ego_motion_with_and_without_can_bus(make_nuscenes: Callable[..., Path]) -> None:
    front = opened(make_nuscenes())[0]
    assert front.base_from_optical is not None
    assert front.base_from_optical[:3, 2] == pytest.approx([1, 0, 0])  # looks ahead
    with_bus = front.ego
    assert with_bus is not None
    assert with_bus.speed_mps == pytest.approx(7.0)
    assert with_bus.steering_rad == pytest.approx(np.arange(12) * 0.083333 * 0.5, abs=1e-4)
    forward = with_bus.world_from_ego[0, :3, 0]
    assert forward == pytest.approx([math.cos(0.5), math.sin(0.5), 0.0])
    assert with_bus.world_from_ego[0, :3, 3] == pytest.approx([400, 1100, 0])
    without = opened(make_nuscenes("bare", can_bus=False))[0].ego
    assert without is not None
    assert without.speed_mps == pytest.approx(6.0, rel=1e-3)
    assert np.isnan(without.steering_rad).all()


def test_the_slow_vehicle_monitor_serves_where_the_quick_messages_are_missing(
    make_nuscenes: Callable[..., Path],
) -> None:
    root = make_nuscenes()
    for path in (root / "can_bus").glob("*"):
        if "vehicle_monitor" not in path.name:
            path.unlink()
    monitor = root / "can_bus" / "scene-0061_vehicle_monitor.json"
    rows = json.loads(monitor.read_text())
    end_us = rows[0]["utime"]
    monitor.write_text(json.dumps([row | {"utime": row["utime"] - 1_500_000} for row in rows]))
    ego = opened(root)[1].ego
    assert ego is not None
    assert ego.speed_mps == pytest.approx(10.0)  # 36 km/h
    assert ego.steering_rad == pytest.approx(math.pi / 2)
    early = opened(root)[0]
    # The messages end before the scene does: no value is made up for more than a second after.
    last_us = end_us - 1_500_000 + 59 * 20_000
    known = early.stamps_ns <= (last_us + 1_000_000) * 1000
    assert early.ego is not None
    assert np.isfinite(early.ego.steering_rad).tolist() == known.tolist()
    assert 0 < known.sum() < 12


def test_the_can_bus_alone_gives_the_motion(make_nuscenes: Callable[..., Path]) -> None:
    root = make_nuscenes()
    (root / "v1.0-mini" / "ego_pose.json").unlink()
    path = root / "can_bus" / "scene-0061_pose.json"
    rows = json.loads(path.read_text())
    path.write_text(
        json.dumps([row | {"vel": [7.0, 0, 0], "rotation_rate": [0, 0, 0.3]} for row in rows])
    )
    recording = opened(root)[0]
    assert recording.ego is not None
    seconds = float(recording.stamps_ns[6] - recording.stamps_ns[1]) / 1e9
    turned = 0.3 * seconds  # an arc of a radius of 7 / 0.3 m
    expected = [7 / 0.3 * math.sin(turned), 7 / 0.3 * (1 - math.cos(turned)), turned]
    assert recording.ego.between(1, 6) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("table", "field", "lacking"),
    [
        ("sample_data", "sample_token", "sample"),
        ("sample_data", "calibrated_sensor_token", "calibrated_sensor"),
        ("sample_data", "ego_pose_token", "ego_pose"),
        ("sample", "scene_token", "scene"),
        ("calibrated_sensor", "sensor_token", "sensor"),
    ],
)
def test_a_token_that_leads_nowhere_is_named(
    table: str, field: str, lacking: str, make_nuscenes: Callable[..., Path]
) -> None:
    root = make_nuscenes()
    edit(root, table, lambda rows: rows[0].update({field: "deadbeef"}))
    with pytest.raises(InputError) as caught:
        opened(root)
    text = str(caught.value)
    assert f"{table}.json" in text
    assert "deadbeef" in text
    assert f"{lacking}.json lacks" in text


def test_a_field_that_is_missing_is_named(make_nuscenes: Callable[..., Path]) -> None:
    root = make_nuscenes()
    edit(root, "sample_data", lambda rows: rows[3].pop("timestamp"))
    with pytest.raises(InputError, match=r"sample_data.json: row scene-.* has no timestamp"):
        opened(root)


def test_missing_tables_and_damaged_ones(make_nuscenes: Callable[..., Path]) -> None:
    root = make_nuscenes()
    folder = root / "v1.0-mini"
    (folder / "ego_pose.json").unlink()
    warnings: list[str] = []
    bare = open_recordings([str(root)], warnings.append)
    assert "ego_pose.json is missing" in warnings[0]
    assert bare[0].ego is not None  # the CAN bus is still there
    text = (folder / "sample_data.json").read_text()
    (folder / "sample_data.json").write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match=r"sample_data.json is cut off"):
        opened(root)
    (folder / "scene.json").unlink()
    with pytest.raises(InputError, match=r"scene.json cannot be read: No such file"):
        opened(root)


def test_missing_pictures_are_named_and_scenes_not_downloaded_left_out(
    make_nuscenes: Callable[..., Path],
) -> None:
    root = make_nuscenes()
    pictures = sorted((root / "sweeps" / "CAM_FRONT").glob("scene-0061*"))
    pictures[2].unlink()
    for path in root.glob("*/CAM_FRONT/scene-0103*"):
        path.unlink()
    warnings: list[str] = []
    (one,) = open_recordings([str(root)], warnings.append)
    assert len(one) == 11
    assert any(pictures[2].name in text and "missing" in text for text in warnings)
    assert any("1 of 2 scenes" in text and "scene-0103" in text for text in warnings)
    with pytest.raises(InputError, match=r"more than 0 files .*is missing"):
        open_recordings([str(root)], max_bad=0)
    for path in root.glob("*/CAM_FRONT/*"):
        path.unlink()
    with pytest.raises(InputError, match=r"none of the pictures is there, such as"):
        opened(root)


def test_official_splits_are_whole_and_share_no_scene() -> None:
    splits = official_splits()
    sizes = {name: len(split.scenes) for name, split in splits.items()}
    assert sizes == {"train": 700, "val": 150, "test": 150, "mini_train": 8, "mini_val": 2}
    every = [name for split in ("train", "val", "test") for name in splits[split].scenes]
    assert len(set(every)) == 1000
    mini = {*splits["mini_train"].scenes, *splits["mini_val"].scenes}
    assert mini < {*splits["train"].scenes, *splits["val"].scenes}
    assert splits["mini_val"].scenes == ("scene-0103", "scene-0916")
    assert {"scene-0001", "scene-1110"} <= set(splits["train"].scenes)
    assert {"scene-0003", "scene-1073"} <= set(splits["val"].scenes)


def test_split_is_taken_and_one_that_is_not_whole_is_refused(
    make_nuscenes: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_nuscenes()
    with pytest.raises(
        InputError, match=r"lacks 1 of the 2 scenes of the split, the first scene-0916"
    ):
        opened(root, "?split=mini_val")
    with pytest.raises(UsageError, match="give split or scenes, not both"):
        opened(root, "?split=mini_val&scenes=scene-0103")
    with pytest.raises(UsageError, match="one of train, val, test, mini_train, mini_val"):
        opened(root, "?split=validation")
    monkeypatch.setattr(
        "dino_foresight_ros.recordings.nuscenes.recordings.official_splits",
        lambda: {"mini_val": Split("v1.0-mini", ("scene-0103",))},
    )
    found = opened(root, "?split=mini_val&cameras=all")
    assert [r.name for r in found] == ["scene-0103-CAM_BACK", "scene-0103-CAM_FRONT"]
    assert {r.scene for r in found} == {"nuscenes scene-0103"}
