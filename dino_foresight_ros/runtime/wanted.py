"""Which outputs of a forecast somebody wants."""

from __future__ import annotations

import operator
from collections.abc import Mapping

from dino_foresight_ros.errors import UsageError

Wanted = frozenset[str] | Mapping[int, frozenset[str]]
"""Outputs wanted of every predicted step, or by step: 1, 2, ..., and 0, the newest frame itself."""


def is_nothing(wanted: Wanted) -> bool:
    """Whether no output is wanted of any step."""
    return not any(wanted.values()) if isinstance(wanted, Mapping) else not wanted


def names_by_step(wanted: Wanted, steps: int) -> list[frozenset[str]]:
    """Outputs of step 1, 2, ..., up to the last one that anything is wanted of."""
    if not isinstance(wanted, Mapping):
        return [frozenset(wanted)] * steps if wanted else []
    last = max((step for step, names in wanted.items() if names), default=0)
    return [frozenset(wanted.get(step, ())) for step in range(1, min(last, steps) + 1)]


def names_of_seen(wanted: Wanted) -> frozenset[str]:
    """Outputs of step 0, the newest context frame itself."""
    return frozenset(wanted.get(0, ())) if isinstance(wanted, Mapping) else frozenset()


def check_wanted(
    wanted: Wanted, valid: frozenset[str], steps: int, valid_of_seen: frozenset[str] | None = None
) -> Wanted:
    """Check names and steps.

    Args:
        wanted: what to check.
        valid: outputs that can be had.
        steps: how many steps are forecast.
        valid_of_seen: outputs that can be had of step 0; all of them when None.

    Raises:
        UsageError: an unknown output, or a step that is not forecast.
    """
    if isinstance(wanted, str):
        raise UsageError(f"wanted outputs are the text {wanted!r}; give a set of names")
    sets = wanted.values() if isinstance(wanted, Mapping) else [wanted]
    unknown = sorted(set().union(*sets) - valid)
    if unknown:
        raise UsageError(f"unknown outputs {unknown}; this bundle gives {sorted(valid)}")
    for step in wanted if isinstance(wanted, Mapping) else ():
        if not is_whole(step) or step < 0:
            raise UsageError(
                f"outputs are wanted of step {step}; steps count from 1, 0 is the newest frame"
            )
        if step > steps and wanted[step]:  # type: ignore[index]
            raise UsageError(
                f"outputs are wanted of step {step}; the engine forecasts {steps}: set its steps"
            )
    of_seen = sorted(names_of_seen(wanted) - (valid if valid_of_seen is None else valid_of_seen))
    if of_seen:
        raise UsageError(
            f"outputs {of_seen} are wanted of step 0, but their head reads the forecaster's layers"
        )
    return wanted


def is_whole(value: object) -> bool:
    """Whether a value is a whole number by its type (NumPy's are)."""
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True
