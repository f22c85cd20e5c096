"""Results as one Markdown table and one JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from dino_foresight_ros.files import write_whole

from .engine import Result


def markdown(results: Sequence[Result]) -> str:
    """One table: a row per stage and for the whole, of every case."""
    lines = [
        "| size | device | dtype | steps | stage | p50 ms | p99 ms | share of matmul rate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        case = result.case
        head = f"| {case.size} | {case.device} | {case.dtype} | {case.steps} |"
        for name, timing in result.stages.items():
            share = result.share_of_matmul.get(name)
            text = "" if share is None else f"{100 * share:.0f} % ({result.gflop[name]:.1f} GFLOP)"
            lines.append(f"{head} {name} | {timing.p50_ms:.2f} | {timing.p99_ms:.2f} | {text} |")
        if result.update is not None:
            whole = result.update
            lines.append(
                f"{head} **whole update** | {whole.p50_ms:.2f} | {whole.p99_ms:.2f} | "
                f"{result.frames_per_s:.1f} frames/s, overhead {result.overhead_percent:+.1f} %, "
                f"peak {result.peak_mb:.0f} MB, matmul {result.matmul_gflops:.0f} GFLOP/s |"
            )
        if result.plain is not None:
            lines.append(
                f"{head} **plain way**, float32 | {result.plain.p50_ms:.2f} | "
                f"{result.plain.p99_ms:.2f} | **{result.speedup:.2f} x** the engine's time |"
            )
    return "\n".join(lines) + "\n"


def machine_line(results: Sequence[Result]) -> str:
    """The machine, in words."""
    m = results[0].machine
    gpu = f", {m['gpu']}" if m["gpu"] else ""
    return (
        f"{m['cpu']}, {m['cores']} cores, {m['threads']} threads{gpu}; torch {m['torch']}, "
        f"Python {m['python']}"
    )


def write(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write bench.md and bench.json into a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    text = {
        "bench.md": f"{machine_line(results)}\n\n{markdown(results)}",
        "bench.json": json.dumps([r.to_dict() for r in results], indent=1) + "\n",
    }
    paths = []
    for name, content in text.items():
        write_whole(folder / name, content)
        paths.append(folder / name)
    return paths
