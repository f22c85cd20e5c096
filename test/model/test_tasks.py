"""What raw head output means."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model import DepthTask, NormalsTask, SegmentationTask
from dino_foresight_ros.model.class_lists import cityscapes_segmentation
from dino_foresight_ros.model.tasks import best_class, task_from_dict, task_to_dict

TWO = SegmentationTask(class_names=("a", "b", "c"), palette=((0, 0, 0), (1, 1, 1), (2, 2, 2)))


def test_segmentation_is_the_most_probable_class_with_its_probability():
    raw = torch.randn(2, 3, 4, 5)
    decoded = TWO.decode(raw)
    scores = np.exp(raw.numpy().astype(np.float64))
    scores /= scores.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(decoded["segmentation"], scores.argmax(axis=1))
    np.testing.assert_allclose(decoded["confidence"], scores.max(axis=1), atol=1e-6)
    assert decoded["segmentation"].dtype == torch.uint8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_of_equal_classes_the_first_is_the_best(dtype: torch.dtype, layout: torch.memory_format):
    logits = torch.randint(-3, 3, (2, 255, 6, 7)).to(dtype).to(memory_format=layout)
    logits[0, :, 0, 0] = 5.0
    best, ids = best_class(logits)
    places = np.argmax(logits.float().numpy(), axis=1)
    np.testing.assert_array_equal(ids, places)
    torch.testing.assert_close(best, logits.amax(dim=1), rtol=0, atol=0)
    assert ids.dtype == torch.uint8
    logits[1, 3, 2, 2] = torch.nan
    assert best_class(logits)[1][1, 2, 2] == 255


def test_relative_depth_is_the_best_bin():
    raw = torch.zeros(1, 256, 2, 2)
    raw[0, 17, 0, 0] = raw[0, 255, 1, 1] = 5.0
    depth = DepthTask().decode(raw)["depth"]
    assert depth[0].tolist() == [[17.0, 0.0], [0.0, 255.0]]


def test_metric_depth_is_the_expectation_over_log_spaced_bins():
    task = DepthTask(kind="metric", bins=5, min_m=1.0, max_m=81.0)
    torch.testing.assert_close(task.centres(), torch.tensor([1.0, 3.0, 9.0, 27.0, 81.0]))
    raw = torch.full((1, 5, 1, 2), -50.0)
    raw[0, 2, 0, 0] = 50.0
    raw[0, [1, 3], 0, 1] = 50.0
    depth = task.decode(raw)["depth"]
    torch.testing.assert_close(depth[0, 0], torch.tensor([9.0, 15.0]))


def test_a_quantile_is_the_distance_within_which_so_much_of_the_distribution_lies():
    task = DepthTask("metric", 9, 1.0, 256.0, validity=True)
    raw = 3 * torch.randn(2, 10, 4, 5, generator=torch.Generator().manual_seed(0))
    # Each bin's probability is spread evenly over half a bin to either side of its centre.
    edges = 2.0 ** (np.arange(10) - 0.5)
    shares = np.exp(raw[:, :9].double().numpy())
    shares /= shares.sum(axis=1, keepdims=True)
    for probability in (0.1, 0.4, 0.5, 0.93):
        found = task.within(raw, probability).numpy()
        for picture, row, column in np.ndindex(found.shape):
            passed = np.concatenate([[0.0], np.cumsum(shares[picture, :, row, column])])
            expected = 2 ** np.interp(probability, passed, np.log2(edges))
            assert found[picture, row, column] == pytest.approx(np.clip(expected, 1, 256), rel=1e-4)
    near = DepthTask("metric", 9, 1.0, 256.0, quantile=0.4).decode(raw[:, :9])["depth"]
    known = ~torch.isnan(near)
    torch.testing.assert_close(near[known], task.within(raw, 0.4)[known])


def test_a_quantile_of_two_surfaces_is_one_of_them_where_the_expectation_hangs_between():
    raw = torch.full((1, 5, 1, 1), -50.0)
    raw[0, 1], raw[0, 3] = math.log(0.6), math.log(0.4)
    task = DepthTask("metric", 5, 1.0, 81.0)
    assert float(task.metres(raw)) == pytest.approx(0.6 * 3 + 0.4 * 27)
    assert 3 / 3**0.5 < float(task.within(raw, 0.5)) < 3 * 3**0.5


def test_metric_depth_stays_in_range_when_upsampled():
    task = DepthTask(kind="metric", bins=8, min_m=2.0, max_m=50.0)
    raw = torch.randn(1, 8, 6, 6) * 20
    metres = task.metres(raw, size=(48, 48))
    assert float(metres.min()) >= 2.0
    assert float(metres.max()) <= 50.0
    depth = task.decode(raw, size=(48, 48))["depth"]
    assert torch.equal(torch.isnan(depth), metres >= task.farthest_m)


def test_metric_depth_beyond_the_range_is_unknown_not_the_last_bin():
    task = DepthTask(kind="metric", bins=5, min_m=1.0, max_m=81.0)
    raw = torch.full((1, 5, 1, 3), -50.0)
    raw[0, 4, 0, 0] = raw[0, 3, 0, 1] = raw[0, 0, 0, 2] = 50.0
    depth = task.decode(raw)["depth"][0, 0]
    assert torch.isnan(depth[0])
    torch.testing.assert_close(depth[1:], torch.tensor([27.0, 1.0]))
    assert task.farthest_m == pytest.approx(81.0 / 3**0.5)


def test_depth_is_unknown_where_its_validity_is_below_0():
    task = DepthTask("metric", 5, 1.0, 81.0, validity=True)
    assert task.outputs == 6
    raw = torch.zeros(1, 6, 1, 2)
    raw[0, 1] = 50.0
    raw[0, 5, 0] = torch.tensor([-0.1, 0.1])
    depth = task.decode(raw)["depth"][0, 0]
    assert torch.isnan(depth[0])
    assert float(depth[1]) == pytest.approx(3.0)


def test_normals_have_unit_length_after_upsampling():
    normals = NormalsTask().decode(torch.randn(1, 3, 4, 6), size=(9, 17))["normals"]
    assert normals.shape == (1, 9, 17, 3)
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(1, 9, 17))


def test_cityscapes_scores_ids_11_to_18_as_moving():
    task = cityscapes_segmentation()
    names = [task.class_names[i] for i in task.moving]
    assert names == ["person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]


@pytest.mark.parametrize(
    "task",
    [
        TWO,
        DepthTask(),
        DepthTask("metric", 9, 1.0, 9.0),
        DepthTask("metric", 9, 1.0, 9.0, True),
        NormalsTask(),
    ],
)
def test_a_task_survives_yaml(task):
    assert task_from_dict(task.name, task_to_dict(task)) == task


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("flow", {}, "segmentation, depth, normals"),
        ("depth", {"kind": "stereo"}, "relative, metric"),
        ("depth", {"kind": "metric", "min_m": 5.0, "max_m": 2.0}, "min_m"),
        ("depth", {"scale": 2}, "scale"),
        ("depth", {"validity": True}, "validity"),
        ("segmentation", {"class_names": ["a"], "palette": []}, "colour"),
    ],
)
def test_a_task_that_cannot_be_is_refused(name: str, values: dict, message: str):
    with pytest.raises(BundleError, match=message):
        task_from_dict(name, values)
