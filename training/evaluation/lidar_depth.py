"""A bundle's depth head beside the lidar of the bags it is measured on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model import Bundle, DepthTask
from dino_foresight_ros.model.heads import UPSCALE
from dino_foresight_ros.recordings._bags import bag_of
from dino_foresight_ros.training.data import Recording
from dino_foresight_ros.training.evaluation.bag_lidar import LidarOptions, Warn
from dino_foresight_ros.training.evaluation.heads import layers_read
from dino_foresight_ros.training.evaluation.lidar_scale import (
    AFFINE,
    AS_IT_IS,
    CAMERA_HEIGHT,
    MEDIAN,
    Map,
    Scale,
    ScaleChoice,
    affine_scale,
    camera_height_scale,
    median_scale,
    road_ids,
)
from dino_foresight_ros.training.evaluation.lidar_truth import CameraTruth, open_truths


class LidarDepth:
    """A bundle's depth head and the lidar of the bags it is measured on."""

    def __init__(
        self,
        bundle: Bundle,
        recordings: Sequence[Recording],
        options: LidarOptions,
        choice: ScaleChoice,
        warn: Warn,
    ) -> None:
        """Check that everything is there before anything is computed.

        Args:
            bundle: what is measured.
            recordings: of bags.
            options: how points become depth.
            choice: how depth is put to scale.
            warn: told of what was assumed.

        Raises:
            InputError: no depth head, or something is missing in a bag; names it.
        """
        task = bundle.tasks.get("depth")
        if not isinstance(task, DepthTask):
            raise InputError(f"{bundle.name} has no depth head; there is nothing to compare")
        self.task, self.choice, self.options = task, choice, options
        self.methods = choice.methods(task)
        self.has_layers = "depth" in layers_read(bundle)
        if self.has_layers and self.methods != (AS_IT_IS,):
            raise InputError(
                f"{bundle.name}: its depth head reads the forecaster's layers and says nothing of "
                "a frame that is there, so it cannot be put to scale before the forecast"
            )
        self.road = road_ids(bundle) if CAMERA_HEIGHT in self.methods else ()
        if self.road and "segmentation" in layers_read(bundle):
            raise InputError(
                f"{bundle.name}: its segmentation head reads the forecaster's layers and cannot "
                "tell where the road is now, which --scale camera-height needs"
            )
        # The head's own resolution: a patch has as many cells as its head gives pixels.
        self.cells = (UPSCALE * bundle.grid[0], UPSCALE * bundle.grid[1])
        self.limits_m = self._limits_m()
        self.truths = open_truths(recordings, options, self.cells, warn)

    def _limits_m(self) -> tuple[float, float]:
        """Depths that are scored: a metric head can say nothing beyond its bins."""
        low, high = self.options.min_m, self.options.max_m
        if self.task.is_metric:
            assert self.task.min_m is not None
            assert self.task.max_m is not None
            low, high = max(low, self.task.min_m), min(high, self.task.max_m)
            if not low < high:
                raise InputError(
                    f"the depth head knows {self.task.min_m:g} to {self.task.max_m:g} m, none of "
                    f"which lies in {self.options.min_m:g} to {self.options.max_m:g} m"
                )
        return low, high

    def truth_of(self, recording: Recording) -> CameraTruth | None:
        """True depth of a recording or of a part of one; None where there is no lidar."""
        whole = bag_of(recording)
        return None if whole is None else self.truths.get(whole)

    def find_scale(
        self, method: str, inverse: Map, true_m: Map, rays: Map, road: NDArray[np.bool_] | None
    ) -> Scale | None:
        """The scale of one moment by one method."""
        if method == MEDIAN:
            return median_scale(inverse, true_m)
        if method == AFFINE:
            return affine_scale(inverse, true_m)
        assert road is not None
        assert self.choice.camera_height_m is not None
        return camera_height_scale(inverse, rays, road, self.choice.camera_height_m)
