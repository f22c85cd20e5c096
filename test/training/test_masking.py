from __future__ import annotations

import math

import pytest
import torch

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.training.masking import SCHEDULES, frame_mask

SAMPLES = 20_000
GRID = (6, 8)
PARTIAL = ("linear", "cosine", "arccos", "square")
# First and second moment of the ratio over r uniform in [0, 1], integrated by hand:
# of cos(pi r / 2), 2/pi and 1/2; of arccos(r) 2/pi, 2/pi and 4 (pi - 2) / pi^2.
MOMENTS = {
    "linear": (1 / 2, 1 / 3),
    "cosine": (2 / math.pi, 1 / 2),
    "arccos": (2 / math.pi, 4 * (math.pi - 2) / math.pi**2),
    "square": (1 / 3, 1 / 5),
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(schedule: str, seed: int = 0) -> torch.Tensor:
    """(SAMPLES, 2, *GRID) the two maskable of four frames."""
    return frame_mask(SAMPLES, 4, GRID, 2, schedule, generator(seed))[:, 2:]


def assert_mean(values: torch.Tensor, expected: float) -> None:
    """Compare a mean with its expectation, within five standard errors."""
    error = 5 * float(values.std()) / math.sqrt(len(values))
    assert float(values.mean()) == pytest.approx(expected, abs=error)
    assert error < 0.02  # else the comparison says little


def test_every_schedule_but_full_has_its_moments_tested() -> None:
    assert set(SCHEDULES) == {"full", *MOMENTS}


@pytest.mark.parametrize("schedule", PARTIAL)
def test_mean_share_of_masked_tokens_is_the_integral_of_the_ratio(schedule: str) -> None:
    shares = draw(schedule).flatten(1).double().mean(dim=1)

    assert_mean(shares, MOMENTS[schedule][0])


@pytest.mark.parametrize("schedule", PARTIAL)
def test_frames_of_a_sample_share_one_ratio_and_are_drawn_independently(schedule: str) -> None:
    first, second = draw(schedule).flatten(2).double().unbind(dim=1)

    # Given the ratio p, two frames are independent, so the product of a token of each has mean
    # E[p^2]: E[p]^2 if each frame had its own ratio, E[p] if one frame's mask were copied.
    assert_mean(first.mean(dim=1) * second.mean(dim=1), MOMENTS[schedule][1])
    assert_mean((first * second)[:, 0], MOMENTS[schedule][1])


@pytest.mark.parametrize("schedule", PARTIAL)
def test_tokens_of_a_frame_are_drawn_independently(schedule: str) -> None:
    top, bottom = draw(schedule)[:, 0].double().flatten(1).tensor_split(2, dim=1)

    assert_mean(top.mean(dim=1) * bottom.mean(dim=1), MOMENTS[schedule][1])
    assert_mean(top[:, 0] * top[:, 1], MOMENTS[schedule][1])


@pytest.mark.parametrize("schedule", PARTIAL)
def test_samples_have_ratios_of_their_own(schedule: str) -> None:
    shares = draw(schedule).flatten(1).double().mean(dim=1)

    mean = MOMENTS[schedule][0]
    assert_mean(shares[::2] * shares[1::2], mean * mean)


def test_full_masks_every_token_of_the_trailing_frames() -> None:
    mask = frame_mask(3, 7, GRID, masked_frames=2)

    assert mask.shape == (3, 7, *GRID)
    assert mask.dtype == torch.bool
    assert mask[:, 5:].all()
    assert not mask[:, :5].any()


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("masked_frames", [1, 3])
def test_context_frames_are_never_masked(schedule: str, masked_frames: int) -> None:
    mask = frame_mask(200, 5, GRID, masked_frames, schedule, generator())

    assert not mask[:, :-masked_frames].any()
    assert mask[:, -masked_frames:].flatten(2).any(dim=2).any(dim=0).all()


@pytest.mark.parametrize("schedule", PARTIAL)
def test_equal_generators_give_equal_masks_and_others_do_not(schedule: str) -> None:
    torch.manual_seed(1)
    first = frame_mask(4, 5, GRID, 1, schedule, generator(7))
    torch.manual_seed(2)
    again = frame_mask(4, 5, GRID, 1, schedule, generator(7))
    other = frame_mask(4, 5, GRID, 1, schedule, generator(8))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_generator_leaves_torchs_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    frame_mask(4, 5, GRID, 1, "linear", generator())

    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_schedule_is_refused_with_the_valid_ones() -> None:
    valid = "full, linear, cosine, arccos, square"
    with pytest.raises(UsageError, match=f"'sine' is unknown; valid: {valid}$"):
        frame_mask(1, 5, GRID, schedule="sine")


@pytest.mark.parametrize("masked_frames", [-1, 0, 5, 6])
def test_masked_frames_that_leave_no_context_or_no_target_are_refused(masked_frames: int) -> None:
    with pytest.raises(UsageError, match=f"masked_frames is {masked_frames}; .* 1 to 4"):
        frame_mask(1, 5, GRID, masked_frames)
