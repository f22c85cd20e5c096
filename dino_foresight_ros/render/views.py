"""What the pictures of a forecast are made from. Plain arrays: no torch, no ROS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.render.depth import DepthScale
from dino_foresight_ros.render.palette import ClassPalette, Picture


@dataclass(frozen=True, kw_only=True)
class SceneMaps:
    """What is known or thought of one frame; None where it is not.

    Attributes:
        segmentation: (h, w) uint8 class ids, any size.
        depth: (h, w) float32, any size.
        normals: (h, w, 3) float32 unit vectors in the optical frame, any size.
        features: (h, w, C) PCA features on the patch grid.
    """

    segmentation: NDArray[np.uint8] | None = None
    depth: NDArray[np.float32] | None = None
    normals: NDArray[np.float32] | None = None
    features: NDArray[Any] | None = None


@dataclass(frozen=True)
class StepView(SceneMaps):
    """One predicted instant, and what really came. The maps it inherits are the forecast.

    Attributes:
        step: 1 for the next frame, ...
        horizon_s: seconds after the moment's image.
        target_stamp_ns: the predicted instant, nanoseconds.
        arrived: (H, W, 3) uint8, the frame that came at that instant; None when none is known.
        oracle: what the same model says of that frame, once it has come.
        truth: what was really there, where somebody knows it (the synthetic world).
    """

    step: int
    horizon_s: float
    target_stamp_ns: int
    arrived: Picture | None = None
    oracle: SceneMaps | None = None
    truth: SceneMaps | None = None


@dataclass(frozen=True)
class Moment:
    """One frame and everything that was predicted from it.

    Attributes:
        image: (H, W, 3) uint8, the newest frame that the forecast knew.
        stamp_ns: its stamp, nanoseconds.
        steps: step 1 first.
        latency_ms: wall time from receiving the frame to publishing the forecast.
        now: what the same model says of `image`: copy-last, the forecast that nothing changes.
    """

    image: Picture
    stamp_ns: int
    steps: tuple[StepView, ...]
    latency_ms: float | None = None
    now: SceneMaps | None = None

    def scenes(self) -> Iterator[SceneMaps]:
        """Everything that is known or thought of any of its instants."""
        every = [self.now, *self.steps]
        for step in self.steps:
            every += [step.oracle, step.truth]
        return (scene for scene in every if scene is not None)

    def class_ids(self) -> set[int]:
        """Ids that occur in any segmentation, predicted or not."""
        present: set[int] = set()
        for scene in self.scenes():
            if scene.segmentation is not None:
                present.update(int(i) for i in np.unique(scene.segmentation))
        return present


@dataclass(frozen=True)
class Look:
    """How all pictures of one set look alike.

    Attributes:
        palette: names and colours of the classes; None without a segmentation head.
        scale: colours of depth; None without a depth head.
        origin_ns: the stamp that is written as 0 s.
        has_normals: whether there is a normals head.
        trained: False puts "untrained" on every picture.
        alpha: how strongly classes cover the picture beneath, 0 to 1.
    """

    palette: ClassPalette | None
    scale: DepthScale | None
    origin_ns: int = 0
    trained: bool = True
    alpha: float = 0.55
    has_normals: bool = False

    def time_text(self, stamp_ns: int) -> str:
        """A stamp as seconds since the origin, to the millisecond."""
        return f"{(stamp_ns - self.origin_ns) / 1e9:.3f} s"


def horizon_text(view: StepView) -> str:
    """How far ahead a step lies."""
    return f"in {view.horizon_s * 1000.0:.0f} ms"


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
