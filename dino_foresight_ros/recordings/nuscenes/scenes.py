"""Readings and boxes of single nuScenes scenes, collected in one pass over the large tables.

DIR/VERSION/{sample,sample_data,ego_pose}.json
DIR/VERSION/{sample_annotation,instance,category,attribute,visibility}.json
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.nuscenes.rows import (
    NS_PER_US,
    Row,
    microseconds,
    numbers,
    transform,
)
from dino_foresight_ros.recordings.nuscenes.tables import Sensor, Tables
from dino_foresight_ros.recordings.poses import Matrix, Transform, pose_matrix


class Reading(NamedTuple):
    """One file of one sensor."""

    stamp_ns: int
    sensor: Sensor
    file: Path
    size: tuple[int, int]  # (width, height) of pictures, else (0, 0)
    is_keyframe: bool
    ego: Transform | None  # None where poses were not asked for
    token: str = ""

    @property
    def map_from_sensor(self) -> Matrix:
        """(4, 4) pose of the sensor at its instant; the vehicle's must be known."""
        assert self.ego is not None
        return pose_matrix(*self.ego) @ pose_matrix(*self.sensor.base_from_sensor)


class Box(NamedTuple):
    """One annotated object at a keyframe, in the map's frame."""

    stamp_ns: int
    number: int  # the same for one object over a scene
    category: str
    attributes: tuple[str, ...]
    visibility: str
    map_from_box: Transform
    size_m: tuple[float, float, float]  # (width, length, height)
    points: int = 1  # of lidar and radar within it


@dataclass(frozen=True)
class SceneTables:
    """Everything of one scene, readings and boxes by time."""

    name: str
    description: str
    location: str
    readings: tuple[Reading, ...]
    boxes: tuple[Box, ...]


class SceneError(InputError):
    """A scene that is not all there; others may be."""


class _DataRow(NamedTuple):
    """What is needed of a row of sample_data; tens of thousands make up a scene with sweeps."""

    token: str
    sensor: Sensor
    stamp_ns: int
    filename: str
    size: tuple[int, int]
    is_keyframe: bool
    pose: str


class SceneRows:
    """Rows of the large tables by scene, for `load`."""

    def __init__(
        self,
        tables: Tables,
        names: Collection[str],
        channels: Collection[str],
        sweeps: bool,
        boxes: bool,
        poses: bool = True,
    ) -> None:
        """Read the large tables once.

        Args:
            tables: the small ones.
            names: of the scenes wanted.
            channels: of the sensors wanted.
            sweeps: whether readings between keyframes are wanted, too.
            boxes: whether annotations are wanted.
            poses: whether the vehicle's poses are wanted.

        Raises:
            InputError: a table is missing or damaged, or a row names a token that is not there.
        """
        self._tables = tables
        self._scene_of, self._stamps = self._read_samples(names)
        self._samples = Counter(self._scene_of.values())
        self._data = self._read_data(set(channels), sweeps)
        self._poses = self._read_poses() if poses else None
        self._boxes = self._read_boxes() if boxes else {}

    def load(self, name: str) -> SceneTables:
        """Put a scene together; whether its files are there is not looked at.

        Raises:
            SceneError: it has no data of the wanted sensors, or a row is missing.
        """
        scene, rows = self._tables.scenes[name], self._tables.rows
        samples = self._samples[name]
        if samples != scene.get("nbr_samples", samples):
            raise SceneError(
                f"{rows.file('sample')} has {samples} samples of {name}, "
                f"{rows.file('scene')} promises {scene['nbr_samples']}"
            )
        try:
            location = self._tables.location(scene)
            readings = self.readings(name)
        except InputError as error:
            raise SceneError(str(error)) from error
        if not readings:
            raise SceneError(f"{rows.path}: {name} has no data of the wanted sensors")
        return SceneTables(
            name, scene.get("description", ""), location, tuple(readings), self.boxes(name)
        )

    def boxes(self, name: str) -> tuple[Box, ...]:
        """The boxes of a scene by time, where they are wanted."""
        found = self._boxes.get(name, ())
        return tuple(sorted(found, key=lambda box: (box.stamp_ns, box.number)))

    def readings(self, name: str) -> list[Reading]:
        """The wanted files of a scene by time; InputError where a pose is missing."""
        readings = [self._reading(row) for row in self._data.get(name, ())]
        return sorted(readings, key=lambda reading: (reading.stamp_ns, reading.file))

    def _reading(self, data: _DataRow) -> Reading:
        row = {"token": data.token, "ego_pose_token": data.pose}
        rows, poses = self._tables.rows, self._poses
        ego = None
        if poses is not None:
            ego = rows.look_up(poses, row, "ego_pose_token", "sample_data", "ego_pose")
        file = self._tables.dataroot / data.filename
        return Reading(
            data.stamp_ns, data.sensor, file, data.size, data.is_keyframe, ego, data.token
        )

    def _read_samples(self, names: Collection[str]) -> tuple[dict[str, str | None], dict[str, int]]:
        """Scene's name of each sample (None: not wanted), and the time (us) of the wanted ones."""
        rows, scene_of, stamps = self._tables.rows, {}, {}
        scenes = {row["token"]: name for name, row in self._tables.scenes.items()}
        for row in rows.rows("sample", "timestamp", "scene_token"):
            name = rows.look_up(scenes, row, "scene_token", "sample", "scene")
            scene_of[row["token"]] = name if name in names else None
            if name in names:
                stamps[row["token"]] = microseconds(row, rows.file("sample"))
        return scene_of, stamps

    def _read_data(self, channels: set[str], sweeps: bool) -> dict[str, list[_DataRow]]:
        fields = ("sample_token", "timestamp", "filename", "is_key_frame", "ego_pose_token")
        rows, found = self._tables.rows, defaultdict(list)
        sensors, path = self._tables.sensors, rows.file("sample_data")
        of_sensor = ("calibrated_sensor_token", "sample_data", "calibrated_sensor")
        for row in rows.rows("sample_data", *fields):
            sensor: Sensor = rows.look_up(sensors, row, *of_sensor)
            if sensor.channel not in channels or not (sweeps or row["is_key_frame"]):
                continue
            scene = rows.look_up(self._scene_of, row, "sample_token", "sample_data", "sample")
            if scene is not None:
                found[scene].append(
                    _DataRow(
                        row["token"],
                        sensor,
                        microseconds(row, path) * NS_PER_US,
                        row["filename"],
                        (int(row.get("width") or 0), int(row.get("height") or 0)),
                        bool(row["is_key_frame"]),
                        row["ego_pose_token"],
                    )
                )
        return found

    def _read_poses(self) -> dict[str, Transform]:
        wanted = {row.pose for rows in self._data.values() for row in rows}
        path = self._tables.rows.file("ego_pose")
        return {
            row["token"]: transform(row, path)
            for row in self._tables.rows.rows("ego_pose")
            if row["token"] in wanted
        }

    def _read_boxes(self) -> dict[str, list[Box]]:
        rows = self._tables.rows
        others = {
            "category": rows.table("category", "name"),
            "instance": rows.table("instance", "category_token"),
            "attribute": rows.table("attribute", "name"),
            "visibility": rows.table("visibility", "level"),
        }
        number_of: dict[str, dict[str, int]] = defaultdict(dict)
        found = defaultdict(list)
        fields = ("sample_token", "instance_token", "attribute_tokens", "size")
        for row in rows.rows("sample_annotation", *fields):
            scene = self._scene_of.get(row["sample_token"])
            if scene is not None:
                known = number_of[scene]
                number = known.setdefault(row["instance_token"], len(known))
                found[scene].append(self._box(row, number, others))
        return found

    def _box(self, row: Row, number: int, others: dict[str, dict[str, Row]]) -> Box:
        rows, name = self._tables.rows, "sample_annotation"
        path = rows.file(name)

        def named(row: Row, source: str, field: str, target: str) -> Any:
            return rows.look_up(others[target], row, field, source, target)

        instance = named(row, name, "instance_token", "instance")
        own = [{**row, "attribute": token} for token in row["attribute_tokens"] or ()]
        seen = ""
        if row.get("visibility_token"):  # lidar-only objects have none
            seen = named(row, name, "visibility_token", "visibility")["level"]
        return Box(
            self._stamps[row["sample_token"]] * NS_PER_US,
            number,
            named(instance, "instance", "category_token", "category")["name"],
            tuple(named(one, name, "attribute", "attribute")["name"] for one in own),
            seen,
            transform(row, path),
            numbers(row, "size", 3, path),
            sum(int(row.get(f"num_{sensor}_pts") or 0) for sensor in ("lidar", "radar")),
        )
