from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.render import video_writer
from dino_foresight_ros.render.video_writer import TimedVideo, h264_program

SIZE = (96, 160)


def picture(level: int) -> np.ndarray:
    return np.full((*SIZE, 3), level, np.uint8)


def levels_of(path: Path) -> list[float]:
    capture = cv2.VideoCapture(str(path))
    levels = []
    while True:
        ok, frame = capture.read()
        if not ok:
            return levels
        assert frame.shape[:2] == SIZE
        levels.append(float(frame.mean()))


@pytest.fixture(params=["mp4v", "h264"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "h264" and h264_program() is None:
        pytest.skip("no ffmpeg with libx264 on this machine")
    if request.param == "mp4v":
        monkeypatch.setattr(video_writer, "h264_program", lambda: None)
    return str(request.param)


def test_pictures_stand_as_long_as_their_stamps_say(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "v.mp4"
    timed = TimedVideo(path, 10.0, SIZE)
    for level, time_s in ((40, 0.0), (120, 0.3), (200, 0.5)):
        timed.show(picture(level), round(time_s * 1e9))
    timed.close()
    assert timed.codec == codec
    levels = levels_of(path)
    assert timed.frame_count == len(levels) == 6
    assert levels == pytest.approx([40, 40, 40, 120, 120, 200], abs=6)


def test_uneven_stamps_do_not_add_up_to_a_wrong_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_writer, "h264_program", lambda: None)
    timed = TimedVideo(tmp_path / "v.mp4", 10.0, SIZE)
    # Every 0.08 s at ten pictures a second: 100 pictures last 8 s; none may be left out, though.
    for index in range(0, 200, 2):
        timed.show(picture(index), round(index * 0.125 * 1e9))
    timed.close()
    assert timed.frame_count == pytest.approx(99 * 2.5, abs=2)


def test_a_long_gap_is_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_writer, "h264_program", lambda: None)
    timed = TimedVideo(tmp_path / "v.mp4", 10.0, SIZE)
    timed.show(picture(0), 0)
    timed.show(picture(100), 3600 * 10**9)
    # And a jump back shows the next picture at once.
    timed.show(picture(200), 10**9)
    timed.close()
    assert timed.frame_count == 20 + 1 + 1


def test_colors_keep_their_order(tmp_path: Path, codec: str) -> None:
    timed = TimedVideo(tmp_path / "v.mp4", 10.0, SIZE)
    red = picture(0)
    red[..., 0] = 220
    for index in range(3):
        timed.show(red, index * 10**8)
    timed.close()
    ok, frame = cv2.VideoCapture(str(tmp_path / "v.mp4")).read()
    assert ok
    blue, green, red_level = frame.reshape(-1, 3).mean(0)
    assert red_level > 180
    assert max(blue, green) < 40


@pytest.mark.process
def test_an_ffmpeg_that_fails_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\ncat > /dev/null\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(video_writer, "h264_program", lambda: str(fake))
    timed = TimedVideo(tmp_path / "v.mp4", 10.0, SIZE)
    timed.show(picture(0), 0)
    with pytest.raises(ForesightError, match="ffmpeg failed with exit code 1"):
        timed.close()


@pytest.mark.process
def test_an_ffmpeg_without_h264_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\necho ' V..... mpeg4 '\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert h264_program() is None
    fake.write_text("#!/bin/sh\necho ' V....D libx264 H.264 '\n")
    assert h264_program() == str(fake)
