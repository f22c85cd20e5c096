from __future__ import annotations

import numpy as np
import pytest
import torch

from dino_foresight_ros.compare.instance_metrics import (
    SCORE_BINS,
    InstanceMetrics,
    ap50_of_counts,
    average_precision,
)
from dino_foresight_ros.errors import InputError, UsageError

CAR, PERSON, ROAD = 13, 11, 0  # as Cityscapes trains them


def golden_pictures():
    """Six pictures of 128x256: predicted ids and scores, true ids and classes."""
    rng = np.random.default_rng(20)
    pictures = []
    for _ in range(6):
        true_ids = np.zeros((128, 256), np.uint16)
        classes = np.full((128, 256), ROAD, np.uint8)
        ids = np.zeros((128, 256), np.uint16)
        found = np.zeros((30, 3), np.float32)
        classes[:9] = 255
        for number in range(1, 11):
            top, left = (int(v) for v in rng.integers(0, (100, 220)))
            height, width = (int(v) for v in rng.integers(4, 34, 2))
            if number == 10:
                height = width = 30
            class_id = CAR if number % 3 else PERSON
            region = np.s_[top : top + height, left : left + width]
            is_group = number == 10
            true_ids[region] = 0 if is_group else number
            classes[region] = class_id
            shift = rng.integers(-3, 4, 4)
            taken = np.s_[
                max(0, top + int(shift[0])) : top + height + int(shift[1]),
                max(0, left + int(shift[2])) : left + width + int(shift[3]),
            ]
            if rng.integers(0, 5):
                ids[taken] = number
                wrong = CAR + PERSON - class_id if rng.integers(0, 8) == 0 else class_id
                found[number] = number, wrong, int(rng.integers(30, 100)) / 100
        for number in (20, 21):
            top, left = (int(v) for v in rng.integers(0, (110, 230)))
            ids[top : top + 12, left : left + 20] = number
            found[number] = number, CAR, int(rng.integers(30, 100)) / 100
        pictures.append((ids, found, true_ids, classes))
    return pictures


def test_scores_are_those_of_cityscapes_own_scripts() -> None:
    """Numbers of cityscapesScripts 2.3.0 (instance level and panoptic) on these pictures.

    Groups are of 100 pixels and more: smaller ones its script leaves out twice.
    """
    metrics = InstanceMetrics((PERSON, CAR))
    for picture in golden_pictures():
        ids, found, true_ids, classes = (values[None] for values in picture)
        metrics.update((torch.as_tensor(ids.astype(np.int32)), found), (true_ids, classes))
    scores = metrics.compute()
    assert scores.ap == pytest.approx(0.08001387457976876)
    assert scores.ap50 == pytest.approx(0.24556895505860674)
    assert scores.ap_of == pytest.approx({PERSON: 0.06978404003404003, CAR: 0.0902437091254975})
    assert scores.ap50_of == pytest.approx({PERSON: 0.23468272468272466, CAR: 0.2564551854344888})
    assert scores.pq_of == pytest.approx({PERSON: 0.3147322535356986, CAR: 0.3788363401080056})


def test_the_truth_itself_scores_one() -> None:
    metrics = InstanceMetrics((PERSON, CAR))
    for _, _, true_ids, classes in golden_pictures():
        numbers = np.unique(true_ids[true_ids > 0])
        found = np.array([[n, classes[true_ids == n][0], 0.9] for n in numbers])
        metrics.update((true_ids[None], found[None]), (true_ids[None], classes[None]))
    scores = metrics.compute()
    assert (scores.ap, scores.ap50, scores.pq) == (1.0, 1.0, 1.0)


def test_average_precision_of_a_worked_example() -> None:
    """Three of four objects found, by scores 0.9, 0.8 and 0.5; a false one has 0.7.

    Points (precision, recall) by least score: (3/4, 3/4) (2/3, 2/4) (1, 2/4) (1, 1/4) and (1, 0);
    each stands for half the recall to its neighbours.
    """
    scores, hits = np.array([0.5, 0.9, 0.7, 0.8]), np.array([True, True, False, True])
    expected = (
        3 / 4 * (3 / 4 - 2 / 4) / 2 + 2 / 3 * (3 / 4 - 2 / 4) / 2 + 1 * (2 / 4 - 1 / 4) / 2
        + 1 * (2 / 4) / 2 + 1 * (1 / 4) / 2
    )  # fmt: skip
    assert average_precision(scores, hits, 4) == pytest.approx(expected)
    assert average_precision(np.empty(0), np.empty(0, bool), 4) == 0.0


def test_a_picture_without_objects_counts_for_what_is_found_in_it() -> None:
    nothing, road = np.zeros((1, 20, 20), np.uint16), np.zeros((1, 20, 20), np.uint8)
    metrics = InstanceMetrics((CAR,))
    with pytest.raises(InputError, match="nothing was scored"):
        metrics.compute()
    metrics.update((nothing, np.zeros((1, 3, 3))), (nothing, road))
    scores = metrics.compute()
    assert scores.true_objects == 0
    assert np.isnan(scores.ap50)
    one = nothing.copy()
    one[0, :5, :5] = 1
    metrics.update((one, np.array([[[1, CAR, 0.9]]])), (nothing, road))
    assert metrics.compute().pq_of == {CAR: 0.0}


def test_other_shapes_and_no_classes_are_refused() -> None:
    maps = np.zeros((1, 4, 4), np.uint16)
    with pytest.raises(InputError, match="same"):
        InstanceMetrics((CAR,)).update((maps, np.zeros((1, 1, 3))), (maps[:, 1:], maps[:, 1:]))
    with pytest.raises(UsageError, match="no class"):
        InstanceMetrics(())


def test_summed_counts_give_the_same_ap50_where_scores_are_steps() -> None:
    """Of random pictures, and of a resample that takes one of them twice."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(6):
        true = np.zeros((1, 40, 60), np.uint16)
        found = np.zeros((1, 40, 60), np.int32)
        classes = np.zeros((1, 40, 60), np.uint8)
        table = np.zeros((1, 4, 3))
        for number in range(1, 5):
            top, left = 20 * ((number - 1) // 2), 30 * ((number - 1) % 2)
            kind, off = int(rng.integers(1, 3)), int(rng.integers(0, 9))
            if rng.random() < 0.8:
                true[0, top : top + 16, left : left + 20] = number
                classes[0, top : top + 16, left : left + 20] = kind
            found[0, top + off : top + 16, left : left + 20] = number
            table[0, number - 1] = number, kind, (int(rng.integers(5, 100)) + 0.5) / SCORE_BINS
        pictures.append(((found, table), (true, classes)))
    for chosen in ([0, 1, 2, 3, 4, 5], [0, 0, 3], [5]):
        metrics = InstanceMetrics((1, 2))
        counts = np.concatenate([metrics.update(*pictures[i]) for i in chosen])
        assert counts.shape == (len(chosen), 2, 2 * SCORE_BINS + 1)
        assert ap50_of_counts(counts.sum(axis=0)) == pytest.approx(metrics.compute().ap50)
    assert np.isnan(ap50_of_counts(np.zeros((3, 2, 2 * SCORE_BINS + 1)))).all()
