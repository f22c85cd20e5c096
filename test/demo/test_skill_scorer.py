"""Numbers of the demo's skill against values worked out by hand or by a slower way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dino_foresight_ros.demo import skill_chart
from dino_foresight_ros.demo.skill_chart import write_skill_chart
from dino_foresight_ros.demo.skill_scorer import Model, SkillScorer, tables
from dino_foresight_ros.render import style
from dino_foresight_ros.render.chart import chart_file
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene

MODEL = Model(classes=4, depth_is_metric=True)
PICTURE = np.zeros((8, 16, 3), np.uint8)


def scene(feature: float, class_id: int, depth: float) -> Scene:
    return Scene(
        0,
        features=np.full((2, 3, 5), feature, np.float32),
        segmentation=np.full((4, 6), class_id, np.uint8),
        depth=np.full((4, 6), depth, np.float32),
        depth_is_metric=True,
    )


def forecast(
    predicted: Scene, now: Scene, came: Scene, truth: Scene | None = None
) -> ComparedForecast:
    step = ComparedStep(
        replace(predicted, step=1, horizon_s=0.2), replace(came, image=PICTURE), truth
    )
    return ComparedForecast(replace(now, image=PICTURE), (step,), 1.0)


def numbers(*forecasts: ComparedForecast) -> dict:
    scorer = SkillScorer(MODEL)
    for one in forecasts:
        scorer.add(one)
    return scorer.numbers()


def test_forecast_and_copy_last_are_measured_against_what_came() -> None:
    found = numbers(
        forecast(scene(1.0, 2, 11.0), scene(3.0, 1, 5.0), scene(2.0, 2, 10.0)),
        forecast(scene(2.0, 0, 9.0), scene(2.0, 0, 20.0), scene(0.0, 0, 10.0)),
    )
    assert found["moments"] == 2
    assert found["horizons_ms"] == [200.0]
    assert found["feature_error"]["forecast"] == [pytest.approx((1 + 4) / 2)]
    assert found["feature_error"]["copy_last"] == [pytest.approx((1 + 4) / 2)]
    assert found["feature_error"]["skill"] == [0.0]
    assert found["segmentation_agreement"]["forecast"] == [1.0]
    assert found["segmentation_agreement"]["copy_last"] == [0.5]
    assert found["depth_error"]["forecast"] == [pytest.approx(0.1)]
    assert found["depth_error"]["copy_last"] == [pytest.approx((0.5 + 1.0) / 2)]
    # Without truth nothing is said of it.
    assert not any(name.startswith("true") for name in found)
    assert "normals_error_deg" not in found


def test_truth_is_scored_for_forecast_copy_last_and_oracle() -> None:
    truth = Scene(
        0, segmentation=np.full((40, 60), 2, np.uint8), depth=np.full((40, 60), 20.0, np.float32)
    )
    found = numbers(forecast(scene(0, 2, 22.0), scene(0, 1, 10.0), scene(0, 2, 19.0), truth=truth))
    miou, depth = found["true_segmentation_miou"], found["true_depth_error"]
    assert [miou[name] for name in ("forecast", "copy_last", "oracle")] == [[1.0], [0.0], [1.0]]
    assert depth["forecast"] == [pytest.approx(0.1)]
    assert depth["copy_last"] == [pytest.approx(0.5)]
    assert depth["oracle"] == [pytest.approx(0.05)]


def test_mean_iou_is_that_of_scikit_learn_over_the_classes_that_occur() -> None:
    random = np.random.default_rng(0)
    forecasts, expected = [], []
    for _ in range(2):
        true = random.choice([0, 2, 3, 255], (30, 40), p=[0.5, 0.2, 0.2, 0.1]).astype(np.uint8)
        ids = np.where(random.random(true.shape) < 0.6, true, random.integers(0, 4, true.shape))
        ids = np.where(true != 255, ids, 1).astype(np.uint8)
        predicted = replace(scene(0, 0, 1.0), segmentation=ids, depth=None)
        truth = Scene(0, segmentation=true)
        forecasts.append(forecast(predicted, predicted, predicted, truth=truth))
        expected.append((true[true != 255], ids[true != 255]))
    true, ids = (np.concatenate(side) for side in zip(*expected, strict=True))
    from sklearn.metrics import jaccard_score

    want = jaccard_score(true, ids, labels=[0, 2, 3], average="macro")
    found = numbers(*forecasts)["true_segmentation_miou"]["forecast"]
    assert found == [pytest.approx(want, abs=1e-6)]


def test_without_a_labelled_pixel_there_is_no_mean_iou() -> None:
    one = scene(0, 1, 1.0)
    nothing = Scene(0, segmentation=np.full((4, 6), 255, np.uint8))
    assert "true_segmentation_miou" not in numbers(forecast(one, one, one, truth=nothing))


def test_a_forecast_that_was_not_described_counts_for_nothing() -> None:
    whole = forecast(scene(1.0, 2, 11.0), scene(3.0, 1, 5.0), scene(2.0, 2, 10.0))
    step = whole.steps[0]
    came = Scene(0, image=PICTURE)
    unseen = replace(whole, steps=(replace(step, arrived=came),))
    unjudged = replace(whole, newest=Scene(0, image=PICTURE))
    assert numbers(whole, unjudged, unseen) == numbers(whole)
    assert numbers()["moments"] == 0
    assert tables(unjudged) == {}


def test_features_that_came_for_some_forecasts_only_are_averaged_over_those() -> None:
    whole = forecast(scene(1.0, 2, 11.0), scene(3.0, 1, 5.0), scene(2.0, 2, 10.0))
    step = whole.steps[0]
    without = replace(step, predicted=replace(step.predicted, features=None))
    lost = replace(whole, steps=(without,))
    found = numbers(whole, lost)
    assert found["feature_error"] == numbers(whole)["feature_error"]
    assert found["moments"] == 2


def drawn(path: Path, skill: dict, trained: bool = True) -> np.ndarray:
    write_skill_chart(path, skill, "title", ["fact"], trained)
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture[..., ::-1]


@pytest.mark.slow
def test_the_picture_has_a_chart_per_measure_and_the_warning(tmp_path: Path) -> None:
    whole = forecast(scene(1.0, 2, 11.0), scene(3.0, 1, 5.0), scene(2.0, 2, 10.0))
    found, path = numbers(whole), tmp_path / "skill.png"
    trained, untrained = drawn(path, found), drawn(path, found, False)
    fewer = drawn(path, {k: v for k, v in found.items() if "depth" not in k})
    assert trained.shape[1] == 1600
    assert len(trained) > len(fewer) + 300
    amber = (untrained == style.WARNING).all(-1).sum()
    assert amber > 10_000
    assert (trained == style.WARNING).all(-1).sum() == 0
    assert len(drawn(path, numbers())) > 400


@pytest.mark.slow
def test_steps_without_a_value_and_many_steps_are_drawn(tmp_path: Path) -> None:
    values = {"forecast": [0.1 * k for k in range(16)], "copy_last": [0.2 * k for k in range(16)]}
    values["forecast"][3] = None
    skill = {"horizons_ms": [200.0 * k for k in range(1, 17)], "feature_error": values}
    assert len(drawn(tmp_path / "skill.png", skill)) > 400


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["rising", "falling", "crossing", "flat", "high"])
def test_no_number_of_a_chart_touches_a_line_or_leaves_the_chart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    figures: list[Any] = []

    @contextmanager
    def keeping(*words: Any, **more: Any) -> Iterator[Any]:
        with chart_file(*words, **more) as figure:
            figures.append(figure)
            yield figure

    monkeypatch.setattr(skill_chart, "chart_file", keeping)
    x = np.arange(1, 4)
    ours, copied = {
        "rising": (0.2 * x, 0.3 * x),
        "falling": (0.9 - 0.2 * x, 0.8 - 0.25 * x),
        "crossing": (0.1 * x, 0.5 - 0.1 * x),
        "flat": (0.0 * x + 0.5, 0.0 * x + 0.5),
        "high": (0.0 * x + 0.999, 0.0 * x + 0.2),
    }[shape]
    lines = {"forecast": ours.tolist(), "copy_last": copied.tolist(), "oracle": [0.4] * 3}
    names = ("feature_error", "segmentation_agreement", "true_depth_error")
    skill = {"horizons_ms": [200.0, 400.0, 600.0], **dict.fromkeys(names, lines)}
    drawn(tmp_path / "skill.png", skill)
    (figure,) = figures
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == len(names)
    for axes in shown:
        assert len(axes.texts) == 3
        for text in axes.texts:
            box = text.get_window_extent()
            inner = axes.get_window_extent()
            assert inner.x0 <= box.x0 < box.x1 <= inner.x1
            assert inner.y0 <= box.y0 < box.y1 <= inner.y1
            for line in axes.lines:
                points = axes.transData.transform(line.get_xydata())
                assert points[:, 1].max() < box.y0
