from __future__ import annotations

import numpy as np
import pytest

from dino_foresight_ros.recordings import open_recordings
from dino_foresight_ros.recordings.camera import CameraModel
from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.synthetic import World, WorldConfig


@pytest.mark.slow
def test_synthetic_recordings_have_the_worlds_camera() -> None:
    (recording,) = open_recordings(["synthetic:?seeds=4&frames=2&size=45x80"])
    assert recording.camera is not None
    k = np.array(recording.camera.k).reshape(3, 3)
    np.testing.assert_allclose(k, World(WorldConfig(seed=4, width=80, height=45)).k)
    rays = CameraView.of(recording.camera).pixel_rays((45, 80))
    np.testing.assert_allclose(rays @ k.T, [[[x, y, 1] for x in range(80)] for y in range(45)],
                               atol=1e-4)  # fmt: skip


def test_a_bent_lens_is_kept() -> None:
    straight = CameraModel.from_fov(160, 90, 80.0)
    bent = CameraModel(160, 90, straight.k, (-0.1, 0.0, 0.0, 0.0, 0.0))
    near, far = (CameraView.of(one).pixel_rays((90, 160)) for one in (straight, bent))
    np.testing.assert_allclose(far[45, 80], near[45, 80], atol=1e-3)
    assert far[0, 0, 0] < near[0, 0, 0] - 0.01


@pytest.mark.slow
def test_a_driver_who_stands_sees_others_move() -> None:
    (recording,) = open_recordings(
        ["synthetic:?seeds=3&frames=2&interval=1.5&size=45x80&driver=stand"]
    )
    assert recording.name == "synthetic-3-stand"
    assert recording.ego is not None
    poses = recording.ego.world_from_ego
    np.testing.assert_array_equal(poses[0], poses[1])
    before, after = recording.read([0, 1], {"segmentation", "depth"})
    is_building = (before.segmentation == 3) & (after.segmentation == 3)
    assert is_building.any()
    np.testing.assert_allclose(before.depth[is_building], after.depth[is_building], rtol=1e-3)
    assert (before.image != after.image).any()  # there is traffic
