"""Does a forecast stop a robot in time? A collision monitor of nav2's rules, fed in four ways.

    python -m dino_foresight_ros.benchmark.stopping --seeds 0-39 --bundle tiny --out run/stopping
    python -m dino_foresight_ros.benchmark.stopping --data bag:drive --bundle tiny --out run/seen

The same worlds are driven by a driver who keeps the road's speed, held back by the monitor
(`driving/monitor.py`), which takes its points from the present's depth, from copy-last, from a
bundle's forecasts, or from the truth. Without a bundle the present is the world's own depth.

A recording with odometry is not driven but looked at: when would the monitor have stopped, beside
what the same heads then saw on the way (`driving/recorded.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dino_foresight_ros.choices import PRECISIONS
from dino_foresight_ros.driving.runs import DriveSettings, drive_seeds, read_seeds
from dino_foresight_ros.driving.scores import per_km
from dino_foresight_ros.errors import ForesightError, InputError, UsageError
from dino_foresight_ros.process.cpu import set_up_cpu
from dino_foresight_ros.render import markdown
from dino_foresight_ros.render.chart import chart_file

if TYPE_CHECKING:
    from dino_foresight_ros.recordings import Recording
    from dino_foresight_ros.runtime.imagined import Mount

NAMES = {
    "constant": "no monitor",
    "monitor-sensor": "true depth now",
    "monitor-present": "present's depth",
    "monitor-copy-last": "copy-last",
    "monitor-forecast": "forecasts",
    "monitor-truth": "truth",
}
"""Driver -> its name in the table."""
_BUNDLE_ONLY = ("monitor-present", "monitor-forecast")


def stopping_rows(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """What each source did.

    Args:
        found: driver -> episodes (`Episode.to_dict`) of the same seeds; `constant` among them,
            whose contacts are those that could be avoided.

    Returns:
        A row per driver: `avoided` is the share by which contacts per km are below those of nobody
        holding the driver back, NaN where there are none; times (s) and speeds at contact (m/s) are
        medians.
    """
    blind = per_km(found["constant"], "collisions")
    rows = []
    for driver, episodes in found.items():
        contacts = per_km(episodes, "collisions")
        rows.append(
            {
                "source": NAMES[driver],
                "contacts_per_km": contacts,
                "avoided": 1.0 - contacts / blind if blind > 0 else float("nan"),
                "contact_speed_mps": _median_of([c[2] for e in episodes for c in e["contacts"]]),
                "false_stops_per_km": per_km(episodes, "false_stops"),
                "stops_per_km": per_km(episodes, "stops"),
                "time_to_contact_at_stop_s": _median(episodes, "contact_margins_s"),
                "time_to_resume_s": _median(episodes, "resuming_s"),
                "km": sum(e["travelled_m"] for e in episodes) / 1000.0,
                "mean_speed_mps": sum(e["travelled_m"] for e in episodes)
                / max(sum(e["duration_s"] for e in episodes), 1e-9),
            }
        )
    return rows


def _median(episodes: Sequence[Mapping[str, Any]], key: str) -> float:
    return _median_of([value for e in episodes for value in e[key]])


def _median_of(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")


_COLUMNS = (
    ("contacts_per_km", "contacts / km", ".2f", ""),
    ("avoided", "contacts avoided", ".0%", ""),
    ("contact_speed_mps", "speed at contact", ".1f", "m/s"),
    ("false_stops_per_km", "false stops / km", ".2f", ""),
    ("stops_per_km", "stops / km", ".2f", ""),
    ("time_to_contact_at_stop_s", "left until contact at the stop", ".2f", "s"),
    ("time_to_resume_s", "time to resume", ".2f", "s"),
    ("mean_speed_mps", "mean speed", ".1f", "m/s"),
)
_RECORDED_COLUMNS = (
    ("stops_per_km", "stops / km", ".2f", ""),
    ("answered", "the truth's stops it has", ".0%", ""),
    ("earlier_s", "earlier", ".2f", "s"),
    ("false_stops_per_km", "false stops / km", ".2f", ""),
)


def stopping_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str, str, str]] = _COLUMNS
) -> str:
    """Rows of `stopping_rows` as Markdown, a row per source.

    Args:
        rows: a row per source.
        columns: key, heading, format and unit of each.
    """
    return markdown.table(
        ["monitor fed by", *(title for _, title, _, _ in columns)],
        (
            [
                row["source"],
                *(markdown.number(row[key], form, unit) for key, _, form, unit in columns),
            ]
            for row in rows
        ),
    )


def draw(rows: Sequence[Mapping[str, Any]], path: Path, facts: Sequence[str]) -> None:
    """Contacts avoided against false stops, a point per source."""
    with chart_file(path, "What a monitor's points are worth", facts, width=1100) as figure:
        axes = figure.add_subplot()
        labelled: list[tuple[float, float]] = []
        for row in rows:
            if row["source"] == NAMES["constant"] or not np.isfinite(row["avoided"]):
                continue
            x, y = row["false_stops_per_km"], 100 * row["avoided"]
            (mark,) = axes.plot([x], [y], "o", markersize=9, clip_on=False)
            near = sum(abs(x - a) < 0.5 and abs(y - b) < 8.0 for a, b in labelled)
            labelled.append((x, y))
            axes.annotate(
                row["source"], (x, y), xytext=(12, 5 + 16 * near), textcoords="offset points",
                color=mark.get_color(),
            )  # fmt: skip
        axes.set_xlabel("false stops per km")
        axes.set_ylabel("contacts avoided, %")
        axes.margins(x=0.25, y=0.25)
        axes.set_xlim(left=max(axes.get_xlim()[0], -0.25))
        # The mark of a source that avoids all or none lies on the edge, and is drawn whole.
        low, high = axes.get_ylim()
        least = min((y for _, y in labelled), default=0.0)
        axes.set_ylim(low if least < 0.0 else max(low, 0.0), min(high, 100.0))


def main(argv: Sequence[str] | None = None) -> int:
    """Drive and compare."""
    parser = argparse.ArgumentParser(prog="stopping", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--seeds", default="0-9", help="worlds, such as 0-19,42 (default: %(default)s)")
    add("--seconds", type=float, default=30.0, help="of each drive (default: %(default)s)")
    add("--scene", help="urban, suburban, rural or highway (default: as each seed draws it)")
    add("--bundle", default="", help="folder or name of a bundle with metric depth")
    add("--device", default="cpu")
    add("--dtype", default="auto", choices=PRECISIONS,
        help="of the bundle (default: as forecast_node has it on this machine)")  # fmt: skip
    add("--workers", type=int, default=1, help="processes (default: %(default)s)")
    add("--data", nargs="+", default=[], metavar="SPEC",
        help="recordings with odometry and camera_info, not worlds: bag:DIR")  # fmt: skip
    add("--camera-pose", nargs=6, type=float, metavar="N",
        help="of their camera in base_link: x y z in m, roll pitch yaw in degrees (default: as "
        "the bag's transforms say)")  # fmt: skip
    add("--out", type=Path, required=True, metavar="DIR",
        help="for seed_N.json, stopping.json, stopping.md and stopping.png")  # fmt: skip
    args = parser.parse_args(argv)
    set_up_cpu()
    if args.data:
        return _beside_recordings(args)
    names = [name for name in NAMES if args.bundle or name not in _BUNDLE_ONLY]
    settings = DriveSettings(
        args.seconds, scene=args.scene, bundle=args.bundle, device=args.device, dtype=args.dtype,
    )  # fmt: skip
    try:
        settings = settings.fitted()
        seeds = read_seeds(args.seeds)
        found = drive_seeds(
            seeds,
            names,
            settings,
            args.out,
            args.workers,
            lambda text: print(text, file=sys.stderr),
        )
    except ForesightError as error:
        print(f"stopping: {error}", file=sys.stderr)
        return error.exit_code
    rows = stopping_rows(found)
    (args.out / "stopping.json").write_text(json.dumps(rows, indent=1))
    (args.out / "stopping.md").write_text(stopping_table(rows) + "\n")
    facts = [
        f"{len(seeds)} synthetic worlds of {args.seconds:g} s, driven in closed loop",
        f"bundle: {args.bundle}" if args.bundle else "no bundle: the present is the world's depth",
    ]
    draw(rows, args.out / "stopping.png", facts)
    print(stopping_table(rows))
    return 0


def _beside_recordings(args: argparse.Namespace) -> int:
    try:
        if not args.bundle:
            raise UsageError("--data needs --bundle")
        rows = recorded_rows(args.data, args.bundle, args.device, args.camera_pose)
    except ForesightError as error:
        print(f"stopping: {error}", file=sys.stderr)
        return error.exit_code
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "recorded.json").write_text(json.dumps(rows, indent=1))
    text = recorded_markdown(rows)
    (args.out / "recorded.md").write_text(text + "\n")
    print(text)
    return 0


def recorded_rows(
    specs: Sequence[str], bundle: str, device: str, camera_pose: Sequence[float] | None
) -> list[dict[str, Any]]:
    """What the monitor would have done beside recordings, a row per source (`stop_rows`).

    Args:
        specs: of the recordings.
        bundle: folder or name.
        device: where it runs.
        camera_pose: x, y, z in metres, roll, pitch, yaw in degrees; None: as recorded.
    """
    import torch

    from dino_foresight_ros.driving.foreseen import Foreseen
    from dino_foresight_ros.driving.recorded import monitor_recording, stop_rows
    from dino_foresight_ros.model import Bundle
    from dino_foresight_ros.recordings import open_recordings

    model = Bundle.load(bundle, device=device, dtype=torch.float32)
    drives = []
    for recording in open_recordings(specs):
        mount = mount_of(recording, camera_pose)
        drives.append(monitor_recording(recording, Foreseen(model, reads_present=True), mount))
    return stop_rows(drives)


def mount_of(recording: Recording, camera_pose: Sequence[float] | None) -> Mount:
    """How a recording's camera looks, and where it is on the robot.

    Raises:
        InputError: one of both is not known.
    """
    from dino_foresight_ros.recordings.camera_view import check_size, view_of_model
    from dino_foresight_ros.recordings.poses import mounting
    from dino_foresight_ros.runtime.imagined import Mount

    if recording.camera is None:
        raise InputError(f"{recording.name} does not tell its camera: record camera_info")
    view = view_of_model(recording.camera, recording.name)
    check_size(view, recording.size, recording.name)
    pose = recording.base_from_optical if camera_pose is None else mounting(camera_pose)
    if pose is None:
        raise InputError(
            f"{recording.name} does not tell where its camera is on the robot: give --camera-pose, "
            "or record /tf_static"
        )
    return Mount(view, pose)


def recorded_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of `recorded_rows`."""
    return f"{stopping_table(rows, _RECORDED_COLUMNS)}\n\n{rows[0]['km']:.2f} km"


if __name__ == "__main__":
    sys.exit(main())
