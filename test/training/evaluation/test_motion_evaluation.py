"""Evaluation tells each row of a batch its own motion until each of its targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model import Prediction
from dino_foresight_ros.model.forecasters import Forecaster, WorldConfig, WorldForecaster
from dino_foresight_ros.recordings import PartOfRecording, Recording
from dino_foresight_ros.recordings.motion import MotionTrack, planar_pose
from dino_foresight_ros.training.compare import read_comparison
from dino_foresight_ros.training.evaluation import EvaluationConfig, Report, evaluate
from dino_foresight_ros.training.evaluation.predictors import roll_out

Maker = Callable[..., Any]


class Follows(Forecaster):
    """Predicts the toy world's frame as many frames on as it is told to move metres."""

    kind = "follows"
    takes_any_instants = takes_motion = True
    context_frames, channels, grid = 4, 4, None

    def remember(self, z: torch.Tensor, stamps_s: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (z,)

    def stream(
        self, memories: Any, stamps_s: torch.Tensor, ahead_s: Sequence[float],
        motion: Any = None, samples: int = 1, layers: Sequence[int] = (),
    ) -> Iterator[Prediction]:  # fmt: skip
        newest = memories[0][:, -1:]
        a_frame = newest - memories[0][:, -2:-1]
        a_frame = a_frame / a_frame[..., :1]  # channel 0 is the frame's number
        moved = torch.zeros(len(newest), len(ahead_s)) if motion is None else motion[..., 0]
        moved = moved.nan_to_num(0.0)[..., None, None, None]
        yield Prediction((newest + moved * a_frame)[:, None].float())

    def with_wrapped_core(self, wrap: Any) -> Forecaster:
        return self

    def to_dict(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def driven(toy_recording: Maker) -> type[Recording]:
    """A toy recording whose vehicle drives a metre from frame to frame."""

    class Driven(toy_recording):  # type: ignore[misc]
        @property
        def ego(self) -> Any:
            metres = np.arange(len(self), dtype=np.float64)
            poses = planar_pose(np.stack([metres, 0 * metres, 0 * metres], axis=1))
            return MotionTrack.from_poses(self.stamps_ns, poses).ego(self.stamps_ns)

    return Driven


def scored(toy_bundle: Maker, recordings: Sequence[Recording], **changes: Any) -> Report:
    bundle = replace(toy_bundle(), forecaster=Follows())
    bundle.forecaster.frame_interval_s = 0.2
    config = EvaluationConfig(
        horizons=(1, 3), gaps_s=(0.6,), fitted=False, max_clips=8, half=False, **changes
    )
    return evaluate(bundle, recordings, config)


def gains(report: Report) -> list[float]:
    return [round(r.rows["forecast"].improvements["mse"].percent, 6) for r in report.features]


@pytest.mark.slow
def test_the_true_motion_is_told_where_a_recording_knows_it(
    toy_bundle: Maker, toy_recording: Maker, driven: Maker
) -> None:
    parts = [PartOfRecording(driven(60), np.arange(7, 47), "part"), driven(40, name="whole")]
    told = scored(toy_bundle, parts)
    assert gains(told) == [100.0] * 4
    assert told.notes == (
        "the forecaster takes the vehicle's motion, and is told the true motion until each target",
    )
    untold = scored(toy_bundle, parts, motion=False)
    assert gains(untold) == [0.0] * 4
    assert untold.notes[0].endswith("is told no motion")
    one_of_two = scored(toy_bundle, [driven(40), toy_recording(40, name="still")])
    assert all(0 < gain < 100 for gain in gains(one_of_two))
    assert one_of_two.notes[0].endswith("until each target; 1 of 2 recordings know it")
    nobody = scored(toy_bundle, [toy_recording(40)])
    assert gains(nobody) == [0.0] * 4
    assert nobody.notes[0].endswith("is told no motion, which no recording knows")


@pytest.mark.slow
def test_gaps_whose_context_is_older_than_the_forecaster_takes_are_left_out(
    toy_bundle: Maker, toy_recording: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Follows, "max_context_age_s", 1.0, raising=False)
    report = scored(toy_bundle, [toy_recording(60)])
    assert [one.lead.kind for one in report.features] == ["horizons", "horizons", "rollout"]
    assert report.notes[0] == (
        "left out: gap 0.6 s, one step: context frames would be more than 1 s older than the "
        "newest (max_context_age_s)"
    )
    monkeypatch.setattr(Follows, "max_context_age_s", 0.1)
    with pytest.raises(UsageError, match="nothing is left"):
        scored(toy_bundle, [toy_recording(60)])


def test_rows_of_different_instants_are_told_their_own_motion():
    torch.manual_seed(0)
    config = WorldConfig(6, width=24, layers=2, heads=2, rope=(4, 4, 4), motion="blocks")
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    for parameter in forecaster.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    context = torch.randn(3, 2, 3, 4, 6)
    stamps_s = torch.tensor([[-0.2, 0.0]]).double().expand(3, -1)
    ahead_s = torch.tensor([[0.2, 0.6], [0.25, 0.5], [0.2, 0.6]]).double()
    motion = torch.randn(3, 2, 3).double()
    motion[1, 1] = torch.nan
    bundle = SimpleNamespace(forecaster=forecaster, heads={})
    found, _ = roll_out(bundle, context, (1, 3), stamps_s, ahead_s, motion)
    for row in range(3):
        one = slice(row, row + 1)
        memories = forecaster.remember(context[one], stamps_s[one])
        alone = forecaster.forecast(memories, stamps_s[one], ahead_s[row].tolist(), motion[one])
        torch.testing.assert_close(found[row], alone[0, 0], rtol=1e-4, atol=1e-4)


def test_the_comparison_of_conditionings_tells_the_motion():
    comparison = read_comparison("motion")
    assert comparison.evaluation.motion
    assert comparison.axes == {"forecaster.motion": ("none", "blocks", "film")}
