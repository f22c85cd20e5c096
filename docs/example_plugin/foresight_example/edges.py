"""What the head's output means: the probability of a border between two classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dino_foresight_ros.model.tasks import Size, upsample


@dataclass(frozen=True)
class EdgesTask:
    """Borders between classes. Fields, of which there are none, would be kept in bundle.yaml."""

    name: ClassVar[str] = "edges"

    @property
    def outputs(self) -> int:
        """Channels that the head must give."""
        return 1

    def decode(self, raw: Tensor, size: Size | None = None) -> dict[str, Tensor]:
        """(B, 1, h, w) raw output -> probability of a border (B, H, W) float32."""
        return {"edges": upsample(raw, size)[:, 0].float().sigmoid()}
