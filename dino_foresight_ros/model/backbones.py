"""Networks that encoders run besides ViTs: convolutional ones of timm, and Stable Diffusion's VAE.

Each gives maps (B, C, h, w) of its own resolutions; `Encoder` brings them to one grid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.timm_import import timm

if TYPE_CHECKING:
    from dino_foresight_ros.model.encoder import EncoderConfig

# Of Stable Diffusion 1 and 2; `EncoderConfig.overrides` change it.
_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
}


class FeatureMaps(nn.Module):
    """A convolutional backbone of timm, with the maps after some of its stages."""

    def __init__(self, config: EncoderConfig, pretrained: bool = False) -> None:
        """Create it.

        Raises:
            BundleError: timm has no such model, or it has not these stages.
        """
        super().__init__()
        name = config.model.removeprefix("timm/")
        if not timm.is_model(name):
            near = timm.list_models(f"*{name.split('_')[0]}*")[:8]
            raise BundleError(
                f"timm has no model '{config.model}'; similar ones: {', '.join(near)}"
            )
        try:
            self.stages: Any = timm.create_model(
                name,
                pretrained=pretrained,
                features_only=True,
                out_indices=config.layers,
                **config.overrides,
            )
        except (TypeError, ValueError, AssertionError, AttributeError, IndexError) as error:
            reason = " ".join(str(error).split())
            raise BundleError(
                f"timm gives no feature maps {list(config.layers)} of '{config.model}': {reason}"
            ) from error

    @property
    def channels(self) -> list[int]:
        """C of each map."""
        return [int(count) for count in self.stages.feature_info.channels()]

    def forward(self, frames: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised -> maps, finest first."""
        found: list[Tensor] = self.stages(frames)
        return found


class LatentMap(nn.Module):
    """The encoder of a variational autoencoder (AutoencoderKL of diffusers): its latents' mean."""

    def __init__(self, config: EncoderConfig, pretrained: bool = False) -> None:
        """Create it.

        Raises:
            BundleError: diffusers is not installed, or layers other than 0 are asked for.
        """
        super().__init__()
        try:
            from diffusers import AutoencoderKL
        except ImportError as error:
            reason = " ".join(str(error).split())
            raise BundleError(
                f"encoder '{config.model}' needs diffusers: pip install "
                f"'dino_foresight_ros[diffusers]' ({reason})"
            ) from error
        if config.layers != (0,):
            raise BundleError(f"a VAE has one layer, 0, not {list(config.layers)}")
        if pretrained:
            vae = AutoencoderKL.from_pretrained(config.model, **config.overrides)
        else:
            values = {**_VAE, **config.overrides}
            blocks = len(values["block_out_channels"])
            vae = AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * blocks,
                up_block_types=("UpDecoderBlock2D",) * blocks,
                **values,
            )
        # Nobody decodes: without the decoder it is a third of the memory.
        self.encoder: Any = vae.encoder
        self.quant_conv: Any = vae.quant_conv
        self.channels = [int(vae.config.latent_channels)]

    def forward(self, frames: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in -1 to 1 -> the mean of the latents, (B, C, H/8, W/8), nothing drawn."""
        moments: Tensor = self.encoder(frames)
        if self.quant_conv is not None:
            moments = self.quant_conv(moments)
        return [moments.chunk(2, dim=1)[0]]
