from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.training.evaluation import EvaluationConfig
from dino_foresight_ros.training.evaluation.clip_plan import plan_clips, plan_stills
from dino_foresight_ros.training.evaluation.series import Series, make_series, steps_for_gap

Maker = Callable[..., Any]
SERIES = [Series("horizons", 0.2, (1, 3), (1, 3)), Series("one step", 0.5, (1,), (), 0.5)]


@pytest.mark.parametrize("gap", [0.125, 0.2, 0.25, 0.5, 0.6, 1.0, 1.5, 9.0])
@pytest.mark.parametrize("interval", [0.1, 0.18, 0.2, 1.0])
def test_rollout_steps_lie_nearest_to_the_interval(gap: float, interval: float) -> None:
    count = steps_for_gap(gap, interval)
    off = abs(gap / count - interval)
    assert all(off <= abs(gap / other - interval) for other in range(1, 17))


def test_every_gap_is_labelled_in_exactly_one_way() -> None:
    series = make_series(0.2, (1, 2, 3), (0.125, 0.25, 1.0), (1, 3))
    assert series[0] == Series("horizons", 0.2, (1, 2, 3), (1, 3))
    of_gaps = [(s.gap_s, s.kind, s.steps, s.label_steps) for s in series[1:]]
    assert of_gaps == [
        (0.125, "one step", (1,), (1,)),
        (0.25, "one step", (1,), (1,)),
        (1.0, "one step", (1,), ()),
        (1.0, "rollout", (5,), (5,)),
    ]
    assert series[-1].spacing_s == pytest.approx(0.2)


def test_frames_of_every_clip_lie_at_its_times(toy_recording: Maker) -> None:
    rng = np.random.default_rng(0)
    recording = toy_recording(60, stamps_ns=np.sort(rng.integers(0, 6_000_000_000, 60)))
    clips = plan_clips([recording], SERIES, 4, None)

    assert {clip.series for clip in clips} == {0, 1}
    for clip in clips:
        one = SERIES[clip.series]
        stamps_s = recording.stamps_ns / 1e9
        anchor = stamps_s[clip.context[-1]]
        wanted = [anchor - k * one.spacing_s for k in (3, 2, 1, 0)]
        wanted += [anchor + k * one.spacing_s for k in one.steps]
        for frame, instant in zip((*clip.context, *clip.targets), wanted, strict=True):
            assert abs(stamps_s[frame] - instant) <= 0.45 * one.spacing_s
            assert abs(stamps_s[frame] - instant) == pytest.approx(np.abs(stamps_s - instant).min())


def test_first_and_last_frames_do_not_stand_in_for_what_lies_beyond(toy_recording: Maker) -> None:
    clips = plan_clips([toy_recording(40)], [Series("one step", 1.0, (1,), (), 1.0)], 4, None)
    # 40 frames last 3.9 s; a clip takes 4 s.
    assert clips == []


def test_clips_are_spread_over_all_recordings(toy_recording: Maker) -> None:
    recordings = [toy_recording(40, name=str(i)) for i in range(4)]
    clips = plan_clips(recordings, SERIES[:1], 4, 8)
    assert len(clips) == 8
    assert {clip.recording for clip in clips} == {0, 1, 2, 3}
    assert [clip.recording for clip in clips] == sorted(clip.recording for clip in clips)


def test_labels_are_scored_on_scored_clips_where_those_suffice(toy_recording: Maker) -> None:
    clips = plan_clips([toy_recording(60)], SERIES[:1], 4, 10, ("segmentation",), 4)
    assert all(clip.scored for clip in clips)
    for step in (0, 1):
        assert sum(step in clip.labelled for clip in clips) == 4


@pytest.mark.parametrize("other", [31, 34])
def test_labels_are_scored_where_they_are(toy_recording: Maker, other: int) -> None:
    # Frames 30 and 34 follow from the same context, by one step and by three.
    recording = toy_recording(60, labelled=[30, other])
    clips = plan_clips([recording], SERIES[:1], 4, 2, ("segmentation",), None)
    for position, step in enumerate((1, 3)):
        of_step = [clip for clip in clips if position in clip.labelled]
        assert sorted(clip.targets[position] for clip in of_step) == [30, other]
        assert all(clip.context[-1] == clip.targets[position] - 2 * step for clip in of_step)
    assert sum(clip.scored for clip in clips) == 2


def test_stills_are_labelled_frames(toy_recording: Maker) -> None:
    recordings = [toy_recording(9, labelled=[2, 5]), toy_recording(9, labelled=[])]
    stills = plan_stills(recordings, 7, ("segmentation",), None)
    assert [(s.recording, s.targets, s.context, s.series) for s in stills] == [
        (0, (2,), (), 7), (0, (5,), (), 7),
    ]  # fmt: skip
    assert len(plan_stills([toy_recording(50)], 7, ("segmentation",), 6)) == 6


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"horizons": (0,)}, "horizon 0 is not in 1 to 16 steps"),
        ({"horizons": (17,)}, "horizon 17 is not in 1 to 16 steps"),
        ({"gaps_s": (-1.0,)}, "gap -1.0 is not above 0"),
        ({"gaps_s": (float("nan"),)}, "gap nan is not above 0"),
        ({"horizons": (), "gaps_s": ()}, "nothing to score"),
        ({"max_clips": 0}, "max_clips is 0"),
        ({"mlp_steps": 0}, "mlp_steps is 0"),
        ({"fit_share": 1.0}, "fit_share is 1.0; it must be between 0 and 1"),
    ],
)
def test_configuration_is_checked_when_it_is_built(values: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        EvaluationConfig(**values)


def test_gap_that_the_frames_are_far_from_has_no_clips(toy_recording: Maker) -> None:
    # Frames a second apart: 1.5 s later lies either 1 s or 2 s later.
    gap = Series("one step", 1.5, (1,), (), 1.5)
    assert plan_clips([toy_recording(40, 1.0)], [gap], 4, None) == []
    assert plan_clips([toy_recording(40, 0.5)], [gap], 4, None) != []
