"""When a recording's messages go out, by a clock of the test's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from dino_foresight_ros.nodes.replay.player import CLOCK_PERIOD_S, Player
from dino_foresight_ros.nodes.replay.tracks import Item

MS = 1_000_000
START_NS = 10**18


class Played:
    """A player that waits by moving its clock, and what went out when."""

    def __init__(self, rate: float = 1.0, work_s: float = 0.0) -> None:
        self.now_s = 0.0
        self.work_s = work_s
        self.sent: list[tuple[int, float]] = []  # (ms of the recording, seconds of the clock)
        self.clock_ns: list[int] = []
        self.warnings: list[str] = []
        self.stop_after = 10**6
        self.player = Player(
            rate, self.wait, self.clock_ns.append, self.warnings.append, lambda: self.now_s
        )

    def wait(self, seconds: float) -> bool:
        self.now_s += seconds
        return len(self.sent) >= self.stop_after

    def item(self, at_ms: int) -> Item:
        def publish() -> None:
            self.sent.append((at_ms, round(self.now_s, 6)))
            self.now_s += self.work_s

        return Item(START_NS + at_ms * MS, publish, is_image=at_ms % 200 == 0)

    def play(self, *rounds: list[int]) -> None:
        self.player.play([[self.item(at_ms) for at_ms in times] for times in rounds])


def test_messages_go_out_at_their_time_and_images_are_counted() -> None:
    one = Played()
    one.play([0, 100, 200, 400])
    assert one.sent == [(0, 0.0), (100, 0.1), (200, 0.2), (400, 0.4)]
    assert one.player.images == 3
    assert one.warnings == []


def test_rate_makes_playing_faster() -> None:
    one = Played(rate=8.0)
    one.play([0, 200, 400])
    assert [at_s for _, at_s in one.sent] == [0.0, 0.025, 0.05]


def test_clock_runs_between_messages_too() -> None:
    one = Played(rate=0.5)
    one.play([0, 100])
    assert one.clock_ns == sorted(one.clock_ns)
    assert (one.clock_ns[0], one.clock_ns[-1]) == (START_NS, START_NS + 100 * MS)
    steps_ns = [
        after - before for before, after in zip(one.clock_ns, one.clock_ns[1:], strict=False)
    ]
    assert max(steps_ns) <= CLOCK_PERIOD_S * 0.5 * 1e9 + 1


def test_every_round_begins_at_once() -> None:
    one = Played()
    one.play([0, 100], [0, 100])
    assert one.sent == [(0, 0.0), (100, 0.1), (0, 0.1), (100, 0.2)]


def test_playing_that_does_not_keep_up_is_said_once_and_sends_no_burst() -> None:
    one = Played(work_s=2.0)
    one.play([0, 100, 200, 300])
    assert [at_s for _, at_s in one.sent] == [0.0, 2.0, 4.0, 6.0]
    assert len(one.warnings) == 1
    assert "slower than asked" in one.warnings[0]


def test_stopped_player_sends_nothing_more_and_reads_no_further() -> None:
    one = Played()
    one.stop_after = 3
    closed: list[bool] = []

    def endless() -> Iterator[Item]:
        at_ms = 0
        try:
            while True:
                yield one.item(at_ms)
                at_ms += 100
        finally:
            closed.append(True)

    one.player.play([endless()])
    assert [at_ms for at_ms, _ in one.sent] == [0, 100, 200]
    assert closed == [True]
