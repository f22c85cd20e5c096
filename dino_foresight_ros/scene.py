"""What is known or predicted of an instant, and forecasts beside what then came.

Plain arrays: no torch, no ROS.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.outputs import OUTPUTS

C = TypeVar("C", bound=type)

UNKNOWN_M = (float("nan"), float("nan"), float("nan"))
"""A position or velocity that is not known."""


@dataclass(frozen=True)
class Detection:
    """One object of a scene's `instances`.

    Attributes:
        id: its value in `instances`, from 1.
        class_id: as in `Scene.segmentation`.
        score: confidence, 0 to 1.
        box: left edge, upper edge, width and height of the mask, pixels of `instances`.
        centroid: (x, y) of the mask, same pixels, (0, 0) the centre of the first one.
        position: (x, y, z) metres in the camera's optical frame, of the mask's visible surface;
            NaN without metric depth or calibration.
        velocity: metres per second relative to the camera, same frame, from the instant before;
            NaN unknown.
    """

    id: int
    class_id: int
    score: float
    box: tuple[float, float, float, float]
    centroid: tuple[float, float]
    position: tuple[float, float, float] = UNKNOWN_M
    velocity: tuple[float, float, float] = UNKNOWN_M


def _with_outputs(scene: C) -> C:
    """Give the class a field for every output that it names none for: those of other packages."""
    for output in OUTPUTS:
        if output.name not in scene.__annotations__:
            scene.__annotations__[output.name] = "NDArray[Any] | None"
            setattr(scene, output.name, None)
    return scene


@dataclass(frozen=True, eq=False)
@_with_outputs
class Scene:
    """What is known or predicted of one camera's view at one instant; None where nothing is.

    Outputs of heads of other packages are fields too, by their names.

    Attributes:
        stamp_ns: the instant, nanoseconds in the input's time base.
        step: 1 for the next frame, 2 for the one after it, ...; 0 for a frame that came.
        horizon_s: seconds from the newest context frame to the instant; 0 for a frame that came.
        image: (H, W, 3) uint8 RGB, the camera's picture.
        segmentation: (H, W) uint8 class ids, 255 unlabelled.
        confidence: (H, W) float32 in [0, 1], probability of the class in `segmentation`.
        depth: (H, W) float32, NaN unknown; see `depth_is_metric`.
        normals: (H, W, 3) float32 unit vectors in the camera's optical frame (x right, y down,
            z forward), NaN unknown.
        instances: (H, W) uint16 ids of single objects, 0 none; the same object may have the same id
            at other instants.
        detections: the objects of `instances`, highest score first.
        features: (h, w, C) PCA features on the patch grid; the mean of several futures.
        spread: (H, W) float32, how far several futures differ: the standard deviation of their PCA
            features, root mean square over channels.
        samples: each of several futures by itself, where they were asked for.
        depth_is_metric: whether depth is metres along the optical axis; otherwise relative inverse
            depth, 0 (far) to 255 (near).
    """

    stamp_ns: int
    _: KW_ONLY
    step: int = 0
    horizon_s: float = 0.0
    image: NDArray[np.uint8] | None = None
    segmentation: NDArray[np.uint8] | None = None
    confidence: NDArray[np.float32] | None = None
    depth: NDArray[np.float32] | None = None
    normals: NDArray[np.float32] | None = None
    instances: NDArray[np.uint16] | None = None
    detections: tuple[Detection, ...] = ()
    features: NDArray[Any] | None = None
    spread: NDArray[np.float32] | None = None
    samples: tuple[Scene, ...] = ()
    depth_is_metric: bool = False

    @property
    def target_stamp_ns(self) -> int:
        """`stamp_ns`, as a forecast calls the instant that it is about."""
        return self.stamp_ns

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        values = (getattr(self, field.name) for field in fields(self))
        own = sum(value.nbytes for value in values if isinstance(value, np.ndarray))
        return own + sum(sample.nbytes for sample in self.samples)


@dataclass(frozen=True, eq=False)
class ComparedStep:
    """One step of a forecast and what came at its instant.

    Attributes:
        predicted: the forecast.
        arrived: the frame that came, and what the same model says of it; None before it came.
        truth: what was really there, where somebody knows it (labels, the synthetic world).
    """

    predicted: Scene
    arrived: Scene | None = None
    truth: Scene | None = None

    def scenes(self) -> Iterator[Scene]:
        """The forecast, and what is known of its instant."""
        yield from (s for s in (self.predicted, self.arrived, self.truth) if s is not None)


@dataclass(frozen=True, eq=False)
class ComparedForecast:
    """One forecast beside what came.

    Attributes:
        newest: the newest context frame, and what the same model says of it, which is also
            copy-last, the forecast that nothing changes.
        steps: step 1 first.
        latency_ms: wall time from receiving the frame to publishing the forecast.
    """

    newest: Scene
    steps: tuple[ComparedStep, ...]
    latency_ms: float | None = None

    def scenes(self) -> Iterator[Scene]:
        """Everything that is known or predicted of any of its instants."""
        yield self.newest
        for step in self.steps:
            yield from step.scenes()

    def class_ids(self) -> set[int]:
        """Ids that occur in any segmentation, predicted or not."""
        maps = [one.segmentation for one in self.scenes() if one.segmentation is not None]
        return {int(i) for values in maps for i in np.unique(values)}
