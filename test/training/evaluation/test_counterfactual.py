"""Worlds that are driven otherwise, and which forecast is nearest to what each way showed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.synthetic import World, WorldConfig
from dino_foresight_ros.training.evaluation.counterfactual import (
    WAYS,
    Case,
    counterfactual,
    counterfactual_table,
    drive_ways,
    make_cases,
)

pytestmark = pytest.mark.slow

SIZE = (24, 40)
AT_S = 4.0


@pytest.fixture(scope="module")
def world() -> World:
    return World(WorldConfig(seed=1, height=SIZE[0], width=SIZE[1], noise=0.0))


@pytest.fixture(scope="module")
def case(world: World) -> Case:
    found = drive_ways(world, AT_S, 2, 0.2)
    assert found is not None
    return found


class Blocks(nn.Module):
    """Mean colours of a coarse grid, for an encoder."""

    def preprocess(self, pictures: np.ndarray) -> Tensor:
        return torch.from_numpy(pictures).float() / 255

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.unflatten(2, (10, 4)).unflatten(1, (6, 4)).mean(dim=(2, 4))


class Plain:
    """A PCA that keeps what it gets."""

    def transform(self, features: Tensor) -> Tensor:
        return features


class Knowing(nn.Module):
    """Knows what each motion shows."""

    takes_motion = True

    def __init__(self, case: Case, gets_it_wrong: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        encoder = Blocks()
        shown = [encoder(encoder.preprocess(pictures)) for pictures in case.shown]
        self.known = dict(zip(map(bytes, case.motion[:, -1]), np.roll(shown, gets_it_wrong, 0)))  # noqa: B905

    def remember(self, z: Tensor, stamps_s: Tensor) -> tuple[Tensor]:
        return (z,)

    def forecast(self, memories, stamps_s, ahead_s, motion=None) -> Tensor:
        if motion is None:
            return memories[0][:, -1:, None].expand(-1, -1, len(ahead_s), -1, -1, -1)
        found = [torch.as_tensor(self.known[bytes(way.numpy())]) for way in motion[0, :, -1]]
        return torch.stack(found)[None]


def test_each_way_is_driven_from_the_same_instant(world: World, case: Case):
    assert case.context.shape == (2, *SIZE, 3)
    assert case.shown.shape == (len(WAYS), 2, *SIZE, 3)
    speed = world.ego_state(AT_S).speed_mps
    moved = dict(zip(WAYS, case.motion, strict=True))
    np.testing.assert_allclose(moved["keep"][:, 0], [0.5 * speed, speed], rtol=0.02)
    braked = 0.5 * speed - 6.0 * 0.25 / 2
    assert moved["brake hard"][0, 0] == pytest.approx(braked, rel=0.05)
    np.testing.assert_allclose(moved["left"][:, 2], [0.15, 0.3], rtol=0.05)
    np.testing.assert_allclose(moved["right"], moved["left"] * [1, -1, -1], atol=0.05)
    assert moved["left"][1, 1] > 0.5
    different = np.abs(case.shown[:, None].astype(int) - case.shown[None]).mean(axis=(2, 3, 4, 5))
    assert different[~np.eye(len(WAYS), dtype=bool)].min() > 0.5


def test_the_forecast_nearest_to_each_way_is_counted(case: Case):
    encoder, pca = Blocks(), Plain()
    right = counterfactual(Knowing(case), encoder, pca, [case, case])
    assert right["cases"] == 2
    for values in right["horizons"].values():
        assert values["nearest"] == 1.0
    wrong = counterfactual(Knowing(case, 1), encoder, pca, [case])["horizons"]["1"]
    assert wrong["nearest"] == 0.0
    # Row: the way driven; the forecast for the way after it shows what it showed.
    assert np.argmax(wrong["confusion"], axis=1).tolist() == [*range(1, len(WAYS)), 0]
    blind = Knowing(case)
    blind.takes_motion = False
    assert counterfactual(blind, encoder, pca, [case])["horizons"]["0.5"]["nearest"] == 0.0
    table = counterfactual_table([{"forecaster": "f", "motion": "blocks", **right}])
    assert "| f | blocks | 0.5 s | 2 | 100 % |" in " ".join(table.split())


def test_instants_before_the_context_are_refused():
    with pytest.raises(UsageError, match=r"a context of 4 frames 0\.2 s apart begins before"):
        make_cases([1], 4, 0.2, SIZE, instants_s=(0.5,))
