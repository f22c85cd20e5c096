"""nuScenes, from its JSON tables and its samples and sweeps folders.

    DIR/VERSION/{scene,sample,sample_data,ego_pose,calibrated_sensor,sensor}.json
    DIR/samples/CAMERA/*.jpg (2 Hz), DIR/sweeps/CAMERA/*.jpg (the rest of 12 Hz)
    DIR/can_bus/SCENE_{pose,vehicle_monitor,steeranglefeedback}.json, where they were downloaded

The two large tables (over 1 GB together) are read row by row; only the wanted cameras' rows are
kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bad_files import BadFiles
from dino_foresight_ros.recordings.json_tables import table_rows
from dino_foresight_ros.recordings.labelled_pictures import LabelFiles, LabelledPictures
from dino_foresight_ros.recordings.nuscenes.ego_motion import Pose, ego_motion
from dino_foresight_ros.recordings.recording import Recording
from dino_foresight_ros.recordings.spec import Spec

DEFAULT_CAMERA = "CAM_FRONT"
_NS_PER_US = 1000


class _Row(NamedTuple):
    """What is kept of a picture's row in sample_data."""

    stamp_ns: int
    file: str
    ego_pose: str
    size: tuple[int, int]


@dataclass(frozen=True)
class _Tables:
    """The small tables, by token."""

    scenes: Mapping[str, str]  # name
    samples: Mapping[str, str]  # scene's token
    channels: Mapping[str, str]  # of a calibrated sensor
    cameras: tuple[str, ...]


def is_nuscenes(path: Path) -> bool:
    """Tell whether a folder has nuScenes' layout."""
    return bool(_versions(path))


def open_nuscenes(spec: Spec, on_warning: Callable[[str], None], bad: BadFiles) -> list[Recording]:
    """Open the wanted cameras of every scene, one recording each.

    Raises:
        InputError: a table that is missing or damaged, or rows that name what is not there (named
            with their tokens); more missing pictures than are put up with.
        UsageError: a camera, scene or version that does not exist, with the valid ones.
    """
    folder = spec.path / _version(spec)
    tables = _small_tables(folder)
    cameras = _chosen(spec, "cameras", tables.cameras, (DEFAULT_CAMERA,))
    names = tuple(sorted(tables.scenes.values()))
    scenes = set(_chosen(spec, "scenes", names, names))
    sweeps = spec.choice("sweeps", ("yes", "no"), "yes") == "yes"
    rows = _picture_rows(folder, tables, cameras, sweeps)
    rows = {key: found for key, found in rows.items() if tables.scenes[key[0]] in scenes}
    if not rows:
        raise InputError(f"{folder}/sample_data.json has no pictures of {', '.join(cameras)}")
    present = _present_rows(spec.path, rows, tables, on_warning, bad)
    poses = _poses(folder, present, on_warning)
    return [
        _recording(spec.path, tables.scenes[scene], camera, found, poses)
        for (scene, camera), found in sorted(
            present.items(), key=lambda item: (tables.scenes[item[0][0]], item[0][1])
        )
    ]


def _versions(path: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.parent.name for entry in path.glob("v*/sample_data.json")))


def _version(spec: Spec) -> str:
    versions = _versions(spec.path)
    if not versions:
        raise InputError(
            f"{spec.path} has not nuScenes' layout: "
            f"{spec.path}/v1.0-.../sample_data.json is missing"
        )
    if len(versions) > 1 and "version" not in spec.options:
        raise spec.error("version", f"one of {', '.join(versions)}")
    return spec.choice("version", versions, versions[0])


def _chosen(
    spec: Spec, key: str, valid: tuple[str, ...], default: tuple[str, ...]
) -> tuple[str, ...]:
    wanted = spec.names(key) or default
    if wanted == ("all",):
        return valid
    if any(name not in valid for name in wanted):
        some = ", ".join(valid[:12]) + (", ..." if len(valid) > 12 else "")
        raise spec.error(key, f"all, or some of {some}")
    return wanted


def _small_tables(folder: Path) -> _Tables:
    scenes = _column(folder / "scene.json", "name")
    samples = _column(folder / "sample.json", "scene_token")
    for token, scene in samples.items():
        _found(scenes, scene, folder / "sample.json", token, "scene")
    channels = _column(folder / "sensor.json", "channel")
    cameras = _column(folder / "sensor.json", "modality")
    sensors = _column(folder / "calibrated_sensor.json", "sensor_token")
    of_calibrated = {
        token: _found(channels, sensor, folder / "calibrated_sensor.json", token, "sensor")
        for token, sensor in sensors.items()
    }
    valid = sorted(channels[token] for token, kind in cameras.items() if kind == "camera")
    return _Tables(scenes, samples, of_calibrated, tuple(valid))


def _column(path: Path, field: str) -> dict[str, str]:
    return {_value(row, "token", path): _value(row, field, path) for row in table_rows(path)}


def _value(row: Mapping[str, Any], field: str, path: Path) -> Any:
    try:
        return row[field]
    except KeyError:
        raise InputError(
            f"{path}: row {row.get('token', '?')} has no {field}; is it a nuScenes table?"
        ) from None


def _found(table: Mapping[str, str], token: str, path: Path, row: str, kind: str) -> str:
    try:
        return table[token]
    except KeyError:
        raise InputError(
            f"{path}: row {row} names the {kind} {token}, which {path.parent / kind}.json lacks"
        ) from None


def _picture_rows(
    folder: Path, tables: _Tables, cameras: tuple[str, ...], sweeps: bool
) -> dict[tuple[str, str], list[_Row]]:
    """Collect the rows of the wanted pictures by (scene's token, camera)."""
    path = folder / "sample_data.json"
    rows: dict[tuple[str, str], list[_Row]] = defaultdict(list)
    for row in table_rows(path):
        token = _value(row, "token", path)
        calibrated = _value(row, "calibrated_sensor_token", path)
        camera = _found(tables.channels, calibrated, path, token, "calibrated_sensor")
        if camera not in cameras or not (sweeps or _value(row, "is_key_frame", path)):
            continue
        sample = _value(row, "sample_token", path)
        scene = _found(tables.samples, sample, path, token, "sample")
        rows[scene, camera].append(
            _Row(
                int(_value(row, "timestamp", path)) * _NS_PER_US,
                _value(row, "filename", path),
                _value(row, "ego_pose_token", path),
                (int(_value(row, "height", path)), int(_value(row, "width", path))),
            )
        )
    return rows


def _present_rows(
    root: Path,
    rows: Mapping[tuple[str, str], list[_Row]],
    tables: _Tables,
    on_warning: Callable[[str], None],
    bad: BadFiles,
) -> dict[tuple[str, str], list[_Row]]:
    """Leave out pictures that are not there; of a scene that was not downloaded all of them."""
    listed: dict[Path, set[str]] = {}
    present: dict[tuple[str, str], list[_Row]] = {}
    absent: list[str] = []
    for (scene, camera), found in rows.items():
        found.sort()
        there = [row for row in found if _exists(root / row.file, listed)]
        if not there:
            absent.append(f"{tables.scenes[scene]} {camera}")
            continue
        for row in found:
            if not _exists(root / row.file, listed):
                bad.add(str(root / row.file), "the file is missing")
        present[scene, camera] = _rising(there, tables.scenes[scene], on_warning)
    if absent:
        on_warning(
            f"{root}: no picture of {len(absent)} of {len(rows)} scenes is there, such as "
            f"{min(absent)}; they are left out"
        )
    if not present:
        some = root / next(iter(rows.values()))[0].file
        raise InputError(f"{root}: none of the pictures is there, such as {some}")
    return present


def _exists(path: Path, listed: dict[Path, set[str]]) -> bool:
    """Look into a listing of the folder: asking for each file is slow on network drives."""
    folder = path.parent
    if folder not in listed:
        listed[folder] = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    return path.name in listed[folder]


def _rising(rows: list[_Row], scene: str, on_warning: Callable[[str], None]) -> list[_Row]:
    kept = rows[:1]
    for row in rows[1:]:
        if row.stamp_ns > kept[-1].stamp_ns:
            kept.append(row)
    if len(kept) < len(rows):
        on_warning(f"{scene}: {len(rows) - len(kept)} pictures with the time of another left out")
    return kept


def _poses(
    folder: Path,
    rows: Mapping[tuple[str, str], list[_Row]],
    on_warning: Callable[[str], None],
) -> dict[str, Pose]:
    path = folder / "ego_pose.json"
    if not path.is_file():
        on_warning(f"{path} is missing; there will be no ego motion")
        return {}
    wanted = {row.ego_pose for found in rows.values() for row in found}
    poses = {
        row["token"]: Pose.of_row(row, path)
        for row in table_rows(path)
        if row.get("token") in wanted
    }
    missing = wanted - poses.keys()
    if missing:
        raise InputError(
            f"{folder / 'sample_data.json'} names the ego_pose {min(missing)}"
            f"{f' and {len(missing) - 1} more' if len(missing) > 1 else ''}, which {path} lacks"
        )
    return poses


def _recording(
    root: Path, scene: str, camera: str, rows: list[_Row], poses: Mapping[str, Pose]
) -> LabelledPictures:
    stamps_ns = np.array([row.stamp_ns for row in rows], np.int64)
    own = [poses[row.ego_pose] for row in rows] if poses else []
    return LabelledPictures(
        root,
        [root / row.file for row in rows],
        f"{scene}-{camera}",
        stamps_ns,
        rows[0].size,
        LabelFiles(),
        ego=ego_motion(stamps_ns, own, root / "can_bus", scene),
    )
