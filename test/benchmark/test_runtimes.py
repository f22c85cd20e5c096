"""The table of runtimes: each case in its own process, within the minutes, with why it failed."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from micro_bundle import make_micro_bundle

from dino_foresight_ros.benchmark import runtimes
from dino_foresight_ros.benchmark.runtimes import Row, in_process, main, measure_all, table
from dino_foresight_ros.benchmark.sizes import build
from dino_foresight_ros.runtime.traced import TracedFunction


def test_runtimes_are_measured_one_after_the_other_until_the_minutes_are_over():
    now_s, limits_s = 0.0, []

    def run(rows: list[Row], limit_s: float) -> list[Row]:
        nonlocal now_s
        now_s += min(limit_s, 100.0)
        limits_s.append(limit_s)
        return rows

    found = list(
        measure_all(["a", "b"], ["masked", "world"], ["none", "trace"], run, 5.0, lambda: now_s)
    )
    assert [(row.size, row.kind, row.runtime) for rows in found for row in rows] == [
        (size, kind, runtime)
        for runtime in ("none", "trace")
        for size in ("a", "b")
        for kind in ("masked", "world")
    ]
    assert limits_s == [120.0, 120.0, 100.0]
    assert [rows[0].problem for rows in found] == [
        "", "", "", "not begun: the 5 minutes were over"
    ]  # fmt: skip


def test_what_a_process_told_before_it_was_ended_is_kept(monkeypatch: pytest.MonkeyPatch):
    done = Row("tiny", "masked", "none", "float32", 1.0, 20.0, 30.0, 500.0)
    told = f"a line of a library\n{json.dumps(vars(done))}\n"

    def late(command: list[str], timeout: float, **_: Any) -> None:
        assert command[-1] == "--here"
        raise subprocess.TimeoutExpired(command, timeout, output=told.encode())

    monkeypatch.setattr(subprocess, "run", late)
    asked = [Row("tiny", kind, "none") for kind in ("masked", "world")]
    assert in_process(["--here"], asked, 60.0) == [
        done,
        Row("tiny", "world", "none", problem="not done within 60 s"),
    ]


def test_a_process_that_dies_says_why_in_its_row(monkeypatch: pytest.MonkeyPatch):
    def dying(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, -9, "", "Traceback:\n  out of   memory\n")

    monkeypatch.setattr(subprocess, "run", dying)
    (row,) = in_process([], [Row("base", "world", "none")], 60.0)
    assert row.problem == "out of memory"


@pytest.mark.slow
def test_a_case_tells_its_figures_or_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(runtimes, "build", lambda size, kind: make_micro_bundle())
    traced: list[Any] = []
    record = TracedFunction.prepare
    monkeypatch.setattr(
        TracedFunction, "prepare", lambda self, *given: traced.append(given) or record(self, *given)
    )
    words = ["--device", "cpu", "--sizes", "tiny", "--kinds", "masked", "--seconds", "0.01"]
    assert main([*words, "--runtimes", "trace", "--here"]) == 0
    assert main([*words, "--runtimes", "cudagraphs", "--here"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["p99_ms"] >= first["p50_ms"] > 0
    assert (first["dtype"], first["problem"]) == ("float32", "")
    assert "needs a CUDA device" in second["problem"]
    assert traced


def test_the_table_compares_with_torch_alone_of_the_same_size_and_kind():
    rows = [
        Row("tiny", "masked", "none", "float32", 1.0, 30.0, 40.0, 500.0),
        Row("tiny", "world", "none", "float32", 1.0, 20.0, 30.0, 500.0),
        Row("tiny", "masked", "trace", "float32", 2.0, 15.0, 20.0, 500.0),
        Row("tiny", "world", "trace", problem="no"),
    ]
    lines = table(rows).splitlines()[2:]
    assert ["2.00 x" in line for line in lines] == [False, True, False, False]
    assert [line.split("|")[2].strip() for line in lines] == ["masked", "masked", "world", "world"]
    assert "no" in lines[3]


@pytest.mark.parametrize("words", [["--steps", "0"], ["--device", "gpu"], ["--minutes", "0"]])
def test_bad_words_exit_with_2(words: list[str]):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2


def test_both_kinds_forecast_on_the_same_encoder():
    masked, world = (build("tiny", kind=kind) for kind in ("masked", "world"))
    assert (masked.forecaster.kind, world.forecaster.kind) == ("masked", "world")
    assert masked.image_size == world.image_size
