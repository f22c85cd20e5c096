"""Random views of a clip, the same for all its frames and their labels.

The paper's: crop with a scale of 0.5 to 1, horizontal flip (sec. 4.1); and playing backwards in
time, which `ClipDataset` does when it chooses frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.outputs import INSTANCES, NORMALS, SEGMENTATION
from dino_foresight_ros.recordings.recording import LABEL_KINDS, Frame

Size = tuple[int, int]


@dataclass(frozen=True)
class ClipAugmentation:
    """What may be done to a clip at random. The default does nothing.

    Attributes:
        crop_scale: (least, most) fraction of height and width that a crop keeps, drawn uniformly;
            the crop has the frame's aspect ratio and lies anywhere in it.
        horizontal_flip: probability of mirroring left and right.
        time_flip: probability of playing a clip backwards.
    """

    crop_scale: tuple[float, float] = (1.0, 1.0)
    horizontal_flip: float = 0.0
    time_flip: float = 0.0

    def __post_init__(self) -> None:
        least, most = self.crop_scale
        if not 0.0 < least <= most <= 1.0:
            raise UsageError(f"crop scale {least:g} to {most:g}: give 0 < least <= most <= 1")
        for name in ("horizontal_flip", "time_flip"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UsageError(f"{name} {getattr(self, name):g}: give a probability, 0 to 1")


PAPER_AUGMENTATION = ClipAugmentation(crop_scale=(0.5, 1.0), horizontal_flip=0.5)


class View(NamedTuple):
    """One draw: where the crop lies, as fractions of height and width, and whether to mirror."""

    top: float = 0.0
    left: float = 0.0
    scale: float = 1.0
    mirrored: bool = False


def draw_view(augmentation: ClipAugmentation, rng: np.random.Generator) -> View:
    """Draw a view; always takes the same number of values from `rng`."""
    scale, top, left, mirror = rng.random(4)
    least, most = augmentation.crop_scale
    scale = least + (most - least) * scale
    return View(
        top * (1 - scale), left * (1 - scale), scale, bool(mirror < augmentation.horizontal_flip)
    )


def view_images(images: list[np.ndarray], view: View, size: Size) -> Tensor:
    """Cut out, resize and mirror images (H, W, 3) uint8; return (T, *size, 3) uint8.

    Resized as `Encoder.preprocess` resizes (bilinear with antialiasing, aspect ratio not kept), so
    that frames of the encoder's size give it what the live node gives it.
    """
    pixels = torch.from_numpy(np.stack([_cut(image, view) for image in images]))
    if tuple(pixels.shape[1:3]) != size:
        pixels = functional.interpolate(
            pixels.permute(0, 3, 1, 2),
            size=size,
            mode="bilinear",
            antialias=True,
            align_corners=False,
        ).permute(0, 2, 3, 1)
    return (pixels.flip(2) if view.mirrored else pixels).contiguous()


def view_focal(focal: float | None, view: View) -> float:
    """Focal length of the camera that would take a view as its whole picture.

    Args:
        focal: of the camera, as `CameraView.focal` has it; None where it is not known.
        view: of which the fraction `scale` of height and width is left.

    Returns:
        The same measure; NaN where it is not known.
    """
    return math.nan if focal is None else float(focal / view.scale)


def view_label(kind: str, label: np.ndarray, view: View, size: Size) -> Tensor:
    """Cut out, resize (nearest) and mirror one label.

    Normals change the sign of x when mirrored. Depth stays in metres: a crop that is enlarged looks
    like a camera with a longer focal length (`view_focal`) and the distances do not change, so a
    depth head that shall be metric across crops has to have a canonical camera (`DepthTask.focal`)
    or be trained without crops.

    Returns:
        segmentation: (*size) uint8; depth: (*size) float32; normals: (*size, 3) float32;
        instances: (*size) int32.
    """
    cut = _cut(label, view)
    rows = _nearest(cut.shape[0], size[0])
    columns = _nearest(cut.shape[1], size[1])
    picked = cut[rows[:, None], columns[None]]
    if view.mirrored:
        picked = picked[:, ::-1]
    if kind == INSTANCES:  # torch does little with 16 bits without a sign
        picked = picked.astype(np.int32)
    found = torch.from_numpy(np.ascontiguousarray(picked))
    if view.mirrored and kind == NORMALS:
        found = found * torch.tensor([-1.0, 1.0, 1.0])
    return found


def empty_label(kind: str, size: Size) -> Tensor:
    """Return the label of a frame without one: 255, NaN or no object everywhere."""
    if kind == INSTANCES:
        return torch.zeros(size, dtype=torch.int32)
    if kind == SEGMENTATION:
        return torch.full(size, UNLABELLED, dtype=torch.uint8)
    shape = (*size, 3) if kind == NORMALS else size
    return torch.full(shape, math.nan)


def stack_labels(
    frames: list[Frame], kinds: tuple[str, ...], view: View, size: Size
) -> dict[str, Tensor]:
    """Return each kind as one tensor over the frames (T, *size[, 3])."""
    found: dict[str, Tensor] = {}
    for kind in (kind for kind in LABEL_KINDS if kind in kinds):
        labels = [getattr(frame, kind) for frame in frames]
        found[kind] = torch.stack(
            [
                empty_label(kind, size) if label is None else view_label(kind, label, view, size)
                for label in labels
            ]
        )
    return found


def _cut(array: np.ndarray, view: View) -> np.ndarray:
    """Cut by fractions, so that labels of another resolution than their image fit it."""
    height, width = array.shape[:2]
    tall, wide = max(1, round(height * view.scale)), max(1, round(width * view.scale))
    top = min(round(height * view.top), height - tall)
    left = min(round(width * view.left), width - wide)
    return array[top : top + tall, left : left + wide]


def _nearest(length: int, wanted: int) -> np.ndarray:
    """Return the pixel under the centre of each wanted one."""
    # In whole numbers: a centre on the border of two pixels is not left to rounding.
    return (2 * np.arange(wanted) + 1) * length // (2 * wanted)
