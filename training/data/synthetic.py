"""The synthetic world, rendered when it is read, with every kind of label."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict
from functools import lru_cache

import numpy as np

from dino_foresight_ros.classes import MOVING_CLASS_IDS, WORLD_CLASSES
from dino_foresight_ros.synthetic import World, WorldConfig

from .recording import (
    LABEL_KINDS,
    NS_PER_S,
    FrameLabels,
    LabelledFrame,
    LabelSpace,
    Recording,
)

# Part of the fingerprint: raise it when the world's pictures change.
_WORLD_VERSION = 1

WORLD_SPACE = LabelSpace(
    class_names=tuple(info.name for info in WORLD_CLASSES),
    palette=tuple(info.color for info in WORLD_CLASSES),
    moving=MOVING_CLASS_IDS,
)


@lru_cache(maxsize=4)
def _world(config: WorldConfig) -> World:
    """Keep a few worlds per process: building one costs as much as rendering thirty frames."""
    return World(config)


class SyntheticRecording(Recording):
    """`frames` instants of one world, `interval_s` apart."""

    def __init__(self, config: WorldConfig, frames: int, interval_s: float) -> None:
        every = np.arange(frames, dtype=np.int64)
        stamps_ns = np.round(every * interval_s * NS_PER_S).astype(np.int64)
        super().__init__(
            f"synthetic-{config.seed}",
            stamps_ns,
            (config.height, config.width),
            label_space=WORLD_SPACE,
            labelled=dict.fromkeys(LABEL_KINDS, every),
        )
        self.config = config

    def _read(self, index: int, labels: Collection[str]) -> LabelledFrame:
        stamp_ns = int(self.stamps_ns[index])
        frame = _world(self.config).render(stamp_ns / NS_PER_S)
        return LabelledFrame(
            frame.image,
            stamp_ns,
            FrameLabels(
                segmentation=frame.segmentation if "segmentation" in labels else None,
                depth=frame.depth.astype(np.float32) if "depth" in labels else None,
                normals=frame.normals.astype(np.float32) if "normals" in labels else None,
            ),
        )

    def _fingerprint_parts(self) -> Iterable[str]:
        yield f"synthetic {_WORLD_VERSION} {sorted(asdict(self.config).items())}"
        yield self.stamps_ns.tobytes().hex()
