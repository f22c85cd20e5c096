"""Which frame is taken for which predicted instant, against a search over all frames."""

from __future__ import annotations

import numpy as np
import pytest

from dino_foresight_ros.compare import Analysis, Match, Matcher, Moment, Prediction

MS = 1_000_000
INTERVAL = 200 * MS
START = 10**18
LARGE = 10**9


def moment(stamp_ns: int, **fields) -> Moment:
    return Moment(stamp_ns, "cam", fields.pop("seen", Analysis()), INTERVAL, **fields)


def predictions(stamp_ns: int, steps: int = 3, what: Analysis | None = None) -> list[Prediction]:
    return [
        Prediction(k, stamp_ns + k * INTERVAL, 0.2 * k, what or Analysis())
        for k in range(1, steps + 1)
    ]


def play(matcher: Matcher, stamps: list[int], steps: int = 3) -> list[Match]:
    return [m for s in stamps for m in matcher.take(moment(s), predictions(s, steps))]


def pairs(matches: list[Match]) -> list[tuple[int, int, int]]:
    """(stamp of the forecast, step, stamp of the frame) of each."""
    return [(m.origin.stamp_ns, m.prediction.step, m.arrived.stamp_ns) for m in matches]


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
    found = pairs(play(matcher, stamps))
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
    assert len(found) + matcher.dropped.total() + matcher.pending == 3 * len(stamps)


def test_offset_is_from_the_predicted_instant_to_the_frame():
    matcher = Matcher(0.4, LARGE)
    early, late = START + INTERVAL - 20 * MS, START + INTERVAL + 30 * MS
    (match,) = play(matcher, [START, early, late], steps=1)
    assert match.arrived.stamp_ns == early
    assert match.offset_ns == -20 * MS


def test_of_two_equally_near_frames_the_newer_is_taken():
    matcher = Matcher(0.4, LARGE)
    early, late = START + INTERVAL - 20 * MS, START + INTERVAL + 20 * MS
    (match,) = play(matcher, [START, early, late], steps=1)
    assert match.arrived.stamp_ns == late


def test_nothing_from_before_a_jump_back_is_compared_with_what_comes_after():
    matcher = Matcher(0.25, LARGE)
    stamps = [START + i * INTERVAL for i in range(6)]
    first = play(matcher, stamps)
    second = play(matcher, stamps)  # the recording loops
    assert pairs(first) == pairs(second)
    assert matcher.dropped == {"time_jump": 6}  # those whose instants the recording did not reach


def test_a_frame_that_comes_twice_counts_once():
    matcher = Matcher(0.25, LARGE)
    stamps = [START, START, START + INTERVAL, START + INTERVAL]
    assert len(play(matcher, stamps, steps=1)) == 1
    assert matcher.pending == 1


def test_another_model_starts_anew():
    matcher = Matcher(0.25, LARGE)
    matcher.take(moment(START, model_name="a"), predictions(START))
    later = START + INTERVAL
    assert matcher.take(moment(later, model_name="b"), predictions(later)) == []
    assert matcher.dropped == {"model_changed": 3}
    later += INTERVAL
    assert len(matcher.take(moment(later, model_name="b"), [])) == 1


def test_memory_is_bounded_and_the_oldest_go_first():
    what = Analysis(np.zeros((10, 10, 10), np.float32))  # 4 kB
    matcher = Matcher(0.25, 50_000)
    for index in range(100):
        stamp = START + index * MS
        seen = Analysis(what.features.copy())
        matcher.take(moment(stamp, seen=seen), predictions(stamp, 2, what))
        # Every moment's own picture is held too, once.
        held = {id(o.seen): 4000 for o, _ in matcher._pending}
        assert 4000 * matcher.pending + sum(held.values()) <= 50_000
    assert matcher.pending + matcher.dropped["memory"] == 200
    assert matcher.pending >= 7
    assert matcher._pending[-1][1].target_ns == START + 99 * MS + 2 * INTERVAL
    matcher.max_bytes = 0
    matcher.take(moment(START + 100 * MS), [])
    assert matcher.pending == 0
