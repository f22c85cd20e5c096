"""A toy world whose features are known: frame i has i in its first channel.

The picture of frame i is i grey levels bright, its features are `i` in channel 0 and `i * slope` in
the others, its segmentation is class 1 left of column i and class 0 elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dino_foresight_ros.model import SegmentationTask
from dino_foresight_ros.model.forecasters.autoregressive import AutoregressiveForecaster
from dino_foresight_ros.recordings import Frame, LabelSpace, Recording, UnreadableFrame

GRID = (2, 3)
CHANNELS = 4
SIZE = (8, 60)
"""(H, W) of pictures and labels."""
NAMES, PALETTE = ("ground", "car"), ((0, 0, 0), (0, 0, 255))
# Multiples of 1/8: float16 holds every product with a small whole number exactly.
SLOPES = torch.arange(1, GRID[0] * GRID[1] * CHANNELS + 1).view(*GRID, CHANNELS) / 8
SLOPES[..., 0] = 1.0


def features_of(frame: float) -> torch.Tensor:
    """(h, w, C) features of a (fractional) frame number."""
    return SLOPES * frame


def label_of(frame: float) -> np.ndarray:
    """(H, W) class ids of a (fractional) frame number."""
    label = np.zeros(SIZE, np.uint8)
    label[:, : round(frame)] = 1
    return label


class ToyRecording(Recording):
    """Frames `first`, `first` + 1, ..., `period_s` apart."""

    def __init__(
        self,
        frames: int = 40,
        period_s: float = 0.1,
        *,
        name: str = "toy",
        first: int = 0,
        labelled: Sequence[int] | None = None,
        kind: str = "segmentation",
        bad: Collection[int] = (),
        space: LabelSpace | None = None,
        stamps_ns: np.ndarray | None = None,
    ) -> None:
        indices = range(frames) if labelled is None else labelled
        even_ns = (np.arange(frames) * period_s * 1e9).round().astype(np.int64)
        super().__init__(
            name,
            even_ns if stamps_ns is None else stamps_ns,
            SIZE,
            label_space=space or LabelSpace(NAMES, PALETTE, (1,)),
            labelled={kind: np.array(list(indices), np.int64)},
        )
        self.first, self.bad, self.reads = first, set(bad), []

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        self.reads.append(index)
        if index in self.bad:
            raise UnreadableFrame(f"{self.name}.png", index, "it is damaged")
        number = self.first + index
        image = np.full((*SIZE, 3), number, np.uint8)
        wanted = "segmentation" in labels and index in self.labelled("segmentation")
        segmentation = label_of(number) if wanted else None
        return Frame(int(self.stamps_ns[index]), image=image, segmentation=segmentation)

    def _fingerprint_parts(self) -> Iterable[str]:
        yield f"{self.name} {self.first} {len(self)}"


class ToyEncoder:
    """Pictures of the toy world -> their features, exactly."""

    config = SimpleNamespace(model="toy", layers=(0,))

    def __init__(self) -> None:
        self.encoded: list[int] = []

    def preprocess(self, images: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(images[:, 0, 0, 0].astype(np.float32))

    def __call__(self, numbers: torch.Tensor) -> torch.Tensor:
        self.encoded += [int(number) for number in numbers]
        return torch.stack([features_of(float(number)) for number in numbers])


class SamePCA:
    """No compression."""

    features = channels = CHANNELS

    def transform(self, features: torch.Tensor) -> torch.Tensor:
        return features

    def inverse(self, z: torch.Tensor) -> torch.Tensor:
        return z


class ToyForecaster(AutoregressiveForecaster):
    """Goes on at `share` of the speed of the last two frames: 0 copies, 1 knows the future.

    The tokens of its layer are the predicted features.
    """

    kind = "toy"
    context_frames, channels, grid, frame_interval_s = 4, CHANNELS, GRID, 0.2

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.rollouts = 0

    @property
    def layers(self) -> int:
        return 1

    def passes(
        self, context: torch.Tensor, layers: Sequence[int] = ()
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        self.rollouts += 1
        speed = context[:, -1:] - context[:, -2:-1]
        for ahead in itertools.count(1):
            predicted = context[:, -1:] + self.share * ahead * speed
            yield (predicted, *(predicted for _ in layers))

    def with_wrapped_core(self, wrap: Any) -> ToyForecaster:
        return self

    def to_dict(self) -> dict[str, Any]:
        return {}


class ToyHead(torch.nn.Module):
    """Logits (B, 2, H, W) of the segmentation that belongs to the features' frame number."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        numbers = features[:, 0, 0, 0]
        maps = torch.stack([torch.as_tensor(label_of(float(number))) for number in numbers])
        return torch.stack([maps == 0, maps == 1], dim=1).float()


@dataclass
class ToyBundle:
    """What `evaluate` needs of a bundle."""

    forecaster: ToyForecaster
    trained: bool = True
    heads: dict[str, Any] = field(default_factory=lambda: {"segmentation": ToyHead()})
    inputs: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    name: str = "toy"
    grid: tuple[int, int] = GRID
    image_size: tuple[int, int] = SIZE
    context_frames: int = 4
    frame_interval_s: float = 0.2
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        self.encoder, self.pca = ToyEncoder(), SamePCA()
        self.tasks = {"segmentation": SegmentationTask(NAMES, PALETTE, (1,))}


@pytest.fixture(scope="session")
def toy_bundle() -> Callable[..., Any]:
    """Return the maker of toy bundles: share of the speed, and what else is to differ."""

    def make(share: float = 0.5, **changes: Any) -> ToyBundle:
        return ToyBundle(ToyForecaster(share), **changes)

    return make


@pytest.fixture(scope="session")
def toy_recording() -> type[ToyRecording]:
    """Return the maker of toy recordings."""
    return ToyRecording
