"""Puts a report into a folder: report.md, report.json and pictures."""

from __future__ import annotations

import json
from pathlib import Path

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.files import whole_folder
from dino_foresight_ros.training.evaluation.markdown import markdown
from dino_foresight_ros.training.evaluation.results import Report

MARKDOWN, JSON = "report.md", "report.json"


def check_output(out: Path, overwrite: bool) -> None:
    """Refuse a folder that exists, before anything is computed.

    Raises:
        ForesightError: it exists and may not be replaced, or holds something else than a report.
    """
    if not out.exists():
        return
    if not overwrite:
        raise ForesightError(f"{out} exists; choose another --out or add --force")
    if not out.is_dir() or (any(out.iterdir()) and not (out / JSON).is_file()):
        raise ForesightError(
            f"{out} is no earlier report and is not replaced; choose another --out"
        )


def write_report(report: Report, out: Path, overwrite: bool = False) -> list[Path]:
    """Write everything, whole or not at all.

    Returns:
        The files, report.md first.

    Raises:
        ForesightError: the folder exists and may not be replaced, or cannot be written.
    """
    # Matplotlib takes a second to import; who only wants numbers does without.
    from dino_foresight_ros.training.evaluation.plots import draw_plots
    from dino_foresight_ros.training.evaluation.sheet import draw_sheet

    check_output(out, overwrite)
    with whole_folder(out) as scratch:
        pictures = draw_plots(report, scratch) + draw_sheet(report, scratch)
        (scratch / MARKDOWN).write_text(markdown(report, [p.name for p in pictures]))
        text = json.dumps(report.to_dict(), indent=1, allow_nan=False)
        (scratch / JSON).write_text(text + "\n")
    return [out / MARKDOWN, out / JSON, *(out / picture.name for picture in pictures)]
