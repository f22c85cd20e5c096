"""Every size of model and kind of forecaster in every runtime of a machine, in one call.

    python -m dino_foresight_ros.benchmark.runtimes --device cuda --out out/runtimes

An update of the live engine is timed: an image goes in, three steps of segmentation and depth come
out. A size in a runtime is measured in a process of its own, so that one that fails, hangs or runs
out of memory costs no other; on a CPU the peak of memory is that of both kinds until then. What has
come is written at once; what is not done when the minutes are over is said to be so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.files import write_whole
from dino_foresight_ros.model.devices import resolve_device, resolve_dtype
from dino_foresight_ros.model.forecasters import KINDS
from dino_foresight_ros.outputs import DEPTH, SEGMENTATION, outputs_of_heads
from dino_foresight_ros.process.cpu import set_up_cpu
from dino_foresight_ros.render import markdown
from dino_foresight_ros.runtime import Foresight

from .engine import images
from .measure import Timing, clock, machine, peak_mb
from .sizes import SIZES, build

_ON_CPU = ("none", "trace", "onnxruntime")
_ON_GPU = ("none", "cudagraphs", "onnxruntime:tensorrt")
_LEAST_UPDATES, _WARM_UPS = 5, 3
_ATTEMPT_S = 120.0
"""The longest that one process may take: TensorRT builds the engines of a large model for long."""


@dataclass(frozen=True)
class Row:
    """One case and what came of it.

    Attributes:
        size: a key of `SIZES`.
        kind: of forecaster.
        runtime: an acceleration, with the execution provider after a colon where it matters.
        dtype: number format; empty where it came to none.
        start_s: seconds to build the engine and to warm it up.
        p50_ms, p99_ms: of an update.
        peak_mb: of the device's memory on a GPU, of the process otherwise.
        problem: why there are no figures; empty where there are.
    """

    size: str
    kind: str
    runtime: str
    dtype: str = ""
    start_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    peak_mb: float = 0.0
    problem: str = ""


@torch.inference_mode()
def measure(row: Row, device: torch.device, dtype: str, steps: int, seconds: float) -> Row:
    """Time updates of one case in this process.

    Raises:
        UsageError: the runtime is not there.
        ForesightError: it fails.
    """
    acceleration, _, provider = row.runtime.partition(":")
    number = resolve_dtype(dtype, device)
    if acceleration == "onnxruntime" and number == torch.bfloat16:
        number = torch.float16 if device.type == "cuda" else torch.float32
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    began = time.perf_counter()
    engine = Foresight(
        build(row.size, kind=row.kind).to(device, number),
        steps=steps,
        outputs=outputs_of_heads((SEGMENTATION, DEPTH)),
        acceleration=acceleration,
        execution_provider=provider or "auto",
    )
    engine.warm_up()
    image = images(1)[0]
    interval_ns = round(engine.bundle.frame_interval_s * 1e9)
    stamps_ns = iter(range(10**18, 2 * 10**18, interval_ns))

    def update() -> None:
        engine.update(image, next(stamps_ns))

    for _ in range(engine.rule.frames + _WARM_UPS):
        clock(update, device)
    start_s = time.perf_counter() - began
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times) < _LEAST_UPDATES:
        times.append(clock(update, device))
    timing = Timing.of(times)
    return replace(
        row,
        dtype=str(number).removeprefix("torch."),
        start_s=start_s,
        p50_ms=timing.p50_ms,
        p99_ms=timing.p99_ms,
        peak_mb=peak_mb(device),
    )


def in_process(words: Sequence[str], rows: Sequence[Row], limit_s: float) -> list[Row]:
    """Have rows of one size and runtime measured by a process of their own.

    Args:
        words: of its command line.
        rows: to fill, in this order.
        limit_s: after so many seconds it is ended, and keeps what it has told.

    Returns:
        The rows; those that it did not tell of say why.
    """
    command = [sys.executable, "-m", "dino_foresight_ros.benchmark.runtimes", *words]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
        told, why = ended.stdout, _last_line(ended.stderr) or f"ended with {ended.returncode}"
    except subprocess.TimeoutExpired as late:
        out = late.stdout or b""
        told = out.decode(errors="replace") if isinstance(out, bytes) else out
        why = f"not done within {limit_s:.0f} s"
    found = [Row(**json.loads(line)) for line in told.splitlines() if line.startswith("{")]
    return found + [replace(row, problem=why) for row in rows[len(found) :]]


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return " ".join(lines[-1].split())[:160] if lines else ""


def measure_all(
    sizes: Sequence[str],
    kinds: Sequence[str],
    runtimes: Sequence[str],
    run: Callable[[list[Row], float], list[Row]],
    minutes: float,
    clock_s: Callable[[], float] = time.monotonic,
) -> Iterable[list[Row]]:
    """Yield the rows of each size in each runtime; a runtime at a time, small models first.

    Args:
        run: fills rows within so many seconds.
        minutes: for all of it.
    """
    until = clock_s() + 60.0 * minutes
    for runtime in runtimes:
        for size in sizes:
            rows = [Row(size, kind, runtime) for kind in kinds]
            left_s = until - clock_s()
            if left_s < 1.0:
                why = f"not begun: the {minutes:g} minutes were over"
                yield [replace(row, problem=why) for row in rows]
            else:
                yield run(rows, min(_ATTEMPT_S, left_s))


def table(rows: Sequence[Row]) -> str:
    """A Markdown table, by size and kind; the ratio is to torch without acceleration."""
    plain = {(row.size, row.kind): row for row in rows if row.runtime == "none" and row.p50_ms}

    def cells(row: Row) -> list[str]:
        head = [row.size, row.kind, row.runtime]
        if row.problem:
            return [*head, row.problem, "", "", "", "", ""]
        base = plain.get((row.size, row.kind))
        ratio = "" if base is None else f"{base.p50_ms / row.p50_ms:.2f} x"
        return [
            *head, row.dtype, f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}", ratio,
            f"{row.peak_mb:.0f}", f"{row.start_s:.0f}",
        ]  # fmt: skip

    order = list(dict.fromkeys((row.size, row.kind) for row in rows))
    return markdown.table(
        ["size", "kind", "runtime", "dtype", "update p50, ms", "p99, ms", "times as fast",
         "peak MB", "start, s"],
        (cells(row) for row in sorted(rows, key=lambda r: order.index((r.size, r.kind)))),
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), default=list(SIZES))
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=list(KINDS))
    parser.add_argument(
        "--runtimes", nargs="+",
        help=f"accelerations, onnxruntime with :provider; default {' '.join(_ON_CPU)} on a CPU, "
        f"{' '.join(_ON_GPU)} on a GPU",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of updates in each case")
    parser.add_argument("--minutes", type=float, default=9.5, help="for all of it")
    parser.add_argument("--out", type=Path, help="folder for runtimes.md and runtimes.json")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table and write it."""
    parser = _parser()
    args = parser.parse_args(argv)
    if not 1 <= args.steps <= 16 or args.seconds <= 0 or args.minutes <= 0:
        parser.error("steps are 1 to 16, seconds and minutes positive")
    try:
        device = resolve_device(args.device)
        resolve_dtype(args.dtype, device)
    except UsageError as error:
        parser.error(str(error))
    runtimes = args.runtimes or list(_ON_GPU if device.type == "cuda" else _ON_CPU)
    settings = [
        "--device", str(device), "--dtype", args.dtype, "--steps", str(args.steps),
        "--seconds", str(args.seconds),
    ]  # fmt: skip
    if args.here:
        return _measure_here(args, device)

    def run(rows: list[Row], limit_s: float) -> list[Row]:
        print(f"measuring {rows[0].size} with {rows[0].runtime} ...", file=sys.stderr, flush=True)
        words = [*settings, "--sizes", rows[0].size, "--runtimes", rows[0].runtime, "--kinds"]
        return in_process([*words, *(row.kind for row in rows), "--here"], rows, limit_s)

    rows: list[Row] = []
    about = machine(device)
    for found in measure_all(args.sizes, args.kinds, runtimes, run, args.minutes):
        rows += found
        if args.out is not None:
            args.out.mkdir(parents=True, exist_ok=True)
            content = {**about, "steps": args.steps, "rows": [asdict(row) for row in rows]}
            write_whole(args.out / "runtimes.json", json.dumps(content, indent=1) + "\n")
            write_whole(args.out / "runtimes.md", table(rows) + "\n")
    print(", ".join(f"{name} {value}" for name, value in about.items() if value is not None))
    print(table(rows))
    return 0


def _measure_here(args: argparse.Namespace, device: torch.device) -> int:
    """Tell each row of one size and runtime in a line of JSON."""
    set_up_cpu()
    for kind in args.kinds:
        row = Row(args.sizes[0], kind, args.runtimes[0])
        try:
            row = measure(row, device, args.dtype, args.steps, args.seconds)
        except Exception as error:  # noqa: BLE001 - a runtime has kinds of its own
            row = replace(row, problem=" ".join(str(error).split())[:160])
        print(json.dumps(asdict(row)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
