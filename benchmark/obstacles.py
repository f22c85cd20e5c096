"""What obstacle_node adds to a forecast, on one core.

Run: python -m dino_foresight_ros.benchmark.obstacles

Synthetic worlds with true classes and noisy true depth, three horizons of 160x88, a grid of 200x200
cells. Times are medians of CPU time of one thread; shares are of held-out worlds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from dino_foresight_ros.classes import CLASS_IDS, WORLD_CLASSES
from dino_foresight_ros.nodes.obstacle.mapper import Camera, ObstacleMap, obstacles_of
from dino_foresight_ros.obstacles import Footprint, GridSpec, ObstacleOptions
from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.synthetic import World, WorldConfig
from dino_foresight_ros.synthetic.camera import look

SIZE = (88, 160)
GROUND = ("road", "road_marking", "sidewalk", "terrain")
NEAR_M = 20.0


def camera_of(world: World) -> Camera:
    """The camera where its configuration says, the base on the road below it."""
    c = world.conditions
    pose = np.eye(4)
    pose[:3, :3] = look(0.0, np.radians(c.camera_pitch_deg), np.radians(c.camera_roll_deg))
    pose[2, 3] = c.camera_height_m
    return Camera(CameraView.pinhole(world.k, (world.config.height, world.config.width)), pose)


def scenes_of(world: World, start_s: float) -> list[Scene]:
    """Three instants, 0.2 s apart, of the size of tiny's heads."""
    found = []
    for k in (1, 2, 3):
        frame = world.render(start_s + 0.2 * k)
        shape = (SIZE[1], SIZE[0])
        found.append(
            Scene(
                round(1e9 * frame.stamp_s),
                step=k,
                horizon_s=0.2 * k,
                depth=cv2.resize(frame.depth, shape, interpolation=cv2.INTER_NEAREST),
                segmentation=cv2.resize(frame.segmentation, shape, interpolation=cv2.INTER_NEAREST),
                confidence=np.ones(SIZE, np.float32),
                depth_is_metric=True,
            )
        )
    return found


def median_ms(run: Callable[[], Any], rounds: int) -> float:
    """Of so many runs, after one that warms up."""
    run()
    times = []
    for _ in range(rounds):
        began = time.process_time()
        run()
        times.append(1000 * (time.process_time() - began))
    return statistics.median(times)


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="runs per time")
    parser.add_argument("--worlds", type=int, default=10, help="held-out worlds")
    parser.add_argument("--noise", type=float, default=0.05, help="of depth, relative, in pixels")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    random = np.random.default_rng(0)
    options = ObstacleOptions.of_classes([info.name for info in WORLD_CLASSES])
    grid, robot = GridSpec(0.1, 15.0, 5.0, 10.0), Footprint.circle(0.4)
    still = np.zeros((3, 3))
    ground = np.zeros(2, int)
    sky = np.zeros(2, int)
    for seed in range(9000, 9000 + given.worlds):
        world = World(WorldConfig(seed=seed, width=640, height=352))
        camera, scenes = camera_of(world), scenes_of(world, 1.0)
        factors = 1 + given.noise * random.standard_normal((3, *SIZE)).astype(np.float32)
        noisy = [
            replace(scene, depth=scene.depth * factor)
            for scene, factor in zip(scenes, factors, strict=True)
        ]
        found = obstacles_of(noisy, 0, camera, still, options)
        for scene, points in zip(scenes, found.points, strict=True):
            reach = np.hypot(points.xyz[:, 0], points.xyz[:, 1])
            ids = [CLASS_IDS[name] for name in GROUND]
            assert scene.segmentation is not None
            assert scene.depth is not None
            is_near = np.isin(scene.segmentation, ids) & (np.nan_to_num(scene.depth) < NEAR_M)
            ground += (np.isin(points.class_id, ids) & (reach < NEAR_M)).sum(), is_near.sum()
            sky += (points.class_id == CLASS_IDS["sky"]).sum(), len(points)
    view = ObstacleMap([found], grid, 0.0)
    ahead = np.array([[2.0 * h, 0.0, 0.0] for h in found.horizons_s])
    times = {
        "points": median_ms(lambda: obstacles_of(noisy, 0, camera, still, options), given.rounds),
        "grids": median_ms(lambda: ObstacleMap([found], grid, 0.0).swept(), given.rounds),
        "contact": median_ms(lambda: view.contact(ahead, robot, 0.5), given.rounds),
    }
    times["all"] = sum(times.values())
    shares = {"ground_left": ground[0] / ground[1], "sky_in_clouds": sky[0] / max(sky[1], 1)}
    print(json.dumps({"median_ms": times, "shares": shares}, indent=1, default=float))


if __name__ == "__main__":
    main()
