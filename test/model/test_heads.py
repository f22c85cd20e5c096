"""DPT heads of many layers: neighbours are stacked, in order."""

from __future__ import annotations

import pytest
import torch

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.heads import HeadConfig, build_head

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
