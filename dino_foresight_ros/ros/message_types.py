"""Message types by name: their classes, and their definitions for files."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rosbags.typesys import get_types_from_msg

from dino_foresight_ros.recordings.bag_messages import typestore


def message_class(msgtype: str) -> Any | None:
    """Import the class of a type such as sensor_msgs/msg/Image; None when it is not installed."""
    package, _, rest = msgtype.partition("/")
    module, _, name = rest.rpartition("/")
    try:
        return getattr(importlib.import_module(f"{package}.{module or 'msg'}"), name, None)
    except ImportError:
        return None


def define(msgtype: str) -> bool:
    """Make a type known to the `typestore`, from its package's .msg files; whether it is."""
    store = typestore()
    if msgtype in store.fielddefs:
        return True
    package = msgtype.partition("/")[0]
    try:
        folder = Path(get_package_share_directory(package), "msg")
    except PackageNotFoundError:
        return False
    for path in sorted(folder.glob("*.msg")):
        name = f"{package}/msg/{path.stem}"
        if name not in store.fielddefs:
            store.register(get_types_from_msg(path.read_text(encoding="utf-8"), name))
    return msgtype in store.fielddefs
