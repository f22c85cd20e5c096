"""What imagination is asked, and what it tells of each candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dino_foresight_ros.obstacles import Footprint, ObstacleOptions, ObstaclePoints
from dino_foresight_ros.planar_motion import Motion
from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.scene import Scene


class Weights(NamedTuple):
    """How much each cost counts, all of which lie within 0 to 1.

    Attributes:
        occupied: probability of a contact; sooner ones count at more horizons.
        distance: nearness to obstacles, below `ImagineOptions.safe_distance_m`.
        unknown: fraction of the swept area that no camera sees.
        progress: how much less far than the best; with a goal picture, how unlike it the view is
            at the last horizon.
    """

    occupied: float = 4.0
    distance: float = 1.0
    unknown: float = 0.5
    progress: float = 1.0


WEIGHTS = Weights()


@dataclass(frozen=True)
class Mount:
    """A camera on a robot.

    Attributes:
        view: how its pictures come about.
        base_from_optical: (4, 4) pose of its optical frame in the base frame.
    """

    view: CameraView
    base_from_optical: NDArray[np.float64]


@dataclass(frozen=True)
class ImagineOptions:
    """How candidates are assessed.

    Attributes:
        footprint: of the robot.
        obstacles: what of a view is an obstacle.
        weights: of the costs.
        safe_distance_m: obstacles farther from the footprint cost nothing.
        contact_probability: from this on something counts as met.
        goal: (h, w, C) features of a picture of where to be (`Foresight.features`); none when None.
            The distance to it is the mean squared error (DINO-WM, arXiv 2411.04983).
        goal_camera: the camera that the picture is of.
    """

    footprint: Footprint
    obstacles: ObstacleOptions
    weights: Weights = WEIGHTS
    safe_distance_m: float = 1.0
    contact_probability: float = 0.5
    goal: Tensor | None = None
    goal_camera: str = ""


@dataclass(frozen=True, eq=False)
class ImaginedHorizon:
    """What is expected of a candidate until a horizon; see msg/CandidateHorizon.

    Attributes:
        horizon_s: seconds from the newest frame.
        motion: (3,) of the base until then.
        probability_occupied: that the footprint meets something until then.
        least_distance_m: from it to the nearest obstacle until then; infinity without any.
        class_id: of what is met or nearest, 255 none.
        unknown: fraction of the swept area that no camera sees.
        is_outside_range: the motion is faster than the forecaster was trained on.
        scenes: camera -> the imagined view, where maps were asked for.
        points: obstacles in the base frame of the newest frame, where they were asked for.
    """

    horizon_s: float
    motion: Motion
    probability_occupied: float
    least_distance_m: float
    class_id: int
    unknown: float
    is_outside_range: bool
    scenes: Mapping[str, Scene]
    points: ObstaclePoints | None


@dataclass(frozen=True, eq=False)
class ImaginedCandidate:
    """What is expected of a candidate; see msg/CandidateScore.

    Attributes:
        index: of the candidate.
        total: weighted sum of the costs, lower is better.
        costs: before they are weighted.
        progress_m: forward along the candidate.
        time_to_contact_s: infinity without contact.
        reason: what speaks against it; empty for the best.
        horizons: one per horizon.
    """

    index: int
    total: float
    costs: Weights
    progress_m: float
    time_to_contact_s: float
    reason: str
    horizons: tuple[ImaginedHorizon, ...]


@dataclass(frozen=True, eq=False)
class Imagined:
    """Every candidate, assessed.

    Attributes:
        stamp_ns: of the newest context frame.
        candidates: in the order in which they were given.
        ranking: their indices, best first.
        is_motion_aware: False where the forecaster takes no motion: every candidate is then
            assessed by the same views.
        cameras: that took part, in the order of their mounts.
        weights: that were used.
        duration_s: wall time that it took.
    """

    stamp_ns: int
    candidates: tuple[ImaginedCandidate, ...]
    ranking: tuple[int, ...]
    is_motion_aware: bool
    cameras: tuple[str, ...]
    weights: Weights
    duration_s: float
