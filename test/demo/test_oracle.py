"""The demo's oracle says of a frame what the bundle's own parts say, one after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle

from dino_foresight_ros.demo.oracle import Oracle, describe_forecasts, far_apart
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.heads import HeadInput
from dino_foresight_ros.runtime.decoder import Decoder
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_micro_bundle()


@pytest.fixture(scope="module")
def oracle(bundle: Bundle) -> Oracle:
    return Oracle(bundle, Decoder(bundle))


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (60, 100, 3), np.uint8)


@torch.inference_mode()
def test_a_frame_is_described_through_the_pca_by_every_head(bundle: Bundle, oracle: Oracle) -> None:
    image = picture(0)
    z = bundle.pca.transform(bundle.encoder(bundle.encoder.preprocess(image[None])))
    seen = oracle.describe(Scene(0, image=image))
    assert seen.features is not None
    np.testing.assert_allclose(seen.features, z[0].numpy(), atol=1e-5)
    features = bundle.pca.inverse(z)
    for name in ("segmentation", "depth", "normals"):
        expected = bundle.tasks[name].decode(bundle.heads[name](features))[name][0].numpy()
        got = getattr(seen, name)
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, atol=1e-3)


def test_a_head_that_reads_the_forecaster_says_nothing_of_what_came() -> None:
    bundle = make_micro_bundle()
    bundle.inputs["depth"] = HeadInput("forecaster_layers", (0, 1))
    seen = Oracle(bundle, Decoder(bundle)).describe(Scene(0, image=picture(0)))
    assert seen.depth is None
    assert seen.segmentation is not None


class Slow:
    """Counts frames; knows a picture by its first value."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def describe(self, frame: Scene) -> Scene:
        assert frame.image is not None
        self.seen.append(int(frame.image[0, 0, 0]))
        return replace(frame, features=np.full((1, 1, 1), frame.image[0, 0, 0]))


def forecasts(count: int) -> list[ComparedForecast]:
    """Each frame is the one that came a step after the one before it."""
    frames = [np.full((2, 2, 3), i, np.uint8) for i in range(count + 1)]

    def step(k: int, i: int) -> ComparedStep:
        came = Scene(i + 1, image=frames[i + 1]) if k == 1 else None
        return ComparedStep(Scene(i, step=k, horizon_s=0.2 * k), came)

    return [
        ComparedForecast(Scene(i, image=frames[i]), (step(1, i), step(2, i))) for i in range(count)
    ]


def test_each_frame_is_looked_at_once_and_put_where_it_belongs() -> None:
    slow = Slow()
    described = describe_forecasts(slow, forecasts(5), [2], limit_s=60.0)  # type: ignore[arg-type]
    assert sorted(slow.seen) == [0, 1, 2, 3, 4, 5]
    for number, forecast in enumerate(described):
        assert forecast.newest.stamp_ns == number
        assert forecast.newest.features is not None
        assert forecast.newest.features.item() == number
        came, never = forecast.steps
        assert came.arrived is not None
        assert came.arrived.features is not None
        assert came.arrived.features.item() == number + 1
        assert never.arrived is None


def test_without_time_only_the_forecasts_on_the_sheet_are_described() -> None:
    described = describe_forecasts(Slow(), forecasts(9), [1, 5], limit_s=-1.0)  # type: ignore[arg-type]
    assert [forecast.newest.features is not None for forecast in described] == [
        i in (1, 5) for i in range(9)
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 7, 20])
def test_any_beginning_of_the_order_is_spread(count: int) -> None:
    order = far_apart(list(range(count)))
    assert sorted(order) == list(range(count))
    if count == 20:
        assert max(np.diff(sorted([-1, *order[:7], 20]))) <= 6
