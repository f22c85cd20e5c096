"""Scores of many drives: per policy, summed over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dino_foresight_ros.render import markdown

COLUMNS = (
    ("drives", "drives", "d"),
    ("km", "km", ".2f"),
    ("collisions", "collisions", "d"),
    ("collisions_per_km", "per km", ".2f"),
    ("mean_speed_mps", "m/s", ".2f"),
    ("stops_per_km", "stops / km", ".2f"),
    ("false_stops_per_km", "false / km", ".2f"),
    ("hard_brakes_per_km", "hard / km", ".2f"),
    ("contact_margin_s", "left at stop s", ".2f"),
    ("stopping_s", "to stop s", ".2f"),
    ("resuming_s", "to resume s", ".2f"),
    ("off_road", "off road", "d"),
)
"""Key, heading and format of each column of the table."""


def per_km(episodes: Sequence[Mapping[str, Any]], key: str) -> float:
    """How often something happened per km driven; NaN where nothing was driven."""
    km = sum(e["travelled_m"] for e in episodes) / 1000.0
    return float(sum(e[key] for e in episodes) / km) if km > 0 else float("nan")


def totals(episodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Sums, rates and medians of one policy's episodes (`Episode.to_dict`); NaN of nothing."""
    km = sum(e["travelled_m"] for e in episodes) / 1000.0
    seconds = sum(e["duration_s"] for e in episodes)

    def count(key: str) -> int:
        return int(sum(e[key] for e in episodes))

    def median(key: str) -> float:
        values = [value for e in episodes for value in e[key]]
        return float(np.median(values)) if values else float("nan")

    return {
        "drives": len(episodes),
        "km": km,
        "collisions": count("collisions"),
        "collisions_per_km": per_km(episodes, "collisions"),
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
            [policy, *(markdown.number(row[key], form) for key, _, form in COLUMNS)]
            for policy, row in rows.items()
        ),
    )
