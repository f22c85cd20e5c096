"""Each measure against plain loops over numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dino_foresight_ros.compare import Difference, compare, patch_errors
from dino_foresight_ros.compare.measures import angle_deg, closed_gap, within_spread
from dino_foresight_ros.scene import Scene

RNG = np.random.default_rng(3)


def scene(**values) -> Scene:
    return Scene(0, **values)


def some(shape: tuple[int, ...] = (3, 4)) -> Scene:
    features = RNG.normal(size=(2, 3, 5)).astype(np.float32)
    segmentation = RNG.integers(0, 3, shape).astype(np.uint8)
    depth = RNG.uniform(1, 50, shape).astype(np.float32)
    return scene(
        features=features,
        segmentation=segmentation,
        depth=depth,
        normals=np.full((*shape, 3), (0.0, 0.6, 0.8)),
        depth_is_metric=True,
    )


def test_feature_error_is_the_mean_square_over_patches_and_channels():
    a, b = some(), some()
    total, patch = 0.0, np.zeros((2, 3))
    for i in range(2):
        for j in range(3):
            for c in range(5):
                square = (float(a.features[i, j, c]) - float(b.features[i, j, c])) ** 2
                total += square / 30
                patch[i, j] += square / 5
    difference, by_patch = compare(a, b)
    assert difference.feature_error == pytest.approx(total, rel=1e-6)
    np.testing.assert_allclose(by_patch, patch, rtol=1e-5)


def test_agreement_is_the_share_of_labelled_pixels_of_the_same_class():
    predicted = np.array([[0, 1, 2], [255, 1, 0]], np.uint8)
    seen = np.array([[0, 2, 2], [1, 255, 255]], np.uint8)
    difference, _ = compare(scene(segmentation=predicted), scene(segmentation=seen))
    assert difference.segmentation_agreement == 2 / 4
    assert math.isnan(difference.feature_error)
    assert math.isnan(difference.depth_error)


@pytest.mark.parametrize("is_metric", [True, False])
def test_depth_error_is_relative_to_what_was_seen_where_both_are_known(is_metric: bool):
    predicted = np.array([[10.0, 20.0, math.nan, 4.0]], np.float32)
    seen = np.array([[8.0, 25.0, 3.0, math.nan]], np.float32)
    expected = (2 / 8 + 5 / 25) / 2 if is_metric else (2 + 5) / (8 + 25)
    found, _ = compare(scene(depth=predicted), scene(depth=seen, depth_is_metric=is_metric))
    assert found.depth_error == pytest.approx(expected, rel=1e-6)


def test_relative_depth_may_be_zero_far_away():
    predicted, seen = np.array([[1.0, 9.0]], np.float32), np.array([[0.0, 10.0]], np.float32)
    found, _ = compare(scene(depth=predicted), scene(depth=seen))
    assert found.depth_error == pytest.approx(2 / 10)
    found, _ = compare(scene(depth=predicted), scene(depth=0 * seen))
    assert math.isnan(found.depth_error)
    found, _ = compare(scene(depth=predicted), scene(depth=seen, depth_is_metric=True))
    assert found.depth_error == pytest.approx(1 / 10)  # 0 m is no depth


def test_what_equals_what_comes_has_no_error():
    same = some()
    assert compare(same, same)[0] == Difference(0.0, 1.0, 0.0, 0.0)


def test_other_sizes_and_missing_outputs_are_not_measured():
    large = scene(
        features=np.zeros((4, 6, 5), np.float32),
        segmentation=np.zeros((6, 8), np.uint8),
        depth=np.zeros((6, 8), np.float32),
    )
    for one, other in ((some(), large), (some(), scene()), (scene(), some())):
        difference, by_patch = compare(one, other)
        assert all(map(math.isnan, difference))
        assert by_patch is None


def test_nothing_labelled_or_known_is_not_measured():
    nothing = scene(
        segmentation=np.full((2, 2), 255, np.uint8), depth=np.full((2, 2), np.nan, np.float32)
    )
    assert all(map(math.isnan, compare(nothing, nothing)[0]))


def test_features_of_other_channels_are_not_measured():
    assert patch_errors(np.zeros((2, 3, 4), "f4"), np.zeros((2, 3, 5), "f4")) is None


def test_angles_are_of_known_turns_and_unknown_normals_are_left_out():
    forward = np.zeros((2, 2, 3), np.float32)
    forward[..., 2] = 1.0
    turned = forward.copy()
    turned[0, 0] = (1.0, 0.0, 0.0)
    turned[0, 1] = (0.0, math.sin(math.pi / 6), math.cos(math.pi / 6))
    turned[1, 1] = math.nan
    assert angle_deg(turned, forward) == pytest.approx((90 + 30 + 0) / 3, abs=1e-4)
    assert math.isnan(angle_deg(None, forward))
    assert math.isnan(angle_deg(np.full_like(forward, math.nan), forward))


def test_a_gap_is_closed_by_what_lies_between_its_ends():
    assert closed_gap(0.5, 0.4, 0.8) == pytest.approx(0.25)
    assert closed_gap(8.0, 10.0, 2.0) == pytest.approx(0.25)  # of an error, lower is better
    assert math.isnan(closed_gap(0.5, 0.5, 0.5))


def test_errors_of_a_normal_law_lie_within_twice_their_spread_as_often_as_it_says():
    rng = np.random.default_rng(0)
    spread = rng.uniform(0.5, 3.0, (40, 50)).astype(np.float32)
    errors = rng.normal(size=(40, 50)) * spread  # of one channel
    squared = (errors**2).astype(np.float32)
    assert within_spread(squared, spread) == pytest.approx(0.9545, abs=0.01)
    enlarged = spread.repeat(8, axis=0).repeat(8, axis=1)
    assert within_spread(squared, enlarged) == within_spread(squared, spread)
    assert within_spread(squared, 0 * spread) == 0.0
    assert np.isnan(within_spread(None, spread))
    assert np.isnan(within_spread(squared, None))
