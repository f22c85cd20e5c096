"""Relative depth is scored by scale and shift from the past, and never with a free sign."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest
import torch

from dino_foresight_ros.model.tasks import DepthTask
from dino_foresight_ros.recordings.recording import Frame
from dino_foresight_ros.training.evaluation import EvaluationConfig, Report, evaluate

SIZE = (8, 60)
BINS = 256


def level_of(frame: float) -> np.ndarray:
    """(H, W) relative inverse depth: the ground rises to the camera, and comes nearer."""
    rows = 40 + 20 * np.arange(SIZE[0])[:, None] + 2 * round(frame)
    return np.clip(np.broadcast_to(rows, SIZE), 1, BINS - 1)


def metres_of(frame: float) -> np.ndarray:
    """(H, W) 1 / (0.002 level + 0.01)."""
    return (1 / (0.002 * level_of(frame) + 0.01)).astype(np.float32)


class Levels(torch.nn.Module):
    """Says the level that belongs to the features' frame number, or its opposite."""

    def __init__(self, swapped: bool) -> None:
        super().__init__()
        self.swapped = swapped

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        found = []
        for number in features[:, 0, 0, 0].tolist():
            levels = torch.as_tensor(level_of(number).copy())
            levels = BINS - 1 - levels if self.swapped else levels
            found.append(torch.nn.functional.one_hot(levels, BINS).permute(2, 0, 1).float())
        return torch.stack(found)


@pytest.fixture
def scored(toy_bundle: Callable[..., Any], toy_recording: type[Any]) -> Callable[..., Report]:
    class WithDepth(toy_recording):  # type: ignore[misc]
        def __init__(self, labelled: Collection[int], depth_is_metric: bool) -> None:
            super().__init__(40, 0.1, kind="depth", labelled=sorted(labelled))
            self.depth_is_metric = depth_is_metric

        def _read(self, index: int, labels: Collection[str]) -> Frame:
            frame: Frame = super()._read(index, ())
            known = "depth" in labels and index in self.labelled("depth")
            depth = metres_of(index) if self.depth_is_metric else level_of(index).astype(np.float32)
            return Frame(frame.stamp_ns, image=frame.image, depth=depth if known else None)

    def score(
        swapped: bool = False, metric: bool = True, labelled: Collection[int] = range(40)
    ) -> Report:
        bundle = toy_bundle(1.0, heads={"depth": Levels(swapped)})
        bundle.tasks = {"depth": DepthTask("relative", BINS)}
        recording = WithDepth(labelled, metric)
        config = EvaluationConfig(horizons=(1,), gaps_s=(), fitted=False)
        return evaluate(bundle, [recording], config)

    return score


def test_scale_and_shift_of_the_past_make_it_exact(scored: Callable[..., Report]) -> None:
    rows = scored().labels[0].rows
    assert rows["forecast"].depth is not None
    assert rows["forecast"].depth.abs_rel == pytest.approx(0, abs=1e-5)
    assert rows["copy_last"].depth is not None
    assert rows["copy_last"].depth.abs_rel > 0.01


def test_near_and_far_swapped_are_not_scored(scored: Callable[..., Report]) -> None:
    report = scored(swapped=True)
    assert all(result.rows["forecast"].depth is None for result in report.labels)
    assert any("near and far are swapped" in note for note in report.notes)


def test_a_frame_without_a_labelled_past_is_not_scored(scored: Callable[..., Report]) -> None:
    report = scored(labelled=[19])
    assert not report.labels
    assert any("1 of 1 frames have no scale" in note for note in report.notes)


def test_pseudo_depth_is_scored_level_by_level_without_alignment(
    scored: Callable[..., Report],
) -> None:
    """The authors' way: levels against levels, where the true one is above 0."""
    depth = scored(metric=False, labelled=[19]).labels[0].rows
    assert depth["oracle"].depth is not None
    assert depth["oracle"].depth.abs_rel == 0
    wrong = scored(swapped=True, metric=False, labelled=[19]).labels[0].rows["oracle"].depth
    assert wrong is not None
    true, said = level_of(19).astype(float), BINS - 1 - level_of(19).astype(float)
    assert wrong.abs_rel == pytest.approx((np.abs(said - true) / true).mean())
    assert wrong.delta1 == pytest.approx((np.maximum(said / true, true / said) < 1.25).mean())
