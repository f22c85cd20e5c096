"""Draws several futures of one moment of a recording.

Run: python -m dino_foresight_ros.benchmark.futures --bundle DIR --input VIDEO --at 2 --ahead 0.5 1

The model must draw futures, as `tiny` does (docs/forecasters.md).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dino_foresight_ros.outputs import DEPTH, FEATURES, SEGMENTATION, SPREAD
from dino_foresight_ros.process.cpu import set_up_cpu
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene


def futures_of(
    bundle: Any, recording: Any, at_s: float, ahead_s: Sequence[float], samples: int
) -> ComparedForecast:
    """Forecast one moment, and see what came.

    Args:
        bundle: whose forecaster draws futures.
        recording: a `Recording`.
        at_s: seconds from its start; the newest frame is the last one that is not later.
        ahead_s: horizons, rising, seconds.
        samples: how many futures to draw.

    Returns:
        The forecast, each of whose steps has `samples`, beside what came.

    Raises:
        UsageError: a bundle that cannot draw so many futures, or a horizon that it cannot answer.
        InputError: the recording has no context before that moment, or ends before a horizon.
    """
    from dino_foresight_ros.errors import InputError
    from dino_foresight_ros.runtime import Foresight
    from dino_foresight_ros.runtime.frame import CameraFrame
    from dino_foresight_ros.runtime.request import OutputRequest

    engine = Foresight(bundle, horizons_s=ahead_s, samples=samples)
    names = (engine.available | {FEATURES, SPREAD}) & {SEGMENTATION, DEPTH, FEATURES, SPREAD}
    drawn = frozenset(names) & {SEGMENTATION, DEPTH}
    wanted = {0: names - {SPREAD}, **dict.fromkeys(range(1, len(ahead_s) + 1), names)}
    request = OutputRequest(wanted, samples=samples, sample_outputs=drawn, focal=recording.focal)
    stamps = recording.stamps_ns
    newest = int(np.searchsorted(stamps, stamps[0] + round(at_s * 1e9), side="right")) - 1
    wanted_ns = [int(stamps[newest]) + round(ahead * 1e9) for ahead in ahead_s]
    if wanted_ns[-1] > stamps[-1]:
        raise InputError(f"{recording.name} ends before {at_s + ahead_s[-1]:g} s")
    targets = [int(np.abs(stamps - instant).argmin()) for instant in wanted_ns]
    now: Scene | None = None
    futures: tuple[Scene, ...] = ()
    seen: dict[int, Scene] = {}
    for index, frame in enumerate(recording.frames()):
        if index > targets[-1]:
            break
        if newest - 60 < index <= newest or index in targets:
            # The frames before are context alone: nothing is forecast from them.
            is_asked = index == newest or index in targets
            asked = request if is_asked else OutputRequest(frozenset())
            one = CameraFrame(frame.image, frame.stamp_ns, asked)
            found = engine.update_cameras({"": one})[""].forecast
            if found is None or found.step_0 is None:
                continue
            scene = replace(found.step_0, image=frame.image)
            if index == newest:
                now, futures = scene, found.steps
            if index in targets:
                seen[index] = scene
    if now is None:
        raise InputError(f"{recording.name} has no context before {at_s:g} s")
    steps = zip(futures, targets, strict=True)
    return ComparedForecast(now, tuple(ComparedStep(scene, seen.get(i)) for scene, i in steps))


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw a PNG."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", required=True, help="that draws futures, or tiny")
    parser.add_argument("--input", required=True, help="video, folder, bag, or KIND:PATH")
    parser.add_argument("--at", type=float, default=1.0, help="seconds from the start")
    parser.add_argument("--ahead", type=float, nargs="+", default=[0.5, 1.5], help="seconds")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("out/futures.png"))
    args = parser.parse_args(arguments)
    set_up_cpu()
    from dino_foresight_ros.model import Bundle, DepthTask, SegmentationTask
    from dino_foresight_ros.recordings import open_recordings
    from dino_foresight_ros.render import ClassPalette, DepthScale, Style
    from dino_foresight_ros.render.futures import futures_sheet
    from dino_foresight_ros.render.png import write_png

    bundle = Bundle.load(args.bundle)
    (recording,) = open_recordings([args.input])
    forecast = futures_of(bundle, recording, args.at, args.ahead, args.samples)
    newest = forecast.newest
    classes, depth = bundle.tasks.get(SEGMENTATION), bundle.tasks.get(DEPTH)
    style = Style(
        palette=ClassPalette(classes.class_names, classes.palette)
        if isinstance(classes, SegmentationTask)
        else None,
        depth_scale=DepthScale.spanning([newest.depth], depth.is_metric)
        if isinstance(depth, DepthTask) and newest.depth is not None
        else None,
        trained=bundle.trained,
    )
    facts = [
        f"{recording.name}, {args.at:g} s from the start; {args.samples} futures of {bundle.name}",
        "spread: how far the futures differ in feature space; beneath what came, how far their "
        "mean was off, in the same colours",
    ]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_png(args.out, futures_sheet(forecast, style, "Several futures", facts))
    print(args.out)


if __name__ == "__main__":
    main()
