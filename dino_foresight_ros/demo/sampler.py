"""Samplers that keep a few forecasts, evenly spaced over a run of unknown length."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from dino_foresight_ros.scene import ComparedForecast

T = TypeVar("T")
CameraSet = Mapping[str, ComparedForecast]
"""Forecasts of several cameras that belong together, by camera."""


def is_whole(forecast: ComparedForecast) -> bool:
    """Whether a frame came at every predicted instant."""
    return all(s.arrived is not None and s.arrived.image is not None for s in forecast.steps)


class EvenSampler(Generic[T]):
    """Keeps at most `capacity` of the things that are offered, evenly spaced over the run so far.

    It keeps every `stride`-th; when they become too many, it drops every second one and doubles
    the stride.
    """

    def __init__(self, whole: Callable[[T], bool], capacity: int = 12) -> None:
        """Start empty.

        Args:
            whole: tells things that are complete, which are preferred.
            capacity: how many are kept.
        """
        self._whole = whole
        self._capacity = capacity
        self._kept: list[T] = []
        self._stride = 1
        self._seen = 0

    def add(self, thing: T) -> None:
        """Offer a thing."""
        if self._seen % self._stride == 0:
            self._kept.append(thing)
        self._seen += 1
        if len(self._kept) > self._capacity:
            del self._kept[1::2]
            self._stride *= 2

    def kept(self) -> list[T]:
        """All of them, the earliest first."""
        return list(self._kept)

    def choose(self, count: int) -> list[int]:
        """Places in `kept` of at most `count`, spread; those that are complete are preferred."""
        whole = [place for place, thing in enumerate(self._kept) if self._whole(thing)]
        candidates = whole if len(whole) >= count else list(range(len(self._kept)))
        if len(candidates) <= count:
            return candidates
        # The middles of equal parts: the first and the last forecasts of a run show the least.
        return [candidates[int((i + 0.5) * len(candidates) / count)] for i in range(count)]


class CameraSets:
    """Brings forecasts of several cameras together, one of each, as far as they come."""

    def __init__(self, cameras: int) -> None:
        self._cameras = cameras
        self._gathered: dict[str, ComparedForecast] = {}

    def add(self, camera: str, forecast: ComparedForecast) -> CameraSet | None:
        """Take a forecast; the set that it completes, or that it shows to be as complete as it
        will be, since a camera's next forecast begins the next set."""
        done: CameraSet | None = None
        if camera in self._gathered:
            done, self._gathered = self._gathered, {}
        self._gathered[camera] = forecast
        if done is None and len(self._gathered) == self._cameras:
            done, self._gathered = self._gathered, {}
        return done

    def rest(self) -> CameraSet | None:
        """What is left at the end."""
        left, self._gathered = self._gathered, {}
        return left or None
