"""Obstacle points: where they are, of what class, how probable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ObstaclePoints:
    """Points of obstacles.

    Attributes:
        xyz: (N, 3) float32 metres in the base frame (x forward, y left, z up).
        class_id: (N,) uint8 as in segmentation, 255 unknown.
        probability: (N,) float32 that an obstacle is there, 0 to 1.
    """

    xyz: NDArray[np.float32]
    class_id: NDArray[np.uint8]
    probability: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.xyz)

    @classmethod
    def none(cls) -> ObstaclePoints:
        """No point at all."""
        return cls(np.empty((0, 3), np.float32), np.empty(0, np.uint8), np.empty(0, np.float32))

    @classmethod
    def joined(cls, parts: Sequence[ObstaclePoints]) -> ObstaclePoints:
        """The points of several cameras, in one frame, as one."""
        if not parts:
            return cls.none()
        return cls(
            np.concatenate([part.xyz for part in parts]),
            np.concatenate([part.class_id for part in parts]),
            np.concatenate([part.probability for part in parts]),
        )

    def where(self, kept: NDArray[np.bool_] | NDArray[np.intp] | slice) -> ObstaclePoints:
        """Those of the points for which `kept` (N,) is true, or whose numbers it gives."""
        return ObstaclePoints(self.xyz[kept], self.class_id[kept], self.probability[kept])

    def moved(self, pose: Sequence[float] | NDArray[np.float64]) -> ObstaclePoints:
        """The points in the frame in which their base stands at `pose`.

        Args:
            pose: (3,) x, y in metres and yaw in rad of the base that the points refer to, in
                another one; such as the base at an instant to come, in the base of now.
        """
        x, y, yaw = (float(value) for value in pose)
        if x == y == yaw == 0.0:
            return self
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        xyz = self.xyz @ turn.T.astype(np.float32) + np.array([x, y, 0], np.float32)
        return ObstaclePoints(xyz, self.class_id, self.probability)
