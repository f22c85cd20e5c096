"""Several futures of one moment, drawn beside what came."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle

from dino_foresight_ros.benchmark.futures import futures_of
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster
from dino_foresight_ros.recordings import Recording, open_recording
from dino_foresight_ros.render import ClassPalette, DepthScale, Style
from dino_foresight_ros.render.futures import futures_sheet


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Ten pictures, each a little brighter, ten a second."""
    folder = tmp_path_factory.mktemp("pictures")
    noise = np.random.default_rng(0).integers(0, 150, (60, 120, 3), dtype=np.uint8)
    for index in range(10):
        cv2.imwrite(str(folder / f"{index:03}.png"), noise + np.uint8(10 * index))
    return open_recording(folder, frame_rate_hz=10.0)


@pytest.fixture(scope="module")
def drawing() -> Bundle:
    """A bundle whose futures differ."""
    torch.manual_seed(0)
    config = WorldConfig(
        channels=30, width=24, layers=1, heads=2, rope=(4, 4, 4), query="noise", noise_std=1.0
    )
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    forecaster.initialise(block_scale=0.5)
    torch.nn.init.normal_(forecaster.out.weight, std=0.3)
    return replace(make_micro_bundle(), forecaster=forecaster)


@pytest.mark.slow
def test_the_futures_of_a_moment_stand_beside_what_came(drawing: Bundle, drive: Recording):
    forecast = futures_of(drawing, drive, at_s=0.45, ahead_s=[0.2, 0.5], samples=3)
    newest, steps = forecast.newest, forecast.steps
    assert newest.stamp_ns == drive.stamps_ns[4]
    assert [step.arrived.stamp_ns for step in steps] == drive.stamps_ns[[6, 9]].tolist()
    for step in steps:
        assert len(step.predicted.samples) == 3
        assert step.predicted.spread.max() > 0
        # What came is seen by itself: each is a little brighter.
        assert step.arrived.image.mean() > newest.image.mean() + 15
    palette = ClassPalette(drawing.tasks["segmentation"].class_names,
                           drawing.tasks["segmentation"].palette)  # fmt: skip
    style = Style(palette, DepthScale.spanning([newest.depth], False), trained=False)
    first = replace(forecast, steps=steps[:1])
    one = futures_sheet(first, style, "Several futures", width=900)
    both = futures_sheet(forecast, style, "Several futures", width=900)
    assert one.shape[1] == both.shape[1] == 900
    assert len(both) > len(one) + 100
    # All futures alike give another picture.
    same = replace(steps[0].predicted, samples=(steps[0].predicted.samples[0],) * 3)
    copies = replace(forecast, steps=(replace(steps[0], predicted=same),))
    alike = futures_sheet(copies, style, "Several futures", width=900)
    assert (alike != one).any()


@pytest.mark.slow
def test_what_cannot_be_drawn_is_refused(drawing: Bundle, drive: Recording):
    with pytest.raises(InputError, match=r"ends before 1\.3 s"):
        futures_of(drawing, drive, at_s=0.8, ahead_s=[0.5], samples=2)
    with pytest.raises(InputError, match="no context before"):
        futures_of(drawing, drive, at_s=0.0, ahead_s=[0.5], samples=2)
    with pytest.raises(UsageError, match="samples"):
        futures_of(make_micro_bundle(), drive, at_s=0.5, ahead_s=[0.2], samples=2)
    alone = futures_of(drawing, drive, at_s=0.45, ahead_s=[0.2], samples=1)
    with pytest.raises(ValueError, match="several futures"):
        futures_sheet(alone, Style(None, None), "none")
