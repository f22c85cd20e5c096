"""Finding clips, against a brute-force search."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.training.data import clip_indices

MS = 1_000_000


def brute_force(stamps_ms: list[int], offsets_ms: list[int], tolerance_ms: int) -> list[list[int]]:
    """Look at every frame for every instant; of two equally near ones take the newer."""
    clips = []
    for anchor in stamps_ms:
        row = []
        for offset in offsets_ms:
            distances = [(abs(stamp - anchor - offset), -stamp) for stamp in stamps_ms]
            best = min(range(len(stamps_ms)), key=lambda i: distances[i])
            if distances[best][0] <= tolerance_ms:
                row.append(best)
        if len(row) == len(offsets_ms) and len(set(row)) == len(row):
            clips.append(row)
    return clips


# Steps of 1 ms stand for doubled messages, large ones for gaps.
steps_ms = st.lists(st.sampled_from([1, 30, 33, 34, 40, 66, 500]), max_size=25)


@given(
    steps=steps_ms,
    offsets=st.lists(st.integers(-250, 250), min_size=1, max_size=5),
    tolerance=st.integers(0, 60),
    start=st.sampled_from([0, -1000, 1_700_000_000_000]),
)
@example(steps=[40, 40], offsets=[-20], tolerance=20, start=0)
def test_agrees_with_brute_force(
    steps: list[int], offsets: list[int], tolerance: int, start: int
) -> None:
    stamps_ms = list(np.cumsum([start, *steps]))
    found = clip_indices(
        np.array(stamps_ms, np.int64) * MS, [ms / 1000 for ms in offsets], tolerance / 1000
    )
    assert found.dtype == np.int64
    assert found.shape[1] == len(offsets)
    assert found.tolist() == brute_force(stamps_ms, offsets, tolerance)


def test_no_clip_in_a_short_or_empty_recording() -> None:
    assert clip_indices(np.array([], np.int64), [-0.1, 0.0], 0.05).shape == (0, 2)
    assert clip_indices(np.array([7], np.int64), [-0.1, 0.0], 0.05).shape == (0, 2)


def test_an_hour_is_quick_enough_to_be_searched_at_every_start() -> None:
    stamps = np.cumsum(np.random.default_rng(0).integers(30 * MS, 36 * MS, 108_000))
    start = time.process_time()
    found = clip_indices(stamps, [-0.72, -0.54, -0.36, -0.18, 0.0], 0.08)
    assert len(found) > 100_000
    # A loop over the anchors takes half a minute; vectorised it is 0.03 s.
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("offsets", "tolerance"), [([], 0.1), ([float("nan")], 0.1), ([0.0], -0.1), ([0.0], np.inf)]
)
def test_senseless_values_are_refused(offsets: list[float], tolerance: float) -> None:
    with pytest.raises(UsageError):
        clip_indices(np.arange(5), offsets, tolerance)
