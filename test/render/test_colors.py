from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_foresight_ros.render.colors import (
    BRIGHTEST_SURPRISE,
    PATCH_PIXELS,
    UNLABELLED_COLOR,
    ClassPalette,
    DepthScale,
    colorize,
    colorize_normals,
    colorize_surprise,
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


SCALE = DepthScale(2.0, 100.0)


def brightness(picture: np.ndarray) -> np.ndarray:
    return picture.astype(float) @ [0.299, 0.587, 0.114]


def test_unknown_depth_is_black_and_nothing_else_is() -> None:
    depth = np.float32([[np.nan, 2.0, 50.0], [1000.0, np.inf, 0.01]])
    picture = SCALE.colorize(depth)
    assert np.array_equal((picture == 0).all(-1), np.isnan(depth))
    # And can be told from the far end with the eye.
    assert int(picture[1, 0].sum()) > 40


def test_a_depth_of_zero_or_less_is_unknown() -> None:
    assert not SCALE.colorize(np.float32([[0.0, -3.0]])).any()


def test_nearer_is_never_darker() -> None:
    depth = np.geomspace(1.0, 200.0, 500, dtype=np.float32)[None]
    assert (np.diff(brightness(SCALE.colorize(depth))[0]) <= 1e-9).all()
    # And it does change: the ends differ by most of what a picture can show.
    ends = brightness(SCALE.colorize(np.float32([[2.0, 100.0]])))[0]
    assert ends[0] - ends[1] > 180


def test_relative_inverse_depth_grows_brighter_with_its_value() -> None:
    scale = DepthScale.fixed(is_metric=False)
    picture = scale.colorize(np.float32([np.linspace(0, 255, 256)]))
    assert (np.diff(brightness(picture)[0]) >= -1e-9).all()
    # Zero is the far end, not unknown.
    assert picture[0, 0].any()


def test_beyond_its_ends_the_scale_keeps_the_color_of_the_end() -> None:
    inside = SCALE.colorize(np.float32([[2.0, 100.0]]))
    outside = SCALE.colorize(np.float32([[0.5, np.inf]]))
    assert np.array_equal(inside, outside)


def test_equal_factors_of_depth_are_equal_steps_of_the_scale() -> None:
    positions = SCALE.positions(np.float32([3.0, 6.0, 12.0, 24.0]))
    assert np.allclose(np.diff(positions), np.diff(positions)[0], atol=1e-6)


@given(
    low=st.floats(0.5, 40),
    factor=st.floats(1.0, 100),
    seed=st.integers(0, 20),
    count=st.integers(1, 3),
)
def test_scale_covers_what_it_was_made_for(
    low: float, factor: float, seed: int, count: int
) -> None:
    random = np.random.default_rng(seed)
    depths = [random.uniform(low, low * factor, (20, 30)).astype(np.float32) for _ in range(count)]
    scale = DepthScale.spanning(depths, is_metric=True)
    assert scale.far >= 9.99 * scale.near
    known = np.concatenate([d.ravel() for d in depths])
    # Ends are rounded by at most a tenth, and one value in a hundred may lie outside each.
    assert np.mean((known >= scale.near / 1.1) & (known <= scale.far * 1.1)) >= 0.97
    assert scale.near > low / 100
    assert scale.far < low * factor * 100


def test_a_few_wild_values_do_not_stretch_the_scale() -> None:
    depth = np.random.default_rng(0).uniform(5, 40, (100, 100)).astype(np.float32)
    plain = DepthScale.spanning([depth], is_metric=True)
    depth[0, :30] = 1e6
    depth[1, :30] = 1e-6
    depth[2, :30] = np.nan
    assert DepthScale.spanning([depth], is_metric=True) == plain


@pytest.mark.parametrize(
    "depth", [np.full((3, 3), np.nan, np.float32), np.zeros((0, 4), np.float32)]
)
def test_without_any_known_depth_the_scale_is_the_fixed_one(depth: np.ndarray) -> None:
    assert DepthScale.spanning([depth], is_metric=True) == DepthScale.fixed(is_metric=True)


def test_ticks_lie_on_the_scale() -> None:
    assert SCALE.ticks() == [2, 5, 10, 20, 50, 100]


def test_bar_runs_from_near_to_far() -> None:
    bar = SCALE.bar(4, 200)
    assert bar.shape == (4, 200, 3)
    assert np.array_equal(bar[0, 0], SCALE.colorize(np.float32([[2.0]]))[0, 0])
    assert np.array_equal(bar[3, -1], SCALE.colorize(np.float32([[100.0]]))[0, 0])


@pytest.mark.parametrize(
    ("near", "far", "is_metric"), [(5, 5, True), (0, 5, True), (0, 255, False)]
)
def test_a_scale_without_extent_is_refused(near: float, far: float, is_metric: bool) -> None:
    with pytest.raises(ValueError, match="scale needs"):
        DepthScale(near, far, is_metric)


def test_normals_point_to_their_colors() -> None:
    right, up, towards_camera = [1, 0, 0], [0, -1, 0], [0, 0, -1]
    picture = colorize_normals(np.float32([[right, up, towards_camera, [np.nan, 0, 0]]]))[0]
    assert [int(p.argmax()) for p in picture[:3]] == [0, 1, 2]
    assert [int(p.max()) for p in picture] == [255, 255, 255, 0]


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
