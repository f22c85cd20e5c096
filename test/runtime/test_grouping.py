"""Which frames of several cameras go on together, and that none waits for long or is lost."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_foresight_ros.runtime.frame import QueuedFrame
from dino_foresight_ros.runtime.grouping import (
    MAX_PENDING,
    MIN_WAIT_S,
    Group,
    Grouper,
    smallest_spread,
)

MS = 1_000_000
TOLERANCE = 60 * MS
WAIT_S = 0.06
SILENT_S = 2.0


def frame(camera: str, stamp_ms: float, received_s: float) -> QueuedFrame:
    return QueuedFrame(None, round(stamp_ms * MS), received_s, camera)


def names(groups: list[Group]) -> list[str]:
    """Groups in short: "a0 b10" is camera a's frame of 0 ms with camera b's of 10 ms."""
    return [" ".join(sorted(f"{f.camera}{f.stamp_ns // MS}" for f in g)) for g in groups]


class Cameras:
    """A grouper that frames come to as soon as they are taken, unless said otherwise."""

    def __init__(self, live: str = "") -> None:
        self.grouper = Grouper(TOLERANCE, SILENT_S)
        for camera in live:  # heard of, long enough ago for the frame to have gone on
            self.put(camera, -1000)
            self.grouper.due(-0.9)

    def put(self, camera: str, stamp_ms: float, late_ms: float = 0.0) -> list[str]:
        received_s = (stamp_ms + late_ms) / 1000
        due = self.grouper.due(received_s)
        return names([*due, *self.grouper.put(frame(camera, stamp_ms, received_s))])

    def due(self, at_ms: float) -> list[str]:
        return names(self.grouper.due(at_ms / 1000))


def test_only_camera_never_waits() -> None:
    one = Cameras()
    assert [one.put("a", 100 * i) for i in range(3)] == [["a0"], ["a100"], ["a200"]]
    assert one.grouper.next_due_s is None


def test_frames_of_one_instant_go_on_when_the_last_comes() -> None:
    one = Cameras("abc")
    assert one.put("a", 0) == []
    assert one.put("c", 20) == []
    assert one.put("b", 10, late_ms=30) == ["a0 b10 c20"]
    assert one.grouper.next_due_s is None


def test_of_two_frames_the_nearer_one_is_taken_and_the_other_goes_first() -> None:
    one = Cameras("ab")
    assert one.put("a", 0) == []
    assert one.put("a", 50) == []
    assert one.put("b", 55) == ["a0", "a50 b55"]


def test_late_camera_costs_no_more_than_the_wait() -> None:
    one = Cameras("abc")
    one.put("a", 0)
    one.put("b", 10)
    assert one.grouper.next_due_s == pytest.approx(WAIT_S)
    assert one.due(1000 * WAIT_S - 1) == []
    assert one.due(1000 * WAIT_S + 1) == ["a0 b10"]
    assert one.due(1000 * WAIT_S + 1) == []
    # Its frame comes after all: alone, since its instant's group has gone.
    assert one.put("c", 5, late_ms=80) == []
    assert one.due(200) == ["c5"]


def test_group_without_all_cameras_keeps_to_the_tolerance_too() -> None:
    one = Cameras("abcd")
    for camera, stamp in (("a", 0), ("b", 40), ("c", -40)):
        assert names(one.grouper.put(frame(camera, stamp, 0.0))) == []
    assert one.due(100) == ["a0 b40", "c-40"]


def test_camera_that_died_is_not_waited_for_until_it_returns() -> None:
    one = Cameras("ab")
    for stamp in range(0, 400, 100):
        one.put("a", stamp)
        assert one.put("b", stamp) == [f"a{stamp} b{stamp}"]
    waited = 0
    for stamp in range(400, 5000, 100):
        waited += one.put("a", stamp) != [f"a{stamp}"]
    # From 400 to 2300 ms, when b has been silent for two seconds; then the last waiting one.
    assert waited == 20 + 1
    assert one.put("b", 5000) == []
    assert one.put("a", 5001) == ["a5001 b5000"]


def test_frames_of_a_fast_camera_between_those_of_a_slow_one_go_on_too() -> None:
    one = Cameras("ab")
    seen: list[str] = []
    for at_ms in range(0, 3000, 10):
        seen += one.due(at_ms)
        if at_ms % 50 == 0:
            seen += one.put("a", at_ms)
        if at_ms % 100 == 0:
            seen += one.put("b", at_ms)
    seen += one.due(4000)
    assert seen[:4] == ["a0 b0", "a50", "a100 b100", "a150"]
    assert len(seen) == 60


def test_tolerance_shorter_than_the_transport_still_groups_equal_stamps() -> None:
    grouper = Grouper(1 * MS, SILENT_S)
    for camera in "ab":
        grouper.put(frame(camera, -1000, -1.0))
        grouper.due(-0.5)
    assert grouper.put(frame("a", 0, 0.0)) == []
    assert grouper.due(MIN_WAIT_S - 0.01) == []
    assert names(grouper.put(frame("b", 0.5, MIN_WAIT_S - 0.005))) == ["a0 b0"]


def test_one_camera_s_time_jump_leaves_the_others_grouped() -> None:
    one = Cameras("abc")
    hour_ms = 3_600_000
    seen: list[str] = []
    for stamp in range(0, 500, 100):
        for camera, jump in (("a", -hour_ms), ("b", 0), ("c", 0)):
            at_s = stamp / 1000
            seen += names(one.grouper.due(at_s))
            seen += names(one.grouper.put(frame(camera, stamp + jump, at_s)))
    seen += one.due(1000)
    assert [g for g in seen if not g.startswith("a-")] == [f"b{s} c{s}" for s in range(0, 500, 100)]
    assert len(seen) == 10


def test_burst_of_one_camera_stays_bounded() -> None:
    one = Cameras("ab")
    out = [group for i in range(500) for group in one.put("a", i / 100)]
    assert len(out) == 500 - MAX_PENDING
    assert len(one.grouper.clear()) == MAX_PENDING


def test_clear_forgets_which_cameras_live() -> None:
    one = Cameras("ab")
    one.put("a", 0)
    assert len(one.grouper.clear()) == 1
    assert one.put("a", 10) == ["a10"]


events = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.integers(-150, 150),  # how far the stamp is from the time of arrival, ms
        st.integers(0, 80),  # ms since the event before
        st.sampled_from([0, 0, 0, 0, 0, -3_600_000, 10**9]),  # jumps of the camera's clock
    ),
    max_size=60,
)


@pytest.mark.slow
@given(events)
def test_every_frame_comes_out_once_in_time_and_in_order(sequence: Any) -> None:
    grouper = Grouper(TOLERANCE, SILENT_S)
    put: list[QueuedFrame] = []
    out: list[Group] = []
    now_ms = 0
    for camera, offset_ms, pause_ms, jump_ms in sequence:
        now_ms += pause_ms
        out += grouper.due(now_ms / 1000)
        put.append(frame(camera, now_ms + offset_ms + jump_ms, now_ms / 1000))
        out += grouper.put(put[-1])
        waiting = [f for f in put if not any(f is g for group in out for g in group)]
        assert all(f.received_s > now_ms / 1000 - WAIT_S - 1e-6 for f in waiting)
        assert (grouper.next_due_s is None) == (not waiting)
    out += grouper.due(now_ms / 1000 + 1)
    flat = [f for group in out for f in group]
    assert sorted(map(id, flat)) == sorted(map(id, put))
    for camera in "abc":
        mine = [id(f) for f in put if f.camera == camera]
        assert [id(f) for f in flat if f.camera == camera] == mine
    for group in out:
        stamps = [f.stamp_ns for f in group]
        assert max(stamps) - min(stamps) <= TOLERANCE
        assert len({f.camera for f in group}) == len(group)


@pytest.mark.slow
@given(
    jitters=st.lists(st.tuples(*[st.integers(0, 25)] * 3), min_size=1, max_size=20),
    delays=st.lists(st.tuples(*[st.integers(0, 30)] * 3), min_size=20, max_size=20),
)
def test_cameras_in_step_always_form_whole_groups(jitters: Any, delays: Any) -> None:
    """Stamps within the tolerance, transport within the wait, whatever the order of arrival."""
    arrivals = sorted(
        (100 * i + jitter + delay, camera, 100 * i + jitter, i)
        for i, (row, wait) in enumerate(zip(jitters, delays, strict=False))
        for camera, jitter, delay in zip("abc", row, wait, strict=True)
    )
    one = Cameras("abc")
    out: list[Group] = []
    for at_ms, camera, stamp_ms, _ in arrivals:
        out += one.grouper.due(at_ms / 1000)
        out += one.grouper.put(frame(camera, stamp_ms, at_ms / 1000))
    out += one.grouper.due(1e6)
    expected = [
        " ".join(f"{c}{100 * i + j}" for c, j in zip("abc", row, strict=True))
        for i, row in enumerate(jitters)
    ]
    assert names(out) == expected


@pytest.mark.slow
@given(
    stamp=st.integers(0, 300),
    others=st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=5), max_size=4),
    tolerance=st.integers(0, 150),
)
def test_choice_equals_the_best_of_all_combinations(
    stamp: int, others: list[list[int]], tolerance: int
) -> None:
    chosen = smallest_spread(stamp, others, tolerance)

    def spread(indices: Any) -> int:
        stamps = [stamp, *(s[i] for s, i in zip(others, indices, strict=True))]
        return max(stamps) - min(stamps)

    best = min(spread(i) for i in itertools.product(*[range(len(s)) for s in others]))
    assert (chosen is None) == (best > tolerance)
    if chosen is not None:
        assert spread(chosen) == best
