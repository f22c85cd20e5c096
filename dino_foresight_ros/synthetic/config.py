"""What may vary in the synthetic world, and how a seed chooses it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

import numpy as np

from dino_foresight_ros.errors import UsageError

SCENES = ("urban", "suburban", "rural", "highway")
WEATHERS = ("clear", "cloudy", "overcast", "fog", "wet")


@dataclass(frozen=True)
class Range:
    """Where a value is drawn from when the seed chooses it, and what may be asked for."""

    low: float
    high: float
    least: float
    most: float


RANGES: Mapping[str, Range] = MappingProxyType(
    {
        "horizontal_fov_deg": Range(55.0, 95.0, 20.0, 140.0),
        "camera_height_m": Range(1.25, 1.95, 0.6, 4.0),
        "camera_pitch_deg": Range(-1.5, 5.0, -20.0, 30.0),
        "camera_roll_deg": Range(-1.2, 1.2, -20.0, 20.0),
        "hour": Range(6.4, 19.6, 6.0, 20.0),
        "sun_azimuth_deg": Range(-180.0, 180.0, -180.0, 180.0),
        "traffic": Range(0.15, 1.0, 0.0, 1.0),
        "pedestrians": Range(0.2, 1.0, 0.0, 1.0),
        "exposure": Range(0.85, 1.2, 0.3, 3.0),
        "noise": Range(0.5, 3.5, 0.0, 30.0),
        "vignette": Range(0.05, 0.35, 0.0, 1.0),
        "blur_px": Range(0.35, 0.7, 0.0, 5.0),
        "saturation": Range(0.75, 1.15, 0.0, 2.0),
    }
)
"""Numeric fields of WorldConfig that the seed chooses, uniformly between low and high."""

CRUISE_SPEED_MPS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"urban": (7.0, 13.0), "suburban": (7.0, 13.0), "rural": (12.0, 21.0), "highway": (19.0, 31.0)}
)
"""Cruising speed by scene, in m/s."""

_WHOLE = {
    "width": (16, 8192),
    "height": (16, 8192),
    "supersample": (1, 4),
    "motion_blur_samples": (1, 32),
}


@dataclass(frozen=True)
class WorldConfig:
    """One world. `None` means: chosen by the seed, within `RANGES` and the tuples above.

    Angles in degrees, lengths in metres, speeds in m/s. `noise` is the sensor noise in grey
    levels, `blur_px` the lens blur for 640 pixels of width (it scales with the width).
    `supersample` renders the picture with that many samples each way; the ground truth is always
    that of the pixel centres. `motion_blur_samples` above 1 averages that many instants over half
    a frame interval. `camera_pitch_deg` above 0 looks down.
    """

    seed: int = 0
    width: int = 640
    height: int = 360
    frame_rate_hz: float = 20.0
    scene: str | None = None
    weather: str | None = None
    hour: float | None = None
    sun_azimuth_deg: float | None = None
    horizontal_fov_deg: float | None = None
    camera_height_m: float | None = None
    camera_pitch_deg: float | None = None
    camera_roll_deg: float | None = None
    cruise_speed_mps: float | None = None
    traffic: float | None = None
    pedestrians: float | None = None
    drive_on_left: bool | None = None
    exposure: float | None = None
    noise: float | None = None
    vignette: float | None = None
    blur_px: float | None = None
    saturation: float | None = None
    supersample: int = 1
    motion_blur_samples: int = 1
    view_distance_m: float = 200.0

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int) or self.seed < 0:
            raise UsageError(f"seed is {self.seed!r}; it must be a whole number from 0")
        for name, (least, most) in _WHOLE.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise UsageError(
                    f"{name} is {value!r}; it must be a whole number from {least} to {most}"
                )
        _check_choice("scene", self.scene, SCENES)
        _check_choice("weather", self.weather, WEATHERS)
        _check_number("frame_rate_hz", self.frame_rate_hz, 0.1, 1000.0)
        _check_number("view_distance_m", self.view_distance_m, 40.0, 400.0)
        _check_number("cruise_speed_mps", self.cruise_speed_mps, 0.0, 45.0)
        for name, allowed in RANGES.items():
            _check_number(name, getattr(self, name), allowed.least, allowed.most)


@dataclass(frozen=True)
class Conditions:
    """A WorldConfig with every open choice made; same units."""

    scene: str
    weather: str
    hour: float
    sun_azimuth_deg: float
    horizontal_fov_deg: float
    camera_height_m: float
    camera_pitch_deg: float
    camera_roll_deg: float
    cruise_speed_mps: float
    traffic: float
    pedestrians: float
    drive_on_left: bool
    exposure: float
    noise: float
    vignette: float
    blur_px: float
    saturation: float


def choose_conditions(config: WorldConfig) -> Conditions:
    """Make every open choice from the seed. Fixing one field leaves the others as they were."""
    chosen: dict[str, object] = {}
    for index, name in enumerate(f.name for f in fields(Conditions)):
        rng = np.random.default_rng([config.seed, 1, index])
        if name == "scene":
            chosen[name] = str(rng.choice(SCENES, p=[0.42, 0.22, 0.18, 0.18]))
        elif name == "weather":
            chosen[name] = str(rng.choice(WEATHERS, p=[0.4, 0.22, 0.2, 0.06, 0.12]))
        elif name == "drive_on_left":
            chosen[name] = bool(rng.random() < 0.15)
        elif name == "cruise_speed_mps":
            scene = config.scene or str(chosen["scene"])
            chosen[name] = float(rng.uniform(*CRUISE_SPEED_MPS[scene]))
        else:
            chosen[name] = float(rng.uniform(RANGES[name].low, RANGES[name].high))
        fixed = getattr(config, name)
        if fixed is not None:
            chosen[name] = fixed
    return Conditions(**chosen)  # type: ignore[arg-type]


def _check_choice(name: str, value: str | None, valid: tuple[str, ...]) -> None:
    if value is not None and value not in valid:
        raise UsageError(f"{name} is {value!r}; it must be one of {', '.join(valid)}")


def _check_number(name: str, value: float | None, least: float, most: float) -> None:
    if value is None:
        return
    is_number = isinstance(value, (int, float)) and math.isfinite(value)
    if not is_number or not least <= value <= most:
        raise UsageError(f"{name} is {value!r}; it must be from {least:g} to {most:g}")
