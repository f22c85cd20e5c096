"""Which frame is taken for which predicted instant, against a search over all frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from dino_foresight_ros.compare import Match, Matcher, nearest_frames
from dino_foresight_ros.scene import Scene

MS = 1_000_000
INTERVAL = 200 * MS
START = 10**18
LARGE = 10**9


class Frame(NamedTuple):
    stamp_ns: int
    nbytes: int = 0


def predictions(stamp_ns: int, steps: int = 3, features: np.ndarray | None = None) -> list[Scene]:
    return [Scene(stamp_ns + k * INTERVAL, step=k, features=features) for k in range(1, steps + 1)]


def take(matcher: Matcher[Frame], stamp_ns: int, steps: int = 3) -> list[Match[Frame]]:
    """A frame comes with the forecast made from it."""
    frame = Frame(stamp_ns)
    matches = matcher.add_frame(frame)
    return matches + matcher.add_forecast(frame, predictions(stamp_ns, steps), INTERVAL)


def play(matcher: Matcher[Frame], stamps: list[int], steps: int = 3) -> list[Match[Frame]]:
    return [match for stamp in stamps for match in take(matcher, stamp, steps)]


def pairs(matches: list[Match[Frame]]) -> list[tuple[int, int, int]]:
    """(stamp of the forecast, step, stamp of the frame) of each prediction that met a frame."""
    return [
        (m.origin.stamp_ns, m.predicted.step, m.arrived.stamp_ns)
        for m in matches
        if m.arrived is not None
    ]


def streams() -> dict[str, list[int]]:
    rng = np.random.default_rng(4)
    exact = [START + i * INTERVAL for i in range(20)]
    fast = [START + round(i * 1e9 / 12) for i in range(60)]
    jittered = [s + int(rng.integers(-30 * MS, 30 * MS)) for s in fast]
    dropped = [s for s in jittered if rng.random() > 0.35]
    gap = [s if i < 10 else s + 3_000 * MS for i, s in enumerate(exact)]
    return {"exact": exact, "fast": fast, "jittered": jittered, "dropped": dropped, "gap": gap}


@pytest.mark.parametrize("name", streams())
@pytest.mark.parametrize("tolerance", [0.0, 0.25, 0.49])
def test_each_prediction_meets_the_nearest_frame_of_all_or_none(name: str, tolerance: float):
    stamps, matcher = streams()[name], Matcher(tolerance, LARGE)
    matches = play(matcher, stamps)
    found = pairs(matches)
    expected, without = set(), 0
    for stamp in stamps:
        for step in (1, 2, 3):
            target = stamp + step * INTERVAL
            if target > stamps[-1]:
                continue
            nearest = min(reversed(stamps), key=lambda s: abs(s - target))
            if abs(nearest - target) <= tolerance * INTERVAL:
                expected.add((stamp, step, nearest))
            else:
                without += 1
    assert set(found) == expected
    assert len(found) == len(expected)
    assert matcher.dropped == ({"no_frame": without} if without else {})
    assert len(matches) == len(found) + without
    assert len(matches) + matcher.pending == 3 * len(stamps)


@pytest.mark.parametrize("late", [1, 4, 12])
def test_a_forecast_that_comes_late_meets_the_same_frames(late: int):
    stamps = streams()["jittered"]
    at_once = pairs(play(Matcher(0.4, LARGE), stamps))
    matcher: Matcher[Frame] = Matcher(0.4, LARGE, kept_frames=96)
    found = []
    for index, stamp in enumerate([*stamps, *[stamps[-1]] * late]):
        if index < len(stamps):
            found += matcher.add_frame(Frame(stamp))
        if index >= late:
            origin = matcher.frame_at(stamps[index - late])
            assert origin is not None
            found += matcher.add_forecast(origin, predictions(origin.stamp_ns), INTERVAL)
    assert sorted(pairs(found)) == sorted(at_once)


def test_offset_is_from_the_predicted_instant_to_the_frame():
    matcher = Matcher(0.4, LARGE)
    early, late = START + INTERVAL - 20 * MS, START + INTERVAL + 30 * MS
    (match,) = play(matcher, [START, early, late], steps=1)
    assert match.arrived == Frame(early)
    assert match.offset_ns == -20 * MS


def test_of_two_equally_near_frames_the_newer_is_taken():
    matcher = Matcher(0.4, LARGE)
    early, late = START + INTERVAL - 20 * MS, START + INTERVAL + 20 * MS
    (match,) = play(matcher, [START, early, late], steps=1)
    assert match.arrived == Frame(late)
    assert nearest_frames(np.array([0, 10, 20]), np.array([[5, 14], [-7, 99]])).tolist() == [
        [1, 1],
        [0, 2],
    ]


def test_at_the_end_of_a_stream_what_waits_meets_the_frames_that_came():
    matcher: Matcher[Frame] = Matcher(0.4, LARGE)
    play(matcher, [START, START + INTERVAL - 50 * MS], steps=1)
    matches = matcher.flush()
    assert [m.arrived and m.arrived.stamp_ns for m in matches] == [START + INTERVAL - 50 * MS, None]
    assert matcher.pending == 0


def test_a_frame_that_is_a_little_late_takes_its_place_among_the_others():
    matcher: Matcher[Frame] = Matcher(0.4, LARGE, kept_frames=8, jitter_ns=100 * MS)
    for offset in (0, 100, 240, 210):
        matcher.add_frame(Frame(START + offset * MS))
    (match,) = matcher.add_forecast(Frame(START), predictions(START, 1), INTERVAL)
    assert match.offset_ns == 10 * MS


def test_nothing_from_before_a_jump_back_is_compared_with_what_comes_after():
    matcher = Matcher(0.25, LARGE)
    stamps = [START + i * INTERVAL for i in range(6)]
    first = play(matcher, stamps)
    second = play(matcher, stamps)  # the recording loops
    assert pairs(first) == pairs(second)
    assert matcher.dropped == {"time_jump": 6}  # those whose instants the recording did not reach


def test_memory_is_bounded_and_the_oldest_go_first():
    features = np.zeros((10, 10, 10), np.float32)  # 4 kB
    matcher = Matcher(0.25, 50_000)
    for index in range(100):
        frame = Frame(START + index * MS, 4000)
        matcher.add_frame(frame)
        matcher.add_forecast(frame, predictions(frame.stamp_ns, 2, features), INTERVAL)
        # Every frame that predictions were made from is held too, once.
        frames = -(-matcher.pending // 2)
        assert 4000 * (matcher.pending + frames) <= 50_000
    assert matcher.pending + matcher.dropped["memory"] == 200
    assert matcher.pending >= 7
    assert [m.predicted.stamp_ns for m in matcher.flush()][-1] == START + 99 * MS + 2 * INTERVAL
    matcher.max_bytes = 0
    frame = Frame(START + 100 * MS)
    matcher.add_frame(frame)
    matcher.add_forecast(frame, predictions(frame.stamp_ns, 1, features), INTERVAL)
    assert matcher.pending == 0
