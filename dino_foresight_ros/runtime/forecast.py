"""What the engine returns: plain arrays and stamps, no ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StepForecast:
    """The predicted scene at one future instant, or the seen one as the model describes it.

    Attributes:
        step: 1 for the next frame, 2 for the one after it, ...; 0 for the newest context frame.
        target_stamp_ns: the instant that is predicted, nanoseconds in the input's time base.
        horizon_s: seconds from the newest context frame to that instant.
        segmentation: (H, W) uint8 class ids, or None when not wanted or no such head.
        confidence: (H, W) float32 in [0, 1], probability of the class in `segmentation`.
        depth: (H, W) float32. Metres along the optical axis where the bundle's depth head is
            metric, otherwise relative inverse depth, 0 (far) to 255 (near).
        normals: (H, W, 3) float32 unit vectors in the camera's optical frame.
        features: (h, w, C) float32 PCA features, when asked for.
    """

    step: int
    target_stamp_ns: int
    horizon_s: float
    segmentation: np.ndarray | None = None
    confidence: np.ndarray | None = None
    depth: np.ndarray | None = None
    normals: np.ndarray | None = None
    features: np.ndarray | None = None


@dataclass(frozen=True)
class Forecast:
    """One forecast: every step predicted from one context.

    Attributes:
        stamp_ns: stamp of the newest context frame, nanoseconds.
        context_stamps_ns: stamps of the context frames used, oldest first.
        frame_interval_s: the bundle's nominal time between steps.
        steps: predicted steps, step 1 first.
        model_name: name of the bundle.
        trained: False when the weights are random: the result means nothing then.
        duration_s: wall time that the engine spent on this frame, seconds.
        seen: step 0, the newest context frame itself; None unless asked for.
    """

    stamp_ns: int
    context_stamps_ns: tuple[int, ...]
    frame_interval_s: float
    steps: tuple[StepForecast, ...]
    model_name: str
    trained: bool
    duration_s: float
    seen: StepForecast | None = None
