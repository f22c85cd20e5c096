"""What the engine returns: plain arrays and stamps, no ROS."""

from __future__ import annotations

from dataclasses import dataclass

from dino_foresight_ros.scene import Scene


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
        step_0: the newest context frame itself, as the heads describe it; None unless asked for.
    """

    stamp_ns: int
    context_stamps_ns: tuple[int, ...]
    frame_interval_s: float
    steps: tuple[Scene, ...]
    model_name: str
    trained: bool
    duration_s: float
    step_0: Scene | None = None
