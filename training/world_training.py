"""Training of world forecasters: their shape, what they learn from, how samples are validated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dino_foresight_ros.compare import nearest_frames
from dino_foresight_ros.compare.feature_errors import METRICS, clip_errors, crps
from dino_foresight_ros.errors import BundleError, InputError
from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.stamps import NS_PER_S

from .forecaster_objective import ToFeatures
from .forecaster_validation import Validation
from .losses import errors
from .objective import Batch, Loss, Objective
from .recipes import ForecasterRecipe

_SAMPLES = 8
"""Futures that are drawn of a clip to validate on."""
CRPS = "crps"
_LEAST_SCALE = np.array([0.05, 0.05, 0.02])
"""m, m and rad below which motions are not told apart."""


def fresh_world(
    recipe: ForecasterRecipe, channels: int, recordings: Sequence[Recording] = ()
) -> WorldForecaster:
    """A world forecaster of the recipe's shape with random weights.

    Args:
        recipe: of the training.
        channels: C, values per patch.
        recordings: what it is trained on, for how far these move; only with motion.

    Raises:
        InputError: motion is wanted, and of no recording it is known.
    """
    config = WorldConfig(
        channels=channels,
        width=recipe.width,
        layers=recipe.layers,
        heads=recipe.heads,
        rope=recipe.rope,
        context_frames=recipe.context_frames,
        mlp_ratio=recipe.mlp_ratio,
        query=recipe.query,
        futures=recipe.futures,
        query_newest=recipe.query_newest,
        noise_std=recipe.noise_std,
        predict=recipe.predict,
    )
    config = replace(config, **motion_config(recipe, recordings))
    forecaster = WorldForecaster(config)
    forecaster.initialise(recipe.block_scale)
    return forecaster


def motion_config(recipe: ForecasterRecipe, recordings: Sequence[Recording]) -> dict[str, Any]:
    """Fields of `WorldConfig` about motion: how it is taken, how far and how fast the data moves.

    The scale is the root of the mean square over a usual horizon, some centimetres and a degree at
    least; the speeds are the fastest over that time.

    Raises:
        InputError: motion is wanted, and of no recording it is known.
    """
    if recipe.motion == "none":
        return {}
    horizon_s = recipe.frame_interval_s or sum(recipe.gaps_s) / 2
    if recipe.horizons_s is not None:
        horizon_s = sum(recipe.horizons_s) / 2
    moved = recorded_motions(recordings, horizon_s)
    if not len(moved):
        raise InputError(
            f"motion {recipe.motion}: of no recording it is known how the vehicle moves; give bags "
            "with odometry or TF, nuScenes, the synthetic world, or stores made of these anew; or "
            "leave out --motion"
        )
    scale = np.maximum(np.sqrt((moved[:, :3] ** 2).mean(axis=0)), _LEAST_SCALE)
    speeds = np.maximum(np.abs(moved[:, :3] / moved[:, 3:]).max(axis=0), _LEAST_SCALE)
    return {
        "motion": recipe.motion,
        "motion_scale": tuple(round(float(value), 4) for value in scale),
        "motion_speeds": tuple(round(float(value), 4) for value in speeds),
    }


def with_parts(
    forecaster: WorldForecaster,
    recipe: ForecasterRecipe,
    recordings: Sequence[Recording],
    start: str | Path,
) -> WorldForecaster:
    """A forecaster to start from, with fresh parts for motion and futures where it lacks them.

    Raises:
        BundleError: it takes motion or draws futures in another way than the recipe.
        InputError: of no recording it is known how the vehicle moves.
    """
    changes: dict[str, Any] = {}
    for name in ("motion", "futures"):
        found, wanted = getattr(forecaster.config, name), getattr(recipe, name)
        if found not in ("none", wanted):
            raise BundleError(f"{start} has {name} {found}, this run {wanted}; give the same")
        if found != wanted:
            changes |= motion_config(recipe, recordings) if name == "motion" else {name: wanted}
    if not changes:
        return forecaster
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return forecaster.with_parts(replace(forecaster.config, **changes))


def freeze(forecaster: WorldForecaster, recipe: ForecasterRecipe) -> WorldForecaster:
    """Let what the recipe trains learn alone."""
    only = "" if recipe.train_only == "all" else f"{recipe.train_only}."
    for name, parameter in forecaster.named_parameters():
        parameter.requires_grad_(name.startswith(only))
    return forecaster


def recorded_motions(recordings: Sequence[Recording], ahead_s: float) -> NDArray[np.float64]:
    """Motions over a time from every frame: (M, 4), dx m, dy m, dyaw rad, and the seconds taken.

    Those that are known alone. To the frame nearest to that time, or the next one; not where the
    recording ends much earlier.
    """
    found = [np.empty((0, 4))]
    for recording in recordings:
        if recording.ego is None:
            continue
        stamps = recording.stamps_ns
        every = np.arange(len(stamps))
        later = np.maximum(nearest_frames(stamps, stamps + round(ahead_s * NS_PER_S)), every + 1)
        later = later.clip(max=len(stamps) - 1)
        seconds = (stamps[later] - stamps) / NS_PER_S
        moved = recording.moved(every, later)
        rows = np.concatenate([moved, seconds[:, None]], axis=1)
        found.append(rows[np.isfinite(rows).all(axis=1) & (seconds > ahead_s / 2)])
    return np.concatenate(found)


class WorldObjective(Objective):
    """Error of frames asked of the frames before them.

    With noise queries the best of many counts: several are drawn for each asked frame, and that
    with the least error is trained on (DeltaWorld, arXiv 2604.04913). Futures drawn by blocks of
    noise are scored together, value by value, by the continuous ranked probability score, which is
    least where they differ as the truth does (as functional generative networks are, Alet et al.,
    arXiv 2506.10772).
    """

    model: WorldForecaster

    def __init__(self, model: WorldForecaster, to_features: ToFeatures, recipe: ForecasterRecipe):
        """Prepare.

        Args:
            model: what is trained.
            to_features: frames of clips -> features.
            recipe: which frames are asked for, the error, and how many futures are drawn.
        """
        super().__init__()
        self.model, self.to_features, self.recipe = model, to_features, recipe

    def forward(self, batch: Batch) -> Loss:
        """Loss of clips {"frames": (B, T, ...), "stamps_ns": (B, T) int64, rising}.

        For a model that takes motion they have "motion" (B, T - 1, 3), from frame to frame.
        """
        frames = self.to_features(batch["frames"])
        stamps_ns: Tensor = batch["stamps_ns"]
        stamps_s = (stamps_ns - stamps_ns[:, -2:-1]).double() / NS_PER_S
        motion: Tensor | None = None
        if self.model.takes_motion:
            hidden = torch.rand(len(frames), device="cpu") < self.recipe.motion_dropout
            hides = hidden[:, None, None].to(frames.device)
            motion = torch.where(hides, torch.nan, batch["motion"])
        given = frames, stamps_s, motion
        asked = frames.shape[1] - 1 if self.recipe.every_frame else 1
        if self.model.futures is None:
            drawn = self.model.config.query == "noise"
            return Loss(self._errors(*given, self._best_noise(*given, asked) if drawn else None))
        value = self._crps(*given, self._noise(frames, asked, self.recipe.draws))
        if self.recipe.train_only != "futures":
            value = value + self._errors(*given)
        return Loss(value)

    def _noise(self, frames: Tensor, asked: int, draws: int) -> Tensor:
        return self.model.draw_noise(len(frames), asked, draws).to(frames.device)

    @torch.no_grad()
    def _best_noise(
        self, frames: Tensor, stamps_s: Tensor, motion: Tensor | None, asked: int
    ) -> Tensor:
        """The queries (B, asked, 1, D) whose predictions err least."""
        noise = self._noise(frames, asked, self.recipe.best_of)
        if self.recipe.best_of == 1:
            return noise
        each = self._each_error(frames, stamps_s, motion, noise)
        best = each.mean(dim=(3, 4, 5)).argmin(dim=2)
        return noise.gather(2, best[:, :, None, None].expand(-1, -1, 1, noise.shape[-1]))

    def _errors(
        self, frames: Tensor, stamps_s: Tensor, motion: Tensor | None, noise: Tensor | None = None
    ) -> Tensor:
        return self._each_error(frames, stamps_s, motion, noise).mean()

    def _each_error(
        self, frames: Tensor, stamps_s: Tensor, motion: Tensor | None, noise: Tensor | None
    ) -> Tensor:
        """Errors (B, asked, K, h, w, C)."""
        predicted, true = self._predicted(frames, stamps_s, motion, noise)
        with torch.autocast(frames.device.type, enabled=False):
            true = true[:, :, None].expand_as(predicted)
            return errors(predicted, true, self.recipe.loss, self.recipe.beta)

    def _crps(
        self, frames: Tensor, stamps_s: Tensor, motion: Tensor | None, noise: Tensor
    ) -> Tensor:
        """The mean score of all values."""
        predicted, true = self._predicted(frames, stamps_s, motion, noise)
        with torch.autocast(frames.device.type, enabled=False):
            return crps(predicted.movedim(2, 0), true).mean()

    def _predicted(
        self, frames: Tensor, stamps_s: Tensor, motion: Tensor | None, noise: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Predict.

        Args:
            frames: (B, T, h, w, C).
            stamps_s: (B, T) float64.
            motion: (B, T - 1, 3) from frame to frame, or None.
            noise: (B, asked, K, D or E) or None.

        Returns:
            (B, asked, K, h, w, C), and the truth (B, asked, h, w, C).
        """
        if self.recipe.every_frame:
            return self.model.predict_clip(frames, stamps_s, noise, motion), frames[:, 1:]
        memories = self.model.remember(frames[:, :-1], stamps_s[:, :-1])
        ahead_s = stamps_s[:, -1:] - stamps_s[:, -2:-1]
        queries = None if noise is None else noise[:, 0]
        moved = None if motion is None else motion[:, None, -1:]
        asked = self.model.predict(memories, stamps_s[:, :-1], ahead_s, queries, motion=moved)
        return asked.z.transpose(1, 2), frames[:, -1:]


class BestOfManyValidation(Validation):
    """Scores of noise queries: of several samples of a clip, the one that errs least counts."""

    def forecast_errors(
        self, model: nn.Module, context: Tensor, true: Tensor, motion: Tensor | None
    ) -> Tensor:
        """As of `Validation`."""
        assert isinstance(model, WorldForecaster)
        asked = model.evenly_spaced(context, true.shape[1])
        futures = model.forecast(*asked, motion, samples=_SAMPLES)
        scores = clip_errors(futures, true[:, None].expand_as(futures))
        best = scores[..., self.metric].argmin(dim=1)
        return scores.gather(1, best[:, None, :, None].expand(-1, 1, -1, scores.shape[-1]))[:, 0]


class CrpsValidation(Validation):
    """Scores of futures by blocks of noise: the expected one's errors, and the CRPS of all."""

    columns = (*METRICS, CRPS)

    def forecast_errors(
        self, model: nn.Module, context: Tensor, true: Tensor, motion: Tensor | None
    ) -> Tensor:
        """As of `Validation`."""
        assert isinstance(model, WorldForecaster)
        asked = model.evenly_spaced(context, true.shape[1])
        expected, futures = (model.forecast(*asked, motion, samples=n) for n in (1, _SAMPLES))
        return self._joined(clip_errors(expected[:, 0], true), futures, true)

    def copy_errors(self, copied: Tensor, true: Tensor) -> Tensor:
        """As of `Validation`."""
        return self._joined(super().copy_errors(copied, true), copied[:, None], true)

    def _joined(self, errors: Tensor, futures: Tensor, true: Tensor) -> Tensor:
        scores = crps(futures.movedim(1, 0), true).mean(dim=(-3, -2, -1))
        return torch.cat([errors, scores[..., None].to(errors)], dim=-1)
