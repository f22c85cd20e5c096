from __future__ import annotations

import numpy as np
import pytest
import torch

from dino_foresight_ros.training.evaluation.similarity import SimilarityMeter, patch_classes


def test_similarity_is_that_of_each_patch_by_itself() -> None:
    rng = np.random.default_rng(0)
    now, later = rng.normal(size=(2, 5, 7, 6, 4)).astype(np.float32)
    classes = rng.integers(0, 3, (5, 7, 6)).astype(np.uint8)
    classes[classes == 2] = 255
    meter = SimilarityMeter()
    for part in (slice(0, 2), slice(2, 5)):
        meter.update(torch.as_tensor(now[part]), torch.as_tensor(later[part]), list(classes[part]))
    result = meter.result(0.5, 0.49, ("road", "car"))

    cosine = (now * later).sum(-1) / np.linalg.norm(now, axis=-1) / np.linalg.norm(later, axis=-1)
    mse = ((now - later) ** 2).mean(-1)
    assert result.overall.cosine == pytest.approx(cosine.mean(), rel=1e-5)
    assert result.overall.mse == pytest.approx(mse.mean(), rel=1e-5)
    assert result.overall.patches == 5 * 42
    # Rows of 7 split as 3, 2, 2; columns of 6 as 2, 2, 2.
    middle = result.regions["middle centre"]
    assert middle.cosine == pytest.approx(cosine[:, 3:5, 2:4].mean(), rel=1e-5)
    assert result.regions["bottom right"].mse == pytest.approx(mse[:, 5:, 4:].mean(), rel=1e-5)
    assert set(result.classes) == {"road", "car"}
    assert result.classes["car"].cosine == pytest.approx(cosine[classes == 1].mean(), rel=1e-5)
    assert result.classes["car"].patches == (classes == 1).sum()


def test_class_of_a_patch_is_the_one_that_covers_most_of_it() -> None:
    rng = np.random.default_rng(0)
    # 8 label pixels per patch side: nothing is resampled.
    labels = rng.choice([0, 1, 2, 255], p=[0.4, 0.3, 0.2, 0.1], size=(3 * 8, 4 * 8)).astype(
        np.uint8
    )
    found = patch_classes(labels, (3, 4))
    for row in range(3):
        for column in range(4):
            cell = labels[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            ids, counts = np.unique(cell, return_counts=True)
            assert counts[list(ids).index(found[row, column])] == counts.max()


def test_labels_of_other_sizes_are_taken_too() -> None:
    labels = np.zeros((90, 160), np.uint8)
    labels[:, 80:] = 3
    assert patch_classes(labels, (9, 16)).tolist() == [[0] * 8 + [3] * 8] * 9
