"""Views of a clip: pictures and labels change alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.training.data.augmentation import (
    PAPER_AUGMENTATION,
    ClipAugmentation,
    View,
    draw_view,
    view_images,
    view_label,
)


def ramp(height: int, width: int) -> np.ndarray:
    """(H, W) float32, each pixel its own column + row / 1000."""
    rows, columns = np.mgrid[:height, :width]
    return (columns + rows / 1000).astype(np.float32)


def test_resizing_is_that_of_pil_as_in_the_reference() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    ours = view_images([image], View(), (28, 42))[0].numpy().astype(int)
    reference = np.asarray(Image.fromarray(image).resize((42, 28), Image.Resampling.BILINEAR))
    assert np.abs(ours - reference.astype(int)).max() <= 1


@pytest.mark.parametrize("size", [(28, 42), (60, 90), (80, 100)])
def test_labels_take_the_pixel_under_the_centre_as_pil_does(size: tuple[int, int]) -> None:
    ids = np.random.default_rng(0).integers(0, 256, (60, 90), np.uint8)
    reference = Image.fromarray(ids).resize(size[::-1], Image.Resampling.NEAREST)
    assert np.array_equal(view_label("segmentation", ids, View(), size), np.asarray(reference))


def test_mirroring_turns_pictures_labels_and_the_x_of_normals() -> None:
    image = np.random.default_rng(0).integers(0, 256, (10, 16, 3), np.uint8)
    normals = np.random.default_rng(1).normal(size=(10, 16, 3)).astype(np.float32)
    view = View(mirrored=True)
    assert np.array_equal(view_images([image], view, (10, 16))[0], image[:, ::-1])
    depth = ramp(10, 16)
    assert np.array_equal(view_label("depth", depth, view, (10, 16)), depth[:, ::-1])
    found = view_label("normals", normals, view, (10, 16)).numpy()
    assert np.array_equal(found, normals[:, ::-1] * np.array([-1, 1, 1], np.float32))


def test_labels_stay_under_the_pixels_they_belong_to() -> None:
    """A picture that shows its own column has to agree with a label that holds it."""
    columns = np.broadcast_to(np.arange(100, dtype=np.uint8) * 2, (60, 100))
    image = np.repeat(columns[..., None], 3, axis=2)
    rng = np.random.default_rng(2)
    augmentation = ClipAugmentation((0.5, 1.0), horizontal_flip=0.5)
    for _ in range(20):
        view = draw_view(augmentation, rng)
        seen = view_images([image], view, (40, 64))[0, :, :, 0].float()
        label = view_label("segmentation", columns.copy(), view, (40, 64)).float()
        inner = (slice(None), slice(2, -2))  # the edges are blurred with what is not there
        assert (seen[inner] - label[inner]).abs().max() <= 2.0


def test_a_label_of_another_resolution_is_cut_at_the_same_place() -> None:
    view = View(top=0.25, left=0.5, scale=0.5)
    fine = view_label("depth", ramp(40, 80), view, (20, 40)).numpy()
    coarse = view_label("depth", ramp(20, 40) * 2, view, (20, 40)).numpy()
    assert np.abs(fine - coarse).max() <= 2.1


def test_class_ids_are_never_mixed_and_unknown_depth_does_not_spread() -> None:
    ids = np.where(ramp(30, 50) > 25, 0, 12).astype(np.uint8)
    ids[0] = 255
    found = view_label("segmentation", ids, View(), (17, 31))
    assert set(found.unique().tolist()) == {0, 12, 255}
    depth = ramp(30, 50)
    depth[:10] = np.nan
    found = view_label("depth", depth, View(), (15, 25))
    assert torch.isnan(found).sum() == 5 * 25
    known = found[~torch.isnan(found)].numpy()
    assert set(known.tolist()) <= set(depth[10:].ravel().tolist())


@given(seed=st.integers(0, 10_000), low=st.floats(0.1, 1.0))
def test_crops_lie_inside_and_have_the_scale_asked_for(seed: int, low: float) -> None:
    view = draw_view(ClipAugmentation((low, 1.0)), np.random.default_rng(seed))
    assert low <= view.scale <= 1.0
    assert view.top >= 0
    assert view.left >= 0
    assert max(view.top, view.left) + view.scale <= 1.0 + 1e-9
    assert not view.mirrored


def test_scales_spread_evenly_over_the_papers_range() -> None:
    rng = np.random.default_rng(0)
    views = [draw_view(PAPER_AUGMENTATION, rng) for _ in range(2000)]
    scales = np.array([view.scale for view in views])
    counts, _ = np.histogram(scales, bins=5, range=(0.5, 1.0))
    assert counts.sum() == 2000
    assert counts.min() > 320
    assert np.mean([view.mirrored for view in views]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "wrong", [{"crop_scale": (0.0, 1.0)}, {"crop_scale": (0.9, 0.5)}, {"time_flip": 1.5}]
)
def test_senseless_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError):
        ClipAugmentation(**wrong)
