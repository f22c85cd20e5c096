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
from dino_foresight_ros.compare.feature_errors import clip_errors
from dino_foresight_ros.errors import BundleError, InputError
from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.stamps import NS_PER_S

from .forecaster_objective import ToFeatures
from .forecaster_validation import Validation
from .losses import errors
from .objective import Batch, Loss, Objective
from .recipes import ForecasterRecipe

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


def with_motion(
    forecaster: WorldForecaster,
    recipe: ForecasterRecipe,
    recordings: Sequence[Recording],
    start: str | Path,
) -> WorldForecaster:
    """A forecaster to start from, with fresh parts for the motion where it lacks them.

    Raises:
        BundleError: it takes motion in another way than the recipe.
        InputError: of no recording it is known how the vehicle moves.
    """
    found = forecaster.config.motion
    if found == recipe.motion:
        return forecaster
    if found != "none":
        raise BundleError(f"{start} has motion {found}, this run {recipe.motion}; give the same")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        config = replace(forecaster.config, **motion_config(recipe, recordings))
        return forecaster.with_motion(config)


def freeze(forecaster: WorldForecaster, recipe: ForecasterRecipe) -> WorldForecaster:
    """Let what the recipe trains learn alone."""
    for name, parameter in forecaster.named_parameters():
        parameter.requires_grad_(recipe.train_only == "all" or name.startswith("motion."))
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
    with the least error is trained on (DeltaWorld, arXiv 2604.04913).
    """

    model: WorldForecaster

    def __init__(
        self,
        model: WorldForecaster,
        to_features: ToFeatures,
        loss: str = "smooth_l1",
        beta: float = 0.1,
        every_frame: bool = False,
        best_of: int = 1,
        motion_dropout: float = 0.0,
    ) -> None:
        """Prepare.

        Args:
            model: what is trained.
            to_features: frames of clips -> features.
            loss: "smooth_l1" (the paper's), "mse" or "l1".
            beta: error at which smooth L1 becomes linear.
            every_frame: ask for every frame after the first from those before it (the paper's);
                for the last frame alone otherwise.
            best_of: noise queries drawn for each asked frame.
            motion_dropout: probability that a clip's motion is hidden.
        """
        super().__init__()
        self.model, self.to_features = model, to_features
        self.loss, self.beta = loss, beta
        self.every_frame, self.best_of = every_frame, best_of
        self.motion_dropout = motion_dropout

    def forward(self, batch: Batch) -> Loss:
        """Loss of clips {"frames": (B, T, ...), "stamps_ns": (B, T) int64, rising}.

        For a model that takes motion they have "motion" (B, T - 1, 3), from frame to frame.
        """
        frames = self.to_features(batch["frames"])
        stamps_ns: Tensor = batch["stamps_ns"]
        stamps_s = (stamps_ns - stamps_ns[:, -2:-1]).double() / NS_PER_S
        motion: Tensor | None = None
        if self.model.takes_motion:
            hidden = torch.rand(len(frames), device="cpu") < self.motion_dropout
            hides = hidden[:, None, None].to(frames.device)
            motion = torch.where(hides, torch.nan, batch["motion"])
        noise = None
        if self.model.config.query == "noise":
            asked = frames.shape[1] - 1 if self.every_frame else 1
            noise = self._best_noise(frames, stamps_s, asked, motion)
        return Loss(self._errors(frames, stamps_s, noise, motion).mean())

    @torch.no_grad()
    def _best_noise(
        self, frames: Tensor, stamps_s: Tensor, asked: int, motion: Tensor | None
    ) -> Tensor:
        """The queries (B, asked, 1, D) whose predictions err least."""
        noise = self.model.draw_noise(len(frames), asked, self.best_of).to(frames.device)
        if self.best_of == 1:
            return noise
        best = self._errors(frames, stamps_s, noise, motion).argmin(dim=2)
        return noise.gather(2, best[:, :, None, None].expand(-1, -1, 1, noise.shape[-1]))

    def _errors(
        self,
        frames: Tensor,
        stamps_s: Tensor,
        noise: Tensor | None,
        motion: Tensor | None,
    ) -> Tensor:
        """Mean error (B, asked, K) of each prediction.

        Args:
            frames: (B, T, h, w, C).
            stamps_s: (B, T) float64.
            noise: (B, asked, K, D) or None.
            motion: (B, T - 1, 3) from frame to frame, or None.
        """
        if self.every_frame:
            predicted = self.model.predict_clip(frames, stamps_s, noise, motion)
            true = frames[:, 1:]
        else:
            memories = self.model.remember(frames[:, :-1], stamps_s[:, :-1])
            ahead_s = stamps_s[:, -1:] - stamps_s[:, -2:-1]
            queries = None if noise is None else noise[:, 0]
            moved = None if motion is None else motion[:, None, -1:]
            asked = self.model.predict(memories, stamps_s[:, :-1], ahead_s, queries, motion=moved)
            predicted, true = asked.z.transpose(1, 2), frames[:, -1:]
        true = true[:, :, None].expand_as(predicted)
        with torch.autocast(frames.device.type, enabled=False):
            each = errors(predicted, true, self.loss, self.beta)
        return each.mean(dim=(3, 4, 5))


class BestOfManyValidation(Validation):
    """Scores of noise queries: of several samples of a clip, the one that errs least counts."""

    samples = 8

    def forecast_errors(
        self, model: nn.Module, context: Tensor, true: Tensor, motion: Tensor | None
    ) -> Tensor:
        """As of `Validation`."""
        assert isinstance(model, WorldForecaster)
        asked = model.evenly_spaced(context, true.shape[1])
        samples = model.forecast(*asked, motion, samples=self.samples).unbind(dim=1)
        scores = torch.stack([clip_errors(sample, true) for sample in samples])
        best = scores[..., self.metric].argmin(dim=0)
        return scores.gather(0, best[None, ..., None].expand(1, *scores.shape[1:]))[0]
