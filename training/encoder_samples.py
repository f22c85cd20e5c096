"""Single pictures with any labels, from several data sets, for training an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.outputs import DEPTH, NORMALS, SEGMENTATION
from dino_foresight_ros.recordings.recording import Recording

from .data.augmentation import ClipAugmentation, Size, empty_label
from .data.datasets import ImageDataset
from .sampling import random_generator, shuffled

Image = NDArray[np.uint8]
LABELS = (SEGMENTATION, DEPTH, NORMALS)
"""Kinds that an encoder is trained on."""


@dataclass(frozen=True)
class Group:
    """Recordings that share their labels.

    Attributes:
        recordings: of the group.
        labels: kinds that all frames used have.
        weight: how often it is drawn, against the other groups.
    """

    recordings: tuple[Recording, ...]
    labels: tuple[str, ...]
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise UsageError(f"weight is {self.weight}; it must be positive")


class MixedSamples:
    """Samples (see `sampling.Samples`) drawn from groups; labels that a group lacks are empty."""

    def __init__(
        self,
        groups: Sequence[Group],
        size: Size,
        augmentation: ClipAugmentation,
        photometric: bool,
        seed: int,
    ) -> None:
        """Find the frames.

        Args:
            groups: what to draw from.
            size: (H, W) of the pictures given.
            augmentation: crop and flip.
            photometric: whether brightness, colour, sharpness and noise vary, too.
            seed: of all draws.

        Raises:
            InputError: a group without labelled frames.
        """
        self.size, self.photometric, self.seed = size, photometric, seed
        self._datasets = [
            ImageDataset(group.recordings, group.labels, size, augmentation, seed)
            for group in groups
        ]
        weights = np.array([group.weight for group in groups])
        self._bounds = np.cumsum(weights / weights.sum())

    def __getitem__(self, number: int) -> dict[str, Any]:
        """`image` (H, W, 3) uint8, and every kind of label: 255 or NaN where there is none."""
        rng = random_generator(self.seed, number)
        group = min(int(np.searchsorted(self._bounds, rng.random())), len(self._bounds) - 1)
        dataset = self._datasets[group]
        # Each group is gone through in its own shuffled order; the counter differs by a random
        # amount from the run's, which only a group's epochs feel.
        epoch, place = divmod(number, len(dataset))
        dataset.set_epoch(epoch)
        item = dataset[int(shuffled(len(dataset), self.seed + group, epoch)[place])]
        image: Tensor = item["image"]
        if self.photometric:
            image = torch.from_numpy(vary_light(image.numpy(), rng))
        labels = {kind: item.get(kind, empty_label(kind, self.size)) for kind in LABELS}
        return {"image": image, "source": item["source"], **labels}


def vary_light(image: Image, rng: np.random.Generator) -> Image:
    """Vary gain, gamma, white balance, saturation, sharpness, noise and JPEG artefacts.

    Args:
        image: (H, W, 3) uint8 RGB.
        rng: decides everything.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    pixels = image.astype(np.float32) / 255.0
    gain, gamma = rng.uniform(0.6, 1.5), rng.uniform(0.6, 1.6)
    balance = rng.uniform(0.85, 1.18, 3).astype(np.float32)
    pixels = np.clip(pixels * gain * balance, 0.0, 1.0) ** np.float32(gamma)
    grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    saturation = 0.0 if rng.random() < 0.08 else rng.uniform(0.4, 1.5)
    pixels = grey[..., None] + np.float32(saturation) * (pixels - grey[..., None])
    pixels = (pixels - 0.5) * np.float32(rng.uniform(0.7, 1.25)) + 0.5
    if rng.random() < 0.3:
        pixels = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.3, 1.5)))
    if rng.random() < 0.5:
        noise = rng.standard_normal(pixels.shape, np.float32)
        pixels = pixels + np.float32(rng.uniform(0.005, 0.05)) * noise
    varied = (np.clip(pixels, 0.0, 1.0) * 255.0).astype(np.uint8)
    if rng.random() < 0.3:
        quality = int(rng.integers(25, 90))
        coded = cv2.imencode(".jpg", varied, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        varied = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(varied)
