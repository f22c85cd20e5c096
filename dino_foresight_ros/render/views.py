"""What the pictures of a forecast are made from. Plain arrays: no torch, no ROS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.render.depth import DepthScale
from dino_foresight_ros.render.palette import ClassPalette, Picture


@dataclass(frozen=True)
class StepView:
    """One predicted instant, and what really came.

    Attributes:
        step: 1 for the next frame, ...
        horizon_s: seconds after the moment's image.
        target_stamp_ns: the predicted instant, nanoseconds.
        segmentation: (h, w) uint8 class ids, any size.
        depth: (h, w) float32, any size.
        arrived: (H, W, 3) uint8, the frame that came at that instant; None when none is known.
    """

    step: int
    horizon_s: float
    target_stamp_ns: int
    segmentation: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None
    arrived: Picture | None = None


@dataclass(frozen=True)
class Moment:
    """One frame and everything that was predicted from it.

    Attributes:
        image: (H, W, 3) uint8, the newest frame that the forecast knew.
        stamp_ns: its stamp, nanoseconds.
        steps: step 1 first.
        latency_ms: wall time from receiving the frame to publishing the forecast.
    """

    image: Picture
    stamp_ns: int
    steps: tuple[StepView, ...]
    latency_ms: float | None = None

    def class_ids(self) -> set[int]:
        """Ids that occur in the predicted segmentations."""
        present: set[int] = set()
        for step in self.steps:
            if step.segmentation is not None:
                present.update(int(i) for i in np.unique(step.segmentation))
        return present


@dataclass(frozen=True)
class Look:
    """How all pictures of one set look alike.

    Attributes:
        palette: names and colours of the classes; None without a segmentation head.
        scale: colours of depth; None without a depth head.
        origin_ns: the stamp that is written as 0 s.
        trained: False puts "untrained" on every picture.
        alpha: how strongly classes cover the picture beneath, 0 to 1.
    """

    palette: ClassPalette | None
    scale: DepthScale | None
    origin_ns: int = 0
    trained: bool = True
    alpha: float = 0.55

    def time_text(self, stamp_ns: int) -> str:
        """A stamp as seconds since the origin."""
        return f"{(stamp_ns - self.origin_ns) / 1e9:.2f} s"


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` of the indices 0..count-1, evenly spread, first and last among them."""
    if count <= wanted:
        return list(range(count))
    if wanted == 1:
        return [0]
    return [round(i * (count - 1) / (wanted - 1)) for i in range(wanted)]


def columns_of(moments: Sequence[Moment], most: int = 4) -> list[int]:
    """Steps that get a column: all of them, or `most` spread ones where there are more."""
    steps = sorted({step.step for moment in moments for step in moment.steps})
    return [steps[i] for i in spread(len(steps), most)]
