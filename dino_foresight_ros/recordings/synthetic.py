"""The synthetic world as a recording, rendered when it is read, with every kind of label."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros import synthetic
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.outputs import DEPTH, NORMALS
from dino_foresight_ros.picture_size import parse_sides
from dino_foresight_ros.recordings.camera import CameraModel
from dino_foresight_ros.recordings.label_tables import WORLD_SPACE
from dino_foresight_ros.recordings.motion import EgoMotion, planar_pose
from dino_foresight_ros.recordings.recording import (
    LABEL_KINDS,
    Frame,
    Recording,
)
from dino_foresight_ros.recordings.spec import Spec
from dino_foresight_ros.stamps import NS_PER_S
from dino_foresight_ros.synthetic import World, WorldConfig
from dino_foresight_ros.synthetic.camera import mounted
from dino_foresight_ros.synthetic.config import choose_conditions
from dino_foresight_ros.synthetic.ego import EgoState
from dino_foresight_ros.synthetic.wander import wander

_MAX_SEEDS = 100_000
PLAN, WANDER, STAND = "plan", "wander", "stand"
DRIVERS = (PLAN, WANDER, STAND)
DEFAULT_FRAMES = 50
DEFAULT_INTERVAL_S = 0.1


@lru_cache(maxsize=4)
def _world(config: WorldConfig) -> World:
    """Keep a few worlds per process: building one costs as much as rendering thirty frames."""
    return World(config)


@lru_cache(maxsize=1)
def _code_version() -> str:
    """Fingerprint of what renders: the pictures are a function of it and the configuration."""
    digest = hashlib.sha256()
    folder = Path(synthetic.__file__).parent
    for path in (folder.parent / "classes.py", *sorted(folder.glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class SyntheticRecording(Recording):
    """`frames` instants of one world, `interval_s` apart.

    The vehicle's frame of `ego`, base_link, lies level on the ground below the camera.
    """

    def __init__(
        self, config: WorldConfig, frames: int, interval_s: float, driver: str = PLAN
    ) -> None:
        """Take a world.

        Args:
            config: of it.
            frames, interval_s: instants, from 0 s on.
            driver: "plan" (the world's own), "wander", which brakes and swerves at random, or
                "stand", which stays where it is, as a street camera.
        """
        if driver == STAND:
            config = replace(config, cruise_speed_mps=0.0)
        every = np.arange(frames, dtype=np.int64)
        stamps_ns = np.round(every * interval_s * NS_PER_S).astype(np.int64)
        super().__init__(
            f"synthetic-{config.seed}" + ("" if driver == PLAN else f"-{driver}"),
            stamps_ns,
            (config.height, config.width),
            label_space=WORLD_SPACE,
            labelled=dict.fromkeys(LABEL_KINDS, every),
            scene=f"synthetic {config.seed} {config.scene} {config.weather}",
        )
        self.depth_is_complete = True
        self.config, self.driver = config, driver
        self._conditions = choose_conditions(config)
        self.camera = CameraModel.from_fov(
            config.width, config.height, self._conditions.horizontal_fov_deg
        )
        self._ego: EgoMotion | None = None
        self._states: list[EgoState] | None = None

    @property
    def ego(self) -> EgoMotion:
        """How the vehicle moves, exactly; the steering angle is unknown."""
        if self._ego is None:
            world = _world(self.config)
            states = self._driven()
            self._ego = EgoMotion(
                speed_mps=np.array([state.speed_mps for state in states]),
                steering_rad=np.full(len(self), np.nan),
                world_from_ego=planar_pose([world.base_pose(state) for state in states]),
            )
        return self._ego

    @property
    def base_from_optical(self) -> NDArray[np.float64]:
        """How the camera is mounted, exactly."""
        return mounted(self._conditions)

    def _driven(self) -> list[EgoState]:
        """Where the ego is at each stamp."""
        if self._states is None:
            world, times_s = _world(self.config), (self.stamps_ns / NS_PER_S).tolist()
            if self.driver != WANDER:
                self._states = [world.ego_state(time_s) for time_s in times_s]
            else:
                self._states = wander(world.drive(), self.config.seed, times_s)
        return self._states

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        stamp_ns = int(self.stamps_ns[index])
        ego = self._driven()[index] if self.driver == WANDER else None
        frame = _world(self.config).render(stamp_ns / NS_PER_S, ego)
        found = {kind: getattr(frame, kind) for kind in labels}
        found |= {k: found[k].astype(np.float32) for k in (DEPTH, NORMALS) if k in found}
        return Frame(stamp_ns, image=frame.image, index=index, **found)

    def _fingerprint_parts(self) -> Iterable[str]:
        driver = "" if self.driver == PLAN else f" {self.driver}"
        yield f"synthetic {_code_version()} {sorted(asdict(self.config).items())}{driver}"
        yield self.stamps_ns.tobytes().hex()


def open_synthetic(spec: Spec) -> list[Recording]:
    """Open one world per seed: `?seeds=0-19,42&frames=50&interval=0.1&size=180x320&scene=urban`.

    `interval` in seconds, `size` height x width; `driver=wander` brakes and swerves at random,
    `driver=stand` stays where it is.
    """
    if str(spec.path) not in (".", ""):
        raise UsageError(f"{spec.text}: the world has no path; write synthetic:?seeds=0-9")
    interval_s = spec.number("interval", DEFAULT_INTERVAL_S)
    assert interval_s is not None
    size = parse_sides(spec.options.get("size", "180x320"))
    if size is None:
        raise spec.error("size", "height x width in pixels, such as 180x320")
    frames = spec.whole("frames", DEFAULT_FRAMES)
    chosen = {key: spec.options[key] for key in ("scene", "weather") if key in spec.options}
    return [
        SyntheticRecording(
            WorldConfig(
                seed=seed,
                width=size[1],
                height=size[0],
                frame_rate_hz=1.0 / interval_s,
                **chosen,  # type: ignore[arg-type]
            ),
            frames,
            interval_s,
            spec.choice("driver", DRIVERS, PLAN),
        )
        for seed in _seeds(spec)
    ]


def _seeds(spec: Spec) -> list[int]:
    seeds: list[int] = []
    for part in spec.options.get("seeds", "0").split(","):
        found = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip())
        last = int(found[2] or found[1]) if found else -1
        if found is None or not int(found[1]) <= last < int(found[1]) + _MAX_SEEDS:
            raise spec.error("seeds", "numbers and ranges, such as 0-19,42")
        seeds += range(int(found[1]), last + 1)
    return list(dict.fromkeys(seeds))
