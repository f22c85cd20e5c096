from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_foresight_ros.render.colors import (
    UNLABELLED_COLOR,
    ClassPalette,
    colorize,
    overlay,
)

COLORS = ((10, 20, 30), (200, 100, 0), (255, 255, 255))


def test_each_class_id_gets_exactly_its_color() -> None:
    ids = np.random.default_rng(0).integers(0, 3, (7, 11), np.uint8)
    picture = colorize(ids, COLORS)
    for row in range(7):
        for column in range(11):
            assert tuple(picture[row, column]) == COLORS[ids[row, column]]


def test_unlabelled_and_unknown_ids_are_dark_grey() -> None:
    picture = colorize(np.uint8([[255, 3, 254]]), COLORS)
    assert {tuple(pixel) for pixel in picture[0]} == {UNLABELLED_COLOR}
    assert max(UNLABELLED_COLOR) < 64


def test_unlabelled_id_of_choice_is_dark_grey_although_it_has_a_color() -> None:
    assert tuple(colorize(np.uint8([[1]]), COLORS, unlabelled=1)[0, 0]) == UNLABELLED_COLOR


def test_256_colors_are_all_used() -> None:
    colors = [(i, 255 - i, i // 2) for i in range(255)]
    picture = colorize(np.arange(255, dtype=np.uint8)[None], colors)
    assert [tuple(pixel) for pixel in picture[0]] == colors


def test_palette_with_a_name_too_many_is_refused() -> None:
    with pytest.raises(ValueError, match="2 class names but 1 colours"):
        ClassPalette(("a", "b"), ((0, 0, 0),))


@given(alpha=st.floats(0, 1), seed=st.integers(0, 100))
def test_overlay_mixes_every_pixel_by_alpha(alpha: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    image, colors = random.integers(0, 256, (2, 5, 6, 3), np.uint8)
    mixed = overlay(image, colors, alpha).astype(float)
    for index in np.ndindex(image.shape):
        expected = alpha * float(colors[index]) + (1 - alpha) * float(image[index])
        assert abs(mixed[index] - expected) <= 1.01


def test_overlay_at_both_ends_is_exact() -> None:
    image, colors = np.random.default_rng(0).integers(0, 256, (2, 40, 40, 3), np.uint8)
    assert np.array_equal(overlay(image, colors, 0.0), image)
    assert np.array_equal(overlay(image, colors, 1.0), colors)


def test_overlay_leaves_pixels_outside_of_the_mask_alone() -> None:
    image, colors = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    where = np.zeros((4, 4), bool)
    where[1, 2] = True
    mixed = overlay(image, colors, 1.0, where)
    assert np.array_equal(mixed[1, 2], colors[1, 2])
    assert np.array_equal(mixed[~where], image[~where])


def test_overlay_refuses_pictures_of_different_size() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8))
