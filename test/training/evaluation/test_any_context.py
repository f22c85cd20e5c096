"""Forecasters that take any instants, measured from contexts of any distances."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model import Prediction
from dino_foresight_ros.model.forecasters.interface import Forecaster
from dino_foresight_ros.recordings import PartOfRecording
from dino_foresight_ros.training.evaluation import EvaluationConfig, evaluate
from dino_foresight_ros.training.evaluation.clip_plan import plan_clips
from dino_foresight_ros.training.evaluation.contexts import Setting
from dino_foresight_ros.training.evaluation.series import make_series

Maker = Callable[..., Any]


class KnowsThePace(Forecaster):
    """Right about the toy world of ten frames a second, if it is told the true instants.

    Each of its context frames must have the number that its stamp says, seen from the newest one.
    """

    kind = "knows"
    takes_any_instants = True
    context_frames, channels, grid = 4, 4, None

    def remember(self, z: torch.Tensor, stamps_s: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (z,)

    def stream(
        self, memories: Any, stamps_s: torch.Tensor, ahead_s: Sequence[float],
        motion: Any = None, samples: int = 1, layers: Sequence[int] = (),
    ) -> Iterator[Prediction]:  # fmt: skip
        z = memories[0].double()
        numbers = z[:, :, 0, 0, 0]
        assert (stamps_s[:, -1] == 0).all()
        torch.testing.assert_close(numbers, numbers[:, -1:] + 10 * stamps_s, atol=1e-6, rtol=0)
        apart = (numbers[:, -1] - numbers[:, 0])[:, None, None, None]
        a_frame = (z[:, -1] - z[:, 0]) / apart
        frames = [z[:, -1] + 10 * ahead * a_frame for ahead in ahead_s]
        yield Prediction(torch.stack(frames, dim=1)[:, None].float())

    def with_wrapped_core(self, wrap: Any) -> Forecaster:
        return self

    def to_dict(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def knowing(toy_bundle: Maker) -> Any:
    bundle = replace(toy_bundle(), forecaster=KnowsThePace())
    bundle.forecaster.frame_interval_s = 0.2
    return bundle


def gains(report: Any) -> dict[tuple[str, float], float]:
    found = {}
    for one in report.features:
        gain = one.rows["forecast"].improvements["mse"]
        found[one.lead.kind, round(one.lead.nominal_s, 6)] = gain.percent
    return found


@pytest.mark.slow
def test_the_true_times_are_told_in_every_series(knowing: Any, toy_recording: Maker) -> None:
    rng = np.random.default_rng(0)
    # A camera that drops a third of its frames and has lost none of the stamps.
    kept = np.sort(rng.choice(160, 110, replace=False))
    config = EvaluationConfig(horizons=(1, 3), gaps_s=(0.6,), fitted=False, max_clips=8, half=False)
    every = evaluate(knowing, [toy_recording(80)], config)
    assert set(gains(every)) == {
        ("horizons", 0.2), ("horizons", 0.6), ("one step", 0.6),
        ("rollout", 0.6),
    }  # fmt: skip
    asked = EvaluationConfig(
        horizons=(), gaps_s=(), instants_s=(0.3, 1.1), fitted=False, max_clips=8, half=False,
        context=Setting(4, 0.2, jitter=0.3, missing=0.3),
    )  # fmt: skip
    report = evaluate(knowing, [PartOfRecording(toy_recording(160), kept, "sparse")], asked)
    assert set(gains(report)) == {("instants", 0.3), ("instants", 1.1)}
    for found in (every, report):
        assert all(gain == pytest.approx(100, abs=1e-6) for gain in gains(found).values())
    # The heads read what was asked for, too.
    assert report.labels[0].rows["forecast"].segmentation.miou == pytest.approx(1)
    assert report.labels[0].rows["copy_last"].segmentation.miou < 0.99


def test_contexts_lie_as_asked_and_are_drawn_alike_whatever_is_asked_for(
    toy_recording: Maker,
) -> None:
    recording = toy_recording(200, 0.05)
    setting = Setting(3, 0.4, jitter=0.25, missing=0.2)
    few, many = (
        plan_clips([recording], make_series(0.4, (), (), (), wanted, setting), 4, None)
        for wanted in ((0.3,), (0.3, 2.0))
    )
    context_of = {clip.context[-1]: clip.context for clip in few}
    assert len(many) > 100
    assert all(clip.context == context_of[clip.context[-1]] for clip in many)
    gaps = np.diff([clip.context for clip in few], axis=1) * 0.05
    assert gaps.min() >= 0.4 * 0.5 - 0.05
    assert len(np.unique(gaps)) > 3
    assert {clip.targets[0] - clip.context[-1] for clip in few} == {6}


def test_a_forecaster_of_one_interval_is_not_asked_for_instants(
    toy_bundle: Maker, toy_recording: Maker
) -> None:
    config = EvaluationConfig(horizons=(), gaps_s=(), instants_s=(0.3,), fitted=False)
    with pytest.raises(UsageError, match=r"kind toy\) takes frames 0.2 s apart"):
        evaluate(toy_bundle(), [toy_recording()], config)


@pytest.mark.parametrize(
    "wrong", [(4, 0.0), (0, 0.2), (17, 0.2), (4, 0.2, 0.5), (4, 0.2, 0.1, 0.95)]
)
def test_contexts_that_make_no_sense_are_refused(wrong: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError):
        Setting(*wrong)
