from __future__ import annotations

import numpy as np
import pytest

from dino_foresight_ros.detections import detections_of, located
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.camera_view import CameraView


def test_boxes_and_centroids_are_those_of_the_masks() -> None:
    """Against a plain loop over the objects of random maps."""
    rng = np.random.default_rng(4)
    ids = rng.choice([0, 0, 0, 3, 9, 65535], (17, 23)).astype(np.uint16)
    found = np.array([[9, 12, 0.5], [0, 0, 0], [65535, 10, 0.7], [4, 10, 0.9], [3, 10, 0.7]])
    objects = detections_of(ids, found)
    assert [one.id for one in objects] == [65535, 3, 9], "by score; 4 has no pixel"
    for one in objects:
        rows, columns = np.nonzero(ids == one.id)
        assert one.box == (
            columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
        )  # fmt: skip
        assert one.centroid == pytest.approx((columns.mean(), rows.mean()))
        assert np.isnan(one.position).all()
    assert detections_of(np.zeros((4, 4), np.uint16), found) == ()


def test_an_object_lies_at_the_median_depth_of_its_mask() -> None:
    ids = np.zeros((20, 30), np.uint16)
    ids[5:11, 12:20] = 7
    ids[0, 0] = 2
    depth = np.full((20, 30), 50.0, np.float32)
    depth[5:11, 12:20] = 10.0
    depth[5:11, 19] = 50.0  # the edge sees what is behind
    depth[0, 0] = np.nan
    k = np.array([[40.0, 0, 14.5], [0, 44.0, 9.5], [0, 0, 1]])
    found = np.array([[7, 12, 0.9], [2, 12, 0.8]])
    rays = CameraView.pinhole(k, ids.shape).pixel_rays(ids.shape)
    near, unknown = located(detections_of(ids, found), ids, depth, rays)
    # By the camera's own projection the place is seen at the centroid.
    seen = k @ np.array(near.position) / near.position[2]
    assert near.position[2] == 10.0
    assert seen[:2] == pytest.approx((15.5, 7.5))
    assert np.isnan(unknown.position).all()
    with pytest.raises(InputError, match="pixels and depth"):
        located((near,), ids, depth[:-1], rays)
