"""The masked feature transformer of DINO-Foresight (Karypidis et al., arXiv 2412.11673, sec. 3.2).

Context frames and mask tokens for the frames to predict go through pre-norm transformer blocks.
Each block attends over time (per patch, or per k x k window of patches), then over space (per
frame), then applies a feed-forward; or, in the full variant, attends over all tokens at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.config import from_plain, to_plain
from dino_foresight_ros.model.forecasters.autoregressive import AutoregressiveForecaster, append
from dino_foresight_ros.model.forecasters.interface import Wrap
from dino_foresight_ros.model.forecasters.transformer import Block

ATTENTION_KINDS = ("factorised", "full")
FEATURES, RESIDUAL, CODES = "features", "residual", "codes"
PREDICTIONS = (FEATURES, RESIDUAL, CODES)


@dataclass(frozen=True)
class MaskedConfig:
    """Shape of a masked forecaster.

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
            copies that frame, which a short training improves on from its first step. "codes":
            which of `codes` vectors the features are nearest to, by softmax (the paper's discrete
            targets, an ablation); the likeliest one is the forecast.
        codes: K, vectors of the codebook; 0 for what is no code.
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
    predict: str = FEATURES
    codes: int = 0

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
        if self.codes < 0 or (self.predict == CODES) != (self.codes > 1):
            raise BundleError(
                f"forecaster predict '{self.predict}' with {self.codes} codes: codes takes at "
                "least 2, anything else 0"
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
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MaskedConfig:
        """Build from YAML values.

        Raises:
            BundleError: an unknown or missing key, or a value out of range.
        """
        return from_plain(cls, values, "forecaster")


class MaskedForecaster(AutoregressiveForecaster):
    """Fills in the features of the frames after the context, whose tokens are masked."""

    kind = "masked"
    codebook: Tensor
    """(K, C) vectors that codes stand for, where codes are predicted."""
    _wrapped: Callable[..., tuple[Tensor, ...]] | None = None

    def __init__(self, config: MaskedConfig) -> None:
        super().__init__()
        self.config = config
        third = config.width // 3
        self.embed = nn.Linear(config.channels, config.width)
        self.mask_token = nn.Parameter(torch.empty(config.width))
        self.position_time = nn.Parameter(torch.empty(config.frames, third))
        self.position_row = nn.Parameter(torch.empty(config.grid[0], third))
        self.position_column = nn.Parameter(torch.empty(config.grid[1], third))
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.layers))
        self.out = nn.Linear(config.width, config.codes or config.channels)
        if config.codes:
            self.register_buffer("codebook", torch.zeros(config.codes, config.channels))
        self._initialise()

    def _initialise(self) -> None:
        """As the reference: 0.02 embeddings, and an output that starts at zero."""
        nn.init.normal_(self.mask_token, std=0.02)
        for position in (self.position_time, self.position_row, self.position_column):
            nn.init.trunc_normal_(position, std=0.02)
        nn.init.zeros_(self.out.weight)
        if self.config.predict == RESIDUAL:
            nn.init.zeros_(self.out.bias)

    @property
    def context_frames(self) -> int:
        """N_c, the number of context frames."""
        return self.config.context_frames

    @property
    def channels(self) -> int:
        """C, values per patch in and out."""
        return self.config.channels

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) rows and columns of the patch grid."""
        return self.config.grid

    @property
    def layers(self) -> int:
        """The number of blocks, each of which heads can read."""
        return self.config.layers

    @property
    def width(self) -> int:
        """D, the hidden size."""
        return self.config.width

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return self.config.to_dict()

    def with_wrapped_core(self, wrap: Wrap) -> MaskedForecaster:
        """A twin on the same weights whose transformer pass is wrapped."""
        twin = copy.copy(self)
        twin._wrapped = wrap(self._predict_embedded)
        return twin

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

    def passes(self, context: Tensor, layers: Sequence[int] = ()) -> Iterator[tuple[Tensor, ...]]:
        """As `AutoregressiveForecaster.passes`; M is `masked_frames`."""
        self._check(context)
        if not set(layers) <= set(range(len(self.blocks))):
            raise ValueError(f"layers {list(layers)} are not all 0 to {len(self.blocks) - 1}")
        # Positions, and the embeddings of frames that stay in the context, serve every pass.
        positions, embedded, newest = self.positions(), self.embed(context), context[:, -1:]
        run = self._wrapped or self._predict_embedded
        while True:
            out, *hidden = run(embedded, positions, tuple(layers))
            frames = self._since(newest, out)
            yield frames, *hidden
            newest, embedded = frames[:, -1:], append(embedded, self.embed(frames))

    def _predict_embedded(
        self, embedded: Tensor, positions: Tensor, layers: tuple[int, ...]
    ) -> tuple[Tensor, ...]:
        """One pass of the transformer.

        Args:
            embedded: (B, N_c, h, w, D) context.
            positions: (T, h, w, D).
            layers: whose hidden tokens to give along.

        Returns:
            What the output layer gives for the masked frames, (B, M, h, w, C), and their tokens
            after each of the layers, (B, M, h, w, D).
        """
        masked = self.config.masked_frames
        mask = self.mask_token.expand(embedded.shape[0], masked, *self.config.grid, -1)
        x = torch.cat([embedded, mask], dim=1) + positions
        hidden: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            # Nobody reads the context frames' tokens after the last block: only the masked go on.
            x = block(x, keep=masked if index == len(self.blocks) - 1 else None)
            if index in layers:
                hidden[index] = x[:, -masked:]
        return self.out(x), *(hidden[index] for index in layers)

    def _since(self, newest: Tensor, out: Tensor) -> Tensor:
        """What the output layer gave (B, M, h, w, C), and the newest frame (B, 1, h, w, C)."""
        if self.config.predict == CODES:
            return self.codebook[out.argmax(dim=-1)].to(newest.dtype)
        return newest + out if self.config.predict == RESIDUAL else out

    def reconstruct(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Training pass: replace masked tokens by the mask token and predict every token.

        Args:
            frames: (B, T, h, w, C) context and target frames, T = context + masked frames.
            mask: (B, T, h, w) bool, True where the token is hidden.

        Returns:
            (B, T, h, w, C); only masked positions carry a training signal.
        """
        newest = frames[:, self.context_frames - 1 : self.context_frames]
        return self._since(newest, self.outputs(frames, mask))

    def outputs(self, frames: Tensor, mask: Tensor) -> Tensor:
        """What the output layer gives for every token: logits (B, T, h, w, K) of codes, or values.

        Args: as of `reconstruct`.
        """
        embedded = self.embed(frames)
        x = torch.where(mask[..., None], self.mask_token.to(embedded.dtype), embedded)
        x = x + self.positions()
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.out(x)
        return out

    def nearest_codes(self, features: Tensor) -> Tensor:
        """(..., C) features -> (...) int64, the code whose vector is nearest."""
        codes = self.codebook.float()
        # |f - c|^2 without |f|^2, which is the same for every code.
        distances = codes.square().sum(dim=-1) - 2 * (features.float() @ codes.T)
        return distances.argmin(dim=-1)

    def _check(self, context: Tensor) -> None:
        config = self.config
        want = (config.context_frames, *config.grid, config.channels)
        if context.ndim != 5 or tuple(context.shape[1:]) != want:
            raise ValueError(
                f"context has shape {tuple(context.shape)}, expected (B, "
                f"{', '.join(map(str, want))}); resize_grid() adapts "
                "the position embeddings to another patch grid"
            )

    def resize_grid(self, height: int, width: int) -> MaskedForecaster:
        """Stretch the row and column embeddings to another patch grid, in place.

        Bilinear along rows and columns, as the paper's high-resolution adaptation (sec. 3.3).

        Returns:
            self.
        """
        config = MaskedConfig.from_dict({**self.config.to_dict(), "grid": (height, width)})
        with torch.no_grad():
            self.position_row = nn.Parameter(_stretch(self.position_row, height))
            self.position_column = nn.Parameter(_stretch(self.position_column, width))
        self.config = config
        return self


def _block(config: MaskedConfig) -> Block:
    return Block(
        config.width,
        config.heads,
        hidden=int(config.width * config.mlp_ratio),
        dropout=config.dropout,
        factorised=config.attention == "factorised",
        window=config.window,
    )


def _stretch(embedding: Tensor, length: int) -> Tensor:
    """Interpolate (n, d) to (length, d) linearly, half-pixel centres."""
    columns = embedding.detach().T[None].float()
    stretched = functional.interpolate(columns, size=length, mode="linear", align_corners=False)
    return stretched[0].T.contiguous().to(embedding.dtype)
