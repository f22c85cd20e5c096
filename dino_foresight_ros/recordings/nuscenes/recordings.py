"""Recordings of nuScenes: a camera of a scene, with the vehicle's motion.

DIR/VERSION/{scene,sample,sample_data,ego_pose,calibrated_sensor,sensor}.json
DIR/samples/CAMERA/*.jpg (2 Hz), DIR/sweeps/CAMERA/*.jpg (the rest of 12 Hz)
DIR/samples/LIDAR_TOP/*.pcd.bin and sweeps, lidarseg and panoptic, as `lidar` describes them
DIR/VERSION/sample_annotation.json and what it names, as `boxes` describes it
DIR/can_bus/SCENE_{pose,vehicle_monitor,steeranglefeedback}.json, where they were downloaded
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.outputs import DEPTH, SEGMENTATION
from dino_foresight_ros.recordings.bad_files import BadFiles
from dino_foresight_ros.recordings.labelled_pictures import (
    LabelledPictures,
    Labels,
    picture_size,
)
from dino_foresight_ros.recordings.nuscenes.boxes import HULLS, POINTS, box_labels, box_tracks
from dino_foresight_ros.recordings.nuscenes.ego_motion import ego_motion
from dino_foresight_ros.recordings.nuscenes.lidar import (
    LIDAR,
    lidar_labels,
    read_point_labels,
)
from dino_foresight_ros.recordings.nuscenes.scenes import Reading, SceneRows
from dino_foresight_ros.recordings.nuscenes.splits import official_splits
from dino_foresight_ros.recordings.nuscenes.tables import Tables
from dino_foresight_ros.recordings.poses import pose_matrix
from dino_foresight_ros.recordings.recording import LabelSpace, Recording, Warn
from dino_foresight_ros.recordings.spec import Spec

DEFAULT_CAMERA = "CAM_FRONT"
_Cameras = dict[tuple[str, str], list[Reading]]  # by the names of scene and camera
_Listed = dict[Path, set[str]]


def is_nuscenes(path: Path) -> bool:
    """Tell whether a folder has nuScenes' layout."""
    return bool(_versions(path))


def open_nuscenes(spec: Spec, on_warning: Warn, bad: BadFiles) -> list[Recording]:
    """Open the wanted cameras of every scene, one recording each.

    Raises:
        InputError: a table that is missing or damaged, or rows that name what is not there (named
            with their tokens); more missing pictures than are put up with.
        UsageError: a camera, scene or version that does not exist, with the valid ones.
    """
    tables = Tables(spec.path, _version(spec))
    cameras = _chosen(spec, "cameras", tables.channels("camera"), (DEFAULT_CAMERA,))
    names = tables.scene_names("all")
    split = _of_split(spec, tables)
    scenes = _chosen(spec, "scenes", names, split or names)
    sweeps = spec.choice("sweeps", ("yes", "no"), "yes") == "yes"
    poses = tables.rows.file("ego_pose")
    if not poses.is_file():
        on_warning(f"{poses} is missing; there will be no ego motion")
    has_lidar = LIDAR in tables.channels("lidar") and poses.is_file()
    with_lidar = spec.choice("lidar", ("yes", "no"), "yes") == "yes" and has_lidar
    in_world_classes = spec.choice("classes", ("own", "world"), "own") == "world"
    points = read_point_labels(tables, in_world_classes)
    boxes = spec.choice("boxes", ("no", POINTS, HULLS), "no")
    if boxes != "no" and not poses.is_file():
        raise InputError(f"{poses} is missing; boxes={boxes} needs the vehicle's poses")
    if boxes == POINTS and not with_lidar:
        raise spec.error("boxes", f"{HULLS}, or no: there is no {LIDAR} to have points of")
    channels = (*cameras, LIDAR) if with_lidar else cameras
    rows = SceneRows(tables, scenes, channels, sweeps, boxes != "no", poses=poses.is_file())
    found: _Cameras = defaultdict(list)
    clouds: dict[str, list[Reading]] = defaultdict(list)
    listed: _Listed = {}
    for scene in scenes:
        for reading in rows.readings(scene):
            if reading.sensor.channel != LIDAR:
                found[scene, reading.sensor.channel].append(reading)
            elif _exists(reading.file, listed):  # who wants pictures alone downloads no lidar
                clouds[scene].append(reading)
    if not found:
        path = tables.rows.file("sample_data")
        raise InputError(f"{path} has no pictures of {', '.join(cameras)}")
    present = _present(spec.path, found, listed, on_warning, bad)
    recordings: list[Recording] = []
    for (scene, camera), readings in sorted(present.items()):
        size = _size_of(readings)
        labels = lidar_labels(readings, clouds[scene], size, points)
        space = points.table.space if SEGMENTATION in labels else None
        if boxes != "no":
            table = tables.rows.file("sample_annotation")
            of_scene = rows.boxes(scene)
            tracks = box_tracks(of_scene, in_world_classes, boxes == POINTS, table)
            of_boxes = box_labels(readings, clouds[scene], size, tracks, boxes, table)
            if not of_boxes:
                on_warning(f"{scene} {camera}: {table} has no box for any of its pictures")
            kept = {kind: one for kind, one in labels.items() if kind == DEPTH}
            labels, space = {**kept, **of_boxes}, points.table.space
        one = _recording(spec.path, scene, camera, readings, size, labels, space)
        one.split = spec.options.get("split", "")
        one.camera = readings[0].sensor.camera(size)
        recordings.append(one)
    return recordings


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


def _of_split(spec: Spec, tables: Tables) -> tuple[str, ...]:
    """Scenes of the official split that is asked for; none where none is.

    Raises:
        InputError: some of them are not in these tables; says how many, and the first.
        UsageError: no such split, or scenes are named besides.
    """
    if "split" not in spec.options:
        return ()
    splits = official_splits()
    wanted = splits[spec.choice("split", tuple(splits), "")]
    if "scenes" in spec.options:
        raise UsageError(f"{spec.text}: give split or scenes, not both")
    missing = [name for name in wanted.scenes if name not in tables.scenes]
    if missing:
        raise InputError(
            f"{spec.text}: {tables.rows.file('scene')} lacks {len(missing)} of the "
            f"{len(wanted.scenes)} scenes of the split, the first {missing[0]}; "
            f"it is a split of {wanted.version}"
        )
    return wanted.scenes


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


def _present(
    root: Path, cameras: _Cameras, listed: _Listed, on_warning: Warn, bad: BadFiles
) -> _Cameras:
    """Leave out pictures that are not there; of a scene that was not downloaded all of them."""
    present: _Cameras = {}
    absent: list[str] = []
    for (scene, camera), readings in cameras.items():
        there = [reading for reading in readings if _exists(reading.file, listed)]
        if not there:
            absent.append(f"{scene} {camera}")
            continue
        for reading in readings:
            if not _exists(reading.file, listed):
                bad.add(str(reading.file), "the file is missing")
        present[scene, camera] = _rising(there, scene, on_warning)
    if absent:
        on_warning(
            f"{root}: no picture of {len(absent)} of {len(cameras)} scenes is there, such as "
            f"{min(absent)}; they are left out"
        )
    if not present:
        some = next(iter(cameras.values()))[0].file
        raise InputError(f"{root}: none of the pictures is there, such as {some}")
    return present


def _exists(path: Path, listed: _Listed) -> bool:
    """Look into a listing of the folder: asking for each file is slow on network drives."""
    folder = path.parent
    if folder not in listed:
        listed[folder] = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    return path.name in listed[folder]


def _rising(readings: list[Reading], scene: str, on_warning: Warn) -> list[Reading]:
    kept = readings[:1]
    for reading in readings[1:]:
        if reading.stamp_ns > kept[-1].stamp_ns:
            kept.append(reading)
    if len(kept) < len(readings):
        left_out = len(readings) - len(kept)
        on_warning(f"{scene}: {left_out} pictures with the time of another left out")
    return kept


def _size_of(readings: list[Reading]) -> tuple[int, int]:
    """(H, W) of the pictures."""
    width, height = readings[0].size
    return (height, width) if width and height else picture_size([r.file for r in readings])


def _recording(
    root: Path,
    scene: str,
    camera: str,
    readings: list[Reading],
    size: tuple[int, int],
    labels: Mapping[str, Labels],
    space: LabelSpace | None,
) -> LabelledPictures:
    stamps_ns = np.array([reading.stamp_ns for reading in readings], np.int64)
    poses = [reading.ego for reading in readings if reading.ego is not None]
    pictures = [reading.file for reading in readings]
    return LabelledPictures(
        root,
        pictures,
        f"{scene}-{camera}",
        stamps_ns,
        size,
        labels,
        label_space=space,
        ego=ego_motion(stamps_ns, poses, root / "can_bus", scene),
        base_from_optical=pose_matrix(*readings[0].sensor.base_from_sensor),
        scene=f"nuscenes {scene}",
    )
