"""Images and features of messages, good and broken, as arrays."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import FeatureMap
from dino_foresight_ros.outputs import BY_NAME
from dino_foresight_ros.ros.images import image_to_msg
from dino_foresight_ros.ros.messages import read_features, read_image

VALUES = np.array([[[1.5, -2.0], [0.0, 4.0], [3.25, 8.0]]], np.float32)


def feature_map(dtype: str, data: bytes, **fields: Any) -> FeatureMap:
    shape = {"grid_height": 1, "grid_width": 3, "channels": 2} | fields
    return FeatureMap(dtype=dtype, data=array("B", data), **shape)


@pytest.mark.parametrize("is_bigendian", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_features_are_read_in_every_number_format(dtype: str, is_bigendian: bool) -> None:
    if dtype == "bfloat16":  # these values need only the upper half of a float32
        stored: Any = (VALUES.view(np.uint32) >> 16).astype(np.uint16)
    else:
        stored = VALUES.astype(dtype)
    data = stored.astype(stored.dtype.newbyteorder(">" if is_bigendian else "<")).tobytes()
    found = read_features(feature_map(dtype, data, is_bigendian=is_bigendian))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, VALUES)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (feature_map("int8", b""), "type 'int8'; valid: float32, float16, bfloat16"),
        (feature_map("float32", VALUES.tobytes()[:-1]), "2 channels and float32 do not fit 23 byt"),
        (feature_map("float32", b"", channels=0), "0 channels"),
        (feature_map("float32", b"", grid_height=2**32 - 1, grid_width=2**32 - 1), "do not fit"),
    ],
)
def test_features_that_make_no_sense_are_refused_by_name(message: FeatureMap, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_features(message)


def test_maps_are_read_and_absent_ones_are_none() -> None:
    depth = np.arange(6, dtype=np.float32).reshape(2, 3)
    message = image_to_msg(depth, "32FC1", Header())
    np.testing.assert_array_equal(read_image(message, BY_NAME["depth"]), depth)
    assert read_image(Image(), BY_NAME["segmentation"]) is None


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"encoding": "rgb8"}, "depth is of encoding 'rgb8', expected 32FC1"),
        ({"step": 11}, "3x2 with rows of 11 bytes does not fit 24 bytes"),
        ({"step": 4, "height": 6}, "3x6 with rows of 4 bytes does not fit 24 bytes"),
        ({"height": 2**32 - 1}, "does not fit 24 bytes"),
        ({"data": array("B", b"")}, "does not fit 0 bytes"),
    ],
)
def test_broken_maps_are_refused_by_name(fields: dict[str, Any], reason: str) -> None:
    message = image_to_msg(np.zeros((2, 3), np.float32), "32FC1", Header())
    for name, value in fields.items():
        setattr(message, name, value)
    with pytest.raises(InputError, match=reason):
        read_image(message, BY_NAME["depth"])
