"""Training of a small encoder: data, validation, and the part that comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dino_foresight_ros.classes import MOVING_CLASS_IDS, UNLABELLED, WORLD_CLASSES
from dino_foresight_ros.compare.label_metrics import DepthMetrics, SegmentationMetrics
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model.encoder import EncoderConfig
from dino_foresight_ros.recordings.opening import open_recordings
from dino_foresight_ros.recordings.recording import LABEL_KINDS

from .batches import Batch
from .budget import Budget, Schedule
from .checkpoint import RunState
from .data.augmentation import ClipAugmentation
from .data.split import split_recordings
from .distributed import Processes
from .encoder_objective import DenseEncoder, EncoderObjective
from .encoder_samples import Group, MixedSamples
from .loop import LoopConfig, RunResult, run_training
from .loop_config import Evaluation
from .parts import write_part
from .stepping import StepConfig

PATCH = 14


@dataclass(frozen=True)
class EncoderRecipe:
    """Everything that decides what an encoder becomes.

    Attributes:
        data: what `open_recordings` understands, one text per group of recordings.
        shares: how often each group is drawn, against the others; all alike when empty.
        image_size: (H, W) pixels, multiples of 14.
        width, depth, heads: of the ViT; four layers, the last of each quarter, are its features.
        minutes, steps: budget; whichever is used up first.
        batch_size, lr, weight_decay, warmup, ema, precision: see `LoopConfig` and `StepConfig`.
        segmentation, depth_weight, normals: weights of the losses.
        crop: least share of height and width that a random crop keeps.
        validation_share: part of each group that is only validated on.
        workers: processes that read.
        evaluations: validations over the budget.
        seed: of everything random.
    """

    data: tuple[str, ...]
    shares: tuple[float, ...] = ()
    image_size: tuple[int, int] = (154, 280)
    width: int = 256
    depth: int = 8
    heads: int = 4
    minutes: float | None = None
    steps: int | None = None
    batch_size: int = 24
    lr: float = 1e-3
    weight_decay: float = 0.02
    warmup: float = 0.03
    ema: float = 0.999
    precision: str = "auto"
    segmentation: float = 1.0
    depth_weight: float = 1.0
    normals: float = 0.5
    crop: float = 0.6
    validation_share: float = 0.05
    workers: int = 1
    evaluations: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.data:
            raise UsageError("an encoder needs data: give at least one --data")
        if self.shares and len(self.shares) != len(self.data):
            raise UsageError(f"{len(self.shares)} shares for {len(self.data)} groups of data")
        if self.width % self.heads or self.depth % 4 or self.depth < 4:
            raise UsageError(
                f"width {self.width} must split into {self.heads} heads, and depth {self.depth} "
                "into four quarters"
            )

    @property
    def layers(self) -> tuple[int, ...]:
        """The last block of each quarter, counted from 0."""
        quarter = self.depth // 4
        return tuple(quarter * (i + 1) - 1 for i in range(4))

    def config(self) -> EncoderConfig:
        """Configuration of the encoder that comes out."""
        return EncoderConfig(
            model="vit_small_patch14_reg4_dinov2",
            image_size=self.image_size,
            layers=self.layers,
            native_image_size=self.image_size,
            # DINOv2's layer scale starts at 1e-5, for networks many times as deep.
            overrides={
                "embed_dim": self.width,
                "depth": self.depth,
                "num_heads": self.heads,
                "init_values": 1.0,
            },
        )


def train_encoder(
    recipe: EncoderRecipe, folder: Path, processes: Processes, resume: bool = False
) -> RunResult:
    """Train, and write an encoder part into the run's folder.

    Raises:
        InputError: data without labels, or whose classes are not the world's.
        ForesightError: see `run_training`.
    """
    train, validation = _groups(recipe)
    augmentation = ClipAugmentation(crop_scale=(recipe.crop, 1.0), horizontal_flip=0.5)
    samples = MixedSamples(train, recipe.image_size, augmentation, True, recipe.seed)
    torch.manual_seed(recipe.seed)
    model = DenseEncoder(recipe.config(), len(WORLD_CLASSES))
    weights = {
        "segmentation": recipe.segmentation,
        "depth": recipe.depth_weight,
        "normals": recipe.normals,
    }
    objective = EncoderObjective(model, weights, _class_weights(samples))
    config = LoopConfig(
        Budget(recipe.steps, recipe.minutes),
        Schedule(recipe.lr, warmup=recipe.warmup),
        StepConfig(weight_decay=recipe.weight_decay, ema=recipe.ema, precision=recipe.precision),
        batch_size=recipe.batch_size,
        workers=recipe.workers,
        evaluations=recipe.evaluations,
        seed=recipe.seed,
    )
    judge = _Judge(validation, recipe)

    def publish(state: Mapping[str, Tensor], run: RunState, found: Evaluation | None) -> None:
        tensors = {k.removeprefix("vit."): v for k, v in state.items() if k.startswith("vit.")}
        write_part(
            folder,
            "encoder",
            folder.name,
            recipe.config().to_dict(),
            tensors,
            recipe=asdict(recipe),
            seed=recipe.seed,
            scores={} if found is None else dict(found.values),
        )

    return run_training(
        objective,
        samples,
        config,
        folder,
        processes,
        evaluate=judge,
        publish=publish,
        resume=resume,
        name="encoder",
    )


def _groups(recipe: EncoderRecipe) -> tuple[list[Group], list[Group]]:
    train: list[Group] = []
    validation: list[Group] = []
    names = tuple(info.name for info in WORLD_CLASSES)
    for text, share in zip(recipe.data, recipe.shares or (1.0,) * len(recipe.data), strict=True):
        recordings = open_recordings([text])
        for recording in recordings:
            space = recording.label_space
            if space is not None and space.class_names != names:
                raise InputError(
                    f"{recording.name} has other classes than the synthetic world's, on which an "
                    "encoder is trained; write ?classes=world behind the path where that is known"
                )
        labels = tuple(
            kind for kind in LABEL_KINDS if any(len(r.labelled(kind)) for r in recordings)
        )
        if not labels:
            raise InputError(f"{text} has no labels; an encoder is trained on labels")
        kept, held = split_recordings(recordings, recipe.validation_share, recipe.seed)
        train.append(Group(tuple(kept), labels, share))
        validation.append(Group(tuple(held), labels, share))
    return train, validation


def _class_weights(samples: MixedSamples, count: int = 200) -> Tensor:
    """Square root of the inverse frequency, at most 4 times the mean."""
    pixels = np.ones(len(WORLD_CLASSES))
    for number in range(count):
        ids = samples[number]["segmentation"].numpy()
        pixels += np.bincount(ids[ids != UNLABELLED], minlength=len(pixels))
    share = pixels / pixels.sum()
    weights = 1 / np.sqrt(share)
    weights /= (weights * share).sum()  # the mean over pixels is 1
    return torch.from_numpy(np.minimum(weights, 8.0)).float()


class _Judge:
    """Scores the decoders on each group's held-out frames."""

    def __init__(self, groups: Sequence[Group], recipe: EncoderRecipe, most: int = 96) -> None:
        self.names = recipe.data
        self.sets: list[list[dict[str, Any]]] = []
        for group in groups:
            alone = MixedSamples([group], recipe.image_size, ClipAugmentation(), False, 1)
            count = sum(len(r.labelled(group.labels[0])) for r in group.recordings)
            self.sets.append([alone[i] for i in range(min(most, count))])

    def __call__(self, model: nn.Module) -> Evaluation:
        """mIoU and share of pixels whose depth is right within 25 %, group by group."""
        values: dict[str, float] = {}
        for number, items in enumerate(self.sets):
            values |= {f"{k}_{number}": v for k, v in _scores(model, items).items()}
        score = float(np.mean([v for k, v in values.items() if not k.startswith("loss")]))
        words = ", ".join(f"{k} {v:.3f}" for k, v in values.items())
        return Evaluation(score, values, words)


def _scores(model: nn.Module, items: list[dict[str, Any]]) -> dict[str, float]:
    classes = SegmentationMetrics(len(WORLD_CLASSES), MOVING_CLASS_IDS)
    depth = DepthMetrics()
    has_depth = has_classes = False
    device = next(model.parameters()).device
    for start in range(0, len(items), 16):
        batch: Batch = {
            key: torch.stack([item[key] for item in items[start : start + 16]]).to(device)
            for key in ("image", *LABEL_KINDS)
        }
        raw = model(batch["image"])
        size = batch["image"].shape[1:3]
        if bool((batch["segmentation"] != UNLABELLED).any()):
            logits = nn.functional.interpolate(raw["segmentation"], size=size, mode="bilinear")
            classes.update(logits.argmax(dim=1), batch["segmentation"])
            has_classes = True
        if bool(torch.isfinite(batch["depth"]).any()):
            metres = nn.functional.interpolate(raw["depth"], size=size, mode="bilinear")
            depth.update(metres[:, 0].exp(), batch["depth"])
            has_depth = True
    found: dict[str, float] = {}
    if has_classes:
        scores = classes.compute()
        present = [
            iou for iou, is_in in zip(scores.per_class, scores.present, strict=True) if is_in
        ]
        found["miou"] = float(np.mean(present))
    if has_depth:
        found["delta1"] = depth.compute().delta1
    return found
