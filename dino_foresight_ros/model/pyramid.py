"""From features on the patch grid to maps of several sizes, the first stage of heads."""

from __future__ import annotations

from collections.abc import Sequence

from einops import rearrange
from torch import Tensor, nn

from dino_foresight_ros.errors import BundleError


class Pyramid(nn.Module):
    """Four levels of maps made of features that all have the patch grid's size.

    Each level reads a layer, or a quarter of the layers, stacked: of 12 the first three, the next
    three, and so on. The first stage of DPT (Ranftl et al. 2021).
    """

    def __init__(self, channels: Sequence[int], embed_dim: int, layers: int) -> None:
        super().__init__()
        if layers != 1 and layers % 4:
            raise BundleError(
                "this head takes 4 layers or a multiple, of which neighbours are stacked (or 1, "
                f"used four times), not {layers}"
            )
        self.embed_dim, self.layers = embed_dim, layers
        self.stacked = max(1, layers // 4)
        c1, c2, _, c4 = channels
        self.projects = nn.ModuleList(nn.Conv2d(self.stacked * embed_dim, c, 1) for c in channels)
        self.resizes = nn.ModuleList(
            [
                nn.ConvTranspose2d(c1, c1, 4, stride=4),
                nn.ConvTranspose2d(c2, c2, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(c4, c4, 3, stride=2, padding=1),
            ]
        )

    def levels(self, features: Tensor) -> list[Tensor]:
        """(B, h, w, L*D) -> maps (B, C, ...) of 4, 2, 1 and 1/2 times the patch grid's size."""
        maps = rearrange(features, "b h w (l d) -> l b d h w", d=self.stacked * self.embed_dim)
        return [
            self.resizes[i](self.projects[i](maps[0 if self.layers == 1 else i])) for i in range(4)
        ]
