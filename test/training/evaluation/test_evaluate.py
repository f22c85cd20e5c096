from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest
import torch

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model import HeadInput
from dino_foresight_ros.recordings import Frame, LabelSpace, PartOfRecording
from dino_foresight_ros.training.evaluation import EvaluationConfig, Report, evaluate
from dino_foresight_ros.training.evaluation.results import PCA_SPACE, FeatureResult

Maker = Callable[..., Any]
SHORT = EvaluationConfig(
    horizons=(1, 2, 3), gaps_s=(0.2, 0.6), max_clips=6, max_label_clips=4, fitted=False
)


def at_horizon(report: Report, step: int) -> FeatureResult:
    wanted = ("horizons", step, PCA_SPACE)
    return next(r for r in report.features if (r.lead.kind, r.lead.step, r.space) == wanted)


def label(frame: float) -> np.ndarray:
    """The toy world's segmentation, written down once more: a car from the left edge to `frame`."""
    return (np.arange(60) < round(frame)).astype(int)


def mean_iou(predicted: list[np.ndarray], true: list[np.ndarray]) -> float:
    """Over all pixels together, mean over the two classes."""
    p, t = np.concatenate(predicted), np.concatenate(true)
    return float(
        np.mean([((p == c) & (t == c)).sum() / ((p == c) | (t == c)).sum() for c in (0, 1)])
    )


@pytest.mark.parametrize(("share", "percent"), [(0.0, 0.0), (0.5, 75.0), (1.0, 100.0)])
def test_improvement_of_a_known_forecaster_is_known(
    toy_bundle: Maker, toy_recording: Maker, share: float, percent: float
) -> None:
    recordings = [toy_recording(name=f"toy{i}") for i in range(10)]
    report = evaluate(toy_bundle(share), recordings, SHORT)

    kinds = {(r.lead.kind, r.lead.step) for r in report.features}
    assert kinds == {
        ("horizons", 1), ("horizons", 2), ("horizons", 3),
        ("one step", 1), ("rollout", 3),
    }  # fmt: skip
    for result in report.features:
        gain = result.rows["forecast"].improvements["mse"]
        assert gain is not None
        # The speed is the same everywhere, so no resample differs.
        assert gain.percent == pytest.approx(percent, abs=1e-9)
        assert (gain.low, gain.high) == pytest.approx((percent, percent), abs=1e-9)


def test_feature_errors_of_copy_last_are_the_textbook_ones(
    toy_bundle: Maker, toy_recording: Maker
) -> None:
    report = evaluate(toy_bundle(), [toy_recording()], SHORT)

    slopes = np.arange(1, 25).reshape(6, 4) / 8
    slopes[:, 0] = 1.0
    for step in (1, 2, 3):
        # The interval of 0.2 s is two frames; a step moves every value by twice its slope.
        change = 2 * step * slopes
        errors = at_horizon(report, step).rows["copy_last"].errors
        assert errors.mse == pytest.approx((change**2).mean(), rel=1e-6)
        smooth = np.where(change < 0.1, change**2 / 0.2, change - 0.05).mean()
        assert errors.smooth_l1 == pytest.approx(smooth, rel=1e-6)
        # Both point the same way.
        assert errors.cosine == pytest.approx(0, abs=1e-6)
        assert at_horizon(report, step).rows["oracle"].errors.mse == 0


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_share_of_the_gap_closed_is_that_of_the_maps(
    toy_bundle: Maker, toy_recording: Maker, share: float
) -> None:
    config = EvaluationConfig(
        horizons=(1, 3), gaps_s=(), max_clips=None, max_label_clips=None, fitted=False
    )
    report = evaluate(toy_bundle(share), [toy_recording(50)], config)

    assert [result.lead.step for result in report.labels if result.lead] == [1, 3]
    for result in report.labels:
        assert result.lead is not None
        ahead = 2 * result.lead.step
        # All clips: the newest context frame is 6 or later, the target the last frame or earlier.
        targets = range(6 + ahead, 50)
        if result.lead.step == 1:
            # Found at both steps of the series, or labelled at this one alone: all of them.
            assert result.frames == {"segmentation": len(targets)}
        true = [label(t) for t in targets]
        copied = mean_iou([label(t - ahead) for t in targets], true)
        forecast = mean_iou([label(t - ahead + share * ahead) for t in targets], true)
        assert result.rows["copy_last"].segmentation.miou == pytest.approx(copied, abs=1e-6)
        assert result.rows["forecast"].segmentation.miou == pytest.approx(forecast, abs=1e-6)
        assert result.rows["oracle"].segmentation.miou == pytest.approx(1)
        closed = {(c.predictor, c.score): c.share for c in result.closed}
        want = (forecast - copied) / (1 - copied)
        assert closed["forecast", "miou"] == pytest.approx(want, abs=1e-5)
        assert share not in (0.0, 1.0) or want == pytest.approx(share)


def test_heads_that_read_layers_are_scored_on_the_same_rollout(
    toy_bundle: Maker, toy_recording: Maker
) -> None:
    """The toy's layer holds what it predicts, so such a head is as good as one of features."""
    plain = toy_bundle(0.5)
    layered = toy_bundle(0.5, inputs={"segmentation": HeadInput("forecaster_layers", (0,))})
    reports = [evaluate(bundle, [toy_recording()], SHORT) for bundle in (plain, layered)]
    assert layered.forecaster.rollouts == plain.forecaster.rollouts
    scores = [[r.rows["forecast"].segmentation for r in report.labels] for report in reports]
    assert scores[0] == scores[1] != []
    for result in reports[1].labels:
        assert result.rows["copy_last"].segmentation is None


def test_linear_predictor_learns_a_linear_world(toy_bundle: Maker, toy_recording: Maker) -> None:
    config = EvaluationConfig(
        horizons=(1, 3), gaps_s=(), max_clips=10, fitted=True, mlp_steps=2, labels=False
    )
    fit = toy_recording(30, name="fit", first=100)
    report = evaluate(toy_bundle(), [toy_recording()], config, [fit])

    for step in (1, 3):
        gain = at_horizon(report, step).rows["linear"].improvements["mse"]
        assert gain is not None
        assert gain.percent > 99
        assert "mlp" in at_horizon(report, step).rows
    assert [facts.name for facts in report.fit_data] == ["fit"]


@pytest.mark.slow
def test_same_call_gives_the_same_report(toy_bundle: Maker, toy_recording: Maker) -> None:
    config = EvaluationConfig(horizons=(1, 2), gaps_s=(0.3,), max_clips=5, mlp_steps=10)
    fit = [toy_recording(30, name="fit", first=50)]

    def once() -> dict[str, Any]:
        torch.rand(3)  # the caller's own random numbers change nothing
        values = evaluate(toy_bundle(), [toy_recording()], config, fit).to_dict()
        del values["seconds"]
        return values

    assert json.dumps(once()) == json.dumps(once())


def test_random_state_of_the_caller_is_left_alone(toy_bundle: Maker, toy_recording: Maker) -> None:
    torch.manual_seed(3)
    want = torch.rand(2)
    torch.manual_seed(3)
    evaluate(
        toy_bundle(),
        [toy_recording()],
        EvaluationConfig(horizons=(1,), gaps_s=(), max_clips=5, mlp_steps=3),
        [toy_recording(30, name="fit", first=50)],
    )
    assert torch.equal(torch.rand(2), want)


@pytest.mark.slow
def test_every_frame_is_encoded_once(toy_bundle: Maker, toy_recording: Maker) -> None:
    bundle, recording = toy_bundle(), toy_recording(60)
    config = EvaluationConfig(
        horizons=(1, 2, 3), gaps_s=(0.2, 0.6), max_clips=None, max_label_clips=None, fitted=False
    )
    evaluate(bundle, [recording], config)
    assert sorted(bundle.encoder.encoded) == list(range(60))
    assert sorted(recording.reads) == list(range(60))


def test_fitted_part_is_set_aside_and_not_scored(toy_bundle: Maker, toy_recording: Maker) -> None:
    config = EvaluationConfig(horizons=(1,), gaps_s=(), mlp_steps=2, fit_share=0.4)
    report = evaluate(toy_bundle(), [toy_recording(80)], config)

    assert report.fit_data[0].frames + report.data[0].frames <= 80
    assert report.data[0].frames == pytest.approx(0.6 * 80, abs=2)
    assert "linear" in at_horizon(report, 1).rows


def test_frames_fitted_on_and_scored_are_refused(toy_bundle: Maker, toy_recording: Maker) -> None:
    whole = toy_recording(60)
    first = PartOfRecording(whole, np.arange(0, 31), "first")
    rest = PartOfRecording(toy_recording(60), np.arange(30, 60), "rest")
    config = EvaluationConfig(horizons=(1,), gaps_s=(), mlp_steps=1)
    with pytest.raises(InputError, match="rest: 1 of its frames would be fitted on and scored"):
        evaluate(toy_bundle(), [rest], config, [first])
    evaluate(toy_bundle(), [rest], config, [PartOfRecording(whole, np.arange(30), "first")])


def test_too_short_for_fitting_is_scored_without(toy_bundle: Maker, toy_recording: Maker) -> None:
    report = evaluate(
        toy_bundle(), [toy_recording(10)], EvaluationConfig(horizons=(1,), gaps_s=(), mlp_steps=1)
    )
    assert "linear" not in at_horizon(report, 1).rows
    assert "too short to set clips aside" in report.notes[0]


def test_series_without_clips_is_named_in_a_note(toy_bundle: Maker, toy_recording: Maker) -> None:
    config = EvaluationConfig(horizons=(1,), gaps_s=(0.2, 3.2), fitted=False)
    report = evaluate(toy_bundle(), [toy_recording()], config)
    assert report.notes == ("gap 3.2 s, one step: left out, no clip has frames at these times",)
    # The rollout has its context 0.2 s apart and fits into the 3.9 s.
    of_gap = [(r.lead.kind, r.lead.step) for r in report.features if r.lead.gap_s == 3.2]
    assert of_gap == [("rollout", 16)]


def test_recording_shorter_than_a_clip_is_refused(toy_bundle: Maker, toy_recording: Maker) -> None:
    short = toy_recording(5, labelled=[])
    with pytest.raises(InputError, match=r"no clip of 4 context frames.*has 5 frames in 0.40 s"):
        evaluate(toy_bundle(), [short], SHORT)


def test_sparse_labelled_frames_alone_give_heads_on_true_features(
    toy_bundle: Maker, toy_recording: Maker
) -> None:
    # As in CamVid: a frame a second, which no context of frames 0.2 s apart can be made of.
    report = evaluate(toy_bundle(), [toy_recording(12, 1.0, first=3)], SHORT)
    assert report.features == ()
    assert report.stills is not None
    assert report.stills.frames == {"segmentation": 4}
    assert report.stills.rows["oracle"].segmentation.miou == pytest.approx(1)


def test_labels_of_one_target_frame_are_scored(toy_bundle: Maker, toy_recording: Maker) -> None:
    # As in Cityscapes: 30 frames, of which only the 20th is labelled.
    recordings = [toy_recording(30, name=f"snippet{i}", labelled=[19]) for i in range(3)]
    report = evaluate(toy_bundle(1.0), recordings, SHORT)
    by_step = {
        r.lead.step: r for r in report.labels if r.lead is not None and r.lead.kind == "horizons"
    }
    assert sorted(by_step) == [1, 3]
    for result in by_step.values():
        assert result.frames == {"segmentation": 3}
        assert result.rows["forecast"].segmentation.miou == pytest.approx(1)
    # Features are scored on clips spread over everything all the same.
    assert at_horizon(report, 1).clips == 6


def test_still_scene_has_no_improvement_and_no_share(
    toy_bundle: Maker, toy_recording: type[Any]
) -> None:
    class StandingStill(toy_recording):  # type: ignore[misc]
        def _read(self, index: int, labels: Collection[str]) -> Frame:
            frame: Frame = super()._read(10, labels)
            return frame

    report = evaluate(toy_bundle(), [StandingStill()], SHORT)
    for result in report.features:
        assert result.rows["forecast"].improvements["mse"] is None
    for labelled in report.labels:
        for closed in labelled.closed:
            assert closed.share is None
            assert closed.reason == "undefined: the oracle is no better than copy-last"


def test_unreadable_frames_are_left_out_and_named(toy_bundle: Maker, toy_recording: Maker) -> None:
    told: list[str] = []
    recording = toy_recording(40, bad=[20])
    report = evaluate(toy_bundle(1.0), [recording], SHORT, on_warning=told.append)
    # Whether frame 20 is needed depends on the spread; clips of 7 frames in 40 do need it.
    assert told == ["left out: toy.png: frame 20 cannot be read: it is damaged"]
    assert "1 frames cannot be read: toy.png: frame 20" in report.notes[-1]
    assert at_horizon(report, 1).clips < 6
    gain = at_horizon(report, 1).rows["forecast"].improvements["mse"]
    assert gain is not None
    assert gain.percent == pytest.approx(100)


def test_too_many_unreadable_frames_are_an_error(toy_bundle: Maker, toy_recording: Maker) -> None:
    recording = toy_recording(60, bad=range(60))
    with pytest.raises(InputError, match="more than 20 files or frames cannot be read"):
        evaluate(
            toy_bundle(), [recording], EvaluationConfig(gaps_s=(), horizons=(1,), max_clips=None)
        )


def test_features_that_are_nan_are_an_error(toy_bundle: Maker, toy_recording: Maker) -> None:
    bundle = toy_bundle()
    bundle.pca.transform = lambda features: features * torch.nan
    with pytest.raises(InputError, match=r"toy: frame 0 gives features that are NaN"):
        evaluate(bundle, [toy_recording()], SHORT)


def test_classes_that_do_not_go_together_are_refused(
    toy_bundle: Maker, toy_recording: Maker
) -> None:
    space = LabelSpace(("cat", "dog"), ((0, 0, 0), (1, 1, 1)), ())
    with pytest.raises(InputError, match=r"the head has ground, car; the labels have cat, dog"):
        evaluate(toy_bundle(), [toy_recording(space=space)], SHORT)
    report = evaluate(
        toy_bundle(),
        [toy_recording(space=space)],
        EvaluationConfig(horizons=(1,), gaps_s=(), labels=False, fitted=False),
    )
    assert report.labels == ()


def test_labels_without_a_head_are_noted(toy_bundle: Maker, toy_recording: Maker) -> None:
    report = evaluate(toy_bundle(heads={}), [toy_recording()], SHORT)
    assert report.notes == ("labels of segmentation are not used: the bundle has no head for them",)
    assert report.stills is None


def test_no_recordings_are_refused(toy_bundle: Maker) -> None:
    with pytest.raises(InputError, match="no recordings"):
        evaluate(toy_bundle(), [], SHORT)


def test_patch_similarity_falls_with_the_gap(toy_bundle: Maker, toy_recording: Maker) -> None:
    report = evaluate(toy_bundle(), [toy_recording()], SHORT)
    assert [r.gap_s for r in report.similarity] == [0.2, 0.6]
    slopes = np.arange(1, 25).reshape(6, 4) / 8
    slopes[:, 0] = 1.0
    for result, frames in zip(report.similarity, (2, 6), strict=True):
        assert result.measured_gap_s == pytest.approx(frames / 10)
        assert result.overall.mse == pytest.approx(((frames * slopes) ** 2).mean(), rel=1e-6)
        assert result.overall.cosine == pytest.approx(1)
    assert set(report.similarity[0].classes) <= {"ground", "car"}


def test_horizons_beyond_the_longest_recording_are_left_out(
    toy_bundle: Maker, toy_recording: Maker
) -> None:
    # 12 frames, 0.1 s apart: context of 4 frames 0.2 s apart and 0.5 s, so two steps.
    config = EvaluationConfig(horizons=(1, 2, 3, 8), gaps_s=(), fitted=False)
    report = evaluate(toy_bundle(), [toy_recording(12)], config)
    assert [result.lead.step for result in report.features] == [1, 2]
    assert report.notes == ("steps above 2 of 0.2 s: left out, no recording is long enough",)


@pytest.mark.slow
def test_fitting_data_without_clips_is_noted(toy_bundle: Maker, toy_recording: Maker) -> None:
    config = EvaluationConfig(horizons=(1,), gaps_s=(1.0,), mlp_steps=1)
    fit = toy_recording(12, name="fit", first=90)
    report = evaluate(toy_bundle(), [toy_recording(60)], config, [fit])
    assert report.notes == (
        "gap 1 s, one step: the fitting data has no clips for linear and MLP",
        "gap 1 s, rollout: the fitting data has no clips for linear and MLP",
    )
    assert "linear" in at_horizon(report, 1).rows
