"""Questions beside the frames: answered in the engine's thread, part by part."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest
from scheduler_harness import Harness

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.runtime.questions import MAX_WAITING
from dino_foresight_ros.runtime.scheduler import Worker


def started() -> Harness:
    harness = Harness()
    harness.scheduler.start()
    return harness


def counting(
    parts: int, done: list[object], value: object = "answer"
) -> Generator[None, None, object]:
    for part in range(parts):
        done.append(part)
        yield
    return value


def test_frames_that_come_meanwhile_are_forecast_between_the_parts_of_a_question():
    harness = started()
    done: list[object] = []
    answer = harness.scheduler.ask(counting(3, done))
    for stamp in (1, 2, 3):
        harness.submit("a", stamp)
        harness.scheduler.work()
        done.append(f"frame {harness.engine.seen[-1]}")
    assert done == [0, "frame 1", 1, "frame 2", 2, "frame 3"]
    assert not answer.done()
    harness.scheduler.work()
    assert answer.result(timeout=0) == "answer"


def test_questions_are_answered_in_the_order_in_which_they_were_asked():
    harness = started()
    done: list[object] = []
    answers = [harness.scheduler.ask(counting(2, done, k)) for k in range(2)]
    for _ in range(6):
        harness.scheduler.work()
    assert [answer.result(timeout=0) for answer in answers] == [0, 1]


def test_question_that_fails_gives_its_error_and_the_next_one_is_answered():
    def failing() -> Generator[None, None, None]:
        raise ValueError("no such thing")
        yield

    harness = started()
    bad, good = harness.scheduler.ask(failing()), harness.scheduler.ask(counting(0, []))
    harness.scheduler.work()
    harness.scheduler.work()
    with pytest.raises(ValueError, match="no such thing"):
        bad.result(timeout=0)
    assert good.result(timeout=0) == "answer"


def test_stop_answers_waiting_questions_and_none_is_taken_afterwards():
    harness = started()
    answer = harness.scheduler.ask(counting(5, []))
    harness.scheduler.work()
    harness.scheduler.stop()
    with pytest.raises(InputError, match="not active"):
        answer.result(timeout=0)
    with pytest.raises(InputError, match="not active"):
        harness.scheduler.ask(counting(1, []))


def test_question_that_its_asker_gave_up_hinders_neither_the_next_one_nor_a_stop():
    harness = started()
    left = harness.scheduler.ask(counting(0, []))
    good = harness.scheduler.ask(counting(0, []))
    assert left.cancel()
    harness.scheduler.work()
    harness.scheduler.work()
    assert good.result(timeout=0) == "answer"
    assert harness.scheduler.ask(counting(3, [])).cancel()
    harness.scheduler.stop()


def test_more_questions_than_can_wait_are_refused():
    harness = started()
    for _ in range(MAX_WAITING):
        harness.scheduler.ask(counting(1, []))
    with pytest.raises(InputError, match=f"{MAX_WAITING} requests wait"):
        harness.scheduler.ask(counting(1, []))


def test_question_wakes_a_worker_that_waits_for_frames():
    harness = Harness()
    worker = Worker(harness.scheduler)
    worker.start()
    threads: list[str] = []

    def name() -> Generator[None, None, str]:
        yield
        return threading.current_thread().name

    try:
        threads.append(harness.scheduler.ask(name()).result(timeout=120))
    finally:
        assert worker.stop(30)
    assert threads == ["foresight-worker"]
