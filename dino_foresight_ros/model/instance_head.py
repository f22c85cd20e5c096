"""The head for instances: Mask2Former (Cheng et al. 2022) on reconstructed features.

The pixel decoder and the transformer decoder are those of the package transformers (the extra
`instances`), which is imported when a head is built. Their backbone's place takes the first stage
of a DPT head (`pyramid.py`), so that features on the patch grid become maps of four sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.config import from_plain, to_plain
from dino_foresight_ros.model.pyramid import Pyramid

MASK_SCALE = 4
"""Mask pixels per patch side."""
_GROUPS = 32
"""Of the pixel decoder's group norm."""


class PixelMaps(NamedTuple):
    """What a head that finds objects by their centres says of every pixel.

    Attributes:
        classes: (B, K, H, W) logits.
        centres: (B, T + 2, H, W): a logit per class of objects, high at centres; and rows and
            columns from the pixel to its object's centre, in patches.
    """

    classes: Tensor
    centres: Tensor


@dataclass(frozen=True)
class QueryOutput:
    """What the head for instances gives: per query a class and a mask, as logits.

    It is picked from, counted and copied as a map (B, Q, h, w) is.

    Attributes:
        classes: (B, Q, K + 1); the last one is "no object".
        masks: (B, Q, h, w).
        earlier: classes and masks before each decoder layer, for the loss; empty in evaluation.
        pixels: what the masks were made of, of a head that finds objects by their centres.
    """

    classes: Tensor
    masks: Tensor
    earlier: tuple[tuple[Tensor, Tensor], ...] = ()
    pixels: PixelMaps | None = None

    @property
    def shape(self) -> torch.Size:
        """(B, Q, h, w)."""
        return self.masks.shape

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, rows: Sequence[int]) -> QueryOutput:
        """Some pictures of the batch."""
        earlier = tuple((classes[rows], masks[rows]) for classes, masks in self.earlier)
        pixels = None if self.pixels is None else PixelMaps(*(x[rows] for x in self.pixels))
        return QueryOutput(self.classes[rows], self.masks[rows], earlier, pixels)

    def clone(self) -> QueryOutput:
        """A copy that owns its memory."""
        earlier = tuple((classes.clone(), masks.clone()) for classes, masks in self.earlier)
        pixels = None if self.pixels is None else PixelMaps(*(x.clone() for x in self.pixels))
        return QueryOutput(self.classes.clone(), self.masks.clone(), earlier, pixels)


@dataclass(frozen=True)
class InstanceHeadConfig:
    """Shape of a head for instances; the defaults are Mask2Former's.

    Attributes:
        outputs: K classes, without "no object".
        kind: "mask2former".
        channels: four pyramid widths, finest first.
        width: channels of both decoders, a multiple of 32.
        queries: most objects of a picture.
        encoder_layers: layers of deformable attention in the pixel decoder.
        decoder_layers: layers of masked attention; layer i reads scale i modulo 3, coarsest first.
        attention_heads: of both decoders.
        feedforward: width of the transformer decoder's; the pixel decoder's is half of it.
    """

    outputs: int
    kind: str = "mask2former"
    channels: tuple[int, int, int, int] = (128, 256, 512, 512)
    width: int = 256
    queries: int = 100
    encoder_layers: int = 6
    decoder_layers: int = 9
    attention_heads: int = 8
    feedforward: int = 2048

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        if self.kind != InstanceHeadConfig.kind:
            raise BundleError(
                f"instance head kind '{self.kind}' is unknown; valid: {InstanceHeadConfig.kind}"
            )
        if len(self.channels) != 4 or min(self.channels) < 1:
            raise BundleError(f"head channels {list(self.channels)} must be four widths")
        if not 1 <= self.queries <= 65535:
            raise BundleError(
                f"head queries is {self.queries}; it must be 1 to 65535, the ids of a mono16 image"
            )
        for name in ("outputs", "encoder_layers", "decoder_layers", "attention_heads"):
            if getattr(self, name) < 1:
                raise BundleError(f"head {name} is {getattr(self, name)}; it must be >= 1")
        if self.feedforward < 2:
            raise BundleError(f"head feedforward is {self.feedforward}; it must be >= 2")
        if self.width < _GROUPS or self.width % _GROUPS or self.width % self.attention_heads:
            raise BundleError(
                f"head width is {self.width}; it must be a multiple of {_GROUPS} that splits into "
                f"{self.attention_heads} attention heads"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InstanceHeadConfig:
        """Build from YAML values.

        Raises:
            BundleError: an unknown or missing key, or a value out of range.
        """
        return from_plain(cls, values, "head")


def mask2former() -> Any:
    """The library's module of Mask2Former.

    Raises:
        BundleError: the package is not installed, or too old.
    """
    try:
        from transformers.models.mask2former import modeling_mask2former
    except ImportError as error:
        raise BundleError(
            f"a head for instances needs the package transformers ({error}); install it: "
            "pip install 'dino_foresight_ros[instances]'"
        ) from error
    return modeling_mask2former


def mask2former_config(config: InstanceHeadConfig, points: int = 12544) -> Any:
    """The library's configuration.

    Args:
        config: the head's.
        points: pixels that the loss and the matching read of each mask.
    """
    return mask2former().Mask2FormerConfig(
        feature_size=config.width,
        mask_feature_size=config.width,
        hidden_dim=config.width,
        encoder_layers=config.encoder_layers,
        encoder_feedforward_dim=config.feedforward // 2,
        # The library counts the prediction before the first layer.
        decoder_layers=config.decoder_layers + 1,
        dim_feedforward=config.feedforward,
        num_attention_heads=config.attention_heads,
        num_queries=config.queries,
        num_labels=config.outputs,
        train_num_points=points,
    )


class InstanceHead(Pyramid):
    """Queries that each find an object: its class and its mask."""

    def __init__(self, config: InstanceHeadConfig, embed_dim: int, layers: int) -> None:
        """Build with fresh weights, drawn as the library draws them.

        Raises:
            BundleError: the features' layers do not fit, or the library is missing.
        """
        super().__init__(config.channels, embed_dim, layers)
        library, settings = mask2former(), mask2former_config(config)
        self.config = config
        self.pixel_decoder = library.Mask2FormerPixelDecoder(settings, list(config.channels))
        self.transformer = library.Mask2FormerTransformerModule(config.width, settings)
        self.classify = nn.Linear(config.width, config.outputs + 1)
        draw = library.Mask2FormerPreTrainedModel(settings)._init_weights
        for part in (self.pixel_decoder, self.transformer, self.classify):
            part.apply(draw)
        # Older versions of the library draw these nearly alike, and queries then take long to part.
        nn.init.normal_(self.pixel_decoder.level_embed)
        for name in ("queries_embedder", "queries_features", "level_embed"):
            nn.init.normal_(getattr(self.transformer, name).weight)

    def forward(self, features: Tensor) -> QueryOutput:
        """(B, h, w, L*D) reconstructed features -> masks of 4h x 4w."""
        return self.decode(self.levels(features))

    def decode(self, levels: Sequence[Tensor]) -> QueryOutput:
        """Decode maps as a backbone gives them.

        Args:
            levels: four maps (B, C, ...), finest first, each half the size of the one before.
        """
        pixels = self.pixel_decoder(list(levels), return_dict=True)
        found = self.transformer(pixels.multi_scale_features, pixels.mask_features)
        states, masks = found.intermediate_hidden_states, found.masks_queries_logits
        if not self.training:
            return QueryOutput(self.classify(states[-1].transpose(0, 1)), masks[-1])
        classes = [self.classify(state.transpose(0, 1)) for state in states]
        earlier = tuple(zip(classes[:-1], masks[:-1], strict=True))
        return QueryOutput(classes[-1], masks[-1], earlier)
