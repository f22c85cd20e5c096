"""`foresight bench`: how fast the live engine is, against the plain way in the same run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dino_foresight_ros.choices import PRECISIONS
from dino_foresight_ros.outputs import DEPTH, HEADS, MAX_SAMPLES, SEGMENTATION

SIZES = ("tiny", "small", "base", "base-highres")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench",
        help="measure speed and memory of the live engine on this machine",
        description="Times every stage of a live update, and the whole of it against the plain "
        "way (encode the whole clip anew, attention weights materialised, float32), alternating. "
        "Models have random weights: speed does not depend on them.",
    )
    parser.add_argument("--size", nargs="+", choices=SIZES, default=["tiny"], help="model sizes")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--dtype", nargs="+", choices=PRECISIONS[1:], default=["float32"])
    parser.add_argument("--steps", type=int, default=1, help="forecast steps (default: 1)")
    parser.add_argument("--outputs", nargs="*", choices=HEADS, default=[SEGMENTATION, DEPTH])
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="per part of each case (default: 10)"
    )
    parser.add_argument("--no-plain", action="store_true", help="leave the plain way out")
    parser.add_argument(
        "--memory", type=int, metavar="N",
        help="instead: how much resident memory N updates add, for the first size and dtype",
    )  # fmt: skip
    parser.add_argument(
        "--node", action="store_true",
        help="instead: what the ROS node adds to the engine's time, for the first size and dtype",
    )  # fmt: skip
    parser.add_argument(
        "--live", metavar="BUNDLE",
        help="instead: forecasts per second and latency of this bundle in a running forecast_node, "
        "from a camera, over DDS",
    )  # fmt: skip
    parser.add_argument(
        "--rate", type=float, default=20.0, metavar="HZ", help="of --live's camera (default: 20)"
    )
    parser.add_argument(
        "--samples", type=int, default=1, metavar="K", help="futures that --live draws (default: 1)"
    )
    parser.add_argument("--out", type=Path, help="folder for bench.md and bench.json")
    return parser


def _memory(args: argparse.Namespace, case: Any) -> int:
    from dino_foresight_ros.benchmark.memory import measure_growth
    from dino_foresight_ros.errors import UsageError

    if args.memory < 1:
        raise UsageError(f"--memory is {args.memory}; it must be at least 1")
    growth = measure_growth(case, args.memory)
    print(
        f"{case.size}, {case.device}, {case.dtype}: {growth.updates} updates moved resident "
        f"memory by {growth.growth_mb:+.1f} MB ({growth.before_mb:.0f} to {growth.after_mb:.0f})"
    )
    return 0


def _node(case: Any) -> int:
    from dino_foresight_ros.benchmark.node_overhead import describe, measure_overhead
    from dino_foresight_ros.errors import ForesightError

    try:
        result = measure_overhead(case)
    except ImportError as error:
        raise ForesightError(f"--node needs ROS 2 and the built messages: {error}") from error
    print(describe(case, result))
    return 0


def _live(args: argparse.Namespace) -> int:
    from dino_foresight_ros.benchmark.live import LiveCase, describe, measure_live
    from dino_foresight_ros.errors import ForesightError, UsageError

    if not 0 < args.rate <= 1000:
        raise UsageError(f"--rate is {args.rate}; it must be above 0, at most 1000 Hz")
    case = LiveCase(
        args.live, args.seconds, args.rate, steps=args.steps, outputs=tuple(args.outputs),
        device=args.device, dtype="auto", samples=args.samples,
    )  # fmt: skip
    try:
        result = measure_live(case)
    except ImportError as error:
        raise ForesightError(f"--live needs ROS 2 and the built messages: {error}") from error
    print(describe(case, result))
    return 0


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from dino_foresight_ros.process.cpu import set_up_cpu

    set_up_cpu()
    from dino_foresight_ros.benchmark import report
    from dino_foresight_ros.benchmark.engine import Case
    from dino_foresight_ros.benchmark.engine import run as run_case
    from dino_foresight_ros.errors import UsageError
    from dino_foresight_ros.model.devices import resolve_device

    if not 1 <= args.steps <= 16:
        raise UsageError(f"--steps is {args.steps}; it must be 1 to 16")
    if not args.seconds > 0:
        raise UsageError(f"--seconds is {args.seconds}; it must be positive")
    if not 1 <= args.samples <= MAX_SAMPLES:
        raise UsageError(f"--samples is {args.samples}; it must be 1 to {MAX_SAMPLES}")
    if args.live is not None:
        return _live(args)
    if args.samples > 1:
        raise UsageError("--samples is for --live")
    device = str(resolve_device(args.device))
    if args.memory is not None:
        return _memory(args, Case(args.size[0], device, args.dtype[0], args.steps))
    if args.node:
        outputs = tuple(args.outputs)
        return _node(Case(args.size[0], device, args.dtype[0], args.steps, outputs))
    results = []
    for size in args.size:
        for dtype in args.dtype:
            print(f"measuring {size}, {device}, {dtype} ...", flush=True)
            results.append(
                run_case(
                    Case(
                        size,
                        device,
                        dtype,
                        args.steps,
                        tuple(args.outputs),
                        args.seconds,
                        not args.no_plain,
                    )
                )
            )
    print(report.machine_line(results))
    print(report.markdown(results), end="")
    for path in report.write(results, args.out) if args.out else []:
        print(path)
    return 0
