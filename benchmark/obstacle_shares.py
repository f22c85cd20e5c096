"""What stays of ground and sky in obstacle clouds of held-out synthetic worlds, and what is lost.

    python -m dino_foresight_ros.benchmark.obstacle_shares --bundle tiny --worlds 10

Each cloud is told pixel by pixel against what the world renders at the instant that it is about:
clouds of a bundle's forecasts and of its present, or, without one, of true classes with noisy true
depth.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.benchmark.obstacles import SIZE, camera_of, scene_of, with_noise
from dino_foresight_ros.classes import CLASS_IDS, WORLD_CLASSES
from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.obstacles import Camera, ObstacleOptions
from dino_foresight_ros.obstacles.points import split_scene
from dino_foresight_ros.outputs import CONFIDENCE, DEPTH, SEGMENTATION
from dino_foresight_ros.planar_motion import of_twist
from dino_foresight_ros.process.cpu import set_up_cpu
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.synthetic import World, WorldConfig

NEAR_M = 20.0
HORIZONS_S = (0.2, 0.4, 0.6)
_WANTED = frozenset((SEGMENTATION, CONFIDENCE, DEPTH))
_GROUND_IDS = [CLASS_IDS[name] for name in ("road", "road_marking", "sidewalk", "terrain")]


@dataclass
class Shares:
    """Pixels of clouds, added up.

    Attributes:
        clouds: how many.
        points, sky_points: of the clouds, and those of them where the sky is in truth.
        ground, ground_left: pixels of ground nearer than `NEAR_M`, and those of them in the cloud.
        obstacles, obstacles_kept: likewise of what is none of both and 0.5 to 2 m high.
        errors: of the distances along the rays of the obstacles that are kept, relative.
    """

    clouds: int = 0
    points: int = 0
    sky_points: int = 0
    ground: int = 0
    ground_left: int = 0
    obstacles: int = 0
    obstacles_kept: int = 0
    errors: tuple[NDArray[np.float32], ...] = ()

    def add(self, other: Shares) -> None:
        """Add another cloud's."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def to_dict(self) -> dict[str, float]:
        """Shares in percent."""
        errors = np.concatenate(self.errors) if self.errors else np.full(1, np.nan, np.float32)
        return {
            "clouds' points of sky, %": 100 * self.sky_points / max(self.points, 1),
            f"ground left under {NEAR_M:g} m, %": 100 * self.ground_left / max(self.ground, 1),
            f"obstacles kept under {NEAR_M:g} m, %": 100
            * self.obstacles_kept
            / max(self.obstacles, 1),
            "error of their distance, median %": 100 * float(np.median(errors)),
            "points a cloud": self.points / max(self.clouds, 1),
        }


def shares_of(
    scene: Scene, truth: Scene, camera: Camera, options: ObstacleOptions, least: float
) -> Shares:
    """Compare a cloud with the truth of its instant.

    Args:
        scene: metric depth and classes (H, W), as predicted.
        truth: the same of the world.
        camera: that sees both.
        options: for the predicted classes.
        least: points of less probability are left out.
    """
    assert truth.depth is not None
    assert truth.segmentation is not None
    assert scene.depth is not None
    rays = camera.rays(SIZE)
    split = split_scene(scene, rays, camera.base_from_optical, options)
    kept = np.zeros(SIZE, bool)
    kept.reshape(-1)[split.pixels[split.obstacles.probability >= least]] = True
    xyz = (rays * truth.depth[..., None]) @ camera.base_from_optical[:3, :3].T.astype(np.float32)
    height = xyz[..., 2] + camera.base_from_optical[2, 3]
    near = np.nan_to_num(truth.depth, nan=np.inf) < NEAR_M
    is_sky = truth.segmentation == CLASS_IDS["sky"]
    is_ground = np.isin(truth.segmentation, _GROUND_IDS) & near
    stands = near & ~is_sky & ~is_ground & (height > 0.5) & (height < 2.0)
    found = stands & kept
    error = np.abs(split.depth[found] / truth.depth[found] - 1)
    return Shares(
        1, int(kept.sum()), int((kept & is_sky).sum()),
        int(is_ground.sum()), int((is_ground & kept).sum()),
        int(stands.sum()), int(found.sum()), (error,),
    )  # fmt: skip


def noisy(world: World, noise: float, times_s: Sequence[float]) -> Iterator[tuple[str, Any, Any]]:
    """Name, scene and truth, without a bundle."""
    random = np.random.default_rng(world.config.seed)
    for time_s in times_s:
        truth = scene_of(world.render(time_s))
        yield "truth with noise", with_noise(truth, noise, random), truth


def foreseen(
    world: World, engine: Any, times_s: Sequence[float], has_odometry: bool = True
) -> Iterator[tuple[str, Any, Any]]:
    """Name, scene and truth of a bundle's present and forecasts at some instants.

    Args:
        world: that is looked at.
        engine: of the bundle.
        times_s: of the newest frames.
        has_odometry: whether a bundle that takes motion is told the present twist, held, as
            forecast_node does by default.
    """
    spacing_s, focal = engine.bundle.frame_interval_s, camera_of(world).view.focal
    for time_s in times_s:
        engine.reset()
        forecast = None
        for back in range(engine.rule.frames - 1, -1, -1):
            frame = world.render(time_s - back * spacing_s)
            motion = None
            if has_odometry and engine.forecaster.takes_motion:
                twist = (frame.speed_mps, 0.0, frame.yaw_rate_rps)
                motion = of_twist(twist, HORIZONS_S)
            stamp_ns = round(1e9 * frame.stamp_s)
            forecast = engine.update(frame.image, stamp_ns, motion=motion, focal=focal)
        assert forecast is not None
        yield "present", forecast.step_0, scene_of(frame)
        for scene, ahead_s in zip(forecast.steps, HORIZONS_S, strict=True):
            truth = scene_of(world.render(time_s + ahead_s))
            yield f"forecast {ahead_s:g} s", scene, truth


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(prog="obstacle_shares", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--bundle", default="", help="folder or name of a bundle with metric depth")
    add("--worlds", type=int, default=10, help="held-out worlds (default: %(default)s)")
    add("--first-seed", type=int, default=9000)
    add("--scene", help="urban, suburban, rural or highway (default: as each seed draws it)")
    add("--noise", type=float, default=0.05,
        help="without a bundle: of depth, relative, in pixels (default: %(default)s)")  # fmt: skip
    add("--max-range", type=float, default=30.0, metavar="M",
        help="as max_range_m of obstacle_node (default: %(default)s)")  # fmt: skip
    add("--min-probability", type=float, default=0.3,
        help="as obstacle_node's (default: %(default)s)")  # fmt: skip
    add("--no-odometry", action="store_true", help="the bundle is not told how the ego moves")
    args = parser.parse_args(argv)
    set_up_cpu()
    size, engine = (352, 640), None
    try:
        if args.bundle:
            import torch

            from dino_foresight_ros.model import Bundle
            from dino_foresight_ros.runtime import Foresight

            bundle = Bundle.load(args.bundle, dtype=torch.float32)
            outputs = dict.fromkeys(range(len(HORIZONS_S) + 1), _WANTED)
            engine = Foresight(bundle, horizons_s=HORIZONS_S, outputs=outputs, output_size=SIZE)
            size = bundle.image_size
        every: dict[str, Shares] = {}
        for seed in range(args.first_seed, args.first_seed + args.worlds):
            world = World(WorldConfig(seed=seed, width=size[1], height=size[0], scene=args.scene))
            camera = camera_of(world)
            options = ObstacleOptions.of_classes(
                [info.name for info in WORLD_CLASSES], max_range_m=args.max_range
            )
            times_s = (4.0, 9.0)
            rows = (
                foreseen(world, engine, times_s, not args.no_odometry)
                if engine is not None
                else noisy(world, args.noise, times_s)
            )
            for name, scene, truth in rows:
                found = shares_of(scene, truth, camera, options, args.min_probability)
                every.setdefault(name, Shares()).add(found)
    except ForesightError as error:
        print(f"obstacle_shares: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps({name: one.to_dict() for name, one in every.items()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
