from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_foresight_ros.demo.metrics import (
    account,
    latency_percentiles,
    machine_description,
    rate_hz,
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
