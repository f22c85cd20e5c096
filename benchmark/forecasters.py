"""The world forecaster against the masked one, of the same width and depth, in one run.

    python -m dino_foresight_ros.benchmark.forecasters --threads 1 --out forecasters.json

Both forecast from four frames that they remember already. What is timed is one forecast: three
horizons (the masked one rolls out three steps), and one. Each pair takes turns, so that load from
outside meets both; medians, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dino_foresight_ros.model.forecasters import Forecaster
from dino_foresight_ros.render import markdown

from .measure import clock
from .sizes import untrained_forecaster


class Shape(NamedTuple):
    """Of both forecasters; heads of the world one have 64 values."""

    grid: tuple[int, int]
    channels: int
    width: int
    layers: int
    masked_heads: int


SHAPES = {
    "tiny": Shape((11, 20), 192, 192, 4, 4),
    "small": Shape((16, 32), 384, 384, 6, 6),
    "base": Shape((16, 32), 1152, 1152, 12, 8),
}
FRAMES, INTERVAL_S = 4, 0.2


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table and write the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=tuple(SHAPES), default=list(SHAPES))
    parser.add_argument("--horizons", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--rounds", type=int, default=7, help="pairs that are timed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="JSON file")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    results = [
        measure(size, horizons, args.rounds, args.device)
        for size in args.sizes
        for horizons in args.horizons
    ]
    print(table(results))
    if args.out is not None:
        about = {"threads": args.threads, "device": args.device, "torch": torch.__version__}
        args.out.write_text(json.dumps({**about, "results": results}, indent=1))
    return 0


def build(shape: Shape, device: str = "cpu") -> tuple[Forecaster, Forecaster]:
    """Masked and world forecasters with random weights."""
    channels, grid = shape.channels, shape.grid
    masked, world = (
        untrained_forecaster(kind, channels, grid, shape.width, shape.layers, shape.masked_heads)
        for kind in ("masked", "world")
    )
    for forecaster in (masked, world):
        forecaster.frame_interval_s = INTERVAL_S
        forecaster.eval().requires_grad_(False).to(device)
    return masked, world


@torch.inference_mode()
def measure(size: str, horizons: int, rounds: int, device: str = "cpu") -> dict[str, Any]:
    """Time pairs of forecasts.

    Returns:
        Medians in milliseconds of the masked and the world forecaster, the median of the pairs'
        ratios, and milliseconds to remember a frame.
    """
    shape = SHAPES[size]
    frame = torch.randn(1, *shape.grid, shape.channels, device=device)
    context = frame[:, None].repeat(1, FRAMES, 1, 1, 1)
    both = build(shape, device)
    asked = [forecaster.evenly_spaced(context, horizons) for forecaster in both]
    calls: list[Callable[[], object]] = [
        lambda f=f, a=a: f.forecast(*a)  # type: ignore[misc]
        for f, a in zip(both, asked, strict=True)
    ]
    stamp_s = torch.zeros(1, dtype=torch.float64)
    calls += [lambda: both[1].remember(frame, stamp_s)]
    times: list[list[float]] = [[] for _ in calls]
    for number in range(rounds + 1):  # the first warms up
        for one, call in zip(times, calls, strict=True):
            taken_s = clock(call, torch.device(device))
            if number:
                one.append(1000 * taken_s)
    ratios = [masked / world for masked, world in zip(times[0], times[1], strict=True)]
    masked_ms, world_ms, remember_ms = map(statistics.median, times)
    return {
        "size": size, "horizons": horizons, "masked_ms": masked_ms, "world_ms": world_ms,
        "ratio": statistics.median(ratios), "remember_ms": remember_ms, "rounds": rounds,
    }  # fmt: skip


def table(results: Sequence[dict[str, Any]]) -> str:
    """A Markdown table."""
    return markdown.table(
        ["size", "horizons", "masked, ms", "world, ms", "times as fast", "remembering a frame, ms"],
        (
            [r["size"], str(r["horizons"]), f"{r['masked_ms']:.0f}", f"{r['world_ms']:.0f}",
             f"{r['ratio']:.1f}", f"{r['remember_ms']:.1f}"]
            for r in results
        ),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
