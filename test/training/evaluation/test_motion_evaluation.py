"""Evaluation tells each row of a batch its own motion until each of its targets."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster
from dino_foresight_ros.training.compare import read_comparison
from dino_foresight_ros.training.evaluation.predictors import roll_out


def test_rows_of_different_instants_are_told_their_own_motion():
    torch.manual_seed(0)
    config = WorldConfig(6, width=24, layers=2, heads=2, rope=(4, 4, 4), motion="blocks")
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    for parameter in forecaster.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    context = torch.randn(3, 2, 3, 4, 6)
    stamps_s = torch.tensor([[-0.2, 0.0]]).double().expand(3, -1)
    ahead_s = torch.tensor([[0.2, 0.6], [0.25, 0.5], [0.2, 0.6]]).double()
    motion = torch.randn(3, 2, 3).double()
    motion[1, 1] = torch.nan
    bundle = SimpleNamespace(forecaster=forecaster, heads={})
    found, _ = roll_out(bundle, context, (1, 3), stamps_s, ahead_s, motion)
    for row in range(3):
        one = slice(row, row + 1)
        memories = forecaster.remember(context[one], stamps_s[one])
        alone = forecaster.forecast(memories, stamps_s[one], ahead_s[row].tolist(), motion[one])
        torch.testing.assert_close(found[row], alone[0, 0], rtol=1e-4, atol=1e-4)


def test_the_comparison_of_conditionings_tells_the_motion():
    comparison = read_comparison("motion")
    assert comparison.evaluation.motion
    assert comparison.axes == {"forecaster.motion": ("none", "blocks", "film")}
