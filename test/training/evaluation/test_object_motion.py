from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dino_foresight_ros.detections import detections_of
from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.training.evaluation.object_motion import ObjectMotionMeter

pytest.importorskip("scipy", reason="the extra `instances` is not installed")

CAR, STEP_NS = 12, 200_000_000


def scene(stamp: int, boxes: dict[int, tuple[int, int]], numbers: dict[int, int]) -> Scene:
    """Cars of 10x12 pixels with their upper left corners; `numbers`: what each is called."""
    ids = np.zeros((60, 160), np.uint16)
    for one, (top, left) in boxes.items():
        ids[top : top + 10, left : left + 12] = numbers.get(one, one)
    found = np.array([[numbers.get(one, one), CAR, 0.9] for one in boxes])
    segmentation = np.where(ids > 0, CAR, 0).astype(np.uint8)
    return Scene(stamp * STEP_NS, instances=ids, segmentation=segmentation,
                 detections=detections_of(ids, found))  # fmt: skip


def at(stamp: float) -> dict[int, tuple[int, int]]:
    """Two cars on their ways: 7 drives to the right and slows down, 9 stands."""
    return {7: (10, int(20 + 10 * stamp - stamp**2)), 9: (40, 100)}


def test_ends_of_ways_and_switches_are_measured() -> None:
    meter = ObjectMotionMeter()
    # The head finds both, and calls them otherwise in the last step.
    calm, swapped = {7: 1, 9: 2}, {7: 2, 9: 1}
    steps = [scene(2, at(2), calm), scene(3, at(3), swapped)]
    truth = {-1: scene(1, at(1), {}), 0: scene(2, at(2), {}), 1: scene(3, at(3), {})}
    meter.update(scene(0, at(0), calm), scene(1, at(1), calm), steps, truth)
    first, last = meter.result(0), meter.result(1)
    assert first is not None
    assert last is not None
    assert (last.followed, last.kept, last.found) == (2, 2, 2)
    assert (last.switched, last.query_switched) == (0, 2)
    assert (first.switched, first.query_switched) == (0, 0)
    assert first.forecast_px == last.forecast_px == 0.0
    # 7 is at 20, 29, 36, 41: with 9 a step it would be at 38 and 47. 9 stands: 0 off.
    assert first.constant_velocity_px == pytest.approx((38 - 36) / 2)
    assert last.constant_velocity_px == pytest.approx((47 - 41) / 2)
    assert last.copy_last_px == pytest.approx((41 - 29) / 2)
    assert meter.result(2) is None


def test_an_object_that_the_forecast_loses_is_told_of() -> None:
    meter = ObjectMotionMeter()
    calm = {7: 1, 9: 2}
    steps = [scene(2, {9: at(2)[9]}, calm)]
    truth = {-1: scene(1, at(1), {}), 0: scene(2, at(2), {})}
    meter.update(scene(0, at(0), calm), scene(1, at(1), calm), steps, truth)
    found = meter.result(0)
    assert found is not None
    assert (found.followed, found.kept, found.found) == (2, 1, 1)


def test_errors_in_metres_are_of_places_in_the_cameras_frame() -> None:
    """Focal length 100: at 10 m ten pixels are a metre. 7 also comes nearer, at a constant 1 m a
    step; 9 has no depth in the forecast, and counts in pixels alone."""
    meter = ObjectMotionMeter()
    k = np.array([[100.0, 0.0, 79.5], [0.0, 100.0, 29.5], [0.0, 0.0, 1.0]])
    rays = CameraView.pinhole(k, (60, 160)).pixel_rays((60, 160))
    calm = {7: 1, 9: 2}

    def deep(stamp: int, numbers: dict[int, int], metres: dict[int, float]) -> Scene:
        plain = scene(stamp, at(stamp), numbers)
        depth = np.full((60, 160), np.nan, np.float32)
        for one, value in metres.items():
            depth[plain.instances == numbers.get(one, one)] = value
        return replace(plain, depth=depth, depth_is_metric=True)

    true = {stamp: {7: 12.0 - stamp, 9: 10.0} for stamp in range(3)}
    truth = {-1: deep(1, {}, true[1]), 0: deep(2, {}, true[2])}
    meter.update(
        deep(0, calm, true[0]), deep(1, calm, true[1]), [deep(2, calm, {7: 10.5})], truth, rays
    )
    found = meter.result(0)
    assert found is not None
    assert (found.kept, found.located) == (2, 1)
    left = [at(stamp)[7][1] + 5.5 - 79.5 for stamp in range(3)]
    down = 10 + 4.5 - 29.5
    places = [np.array([left[i], down, 100.0]) * (12.0 - i) / 100 for i in range(3)]
    seen = np.array([left[2], down, 100.0]) * 10.5 / 100
    assert found.forecast_m == pytest.approx(np.linalg.norm(seen - places[2]))
    moved = 2 * places[1] - places[0]
    assert found.constant_velocity_m == pytest.approx(np.linalg.norm(moved - places[2]))
    assert found.copy_last_m == pytest.approx(np.linalg.norm(places[1] - places[2]))
