"""Clips and labelled images: what is drawn, in which order, and from damaged files."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import forked
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings import (
    BadFiles,
    Frame,
    LabelSpace,
    Recording,
    UnreadableFrame,
    open_recordings,
)
from dino_foresight_ros.recordings.part import PartOfRecording
from dino_foresight_ros.training.data import ClipAugmentation, ClipDataset, ImageDataset

MS = 1_000_000
EVERYTHING = ClipAugmentation(crop_scale=(0.5, 1.0), horizontal_flip=0.5, time_flip=0.5)
SPACE = LabelSpace(("a", "b"), ((0, 0, 0), (1, 1, 1)), ())


class Numbered(Recording):
    """Frames whose pixels say their number; some of them damaged, some with labels."""

    def __init__(
        self,
        stamps_ms: Iterable[int],
        name: str = "numbered",
        bad: Collection[int] = (),
        labelled: Collection[int] = (),
    ) -> None:
        super().__init__(
            name,
            np.array(list(stamps_ms), np.int64) * MS,
            (20, 30),
            label_space=SPACE,
            labelled={"segmentation": np.array(sorted(labelled), np.int64)},
        )
        self._bad = set(bad)

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        if index in self._bad:
            raise UnreadableFrame(f"{self.name}.jpg", index, "cut off")
        image = np.full((20, 30, 3), index, np.uint8)
        has = "segmentation" in labels and index in self.labelled("segmentation")
        ids = np.full((20, 30), index % 2, np.uint8) if has else None
        return Frame(int(self.stamps_ns[index]), image=image, segmentation=ids)

    def _fingerprint_parts(self) -> Iterable[str]:
        yield self.name


def numbers(item: dict[str, Any]) -> list[int]:
    return item["frames"][:, 0, 0, 0].tolist()


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(torch.nan_to_num(a[key]), torch.nan_to_num(b[key]))
        if isinstance(a[key], torch.Tensor)
        else a[key] == b[key]
        for key in a
    )


def test_every_clip_of_a_steady_camera_once() -> None:
    dataset = ClipDataset([Numbered(range(0, 1000, 100))], [0.2], 3, 1, (20, 30))
    assert [numbers(dataset[i]) for i in range(len(dataset))] == [
        [k, k + 2, k + 4, k + 6] for k in range(4)
    ]
    assert dataset[1]["stamps_ns"].tolist() == [t * MS for t in (100, 300, 500, 700)]
    assert dataset[1]["frames"].shape == (4, 20, 30, 3)
    assert dataset[1]["frames"].dtype == torch.uint8
    assert dataset[1]["source"] == "numbered frames 1, 3, 5, 7"


def test_a_recording_with_times_occurs_so_often_in_an_epoch() -> None:
    once, thrice = Numbered(range(0, 1000, 100), labelled=[2]), Numbered(range(5), labelled=[3])
    thrice.times = 3
    labelled = ImageDataset([once, thrice], "segmentation", (20, 30))
    assert [labelled[i]["image"][0, 0, 0].item() for i in range(len(labelled))] == [2, 3, 3, 3]
    once.times = 2
    part = PartOfRecording(PartOfRecording(once, np.arange(6), "part"), np.arange(5), "of it")
    clips = ClipDataset([part], [0.2], 2, 1, (20, 30))
    assert [numbers(clips[i]) for i in range(len(clips))] == [[0, 2, 4]] * 2


@pytest.mark.slow
def test_strides_are_drawn_alike_and_then_the_start() -> None:
    # A Cityscapes snippet: 30 frames at 17 Hz, strides 2, 3, 4 as in the paper.
    stamps = [round(i * 1000 / 17) for i in range(30)]
    intervals = [2 / 17, 3 / 17, 4 / 17]
    augmentation = ClipAugmentation(time_flip=0.5)
    dataset = ClipDataset([Numbered(stamps)], intervals, 4, 1, (20, 30), augmentation)
    starts: dict[int, list[int]] = {2: [], 3: [], 4: []}
    for epoch in range(50):
        dataset.set_epoch(epoch)
        for index in range(len(dataset)):
            found = sorted(numbers(dataset[index]))
            (stride,) = set(np.diff(found))
            starts[int(stride)].append(found[0])
    total = sum(map(len, starts.values()))
    for stride, found in starts.items():
        assert len(found) / total == pytest.approx(1 / 3, abs=0.05)
        # Each of the starts that leave room for a clip, as often as the others.
        counts = np.bincount(found)
        assert len(counts) == 30 - 4 * stride
        assert counts / len(found) == pytest.approx(1 / len(counts), rel=0.7)


def test_a_recording_too_short_for_a_stride_has_the_others() -> None:
    recordings = [Numbered(range(0, 1100, 100), "short"), Numbered(range(0, 3000, 100), "long")]
    dataset = ClipDataset(recordings, [0.2, 0.3], 4, 1, (20, 30))
    seen: dict[str, list[float]] = {"short": [], "long": []}
    for epoch in range(20):
        dataset.set_epoch(epoch)
        for index in range(len(dataset)):
            item = dataset[index]
            seen[item["source"].split()[0]].append(item["interval_s"])
    assert set(seen["short"]) == {0.2}
    assert np.mean(np.array(seen["long"]) == 0.2) == pytest.approx(0.5, abs=0.08)
    assert len(seen["short"]) == 20 * 3


def test_time_flip_plays_backwards_with_rising_stamps() -> None:
    augmentation = ClipAugmentation(time_flip=1.0)
    dataset = ClipDataset([Numbered(range(0, 600, 100))], [0.1], 2, 1, (20, 30), augmentation)
    items = [dataset[i] for i in range(len(dataset))]
    assert [numbers(item) for item in items] == [[k + 2, k + 1, k] for k in range(4)]
    assert all((np.diff(item["stamps_ns"]) == 100 * MS).all() for item in items)


def test_half_of_the_clips_play_backwards() -> None:
    augmentation = ClipAugmentation(time_flip=0.5)
    dataset = ClipDataset([Numbered(range(0, 20000, 100))], [0.1], 2, 0, (20, 30), augmentation)
    steps = [np.diff(numbers(dataset[i]))[0] for i in range(1, len(dataset) - 1)]
    assert np.mean(np.array(steps) < 0) == pytest.approx(0.5, abs=0.12)


def test_gaps_and_jitter_are_kept_within_the_tolerance() -> None:
    stamps = [0, 103, 196, 305, 398, 900, 1001, 1102, 1199]  # half a second is missing
    dataset = ClipDataset([Numbered(stamps)], [0.1], 2, 1, (20, 30), tolerance=0.2)
    found = [numbers(dataset[i]) for i in range(len(dataset))]
    assert found == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [5, 6, 7], [6, 7, 8]]


def test_only_clips_whose_last_frame_has_the_label() -> None:
    recording = Numbered(range(0, 3000, 100), labelled=[1, 9, 19, 20])
    dataset = ClipDataset([recording], [0.3], 3, 1, (10, 15), labels=["segmentation"])
    assert [numbers(dataset[i])[-1] for i in range(len(dataset))] == [9, 19, 20]
    labels = dataset[1]["segmentation"]
    assert labels.shape == (4, 10, 15)
    assert labels.dtype == torch.uint8
    assert [set(label.unique().tolist()) for label in labels] == [{255}, {255}, {255}, {1}]


def test_backwards_clips_too_end_at_the_label() -> None:
    recording = Numbered(range(0, 3000, 100), labelled=[9, 29])
    augmentation = ClipAugmentation(time_flip=1.0)
    dataset = ClipDataset([recording], [0.3], 3, 1, (10, 15), augmentation, labels=["segmentation"])
    assert [numbers(dataset[i]) for i in range(len(dataset))] == [[18, 15, 12, 9]]


def test_a_short_recording_is_named_and_left_out() -> None:
    warnings: list[str] = []
    recordings = [Numbered(range(0, 1000, 100)), Numbered([0, 100], "short")]
    dataset = ClipDataset(recordings, [0.1], 4, 1, (20, 30), on_warning=warnings.append)
    assert {dataset[i]["source"].split()[0] for i in range(len(dataset))} == {"numbered"}
    assert len(warnings) == 1
    assert warnings[0].startswith("short left out: no clip of 5 frames, 0.1 s apart")
    with pytest.raises(InputError, match=r"no clip of 5 frames, 0\.1 s apart, in short"):
        ClipDataset(recordings[1:], [0.1], 4, 1, (20, 30))


def test_damaged_frames_are_named_and_replaced(caplog: pytest.LogCaptureFixture) -> None:
    recording = Numbered(range(0, 5000, 100), bad=[7, 30])
    dataset = ClipDataset([recording], [0.1], 2, 1, (20, 30), bad=BadFiles(50, limit=2))
    with caplog.at_level(logging.WARNING):
        for index in range(len(dataset)):
            assert not {7, 30} & set(numbers(dataset[index]))
    assert sorted(dataset.bad.reasons) == ["numbered.jpg: frame 30", "numbered.jpg: frame 7"]
    # Both for one reason.
    assert len(caplog.records) == 1
    assert "numbered.jpg: frame 7 cannot be read: cut off" in caplog.text


def test_too_many_damaged_frames_are_one_clear_error() -> None:
    recording = Numbered(range(0, 5000, 100), bad=range(10, 20))
    dataset = ClipDataset([recording], [0.1], 2, 1, (20, 30), bad=BadFiles(50, limit=3))
    with pytest.raises(InputError, match=r"more than 3 .*frame 1\d.*mend or remove"):
        [dataset[index] for index in range(len(dataset))]


def test_the_limit_grows_with_the_data() -> None:
    assert BadFiles(100).limit == 20
    assert BadFiles(50_000).limit == 500


@pytest.fixture(scope="module")
def world() -> list[Recording]:
    return open_recordings(["synthetic:?seeds=5-6&frames=9&size=40x60"])


def clips_of(world: list[Recording], seed: int = 3) -> ClipDataset:
    labels = ["segmentation", "depth", "normals"]
    return ClipDataset(world, [0.1, 0.2], 2, 1, (28, 42), EVERYTHING, seed, labels=labels)


@pytest.mark.slow
def test_items_depend_on_seed_epoch_and_index_alone(world: list[Recording]) -> None:
    dataset = clips_of(world)
    first = [dataset[i] for i in (0, 5, 2)]
    copy = pickle.loads(pickle.dumps(clips_of(world)))
    assert all(same(copy[i], item) for i, item in zip((0, 5, 2), first, strict=True))
    dataset.set_epoch(1)
    assert not any(same(dataset[i], item) for i, item in zip((0, 5, 2), first, strict=True))
    dataset.set_epoch(0)
    assert same(dataset[5], first[1])
    assert not same(clips_of(world, seed=4)[5], first[1])


@pytest.mark.process
@pytest.mark.parametrize("start", ["fork", forked.context], ids=["fork", "forkserver"])
def test_workers_change_nothing(world: list[Recording], start: Any) -> None:
    dataset = clips_of(world)
    alone = [dataset[i] for i in range(6)]
    loader = DataLoader(
        torch.utils.data.Subset(dataset, range(6)),
        batch_size=None,
        num_workers=2,
        multiprocessing_context=start,
    )
    assert all(same(a, b) for a, b in zip(loader, alone, strict=True))


@pytest.mark.slow
def test_single_images_with_each_label(world: list[Recording]) -> None:
    dataset = ImageDataset(world, ["segmentation", "normals"], (28, 42), EVERYTHING, seed=1)
    assert len(dataset) == 18
    item = dataset[11]
    assert item["image"].shape == (28, 42, 3)
    assert item["segmentation"].shape == (28, 42)
    assert item["normals"].shape == (28, 42, 3)
    assert item["source"] == "synthetic-6 frame 2"
    assert same(dataset[11], item)
    only = ImageDataset([Numbered(range(5), labelled=[1, 3])], "segmentation", (20, 30))
    assert [only[i]["image"][0, 0, 0].item() for i in range(len(only))] == [1, 3]
    with pytest.raises(InputError, match="no frame has depth in numbered"):
        ImageDataset([Numbered(range(5))], "depth", (20, 30))


def test_mixed_classes_are_refused(world: list[Recording]) -> None:
    other = Numbered(range(0, 1000, 100), labelled=range(10))
    with pytest.raises(InputError, match="synthetic-5 and numbered have different classes"):
        ImageDataset([*world, other], "segmentation", (20, 30))


def test_full_size_without_augmentation_leaves_pixels_alone(world: list[Recording]) -> None:
    dataset = ClipDataset(world, [0.1], 2, 1, (40, 60), labels=["depth"])
    frame = world[0].read([2], ["depth"])[0]
    assert np.array_equal(dataset[0]["frames"][-1].numpy(), frame.image)
    assert np.array_equal(dataset[0]["depth"][-1].numpy(), frame.depth, equal_nan=True)


def test_damaged_picture_files_in_a_folder(
    make_stills: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_stills()
    victims = sorted(folder.iterdir())[3:5]
    victims[0].write_bytes(victims[0].read_bytes()[:200])
    victims[1].unlink()
    victims[1].mkdir()
    dataset = ClipDataset(open_recordings([str(folder)]), [0.1], 2, 1, (20, 30))
    for index in range(len(dataset)):
        dataset[index]
    assert {Path(name.split(": frame ")[0]) for name in dataset.bad.reasons} == set(victims)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intervals_s": []}, "intervals"),
        ({"intervals_s": [-0.1]}, "intervals"),
        ({"context_frames": 0}, "context"),
        ({"size": (0, 5)}, "size"),
        ({"tolerance": 0.5}, "tolerance"),
        ({"labels": ["boxes"]}, "valid: segmentation"),
    ],
)
def test_senseless_arguments_are_refused(change: dict[str, Any], message: str) -> None:
    arguments = {"intervals_s": [0.1], "context_frames": 2, "target_frames": 1, "size": (20, 30)}
    with pytest.raises(UsageError, match=message):
        ClipDataset([Numbered(range(0, 1000, 100))], **{**arguments, **change})
