"""cv_bridge is used where it works; a broken one costs one line and nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dino_foresight_ros.nodes.forecast import image_conversion
from dino_foresight_ros.nodes.forecast.image_conversion import choose_converter
from dino_foresight_ros.recordings.image_decoding import (
    SUPPORTED_ENCODINGS,
    convert_with_rosbags,
    decode_raw,
    packed_sample,
)

pytestmark = pytest.mark.process

# Has the interface of the real one, and what it gets wrong is put in by `fault`.
CV_BRIDGE = """
import os, sys, time
import numpy as np
from rosbags.image import message_to_cvimage

{fault_at_import}

class CvBridgeError(TypeError):
    pass

class CvBridge:
    def imgmsg_to_cv2(self, message, desired_encoding="passthrough"):
        print("asked for", message.encoding)
        if message.encoding.startswith("nv"):
            raise CvBridgeError("Unrecognized image encoding " + message.encoding)
        image = message_to_cvimage(message, desired_encoding)
        {fault_in_use}
        return image
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that puts a cv_bridge with a fault where Python finds it."""

    def install(fault_at_import: str = "", fault_in_use: str = "") -> None:
        text = CV_BRIDGE.format(fault_at_import=fault_at_import, fault_in_use=fault_in_use)
        (tmp_path / "cv_bridge.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        monkeypatch.setenv("PYTHONPATH", path)
        monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)

    yield install
    sys.modules.pop("cv_bridge", None)


class Log:
    """Lines that were logged."""

    def __init__(self) -> None:
        self.infos: list[str] = []
        self.warnings: list[str] = []

    def choose(self) -> Any:
        return choose_converter(self.infos.append, self.warnings.append)


@pytest.fixture
def log() -> Log:
    return Log()


def test_nothing_is_said_where_cv_bridge_is_absent(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_conversion.importlib.util, "find_spec", lambda name: None)
    assert log.choose() is convert_with_rosbags
    assert (log.infos, log.warnings) == ([], [])


def test_healthy_cv_bridge_converts_what_it_knows(install: Any, log: Log, capsys: Any) -> None:
    install()
    convert = log.choose()
    assert (log.infos, log.warnings) == (["images are converted by cv_bridge"], [])
    for encoding in ("bgr8", "yuyv", "bayer_rggb8", "nv12"):
        sample = packed_sample(encoding)
        assert sample is not None
        assert np.array_equal(convert(sample), convert_with_rosbags(sample))
    printed = capsys.readouterr().out
    assert "asked for bgr8" in printed
    assert "nv12" not in printed  # it said so in its trial


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("raise ImportError('numpy.core.multiarray failed to import')", "ImportError: numpy.core"),
        ("os.abort()", "ended by SIGABRT"),
        ("os.kill(os.getpid(), 11)", "ended by SIGSEGV"),
        ("sys.exit('no display')", "no display"),
        ("time.sleep(60)", "no answer in 2 s"),
    ],
)
def test_cv_bridge_that_cannot_be_imported_costs_one_line(
    install: Any, log: Log, monkeypatch: pytest.MonkeyPatch, fault: str, reason: str
) -> None:
    monkeypatch.setattr(image_conversion, "TRIAL_TIMEOUT_S", 2.0 if "sleep" in fault else 60.0)
    install(fault_at_import=fault)
    assert log.choose() is convert_with_rosbags
    assert log.infos == []
    assert len(log.warnings) == 1
    assert "\n" not in log.warnings[0]
    assert log.warnings[0].startswith("cv_bridge does not work here (")
    assert reason in log.warnings[0]
    assert log.warnings[0].endswith("images are converted by rosbags-image instead")


def test_wrong_colours_of_cv_bridge_are_found_out(install: Any, log: Log, capsys: Any) -> None:
    install(fault_in_use="image = image[..., ::-1] if message.encoding == 'bgr8' else image")
    convert = log.choose()
    assert log.warnings == [
        "cv_bridge gives wrong colours for bgr8; such images are converted by rosbags-image instead"
    ]
    sample = packed_sample("bgr8")
    assert sample is not None
    assert np.array_equal(convert(sample), convert_with_rosbags(sample))
    assert "asked for" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "fault", ["image = 255 - image", "image = image[:5]", "raise RuntimeError('no')"]
)
def test_cv_bridge_that_gets_nothing_right_is_not_used(install: Any, log: Log, fault: str) -> None:
    install(fault_in_use=fault)
    assert log.choose() is convert_with_rosbags
    assert "converts no encoding rightly" in log.warnings[0]


def test_error_of_cv_bridge_on_a_later_image_is_not_the_end(install: Any, log: Log) -> None:
    install(fault_in_use="if image.shape[0] == 6: raise CvBridgeError('not today')")
    convert = log.choose()
    assert log.infos
    noise = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    decoded = decode_raw(
        noise.tobytes(), height=6, width=8, step=24, encoding="bgr8", convert=convert
    )
    assert np.array_equal(decoded, noise[..., ::-1])


def test_a_sample_of_every_8_bit_encoding_is_tried() -> None:
    tried = {name for name in SUPPORTED_ENCODINGS if packed_sample(name) is not None}
    assert tried == {name for name in SUPPORTED_ENCODINGS if not name.endswith("16")}
