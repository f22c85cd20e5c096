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
from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import ForesightError, describe
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


def choose_converter(info: Callable[[str], object], warn: Callable[[str], object]) -> Converter:
    """Return the converter to use; says in one line when cv_bridge is there.

    Takes about a second where cv_bridge is installed, nothing elsewhere.

    Args:
        info: logs that cv_bridge is used.
        warn: logs that cv_bridge is installed but broken, and how.
    """
    if importlib.util.find_spec("cv_bridge") is None:
        return convert_with_rosbags
    try:
        right, wrong = _try_cv_bridge()
        if not right:
            raise ForesightError("converts no encoding rightly")
        converter = _cv_bridge_converter(right)
    except Exception as error:  # noqa: BLE001 - whatever it is, there is another converter
        warn(f"cv_bridge does not work here ({describe(error)}); {_INSTEAD}")
        return convert_with_rosbags
    if wrong:
        warn(f"cv_bridge gives wrong colours for {', '.join(wrong)}; such {_INSTEAD}")
    else:
        info("images are converted by cv_bridge")
    return converter


def _cv_bridge_converter(encodings: Collection[str]) -> Converter:
    """cv_bridge for these encodings and as long as it raises nothing, else rosbags-image."""
    from cv_bridge import CvBridge

    bridge = CvBridge()

    def convert(image: PackedImage) -> NDArray[np.uint8]:
        if image.encoding not in encodings:
            return convert_with_rosbags(image)
        try:
            return np.asarray(bridge.imgmsg_to_cv2(image, "rgb8"), np.uint8)
        except Exception:  # noqa: BLE001 - a foreign library; the other one says what is wrong
            return convert_with_rosbags(image)

    return convert


def _try_cv_bridge() -> tuple[list[str], list[str]]:
    """The encodings that cv_bridge converts as rosbags-image does, and those that it gets wrong.

    Raises:
        ForesightError: it cannot be imported, crashes or hangs.
    """
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TRIAL_TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise ForesightError(f"no answer in {TRIAL_TIMEOUT_S:g} s") from error
    if done.returncode < 0:
        raise ForesightError(f"ended by {signal.Signals(-done.returncode).name}")
    if done.returncode > 0:
        lines = done.stderr.strip().splitlines()
        raise ForesightError(lines[-1] if lines else f"exit code {done.returncode}")
    right, wrong = json.loads(done.stdout.splitlines()[-1])
    return right, wrong


def trial() -> tuple[list[str], list[str]]:
    """What `_try_cv_bridge` returns, found out in this process."""
    from cv_bridge import CvBridge

    right: list[str] = []
    wrong: list[str] = []
    for sample in filter(None, map(packed_sample, SUPPORTED_ENCODINGS)):
        try:
            converted = np.asarray(CvBridge().imgmsg_to_cv2(sample, "rgb8"), int)
        except Exception:  # noqa: BLE001 - an encoding that this version does not know
            continue
        expected = convert_with_rosbags(sample)
        is_right = (
            converted.shape == expected.shape
            and np.abs(converted - expected).max() <= MAX_DIFFERENCE
        )
        (right if is_right else wrong).append(sample.encoding)
    return right, wrong


if __name__ == "__main__":
    print(json.dumps(trial()))
