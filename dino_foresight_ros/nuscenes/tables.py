"""The rows of the nuScenes tables (schema v1.0) that one scene is made of.

    DIR/VERSION/{scene,sample,sample_data,ego_pose,calibrated_sensor,sensor,log,map}.json
    DIR/VERSION/{sample_annotation,instance,category,attribute,visibility}.json

Every token that a row names is looked up; one that is not there is an error that names the row,
the token and the table. Large tables are read row by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.media.json_tables import table_rows

NS_PER_US = 1000
Row = Mapping[str, Any]


class Transform(NamedTuple):
    """A rigid transform: `translation` (x, y, z) in metres, `rotation` a unit (w, x, y, z)."""

    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]


@dataclass(frozen=True)
class Sensor:
    """A sensor as it is mounted.

    Attributes:
        channel: as nuScenes names it, CAM_FRONT or LIDAR_TOP.
        modality: camera, lidar or radar.
        base_from_sensor: pose in the vehicle's frame (x forward, y left, z up).
        intrinsics: row-major 3x3 matrix of a camera, pixels; empty for others.
    """

    channel: str
    modality: str
    base_from_sensor: Transform
    intrinsics: tuple[float, ...]

    @property
    def frame_id(self) -> str:
        """The sensor's frame: cam_front. A camera's is an optical frame (x right, y down)."""
        return self.channel.lower()


class Reading(NamedTuple):
    """One file of one sensor."""

    stamp_ns: int
    sensor: Sensor
    file: Path
    size: tuple[int, int]  # (width, height) of pictures, else (0, 0)
    is_keyframe: bool
    ego: Transform


class Box(NamedTuple):
    """One annotated object at a keyframe, in the map's frame."""

    stamp_ns: int
    number: int  # the same for one object over a scene
    category: str
    attributes: tuple[str, ...]
    visibility: str
    map_from_box: Transform
    size_m: tuple[float, float, float]  # (width, length, height)


@dataclass(frozen=True)
class Scene:
    """Everything of one scene, readings and boxes by time."""

    name: str
    description: str
    location: str
    readings: tuple[Reading, ...]
    boxes: tuple[Box, ...]


class Tables:
    """The tables of one version of the data set."""

    def __init__(self, dataroot: Path, version: str) -> None:
        """Read the small tables.

        Raises:
            InputError: a table is missing, damaged, or names what is not there.
            UsageError: there is no such version; lists those that are there.
        """
        self.dataroot = dataroot
        self.folder = dataroot / version
        if not (self.folder / "scene.json").is_file():
            found = sorted(path.parent.name for path in dataroot.glob("*/scene.json"))
            hint = f"versions there: {', '.join(found)}" if found else "no version is there"
            raise UsageError(f"{self.folder} has no nuScenes tables (scene.json); {hint}")
        self.scenes = self._table("scene", "name")
        self._sensors = self._read_sensors()
        self._logs = self._table("log", "location")
        maps = self._rows("map", "token", "log_tokens")
        self._mapped_logs = {token for row in maps for token in row["log_tokens"]}

    def scene_names(self, wanted: str) -> tuple[str, ...]:
        """Names of the wanted scenes: one, some separated by commas, or all.

        Raises:
            UsageError: an unknown one; lists those that are there.
        """
        valid = sorted(row["name"] for row in self.scenes.values())
        if wanted == "all":
            return tuple(valid)
        names = tuple(name.strip() for name in wanted.split(","))
        for name in names:
            if name not in valid:
                some = ", ".join(valid[:12]) + (", ..." if len(valid) > 12 else "")
                raise UsageError(f"scene '{name}' is not in {self.folder}; valid: all, {some}")
        return names

    def load(self, name: str, channels: Iterable[str], sweeps: bool, boxes: bool) -> Scene:
        """Collect a scene's rows.

        Args:
            name: of the scene.
            channels: of the sensors wanted.
            sweeps: whether readings between keyframes are wanted, too.
            boxes: whether annotations are wanted.

        Raises:
            InputError: a table is missing or damaged, a row names a token that is not there, or a
                file of a wanted reading is missing.
        """
        token, scene = next((t, row) for t, row in self.scenes.items() if row["name"] == name)
        stamps = {
            row["token"]: _microseconds(row, self._path("sample"))
            for row in self._rows("sample", "token", "timestamp", "scene_token")
            if row["scene_token"] == token
        }
        if len(stamps) != scene.get("nbr_samples", len(stamps)):
            raise InputError(
                f"{self._path('sample')} has {len(stamps)} samples of {name}, "
                f"{self._path('scene')} promises {scene['nbr_samples']}"
            )
        readings = self._readings(set(stamps), set(channels), sweeps)
        found = self._boxes(stamps) if boxes else ()
        location = self.location(scene)
        return Scene(name, scene.get("description", ""), location, readings, found)

    # Readings

    def _readings(self, samples: set[str], channels: set[str], sweeps: bool) -> tuple[Reading, ...]:
        fields = ("timestamp", "filename", "is_key_frame", "ego_pose_token")
        rows: list[tuple[Row, Sensor]] = []
        for row in self._rows("sample_data", "token", "sample_token", *fields):
            if row["sample_token"] not in samples:
                continue
            sensor: Sensor = self._look_up(
                self._sensors, row, "calibrated_sensor_token", "sample_data", "calibrated_sensor"
            )
            if sensor.channel in channels and (sweeps or row["is_key_frame"]):
                rows.append((row, sensor))
        poses = self._poses({row["ego_pose_token"] for row, _ in rows})
        path = self._path("sample_data")
        readings = [
            Reading(
                _microseconds(row, path) * NS_PER_US,
                sensor,
                self._file(row),
                (int(row.get("width") or 0), int(row.get("height") or 0)),
                bool(row["is_key_frame"]),
                self._look_up(poses, row, "ego_pose_token", "sample_data", "ego_pose"),
            )
            for row, sensor in rows
        ]
        return tuple(sorted(readings, key=lambda reading: (reading.stamp_ns, reading.file)))

    def _file(self, row: Row) -> Path:
        path: Path = self.dataroot / row["filename"]
        if not path.is_file():
            raise InputError(
                f"{path} is missing, which row {row['token']} of {self._path('sample_data')} "
                "names; download it, or choose a scene that is there"
            )
        return path

    def _poses(self, wanted: set[str]) -> dict[str, Transform]:
        path = self._path("ego_pose")
        rows = self._rows("ego_pose", "token")
        return {row["token"]: _transform(row, path) for row in rows if row["token"] in wanted}

    def _read_sensors(self) -> dict[str, Sensor]:
        kinds = self._table("sensor", "channel", "modality")
        path = self._path("calibrated_sensor")
        found: dict[str, Sensor] = {}
        for row in self._rows("calibrated_sensor", "token", "sensor_token"):
            kind = self._look_up(kinds, row, "sensor_token", "calibrated_sensor", "sensor")
            intrinsics = tuple(float(v) for line in row.get("camera_intrinsic") or () for v in line)
            if len(intrinsics) not in (0, 9):
                raise InputError(f"{path}: row {row['token']} has no 3x3 camera_intrinsic")
            sensor = Sensor(kind["channel"], kind["modality"], _transform(row, path), intrinsics)
            if sensor.modality == "camera" and not intrinsics:
                raise InputError(f"{path}: row {row['token']} of a camera has no camera_intrinsic")
            found[row["token"]] = sensor
        return found

    def channels(self, modality: str) -> tuple[str, ...]:
        """Channels of the sensors of a modality (camera, lidar, radar)."""
        sensors = self._sensors.values()
        return tuple(sorted({s.channel for s in sensors if s.modality == modality}))

    def location(self, scene: Row) -> str:
        """Where a scene was recorded.

        A subset's map rows name the logs of the whole data set (v1.0-mini's most of all), so only
        the scene's own log must be there.
        """
        log = self._look_up(self._logs, scene, "log_token", "scene", "log")
        if scene["log_token"] not in self._mapped_logs:
            raise InputError(
                f"{self._path('map')}: no row names the log {scene['log_token']} of {scene['name']}"
            )
        return str(log["location"])

    # Annotations

    def _boxes(self, stamps: Mapping[str, int]) -> tuple[Box, ...]:
        categories = self._table("category", "name")
        instances = self._table("instance", "category_token")
        attributes = self._table("attribute", "name")
        visibility = self._table("visibility", "level")
        numbers: dict[str, int] = {}
        boxes: list[Box] = []
        name, path = "sample_annotation", self._path("sample_annotation")
        fields = ("sample_token", "instance_token", "attribute_tokens", "size")
        for row in self._rows(name, "token", *fields):
            if row["sample_token"] not in stamps:
                continue
            instance = self._look_up(instances, row, "instance_token", name, "instance")
            category = self._look_up(categories, instance, "category_token", "instance", "category")
            seen: Row = {"level": ""}
            if row.get("visibility_token"):  # lidar-only objects have none
                seen = self._look_up(visibility, row, "visibility_token", name, "visibility")
            own = tuple(
                self._look_up(attributes, {**row, "a": token}, "a", name, "attribute")["name"]
                for token in row["attribute_tokens"] or ()
            )
            boxes.append(
                Box(
                    stamps[row["sample_token"]] * NS_PER_US,
                    numbers.setdefault(row["instance_token"], len(numbers)),
                    category["name"],
                    own,
                    seen["level"],
                    _transform(row, path),
                    _numbers(row, "size", 3, path),
                )
            )
        return tuple(sorted(boxes, key=lambda box: (box.stamp_ns, box.number)))

    # Rows

    def _path(self, table: str) -> Path:
        return self.folder / f"{table}.json"

    def _rows(self, table: str, *fields: str) -> Iterable[Row]:
        path = self._path(table)
        for row in table_rows(path):
            for field in fields:
                if field not in row:
                    raise InputError(
                        f"{path}: row {row.get('token', '?')} has no {field}; is it a nuScenes "
                        "table of schema v1.0?"
                    )
            yield row

    def _table(self, name: str, *fields: str) -> dict[str, Row]:
        return {row["token"]: row for row in self._rows(name, "token", *fields)}

    def _look_up(
        self, table: Mapping[str, Any], row: Row, field: str, source: str, target: str
    ) -> Any:
        token = str(row.get(field))
        if token not in table:
            raise InputError(
                f"{self._path(source)}: row {row.get('token', '?')} names the {target} {token}, "
                f"which {self._path(target)} lacks"
            )
        return table[token]


def _microseconds(row: Row, path: Path) -> int:
    value = row["timestamp"]
    if not isinstance(value, int) or value <= 0:
        raise InputError(f"{path}: row {row['token']} has no time stamp, but {value!r}")
    return value


def _numbers(row: Row, field: str, count: int, path: Path) -> Any:
    try:
        values = tuple(float(value) for value in row[field])
    except (KeyError, TypeError, ValueError):
        values = ()
    if len(values) != count:
        raise InputError(f"{path}: row {row['token']} has no {field} of {count} numbers")
    return values


def _transform(row: Row, path: Path) -> Transform:
    rotation = _numbers(row, "rotation", 4, path)
    length = sum(value * value for value in rotation) ** 0.5
    if not 0.99 < length < 1.01:
        raise InputError(f"{path}: row {row['token']} has a rotation that is no unit quaternion")
    w, x, y, z = (value / length for value in rotation)
    return Transform(_numbers(row, "translation", 3, path), (w, x, y, z))
