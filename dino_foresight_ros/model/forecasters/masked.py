"""The masked feature transformer of DINO-Foresight (Karypidis et al., arXiv 2412.11673, sec. 3.2).

Context frames and mask tokens for the frames to predict go through pre-norm transformer blocks.
Each block attends over time (per patch, or per k x k window of patches), then over space (per
frame), then applies a feed-forward; or, in the full variant, attends over all tokens at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.forecasters.attention import Attention, FeedForward
from dino_foresight_ros.outputs import MAX_STEPS

ATTENTION_KINDS = ("factorised", "full")
PREDICTIONS = ("features", "residual")


@dataclass(frozen=True)
class ForecasterConfig:
    """Shape of a forecaster.

    Attributes:
        channels: C, values per patch in and out (PCA size).
        grid: (h, w) rows and columns of the patch grid that the position embeddings cover.
        width: hidden size D; a third of it each encodes time, row and column.
        layers: number of blocks.
        heads: attention heads; divides `width`.
        context_frames: N_c frames seen.
        masked_frames: frames predicted in one pass (the paper's model: 1).
        attention: "factorised" (time, then space) or "full".
        window: k of the k x k windows over which temporal attention spans (factorised only).
        mlp_ratio: feed-forward width over `width`.
        dropout: in training only.
        predict: what the output layer gives: the "features" themselves (the paper's), or the
            "residual", their change since the newest context frame. A fresh residual forecaster
            copies that frame, which a short training improves on from its first step.
    """

    channels: int
    grid: tuple[int, int]
    width: int = 1152
    layers: int = 12
    heads: int = 8
    context_frames: int = 4
    masked_frames: int = 1
    attention: str = "factorised"
    window: int = 1
    mlp_ratio: float = 4.0
    dropout: float = 0.1
    predict: str = "features"

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", (int(self.grid[0]), int(self.grid[1])))
        for name in ("channels", "width", "layers", "heads", "context_frames", "masked_frames"):
            if getattr(self, name) < 1:
                raise BundleError(f"forecaster {name} is {getattr(self, name)}; it must be >= 1")
        if self.width % 3:
            raise BundleError(
                f"forecaster width {self.width} is not a multiple of 3; a third each encodes "
                "time, row and column"
            )
        if self.width % self.heads:
            raise BundleError(
                f"forecaster width {self.width} does not split into {self.heads} heads"
            )
        if self.attention not in ATTENTION_KINDS:
            raise BundleError(
                f"forecaster attention '{self.attention}' is unknown; valid: "
                + ", ".join(ATTENTION_KINDS)
            )
        if self.predict not in PREDICTIONS:
            raise BundleError(
                f"forecaster predict '{self.predict}' is unknown; valid: {', '.join(PREDICTIONS)}"
            )
        if self.window < 1 or any(side % self.window for side in self.grid):
            raise BundleError(
                f"forecaster window {self.window} does not divide the patch grid "
                f"{self.grid[0]}x{self.grid[1]}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise BundleError(f"forecaster dropout {self.dropout} is not in [0, 1)")

    @property
    def frames(self) -> int:
        """Length of the sequence that the transformer sees: context and masked frames."""
        return self.context_frames + self.masked_frames

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML."""
        return {**asdict(self), "grid": list(self.grid)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ForecasterConfig:
        """Build from YAML values.

        Raises:
            BundleError: an unknown or missing key, or a value out of range.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise BundleError(
                f"forecaster has unknown keys {unknown}; valid: {', '.join(sorted(known))}"
            )
        missing = sorted({"channels", "grid"} - set(values))
        if missing:
            raise BundleError(f"forecaster lacks the keys {missing}")
        return cls(**values)


PRESETS: dict[str, dict[str, int]] = {
    "small": {"width": 768, "layers": 12, "heads": 8},
    "base": {"width": 1152, "layers": 12, "heads": 8},
    "large": {"width": 1536, "layers": 12, "heads": 8},
}
"""Sizes of the paper's scaling study (table 6): 115 M, 258 M and 460 M parameters."""


class Block(nn.Module):
    """Pre-norm block: temporal attention, spatial attention, feed-forward (or full attention)."""

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__()
        width, heads, dropout = config.width, config.heads, config.dropout
        self.window = config.window
        self.factorised = config.attention == "factorised"
        self.norm_time = nn.LayerNorm(width)
        self.attend_time = Attention(width, heads, dropout)
        if self.factorised:
            self.norm_space = nn.LayerNorm(width)
            self.attend_space = Attention(width, heads, dropout)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = FeedForward(width, int(width * config.mlp_ratio), dropout)

    def forward(self, x: Tensor, keep: int | None = None) -> Tensor:
        """Transform tokens.

        Args:
            x: (B, T, h, w, D).
            keep: carry on only this many trailing frames (the masked ones); all when None.

        Returns:
            (B, keep or T, h, w, D).
        """
        keep = x.shape[1] if keep is None else keep
        x = x[:, -keep:] + self._over_time(self.norm_time(x), keep)
        if self.factorised:
            x = x + self._over_space(self.norm_space(x))
        return x + self.mlp(self.norm_mlp(x))

    def _over_time(self, x: Tensor, keep: int) -> Tensor:
        """Attend over time per patch, per window, or over everything. Gives (B, keep, h, w, D)."""
        batch, _, height, width, _ = x.shape
        if not self.factorised:
            return self.attend_time(
                x,
                lambda t: t.flatten(1, 3),
                lambda t: t.unflatten(1, (-1, height, width)),
                keep,
            )
        k = self.window
        sizes = {"b": batch, "h": height // k, "w": width // k, "p": k, "q": k}
        return self.attend_time(
            x,
            lambda t: rearrange(t, "b t (h p) (w q) d -> (b h w) (t p q) d", p=k, q=k),
            lambda t: rearrange(t, "(b h w) (t p q) d -> b t (h p) (w q) d", **sizes),
            keep,
        )

    def _over_space(self, x: Tensor) -> Tensor:
        batch, frames, height, width, _ = x.shape
        return self.attend_space(
            x,
            lambda t: t.flatten(2, 3).flatten(0, 1),
            lambda t: t.view(batch, frames, height, width, -1),
        )


class Forecaster(nn.Module):
    """Predicts the features of the next frame from those of the context frames."""

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__()
        self.config = config
        third = config.width // 3
        self.embed = nn.Linear(config.channels, config.width)
        self.mask_token = nn.Parameter(torch.empty(config.width))
        self.position_time = nn.Parameter(torch.empty(config.frames, third))
        self.position_row = nn.Parameter(torch.empty(config.grid[0], third))
        self.position_column = nn.Parameter(torch.empty(config.grid[1], third))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.out = nn.Linear(config.width, config.channels)
        self._initialise()

    def _initialise(self) -> None:
        """As the reference: 0.02 embeddings, and an output that starts at zero."""
        nn.init.normal_(self.mask_token, std=0.02)
        for position in (self.position_time, self.position_row, self.position_column):
            nn.init.trunc_normal_(position, std=0.02)
        nn.init.zeros_(self.out.weight)
        if self.config.predict == "residual":
            nn.init.zeros_(self.out.bias)

    @property
    def context_frames(self) -> int:
        """N_c, the number of context frames."""
        return self.config.context_frames

    def positions(self) -> Tensor:
        """Position embeddings (T, h, w, D): time, row and column thirds, concatenated."""
        frames, (height, width) = self.config.frames, self.config.grid
        shape = (frames, height, width, -1)
        return torch.cat(
            [
                self.position_time[:, None, None].expand(shape),
                self.position_row[None, :, None].expand(shape),
                self.position_column[None, None].expand(shape),
            ],
            dim=-1,
        )

    def forward(self, context: Tensor) -> Tensor:
        """Predict the next frame.

        Args:
            context: (B, N_c, h, w, C) PCA features, oldest frame first.

        Returns:
            (B, h, w, C).

        Raises:
            ValueError: the context does not have this forecaster's shape.
        """
        return self.predict(context)[:, 0]

    def predict(self, context: Tensor) -> Tensor:
        """Predict all masked frames in one pass: (B, N_c, h, w, C) -> (B, M, h, w, C)."""
        self._check(context)
        predicted = self._predict_embedded(self.embed(context), self.positions())
        return self._since(context[:, -1:], predicted)

    def _since(self, newest: Tensor, out: Tensor) -> Tensor:
        """What the output layer gave (B, M, h, w, C), and the newest frame (B, 1, h, w, C)."""
        return newest + out if self.config.predict == "residual" else out

    def _predict_embedded(
        self,
        embedded: Tensor,
        positions: Tensor,
        hidden: Mapping[int, list[Tensor]] | None = None,
    ) -> Tensor:
        """(B, N_c, h, w, D) embedded context -> (B, M, h, w, C); tokens are added to `hidden`."""
        masked = self.config.masked_frames
        mask = self.mask_token.expand(embedded.shape[0], masked, *self.config.grid, -1)
        tokens = torch.cat([embedded, mask], dim=1) + positions
        return self._transform(tokens, keep=masked, hidden=hidden)

    def reconstruct(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Training pass: replace masked tokens by the mask token and predict every token.

        Args:
            frames: (B, T, h, w, C) context and target frames, T = context + masked frames.
            mask: (B, T, h, w) bool, True where the token is hidden.

        Returns:
            (B, T, h, w, C); only masked positions carry a training signal.
        """
        embedded = self.embed(frames)
        tokens = torch.where(mask[..., None], self.mask_token.to(embedded.dtype), embedded)
        newest = frames[:, self.context_frames - 1 : self.context_frames]
        return self._since(newest, self._transform(tokens + self.positions(), keep=None))

    def rollout_with_layers(
        self, context: Tensor, steps: int, layers: Sequence[int]
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Predict several frames, and give the predicted frames' tokens after some blocks.

        Args:
            context: (B, N_c, h, w, C), oldest frame first.
            steps: 1 to 16.
            layers: blocks, counted from 0.

        Returns:
            (B, steps, h, w, C) as `rollout` gives, and for each layer (B, steps, h, w, D).

        Raises:
            ValueError: steps or a layer out of range, or a context of the wrong shape.
        """
        self._check(context)
        if not set(layers) <= set(range(len(self.blocks))):
            raise ValueError(f"layers {list(layers)} are not all 0 to {len(self.blocks) - 1}")
        hidden: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        passes = feed_back(self._step_from(context, hidden), self.embed(context), steps)
        predicted = torch.cat(list(passes), dim=1)
        return predicted, {i: torch.cat(taken, dim=1)[:, :steps] for i, taken in hidden.items()}

    def _transform(
        self, x: Tensor, keep: int | None, hidden: Mapping[int, list[Tensor]] | None = None
    ) -> Tensor:
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            # Nobody reads the context frames' tokens after the last block: only the masked go on.
            x = block(x, keep=keep if index == last else None)
            if hidden and index in hidden:
                hidden[index].append(x if keep is None else x[:, -keep:])
        return self.out(x)

    def rollout(self, context: Tensor, steps: int) -> Tensor:
        """Predict several frames by feeding predictions back as context (the paper's mid term).

        Args:
            context: (B, N_c, h, w, C), oldest frame first.
            steps: 1 to 16.

        Returns:
            (B, steps, h, w, C).

        Raises:
            ValueError: steps out of range, or a context of the wrong shape.
        """
        return torch.cat(list(self.rollout_passes(context, steps)), dim=1)

    def rollout_passes(self, context: Tensor, steps: int) -> Iterator[Tensor]:
        """The same, pass by pass as they are predicted, for who goes on with each at once.

        Yields:
            (B, m, h, w, C), at most as many frames as one pass predicts; `steps` in all.

        Raises:
            ValueError: as `rollout`, before the first pass.
        """
        self._check(context)
        yield from feed_back(self._step_from(context), self.embed(context), steps)

    def _step_from(
        self, context: Tensor, hidden: Mapping[int, list[Tensor]] | None = None
    ) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """A rollout's step: embedded context -> predicted frames, and the same embedded."""
        # Positions, and the embeddings of frames that stay in the context, serve every step.
        positions, newest = self.positions(), context[:, -1:]

        def predict(frames: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal newest
            predicted = self._since(newest, self._predict_embedded(frames, positions, hidden))
            newest = predicted[:, -1:]
            return predicted, self.embed(predicted)

        return predict

    def _check(self, context: Tensor) -> None:
        config = self.config
        want = (config.context_frames, *config.grid, config.channels)
        if context.ndim != 5 or tuple(context.shape[1:]) != want:
            raise ValueError(
                f"context has shape {tuple(context.shape)}, expected (B, "
                f"{', '.join(map(str, want))}); resize_grid() adapts "
                "the position embeddings to another patch grid"
            )

    def resize_grid(self, height: int, width: int) -> Forecaster:
        """Stretch the row and column embeddings to another patch grid, in place.

        Bilinear along rows and columns, as the paper's high-resolution adaptation (sec. 3.3).

        Returns:
            self.
        """
        config = ForecasterConfig.from_dict({**self.config.to_dict(), "grid": (height, width)})
        with torch.no_grad():
            self.position_row = nn.Parameter(_stretch(self.position_row, height))
            self.position_column = nn.Parameter(_stretch(self.position_column, width))
        self.config = config
        return self


def _stretch(embedding: Tensor, length: int) -> Tensor:
    """Interpolate (n, d) to (length, d) linearly, half-pixel centres."""
    columns = embedding.detach().T[None].float()
    stretched = functional.interpolate(columns, size=length, mode="linear", align_corners=False)
    return stretched[0].T.contiguous().to(embedding.dtype)


def rollout_passes(
    predict: Callable[[Tensor], Tensor], context: Tensor, steps: int
) -> Iterator[Tensor]:
    """Feed predictions back: predict maps (B, N_c, h, w, C) to (B, M, h, w, C).

    Yields:
        As `feed_back`.

    Raises:
        ValueError: steps is not in 1 to 16.
    """

    def step(frames: Tensor) -> tuple[Tensor, Tensor]:
        predicted = predict(frames)
        return predicted, predicted

    return feed_back(step, context, steps)


def feed_back(
    step: Callable[[Tensor], tuple[Tensor, Tensor]], frames: Tensor, steps: int
) -> Iterator[Tensor]:
    """Run `step` on a sliding context until enough frames are predicted.

    Args:
        step: context -> the predicted frames, and the same as the context takes them.
        frames: (B, N_c, ...) context, oldest frame first.
        steps: 1 to 16.

    Yields:
        (B, m, ...) predicted frames of one pass after the other, `steps` in all.

    Raises:
        ValueError: steps is not in 1 to 16.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps is {steps}; it must be 1 to {MAX_STEPS}")
    context_frames = frames.shape[1]
    count = 0
    while count < steps:
        new, as_context = step(frames)
        yield new[:, : steps - count]
        count += new.shape[1]
        if count < steps:
            frames = torch.cat([frames, as_context], dim=1)[:, -context_frames:]
