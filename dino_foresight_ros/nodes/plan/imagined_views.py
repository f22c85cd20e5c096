"""The imagined views of a chosen and of a refused candidate, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.msg import CandidateScore
from dino_foresight_ros.outputs import BY_NAME, SEGMENTATION
from dino_foresight_ros.render.colors import ClassPalette, Picture
from dino_foresight_ros.render.imagined import ImaginedTrajectory, arc_name, imagined_columns
from dino_foresight_ros.ros.messages import read_image
from dino_foresight_ros.srv import Imagine


def draw_imagined(
    response: Imagine.Response,
    arcs: NDArray[np.float64],
    reasons: Sequence[str],
    palette: ClassPalette,
) -> Picture:
    """A column per candidate, a row per horizon.

    Args:
        response: of these candidates, with maps.
        arcs: (K, 2) m/s and rad/s.
        reasons: why each was refused, empty for the chosen one.
        palette: of the classes.

    Raises:
        InputError: no maps.
    """
    trajectories = [
        ImaginedTrajectory(
            arc_name(arc),
            reason,
            [horizon.horizon for horizon in score.horizons],
            [horizon.probability_occupied for horizon in score.horizons],
            _views(score),
        )
        for score, arc, reason in zip(response.scores, arcs, reasons, strict=True)
    ]
    return imagined_columns(trajectories, palette, response.trained)


def _views(score: CandidateScore) -> list[NDArray[np.uint8]]:
    views = []
    for horizon in score.horizons:
        ids = read_image(horizon.segmentation, BY_NAME[SEGMENTATION])
        if ids is None:
            raise InputError("the answer has no maps")
        views.append(ids)
    return views
