"""Videos: reading at any place, and files that are damaged."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dino_foresight_ros.recordings import UnreadableFrame, open_recording, open_recordings
from dino_foresight_ros.recordings import video as video_module


@pytest.mark.slow
@pytest.mark.parametrize("name", ["highway.mp4", "street_camera.mp4", "highway_traffic.mp4"])
def test_real_videos_seek_to_the_very_frame(name: str, shared_dir: Path) -> None:
    path = shared_dir / "data" / name
    (recording,) = open_recordings([str(path)])
    count = len(recording)
    wanted = sorted(np.random.default_rng(1).permutation(count)[:2].tolist()) + [count - 1]
    reference = {}
    stamps = []
    for frame in open_recording(path).frames():
        stamps.append(frame.stamp_ns)
        if frame.index in wanted:
            reference[frame.index] = frame.image
    assert recording.stamps_ns.tolist() == stamps
    for index in wanted[::-1]:
        again = open_recordings([str(path)])[0]  # no frames in memory yet
        assert np.array_equal(again.read([index])[0].image, reference[index])


class Wrapped:
    """OpenCV's captures do not survive being derived from."""

    make = cv2.VideoCapture
    grabs = 0
    off = 0

    def __init__(self, *arguments: Any) -> None:
        self._capture = Wrapped.make(*arguments)

    def grab(self) -> bool:
        Wrapped.grabs += 1
        return self._capture.grab()

    def set(self, key: int, value: float) -> bool:
        return self._capture.set(key, value + Wrapped.off)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._capture, name)


@pytest.fixture
def wrapped(monkeypatch: pytest.MonkeyPatch) -> type[Wrapped]:
    monkeypatch.setattr(video_module.cv2, "VideoCapture", Wrapped)
    monkeypatch.setattr(Wrapped, "grabs", 0)
    monkeypatch.setattr(Wrapped, "off", 0)
    return Wrapped


def test_jumping_does_not_decode_from_the_beginning(
    make_drive: Callable[..., Path], wrapped: type[Wrapped]
) -> None:
    (recording,) = open_recordings([str(make_drive(count=400))])
    recording.read([0])
    wrapped.grabs = 0
    recording.read([390])
    assert wrapped.grabs < 20
    wrapped.grabs = 0
    recording.read([391, 393, 392])
    assert wrapped.grabs == 3


@pytest.mark.parametrize("off", [-60, -7, 5, 20, 100, 1000])
def test_a_seek_that_lands_elsewhere_is_noticed(
    off: int, make_drive: Callable[..., Path], wrapped: type[Wrapped]
) -> None:
    """As it does in videos whose frame rate varies."""
    path = make_drive(count=200)
    in_order = [frame.image for frame in open_recording(path).frames()]
    (recording,) = open_recordings([str(path)])
    wrapped.off = off
    for index in (150, 20, 199, 90, 0):
        assert np.array_equal(recording.read([index])[0].image, in_order[index])


def test_memory_is_bounded(
    make_drive: Callable[..., Path], wrapped: type[Wrapped], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_module, "CACHE_BYTES", 5 * 48 * 80 * 3)
    (recording,) = open_recordings([str(make_drive())])
    for index in range(30):
        recording.read([index])
    wrapped.grabs = 0
    recording.read([25, 26, 27, 28, 29])
    assert wrapped.grabs == 0
    recording.read([24])
    assert wrapped.grabs > 0


@pytest.mark.parametrize("name", ["cut.avi", "cut.mkv"])
def test_of_a_cut_off_video_what_can_be_decoded(name: str, make_drive: Callable[..., Path]) -> None:
    path = make_drive(name)
    os.truncate(path, path.stat().st_size * 6 // 10)
    warnings: list[str] = []
    (recording,) = open_recordings([str(path)], warnings.append)
    assert 20 < len(recording) < 55
    assert any(f"{name} is truncated" in text for text in warnings)
    assert len(recording.read(range(len(recording)))) == len(recording)


def test_a_video_that_shrinks_later_names_the_frame(make_drive: Callable[..., Path]) -> None:
    path = make_drive("drive.avi")
    (recording,) = open_recordings([str(path)])
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UnreadableFrame, match=r"drive.avi: frame 55 cannot be read"):
        recording.read([55])
    assert recording.read([3])[0].image.shape == (48, 80, 3)


def test_sources_and_recordings_agree_on_the_stamps(make_drive: Callable[..., Path]) -> None:
    for rate_hz in (12.5, 30.0, 1000 / 33):
        path = make_drive(f"rate{rate_hz:.0f}.mp4", 30, rate_hz)
        (recording,) = open_recordings([str(path)])
        assert recording.stamps_ns.tolist() == [
            frame.stamp_ns for frame in open_recording(path).frames()
        ]
