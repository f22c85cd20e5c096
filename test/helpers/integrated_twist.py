"""The motion of a base whose twist changes with time, by numeric integration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.planar_motion import wrapped


def integrated(
    twist: Callable[[Any], NDArray[np.float64]], from_s: float, to_s: float, steps: int
) -> NDArray[np.float64]:
    """The motion (3,) between two instants, by the midpoint rule.

    Args:
        twist: instants (N,) in seconds -> (3, N) m/s forward, m/s to the left, rad/s to the left.
        from_s, to_s: the instants.
        steps: how many.
    """
    step_s = (to_s - from_s) / steps
    ahead, across, turn = twist(from_s + step_s * (np.arange(steps) + 0.5))
    yaw = np.cumsum(turn) * step_s
    cos, sin = np.cos(yaw - turn * step_s / 2), np.sin(yaw - turn * step_s / 2)
    moved = np.sum([cos * ahead - sin * across, sin * ahead + cos * across], axis=1) * step_s
    return np.array([*moved, wrapped(yaw[-1])])
