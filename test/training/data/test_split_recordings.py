"""Training and validation share no moment."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import numpy as np
import pytest

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings import Recording, open_recordings
from dino_foresight_ros.recordings.recording import Frame
from dino_foresight_ros.training.data import check_disjoint, scene_numbers, split_recordings


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


@pytest.mark.slow
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


class Camera(Recording):
    """Stamps of a camera; nothing to see. 10 frames a second from `start_s` on."""

    def __init__(self, name: str, start_s: float = 0, frames: int = 40, **others: Any) -> None:
        stamps_ns = np.round((start_s + np.arange(frames) / 10) * 1e9).astype(np.int64)
        super().__init__(name, stamps_ns, (2, 2), **others)

    def _read(self, index: int, labels: Any) -> Frame:
        raise NotImplementedError

    def _fingerprint_parts(self) -> Iterable[str]:
        yield self.name


def rigs(scenes: int, cameras: int) -> list[Recording]:
    """Of every scene so many cameras, whose frames come 10 ms after one another."""
    return [
        Camera(f"{scene}-{camera}", 100 * scene + camera / 100, scene=f"scene {scene}")
        for camera, scene in product(range(cameras), range(scenes))
    ]


def moments(recordings: list[Recording]) -> set[tuple[str, int]]:
    """Scene and tenth of a second of every frame."""
    return {
        (one.scene, round(stamp / 1e8)) for one in recordings for stamp in one.stamps_ns.tolist()
    }


@pytest.mark.parametrize("seed", range(5))
def test_cameras_of_a_rig_stay_together(seed: int) -> None:
    train, validation = split_recordings(rigs(20, 6), 0.2, seed)
    assert not moments(train) & moments(validation)
    assert (len(train), len(validation)) == (96, 24)
    check_disjoint(train, validation, "used twice")


def test_few_rigs_are_cut_at_one_instant_for_all_cameras() -> None:
    train, validation = split_recordings(rigs(2, 6), 0.25, seed=0, gap_s=0.5)
    assert len(train) == len(validation) == 12
    for scene in (0, 1):
        last = max(r.stamps_ns[-1] for r in train if r.scene == f"scene {scene}")
        first = min(r.stamps_ns[0] for r in validation if r.scene == f"scene {scene}")
        assert 0.5e9 < first - last <= 0.7e9
        assert first == pytest.approx(100e9 * scene + 3.0e9, abs=0.05e9)


def test_six_cameras_of_one_scene_are_not_six_recordings() -> None:
    """Enough recordings to hold whole ones out, all of one moment: they are cut by time."""
    train, validation = split_recordings(rigs(1, 6), 0.25, seed=0, gap_s=0.5)
    assert not moments(train) & moments(validation)
    assert {len(r) for r in validation} == {10}


def test_moments_that_another_camera_saw_are_refused() -> None:
    front, back, *_ = rigs(1, 3)
    with pytest.raises(InputError, match=r"0-1: 39 of its frames are of moments that 0-0 saw too"):
        check_disjoint([front], [back], "used twice")
    later = Camera("later", 60, scene=front.scene)
    check_disjoint([front], [later], "used twice")
    other = Camera("other", scene="another scene")
    check_disjoint([front], [other], "used twice")


def test_unix_times_are_one_clock_unless_rigs_are_told_apart() -> None:
    cameras = [Camera("left", 1.5e9), Camera("right", 1.5e9 + 1), Camera("simulated", 5)]
    for camera in cameras:
        camera.has_absolute_stamps = True
    assert scene_numbers(cameras)[0] == scene_numbers(cameras)[1] != scene_numbers(cameras)[2]
    with pytest.raises(InputError, match="say rig=NAME"):
        check_disjoint(cameras[:1], cameras[1:2], "used twice")
    cameras[0].set_rig("car 1")
    check_disjoint(cameras[:1], cameras[1:2], "used twice")
    cameras[1].set_rig("car 1")
    with pytest.raises(InputError):
        check_disjoint(cameras[:1], cameras[1:2], "used twice")


def test_one_world_in_other_sizes_and_rates_is_one_scene() -> None:
    specs = ["frames=40&size=20x30", "frames=20&interval=0.2&size=40x60"]
    (small,), (large,) = (open_recordings([f"synthetic:?seeds=3&{text}"]) for text in specs)
    with pytest.raises(InputError, match="moments"):
        check_disjoint([small], [large], "used twice")


def test_parts_of_a_recording_follow_one_another_in_one_scene() -> None:
    cameras = [Camera(f"part {k}", 10 * k, 90, scene="drive") for k in range(3)]
    assert scene_numbers(cameras, gap_s=2.0) == [0, 0, 0]
    assert scene_numbers(cameras, gap_s=0.5) == [0, 1, 2]


@pytest.mark.parametrize(("share", "gap_s"), [(0.2, 5.0), (0.5, 2.0), (0.1, 0.4)])
def test_least_length_that_is_told_is_enough_and_what_was_refused_is_not(
    share: float, gap_s: float
) -> None:
    least_s = gap_s / (1 - share)
    told = rf"give recordings of more than {least_s:.3g} s,"
    frames = round(least_s * 10)  # at 10 Hz
    with pytest.raises(InputError, match=told):
        split_recordings(worlds(1, frames - 1), share, seed=0, gap_s=gap_s)
    train, validation = split_recordings(worlds(1, frames + 3), share, seed=0, gap_s=gap_s)
    assert train
    assert validation
