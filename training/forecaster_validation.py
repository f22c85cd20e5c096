"""A forecaster against copying the last frame, on the same clips every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from dino_foresight_ros.compare.feature_errors import METRICS, clip_errors
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model.forecasters import Forecaster, MaskedForecaster, SlidingForecaster
from dino_foresight_ros.planar_motion import moved_until
from dino_foresight_ros.spread import spread

from .data import ClipDataset
from .fabric_import import Fabric
from .objective import Evaluation
from .processes import sum_over

STEPS = 3
"""The paper's mid term; a rollout this long is scored where recordings are long enough."""


class Validation:
    """Scores a forecaster: SmoothL1, MSE and cosine error, by step, in percent of copy-last's.

    Attributes:
        columns: names of the errors that `forecast_errors` and `copy_errors` give.
    """

    columns: tuple[str, ...] = METRICS

    def __init__(
        self,
        clips: ClipDataset,
        to_features: nn.Module,
        context_frames: int,
        fabric: Fabric,
        most: int = 256,
        batch_size: int = 16,
        metric: str = "smooth_l1",
        sliding: tuple[int, int] | None = None,
    ) -> None:
        """Choose the clips.

        Args:
            clips: not augmented, of one interval; context frames, then the frames of 1 or more
                steps.
            to_features: frames of a clip -> (B, T, h, w, C).
            context_frames: N_c.
            fabric: its processes share the clips between them.
            most: how many clips, evenly spread.
            batch_size: clips at a time.
            metric: the error that decides which weights are best, at the first step.
            sliding: (h, w) patch grid of the frames, where the forecaster is of one of its windows
                and slides over them; None where it sees whole frames.
        """
        self.clips, self.to_features, self.context_frames = clips, to_features, context_frames
        self.fabric, self.batch_size = fabric, batch_size
        self.metric, self.sliding = self.columns.index(metric), sliding
        self.indices = spread(len(clips), most)
        self.steps = clips.frames - context_frames
        self._copy_last: Tensor | None = None

    def __call__(self, model: nn.Module) -> Evaluation:
        """Score; every process gets the same."""
        if self.sliding is not None:
            model = SlidingForecaster(cast("MaskedForecaster", model), self.sliding).eval()
        forecast = torch.zeros(self.steps, len(self.columns), dtype=torch.float64)
        copied = torch.zeros_like(forecast)
        for frames, moved in self._batches():
            context, true = frames[:, : self.context_frames], frames[:, self.context_frames :]
            motion = None
            if moved is not None:
                since = moved[:, self.context_frames - 1 :].cpu().numpy()
                motion = torch.from_numpy(moved_until(since))
            forecast += self.forecast_errors(model, context, true, motion).sum(0)
            if self._copy_last is None:
                copied += self.copy_errors(context[:, -1:].expand_as(true), true).sum(0)
        forecast = sum_over(self.fabric, forecast) / len(self.indices)
        if self._copy_last is None:
            self._copy_last = sum_over(self.fabric, copied) / len(self.indices)
        return self._evaluation(forecast, self._copy_last)

    def forecast_errors(
        self, model: nn.Module, context: Tensor, true: Tensor, motion: Tensor | None
    ) -> Tensor:
        """Score clips.

        Args:
            model: a forecaster.
            context: (B, N_c, h, w, C).
            true: (B, steps, h, w, C).
            motion: (B, steps, 3) until each of these, for a forecaster that takes it.

        Returns:
            (B, steps, metrics).
        """
        forecaster = cast("Forecaster", model)
        asked = forecaster.evenly_spaced(context, true.shape[1])
        return clip_errors(forecaster.forecast(*asked, motion)[:, 0], true)

    def copy_errors(self, copied: Tensor, true: Tensor) -> Tensor:
        """Score copy-last: (B, S, h, w, C) both -> (B, S, errors) float64 on the CPU."""
        return clip_errors(copied, true)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Features (B, T, h, w, C) and, of clips that tell it, motion (B, T - 1, 3)."""
        mine = self.indices[self.fabric.global_rank :: self.fabric.world_size]
        for start in range(0, len(mine), self.batch_size):
            items = [self.clips[i] for i in mine[start : start + self.batch_size]]
            # On a CPU, autocast to bfloat16 refuses the float16 of features from disk.
            with torch.autocast(self.fabric.device.type, enabled=False):
                batch = default_collate(items)
            frames = self.to_features(batch["frames"].to(self.fabric.device))
            yield frames, batch.get("motion")

    def _evaluation(self, forecast: Tensor, copied: Tensor) -> Evaluation:
        skill = 100 * (1 - forecast / copied)
        values: dict[str, float] = {}
        for step in range(self.steps):
            for i, name in enumerate(self.columns):
                values[f"{name}_step_{step + 1}"] = float(forecast[step, i])
                values[f"{name}_copy_last_step_{step + 1}"] = float(copied[step, i])
                values[f"skill_{name}_step_{step + 1}"] = float(skill[step, i])
        shown = "/".join(f"{float(value):+.1f}" for value in skill[:, self.metric])
        return Evaluation(
            score=-float(forecast[0, self.metric]),
            values=values,
            summary=f"skill over copy-last {shown} %",
        )


def validation_clips(make: Callable[[int], ClipDataset]) -> ClipDataset:
    """Clips with STEPS target frames, or with one where recordings are too short for more.

    Args:
        make: number of target frames -> clips; raises InputError where there are none.
    """
    try:
        return make(STEPS)
    except InputError:
        return make(1)
