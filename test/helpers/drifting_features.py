"""Recordings of made-up features that drift steadily, as data to train a forecaster on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dino_foresight_ros.recordings.motion import EgoMotion, planar_pose
from dino_foresight_ros.training.feature_clips import FeatureClips, FeatureRecording
from dino_foresight_ros.training.forecaster_data import ForecasterData
from dino_foresight_ros.training.forecaster_objective import ToFeatures
from dino_foresight_ros.training.parts import Origin
from dino_foresight_ros.training.processes import alone

ALONE = alone()
GRID, CHANNELS = (3, 4), 6
MADE_WITH = {"encoder": Origin("dino", "e" * 16), "pca": Origin("fit", "a" * 16)}


class FakeStored:
    """Features that drift by the same step from frame to frame, in every recording."""

    times, scene = 1, ""
    ego: EgoMotion | None = None
    base_from_optical: np.ndarray | None = None

    def __init__(self, name: str, frames: int, interval_s: float = 0.1, seed: int = 0) -> None:
        self.name = self.fingerprint = name
        self.stamps_ns = np.round(np.arange(frames) * interval_s * 1e9).astype(np.int64)
        generator = torch.Generator().manual_seed(seed)
        self.first = torch.randn(GRID[0], GRID[1], CHANNELS, generator=generator).half()

    def read(self, indices: Sequence[int]) -> Tensor:
        drift = torch.linspace(-0.5, 0.5, CHANNELS).half()
        return torch.stack([self.first + int(i) * drift for i in indices])


class Pushed(FakeStored):
    """Features that move by as much as the vehicle, which goes to and fro by chance."""

    def __init__(self, seed: int, knows: bool = True, turn_rps: float = 0.0) -> None:
        frames, interval_s = 40, 0.2
        super().__init__(f"drive{seed}", frames, interval_s, seed)
        self.place = np.random.default_rng(seed).choice([-1.0, 1.0], frames).cumsum()
        unknown = np.full(frames, np.nan)
        motions = np.zeros((frames, 3))
        motions[:, 0] = self.place
        poses = planar_pose(motions)
        if turn_rps:
            turned = np.outer(np.arange(frames) * interval_s * turn_rps, [0.0, 0.0, 1.0])
            poses = poses @ planar_pose(turned)
        self.ego = EgoMotion(unknown, unknown, poses) if knows else None

    def read(self, indices: Sequence[int]) -> Tensor:
        drift = torch.linspace(-0.5, 0.5, CHANNELS).half()
        return torch.stack([self.first + float(self.place[int(i)]) * drift for i in indices])


def recordings(count: int, frames: int = 12, interval_s: float = 0.1) -> list[FeatureRecording]:
    return [
        FeatureRecording(FakeStored(f"drive{i}", frames, interval_s, i), GRID) for i in range(count)
    ]


def data(train: int = 4, frames: int = 12) -> ForecasterData:
    every = recordings(train + 2, frames)
    return ForecasterData(
        list(every[:train]), list(every[train:]), ToFeatures(), FeatureClips, GRID, CHANNELS,
        MADE_WITH,
    )  # fmt: skip
