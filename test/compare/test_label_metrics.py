from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dino_foresight_ros.compare.label_metrics import (
    DepthMetrics,
    DepthScores,
    NormalsMetrics,
    NormalsScores,
    SegmentationMetrics,
    SegmentationScores,
)
from dino_foresight_ros.errors import InputError, UsageError

MOVING = range(11, 19)  # of Cityscapes
DEPTH_KEYS = {
    "delta1": "d1",
    "delta2": "d2",
    "delta3": "d3",
    "abs_rel": "abs_rel",
    "sq_rel": "sq_rel",
    "rmse": "rmse",
    "log10": "log_10",
    "rmse_log": "rmse_log",
    "silog": "silog",
}
NORMALS_KEYS = {
    "mean_deg": "mean_ae",
    "median_deg": "median_ae",
    "rmse_deg": "rmse",
    "within_5_deg": "a1_5",
    "within_7_5_deg": "a2_7.5",
    "within_11_25_deg": "a3_11.25",
    "within_22_5_deg": "a4_22.5",
    "within_30_deg": "a5_30",
}


@pytest.fixture(scope="module")
def maps(project_root: Path) -> dict[str, torch.Tensor]:
    """Inputs whose scores the authors' code computed; normals with channels last."""
    tensors = load_file(project_root / "test/golden/golden.safetensors")
    maps = {name[7:]: t for name, t in tensors.items() if name.startswith("metric_")}
    for name in ("normals_pred", "normals_gt"):
        maps[name] = maps[name].permute(0, 2, 3, 1)
    return maps


@pytest.fixture(scope="module")
def golden(project_root: Path) -> dict[str, Any]:
    return json.loads((project_root / "test/golden/metrics.json").read_text())


def score_ids(
    predicted: Any, true: Any, classes: int = 3, moving: tuple[int, ...] = ()
) -> SegmentationScores:
    metrics = SegmentationMetrics(classes, moving)
    metrics.update(torch.as_tensor(predicted), torch.as_tensor(true))
    return metrics.compute()


def score_depth(predicted: torch.Tensor, true: torch.Tensor) -> DepthScores:
    metrics = DepthMetrics()
    metrics.update(predicted, true)
    return metrics.compute()


def score_normals(predicted: torch.Tensor, true: torch.Tensor) -> NormalsScores:
    metrics = NormalsMetrics()
    metrics.update(predicted, true)
    return metrics.compute()


# Independent references: plain loops over pixels.


def reference_iou(predicted: np.ndarray, true: np.ndarray, classes: int) -> list[float]:
    confusion = [[0] * classes for _ in range(classes)]
    for p, t in zip(predicted.ravel().tolist(), true.ravel().tolist(), strict=True):
        if t != 255:
            confusion[t][p] += 1
    result = []
    for k in range(classes):
        row, column = sum(confusion[k]), sum(confusion[t][k] for t in range(classes))
        result.append(confusion[k][k] / (row + column - confusion[k][k]))
    return result


def reference_depth(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    pairs = zip(predicted.ravel().tolist(), true.ravel().tolist(), strict=True)
    pairs_known = [(p, t) for p, t in pairs if t > 0]
    n = len(pairs_known)
    logs = [math.log(p / t) for p, t in pairs_known]
    centre = sum(logs) / n
    return {
        **{
            f"delta{k}": sum(max(p / t, t / p) < 1.25**k for p, t in pairs_known) / n
            for k in (1, 2, 3)
        },
        "abs_rel": sum(abs(p - t) / t for p, t in pairs_known) / n,
        "sq_rel": sum((p - t) ** 2 / t for p, t in pairs_known) / n,
        "rmse": math.sqrt(sum((p - t) ** 2 for p, t in pairs_known) / n),
        "log10": sum(abs(math.log10(p / t)) for p, t in pairs_known) / n,
        "rmse_log": math.sqrt(sum(e * e for e in logs) / n),
        "silog": 100 * math.sqrt(sum((e - centre) ** 2 for e in logs) / n),
    }


def reference_normals(predicted: np.ndarray, true: np.ndarray) -> dict[str, float]:
    angles = []
    for p, t in zip(predicted.reshape(-1, 3), true.reshape(-1, 3), strict=True):
        # By the tangent: no arc cosine of a rounded number.
        cross = np.linalg.norm(np.cross(p, t))
        angles.append(math.degrees(math.atan2(cross, float(p @ t))))
    angles.sort()
    n = len(angles)
    shares = {
        limit: 100 * sum(a < limit for a in angles) / n for limit in (5, 7.5, 11.25, 22.5, 30)
    }
    return {
        "mean_deg": sum(angles) / n,
        "median_deg": angles[(n - 1) // 2],
        "rmse_deg": math.sqrt(sum(a * a for a in angles) / n),
        **{f"within_{limit:g}_deg".replace(".", "_"): share for limit, share in shares.items()},
    }


# The authors' numbers


def test_segmentation_scores_are_the_authors(maps: dict, golden: dict) -> None:
    scores = score_ids(maps["segm_pred"], maps["segm_gt"], 19, tuple(MOVING))

    assert scores.miou == pytest.approx(golden["segmentation"]["mIoU"], rel=1e-6)
    assert scores.moving_miou == pytest.approx(golden["segmentation"]["MO_mIoU"], rel=1e-6)
    assert scores.per_class == pytest.approx(golden["segmentation"]["per_class"], rel=1e-6)


@pytest.mark.parametrize(("ours", "theirs"), DEPTH_KEYS.items())
def test_depth_scores_are_the_authors(maps: dict, golden: dict, ours: str, theirs: str) -> None:
    scores = score_depth(maps["depth_pred"], maps["depth_gt"])

    assert getattr(scores, ours) == pytest.approx(golden["depth"][theirs], rel=1e-6)


@pytest.mark.parametrize(("ours", "theirs"), NORMALS_KEYS.items())
def test_normals_scores_are_the_authors(maps: dict, golden: dict, ours: str, theirs: str) -> None:
    scores = score_normals(maps["normals_pred"], maps["normals_gt"])

    assert getattr(scores, ours) == pytest.approx(golden["normals"][theirs], rel=1e-6)


# Loops over pixels


@pytest.mark.parametrize("seed", range(3))
def test_segmentation_scores_agree_with_a_confusion_matrix_by_loops(seed: int) -> None:
    random = np.random.default_rng(seed)
    true = random.integers(0, 5, (2, 17, 13))
    predicted = np.where(random.random(true.shape) < 0.6, true, random.integers(0, 5, true.shape))
    true[random.random(true.shape) < 0.2] = 255

    scores = score_ids(predicted.astype(np.uint8), true.astype(np.uint8), 5, (1, 4))

    expected = reference_iou(predicted, true, 5)
    assert scores.per_class == pytest.approx(expected, rel=1e-6)
    assert scores.miou == pytest.approx(np.mean(expected), rel=1e-6)
    assert scores.moving_miou == pytest.approx((expected[1] + expected[4]) / 2, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_depth_scores_agree_with_loops_over_pixels(seed: int) -> None:
    random = np.random.default_rng(seed)
    true = random.uniform(1, 80, (2, 17, 13))
    predicted = true * np.exp(random.normal(0.1, 0.3, true.shape))
    true[random.random(true.shape) < 0.2] = 0

    scores = score_depth(torch.from_numpy(predicted), torch.from_numpy(true))

    assert asdict(scores) == pytest.approx(
        {**reference_depth(predicted, true), "known": 1.0}, rel=1e-9
    )


def test_depth_that_was_not_predicted_is_left_out_and_counted() -> None:
    random = np.random.default_rng(5)
    true = random.uniform(1, 80, (1, 20, 10))
    predicted = true * np.exp(random.normal(0.1, 0.3, true.shape))
    true[0, :4] = 0
    unknown = np.zeros(true.shape, bool)
    unknown[0, :8] = True  # 4 rows of unknown truth, 4 of 16 with a true depth

    holes = np.where(unknown, np.nan, predicted)
    scores = score_depth(torch.from_numpy(holes), torch.from_numpy(true))

    expected = reference_depth(predicted, np.where(unknown, 0, true))
    assert asdict(scores) == pytest.approx({**expected, "known": 0.75}, rel=1e-9)


@pytest.mark.parametrize("pixels", [(2, 17, 13), (1, 15, 13)], ids=["even", "odd"])
def test_normals_scores_agree_with_loops_over_pixels(pixels: tuple[int, ...]) -> None:
    random = np.random.default_rng(len(pixels))
    true = random.normal(size=(*pixels, 3))
    predicted = true + random.normal(0, 0.4, true.shape)

    scores = score_normals(torch.from_numpy(predicted), torch.from_numpy(true))

    assert asdict(scores) == pytest.approx(reference_normals(predicted, true), rel=1e-9)


# Several updates


def test_segmentation_of_several_updates_is_scored_over_all_their_pixels(maps: dict) -> None:
    predicted, true = maps["segm_pred"], maps["segm_gt"]
    metrics = SegmentationMetrics(19, MOVING)
    for part in (slice(0, 10), slice(10, None)):
        metrics.update(predicted[:, part], true[:, part])

    assert metrics.compute() == score_ids(predicted, true, 19, tuple(MOVING))


def test_depth_of_several_updates_is_the_mean_of_their_scores(maps: dict) -> None:
    predicted, true = maps["depth_pred"], maps["depth_gt"]
    parts = (slice(0, 5), slice(5, None))  # unequal, yet of equal weight
    metrics = DepthMetrics()
    for part in parts:
        metrics.update(predicted[:, part], true[:, part])

    each = [reference_depth(predicted[:, p].numpy(), true[:, p].numpy()) for p in parts]
    expected = {name: (each[0][name] + each[1][name]) / 2 for name in DEPTH_KEYS}
    assert asdict(metrics.compute()) == pytest.approx({**expected, "known": 1.0}, rel=1e-6)
    pooled = reference_depth(predicted.numpy(), true.numpy())
    assert expected["rmse"] != pytest.approx(pooled["rmse"], rel=1e-4)


def test_pictures_without_any_predicted_depth_count_as_unknown_alone(maps: dict) -> None:
    predicted, true = maps["depth_pred"], maps["depth_gt"]
    metrics = DepthMetrics()
    assert metrics.update(predicted * math.nan, true) == {"known": 0.0}
    blind = metrics.compute()
    assert (blind.known, blind.delta1, blind.abs_rel) == (0.0, 0.0, math.inf)
    metrics.update(predicted, true)
    expected = {**reference_depth(predicted.numpy(), true.numpy()), "known": 0.5}
    assert asdict(metrics.compute()) == pytest.approx(expected, rel=1e-6)


def test_normals_of_several_updates_are_the_mean_of_their_scores(maps: dict) -> None:
    predicted, true = maps["normals_pred"], maps["normals_gt"]
    parts = (slice(0, 5), slice(5, None))
    metrics = NormalsMetrics()
    for part in parts:
        metrics.update(predicted[:, part], true[:, part])

    each = [asdict(score_normals(predicted[:, p], true[:, p])) for p in parts]
    expected = {name: (each[0][name] + each[1][name]) / 2 for name in NORMALS_KEYS}
    assert asdict(metrics.compute()) == pytest.approx(expected, rel=1e-12)


def test_scores_can_be_read_between_updates(maps: dict) -> None:
    metrics = SegmentationMetrics(19)
    metrics.update(maps["segm_pred"][:1], maps["segm_gt"][:1])
    first = metrics.compute()
    metrics.update(maps["segm_pred"][1:], maps["segm_gt"][1:])

    assert metrics.compute() != first
    assert metrics.compute() == score_ids(maps["segm_pred"], maps["segm_gt"], 19)


# Segmentation: ignored pixels, absent classes


def test_predictions_at_unlabelled_pixels_do_not_count(maps: dict) -> None:
    predicted, true = maps["segm_pred"].clone(), maps["segm_gt"]
    before = score_ids(predicted, true, 19)
    assert (true == 255).any()
    predicted[true == 255] = 200  # not even a class

    assert score_ids(predicted, true, 19) == before


def test_a_class_that_is_nowhere_scores_zero_and_lowers_the_mean_as_the_authors() -> None:
    scores = score_ids([[[0, 0, 1, 1]]], [[[0, 1, 1, 1]]], classes=4, moving=(1, 3))

    assert scores.per_class == pytest.approx((1 / 2, 2 / 3, 0.0, 0.0))
    assert scores.miou == pytest.approx((1 / 2 + 2 / 3) / 4)
    assert scores.moving_miou == pytest.approx(1 / 3)
    assert scores.present == (True, True, False, False)


def test_a_class_that_is_only_predicted_is_present_and_scores_zero() -> None:
    scores = score_ids([[[0, 2]]], [[[0, 0]]])

    assert scores.per_class == pytest.approx((1 / 2, 0.0, 0.0))
    assert scores.present == (True, False, True)


def test_means_are_over_the_wanted_classes_that_are_in_the_ground_truth() -> None:
    scores = score_ids([[[0, 2, 2, 1]]], [[[0, 2, 0, 255]]])
    assert scores.labelled == (True, False, True)
    assert scores.mean_over(range(3)) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert scores.mean_over([0, 1]) == pytest.approx(1 / 2)
    assert scores.mean_over([1]) is None


def test_a_class_that_is_never_predicted_is_present_and_scores_zero() -> None:
    scores = score_ids([[[0, 0]]], [[[0, 2]]])

    assert scores.per_class == pytest.approx((1 / 2, 0.0, 0.0))
    assert scores.present == (True, False, True)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32])
def test_ids_of_any_integer_type_score_the_same(maps: dict, dtype: torch.dtype) -> None:
    predicted, true = maps["segm_pred"], maps["segm_gt"]

    scores = score_ids(predicted.to(dtype), true.to(dtype), 19)

    assert scores == score_ids(predicted, true, 19)


def test_a_class_that_is_only_under_unlabelled_pixels_is_absent() -> None:
    assert score_ids([[[0, 2]]], [[[0, 255]]]).present == (True, False, False)


def test_without_moving_classes_there_is_no_moving_score() -> None:
    assert score_ids([[[0, 1]]], [[[0, 1]]]).moving_miou is None


# Depth: limits, units, predictions of zero


def test_a_factor_of_exactly_1_25_is_not_below_it() -> None:
    scores = score_depth(torch.full((1, 2, 2), 5.0), torch.full((1, 2, 2), 4.0))

    assert (scores.delta1, scores.delta2, scores.delta3) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize("factor", [0.5, 7.0])
def test_silog_leaves_a_wrong_scale_alone_and_is_never_nan(maps: dict, factor: float) -> None:
    # For 7, the textbook's E[e^2] - E[e]^2 is rounded to below zero, which has no root.
    true = maps["depth_gt"]
    scores = score_depth(true * factor + (true == 0), true)

    assert scores.silog == pytest.approx(0.0, abs=1e-4)
    assert scores.rmse_log == pytest.approx(abs(math.log(factor)), rel=1e-6)
    assert scores.log10 == pytest.approx(abs(math.log10(factor)), rel=1e-6)
    assert scores.abs_rel == pytest.approx(abs(factor - 1), rel=1e-6)


@pytest.mark.parametrize("unknown", [0.0, -1.0, float("nan"), float("inf")])
def test_pixels_of_unknown_depth_do_not_count(maps: dict, unknown: float) -> None:
    true = torch.where(maps["depth_gt"] > 0, maps["depth_gt"], torch.tensor(unknown))
    predicted = torch.where(maps["depth_gt"] > 0, maps["depth_pred"], torch.tensor(float("nan")))

    scores = score_depth(predicted, true)

    assert scores == score_depth(maps["depth_pred"], maps["depth_gt"])


def test_a_predicted_zero_makes_the_logarithmic_errors_infinite_and_not_nan() -> None:
    scores = score_depth(torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[1.0, 2.0]]]))

    assert (scores.log10, scores.rmse_log, scores.silog) == (math.inf, math.inf, math.inf)
    assert (scores.delta3, scores.abs_rel) == (0.5, 0.5)


def test_depth_of_bytes_scores_as_the_same_numbers_in_float() -> None:
    # 8-bit arithmetic would wrap around.
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randint(1, 256, (1, 9, 9), generator=generator, dtype=torch.uint8)
    true = torch.randint(0, 256, (1, 9, 9), generator=generator, dtype=torch.uint8)

    assert score_depth(predicted, true) == score_depth(predicted.double(), true.double())


# Normals: known angles, lengths, unknown pixels


def tilted(*degrees: float) -> torch.Tensor:
    """(1, 1, n, 3) normals tilted from the optical axis."""
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    normals = torch.stack([angles.sin(), torch.zeros_like(angles), angles.cos()], dim=-1)
    return normals[None, None]


def test_known_angles_give_known_scores() -> None:
    predicted = tilted(4, 6, 10, 20, 25, 170)
    scores = score_normals(predicted, tilted(0).expand_as(predicted))

    assert scores.mean_deg == pytest.approx(235 / 6)
    assert scores.median_deg == pytest.approx(10)  # the lower of the middle two
    assert scores.rmse_deg == pytest.approx(math.sqrt((16 + 36 + 100 + 400 + 625 + 28900) / 6))
    within = [getattr(scores, name) for name in NORMALS_KEYS if name.startswith("within")]
    assert within == pytest.approx([100 / 6, 200 / 6, 300 / 6, 400 / 6, 500 / 6])


def test_lengths_of_normals_do_not_matter(maps: dict) -> None:
    predicted, true = maps["normals_pred"], maps["normals_gt"]

    scaled = score_normals(predicted * 7, true * 0.01)

    assert asdict(scaled) == pytest.approx(asdict(score_normals(predicted, true)), rel=1e-6)


def test_equal_and_opposite_normals_are_0_and_180_degrees_apart(maps: dict) -> None:
    true = maps["normals_gt"]

    assert score_normals(true, true).mean_deg == pytest.approx(0, abs=1e-3)
    assert score_normals(-true, true).mean_deg == pytest.approx(180, abs=1e-3)


@pytest.mark.parametrize("unknown", [0.0, float("nan")])
def test_pixels_of_unknown_normal_do_not_count(unknown: float) -> None:
    predicted, true = tilted(10, 50), tilted(0, 0)
    true[0, 0, 1] = unknown
    predicted[0, 0, 1] = float("nan")

    assert score_normals(predicted, true).mean_deg == pytest.approx(10)


def test_a_predicted_normal_of_no_length_is_90_degrees_off() -> None:
    assert score_normals(torch.zeros(1, 1, 1, 3), tilted(0).float()).mean_deg == pytest.approx(90)


# Bad input

ONES = torch.ones(1, 2, 3)
IDS = ONES.long()
NORMALS = torch.ones(1, 2, 3, 3)


@pytest.mark.parametrize(
    ("metrics", "predicted", "true", "message"),
    [
        (SegmentationMetrics(3), IDS, IDS[:, :1], r"\(1, 2, 3\) and true \(1, 1, 3\)"),
        (SegmentationMetrics(3), IDS[0], IDS[0], r"the same \(B, H, W\)"),
        (SegmentationMetrics(3), ONES, IDS, r"predicted is torch\.float32"),
        (SegmentationMetrics(3), IDS, IDS > 0, r"true is torch\.bool"),
        (SegmentationMetrics(3), IDS, IDS * 255, r"every pixel is unlabelled \(255\)"),
        (SegmentationMetrics(3), IDS * 3, IDS, "predicted has id 3; valid: 0 to 2$"),
        (SegmentationMetrics(3), IDS, IDS * -1, "true has id -1; valid: 0 to 2, and 255"),
        (SegmentationMetrics(3), IDS[:0], IDS[:0], "nothing to score"),
        (DepthMetrics(), ONES, ONES[..., :1], r"true \(1, 2, 1\)"),
        (DepthMetrics(), ONES[None], ONES[None], r"the same \(B, H, W\)"),
        (DepthMetrics(), ONES, ONES * 0, "no pixel has a true depth > 0"),
        (DepthMetrics(), ONES * float("inf"), ONES, "negative or infinite"),
        (DepthMetrics(), -ONES, ONES, "negative or infinite"),
        (NormalsMetrics(), NORMALS.transpose(1, 3), NORMALS.transpose(1, 3), r"\(B, H, W, 3\)"),
        (NormalsMetrics(), ONES, ONES, r"the same \(B, H, W, 3\)"),
        (NormalsMetrics(), NORMALS, NORMALS * 0, "no pixel has a true normal"),
        (NormalsMetrics(), NORMALS * float("inf"), NORMALS, "non-finite"),
    ],
)
def test_input_that_cannot_be_scored_is_refused_in_one_line(
    metrics: Any, predicted: torch.Tensor, true: torch.Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        metrics.update(predicted, true)
    assert "\n" not in str(caught.value)
    # Nothing of it was counted.
    with pytest.raises(InputError, match="nothing was scored"):
        metrics.compute()


@pytest.mark.parametrize(
    ("classes", "moving", "message"),
    [(1, (), "classes is 1"), (256, (), "classes is 256"), (3, (1, 3), r"moving ids \[1, 3\]")],
)
def test_classes_that_make_no_sense_are_refused(
    classes: int, moving: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        SegmentationMetrics(classes, moving)
