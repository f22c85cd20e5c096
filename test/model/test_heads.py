"""DPT heads of many layers: neighbours are stacked, in order."""

from __future__ import annotations

import pytest
import torch

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.dpt import STRIDES, HeadConfig
from dino_foresight_ros.model.heads import build_head, fold_pca, fuse_batch_norm
from dino_foresight_ros.model.pca import PCA

CONFIG = HeadConfig(outputs=3, channels=(8, 8, 8, 8), width=8)


@pytest.mark.parametrize("stacked", [2, 3])
@pytest.mark.parametrize("place", ["first", "last"])
def test_head_of_stacked_layers_that_reads_one_of_each_stack_is_the_head_of_four(
    stacked: int, place: str
):
    torch.manual_seed(0)
    four = build_head(CONFIG, 6, 4).eval()
    many = build_head(CONFIG, 6, 4 * stacked).eval()
    kept = 0 if place == "first" else stacked - 1
    weights = dict(four.state_dict())
    for i in range(4):
        whole = torch.zeros(8, 6 * stacked, 1, 1)
        whole[:, 6 * kept : 6 * (kept + 1)] = weights[f"projects.{i}.weight"]
        weights[f"projects.{i}.weight"] = whole
    many.load_state_dict(weights)
    features = torch.randn(2, 4, 5, 4, stacked, 6)
    with torch.no_grad():
        expected = four(features[..., kept, :].flatten(3))
        torch.testing.assert_close(many(features.flatten(3)), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layers", [2, 3, 6])
def test_layers_that_do_not_make_four_stacks_are_refused(layers: int):
    with pytest.raises(BundleError, match=f"4 layers or a multiple.*not {layers}"):
        build_head(CONFIG, 6, layers)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("kind", ["dpt", "linear"])
@pytest.mark.parametrize("fused", [True, False])
def test_head_gives_with_a_stride_the_middle_pixels_of_its_whole_output(
    stride: int, kind: str, fused: bool
):
    torch.manual_seed(0)
    head = build_head(HeadConfig(outputs=3, kind=kind, channels=(8, 8, 8, 8), width=8), 6, 4).eval()
    for name, values in head.named_buffers():
        if values.is_floating_point():
            values.uniform_(0.5, 2.0) if "var" in name else values.normal_()
    head = fuse_batch_norm(head) if fused else head
    features = torch.randn(2, 3, 5, 24)
    with torch.no_grad():
        whole, picked = head(features), head(features, stride)
    assert picked.shape == (2, 3, 24 // stride, 40 // stride)
    middle = stride // 2
    for i, j in [(0, 0), (1, 3), (picked.shape[2] - 1, picked.shape[3] - 1)]:
        expected = whole[..., stride * i + middle, stride * j + middle]
        torch.testing.assert_close(picked[..., i, j], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", [1, 4, 8])
@torch.inference_mode()
def test_head_with_the_pca_folded_in_is_the_head_of_reconstructed_features(layers: int):
    torch.manual_seed(3)
    head = build_head(HeadConfig(outputs=5, channels=(8, 8, 8, 8), width=8), 6, layers).eval()
    features = 6 * layers
    pca = PCA.from_arrays(
        torch.randn(features),
        torch.rand(features) + 0.5,
        torch.randn(features),
        torch.linalg.qr(torch.randn(features, 5))[0].T,
    )
    z = torch.randn(2, 3, 4, 5)
    expected = head(pca.inverse(z))
    fold_pca(head, pca)
    torch.testing.assert_close(head(z), expected, rtol=1e-4, atol=1e-4)


def test_pca_is_not_folded_into_a_head_that_does_not_begin_linearly_on_the_grid():
    head = build_head(HeadConfig(outputs=5, kind="linear"), 6, 4)
    with pytest.raises(TypeError, match="LinearHead cannot read PCA features"):
        fold_pca(head, PCA(24, 5))
