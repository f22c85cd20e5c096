"""Counts, latencies and rates."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dino_foresight_ros.runtime.statistics import FrameCounter, LatencyWindow, RateMeter


def test_counts_stay_consistent_while_many_threads_count() -> None:
    counter = FrameCounter()
    stop = threading.Event()
    broken: list[Any] = []

    def watch() -> None:
        while not stop.is_set():
            c = counter.counts()
            if c.received != c.forecasts + c.dropped_total + c.in_flight:
                broken.append(c)

    def count() -> None:
        for index in range(3000):
            counter.receive()
            counter.forecast() if index % 3 else counter.drop(f"reason{index % 2}")

    watcher = threading.Thread(target=watch)
    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    watcher.join()
    assert broken == []
    assert counter.counts().received == 9000
    assert counter.counts().in_flight == 0


def test_percentiles_come_from_the_newest_durations_only() -> None:
    window = LatencyWindow(size=100)
    assert window.percentile_s(50) is None
    assert window.last_s is None
    for value in [*([1000.0] * 50), *range(1, 101)]:
        window.add(float(value))
    assert window.last_s == 100.0
    assert window.percentile_s(50) == pytest.approx(50.5)
    assert window.percentile_s(100) == 100.0


def test_rate_follows_a_steady_stream_and_falls_when_it_ends() -> None:
    meter = RateMeter(window_s=5.0)
    assert meter.rate_hz(0.0) == 0.0
    for index in range(251):
        meter.tick(index / 25.0)
    assert meter.rate_hz(10.0) == pytest.approx(25.0, rel=0.02)
    assert meter.rate_hz(12.5) < 20.0
    assert meter.rate_hz(60.0) == 0.0
