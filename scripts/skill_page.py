"""Put the tables of docs/skill.md together from reports of `foresight evaluate`.

    scripts/with_env python scripts/skill_page.py out/tiny/reports docs/skill.md

Everything between the two marks in the page is replaced; what stands around them is written by
hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dino_foresight_ros.outputs import DEPTH, INSTANCES, NORMALS, SEGMENTATION

BEGIN, END = "<!-- tables: scripts/skill_page.py -->", "<!-- end of tables -->"
TITLES = {
    "synthetic": "Synthetic world, 12 seeds never trained on, the true motion told",
    "synthetic-no-motion": "The same worlds, the motion not told",
    "highway": "Highway clip, last 30 %",
    "curve": "Highway curve, last 30 %",
    "robot": "Robot car on an indoor track, last 30 %",
    "street-camera": "Street camera (a standing camera; none was trained on)",
    "camvid": "CamVid, test part",
}
PREDICTORS = (
    ("copy_last", "copy-last"),
    ("linear", "linear"),
    ("mlp", "MLP"),
    ("forecast", "**forecast**"),
    ("oracle", "oracle"),
)
SCORES = (
    (SEGMENTATION, "miou", "mIoU", "{:.3f}"),
    (SEGMENTATION, "moving_miou", "moving mIoU", "{:.3f}"),
    (DEPTH, "delta1", "depth delta1", "{:.3f}"),
    (DEPTH, "abs_rel", "depth AbsRel", "{:.3f}"),
    (NORMALS, "mean_deg", "normals", "{:.1f}°"),
    (INSTANCES, "ap50", "AP50", "{:.3f}"),
    (INSTANCES, "ap", "AP", "{:.3f}"),
    (INSTANCES, "pq", "PQ", "{:.3f}"),
)

GAPS = (((SEGMENTATION, "miou"), "mIoU gap closed"), ((INSTANCES, "ap50"), "AP50 gap closed"))


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose first two columns are text."""
    marks = [":--", ":--", *["--:"] * (len(header) - 2)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, marks, *rows))


def lead(result: dict[str, Any]) -> tuple[float, str]:
    """When, and how: "0.5 s, 2 steps"."""
    at = result["lead"]
    seconds = at["gap_s"] or at["step"] * at["spacing_s"]
    steps = f"{at['step']} step" + ("s" if at["step"] > 1 else "")
    text = f"{seconds:g} s, {steps}"
    if abs(at["measured_s"] - seconds) > 0.0051:
        text += f" (measured {at['measured_s']:.2f} s)"
    return seconds, text


def by_gap(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One result per time gap: the way that stays nearest to the bundle's frame interval."""
    chosen: dict[float, dict[str, Any]] = {}
    for result in results:
        gap = (result["lead"] or {}).get("gap_s")
        if gap is None or result.get("space", "pca") != "pca":
            continue
        if gap not in chosen or result["lead"]["kind"] == "rollout":
            chosen[gap] = result
    return [chosen[gap] for gap in sorted(chosen)]


def feature_table(report: dict[str, Any]) -> str:
    """MSE in PCA space of every predictor."""
    header = ["target", "", "MSE", "better than copy-last", "clips"]
    rows = []
    for result in by_gap(report["features"]):
        first = lead(result)[1]
        for name, title in PREDICTORS:
            row = result["rows"].get(name)
            if row is None or name == "oracle":
                continue
            gain = row["improvements"].get("mse") if name != "copy_last" else None
            text = "" if gain is None else f"{gain['percent']:+.1f} %"
            if gain is not None and gain["low"] is not None:
                text += f" ({gain['low']:.1f} to {gain['high']:.1f})"
            elif gain is not None:
                text += f" ({gain['blocks']} block{'s' if gain['blocks'] > 1 else ''})"
            rows.append([first, title, f"{row['errors']['mse']:.4f}", text, str(result["clips"])])
            first = ""
    return table(header, rows)


def with_interval(value: float | None, interval: dict[str, Any] | None, form: str) -> str:
    """Such as "0.549 (0.531 to 0.566)"; the value alone without an interval."""
    if value is None:
        return "-"
    if interval is None or interval["low"] is None:
        return form.format(value)
    low, high = (form.format(interval[end]).rstrip("°") for end in ("low", "high"))
    return f"{form.format(value)} ({low} to {high})"


def label_table(report: dict[str, Any]) -> str:
    """Scores of the heads on every predictor's features."""
    results = by_gap(report["labels"])
    stills = report["stills"]
    pairs = [(lead(result)[1], result) for result in results]
    if stills is not None:
        pairs.insert(0, ("true features of single frames", stills))
    used = [
        score
        for score in SCORES
        if any((row.get(score[0]) or {}).get(score[1]) is not None
               for _, result in pairs for row in result["rows"].values())
    ]  # fmt: skip
    gaps = [
        (score, title)
        for score, title in GAPS
        if any((c["head"], c["score"]) == score for _, result in pairs for c in result["closed"])
    ]
    rows = []
    for first, result in pairs:
        closed = [
            {
                c["predictor"]: with_interval(c["share"], c["interval"], "{:.2f}")
                for c in result["closed"]
                if (c["head"], c["score"]) == score
            }
            for score, _ in gaps
        ]
        for name, title in PREDICTORS:
            row = result["rows"].get(name)
            if row is None:
                continue
            cells = [(row.get(head) or {}).get(score) for head, score, _, _ in used]
            shown = [
                with_interval(value, row["intervals"].get(score[1]), score[3])
                for value, score in zip(cells, used, strict=True)
            ]
            rows.append([first, title, *shown, *(one.get(name, "") for one in closed)])
            first = ""
    return table(["target", "", *(s[2] for s in used), *(title for _, title in gaps)], rows)


def object_table(report: dict[str, Any]) -> str | None:
    """How objects were followed through forecasts; None where none was."""
    rows = []
    for result in by_gap(report["labels"]):
        one = result.get("objects")
        if one is None:
            continue
        ends = [
            "-" if one.get(name) is None else form.format(one[name])
            for form, unit in (("{:.1f} px", "px"), ("{:.2f} m", "m"))
            for name in (f"forecast_{unit}", f"constant_velocity_{unit}")
        ]
        rows.append([
            lead(result)[1], f"{one['kept']} of {one['followed']}", *ends,
            f"{one['switched']} of {one['found']}", f"{one['query_switched']} of {one['found']}",
        ])  # fmt: skip
    header = [
        "target", "kept", "forecast", "constant velocity", "forecast", "constant velocity",
        "switched ids", "switched queries",
    ]  # fmt: skip
    return table(header, rows) if rows else None


def section(name: str, report: dict[str, Any]) -> list[str]:
    """One set of recordings."""
    frames = sum(one["frames"] for one in report["data"])
    seconds = sum(one["duration_s"] for one in report["data"])
    count = len(report["data"])
    of = "1 recording" if count == 1 else f"{count} recordings"
    parts = [f"## {TITLES.get(name, name)}", f"{of}, {frames} frames, {seconds:.1f} s."]
    if by_gap(report["features"]):
        parts += ["Feature error in PCA space:", feature_table(report)]
    if report["labels"] or report["stills"]:
        parts += ["Heads, against labels:", label_table(report)]
    if (objects := object_table(report)) is not None:
        parts += ["Objects through the forecast, ends of their ways and ids:", objects]
    return parts


def main() -> int:
    """Renew the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reports", type=Path, help="folder of report folders")
    parser.add_argument("page", type=Path, help="page with the two marks")
    args = parser.parse_args()
    found = {p.parent.name: json.loads(p.read_text()) for p in args.reports.glob("*/report.json")}
    if not found:
        sys.exit(f"skill_page: {args.reports} holds no report.json; run make train-tiny first")
    text = args.page.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"skill_page: {args.page} must hold '{BEGIN}' and '{END}' once each")
    names = [name for name in TITLES if name in found] + sorted(set(found) - set(TITLES))
    parts = [part for name in names for part in section(name, found[name])]
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    args.page.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{after}")
    print(f"{args.page}: {', '.join(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
