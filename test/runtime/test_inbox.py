"""Frames that wait: the newest, and what its context may need of those that it replaced."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dino_foresight_ros.runtime.context_rules import EvenContext
from dino_foresight_ros.runtime.frame import QueuedFrame
from dino_foresight_ros.runtime.inbox import Mailbox

RULE = EvenContext(frames=4, interval_ns=100, tolerance_ns=45, max_gap_ns=200)


def put(mailbox: Mailbox, *stamps: int) -> list[int]:
    return [f.stamp_ns for s in stamps for f in mailbox.put(QueuedFrame(None, s, 0.0))]


def take(mailbox: Mailbox, encoded: list[int]) -> tuple[int, list[int], list[int]]:
    """Stamps of the newest frame, of those that its context needs, and of the others."""
    waiting = mailbox.take()
    assert waiting is not None
    older = [f.stamp_ns for f in waiting.older]
    needed = [older[k] for k in RULE.needed(waiting.newest.stamp_ns, older, encoded)]
    return waiting.newest.stamp_ns, needed, [s for s in older if s not in needed]


def test_first_frame_replaces_nothing() -> None:
    mailbox = Mailbox(RULE)
    assert put(mailbox, 1000) == []
    assert take(mailbox, []) == (1000, [], [])
    assert mailbox.newest is None


def test_holes_of_the_context_are_filled_from_replaced_frames() -> None:
    mailbox = Mailbox(RULE)
    put(mailbox, *range(1000, 1310, 10))
    newest, needed, _ = take(mailbox, [])
    assert newest == 1300
    # Those in between serve a context that ends at 1350, which 1000, 1100, ... all miss by 50.
    assert needed == [1000, 1050, 1100, 1150, 1200, 1250]


def test_what_the_engine_holds_is_not_encoded_again() -> None:
    mailbox = Mailbox(RULE)
    put(mailbox, *range(1110, 1310, 10))
    newest, needed, _ = take(mailbox, [900, 1000, 1100])
    assert (newest, needed) == (1300, [1160, 1210])


def test_frames_near_encoded_ones_are_not_needed() -> None:
    mailbox = Mailbox(RULE)
    put(mailbox, 1140, 1230, 1300)
    assert take(mailbox, [900, 1000, 1100, 1190]) == (1300, [], [1140, 1230])


def test_fast_engine_needs_no_replaced_frames() -> None:
    mailbox = Mailbox(RULE)
    put(mailbox, 1290, 1300)
    assert take(mailbox, list(range(1000, 1290, 20))) == (1300, [], [1290])


def test_frames_older_than_what_the_engine_saw_come_too_late() -> None:
    mailbox = Mailbox(RULE)
    put(mailbox, 1000, 1100, 1200, 1300)
    assert take(mailbox, [1150]) == (1300, [1200], [1000, 1100])


def test_frames_from_before_a_jump_back_are_useless() -> None:
    mailbox = Mailbox(RULE)
    assert put(mailbox, 1000, 1100, 500) == [1000, 1100]
    assert take(mailbox, [900]) == (500, [], [])


def test_clear_gives_everything_back() -> None:
    mailbox = Mailbox(RULE)
    put(mailbox, 1000, 1100, 1200)
    assert [f.stamp_ns for f in mailbox.clear()] == [1000, 1100, 1200]
    assert mailbox.clear() == []


@given(
    stamps=st.lists(st.integers(0, 3000), max_size=80),
    encoded=st.lists(st.integers(0, 3000), max_size=8, unique=True).map(sorted),
    taken_after=st.integers(1, 20),
)
def test_no_frame_is_lost_and_memory_is_bounded(
    stamps: list[int], encoded: list[int], taken_after: int
) -> None:
    mailbox = Mailbox(RULE)
    frames = [QueuedFrame(index, stamp, 0.0) for index, stamp in enumerate(stamps)]
    out: list[int] = []
    held = 0
    for index, frame in enumerate(frames):
        useless = mailbox.put(frame)
        held += 1 - len(useless)
        assert held <= 2 + 2 * RULE.frames
        out += [f.payload for f in useless]
        if index % taken_after == taken_after - 1:
            waiting = mailbox.take()
            assert waiting is not None
            assert waiting.newest is frame
            older = [f.stamp_ns for f in waiting.older]
            assert older == sorted({s for s in older if s < frame.stamp_ns})
            assert len(RULE.needed(frame.stamp_ns, older, encoded)) < RULE.frames
            out += [f.payload for f in (frame, *waiting.older)]
            held = 0
    out += [f.payload for f in mailbox.clear()]
    assert sorted(out) == [f.payload for f in frames]


def keep(mailbox: Mailbox, *stamps: int) -> list[int]:
    return [f.stamp_ns for s in stamps for f in mailbox.keep(QueuedFrame(None, s, 0.0))]


def test_frames_kept_for_the_context_wake_nobody_and_fill_its_holes() -> None:
    mailbox = Mailbox(RULE)
    assert keep(mailbox, *range(1000, 1300, 50)) == []
    assert mailbox.newest is None
    put(mailbox, 1300)
    assert take(mailbox, []) == (1300, [1000, 1050, 1100, 1150, 1200, 1250], [])


def test_kept_frames_are_bounded_and_forgotten_in_time() -> None:
    mailbox = Mailbox(RULE)
    useless = keep(mailbox, *range(0, 10_000, 10))
    left = [f.stamp_ns for f in mailbox.clear()]
    assert sorted(useless + left) == list(range(0, 10_000, 10))
    assert len(left) <= 8
    assert min(left) >= 9990 - RULE.span_ns


def test_frame_kept_after_the_newest_waits_for_the_next_one() -> None:
    # Encoded first, it would make the newest one come too late.
    mailbox = Mailbox(RULE)
    put(mailbox, 1000)
    keep(mailbox, 1100)
    assert take(mailbox, []) == (1000, [], [])
    put(mailbox, 1200)
    assert take(mailbox, [1000]) == (1200, [1100], [])


def test_frames_kept_before_time_went_back_are_given_up() -> None:
    mailbox = Mailbox(RULE)
    keep(mailbox, 5000, 5100)
    assert keep(mailbox, 1000) == [5000, 5100]
