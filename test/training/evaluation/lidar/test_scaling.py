"""Scales of depth known up to scale, against scenes whose scale is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model import DepthTask
from dino_foresight_ros.training.evaluation.lidar.scaling import (
    Scale,
    ScaleChoice,
    affine_scale,
    camera_height_scale,
    inverse_depth,
    median_scale,
    road_ids,
)

METRIC = DepthTask(kind="metric", bins=16, min_m=1.0, max_m=80.0)


def truth() -> np.ndarray:
    metres = np.random.default_rng(0).uniform(2, 60, (20, 30))
    metres[::3] = np.nan
    return metres


def test_the_median_finds_the_unit_of_inverse_depth() -> None:
    true_m = truth()
    inverse = np.nan_to_num(700 / true_m, nan=5.0)
    found = median_scale(inverse, true_m)
    assert found == Scale(pytest.approx(700))
    np.testing.assert_allclose(found.metres(inverse, 80.0)[1], true_m[1])
    inverse[1] = 0.0  # "infinitely far", which is not in the median
    inverse[2, :3] *= 50  # a few wrong ones
    assert median_scale(inverse, true_m).scale == pytest.approx(700)
    assert (found.metres(inverse, 80.0)[1] == 80.0).all()


def test_scale_and_shift_are_the_least_squares_line() -> None:
    true_m = truth()
    inverse = np.nan_to_num(300 * (1 / true_m - 0.01), nan=1.0)
    found = affine_scale(inverse, true_m)
    assert (found.scale, found.shift) == pytest.approx((300, 0.01))
    np.testing.assert_allclose(found.metres(inverse, 80.0)[1], true_m[1])
    known = np.isfinite(true_m)
    noisy = inverse + np.random.default_rng(1).normal(0, 5, inverse.shape)
    slope, offset = np.polyfit(noisy[known], 1 / true_m[known], 1)
    found = affine_scale(noisy, true_m)
    assert (1 / found.scale, found.shift) == pytest.approx((slope, offset))
    assert affine_scale(-inverse, true_m) is None
    assert affine_scale(np.ones_like(inverse), true_m) is None


def test_metric_depth_has_a_plain_factor() -> None:
    true_m = truth()
    depth = np.nan_to_num(true_m / 1.3, nan=5.0)
    assert median_scale(inverse_depth(METRIC, depth), true_m).scale == pytest.approx(1.3)
    relative = DepthTask()
    np.testing.assert_array_equal(inverse_depth(relative, depth), depth)


def test_too_few_points_give_no_scale() -> None:
    true_m = np.full((5, 5), np.nan)
    true_m[0] = true_m[1, :4] = 10.0
    assert median_scale(np.ones((5, 5)), true_m) is None
    assert affine_scale(np.ones((5, 5)), true_m) is None
    assert median_scale(np.zeros((5, 5)), np.full((5, 5), 9.0)) is None


def rays_of(height: int = 40, width: int = 60, focal: float = 50.0) -> np.ndarray:
    v, u = np.mgrid[0:height, 0:width].astype(float)
    return np.stack([(u - 29.5) / focal, (v - 15.5) / focal, np.ones_like(u)], axis=-1)


def road_scene(pitch: float, roll: float, camera_height_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth (H, W) of a road that fills what lies below the horizon; and where it is."""
    normal = cv2.Rodrigues(np.array([pitch, 0, roll]))[0] @ [0.0, 1.0, 0.0]
    along = rays_of() @ normal
    with np.errstate(divide="ignore"):
        depth = camera_height_m / along
    return depth, (along > 0.02)


@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (0.1, 0.0), (-0.05, 0.08), (0.5, -0.1)])
def test_the_road_lies_at_the_cameras_height(pitch: float, roll: float) -> None:
    depth, road = road_scene(pitch, roll, 1.6)
    inverse = np.where(road, 450.0 / depth, 3.0)
    found = camera_height_scale(inverse, rays_of(), road, 1.6)
    assert found.scale == pytest.approx(450.0)
    # Things on the road that were taken for it, and cells of no depth.
    inverse[30:36, 10:25] = 90.0
    inverse[38, :5] = 0.0
    assert camera_height_scale(inverse, rays_of(), road, 1.6).scale == pytest.approx(
        450.0, rel=0.02
    )


def test_whole_numbers_as_a_head_gives_them_will_do() -> None:
    depth, road = road_scene(0.05, 0.0, 1.5)
    inverse = np.where(road, np.round(400.0 / depth), 0.0)
    assert camera_height_scale(inverse, rays_of(), road, 1.5).scale == pytest.approx(400, rel=0.01)


def test_what_is_no_road_gives_no_scale() -> None:
    depth, road = road_scene(0.0, 0.0, 1.5)
    inverse = np.where(road, 400.0 / depth, 0.0)
    few = road & (np.arange(40)[:, None] > 38) & (np.arange(60) < 20)
    assert camera_height_scale(inverse, rays_of(), few, 1.5) is None
    wall = np.full((40, 60), 20.0)  # faces the camera
    assert camera_height_scale(wall, rays_of(), np.ones((40, 60), bool), 1.5) is None
    assert camera_height_scale(inverse[::-1], rays_of(), road[::-1], 1.5) is None  # a ceiling


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("mode",), "scale 'mode' is unknown; valid: median, affine, camera-height"),
        (("camera-height",), "give both"),
        (("median", 1.5), "give both"),
        (("camera-height", -1.0), "above 0"),
    ],
)
def test_choices_that_make_no_sense_are_refused(values: tuple, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ScaleChoice(*values)


def test_a_metric_head_is_always_scored_as_it_is() -> None:
    assert ScaleChoice().methods(METRIC) == ("as it is",)
    assert ScaleChoice("median").methods(METRIC) == ("as it is", "median")
    assert ScaleChoice().methods(DepthTask()) == ("median",)
    assert ScaleChoice("affine").methods(DepthTask()) == ("affine",)


def test_the_road_is_found_by_name() -> None:
    from micro_bundle import make_micro_bundle

    bundle = make_micro_bundle()
    names = bundle.tasks["segmentation"].class_names
    assert [names[i] for i in road_ids(bundle)] == ["road", "road_marking"]
    del bundle.tasks["segmentation"]
    with pytest.raises(InputError, match="no segmentation with a class of the road"):
        road_ids(bundle)
