"""Both ways of the training benchmark do the same work."""

from __future__ import annotations

import pytest
from micro_bundle import make_micro_bundle

from dino_foresight_ros.benchmark import training_step


@pytest.mark.slow
def test_features_from_disk_and_the_encoder_in_the_loop_give_the_same_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training_step, "build", lambda size: make_micro_bundle())
    found = training_step.measure("tiny", steps=1, turns=1, batch_size=2)

    # Features on disk are float16.
    assert found["cached"]["loss"] == pytest.approx(found["encoder"]["loss"], rel=1e-3)
    assert found["cached"]["step"]["count"] == found["encoder"]["step"]["count"] == 1
    assert found["ratio"] > 0
