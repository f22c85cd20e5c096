"""What a run of the demo waits for has an end."""

from __future__ import annotations

import os
import time

from dino_foresight_ros.demo.run_statistics import RunStatistics
from dino_foresight_ros.demo.session import LOADING_LIMIT_S, WAIT_LIMIT_S, ReadyWait, needed
from dino_foresight_ros.process.cpu import used_cpu_s


def test_an_active_node_that_is_not_heard_is_given_up_after_a_minute() -> None:
    wait = ReadyWait(1000.0)
    assert wait.give_up(1200.0, is_active=True, cpu_s=9.0) is None
    assert wait.give_up(1200.0 + WAIT_LIMIT_S, is_active=True, cpu_s=50.0) is None
    why = wait.give_up(1201.0 + WAIT_LIMIT_S, is_active=True, cpu_s=60.0)
    assert why is not None
    assert "is active, and for 60 s this process has not heard it" in why


def test_a_node_that_loads_is_waited_for_and_one_that_hangs_is_not() -> None:
    loading, hanging = ReadyWait(0.0), ReadyWait(0.0)
    for now_s in range(0, 600, 5):
        assert loading.give_up(now_s, is_active=False, cpu_s=0.5 * now_s) is None
    for now_s in range(0, 61):
        assert hanging.give_up(now_s, is_active=False, cpu_s=2.0 + 0.01 * now_s) is None
    why = hanging.give_up(61.0, is_active=False, cpu_s=2.61)
    assert why == "did nothing for 60 s while it loaded the model"
    why = loading.give_up(LOADING_LIMIT_S + 1.0, is_active=False, cpu_s=400.0)
    assert why == "has not loaded the model in 600 s"


def test_used_cpu_grows_with_work() -> None:
    before = used_cpu_s(os.getpid())
    ends_s = time.process_time() + 0.1
    while time.process_time() < ends_s:
        pass
    assert used_cpu_s(os.getpid()) - before >= 0.07
    assert used_cpu_s(2**30) == 0.0


def test_a_recording_that_is_too_short_is_told_how_long_it_must_be() -> None:
    statistics = RunStatistics([""])
    assert needed(statistics) == "the model needs several frames, spread over a second or more"
    for stamp_ns in (5 * 10**9, 5 * 10**9 + 300_000_000):
        statistics.cameras[""].add_frame(0.0, stamp_ns)
    assert statistics.duration_s == 0.3
    statistics.diagnostics = {"needed_frames": "4 frames 0.2 s apart", "needed_duration_s": "0.51"}
    told = "the model needs 4 frames 0.2 s apart, which takes 0.51 s or more"
    assert needed(statistics) == f"{told}: it is too short"
    statistics.cameras[""].add_frame(0.0, 6 * 10**9)
    assert needed(statistics) == told
    statistics.diagnostics["cannot_forecast"] = "2 frames/s come"
    assert needed(statistics) == "2 frames/s come"
