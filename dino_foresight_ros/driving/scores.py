"""Scores of many drives: per policy, summed over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dino_foresight_ros.compare.bootstrap import Clips, estimate, mean_of_sums
from dino_foresight_ros.render import markdown

COLUMNS = (
    ("drives", "drives", "d"),
    ("km", "km", ".2f"),
    ("collisions", "collisions", "d"),
    ("collisions_per_km", "per km", ".2f"),
    ("collisions_per_km_between", "95 % of seeds", "range"),
    ("mean_speed_mps", "m/s", ".2f"),
    ("stops_per_km", "stops / km", ".2f"),
    ("false_stops_per_km", "false / km", ".2f"),
    ("hard_brakes_per_km", "hard / km", ".2f"),
    ("contact_margin_s", "left at stop s", ".2f"),
    ("stopping_s", "to stop s", ".2f"),
    ("resuming_s", "to resume s", ".2f"),
    ("off_road", "off road", "d"),
)
"""Key, heading and format of each column of the table; a range has its ends under `KEY_low` and
`KEY_high`."""


def per_km(episodes: Sequence[Mapping[str, Any]], key: str) -> float:
    """How often something happened per km driven; NaN where nothing was driven."""
    km = sum(e["travelled_m"] for e in episodes) / 1000.0
    return float(sum(e[key] for e in episodes) / km) if km > 0 else float("nan")


def per_km_between(episodes: Sequence[Mapping[str, Any]], key: str) -> tuple[float, float]:
    """95 % confidence interval of `per_km`, seeds resampled; NaN of fewer than 5, or of nothing."""
    sums = np.array([[float(e[key]), e["travelled_m"] / 1000.0] for e in episodes])
    if not len(sums) or not sums.any(axis=0).all():
        return float("nan"), float("nan")
    seeds = Clips(np.arange(len(sums)), np.zeros(len(sums)))
    found = estimate(mean_of_sums, sums, seeds)
    if found.low is None or found.high is None:
        return float("nan"), float("nan")
    return max(found.low, 0.0), found.high


def totals(episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Sums, rates and medians of one policy's episodes (`Episode.to_dict`); NaN of nothing."""
    km = sum(e["travelled_m"] for e in episodes) / 1000.0
    seconds = sum(e["duration_s"] for e in episodes)

    def count(key: str) -> int:
        return int(sum(e[key] for e in episodes))

    def median(key: str) -> float:
        values = [value for e in episodes for value in e[key]]
        return float(np.median(values)) if values else float("nan")

    low, high = per_km_between(episodes, "collisions")
    return {
        "drives": len(episodes),
        "km": km,
        "collisions": count("collisions"),
        "collisions_per_km": per_km(episodes, "collisions"),
        "collisions_per_km_between_low": low,
        "collisions_per_km_between_high": high,
        "mean_speed_mps": 1000.0 * km / seconds if seconds else float("nan"),
        "stops_per_km": per_km(episodes, "stops"),
        "false_stops_per_km": per_km(episodes, "false_stops"),
        "hard_brakes_per_km": per_km(episodes, "hard_brakes"),
        "contact_margin_s": median("contact_margins_s"),
        "stopping_s": median("stopping_s"),
        "resuming_s": median("resuming_s"),
        "off_road": count("off_road"),
    }


def table(rows: Mapping[str, Mapping[str, float]], name: str = "policy") -> str:
    """A Markdown table, one row per policy."""
    return markdown.table(
        [name, *(head for _, head, _ in COLUMNS)],
        (
            [policy, *(_cell(row, key, form) for key, _, form in COLUMNS)]
            for policy, row in rows.items()
        ),
    )


def _cell(row: Mapping[str, float], key: str, form: str) -> str:
    if form != "range":
        return markdown.number(row[key], form)
    low, high = row[f"{key}_low"], row[f"{key}_high"]
    return markdown.NONE if np.isnan(low) else f"{low:.2f} to {high:.2f}"
