from __future__ import annotations

import cv2
import numpy as np

from dino_foresight_ros.render.colors import (
    BRIGHTEST_SURPRISE,
    PATCH_PIXELS,
    colorize_surprise,
)


def test_brighter_is_more_surprising_up_to_the_end_of_the_scale() -> None:
    values = np.array([[0.0, 0.2, 1.0, BRIGHTEST_SURPRISE, 100.0, np.inf]], np.float32)
    picture = colorize_surprise(values)
    assert picture.shape == (PATCH_PIXELS, 6 * PATCH_PIXELS, 3)
    assert picture.dtype == np.uint8
    patches = [picture[:, PATCH_PIXELS * i : PATCH_PIXELS * (i + 1)] for i in range(6)]
    assert all(len(np.unique(p.reshape(-1, 3), axis=0)) == 1 for p in patches)
    brightness = [int(p[0, 0].sum()) for p in patches]
    assert brightness[0] < brightness[1] < brightness[2] < brightness[3]
    assert brightness[3] == brightness[4] == brightness[5]


def test_a_quarter_of_the_scale_has_the_colour_of_its_middle() -> None:
    # The values are squared errors, the colours follow the errors.
    middle = cv2.applyColorMap(np.full((1, 1), 128, np.uint8), cv2.COLORMAP_INFERNO)[0, 0, ::-1]
    picture = colorize_surprise(np.full((1, 1), BRIGHTEST_SURPRISE / 4, np.float32))
    np.testing.assert_array_equal(picture[0, 0], middle)


def test_what_is_not_known_is_grey() -> None:
    picture = colorize_surprise(np.array([[np.nan, 0.0]], np.float32))
    assert len(set(picture[0, 0].tolist())) == 1
    assert picture[0, 0, 0] > picture[0, -1].max()
