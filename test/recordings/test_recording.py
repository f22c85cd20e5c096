"""What every kind of recording promises, checked for all of them."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.recordings import LABEL_KINDS, Recording, open_recordings

KINDS = (
    "video",
    "video-avi",
    "folder",
    "bag-mcap",
    "bag-sqlite3",
    "bag-compressed",
    "camvid",
    "camvid-world",
    "comma10k",
    "comma10k-world",
    "cityscapes",
    "cityscapes-train-ids",
    "nuscenes",
    "synthetic",
    "part",
    "shares",
)


@pytest.fixture(params=KINDS)
def spec(
    request: pytest.FixtureRequest,
) -> str:
    """Return a text that names tiny data of each kind."""
    make = request.getfixturevalue
    builders: dict[str, Callable[[], str]] = {
        "video": lambda: f"video:{make('make_drive')()}",
        "video-avi": lambda: str(make("make_drive")("drive.avi")),
        "folder": lambda: str(make("make_stills")()),
        "bag-mcap": lambda: str(make("make_bag")()),
        "bag-sqlite3": lambda: f"bag:{make('make_bag')(storage='sqlite3')}",
        "bag-compressed": lambda: str(make("make_bag")(compressed=True)),
        "camvid": lambda: str(make("make_camvid")()),
        "camvid-world": lambda: f"camvid:{make('make_camvid')()}?classes=world",
        "comma10k": lambda: str(make("make_comma10k")()),
        "comma10k-world": lambda: f"comma10k:{make('make_comma10k')()}?classes=world",
        "cityscapes": lambda: str(make("make_cityscapes")()),
        "cityscapes-train-ids": lambda: str(make("make_cityscapes")(train_ids=True)),
        "nuscenes": lambda: f"nuscenes:{make('make_nuscenes')()}?cameras=CAM_FRONT,CAM_BACK",
        "synthetic": lambda: "synthetic:?seeds=5&frames=8&size=48x80",
        "part": lambda: f"{make('make_drive')()}?start=0.5&end=2",
        "shares": lambda: "synthetic:?seeds=5,6&frames=10&size=48x80&part=0.2-0.8",
    }
    return builders[request.param]()


@pytest.fixture
def recordings(spec: str) -> list[Recording]:
    return open_recordings([spec])


def read_all(recording: Recording) -> list[Any]:
    return recording.read(range(len(recording)), LABEL_KINDS)


def same(a: Any, b: Any) -> bool:
    labels = [(getattr(a, kind), getattr(b, kind)) for kind in LABEL_KINDS]
    return (
        a.stamp_ns == b.stamp_ns
        and np.array_equal(a.image, b.image)
        and all(
            (x is None and y is None) or np.array_equal(x, y, equal_nan=x.dtype != np.uint8)
            for x, y in labels
        )
    )


def test_stamps_rise_and_are_those_of_the_frames(recordings: list[Recording]) -> None:
    assert recordings
    for recording in recordings:
        assert recording.stamps_ns.dtype == np.int64
        assert (np.diff(recording.stamps_ns) > 0).all()
        assert [frame.stamp_ns for frame in read_all(recording)] == list(recording.stamps_ns)


def test_names_are_unique_and_fit_for_files(recordings: list[Recording]) -> None:
    names = [recording.name for recording in recordings]
    assert len(set(names)) == len(names)
    assert all("/" not in name for name in names)


def test_reading_at_any_place_gives_what_reading_in_order_gives(spec: str) -> None:
    for recording, again in zip(open_recordings([spec]), open_recordings([spec]), strict=True):
        in_order = read_all(recording)
        order = np.random.default_rng(0).permutation(len(again))[:15]
        for index in order:
            assert same(again.read([index], LABEL_KINDS)[0], in_order[index])
        several = [int(order[0]), 0, int(order[0]), int(order[-1])]
        for index, frame in zip(several, again.read(several, LABEL_KINDS), strict=True):
            assert same(frame, in_order[index])


def test_frames_differ_from_one_another(recordings: list[Recording]) -> None:
    frames = read_all(recordings[0])
    assert not any(np.array_equal(frames[0].image, frame.image) for frame in frames[1:8])


def test_shapes_and_dtypes(recordings: list[Recording]) -> None:
    for recording in recordings:
        for index, frame in enumerate(read_all(recording)):
            height, width = recording.size
            assert frame.image.shape == (height, width, 3)
            assert frame.image.dtype == np.uint8
            labels = frame.labels
            for kind, dtype, shape in (
                ("segmentation", np.uint8, (height, width)),
                ("depth", np.float32, (height, width)),
                ("normals", np.float32, (height, width, 3)),
            ):
                label = getattr(labels, kind)
                assert (label is not None) == (index in recording.labelled(kind)), kind
                assert label is None or (label.dtype == dtype and label.shape == shape)
            if labels.segmentation is not None:
                assert recording.label_space is not None
                ids = labels.segmentation[labels.segmentation != 255]
                assert ids.size
                assert ids.max() < len(recording.label_space.class_names)
            if labels.depth is not None:
                known = labels.depth[np.isfinite(labels.depth)]
                assert known.size
                assert (known > 0).all()


def test_labels_are_read_only_when_asked_for(recordings: list[Recording]) -> None:
    labels = recordings[0].read([0])[0].labels
    assert (labels.segmentation, labels.depth, labels.normals) == (None, None, None)


def test_pickling_keeps_everything(recordings: list[Recording]) -> None:
    for recording in recordings[:2]:
        before = recording.read([min(2, len(recording) - 1), 0], LABEL_KINDS)
        copy = pickle.loads(pickle.dumps(recording))
        assert (copy.name, copy.size, copy.fingerprint) == (
            recording.name,
            recording.size,
            recording.fingerprint,
        )
        assert np.array_equal(copy.stamps_ns, recording.stamps_ns)
        assert all(map(same, copy.read([min(2, len(recording) - 1), 0], LABEL_KINDS), before))


@pytest.mark.process
def test_a_forked_process_reads_on_its_own(recordings: list[Recording]) -> None:
    """The parent reads while the child does: neither may move the other's place in the file."""
    recording = recordings[0]
    expected = [frame.image.sum() for frame in read_all(recording)]
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def child() -> None:
        theirs.send([int(recording.read([i])[0].image.sum()) for i in range(len(recording))])
        theirs.close()
        os._exit(0)

    process = context.Process(target=child)
    process.start()
    try:
        mine = [recording.read([i])[0].image.sum() for i in reversed(range(len(recording)))]
        assert ours.poll(60), "the forked process hangs"
        assert ours.recv() == expected
        assert mine == expected[::-1]
    finally:
        process.kill()
        process.join()


def test_fingerprints_stay_until_a_file_changes(spec: str, tmp_path: Path) -> None:
    first = [recording.fingerprint for recording in open_recordings([spec])]
    assert [recording.fingerprint for recording in open_recordings([spec])] == first
    assert len(set(first)) == len(first)
    files = [
        path
        for path in tmp_path.rglob("*")
        if path.suffix in (".mp4", ".avi", ".png", ".jpg", ".mcap", ".db3")
    ]
    for path in files:
        os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000))
    after = [recording.fingerprint for recording in open_recordings([spec])]
    if files:
        assert not set(first) & set(after)


def test_unknown_labels_and_frames_are_refused(recordings: list[Recording]) -> None:
    recording = recordings[0]
    with pytest.raises(UsageError, match="valid: segmentation, depth, normals"):
        recording.read([0], ["objects"])
    for index in (-1, len(recording)):
        with pytest.raises(IndexError):
            recording.read([index])


def test_a_part_has_the_camera_of_the_whole() -> None:
    whole, part = (
        open_recordings([f"synthetic:?seeds=5&frames=4&size=48x80{more}"])[0]
        for more in ("", "&part=0.5-1")
    )
    assert len(part) < len(whole)
    assert whole.camera is not None
    assert part.camera == whole.camera
    assert whole.base_from_optical is not None
    assert part.base_from_optical is not None
    np.testing.assert_array_equal(part.base_from_optical, whole.base_from_optical)
