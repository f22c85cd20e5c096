"""The forecaster family: sizes, shapes, determinism and what may not change."""

from __future__ import annotations

import pytest
import torch

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model import MaskedConfig, MaskedForecaster, Prediction
from dino_foresight_ros.model.forecasters.sliding import SlidingForecaster, window_starts


def tiny(**changes: object) -> MaskedForecaster:
    values = {"channels": 10, "grid": (4, 6), "width": 24, "layers": 2, "heads": 4} | changes
    torch.manual_seed(0)
    forecaster = MaskedForecaster(MaskedConfig(**values)).eval()
    torch.nn.init.normal_(forecaster.out.weight, std=0.2)
    return forecaster


@pytest.mark.parametrize("attention", ["factorised", "full"])
@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("masked", [1, 3])
def test_shortened_last_block_equals_the_pass_over_all_tokens(
    attention: str, window: int, masked: int
):
    forecaster = tiny(attention=attention, window=window, masked_frames=masked)
    context = torch.randn(2, 4, 4, 6, 10)
    frames = torch.cat([context, torch.zeros(2, masked, 4, 6, 10)], dim=1)
    mask = torch.zeros(frames.shape[:-1], dtype=torch.bool)
    mask[:, 4:] = True
    with torch.inference_mode():
        short = forecaster.predict(context)
        long = forecaster.reconstruct(frames, mask)[:, 4:]
    torch.testing.assert_close(short, long, atol=1e-5, rtol=1e-5)


def test_rollout_equals_feeding_predictions_back_by_hand():
    forecaster = tiny()
    frames = list(torch.randn(4, 1, 4, 6, 10))
    context = torch.stack(frames, dim=1)
    with torch.inference_mode():
        rolled = forecaster.rollout(context, 6)
        for step in range(6):
            frames.append(forecaster(torch.stack(frames[-4:], dim=1)))
            torch.testing.assert_close(rolled[:, step], frames[-1], atol=1e-6, rtol=1e-6)


def test_rollout_of_several_masked_frames_per_pass_gives_the_steps_asked_for():
    forecaster = tiny(masked_frames=3)
    context = torch.randn(1, 4, 4, 6, 10)
    with torch.inference_mode():
        first = forecaster.predict(context)
        rolled = forecaster.rollout(context, 4)
    assert rolled.shape == (1, 4, 4, 6, 10)
    torch.testing.assert_close(rolled[:, :3], first)


@pytest.mark.parametrize("steps", [0, 17, -1])
def test_rollout_refuses_steps_out_of_range(steps: int):
    with pytest.raises(ValueError, match="1 to 16"):
        tiny().rollout(torch.randn(1, 4, 4, 6, 10), steps)


def test_prediction_of_one_sample_does_not_depend_on_its_batch():
    forecaster = tiny()
    context = torch.randn(3, 4, 4, 6, 10)
    with torch.inference_mode():
        together = forecaster(context)
        alone = torch.cat([forecaster(context[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_dropout_acts_in_training_only():
    forecaster = tiny(dropout=0.5)
    context = torch.randn(1, 4, 4, 6, 10)
    assert torch.equal(forecaster(context), forecaster(context))
    forecaster.train()
    assert not torch.equal(forecaster(context), forecaster(context))


def test_a_context_of_another_shape_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"\(1, 3, 4, 6, 10\).*4, 4, 6, 10"):
        tiny()(torch.randn(1, 3, 4, 6, 10))


def test_stretching_to_the_same_grid_changes_nothing():
    forecaster = tiny()
    context = torch.randn(1, 4, 4, 6, 10)
    with torch.inference_mode():
        before = forecaster(context)
        after = forecaster.resize_grid(4, 6)(context)
    assert torch.equal(before, after)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 25}, "multiple of 3"),
        ({"heads": 5}, "5 heads"),
        ({"attention": "sparse"}, "factorised, full"),
        ({"window": 3}, "4x6"),
        ({"layers": 0}, ">= 1"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(changes: dict, message: str):
    with pytest.raises(BundleError, match=message):
        tiny(**changes)


@pytest.mark.parametrize(
    ("window", "stride"), [((4, 6), (2, 3)), ((3, 4), (2, 3)), ((4, 6), (4, 6))]
)
def test_sliding_windows_average_their_overlaps(window: tuple, stride: tuple):
    forecaster = tiny()
    grid = (9, 13)
    sliding = SlidingForecaster(forecaster, grid, window, stride).eval()
    context = torch.randn(1, 4, *grid, 10)
    total, count = torch.zeros(grid + (10,)), torch.zeros(grid + (1,))
    with torch.inference_mode():
        for row in range(grid[0]):
            for column in range(grid[1]):
                rows = row % stride[0] == 0 and row + window[0] <= grid[0]
                columns = column % stride[1] == 0 and column + window[1] <= grid[1]
                if (rows or row == grid[0] - window[0]) and (
                    columns or column == grid[1] - window[1]
                ):
                    part = (slice(row, row + window[0]), slice(column, column + window[1]))
                    total[part] += sliding.inner(context[:, :, part[0], part[1]])[0]
                    count[part] += 1
        predicted = sliding(context)[0]
    torch.testing.assert_close(predicted, total / count, atol=1e-5, rtol=1e-5)


def test_windows_cover_every_patch():
    for length in range(4, 20):
        for stride in range(1, 5):
            covered = {s + i for s in window_starts(length, 4, stride) for i in range(4)}
            assert covered == set(range(length))


def test_a_stride_with_gaps_is_refused():
    with pytest.raises(BundleError, match="does not cover"):
        SlidingForecaster(tiny(), (8, 12), stride=(5, 6))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_full_precision(dtype: torch.dtype):
    forecaster = tiny(width=48, layers=4)
    context = torch.randn(2, 4, 4, 6, 10)
    with torch.inference_mode():
        full = forecaster(context)
        half = forecaster.to(dtype)(context.to(dtype)).float()
    assert float((half - full).norm() / full.norm()) < 2e-2


@pytest.mark.parametrize("attention", ["factorised", "full"])
def test_layers_are_what_the_blocks_give_for_the_predicted_frame(attention: str):
    forecaster = tiny(attention=attention, layers=3)
    context = torch.randn(2, 4, 4, 6, 10)
    seen: dict[int, list[torch.Tensor]] = {0: [], 1: [], 2: []}
    for index, block in enumerate(forecaster.blocks):
        block.register_forward_hook(lambda m, i, out, index=index: seen[index].append(out[:, -1]))
    with torch.inference_mode():
        asked = forecaster.evenly_spaced(context, 3)
        predicted, hidden = Prediction.join(forecaster.stream(*asked, layers=[0, 2]))
        taken = {i: torch.stack(outs, dim=1) for i, outs in seen.items()}
        torch.testing.assert_close(predicted[:, 0], forecaster.rollout(context, 3), atol=0, rtol=0)
    assert set(hidden) == {0, 2}
    for index, tokens in hidden.items():
        assert tokens.shape == (2, 1, 3, 4, 6, 24)
        torch.testing.assert_close(tokens[:, 0], taken[index], atol=0, rtol=0)


def test_a_layer_that_does_not_exist_is_refused():
    forecaster = tiny()
    asked = forecaster.evenly_spaced(torch.zeros(1, 4, 4, 6, 10), 1)
    with pytest.raises(ValueError, match=r"layers \[2\] are not all 0 to 1"):
        next(forecaster.stream(*asked, layers=[2]))
