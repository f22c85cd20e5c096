"""LabelInfo where vision_msgs is installed, and nothing broken where it is not."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from std_msgs.msg import Header

from dino_foresight_ros.nodes.forecast.label_info import build_label_info, label_info_class


@dataclass
class VisionClass:
    """The fields of vision_msgs/VisionClass."""

    class_id: int = 0
    class_name: str = ""


@dataclass
class LabelInfo:
    """The fields of vision_msgs/LabelInfo."""

    header: Header = field(default_factory=Header)
    class_map: list[VisionClass] = field(default_factory=list)
    threshold: float = 0.0


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    package, messages = ModuleType("vision_msgs"), ModuleType("vision_msgs.msg")
    messages.VisionClass, messages.LabelInfo = VisionClass, LabelInfo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vision_msgs", package)
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", messages)
    return messages


def test_every_class_has_its_id_and_name(installed: Any) -> None:
    header = Header(frame_id="cam")
    message = build_label_info(["road", "sky"], header)
    assert label_info_class() is LabelInfo
    assert message.header == header
    assert [(c.class_id, c.class_name) for c in message.class_map] == [(0, "road"), (1, "sky")]
    assert message.threshold == 0.0


def test_without_the_package_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vision_msgs", None)
    monkeypatch.setitem(sys.modules, "vision_msgs.msg", None)
    assert label_info_class() is None


def test_version_that_has_no_such_message_is_as_none(installed: Any) -> None:
    del installed.LabelInfo
    assert label_info_class() is None


def test_package_that_fails_to_load_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> ModuleType:
        raise ImportError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(
        "dino_foresight_ros.nodes.forecast.label_info.importlib.import_module", refuse
    )
    assert label_info_class() is None
