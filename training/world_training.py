"""Training of world forecasters: their shape, what they learn from, how samples are validated."""

from __future__ import annotations

import torch
from torch import Tensor

from dino_foresight_ros.compare.feature_errors import clip_errors
from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster

from .forecaster_objective import ToFeatures
from .forecaster_validation import Validation
from .losses import errors
from .objective import Batch, Loss, Objective
from .recipes import ForecasterRecipe

NS_PER_S = 1e9


def fresh_world(recipe: ForecasterRecipe, channels: int) -> WorldForecaster:
    """A world forecaster of the recipe's shape with random weights."""
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
    forecaster = WorldForecaster(config)
    forecaster.initialise(recipe.block_scale)
    return forecaster


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
        """
        super().__init__()
        self.model, self.to_features = model, to_features
        self.loss, self.beta = loss, beta
        self.every_frame, self.best_of = every_frame, best_of

    def forward(self, batch: Batch) -> Loss:
        """Loss of clips {"frames": (B, T, ...), "stamps_ns": (B, T) int64, rising}."""
        frames = self.to_features(batch["frames"])
        stamps_ns: Tensor = batch["stamps_ns"]
        stamps_s = (stamps_ns - stamps_ns[:, -2:-1]).double() / NS_PER_S
        noise = None
        if self.model.config.query == "noise":
            asked = frames.shape[1] - 1 if self.every_frame else 1
            noise = self._best_noise(frames, stamps_s, asked)
        return Loss(self._errors(frames, stamps_s, noise).mean())

    @torch.no_grad()
    def _best_noise(self, frames: Tensor, stamps_s: Tensor, asked: int) -> Tensor:
        """The queries (B, asked, 1, D) whose predictions err least."""
        noise = self.model.draw_noise(len(frames), asked, self.best_of).to(frames.device)
        if self.best_of == 1:
            return noise
        best = self._errors(frames, stamps_s, noise).argmin(dim=2)
        return noise.gather(2, best[:, :, None, None].expand(-1, -1, 1, noise.shape[-1]))

    def _errors(self, frames: Tensor, stamps_s: Tensor, noise: Tensor | None) -> Tensor:
        """Mean error (B, asked, K) of each prediction.

        Args:
            frames: (B, T, h, w, C).
            stamps_s: (B, T) float64.
            noise: (B, asked, K, D) or None.
        """
        if self.every_frame:
            predicted = self.model.predict_clip(frames, stamps_s, noise)
            true = frames[:, 1:]
        else:
            memories = self.model.remember(frames[:, :-1], stamps_s[:, :-1])
            ahead_s = stamps_s[:, -1:] - stamps_s[:, -2:-1]
            queries = None if noise is None else noise[:, 0]
            asked = self.model.predict(memories, stamps_s[:, :-1], ahead_s, queries)
            predicted, true = asked.z.transpose(1, 2), frames[:, -1:]
        true = true[:, :, None].expand_as(predicted)
        with torch.autocast(frames.device.type, enabled=False):
            each = errors(predicted, true, self.loss, self.beta)
        return each.mean(dim=(3, 4, 5))


class BestOfManyValidation(Validation):
    """Scores of noise queries: of several samples of a clip, the one that errs least counts."""

    samples = 8

    def forecast_errors(self, model: torch.nn.Module, context: Tensor, true: Tensor) -> Tensor:
        """(B, N_c, h, w, C) and (B, steps, h, w, C) -> (B, steps, metrics)."""
        assert isinstance(model, WorldForecaster)
        asked = model.evenly_spaced(context, true.shape[1])
        samples = model.forecast(*asked, samples=self.samples).unbind(dim=1)
        scores = torch.stack([clip_errors(sample, true) for sample in samples])
        best = scores[..., self.metric].argmin(dim=0)
        return scores.gather(0, best[None, ..., None].expand(1, *scores.shape[1:]))[0]
