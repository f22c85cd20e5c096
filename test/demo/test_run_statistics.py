from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_foresight_ros.demo.run_statistics import (
    RunStatistics,
    account,
    latency_percentiles,
    machine_description,
    rate_hz,
    summarize,
    write_metrics,
)

COUNTS = st.integers(0, 10_000)


@given(
    seen=COUNTS, forecasts=COUNTS, filling=COUNTS, superseded=COUNTS, in_flight=st.integers(0, 2)
)
def test_every_frame_is_accounted_for(
    seen: int, forecasts: int, filling: int, superseded: int, in_flight: int
) -> None:
    diagnostics = {
        "frames_received": str(forecasts + filling + superseded + in_flight),
        "forecasts_published": str(forecasts),
        "dropped_total": str(filling + superseded),
        "dropped.context_filling": str(filling),
        "dropped.superseded": str(superseded),
    }
    numbers = account(seen, diagnostics)
    assert numbers["frames_in"] == numbers["forecasts_out"] + sum(numbers["dropped"].values())
    assert numbers["dropped_total"] == sum(numbers["dropped"].values())
    assert numbers["frames_in"] >= seen
    assert all(count > 0 for count in numbers["dropped"].values())


def test_frames_that_never_reached_the_node_are_named() -> None:
    diagnostics = {"frames_received": "7", "forecasts_published": "7", "dropped.superseded": "0"}
    assert account(10, diagnostics)["dropped"] == {"not_delivered": 3}


def test_without_diagnostics_no_frame_is_lost_from_the_account() -> None:
    assert account(4, {})["dropped"] == {"not_delivered": 4}


def test_percentiles_of_known_latencies() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1, 102))
    assert latency_percentiles(list(values)) == {"latency_p50_ms": 51.0, "latency_p99_ms": 100.0}
    assert latency_percentiles([]) == {"latency_p50_ms": None, "latency_p99_ms": None}


def test_rate_counts_the_gaps_between_events() -> None:
    assert rate_hz(11, 5.0, 6.0) == 10.0
    assert rate_hz(1, 5.0, 5.0) is None
    assert rate_hz(0, None, None) is None


def test_cameras_are_counted_each_for_itself_and_together() -> None:
    seen = RunStatistics(["left", "right"])
    for index in range(9):
        seen.cameras["left"].add_frame(index * 0.1, index)
        if index > 3:
            seen.cameras["right"].add_frame(index * 0.1 + 0.05, index)
    seen.cameras["left"].add_forecast(1.0, 20.0)
    seen.cameras["left"].add_forecast(1.5, 30.0)
    seen.cameras["right"].add_forecast(2.0, 100.0)
    seen.diagnostics = {
        "frames_received": "12", "forecasts_published": "3", "dropped.superseded": "9",
        "camera.left.frames_received": "8", "camera.left.forecasts_published": "2",
        "camera.left.dropped.superseded": "6", "camera.right.frames_received": "4",
        "camera.right.forecasts_published": "1", "camera.right.dropped.superseded": "3",
    }  # fmt: skip
    whole = summarize(seen, 20, {"left": 10, "right": 10})
    left, right = whole["cameras"]["left"], whole["cameras"]["right"]
    assert (whole["frames_in"], left["frames_in"], right["frames_in"]) == (20, 10, 10)
    assert left["dropped"] == {"superseded": 6, "not_delivered": 2}
    assert right["dropped"] == {"superseded": 3, "not_delivered": 6}
    assert whole["latency_p50_ms"] == 30.0
    assert left["latency_p50_ms"] == 25.0
    assert whole["forecasts_per_s"] == pytest.approx(2 / 1.0)
    for numbers in (whole, left, right):
        assert numbers["frames_in"] == numbers["forecasts_out"] + numbers["dropped_total"]
    # Interrupted: how many of each camera were played is not known.
    stopped = summarize(seen, 16, {"left": 10, "right": 10})["cameras"]
    assert [own["frames_in"] for own in stopped.values()] == [9, 5]
    assert "cameras" not in summarize(RunStatistics(), None)


def test_written_numbers_are_strict_json(tmp_path: Path) -> None:
    write_metrics(tmp_path / "m.json", {"frames_in": 3, "trained": False})
    read = json.loads((tmp_path / "m.json").read_text())
    assert read["frames_in"] == 3
    assert read["version"].count(".") == 2
    with pytest.raises(ValueError, match="JSON"):
        write_metrics(tmp_path / "bad.json", {"latency": float("nan")})


def test_machine_is_described() -> None:
    machine = machine_description()
    assert 1 <= machine["usable_cpus"] <= machine["cpu_count"]
    assert machine["cpu"]
