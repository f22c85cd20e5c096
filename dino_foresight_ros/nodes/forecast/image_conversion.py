"""Which library converts the colours of raw images: cv_bridge where it works, else rosbags-image.

The binary cv_bridge of Humble and Jazzy is built against NumPy 1; beside NumPy 2 its import fails
or ends the whole process. So it is first tried in a process of its own, on every encoding.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.recordings.image_decoding import (
    SUPPORTED_ENCODINGS,
    Converter,
    PackedImage,
    convert_with_rosbags,
    packed_sample,
)

TRIAL_TIMEOUT_S = 20.0
# Versions of OpenCV round YUV differently.
MAX_DIFFERENCE = 3
_INSTEAD = "images are converted by rosbags-image instead"


class _CvBridgeConverter:
    """Converts the encodings that cv_bridge was found to convert rightly."""

    def __init__(self, encodings: frozenset[str]) -> None:
        from cv_bridge import CvBridge

        self._bridge = CvBridge()
        self._encodings = encodings

    def __call__(self, image: PackedImage) -> NDArray[np.uint8]:
        if image.encoding not in self._encodings:
            return convert_with_rosbags(image)
        try:
            return np.asarray(self._bridge.imgmsg_to_cv2(image, "rgb8"), np.uint8)
        except Exception:  # noqa: BLE001 - a foreign library; the other one says what is wrong
            return convert_with_rosbags(image)


def choose_converter(info: Callable[[str], object], warn: Callable[[str], object]) -> Converter:
    """Return the converter to use; says in one line when cv_bridge is there.

    Takes about a second where cv_bridge is installed, nothing elsewhere.

    Args:
        info: logs that cv_bridge is used.
        warn: logs that cv_bridge is installed but broken, and how.
    """
    try:
        installed = importlib.util.find_spec("cv_bridge") is not None
    except (ImportError, ValueError):
        installed = False
    if not installed:
        return convert_with_rosbags
    try:
        differences = _try_cv_bridge()
        right = frozenset(
            n for n, d in differences.items() if d is not None and d <= MAX_DIFFERENCE
        )
        wrong = sorted(n for n, d in differences.items() if d is not None and d > MAX_DIFFERENCE)
        if not right:
            raise RuntimeError("converts no encoding rightly")
        converter = _CvBridgeConverter(right)
    except Exception as error:  # noqa: BLE001 - whatever it is, there is another converter
        text = " ".join(str(error).split())
        warn(f"cv_bridge does not work here ({text}); {_INSTEAD}")
        return convert_with_rosbags
    if wrong:
        warn(f"cv_bridge gives wrong colours for {', '.join(wrong)}; such {_INSTEAD}")
    else:
        info("images are converted by cv_bridge")
    return converter


def _try_cv_bridge() -> dict[str, int | None]:
    """Encoding -> largest difference from rosbags-image, None where cv_bridge does not know it.

    Raises:
        RuntimeError: it cannot be imported, crashes or hangs.
    """
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRIAL_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"no answer in {TRIAL_TIMEOUT_S:g} s") from error
    if done.returncode < 0:
        raise RuntimeError(f"ended by {signal.Signals(-done.returncode).name}")
    if done.returncode > 0:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"exit code {done.returncode}")
    answer: dict[str, int | None] = json.loads(done.stdout.splitlines()[-1])
    return answer


def trial() -> dict[str, int | None]:
    """What `_try_cv_bridge` returns, found out in this process."""
    from cv_bridge import CvBridge

    bridge = CvBridge()
    found: dict[str, int | None] = {}
    for encoding in SUPPORTED_ENCODINGS:
        sample = packed_sample(encoding)
        if sample is None:
            continue
        try:
            converted = np.asarray(bridge.imgmsg_to_cv2(sample, "rgb8"))
        except Exception:  # noqa: BLE001 - an encoding that this version does not know
            found[encoding] = None
            continue
        expected = convert_with_rosbags(sample)
        same_shape = converted.shape == expected.shape
        found[encoding] = int(np.abs(converted.astype(int) - expected).max()) if same_shape else 255
    return found


if __name__ == "__main__":
    print(json.dumps(trial()))
