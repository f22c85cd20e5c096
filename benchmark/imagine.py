"""How long it takes to judge candidates by imagination, beside one update of the same engine.

Run: python -m dino_foresight_ros.benchmark.imagine [--bundle DIR] [--device cuda]

Where the bundle's forecaster takes no motion, one of its size with random weights that does stands
in for it: it takes as long, and what it foresees means nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from dino_foresight_ros.process.cpu import set_up_cpu

HORIZONS_S = (0.4, 0.8, 1.2)
FIELD_OF_VIEW_DEG = 70.0
CASES = ((8, False), (64, False), (8, True))
"""Candidates, and whether with maps."""


def with_motion(bundle: Any) -> Any:
    """The bundle, or one whose forecaster takes motion: random, of the same size."""
    import torch

    from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster

    if bundle.forecaster.takes_motion:
        return bundle
    torch.manual_seed(0)
    config = WorldConfig(
        channels=bundle.forecaster.channels, width=192, layers=4, heads=4, rope=(16, 12, 12),
        query_newest=True, predict="residual", motion="blocks",
    )  # fmt: skip
    forecaster = WorldForecaster(config).to(bundle.device, bundle.dtype)
    return replace(bundle, forecaster=forecaster)


def measure(bundle: Any, repeats: int = 7) -> dict[str, Any]:
    """Median milliseconds of an update with three steps, and of every case."""
    import numpy as np
    import torch

    from dino_foresight_ros.obstacles import Footprint, ObstacleOptions
    from dino_foresight_ros.obstacles.arc_search import ArcLimits, fan
    from dino_foresight_ros.recordings import open_recordings
    from dino_foresight_ros.recordings.camera import CameraModel
    from dino_foresight_ros.recordings.camera_view import CameraView
    from dino_foresight_ros.recordings.poses import mounting
    from dino_foresight_ros.runtime import Foresight
    from dino_foresight_ros.runtime.candidate import twist_motions
    from dino_foresight_ros.runtime.imagination import Imagination, answer_of
    from dino_foresight_ros.runtime.imagined import ImagineOptions, Mount

    threads = 1
    if bundle.device.type == "cpu":
        threads = max(1, len(os.sched_getaffinity(0)) // torch.get_num_threads())
    engine = Foresight(bundle, horizons_s=HORIZONS_S, threads=threads)
    recording = open_recordings(["synthetic:?seeds=77&frames=8&interval=0.2"])[0]
    frames = list(recording.frames())
    for frame in frames:
        engine.update(frame.image, frame.stamp_ns)
    height, width = frames[0].image.shape[:2]
    k = np.array(CameraModel.from_fov(width, height, FIELD_OF_VIEW_DEG).k).reshape(3, 3)
    view = CameraView.pinhole(k, (height, width))
    mounts = {"": Mount(view, mounting([1.5, 0.0, 1.4, 0.0, 3.0, 0.0]))}
    footprint = Footprint([(-1.0, -0.9), (3.0, -0.9), (3.0, 0.9), (-1.0, 0.9)])
    imagination = Imagination(engine)
    options = ImagineOptions(footprint, ObstacleOptions.of_classes(imagination.class_names))

    def imagine(count: int, maps: bool) -> None:
        arcs = fan(count, ArcLimits(12.0, 0.5))
        motions = np.stack([twist_motions((v, 0.0, w), 9.0, HORIZONS_S) for v, w in arcs])
        answer_of(imagination.imagine(motions, HORIZONS_S, mounts, options, maps=maps))

    def milliseconds(work: Callable[[], object]) -> float:
        work()
        found = []
        for _ in range(repeats):
            began_s = time.perf_counter()
            work()
            found.append((time.perf_counter() - began_s) * 1e3)
        return statistics.median(found)

    stamp_ns = frames[-1].stamp_ns

    def update() -> None:
        nonlocal stamp_ns
        stamp_ns += 200_000_000
        engine.update(frames[-1].image, stamp_ns)

    results: dict[str, Any] = {
        "device": str(bundle.device),
        "dtype": str(bundle.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "workers": imagination.workers,
        "update_ms": milliseconds(update),
    }
    for count, maps in CASES:
        name = f"{count}_candidates{'_with_maps' if maps else ''}_ms"
        results[name] = milliseconds(lambda c=count, m=maps: imagine(c, m))  # type: ignore[misc]
    return results


def main(args: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="torch's; live it is 1 for tiny")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args(args)
    set_up_cpu()
    import torch

    from dino_foresight_ros.model import Bundle
    from dino_foresight_ros.model.devices import resolve_device, resolve_dtype

    torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    bundle = Bundle.load(options.bundle, device, resolve_dtype(options.dtype, device))
    print(json.dumps(measure(with_motion(bundle), options.repeats), indent=2))


if __name__ == "__main__":
    main()
