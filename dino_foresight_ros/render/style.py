"""The style that all pictures of a set share: colours, and what they stand for."""

from __future__ import annotations

from dataclasses import dataclass

from dino_foresight_ros.render.colors import ClassPalette, Color, DepthScale

BACKGROUND: Color = (18, 20, 24)
PANEL: Color = (30, 33, 39)
TEXT: Color = (236, 238, 241)
DIM: Color = (150, 156, 166)
WARNING: Color = (255, 193, 7)
ON_WARNING: Color = (30, 22, 0)

UNTRAINED_TEXTS = (
    "UNTRAINED WEIGHTS - not a real forecast",
    "UNTRAINED - no real forecast",
    "UNTRAINED",
)
UNTRAINED_TAG = "untrained"


@dataclass(frozen=True)
class Style:
    """What the pictures of one set have in common.

    Attributes:
        palette: names and colours of the classes; None without a segmentation head.
        depth_scale: colours of depth; None without a depth head.
        origin_ns: the stamp that is written as 0 s.
        trained: False puts "untrained" on every picture.
        alpha: how strongly classes cover the picture beneath, 0 to 1.
        has_normals: whether there is a normals head.
        has_instances: whether there is a head for instances.
    """

    palette: ClassPalette | None
    depth_scale: DepthScale | None
    origin_ns: int = 0
    trained: bool = True
    alpha: float = 0.55
    has_normals: bool = False
    has_instances: bool = False

    def time_text(self, stamp_ns: int) -> str:
        """A stamp as seconds since the origin, to the millisecond."""
        return f"{(stamp_ns - self.origin_ns) / 1e9:.3f} s"
