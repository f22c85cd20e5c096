"""Cross-entropy search over arcs: a fan first, then samples around the best of it.

As DINO-WM and DINO-world plan (arXiv 2411.04983, 2507.19468): the best fraction of the candidates
tells mean and spread of those of the next round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dino_foresight_ros.errors import UsageError

Arcs = NDArray[np.float64]
"""(K, 2): m/s forward and rad/s to the left."""

_LEAST_SPREAD = 0.02
"""Of the range: rounds do not close in further."""


@dataclass(frozen=True)
class ArcLimits:
    """Within which arcs are searched.

    Attributes:
        max_speed_mps: fastest forward.
        max_yaw_rate_rps: rad/s, to either side.
        max_lateral_mps2: speed times yaw rate; the tighter the arc, the slower.
        min_turning_radius_m: of the tightest arc, whatever the speed; 0 for a base that can turn
            where it stands.
    """

    max_speed_mps: float
    max_yaw_rate_rps: float
    max_lateral_mps2: float = 2.0
    min_turning_radius_m: float = 0.0

    def __post_init__(self) -> None:
        for name in ("max_speed_mps", "max_yaw_rate_rps", "max_lateral_mps2"):
            if not 0 < getattr(self, name) < np.inf:
                raise UsageError(f"{name} is {getattr(self, name):g}; it must be above 0")
        if not 0 <= self.min_turning_radius_m < np.inf:
            raise UsageError(
                f"min_turning_radius_m is {self.min_turning_radius_m:g}; it must be 0 or more"
            )

    def max_rate(self, speeds_mps: ArrayLike) -> NDArray[np.float64]:
        """The sharpest turn, rad/s, at speeds (...,) from 0 up."""
        speeds = np.asarray(speeds_mps, np.float64)
        most = np.minimum(self.max_yaw_rate_rps, self.max_lateral_mps2 / np.maximum(speeds, 1e-6))
        if self.min_turning_radius_m > 0:
            most = np.minimum(most, speeds / self.min_turning_radius_m)
        return np.asarray(most)

    def clipped(self, arcs: ArrayLike) -> Arcs:
        """The nearest arcs that are allowed."""
        found = np.array(arcs, np.float64)
        found[:, 0] = np.clip(found[:, 0], 0.0, self.max_speed_mps)
        most = self.max_rate(found[:, 0])
        found[:, 1] = np.clip(found[:, 1], -most, most)
        return found


def fan(count: int, limits: ArcLimits, on_spot: bool = False) -> Arcs:
    """Standing, turns on the spot if asked for, and arcs to both sides at three speeds.

    Args:
        count: how many, 4 or more.
        limits: that they keep.
        on_spot: with turns on the spot, from 8 arcs on.
    """
    if count < 4:
        raise UsageError(f"a fan has {count} arcs; give 4 or more")
    speeds = limits.max_speed_mps * np.array([1.0, 0.6, 0.3])
    found = [[0.0, 0.0]]
    if on_spot:
        fractions = [1.0, -1.0, 0.5, -0.5][: 0 if count < 8 else 2 if count < 16 else 4]
        found += [[0.0, fraction * limits.max_yaw_rate_rps] for fraction in fractions]
    moving = count - len(found)
    for k, speed in enumerate(speeds):
        of_speed = (moving + 2 - k) // 3  # the fastest get what is left over
        most = float(limits.max_rate(speed))
        rates = np.linspace(-most, most, of_speed) if of_speed > 1 else np.zeros(of_speed)
        found += [[speed, rate] for rate in rates]
    return np.array(found)


def refine(
    arcs: Arcs,
    totals: ArrayLike,
    limits: ArcLimits,
    random: np.random.Generator,
    elite_share: float = 0.2,
) -> Arcs:
    """As many arcs around the best ones; the best so far and standing stay.

    Args:
        arcs: (K, 2) that were assessed.
        totals: (K,) lower is better.
        limits: that they keep.
        random: draws.
        elite_share: of the arcs, whose mean and spread the next ones have.
    """
    order = np.argsort(np.asarray(totals, np.float64), kind="stable")
    elite = arcs[order[: max(2, round(elite_share * len(arcs)))]]
    least = _LEAST_SPREAD * np.array([limits.max_speed_mps, 2 * limits.max_yaw_rate_rps])
    spread = np.maximum(elite.std(axis=0), least)
    drawn = random.normal(elite.mean(axis=0), spread, (len(arcs) - 2, 2))
    return np.concatenate([arcs[order[:1]], [[0.0, 0.0]], limits.clipped(drawn)])
