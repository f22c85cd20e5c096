"""What the demo draws of a bundle that takes motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle

from dino_foresight_ros.demo.candidates import DemoCamera, can_imagine, candidates_picture
from dino_foresight_ros.demo.pictures import Setting
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster
from dino_foresight_ros.render import ClassPalette
from dino_foresight_ros.render.imagined import risk_rgb, seen_from_above
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    config = WorldConfig(channels=30, width=24, layers=1, heads=2, rope=(4, 4, 4), motion="blocks")
    torch.manual_seed(0)
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    return replace(make_micro_bundle(), forecaster=forecaster)


def forecast(arrived: int) -> ComparedForecast:
    def scene(step: int) -> Scene:
        image = np.random.default_rng(step).integers(0, 256, (36, 64, 3), np.uint8)
        return Scene(step * 200_000_000, step=step, horizon_s=0.2 * step, image=image)

    steps = tuple(
        ComparedStep(Scene(k * 200_000_000, step=k), scene(k) if k <= arrived else None)
        for k in (1, 2, 3)
    )
    return ComparedForecast(scene(0), steps, 5.0)


@pytest.mark.slow
def test_a_moment_with_a_whole_context_is_imagined_and_another_not(bundle: Bundle) -> None:
    task = bundle.tasks["segmentation"]
    setting = Setting(ClassPalette(task.class_names, task.palette), True, 0, True)  # type: ignore[union-attr]
    assert can_imagine(bundle)
    picture = candidates_picture(bundle, forecast(3), setting, DemoCamera.assumed(None))
    assert picture is not None
    assert picture.dtype == np.uint8
    assert picture.shape[1] == 3 * 480 + 2 * 8
    chosen, refused = picture[:, 488:968], picture[:, 976:]
    assert not np.array_equal(chosen, refused)
    assert candidates_picture(bundle, forecast(0), setting, DemoCamera.of_world(3)) is None


def test_a_bundle_without_motion_imagines_nothing() -> None:
    assert not can_imagine(make_micro_bundle())


def test_ways_are_drawn_where_they_lead_in_the_colour_of_their_risk() -> None:
    ahead = np.column_stack([np.linspace(0, 10, 20), np.zeros(20)])
    left = np.column_stack([np.zeros(20), np.linspace(0, 6, 20)])
    outline = np.array([(-1.0, -0.5), (1.0, -0.5), (1.0, 0.5), (-1.0, 0.5)])
    car = np.array([[8.0, -4.0]], np.float32)
    color = np.array([[0, 0, 142]], np.uint8)
    picture = seen_from_above([ahead, left], [0.0, 1.0], [0, 1], car, color, outline, (420, 300))
    scale = 420 / 21.0  # 18 m ahead, 3 m behind

    def at(x: float, y: float) -> tuple[int, ...]:
        row, column = round((18.0 - x) * scale), round(150 - y * scale)
        return tuple(int(v) for v in picture[row, column])

    assert at(7.0, 0.0) == risk_rgb(0.0)
    red, green, _ = at(0.0, 4.0)
    assert red > 3 * green  # a thin line, smoothed
    assert at(8.0, -4.0) == (0, 0, 142)
    assert risk_rgb(0.5)[:2] == (255, 255)
