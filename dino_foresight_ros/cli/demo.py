"""`foresight demo`: play an input through the real nodes and leave pictures and numbers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
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
        help="play an input through the nodes; leave pictures, a video and numbers",
        description="Plays a video, a folder of pictures or a rosbag2 (the synthetic world when "
        "none is given) through the real nodes, over DDS in a domain of its own, and leaves in a "
        "folder: contact_sheet.png (each forecast beside what then came), skill.png (forecast "
        "against copy-last by horizon), forecast.mp4 and metrics.json. Of several cameras of a "
        "bag each has its own sheet, and mosaic.png shows all of them.",
    )
    add = parser.add_argument
    add("--input", type=Path, metavar="PATH", help="video, folder of pictures or rosbag2")
    add("--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="default: %(default)s")
    add(
        "--bundle", metavar="B",
        help="folder, hub:owner/name, tiny (trained; the default where it came with the package) "
        "or untrained-tiny",
    )  # fmt: skip
    add("--steps", type=int, metavar="N", help="steps to forecast; default: the forecast node's")
    add("--frames", type=int, metavar="N", help="stop after so many frames (of each camera)")
    add("--device", metavar="D", help="auto, cpu, cuda or cuda:N; default: the forecast node's")
    add("--rate", type=float, default=1.0, metavar="R", help="2 plays twice as fast")
    add("--topic", metavar="T", help="which image topic of a bag")
    add(
        "--cameras", type=_names, default=(), metavar="A,B,...",
        help="several cameras of a bag, forecast in one batch, or all; a camera's name is the part "
        "in which the topics differ (cam_front of /cam_front/image_raw). --topic "
        "/{camera}/image_raw then says which image topics, where a camera has several",
    )  # fmt: skip
    add(
        "--fov-deg", type=float, metavar="DEG",
        help="assume this horizontal field of view, for the 3D of what has no calibration (--view)",
    )  # fmt: skip
    add("--seed", type=int, default=DEFAULT_SEED, metavar="N", help="of the synthetic world")
    add("--domain-id", type=int, metavar="N", help="ROS domain; default: one that nobody uses")
    add("--view", choices=("web",), help="show it live in a browser, and go on until Ctrl-C")
    add(
        "--view-port", type=int, default=9090, metavar="N", help="with --view; default: %(default)s"
    )
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name for part in text.split(",") if (name := part.strip()))
    if not names:
        raise argparse.ArgumentTypeError("give names with commas between, or all")
    return names


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
        cameras=args.cameras,
        fov_deg=args.fov_deg,
        seed=args.seed,
        domain_id=args.domain_id,
    )
    if args.view is None:
        _tell(run_demo(options), args.out)
        return 0
    from dino_foresight_ros.demo.viewer import DemoViewer

    with DemoViewer(args.view_port, args.domain_id, with_skill=not args.cameras) as viewer:
        print(f"look at {viewer.url}", flush=True)
        _tell(run_demo(replace(options, domain_id=viewer.domain_id)), args.out)
        print(f"all of it stays at {viewer.url} until Ctrl-C", flush=True)
        viewer.keep()
    return 0


def _tell(result: DemoResult, out: Path) -> None:
    numbers = result.numbers
    print(_counts(numbers))
    for name, own in numbers.get("cameras", {}).items():
        print(f"  {name}: {_counts(own)}")
    if numbers["latency_p50_ms"] is not None:
        rate = numbers["forecasts_per_s"]
        print(
            f"latency {numbers['latency_p50_ms']:.1f} ms (median), "
            f"{numbers['latency_p99_ms']:.1f} ms (99th percentile)"
            + (f"; {rate:.1f} forecasts/s" if rate is not None else "")
        )
    for line in _skill(numbers["skill"]):
        print(line)
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


def _skill(skill: Mapping[str, Any]) -> list[str]:
    """How forecast and copy-last compare, in a line per measure."""
    lines = []
    horizons = [f"{ms:.0f} ms" for ms in skill["horizons_ms"]]
    for name, unit, title in (
        ("feature_error", 1.0, "feature error"),
        ("segmentation_agreement", 100.0, "pixels of the class seen later, %"),
        ("depth_error", 100.0, "depth off from the one seen later by, %"),
    ):
        if name in skill:
            pairs = zip(horizons, skill[name]["forecast"], skill[name]["copy_last"], strict=True)
            told = [
                f"{unit * ours:.3g} ({unit * copied:.3g}) in {horizon}"
                for horizon, ours, copied in pairs
                if ours is not None and copied is not None
            ]
            lines.append(f"{title}, forecast (copy-last): {', '.join(told)}")
    return lines
