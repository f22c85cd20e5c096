"""What counting horizons from the moment of publication gains: the error against that moment.

Run: python -m dino_foresight_ros.benchmark.present --bundle DIR --input VIDEO --latency 0.15 0.3

A perception that shows the newest frame shows the past once its result is published, a latency
later. This asks for that instant instead, and holds both against what the camera then saw, as the
same model sees it. The model must be of kind world: the latency lies between its steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dino_foresight_ros.outputs import DEPTH, FEATURES, SEGMENTATION
from dino_foresight_ros.process.cpu import set_up_cpu

OUTPUTS = frozenset({SEGMENTATION, DEPTH, FEATURES})


class Gain(NamedTuple):
    """Means over frames, for results that are published a latency after their frame.

    Attributes:
        latency_s: the latency, seconds.
        frames: how many frames count.
        feature_error: mean squared error of the features, of the newest frame and of the forecast.
        agreement: fraction of pixels with the class seen, of both.
        depth_error: mean relative difference of depth, of both.
    """

    latency_s: float
    frames: int
    feature_error: tuple[float, float]
    agreement: tuple[float, float]
    depth_error: tuple[float, float]


def measure(bundle: Any, recording: Any, latency_s: float, most: int = 200) -> Gain:
    """Run over a recording.

    Args:
        bundle: of kind world.
        recording: a `Recording`; frames whose instant has no frame within 5 ms do not count.
        latency_s: from a frame's stamp to its publication.
        most: frames to read.

    Raises:
        UsageError: a bundle that cannot answer the latency.
        InputError: no frame has another one a latency later.
    """
    from dino_foresight_ros.compare import compare
    from dino_foresight_ros.errors import InputError
    from dino_foresight_ros.runtime import Foresight

    engine = Foresight(bundle, horizons_s=[latency_s])
    available = OUTPUTS & (engine.available | {FEATURES})
    wanted = {0: available, 1: available}
    seen, foreseen = {}, {}
    for index, frame in enumerate(recording.frames()):
        if index == most:
            break
        forecast = engine.update(frame.image, frame.stamp_ns, wanted, focal=recording.focal)
        if forecast is not None:
            seen[frame.stamp_ns] = forecast.step_0
            foreseen[frame.stamp_ns] = forecast.steps[0]
    stamps = np.array(sorted(seen))
    rows = []
    for stamp in stamps:
        then = stamps[np.abs(stamps - (stamp + round(latency_s * 1e9))).argmin()]
        if abs(int(then) - int(stamp) - latency_s * 1e9) <= 5e6:
            pairs = [compare(one[stamp], seen[then])[0] for one in (seen, foreseen)]  # type: ignore[arg-type]
            rows.append([pair[:3] for pair in pairs])
    if not rows:
        raise InputError(f"{recording.name}: no frame has another one {latency_s:g} s after it")
    means = np.nanmean(np.array(rows), axis=0)  # (2, measures)
    return Gain(latency_s, len(rows), *(tuple(means[:, k].tolist()) for k in range(3)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", required=True, help="folder of a bundle of kind world")
    parser.add_argument("--input", type=Path, required=True, help="video, folder or bag")
    parser.add_argument("--latency", type=float, nargs="+", default=[0.1, 0.2, 0.4])
    parser.add_argument("--frames", type=int, default=200)
    args = parser.parse_args(arguments)
    set_up_cpu()
    from dino_foresight_ros.model import Bundle
    from dino_foresight_ros.recordings import open_recording

    bundle = Bundle.load(args.bundle)
    print("| latency | frames | feature error | class agreement | depth error |")
    print("|---|---|---|---|---|")
    for latency_s in args.latency:
        gain = measure(bundle, open_recording(args.input), latency_s, args.frames)
        (e0, e1), (a0, a1), (d0, d1) = gain.feature_error, gain.agreement, gain.depth_error
        print(
            f"| {latency_s:g} s | {gain.frames} | {e0:.3f} -> {e1:.3f} ({e1 / e0 - 1:+.0%}) "
            f"| {a0:.1%} -> {a1:.1%} | {d0:.3f} -> {d1:.3f} |"
        )


if __name__ == "__main__":
    main()
