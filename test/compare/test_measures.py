"""Each measure against plain loops over numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dino_foresight_ros.compare import Analysis, Difference, compare, patch_errors

RNG = np.random.default_rng(3)


def some(shape: tuple[int, ...] = (3, 4)) -> Analysis:
    features = RNG.normal(size=(2, 3, 5)).astype(np.float32)
    segmentation = RNG.integers(0, 3, shape).astype(np.uint8)
    return Analysis(features, segmentation, RNG.uniform(1, 50, shape).astype(np.float32))


def test_feature_error_is_the_mean_square_over_patches_and_channels():
    a, b = some(), some()
    total, patch = 0.0, np.zeros((2, 3))
    for i in range(2):
        for j in range(3):
            for c in range(5):
                square = (float(a.features[i, j, c]) - float(b.features[i, j, c])) ** 2
                total += square / 30
                patch[i, j] += square / 5
    difference, by_patch = compare(a, b, depth_is_metric=True)
    assert difference.feature_error == pytest.approx(total, rel=1e-6)
    np.testing.assert_allclose(by_patch, patch, rtol=1e-5)


def test_agreement_is_the_share_of_labelled_pixels_of_the_same_class():
    predicted = np.array([[0, 1, 2], [255, 1, 0]], np.uint8)
    seen = np.array([[0, 2, 2], [1, 255, 255]], np.uint8)
    difference, _ = compare(Analysis(segmentation=predicted), Analysis(segmentation=seen), True)
    assert difference.segmentation_agreement == 2 / 4
    assert math.isnan(difference.feature_error)
    assert math.isnan(difference.depth_error)


@pytest.mark.parametrize("is_metric", [True, False])
def test_depth_error_is_relative_to_what_was_seen_where_both_are_known(is_metric: bool):
    predicted = np.array([[10.0, 20.0, math.nan, 4.0]], np.float32)
    seen = np.array([[8.0, 25.0, 3.0, math.nan]], np.float32)
    expected = (2 / 8 + 5 / 25) / 2 if is_metric else (2 + 5) / (8 + 25)
    found, _ = compare(Analysis(depth=predicted), Analysis(depth=seen), is_metric)
    assert found.depth_error == pytest.approx(expected, rel=1e-6)


def test_relative_depth_may_be_zero_far_away():
    predicted, seen = np.array([[1.0, 9.0]], np.float32), np.array([[0.0, 10.0]], np.float32)
    found, _ = compare(Analysis(depth=predicted), Analysis(depth=seen), False)
    assert found.depth_error == pytest.approx(2 / 10)
    found, _ = compare(Analysis(depth=predicted), Analysis(depth=0 * seen), False)
    assert math.isnan(found.depth_error)
    found, _ = compare(Analysis(depth=predicted), Analysis(depth=seen), True)
    assert found.depth_error == pytest.approx(1 / 10)  # 0 m is no depth


def test_what_equals_what_comes_has_no_error():
    scene = some()
    assert compare(scene, scene, True)[0] == Difference(0.0, 1.0, 0.0)


def test_other_sizes_and_missing_outputs_are_not_measured():
    large = Analysis(np.zeros((4, 6, 5), np.float32), *(np.zeros((6, 8), k) for k in ("u1", "f4")))
    for one, other in ((some(), large), (some(), Analysis()), (Analysis(), some())):
        difference, by_patch = compare(one, other, True)
        assert all(map(math.isnan, difference))
        assert by_patch is None


def test_nothing_labelled_or_known_is_not_measured():
    nothing = Analysis(None, np.full((2, 2), 255, np.uint8), np.full((2, 2), np.nan, np.float32))
    assert all(map(math.isnan, compare(nothing, nothing, True)[0]))


def test_features_of_other_channels_are_not_measured():
    assert patch_errors(np.zeros((2, 3, 4), "f4"), np.zeros((2, 3, 5), "f4")) is None
