"""What a run of the demo waits for has an end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from dino_foresight_ros.demo.processes import NodeFailedError
from dino_foresight_ros.demo.run_statistics import RunStatistics
from dino_foresight_ros.demo.session import end_on_signals, needed
from dino_foresight_ros.demo.watches import LOADING_LIMIT_S, WAIT_LIMIT_S, PlayWatch, ReadyWait
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


def test_what_keeps_forecasts_from_coming_is_told_once_while_the_input_plays() -> None:
    told: list[str] = []
    watch, statistics = PlayWatch("replay_node", Path("log"), 1.0, told.append), RunStatistics()
    watch.check(100.0, statistics, idle_s=0.0)
    assert told == []
    for rate in ("2", "2.1"):
        statistics.diagnostics = {"cannot_forecast": f"{rate} frames/s come, 4.35 are needed"}
        watch.check(101.0, statistics, idle_s=0.0)
    assert told == ["forecast_node: 2 frames/s come, 4.35 are needed"]
    assert watch.cannot_forecast == "2 frames/s come, 4.35 are needed"


def test_a_pause_of_the_recording_is_waited_for_and_told_once() -> None:
    told: list[str] = []
    watch, statistics = PlayWatch("replay_node", Path("log"), 0.5, told.append), RunStatistics()
    statistics.cameras[""].add_frame(100.0, 0)
    for now_s in (101.0, 219.0, 221.0, 500.0):  # at half speed a pause takes twice as long
        watch.check(now_s, statistics, idle_s=now_s - 100.0)
    assert [text.split(";")[0] for text in told] == ["replay_node has given no frame for 121 s"]
    statistics.cameras[""].add_frame(501.0, 10**9)
    watch.check(502.0, statistics, idle_s=0.0)
    watch.check(700.0, statistics, idle_s=199.0)
    assert len(told) == 2


def test_a_player_that_never_starts_fails_the_run() -> None:
    watch, statistics = PlayWatch("replay_node", Path("log"), 1.0), RunStatistics()
    watch.check(1000.0, statistics, idle_s=WAIT_LIMIT_S)
    with pytest.raises(NodeFailedError, match="replay_node gave no frame in 60 s"):
        watch.check(1000.0, statistics, idle_s=WAIT_LIMIT_S + 1.0)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_a_signal_that_python_drops_ends_the_run_all_the_same(
    number: signal.Signals, raised: type[BaseException]
) -> None:
    before = signal.getsignal(number)
    with end_on_signals() as check:
        check()
        with pytest.raises(raised):
            signal.raise_signal(number)  # here dropped, as in a finaliser
        with pytest.raises(raised):
            check()
    assert signal.getsignal(number) is before
