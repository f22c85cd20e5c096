"""Videos that OpenCV alone does not read: AV1, sound, times in file names; folders of Netpbm."""

from __future__ import annotations

import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import open_recording, open_recordings

FILES = Path(__file__).with_name("files")
AV1 = FILES / "av1.mp4"
"""30 frames of 64x48 at 25 Hz; red and green say the index, see `numbered_frame`."""


def index_of(image: np.ndarray) -> int:
    red, green, _ = image.reshape(-1, 3).mean(axis=0)
    return round((red - 20) / 24) + 10 * round((green - 20) / 60)


def opencv_decodes_av1() -> bool:
    return bool(cv2.VideoCapture(str(AV1), cv2.CAP_FFMPEG).read()[0])


def test_av1_is_read_in_order_and_at_random() -> None:
    if not opencv_decodes_av1():
        pytest.importorskip("av", reason="needs PyAV (the extra video)")
    with open_recording(AV1) as played:
        frames = list(played.frames())
        assert played.warnings == []
        assert (played.size, played.frame_rate_hz, played.frame_count) == ((48, 64), 25.0, 30)
    assert [index_of(frame.image) for frame in frames] == list(range(30))
    assert [frame.stamp_ns for frame in frames] == [index * 40_000_000 for index in range(30)]
    (recording,) = open_recordings([str(AV1)])
    assert len(recording) == 30
    for reader in (recording, pickle.loads(pickle.dumps(recording))):
        for index in (29, 0, 13, 14, 5):
            assert index_of(reader.read([index])[0].image) == index


def test_a_window_of_av1() -> None:
    if not opencv_decodes_av1():
        pytest.importorskip("av", reason="needs PyAV (the extra video)")
    with open_recording(AV1, start_s=0.4, end_s=0.6) as played:
        assert [index_of(frame.image) for frame in played.frames()] == [10, 11, 12, 13, 14]


@pytest.mark.parametrize("command", ["play", "train"])
def test_without_pyav_the_codec_is_named(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    if opencv_decodes_av1():
        pytest.skip("this OpenCV decodes AV1")
    monkeypatch.setitem(sys.modules, "av", None)
    why = "no frame of its AV1 video can be decoded; install PyAV, .* .pip install av., or convert"
    with pytest.raises(InputError, match=why):
        open_recording(AV1) if command == "play" else open_recordings([str(AV1)])


def test_sound_is_called_sound(tmp_path: Path) -> None:
    wave = tmp_path / "a.wav"
    wave.write_bytes(b"RIFF" + bytes(4) + b"WAVEfmt " + bytes(100))
    for path in (FILES / "sound.mp4", wave):
        with pytest.raises(InputError, match="holds only sound, no video"):
            open_recording(path)


def test_a_colon_in_a_relative_name_is_no_protocol(
    make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video("plain.mp4", count=5)
    name = "2024-05-01_12:30:05.mp4"
    shutil.move(path, path.with_name(name))
    monkeypatch.chdir(path.parent)
    with open_recording(name) as played:
        assert len(list(played.frames())) == 5
    (recording,) = open_recordings([name])
    assert recording.read([4])[0].image.shape == (48, 64, 3)


@pytest.mark.parametrize("suffix", [".pgm", ".pbm", ".ppm", ".pnm", ".pam"])
def test_folders_of_netpbm(tmp_path: Path, suffix: str) -> None:
    grey = np.random.default_rng(0).integers(0, 2, (24, 32), np.uint8) * 255
    for index in range(3):
        colour = suffix in (".ppm", ".pnm", ".pam")
        pixels = np.dstack([grey] * 3) if colour else grey
        assert cv2.imwrite(str(tmp_path / f"{index}{suffix}"), np.roll(pixels, index, 1))
    with open_recording(tmp_path, frame_rate_hz=10.0) as played:
        frames = list(played.frames())
    assert len(frames) == 3
    for frame in frames:
        assert np.array_equal(frame.image, np.dstack([np.roll(grey, frame.index, 1)] * 3))


def test_12_bit_pgm(tmp_path: Path) -> None:
    """As its header says: values to 4095, two bytes each, upper first."""
    values = (np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 5) % 4096
    for index in range(2):
        data = b"P5\n32 24\n4095\n" + values.astype(">u2").tobytes()
        (tmp_path / f"{index}.pgm").write_bytes(data)
    with open_recording(tmp_path, frame_rate_hz=10.0) as played:
        image = next(played.frames()).image
    assert np.array_equal(image[..., 1], values >> 4)
