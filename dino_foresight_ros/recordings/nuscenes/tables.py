"""The small tables of nuScenes (schema v1.0): scenes, sensors and places.

    DIR/VERSION/{scene,sensor,calibrated_sensor,log,map}.json

Every token that a row in use names is looked up; one that is not there is an error that names the
row, the token and the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings.camera import CameraModel
from dino_foresight_ros.recordings.nuscenes.rows import (
    Row,
    TableFolder,
    TableProgress,
    transform,
)
from dino_foresight_ros.recordings.poses import Transform


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

    def camera(self, size: tuple[int, int]) -> CameraModel:
        """Intrinsics of a camera whose pictures, undistorted as they come, are (H, W)."""
        return CameraModel(size[1], size[0], self.intrinsics, (0.0,) * 5, frame_id=self.frame_id)


class Tables:
    """The small tables of one version of the data set.

    Attributes:
        dataroot: folder of samples/ and sweeps/.
        rows: all tables of the version.
        scenes: rows of scene.json by name.
        sensors: as they were mounted, by the token of calibrated_sensor.json.
    """

    def __init__(
        self, dataroot: Path, version: str, progress: TableProgress = lambda name, rows: rows
    ) -> None:
        """Read the small tables; `progress` sees the rows of every table pass.

        Raises:
            InputError: a table is missing, damaged, or names what is not there.
            UsageError: there is no such version; lists those that are there.
        """
        folder = dataroot / version
        if not folder.is_dir():
            found = sorted(path.parent.name for path in dataroot.glob("*/scene.json"))
            hint = f"versions there: {', '.join(found)}" if found else "no version is there"
            raise UsageError(f"{folder} has no nuScenes tables (scene.json); {hint}")
        self.dataroot = dataroot
        self.rows = TableFolder(folder, progress)
        self.scenes = {row["name"]: row for row in self.rows.rows("scene", "name")}
        self.sensors = self._read_sensors()

    def scene_names(self, wanted: str) -> tuple[str, ...]:
        """Names of the wanted scenes: one, some separated by commas, or all.

        Raises:
            UsageError: an unknown one; lists those that are there.
        """
        valid = sorted(self.scenes)
        if wanted == "all":
            return tuple(valid)
        names = tuple(name.strip() for name in wanted.split(","))
        for name in names:
            if name not in valid:
                some = ", ".join(valid[:12]) + (", ..." if len(valid) > 12 else "")
                raise UsageError(f"scene '{name}' is not in {self.rows.path}; valid: all, {some}")
        return names

    def _read_sensors(self) -> dict[str, Sensor]:
        kinds = self.rows.table("sensor", "channel", "modality")
        path = self.rows.file("calibrated_sensor")
        found: dict[str, Sensor] = {}
        for row in self.rows.rows("calibrated_sensor", "sensor_token"):
            kind = self.rows.look_up(kinds, row, "sensor_token", "calibrated_sensor", "sensor")
            intrinsics = tuple(float(v) for line in row.get("camera_intrinsic") or () for v in line)
            if len(intrinsics) not in (0, 9):
                raise InputError(f"{path}: row {row['token']} has no 3x3 camera_intrinsic")
            sensor = Sensor(kind["channel"], kind["modality"], transform(row, path), intrinsics)
            if sensor.modality == "camera" and not intrinsics:
                raise InputError(f"{path}: row {row['token']} of a camera has no camera_intrinsic")
            found[row["token"]] = sensor
        return found

    def channels(self, modality: str) -> tuple[str, ...]:
        """Channels of the sensors of a modality (camera, lidar, radar)."""
        sensors = self.sensors.values()
        return tuple(sorted({s.channel for s in sensors if s.modality == modality}))

    @cached_property
    def _places(self) -> tuple[dict[str, Row], set[str]]:
        """The logs by token, and the tokens of those on a map."""
        maps = self.rows.rows("map", "log_tokens")
        return self.rows.table("log", "location"), {t for row in maps for t in row["log_tokens"]}

    def location(self, scene: Row) -> str:
        """Where a scene was recorded.

        A subset's map rows name the logs of the whole data set (v1.0-mini's most of all), so only
        the scene's own log must be there.
        """
        logs, mapped = self._places
        log = self.rows.look_up(logs, scene, "log_token", "scene", "log")
        if scene["log_token"] not in mapped:
            raise InputError(
                f"{self.rows.file('map')}: no row names the log {scene['log_token']} of "
                f"{scene['name']}"
            )
        return str(log["location"])
