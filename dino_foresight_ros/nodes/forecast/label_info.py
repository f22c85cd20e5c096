"""The classes of a segmentation as vision_msgs/LabelInfo, where that is installed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from std_msgs.msg import Header


def label_info_class() -> type[Any] | None:
    """vision_msgs/LabelInfo; None where it is not installed, or too old to have it."""
    try:
        messages = importlib.import_module("vision_msgs.msg")
    except ImportError:
        return None
    kind: type[Any] | None = getattr(messages, "LabelInfo", None)
    return kind if hasattr(messages, "VisionClass") else None


def build_label_info(names: Sequence[str], header: Header) -> Any:
    """The LabelInfo of these classes; `label_info_class` must have found it.

    The id of pixels without a class, 255, is not listed: the message reserves it. The threshold
    is 0, since every pixel has its likeliest class, however sure that is.
    """
    messages = importlib.import_module("vision_msgs.msg")
    classes = [
        messages.VisionClass(class_id=index, class_name=name) for index, name in enumerate(names)
    ]
    return messages.LabelInfo(header=header, class_map=classes, threshold=0.0)
