"""Small recordings whose frames can be told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_data_sets import *  # noqa: F403 (fixtures)

SIZE = (48, 64)


def numbered_frame(index: int) -> np.ndarray:
    """(48, 64, 3) RGB; red and green say the index, blue stays dark so that a swap shows."""
    frame = np.zeros((*SIZE, 3), np.uint8)
    frame[..., 0] = 20 + 24 * (index % 10)
    frame[..., 1] = 20 + 60 * (index // 10)
    return frame


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes numbered frames into a video file."""

    def make(name: str = "clip.mp4", count: int = 30, rate_hz: float = 25.0) -> Path:
        path = tmp_path / name
        code = cv2.VideoWriter.fourcc(*("MJPG" if name.endswith(".avi") else "mp4v"))
        writer = cv2.VideoWriter(str(path), code, rate_hz, SIZE[::-1])
        assert writer.isOpened()
        for index in range(count):
            writer.write(cv2.cvtColor(numbered_frame(index), cv2.COLOR_RGB2BGR))
        writer.release()
        return path

    return make


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes numbered frames as pictures of the given names."""

    def make(names: list[str], folder: str = "pictures") -> Path:
        path = tmp_path / folder
        path.mkdir()
        for index, name in enumerate(names):
            cv2.imwrite(str(path / name), cv2.cvtColor(numbered_frame(index), cv2.COLOR_RGB2BGR))
        return path

    return make
