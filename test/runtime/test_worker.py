"""The worker's thread: it stops, starts again, and gives up what it was at."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from scheduler_harness import GatedEngine, Harness

from dino_foresight_ros.runtime.scheduler import THREAD_NAME, Worker


class Threaded(Harness):
    """A scheduler that runs in a worker's thread."""

    def __init__(self) -> None:
        super().__init__(GatedEngine())
        self.worker = Worker(self.scheduler)
        self.worker.start()

    def settle(self) -> None:
        assert wait_until(lambda: self.counts().in_flight == 0)


def wait_until(condition: Callable[[], bool], timeout_s: float = 120.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


@pytest.fixture
def one() -> Iterator[Threaded]:
    made = Threaded()
    yield made
    made.engine.gate.set()
    assert made.worker.stop(10.0)


def enter_pass(one: Threaded, stamp_ns: int) -> None:
    """Submit a frame, and hold the pass over it at the gate."""
    one.engine.gate.clear()
    one.engine.entered.clear()
    one.submit("a", stamp_ns)
    assert one.engine.entered.wait(10)


def test_frames_are_worked_at_in_the_worker_s_thread(one: Threaded) -> None:
    names: list[str] = []
    one.engine.meanwhile = lambda: names.append(threading.current_thread().name)
    one.submit("a", 1)
    one.settle()
    assert one.published == [1]
    assert names == [THREAD_NAME]


def test_stop_during_a_pass_discards_its_result(one: Threaded) -> None:
    enter_pass(one, 1)
    one.submit("a", 2)
    assert not one.worker.stop(timeout_s=0.01)
    one.submit("a", 3)
    one.engine.gate.set()
    assert one.worker.stop(10.0)
    assert one.published == []
    assert sorted(one.drops) == [(1, "inactive"), (2, "inactive"), (3, "inactive")]
    one.check_accounts()


def test_restart_during_an_old_pass_discards_it_and_goes_on(one: Threaded) -> None:
    enter_pass(one, 1)
    assert not one.worker.stop(timeout_s=0.01)
    one.worker.start()
    one.engine.gate.set()
    one.settle()
    assert one.drops == [(1, "inactive")]
    one.submit("a", 2)
    one.settle()
    assert one.published == [2]
    assert one.engine.resets == 2
    one.check_accounts()


def test_restart_after_stop_starts_with_an_empty_context(one: Threaded) -> None:
    for round_ in range(3):
        one.submit("a", round_)
        one.settle()
        assert one.engine.resets == round_ + 1
        assert one.worker.stop(10.0)
        one.worker.start()
    assert sum(thread.name == THREAD_NAME for thread in threading.enumerate()) == 1


def test_reset_waits_for_the_pass_and_for_no_other_frame(one: Threaded) -> None:
    enter_pass(one, 1)
    before = one.engine.resets
    one.scheduler.reset()
    assert one.engine.resets == before
    one.engine.gate.set()
    assert wait_until(lambda: one.engine.resets == before + 1)


def test_contexts_can_be_read_while_cameras_come_up(one: Threaded) -> None:
    """A service that reads them runs in another thread than the engine."""
    for k in range(200):
        one.submit("a", k, f"camera_{k}")
        assert set(one.scheduler.contexts.values()) <= {"4/4 frames"}
    one.settle()
    assert wait_until(lambda: len(one.scheduler.contexts) == 200)
