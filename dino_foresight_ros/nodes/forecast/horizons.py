"""How far ahead each step of a forecast lies: from its frame, or from the moment of publication."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Sequence

from dino_foresight_ros.choices import FROM_FRAME, FROM_NOW
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model import Forecaster
from dino_foresight_ros.outputs import MAX_HORIZON_S

_AGES = 31
_LEAST_S = 1e-3


class Horizons:
    """Seconds from a frame to each step of its forecast.

    With `now`, they count from the moment when the forecast is published: the frame's expected age
    then, the median of those before it, is added. `ahead_s` is called in the executor's thread,
    `published` in the worker's.
    """

    def __init__(
        self,
        forecaster: Forecaster,
        horizons_s: Sequence[float],
        horizon_from: str = FROM_FRAME,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Check what is asked for.

        Args:
            forecaster: is to answer.
            horizons_s: of step 1, 2, ..., seconds; multiples of its frame interval when empty.
            horizon_from: "frame" or "now".
            warn: is told, once, that frames are too old to count from now.

        Raises:
            UsageError: horizons that the forecaster cannot answer.
        """
        self._interval_s = forecaster.frame_interval_s
        self._given = tuple(float(horizon) for horizon in horizons_s)
        self._counts_from_now = horizon_from == FROM_NOW
        self._ages_s: deque[float] = deque(maxlen=_AGES)
        self._warn: Callable[[str], None] | None = warn
        if self._counts_from_now and not forecaster.takes_any_instants:
            raise UsageError(
                f"horizon_from is {FROM_NOW}, but a forecaster of kind {forecaster.kind} has only "
                f"multiples of {self._interval_s:g} s after a frame; use a bundle of another kind, "
                f"or horizon_from {FROM_FRAME}"
            )
        if self._given:
            shift = _LEAST_S if self._counts_from_now and self._given[0] == 0.0 else 0.0
            try:
                forecaster.check_horizons([horizon + shift for horizon in self._given])
            except ValueError as error:
                raise UsageError(f"horizons_s: {error}") from error

    def steps(self, steps: int) -> int:
        """How many steps there are: as many as horizons were given, else the parameter `steps`."""
        return len(self._given) or steps

    @property
    def age_s(self) -> float:
        """The expected age of a frame when its forecast is published; 0 while not known."""
        ages = list(self._ages_s)
        return statistics.median(ages) if ages else 0.0

    def published(self, age_s: float) -> None:
        """A forecast was published when its frame was so old, by the node's clock."""
        self._ages_s.append(age_s)

    def ahead_s(self, steps: int) -> tuple[float, ...] | None:
        """Horizons from a frame that comes in now; None for multiples of the frame interval."""
        if not self._counts_from_now:
            return self._given or None
        base = self._given or tuple(self._interval_s * step for step in range(1, steps + 1))
        age_s = self.age_s
        if not 0.0 <= age_s <= MAX_HORIZON_S - base[-1]:
            if self._warn is not None:
                self._warn(
                    f"forecasts are published {age_s:.3g} s after their frames' stamps, too long "
                    "to count horizons from now; they count from the frame. A recording needs its "
                    "clock (ros2 bag play --clock) and use_sim_time"
                )
                self._warn = None
            age_s = 0.0
        return tuple(max(horizon + age_s, _LEAST_S) for horizon in base)
