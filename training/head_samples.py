"""Labelled samples for heads: pictures that are encoded in every step, or features kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.errors import ForesightError, InputError
from dino_foresight_ros.model.dpt import UPSCALE
from dino_foresight_ros.outputs import DEPTH, INSTANCES, NORMALS, SEGMENTATION

from .batches import Guarded, collate, leave_interrupts_to_parent
from .data import ClipDataset, ImageDataset
from .head_inputs import HeadInputs
from .head_losses import shrink

_BYTES = {SEGMENTATION: 1, DEPTH: 4, NORMALS: 6, INSTANCES: 4}


class LabelledImages(Dataset[dict[str, Any]]):
    """Items: `images` (H, W, 3) or (T, H, W, 3) uint8, `label`, `source`, a clip's `motion`.

    Attributes:
        classes: class ids are below this; None for other tasks.
    """

    def __init__(
        self,
        dataset: ImageDataset | ClipDataset,
        kind: str,
        classes: int | None = None,
        label_size: tuple[int, int] | None = None,
        together: Callable[[Mapping[str, Tensor]], Tensor] | None = None,
        focal: float | None = None,
    ) -> None:
        """Wrap a data set.

        Args:
            dataset: with labels of the kind.
            kind: of label.
            together: makes one label of all kinds of a picture's; the one kind when None.
            classes: number of classes.
            label_size: (H, W) that labels are thinned to; their own size when None.
            focal: of the canonical camera whose depth labels become, as `DepthTask.focal`; that of
                each picture's own camera when None.

        Raises:
            InputError: a canonical camera, and a recording whose camera is not known.
        """
        self.dataset, self.kind, self.classes = dataset, kind, classes
        self.label_size = label_size
        self._together, self._focal = together, focal
        unknown = [recording.name for recording in dataset.recordings if recording.focal is None]
        if focal is not None and unknown:
            more = f" and {len(unknown) - 1} more" if unknown[1:] else ""
            raise InputError(
                f"--focal needs the cameras' intrinsics, not known of {unknown[0]}{more}; "
                "leave these out of the data, or train with --focal none"
            )

    def __len__(self) -> int:
        return len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """Change what is drawn."""
        self.dataset.set_epoch(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.dataset[index]
        is_clip = "frames" in item
        images = item["frames" if is_clip else "image"]
        labels = {kind: torch.as_tensor(item[kind]) for kind in self.dataset.labels}
        if is_clip:
            labels = {kind: label[-1] for kind, label in labels.items()}
        if self._focal is not None:
            labels[DEPTH] = labels[DEPTH] * (self._focal / float(item["focal"]))
        if self.classes is not None:
            self._check_ids(labels[SEGMENTATION], str(item["source"]))
        label = labels[self.kind] if self._together is None else self._together(labels)
        if self.label_size is not None:
            label = shrink(label[None], self.label_size)[0]
        kept = {"images": images, "label": label, "source": item["source"]}
        return kept if "motion" not in item else {**kept, "motion": item["motion"]}

    def _check_ids(self, label: Tensor, source: str) -> None:
        assert self.classes is not None
        wrong = label[(label != UNLABELLED) & (label >= self.classes)]
        if wrong.numel():
            raise InputError(
                f"{source}: class id {int(wrong.max())} is not in the list of {self.classes} "
                f"classes; valid: 0 to {self.classes - 1}, and {UNLABELLED} for unlabelled"
            )


class KeptFeatures(Dataset[dict[str, Any]]):
    """Items: `compact` (h, w, C) float32, `label`, `source`; all in memory, in half precision."""

    def __init__(self, compact: Tensor, labels: Tensor, sources: list[str]) -> None:
        self.compact, self.labels, self.sources = compact, labels, sources

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> dict[str, Any]:
        # Whole precision: validation runs under autocast, which does not stack halves on a CPU.
        label = self.labels[index]
        return {
            "compact": self.compact[index].float(),
            "label": label.float() if label.is_floating_point() else label,
            "source": self.sources[index],
        }


def kept_bytes(images: LabelledImages, inputs: HeadInputs, count: int) -> int:
    """Memory that keeping features and labels takes."""
    height, width = inputs.encoder.config.grid
    label = images.label_size or inputs.encoder.config.image_size
    per_item = 2 * height * width * inputs.kept_channels
    per_item += label[0] * label[1] * _BYTES[images.kind]
    return count * per_item


def keep_features(
    images: LabelledImages,
    inputs: HeadInputs,
    indices: Sequence[int],
    workers: int,
    device: torch.device,
    on_items: Callable[[int, int], None] = lambda done, total: None,
    oracle: bool = False,
    batch: int = 8,
) -> KeptFeatures:
    """Encode items once.

    Raises:
        ForesightError: an item cannot be read.
    """
    compact: list[Tensor] = []
    labels: list[Tensor] = []
    sources: list[str] = []
    for item in batches_of(images, indices, workers, batch):
        found = inputs.compact(item["images"].to(device), oracle, item.get("motion"))
        compact.append(found.half().cpu())
        labels.append(item["label"].half() if images.kind == NORMALS else item["label"])
        sources += item["source"]
        on_items(len(sources), len(indices))
    if not all(bool(torch.isfinite(part).all()) for part in compact):
        raise InputError("features do not fit into float16; check the encoder and the PCA")
    return KeptFeatures(torch.cat(compact), torch.cat(labels), sources)


def batches_of(
    dataset: Dataset[dict[str, Any]], indices: Sequence[int], workers: int, batch: int
) -> Any:
    """Iterate over collated items in order.

    Raises:
        ForesightError: an item cannot be read.
    """
    loader: DataLoader[Any] = DataLoader(
        Guarded(dataset),
        batch_size=batch,
        sampler=list(indices),
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=leave_interrupts_to_parent,
        generator=torch.Generator(),
    )
    for item in loader:
        if isinstance(item, ForesightError):
            raise item
        yield item


def output_size(inputs: HeadInputs) -> tuple[int, int]:
    """(H, W) of a head's raw output."""
    height, width = inputs.encoder.config.grid
    return UPSCALE * height, UPSCALE * width


def count_classes(images: LabelledImages, indices: Sequence[int], workers: int) -> Tensor:
    """Labelled pixels of each class id, (256,) int64; ids are the last of several label values."""
    counts = torch.zeros(256, dtype=torch.int64)
    for item in batches_of(images, indices, workers, 8):
        label = item["label"]
        ids = label[..., -1] if label.ndim == 4 else label
        counts += torch.bincount(ids.flatten().long(), minlength=256)
    return counts
