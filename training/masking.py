"""Which tokens are hidden from a forecaster while it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dino_foresight_ros.errors import UsageError

FULL = "full"
# From r, uniform in [0, 1), to the probability with which a token is masked.
_RATIOS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda r: r,
    "cosine": lambda r: torch.cos(r * (math.pi / 2)),
    "arccos": lambda r: torch.arccos(r) / (math.pi / 2),
    "square": lambda r: r**2,
}
SCHEDULES = (FULL, *_RATIOS)


def frame_mask(
    batch: int,
    frames: int,
    grid: tuple[int, int],
    masked_frames: int = 1,
    schedule: str = FULL,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw the mask of a training batch: only tokens of the trailing frames are ever hidden.

    "full" hides all of them, as a forecaster is used. The other schedules draw one ratio per
    sample, and hide each of its tokens with that probability, independently: on average
    1/2 (linear), 2/pi (cosine, arccos) or 1/3 (square) of the tokens.

    Args:
        batch: B, samples.
        frames: T, context and masked frames together.
        grid: (h, w) rows and columns of patches.
        masked_frames: how many trailing frames may be hidden.
        schedule: one of SCHEDULES.
        generator: where the random numbers come from, for masks that can be repeated.

    Returns:
        (B, T, h, w) bool, True where hidden; on the generator's device, else on the CPU.

    Raises:
        UsageError: an unknown schedule, or masked_frames that leave no context.
    """
    if schedule not in SCHEDULES:
        raise UsageError(f"mask schedule '{schedule}' is unknown; valid: {', '.join(SCHEDULES)}")
    if not 1 <= masked_frames < frames:
        raise UsageError(
            f"masked_frames is {masked_frames}; with {frames} frames it must be 1 to {frames - 1}"
        )
    device = generator.device if generator is not None else torch.device("cpu")
    mask = torch.zeros(batch, frames, *grid, dtype=torch.bool, device=device)
    if schedule == FULL:
        mask[:, -masked_frames:] = True
        return mask
    r = torch.rand(batch, generator=generator, device=device)
    ratio = _RATIOS[schedule](r).view(batch, 1, 1, 1)
    draw = torch.rand(batch, masked_frames, *grid, generator=generator, device=device)
    mask[:, -masked_frames:] = draw < ratio
    return mask


def random_windows(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut one window at random from each clip, the same from all its frames.

    Args:
        frames: (B, T, H, W, C).
        size: (h, w) rows and columns of a window.

    Returns:
        (B, T, h, w, C).

    Raises:
        UsageError: a window larger than the frames.
    """
    sides = frames.shape[2:4]
    if size[0] > sides[0] or size[1] > sides[1]:
        raise UsageError(
            f"a window of {size[0]}x{size[1]} patches does not fit features of "
            f"{sides[0]}x{sides[1]}; choose a smaller feature_crop or a larger image"
        )
    windows = []
    for clip in frames:
        top, left = (
            int(torch.randint(side - length + 1, ()))
            for side, length in zip(sides, size, strict=True)
        )
        windows.append(clip[:, top : top + size[0], left : left + size[1]])
    return torch.stack(windows)
