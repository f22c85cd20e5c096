"""Pieces of work that threads share."""

from __future__ import annotations

import threading

import pytest
import torch

from dino_foresight_ros.runtime.threads import Threads


@pytest.mark.parametrize("count", [1, 2, 3])
def test_pieces_give_their_results_in_their_order_in_inference_mode(count: int):
    threads = Threads(count)
    pieces = [lambda k=k: (k, torch.is_inference_mode_enabled()) for k in range(7)]
    assert threads.run(pieces) == [(k, True) for k in range(7)]
    assert threads.run([]) == []


@pytest.mark.parametrize("count", range(12))
@pytest.mark.parametrize("least", [1, 3])
def test_spans_are_the_whole_in_even_parts(count: int, least: int):
    for available in (1, 2, 3, 5):
        spans = Threads(available).spans(count, least)
        assert [i for span in spans for i in range(count)[span]] == list(range(count))
        sizes = [span.stop - span.start for span in spans]
        assert len(spans) == max(1, min(available, count // least))
        assert sizes[-1] - sizes[0] == max(sizes) - min(sizes) <= 1


def test_pieces_run_beside_each_other_one_of_them_in_the_callers_thread():
    threads, meeting = Threads(2), threading.Barrier(2, timeout=30)

    def piece() -> int:
        meeting.wait()  # comes back only when both are there
        return threading.get_ident()

    found = threads.run([piece, piece])
    assert threading.get_ident() in found
    assert len(set(found)) == 2


def test_pieces_of_a_piece_are_done_in_its_own_thread():
    threads = Threads(2)

    def piece() -> bool:
        assert threads.available == 1
        return threads.run([threading.get_ident] * 3) == [threading.get_ident()] * 3

    assert threads.available == 2
    assert threads.run([piece] * 4) == [True] * 4


def test_an_error_comes_once_no_piece_is_at_work_any_more():
    threads, ended = Threads(2), []
    is_started, may_end = threading.Event(), threading.Event()

    def slow() -> None:
        is_started.set()
        may_end.wait(30)
        ended.append("slow")

    def failing() -> None:
        is_started.wait(30)
        threading.Timer(0.01, may_end.set).start()
        raise ValueError("of a piece")

    never: list[str] = []
    with pytest.raises(ValueError, match="of a piece"):
        threads.run([failing, slow, lambda: never.append("begun")])
    assert ended == ["slow"]
    assert threads.run([lambda: 1, lambda: 2]) == [1, 2]  # goes on


def test_what_is_begun_beside_pieces_is_waited_for_apart():
    threads, may_end, ended = Threads(2), threading.Event(), []

    def beside() -> None:
        assert threads.available == 1
        assert may_end.wait(30)
        ended.append(threading.get_ident())

    assert threads.run([lambda: 1, lambda: 2], beside) == [1, 2]
    assert ended == []
    may_end.set()
    threads.wait()
    assert len(ended) == 1
    assert threading.get_ident() not in ended
    threads.wait()  # there is nothing to wait for


def test_one_thread_begins_nothing_beside():
    assert Threads().run([lambda: 1], lambda: pytest.fail("begun")) == [1]


def test_what_fails_beside_pieces_is_told_when_it_is_waited_for():
    threads = Threads(2)

    def failing() -> None:
        raise ValueError("beside")

    assert threads.run([lambda: 1], failing) == [1]
    with pytest.raises(ValueError, match="beside"):
        threads.wait()
    threads.wait()


def test_pieces_that_are_tried_again_begin_nothing_a_second_time_beside():
    threads, begun, may_end = Threads(3), [], threading.Event()

    def beside() -> None:
        begun.append(1)
        assert may_end.wait(30)

    assert threads.run([lambda: 1, lambda: 2], beside) == [1, 2]
    assert threads.run([lambda: 1, lambda: 2], beside) == [1, 2]
    may_end.set()
    threads.wait()
    assert begun == [1]
