from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.point_cloud import cloud_points

POINTS = np.array([[1.5, -2.0, 3.0], [4.0, 5.0, -6.5], [7.0, 8.0, 9.0], [0.5, 0.25, 0.125]])


def cloud(kind: str = "<f4", datatype: int = 7, height: int = 1, pad: int = 0) -> Any:
    """Points with 3 bytes of something before x and after z, rows padded."""
    item = np.dtype(kind).itemsize
    step = 6 + 3 * item
    data = np.full((height, len(POINTS) // height * step + pad), 0xEE, np.uint8)
    for i, point in enumerate(POINTS):
        row, column = divmod(i, len(POINTS) // height)
        start = column * step + 3
        values = np.frombuffer(point[[2, 1, 0]].astype(kind).tobytes(), np.uint8)  # z, y, x
        data[row, start : start + 3 * item] = values
    fields = [
        SimpleNamespace(name=name, offset=3 + i * item, datatype=datatype, count=1)
        for i, name in enumerate("zyx")
    ]
    return SimpleNamespace(
        height=height, width=len(POINTS) // height, fields=fields,
        is_bigendian=kind[0] == ">", point_step=step, row_step=data.shape[1],
        data=data.reshape(-1),
    )  # fmt: skip


@pytest.mark.parametrize(
    "made",
    [
        cloud(),
        cloud(">f4"),
        cloud("<f8", 8),
        cloud(height=2, pad=5),
    ],
    ids=["f4", "big endian", "f8", "organised, padded rows"],
)
def test_points_are_found_wherever_the_fields_lie(made: Any) -> None:
    np.testing.assert_array_equal(cloud_points(made), POINTS)


def test_points_without_a_place_are_left_out() -> None:
    made = cloud()
    made.data[3:7] = np.frombuffer(np.float32(np.nan).tobytes(), np.uint8)
    np.testing.assert_array_equal(cloud_points(made), POINTS[1:])
    made.width, made.data = 0, made.data[:0]
    assert cloud_points(made).shape == (0, 3)


def test_clouds_that_are_no_clouds_are_refused() -> None:
    made = cloud()
    made.data = made.data[:-20]
    with pytest.raises(InputError, match="the cloud is damaged: 4x1 points of 18 bytes in 52"):
        cloud_points(made)
    made = cloud()
    made.fields[2].name = "range"
    with pytest.raises(InputError, match="no field x; it has z, y, range"):
        cloud_points(made)
    made = cloud()
    made.fields[0].datatype = 99
    with pytest.raises(InputError, match="unknown type 99"):
        cloud_points(made)
