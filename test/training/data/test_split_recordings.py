"""Training and validation share no moment."""

from __future__ import annotations

import numpy as np
import pytest

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings import Recording, open_recordings
from dino_foresight_ros.training.data import check_disjoint, split_recordings


def worlds(count: int, frames: int = 40) -> list[Recording]:
    return open_recordings([f"synthetic:?seeds=0-{count - 1}&frames={frames}&size=20x30"])


def test_whole_recordings_are_held_out_where_there_are_enough() -> None:
    recordings = worlds(20)
    train, validation = split_recordings(recordings, 0.2, seed=0)
    assert {r.name for r in train} | {r.name for r in validation} == {r.name for r in recordings}
    assert (len(train), len(validation)) == (16, 4)
    again = split_recordings(recordings[::-1], 0.2, seed=0)[1]
    assert {r.name for r in again} == {r.name for r in validation}
    drawn = {tuple(r.name for r in split_recordings(recordings, 0.2, s)[1]) for s in range(5)}
    assert len(drawn) > 1


def test_of_few_recordings_the_last_part_with_a_gap() -> None:
    train, validation = split_recordings(worlds(2), 0.25, seed=0, gap_s=0.5)
    assert len(train) == len(validation) == 2
    for before, after in zip(train, validation, strict=True):
        assert len(after) == 10
        assert after.stamps_ns[0] - before.stamps_ns[-1] > 0.5e9
        assert after.stamps_ns[0] - before.stamps_ns[-1] <= 0.7e9
        assert after.stamps_ns[-1] == 3.9e9
        assert np.array_equal(after.read([0])[0].image, worlds(1)[0].read([30])[0].image) == (
            "synthetic-0" in after.name
        )
        assert len({before.name, after.name}) == 2


def test_too_little_data_and_senseless_shares_are_refused() -> None:
    with pytest.raises(InputError, match="synthetic-0: nothing is left for training"):
        split_recordings(worlds(1, 10), 0.2, seed=0, gap_s=5.0)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(UsageError):
            split_recordings(worlds(1), share, seed=0)


def test_frames_in_both_parts_are_refused_and_neighbouring_parts_are_not() -> None:
    data = "synthetic:?seeds=0&frames=40&size=20x30&part="
    first, second, across = (open_recordings([data + part]) for part in ("0-0.7", "0.7-1", "0.6-1"))
    check_disjoint(first, second, "used twice")
    # The part of 28 frames ends within the third: 24 to 27.
    with pytest.raises(InputError, match=r"0\.6-1: 4 of its frames would be used twice"):
        check_disjoint(first, across, "used twice")
    with pytest.raises(InputError, match="12 of its frames"):
        check_disjoint(worlds(1), second, "used twice")
    check_disjoint(worlds(1)[:0], second, "used twice")
