"""Points of a sensor_msgs/PointCloud2, without ROS."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError

CLOUD_TYPE = "sensor_msgs/msg/PointCloud2"
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
"""PointField datatype -> NumPy's."""


def cloud_points(message: Any) -> NDArray[np.float64]:
    """Read x, y, z (N, 3) of the points that have them, in metres in the cloud's frame.

    Fields may lie anywhere in a point and be of any type; rows may be padded. Points with NaN or
    infinity are left out.

    Raises:
        InputError: no x, y, z, or fewer bytes than the message says.
    """
    fields = {field.name: field for field in message.fields}
    missing = [name for name in "xyz" if name not in fields]
    if missing:
        raise InputError(
            f"the cloud has no field {missing[0]}; it has {', '.join(fields) or 'none'}"
        )
    order = ">" if message.is_bigendian else "<"
    step, width, height = int(message.point_step), int(message.width), int(message.height)
    row_step = int(message.row_step) if height > 1 else step * width
    data = np.frombuffer(bytes(message.data), np.uint8)
    ends = [int(fields[n].offset) + np.dtype(_type(fields[n])).itemsize for n in "xyz"]
    if width * height == 0:
        return np.empty((0, 3))
    if (
        max(ends) > step
        or row_step < step * width
        or len(data) < row_step * (height - 1) + (step * width)
    ):
        raise InputError(
            f"the cloud is damaged: {width}x{height} points of {step} bytes in {len(data)} bytes"
        )
    rows = np.lib.stride_tricks.as_strided(
        data, (height, width, step), (row_step, step, 1), writeable=False
    )
    points = np.empty((height * width, 3))
    for axis, name in enumerate("xyz"):
        kind = np.dtype(order + _type(fields[name]))
        start = int(fields[name].offset)
        values = np.ascontiguousarray(rows[:, :, start : start + kind.itemsize]).view(kind)
        points[:, axis] = values.reshape(-1)
    return points[np.isfinite(points).all(axis=1)]


def _type(field: Any) -> str:
    if int(field.datatype) not in _NUMBERS:
        raise InputError(f"the cloud's field {field.name} has the unknown type {field.datatype}")
    return _NUMBERS[int(field.datatype)]
