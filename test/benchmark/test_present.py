"""The benchmark of horizons that count from publication, with known answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle

from dino_foresight_ros.benchmark.present import Gain, measure
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster
from dino_foresight_ros.recordings import open_recording


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture that moves one pixel a frame, ten frames a second."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0).integers(0, 255, (30, 60, 3), dtype=np.uint8)
    for index in range(8):
        moved = np.roll(cv2.resize(noise, (120, 60)), index, axis=1)
        cv2.imwrite(str(folder / f"{index:03}.png"), moved)
    return folder


@pytest.mark.slow
def test_a_forecast_that_nothing_changes_gains_nothing(pictures: Path):
    torch.manual_seed(0)
    config = WorldConfig(
        channels=30, width=24, layers=1, heads=2, rope=(4, 4, 4), predict="residual"
    )
    bundle = replace(make_micro_bundle(), forecaster=WorldForecaster(config).eval())
    recording = open_recording(pictures, frame_rate_hz=10.0)
    gain = measure(bundle, recording, 0.2)
    assert isinstance(gain, Gain)
    assert gain.frames == 8 - 1 - 2  # the first has no context, the last two no frame after them
    for past, forecast in (gain.feature_error, gain.agreement, gain.depth_error):
        assert forecast == pytest.approx(past, rel=1e-4)
    assert gain.feature_error[0] > 0
    with pytest.raises(InputError, match="no frame has another one"):
        measure(bundle, open_recording(pictures, frame_rate_hz=10.0), 0.25)


def test_a_masked_bundle_cannot_answer_a_latency(pictures: Path):
    with pytest.raises(UsageError, match="multiples of the frame interval"):
        measure(make_micro_bundle(), open_recording(pictures, frame_rate_hz=10.0), 0.1)
