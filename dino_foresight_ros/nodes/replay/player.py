"""Publishes a recording's messages in time, and /clock between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing

from dino_foresight_ros.nodes.replay.tracks import Item
from dino_foresight_ros.recordings.playback import Pacer, ReadAhead

CLOCK_PERIOD_S = 0.025


class Player:
    """Plays rounds of items, until told to stop."""

    def __init__(
        self,
        rate: float,
        wait: Callable[[float], bool],
        publish_clock: Callable[[int], None] = lambda time_ns: None,
        warn: Callable[[str], object] = lambda text: None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            rate: media seconds per second.
            wait: waits so many seconds; True when the playing is to stop.
            publish_clock: takes the media time, nanoseconds, `CLOCK_PERIOD_S` apart at most.
            warn: is told once when the playing does not keep up.
            monotonic_s: the clock that `wait` goes by, seconds.
        """
        self._pacer = Pacer(rate, monotonic_s)
        self._wait, self._publish_clock, self._warn = wait, publish_clock, warn
        self.images = 0
        """How many images were published."""

    def play(self, rounds: Iterable[Iterable[Item]]) -> None:
        """Publish every item of every round when it is due."""
        with closing(ReadAhead(_starts_marked(rounds))) as ahead:
            for item in ahead:
                if item is None:
                    self._pacer.rewind()
                    continue
                if not self._wait_until_due(item.time_ns):
                    return
                item.publish()
                self.images += item.is_image

    def _wait_until_due(self, time_ns: int) -> bool:
        """Wait, keeping the clock running; False when the playing is to stop."""
        restarts = self._pacer.restarts
        while (wait_s := self._pacer.wait_s(time_ns)) > 0.0:
            self._publish_clock(self._pacer.media_time_ns(time_ns, wait_s))
            if self._wait(min(wait_s, CLOCK_PERIOD_S)):
                return False
        if self._pacer.restarts > restarts == 0:
            self._warn("playing slower than asked: the input or this machine does not keep up")
        self._publish_clock(time_ns)
        return not self._wait(0.0)


def _starts_marked(rounds: Iterable[Iterable[Item]]) -> Iterator[Item | None]:
    """The items of each round, None before each."""
    for items in rounds:
        yield None
        yield from items
