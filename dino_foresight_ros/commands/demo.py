"""`foresight demo`: play an input through the real nodes and leave pictures and numbers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_foresight_ros.demo.options import DEFAULT_SEED

if TYPE_CHECKING:
    from dino_foresight_ros.demo.session import DemoResult

DEFAULT_OUT = Path("out/demo")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo",
        help="play an input through the nodes; leave a contact sheet, a video and numbers",
        description="Plays a video, a folder of pictures or a rosbag2 (the synthetic world when "
        "none is given) through the real nodes, over DDS in a domain of its own, and leaves "
        "contact_sheet.png, forecast.mp4 and metrics.json in a folder.",
    )
    add = parser.add_argument
    add("--input", type=Path, metavar="PATH", help="video, folder of pictures or rosbag2")
    add("--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="default: %(default)s")
    add("--bundle", metavar="B", help="folder of the model; default: the forecast node's")
    add("--steps", type=int, metavar="N", help="steps to forecast; default: the forecast node's")
    add("--frames", type=int, metavar="N", help="stop after so many frames")
    add("--device", metavar="D", help="auto, cpu, cuda or cuda:N; default: the forecast node's")
    add("--rate", type=float, default=1.0, metavar="R", help="2 plays twice as fast")
    add("--topic", metavar="T", help="which image topic of a bag")
    add("--seed", type=int, default=DEFAULT_SEED, metavar="N", help="of the synthetic world")
    add("--domain-id", type=int, metavar="N", help="ROS domain; default: one that nobody uses")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the demo and tell where its results are."""
    import cv2

    from dino_foresight_ros.demo.options import DemoOptions
    from dino_foresight_ros.demo.session import run_demo

    # The nodes need the other cores more.
    cv2.setNumThreads(1)
    options = DemoOptions(
        out=args.out,
        input=args.input,
        bundle=args.bundle,
        steps=args.steps,
        frames=args.frames,
        device=args.device,
        rate=args.rate,
        topic=args.topic,
        seed=args.seed,
        domain_id=args.domain_id,
    )
    _tell(run_demo(options), args.out)
    return 0


def _tell(result: DemoResult, out: Path) -> None:
    numbers = result.numbers
    print(_counts(numbers))
    if numbers["latency_p50_ms"] is not None:
        rate = numbers["forecasts_per_s"]
        print(
            f"latency {numbers['latency_p50_ms']:.1f} ms (median), "
            f"{numbers['latency_p99_ms']:.1f} ms (99th percentile)"
            + (f"; {rate:.1f} forecasts/s" if rate is not None else "")
        )
    for path in result.paths:
        print(f"  {out / path.name}")
    if not numbers["trained"]:
        print(
            f"{numbers['model']} is UNTRAINED: its weights are random, so these pictures show how "
            "everything runs and mean nothing as forecasts."
        )


def _counts(numbers: Mapping[str, Any]) -> str:
    text = f"{numbers['frames_in']} frames in, {numbers['forecasts_out']} forecasts out"
    if numbers["dropped"]:
        reasons = (f"{count} {name}" for name, count in numbers["dropped"].items())
        text += f", {numbers['dropped_total']} dropped ({', '.join(reasons)})"
    return text
