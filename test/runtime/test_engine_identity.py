"""The engine's objects: the same id in every step and forecast, whatever the head numbers them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle
from torch import Tensor, nn

pytest.importorskip("scipy", reason="needs SciPy (extra instances)")

from dino_foresight_ros.model import Bundle, InstancesTask
from dino_foresight_ros.model.instance_head import QueryOutput
from dino_foresight_ros.runtime import Forecast, Foresight

NS = 200_000_000
PLACES = ((2, 1), (2, 8))  # rows and columns of masks of 4 x 3, of 8 x 12


class ShufflingHead(nn.Module):
    """Two cars that stand, by another query in every frame."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.embed_dim, self.layers = 0, 24, 4
        self.config = SimpleNamespace(outputs=2)

    def forward(self, features: Tensor) -> QueryOutput:
        classes = torch.full((len(features), 3, 3), -9.0)
        masks = torch.full((len(features), 3, 8, 12), -9.0)
        classes[:, :, 2] = 0.0  # no object
        for row in range(len(features)):
            for place, (top, left) in enumerate(PLACES):
                query = (place + self.calls) % 3
                classes[row, query, 1] = 9.0
                masks[row, query, top : top + 4, left : left + 3] = 9.0
            self.calls += 1
        return QueryOutput(classes, masks)


def shuffling_bundle() -> Bundle:
    bundle = make_micro_bundle()
    task = InstancesTask(("road", "car"), ((1, 2, 3), (4, 5, 6)), things=(1,))
    heads: dict[str, Any] = {**bundle.heads, "instances": ShufflingHead()}
    return replace(bundle, heads=heads, tasks={**bundle.tasks, "instances": task})


def run(engine: Foresight, first: int, count: int, camera: str = "") -> list[Forecast]:
    images = np.random.default_rng(first).integers(0, 255, (count, 56, 84, 3), dtype=np.uint8)
    wanted = {step: frozenset({"instances"}) for step in range(4)}
    made = [
        engine.update(image, (first + index) * NS, wanted, camera)
        for index, image in enumerate(images)
    ]
    return [forecast for forecast in made if forecast is not None]


def ids_of(forecasts: list[Forecast]) -> set[tuple[int, int]]:
    """(id at the first place, id at the second) of every instant."""
    found = set()
    for forecast in forecasts:
        assert forecast.step_0 is not None
        for scene in (forecast.step_0, *forecast.steps):
            assert scene.instances is not None
            one, other = (int(scene.instances[2 * t + 4, 2 * x + 3]) for t, x in PLACES)
            assert {d.id for d in scene.detections} == {one, other}
            found.add((one, other))
    return found


@pytest.mark.slow
def test_ids_last_through_steps_and_forecasts_and_each_camera_has_its_own() -> None:
    engine = Foresight(shuffling_bundle(), steps=3)
    forecasts = run(engine, 0, 6)
    assert len(forecasts) == 3
    (pair,) = ids_of(forecasts)
    assert sorted(pair) == [1, 2]
    (elsewhere,) = ids_of(run(engine, 0, 4, camera="left"))
    assert sorted(elsewhere) == [1, 2]


def test_a_context_that_is_dropped_takes_its_objects_along() -> None:
    engine = Foresight(shuffling_bundle(), steps=3)
    (before,) = ids_of(run(engine, 0, 4))
    engine.reset()
    (after,) = ids_of(run(engine, 4, 4))
    assert not set(before) & set(after)


def test_warming_up_uses_no_id() -> None:
    engine = Foresight(shuffling_bundle(), steps=3)
    engine.warm_up()
    assert sorted(*ids_of(run(engine, 0, 4))) == [1, 2]
