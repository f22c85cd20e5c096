"""What a scene tells of itself."""

from __future__ import annotations

import numpy as np

from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene


def test_memory_is_that_of_all_arrays() -> None:
    ids = np.zeros((4, 6), np.uint8)
    features = np.zeros((2, 3, 5), np.float32)
    assert Scene(7).nbytes == 0
    assert Scene(7, segmentation=ids, features=features).nbytes == 24 + 120


def test_a_forecast_calls_its_instant_the_target() -> None:
    assert Scene(7, step=2, horizon_s=0.4).target_stamp_ns == 7


def test_classes_of_a_comparison_are_those_of_all_its_scenes() -> None:
    def scene(class_id: int) -> Scene:
        return Scene(0, segmentation=np.full((2, 2), class_id, np.uint8))

    step = ComparedStep(scene(1), scene(2), truth=scene(255))
    forecast = ComparedForecast(scene(0), (step, ComparedStep(Scene(1))))
    assert forecast.class_ids() == {0, 1, 2, 255}
