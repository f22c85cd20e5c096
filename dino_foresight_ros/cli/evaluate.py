"""`foresight evaluate`: how good a bundle is, on any recordings, with labels or without."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dino_foresight_ros.choices import PRECISIONS
from dino_foresight_ros.cli import evaluate_lidar
from dino_foresight_ros.cli.train.arguments import Options

if TYPE_CHECKING:
    from dino_foresight_ros.model import Bundle
    from dino_foresight_ros.recordings import Recording

Opening: TypeAlias = "Callable[[Sequence[str]], list[Recording]]"
"""Data specs -> their recordings."""

DEFAULT_OUT = Path("out/evaluation")
_DTYPE = "float32"
_TRUE, _NONE = "true", "none"


def horizon_range(text: str) -> tuple[int, ...]:
    """Read "1-8" or "1,3,5"; "none" is no horizon at all."""
    if text == "none":
        return ()
    steps: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise argparse.ArgumentTypeError(f"{text!r} is not like 1-8 or 1,3,5")
        steps.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(steps))


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "evaluate",
        help="measure a bundle on recordings, with labels or without",
        description="Compares the forecast with copying the last frame, with a linear and an MLP "
        "predictor and, where there are labels, with the heads on the true future frame. Leaves "
        "report.md, report.json and pictures in a folder.",
    )
    add = parser.add_argument
    add("--bundle", required=True, metavar="B", help="folder, hub:owner/name or untrained-tiny")
    add(
        "--data", nargs="+", default=[], metavar="SPEC",
        help="what to score: video, folder of pictures, rosbag2, or KIND:PATH?key=value",
    )  # fmt: skip
    add(
        "--fit-data", nargs="+", default=[], metavar="SPEC",
        help="what the linear and the MLP predictor are fitted on (default: a part of --data, "
        "which is then not scored)",
    )  # fmt: skip
    add("--no-fit", action="store_true", help="leave the linear and the MLP predictor out")
    add(
        "--protocol", choices=("dino-foresight", "dino-world", "seed-study"),
        help="a published one: Cityscapes val as DINO-Foresight scores it, the same with linear "
        "heads as DINO-world, or 8 frames/s with gaps of 1 to 12 frames",
    )  # fmt: skip
    add(
        "--horizons", type=horizon_range, metavar="K-K",
        help="steps at the bundle's frame interval, such as 1-8 (default), 1,3, or none",
    )  # fmt: skip
    add(
        "--gaps", nargs="*", type=float, metavar="S",
        help="time gaps in seconds (default: 0.125 0.25 0.5 1 1.5)",
    )  # fmt: skip
    add(
        "--instants", nargs="+", type=float, metavar="S",
        help="any seconds ahead, in place of horizons and gaps where these are not given; for "
        "forecasters of kind world, which are told the true times of frames",
    )  # fmt: skip
    add(
        "--context", type=int, metavar="N",
        help="with --instants: frames of a context (default: the bundle's)",
    )  # fmt: skip
    add(
        "--spacing", type=float, metavar="S",
        help="with --instants: seconds between them (default: the bundle's frame interval)",
    )  # fmt: skip
    add(
        "--jitter", type=float, metavar="X",
        help="with --instants: how far a frame may lie off its place, as a share of the spacing",
    )  # fmt: skip
    add(
        "--missing", type=float, metavar="P",
        help="with --instants: probability that a frame but the newest is missing",
    )  # fmt: skip
    add(
        "--max-clips", type=int, metavar="N",
        help="at most so many clips per series (default: 200); 0: all of them",
    )  # fmt: skip
    add(
        "--max-label-clips", type=int, metavar="N",
        help="of those, so many whose labels are scored (default: 100); 0: all of them",
    )  # fmt: skip
    add(
        "--motion", choices=(_TRUE, _NONE),
        help="what a forecaster that takes the vehicle's motion is told until each target: the "
        "true one, where recordings know it (default), or none",
    )  # fmt: skip
    add("--no-labels", action="store_true", help="leave labels out")
    add("--raw", action="store_true", help="score in the encoder's own feature space too")
    add("--mlp-steps", type=int, metavar="N", help="of fitting each MLP (default: 400)")
    add("--seed", type=int, default=0, help="default: %(default)s")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    add("--dtype", default=_DTYPE, choices=PRECISIONS)
    add("--batch", type=int, default=8, metavar="N", help="clips at once (default: %(default)s)")
    add("--out", type=Path, default=DEFAULT_OUT, metavar="DIR", help="default: %(default)s")
    add("--force", action="store_true", help="replace an earlier report")
    evaluate_lidar.add_arguments(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Evaluate, and tell where the report is."""
    from dino_foresight_ros.process.cpu import set_up_cpu

    set_up_cpu()
    evaluate_bundle(vars(args))
    return 0


def evaluate_bundle(options: Options, opening: Opening | None = None) -> None:
    """Measure a bundle by the command's options, write the report, and tell where it is.

    Args:
        options: of the command.
        opening: gives the recordings of data specs; `open_recordings` when None.

    Raises:
        ForesightError: as `training.evaluation.evaluate`; options that contradict each other.
    """
    from dino_foresight_ros.model import Bundle
    from dino_foresight_ros.model.devices import resolve_device, resolve_dtype
    from dino_foresight_ros.progress import warn
    from dino_foresight_ros.recordings import open_recordings
    from dino_foresight_ros.training.evaluation import (
        check_output,
        check_protocol,
        evaluate,
        protocol_config,
        protocol_recordings,
        protocol_report,
        write_report,
    )

    protocol = options.get("protocol")
    _check_protocol_options(options)
    config = _config(options)
    bags = evaluate_lidar.bag_specs(options)
    out, overwrite = options["out"].expanduser(), bool(options.get("force"))
    check_output(out, overwrite)
    device = resolve_device(options["device"])
    dtype = resolve_dtype(options.get("dtype") or _DTYPE, device)
    bundle = Bundle.load(options["bundle"], device, dtype)
    config = _with_context(config, options, bundle)
    _check_motion(options, bundle)
    notes: list[str] = []
    if protocol:
        notes = check_protocol(protocol, bundle, options["data"])
        config = protocol_config(protocol, config, bundle.frame_interval_s)
    opened = opening or partial(open_recordings, on_warning=warn, measures=True)
    recordings = protocol_recordings(protocol, opened([*options["data"], *bags]))
    lidar = evaluate_lidar.open_lidar(options, bundle, recordings, warn) if bags else None
    # What predictors are fitted on is training data: of a data set with splits, train.
    fitting = opening or partial(open_recordings, on_warning=warn)
    fit_recordings = protocol_recordings(
        protocol, fitting(options["fit_data"]) if options["fit_data"] else []
    )
    report = evaluate(bundle, recordings, config, fit_recordings, warn, True, lidar)
    if protocol:
        report = protocol_report(protocol, report, notes)
    paths = write_report(report, out, overwrite=overwrite)
    for note in report.notes:
        print(f"note: {note}")
    for line in summary(report):
        print(line)
    for path in paths:
        print(f"  {path}")


def summary(report: Any) -> list[str]:
    """A few lines for the terminal."""
    from dino_foresight_ros.training.evaluation.report import figure_cells, improvement_text
    from dino_foresight_ros.training.evaluation.tables import lead_text

    splits = sorted({one.split for one in report.data if one.split})
    lines = [f"scored on the split {', '.join(splits)}"] if splits else []
    if report.protocol is not None:
        for figure in report.protocol.figures:
            what, predictor, ours, published, model, source = figure_cells(figure)
            lines.append(
                f"{what}, {predictor.strip('*')}: {ours}; published {published} ({model}; {source})"
            )
    for result in report.features:
        if result.space == "pca":
            gain = improvement_text(result.rows["forecast"].improvements["mse"])
            way = "" if result.lead.gap_s is None else f", {result.lead.kind}"
            clips = f"{result.clips} clips"
            lines.append(f"{lead_text(result.lead)}{way}: MSE below copy-last {gain}, {clips}")
    lines += evaluate_lidar.summary(report.lidar)
    if report.bundle.doubt:
        lines.append(f"{report.bundle.name} is {report.bundle.doubt}")
    return lines


_OF_CITYSCAPES = (
    "horizons", "gaps", "instants", "max_clips", "max_label_clips", "fit_data", "no_fit",
    "no_labels", "bag", "motion",
)  # fmt: skip
_FIXED_BY_PROTOCOL = {
    "dino-foresight": _OF_CITYSCAPES,
    "dino-world": _OF_CITYSCAPES,
    "seed-study": ("horizons", "gaps", "instants", "no_fit", "bag", "motion"),
}


def _check_protocol_options(options: Options) -> None:
    """Refuse what a protocol fixes.

    Raises:
        UsageError: names both options.
    """
    from dino_foresight_ros.errors import UsageError

    protocol = options.get("protocol") or ""
    for name in _FIXED_BY_PROTOCOL.get(protocol, ()):
        if options.get(name) not in (None, False, []):
            raise UsageError(
                f"--{name.replace('_', '-')} and --protocol {protocol} contradict each other; "
                "give one"
            )


def _config(options: Options) -> Any:
    from dino_foresight_ros.errors import UsageError
    from dino_foresight_ros.training.evaluation import EvaluationConfig

    if options.get("no_fit") and options["fit_data"]:
        raise UsageError("--fit-data and --no-fit contradict each other; give one")
    evaluate_lidar.check(options)
    chosen: dict[str, Any] = {
        name: options[name]
        for name in ("raw", "seed", "batch", "horizons", "mlp_steps")
        if options.get(name) is not None
    }
    chosen |= {"fitted": not options.get("no_fit"), "labels": not options.get("no_labels")}
    chosen["motion"] = options.get("motion") != _NONE
    if options.get("gaps") is not None:
        chosen["gaps_s"] = tuple(options["gaps"])
    if options.get("instants"):
        if options.get("bag"):
            raise UsageError("depth against lidar is scored by horizon; leave --instants out")
        chosen["instants_s"] = tuple(options["instants"])
        chosen = {"horizons": (), "gaps_s": (), **chosen}
    else:
        given = [name for name in _CONTEXT if options.get(name) is not None]
        if given:
            raise UsageError(f"--{given[0]} says how contexts of --instants lie; give --instants")
    for name in ("max_clips", "max_label_clips"):
        if options.get(name) is not None:
            chosen[name] = options[name] or None
    return EvaluationConfig(**chosen)


def _check_motion(options: Options, bundle: Bundle) -> None:
    """Refuse to tell a motion to a forecaster that takes none.

    Raises:
        UsageError: it was asked for.
    """
    from dino_foresight_ros.errors import UsageError

    if options.get("motion") == _TRUE and not bundle.forecaster.takes_motion:
        raise UsageError(f"the forecaster of {bundle.name} takes no motion; leave --motion out")


_CONTEXT = {"context": "frames", "spacing": "gap_s", "jitter": "jitter", "missing": "missing"}
"""Options that say how the contexts of instants lie, and their fields."""


def _with_context(config: Any, options: Options, bundle: Any) -> Any:
    """The configuration with the context that instants are asked from.

    Raises:
        UsageError: one that makes no sense.
    """
    from dino_foresight_ros.training.evaluation.contexts import Setting

    if not config.instants_s:
        return config
    given = {field: options.get(name) for name, field in _CONTEXT.items()}
    usual = {"frames": bundle.context_frames, "gap_s": bundle.frame_interval_s}
    chosen = {field: value for field, value in given.items() if value is not None}
    return replace(config, context=Setting(**{**usual, **chosen}))
