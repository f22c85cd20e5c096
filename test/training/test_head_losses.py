"""Losses and labels of heads, against plain loops and known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from dino_foresight_ros.model.tasks import DepthTask, NormalsTask, SegmentationTask
from dino_foresight_ros.training.head_losses import (
    class_weights,
    metric_depth_loss,
    normals_loss,
    relative_depth_loss,
    relative_inverse,
    segmentation_loss,
    shrink,
)
from dino_foresight_ros.training.head_tasks import training_of

METRIC = DepthTask("metric", bins=16, min_m=1.0, max_m=80.0)
RELATIVE = DepthTask("relative", bins=256)
THREE = SegmentationTask(("a", "b", "c"), ((0, 0, 0),) * 3)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_cross_entropy_leaves_255_out_and_weighs_classes():
    raw = torch.randn(2, 3, 4, 5, generator=generator())
    label = torch.randint(0, 3, (2, 4, 5), generator=generator()).to(torch.uint8)
    label[0, :2] = 255
    weights = torch.tensor([1.0, 3.0, 0.5])
    total = count = 0.0
    for b, i, j in np.ndindex(2, 4, 5):
        c = int(label[b, i, j])
        if c != 255:
            total -= float(weights[c] * raw[b, :, i, j].log_softmax(0)[c])
            count += float(weights[c])
    loss = segmentation_loss(raw, label, weights)
    assert float(loss.value) == pytest.approx(total / count, rel=1e-5)
    assert float(loss.weight) == pytest.approx(30 / 40)


@pytest.mark.parametrize("task", [THREE, METRIC, RELATIVE, NormalsTask()])
def test_pictures_without_labels_have_a_loss_and_a_gradient_of_0(task):
    raw = torch.randn(1, task.outputs, 4, 6, generator=generator()).requires_grad_()
    shape = (1, 8, 12, 3) if task.name == "normals" else (1, 8, 12)
    label = torch.full(shape, torch.nan)
    if task.name == "segmentation":
        label = torch.full(shape, 255, dtype=torch.uint8)
    loss = training_of(task).loss(raw, label)
    loss.value.backward()
    assert float(loss.value.detach()) == 0.0
    assert float(loss.weight) == 0.0
    assert raw.grad is not None
    assert bool((raw.grad == 0).all())


@pytest.mark.parametrize("task", [THREE, METRIC, RELATIVE, NormalsTask()])
def test_unknown_pixels_have_no_part(task):
    raw = torch.randn(1, task.outputs, 4, 6, generator=generator())
    if task.name == "segmentation":
        label, unknown = torch.ones(1, 4, 6, dtype=torch.uint8), 255
    elif task.name == "depth":
        label, unknown = 2 + 50 * torch.rand(1, 4, 6, generator=generator()), torch.nan
        label[0, 0, :2] = torch.tensor([1.5, 70.0])
    else:
        label = functional.normalize(torch.randn(1, 4, 6, 3, generator=generator()), dim=-1)
        unknown = torch.nan
    label[0, 2:] = unknown
    other = raw.clone()
    other[:, :, 2:] += torch.randn(1, task.outputs, 2, 6, generator=generator())
    loss = training_of(task).loss
    assert float(loss(raw, label).value) == pytest.approx(float(loss(other, label).value), rel=1e-6)


@pytest.mark.slow
def test_metric_depth_is_lowest_at_the_truth_and_decodes_to_it():
    true = torch.tensor([[[1.0, 3.7, 12.0], [25.0, 80.0, 79.0]]])
    raw = torch.zeros(1, 16, 2, 3, requires_grad=True)
    optimiser = torch.optim.Adam([raw], lr=0.3)
    for _ in range(500):
        optimiser.zero_grad()
        metric_depth_loss(raw, true, METRIC).value.backward()
        optimiser.step()
    decoded = METRIC.metres(raw.detach())
    torch.testing.assert_close(decoded, true, rtol=0.03, atol=0.0)


def test_metric_depth_forgives_a_common_scale_in_part():
    # One bin per pixel, so that the reading is known: 0.85 of a constant log error is forgiven.
    centres = METRIC.centres()
    picked = torch.tensor([[3, 5], [7, 9]])
    raw = torch.full((1, 16, 2, 2), -1e4)
    raw[0].scatter_(0, picked[None], 0.0)
    true = centres[picked - 1][None]
    log_error = math.log(float(centres[3] / centres[2]))
    loss = metric_depth_loss(raw, true, METRIC).value
    two_bins = 1e4  # the bin below is the true one, with all of the weight
    assert float(loss) - two_bins == pytest.approx(math.sqrt(0.15 * log_error**2 + 1e-6), abs=2e-3)


@pytest.mark.slow
def test_validity_is_learned_from_the_sky_of_complete_labels_and_from_what_is_beyond_the_range():
    task = DepthTask("metric", 16, 1.0, 80.0, validity=True)
    true = torch.tensor([[[5.0, 9.0], [torch.nan, 200.0]]])
    raw = torch.zeros(1, 17, 2, 2, requires_grad=True)
    for complete in (False, True):
        raw.grad = None
        metric_depth_loss(raw, true, task, complete).value.backward()
        assert raw.grad is not None
        down = raw.grad[0, 16].sign().tolist()  # the gradient is negative where it should rise
        assert down == [[-1.0, -1.0], [1.0 if complete else 0.0, 1.0]]
    optimiser = torch.optim.Adam([raw], lr=0.3)
    for _ in range(300):
        optimiser.zero_grad()
        metric_depth_loss(raw, true, task, complete=True).value.backward()
        optimiser.step()
    decoded = task.decode(raw.detach())["depth"][0]
    torch.testing.assert_close(decoded[0], true[0, 0], rtol=0.03, atol=0.0)
    assert torch.isnan(decoded[1]).all()


def test_a_pixel_of_double_weight_counts_as_two_do():
    raw = torch.randn(1, 16, 1, 3, generator=generator())
    true = torch.tensor([[[5.0, 9.0, 30.0]]])
    doubled, repeated = torch.tensor([[[1.0, 2.0, 1.0]]]), [0, 1, 1, 2]
    weighed = metric_depth_loss(raw, true, METRIC, weights=doubled).value
    expected = metric_depth_loss(raw[..., repeated], true[..., repeated], METRIC).value
    torch.testing.assert_close(weighed, expected)
    alike = metric_depth_loss(raw, true, METRIC, weights=torch.full_like(true, 3.0)).value
    torch.testing.assert_close(alike, metric_depth_loss(raw, true, METRIC).value)


def test_depths_out_of_range_are_left_out():
    raw = torch.randn(1, 16, 2, 2, generator=generator())
    true = torch.tensor([[[5.0, 9.0], [0.4, 200.0]]])
    nan = torch.tensor([[[5.0, 9.0], [torch.nan, torch.nan]]])
    losses = [metric_depth_loss(raw, label, METRIC) for label in (true, nan)]
    assert float(losses[0].value) == pytest.approx(float(losses[1].value))
    assert float(losses[0].weight) == 0.5


def test_relative_inverse_depth_spans_each_image_from_far_to_near():
    metres = torch.tensor([[[2.0, 4.0, torch.nan, 8.0]], [[10.0, 100.0, 55.0, 0.0]]])
    bins, known = relative_inverse(metres, 256)
    assert known.tolist() == [[[True, True, False, True]], [[True, True, True, False]]]
    assert bins[0, 0, [0, 3]].tolist() == [255, 0]
    assert bins[1, 0, [0, 1]].tolist() == [255, 0]
    assert int(bins[0, 0, 1]) == round(255 * (1 / 4 - 1 / 8) / (1 / 2 - 1 / 8))


def test_bin_zero_is_left_out_of_the_relative_loss_as_the_authors_leave_it_out():
    raw = torch.randn(1, 256, 2, 3, generator=generator())
    levels = torch.tensor([[[0.0, 1.0, 130.0], [255.0, torch.nan, 17.0]]])
    loss = relative_depth_loss(raw, levels, DepthTask("relative", 256), levels=True)
    expected = functional.cross_entropy(raw, levels.nan_to_num().long(), ignore_index=0)
    assert float(loss.value) == pytest.approx(float(expected))
    metres = torch.tensor([[[2.0, 4.0, torch.nan], [8.0, 5.0, 3.0]]])
    bins, _ = relative_inverse(metres, 256)
    left_out = functional.cross_entropy(raw, bins, ignore_index=0)
    assert float(relative_depth_loss(raw, metres, DepthTask()).value) == pytest.approx(
        float(left_out)
    )


def test_normals_are_lowest_at_the_truth():
    true = functional.normalize(torch.randn(2, 3, 4, 3, generator=generator()), dim=-1)
    raw = true.permute(0, 3, 1, 2)
    assert float(normals_loss(raw, true).value) == pytest.approx(0.0, abs=1e-6)
    assert float(normals_loss(-raw, true).value) == pytest.approx(2 + 4, abs=1e-5)


def test_class_weights():
    counts = torch.tensor([800, 150, 50, 0])
    assert class_weights(counts, "none") is None
    median = class_weights(counts, "median-frequency")
    assert median is not None
    np.testing.assert_allclose(median[:3] / median[1], [150 / 800, 1, 3], rtol=1e-6)
    root = class_weights(counts, "inverse-sqrt")
    assert root is not None
    np.testing.assert_allclose(root[:3] / root[0], [1, math.sqrt(800 / 150), 4], rtol=1e-6)
    for weights in (median, root):
        assert float(weights[3]) == 0
        assert float(weights[:3].mean()) == pytest.approx(1.0)


def test_labels_are_thinned_at_the_output_s_pixel_centres():
    label = torch.arange(14 * 28).view(1, 14, 28)
    thin = shrink(label, (8, 16))
    for i, j in np.ndindex(8, 16):
        row, column = int((i + 0.5) * 14 / 8), int((j + 0.5) * 28 / 16)
        assert int(thin[0, i, j]) == row * 28 + column
    normals = torch.rand(2, 14, 28, 3)
    assert shrink(normals, (8, 16)).shape == (2, 8, 16, 3)
