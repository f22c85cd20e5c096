"""The helper that makes data sets: cameras that look other ways see other parts of one world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nuscenes_set import CAMERAS, OPTICAL, YAWS, NuScenesSet, matrix


@pytest.mark.slow
def test_cameras_look_where_their_calibration_says(tmp_path: Path) -> None:
    made = NuScenesSet(tmp_path, length=2, size=(80, 48), surround=True)
    rotations = {row["token"]: row["rotation"] for row in made.tables["calibrated_sensor"]}
    for channel in CAMERAS:
        ahead = matrix((0, 0, 0), rotations[f"scene-0061-{channel}"])[:3, 2]
        yaw = np.radians(YAWS[channel])
        np.testing.assert_allclose(ahead, [np.cos(yaw), np.sin(yaw), 0.0], atol=1e-6)
    # The front camera is the world's own.
    np.testing.assert_allclose(np.abs(rotations["scene-0061-CAM_FRONT"]), np.abs(OPTICAL))
    front = made.frames["scene-0061"][1].image
    np.testing.assert_array_equal(made.picture_of("scene-0061", "CAM_FRONT", 1), front)
    pictures = [made.picture_of("scene-0061", channel, 1) for channel in CAMERAS]
    for place, picture in enumerate(pictures):
        for other in pictures[:place]:
            assert np.mean(np.abs(picture.astype(int) - other)) > 5
