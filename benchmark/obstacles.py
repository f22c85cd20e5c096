"""What obstacle_node adds to a forecast, on one core.

Run: python -m dino_foresight_ros.benchmark.obstacles

A synthetic world with true classes and noisy true depth, three horizons of 160x88, 200x200
cells of grid. Times are medians of CPU time of one thread.
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

from dino_foresight_ros.classes import WORLD_CLASSES
from dino_foresight_ros.obstacles import (
    Camera,
    Footprint,
    GridSpec,
    ObstacleMap,
    ObstacleOptions,
    obstacles_of,
)
from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.synthetic import Frame, World, WorldConfig
from dino_foresight_ros.synthetic.camera import look

SIZE = (88, 160)


def camera_of(world: World) -> Camera:
    """The camera where its configuration says, the base on the road below it."""
    c = world.conditions
    pose = np.eye(4)
    pose[:3, :3] = look(0.0, np.radians(c.camera_pitch_deg), np.radians(c.camera_roll_deg))
    pose[2, 3] = c.camera_height_m
    return Camera(CameraView.pinhole(world.k, (world.config.height, world.config.width)), pose)


def scene_of(frame: Frame, step: int = 0, horizon_s: float = 0.0) -> Scene:
    """A rendered frame's truth, of the size of tiny's heads."""
    shape = (SIZE[1], SIZE[0])
    return Scene(
        round(1e9 * frame.stamp_s),
        step=step,
        horizon_s=horizon_s,
        depth=cv2.resize(frame.depth, shape, interpolation=cv2.INTER_NEAREST),
        segmentation=cv2.resize(frame.segmentation, shape, interpolation=cv2.INTER_NEAREST),
        confidence=np.ones(SIZE, np.float32),
        depth_is_metric=True,
    )


def with_noise(scene: Scene, noise: float, random: np.random.Generator) -> Scene:
    """The scene with a depth that is off by so much at each pixel, relative."""
    assert scene.depth is not None
    factors = 1 + noise * random.standard_normal(scene.depth.shape).astype(np.float32)
    return replace(scene, depth=scene.depth * factors)


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
    parser.add_argument("--noise", type=float, default=0.05, help="of depth, relative, in pixels")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    random = np.random.default_rng(0)
    options = ObstacleOptions.of_classes([info.name for info in WORLD_CLASSES])
    grid, robot = GridSpec(0.1, 15.0, 5.0, 10.0), Footprint.circle(0.4)
    still = np.zeros((3, 3))
    world = World(WorldConfig(seed=9000, width=640, height=352))
    camera = camera_of(world)
    scenes = [
        with_noise(scene_of(world.render(1.0 + 0.2 * k), k, 0.2 * k), given.noise, random)
        for k in (1, 2, 3)
    ]
    found = obstacles_of(scenes, 0, camera, still, options)
    view = ObstacleMap([found], grid, 0.0)
    ahead = np.array([[2.0 * h, 0.0, 0.0] for h in found.horizons_s])
    times = {
        "points": median_ms(lambda: obstacles_of(scenes, 0, camera, still, options), given.rounds),
        "grids": median_ms(lambda: ObstacleMap([found], grid, 0.0).swept(), given.rounds),
        "contact": median_ms(lambda: view.contact(ahead, robot, 0.5), given.rounds),
    }
    times["all"] = sum(times.values())
    print(json.dumps({"median_ms": times, "points": len(found.points[0])}, indent=1))


if __name__ == "__main__":
    main()
