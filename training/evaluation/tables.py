"""What stands in the tables of a report's page."""

from __future__ import annotations

from dino_foresight_ros.compare import COPY_LAST, FORECAST, ORACLE
from dino_foresight_ros.training.evaluation.predictors import LINEAR, LINEAR_1, MLP, MLP_1, TITLES
from dino_foresight_ros.training.evaluation.results import Lead

ORDER = (COPY_LAST, LINEAR_1, MLP_1, LINEAR, MLP, FORECAST, ORACLE)
"""Predictors, as rows stand."""


def predictor_title(name: str) -> str:
    """A predictor's name; the forecast's in bold."""
    return f"**{TITLES[name]}**" if name == FORECAST else TITLES[name]


def lead_text(lead: Lead) -> str:
    """How far ahead, such as "3 steps, 0.60 s", of an instant "0.6 s".

    Tells what was measured where that differs.
    """
    steps = f"{lead.step} step" + ("s" if lead.step > 1 else "")
    text = f"{lead.gap_s:g} s" if lead.gap_s is not None else f"{lead.nominal_s:.2f} s"
    text = f"{steps}, {text}" if lead.ahead_s is None else f"{lead.ahead_s:g} s"
    if abs(lead.measured_s - lead.nominal_s) > 0.0051:
        text += f" (measured {lead.measured_s:.3f} s)"
    return text
