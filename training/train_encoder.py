"""Training of a small encoder: data, validation, and the part that comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dino_foresight_ros.classes import MOVING_CLASS_IDS, UNLABELLED, WORLD_CLASSES
from dino_foresight_ros.compare.label_metrics import DepthMetrics, SegmentationMetrics
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model.encoder import EncoderConfig
from dino_foresight_ros.outputs import DEPTH, NORMALS, SEGMENTATION
from dino_foresight_ros.recordings.opening import open_recordings

from .checkpoint import RunState
from .data.augmentation import ClipAugmentation
from .data.split import check_disjoint, split_recordings
from .encoder_objective import DenseEncoder, EncoderObjective
from .encoder_samples import LABELS, Group, MixedSamples
from .fabric_import import Fabric
from .loop import run_training
from .objective import Batch, Evaluation, RunResult
from .parts import write_part
from .processes import agree, joined
from .recipes import EncoderRecipe
from .run_folder import RunPlan, write_config
from .sources import sources_of


def encoder_config(recipe: EncoderRecipe) -> EncoderConfig:
    """Configuration of the encoder that comes out."""
    quarter = recipe.depth // 4
    return EncoderConfig(
        model="vit_small_patch14_reg4_dinov2",
        image_size=recipe.image_size,
        # The last block of each quarter, counted from 0.
        layers=tuple(quarter * (i + 1) - 1 for i in range(4)),
        native_image_size=recipe.image_size,
        # DINOv2's layer scale starts at 1e-5, for networks many times as deep.
        overrides={
            "embed_dim": recipe.width,
            "depth": recipe.depth,
            "num_heads": recipe.heads,
            "init_values": 1.0,
        },
    )


def train_encoder(
    recipe: EncoderRecipe, folder: Path, fabric: Fabric, resume: bool = False
) -> RunResult:
    """Train, and write an encoder part into the run's folder.

    Raises:
        InputError: data without labels, or whose classes are not the world's.
        ForesightError: see `run_training`.
    """
    train, validation = training_groups(recipe)
    augmentation = ClipAugmentation(crop_scale=(recipe.crop, 1.0), horizontal_flip=0.5)
    samples = MixedSamples(train, recipe.image_size, augmentation, True, recipe.seed)
    torch.manual_seed(recipe.seed)
    model = DenseEncoder(encoder_config(recipe), len(WORLD_CLASSES))
    weights = {
        SEGMENTATION: recipe.segmentation,
        DEPTH: recipe.depth_weight,
        NORMALS: recipe.normals,
    }
    objective = EncoderObjective(model, weights, _class_weights(samples))
    validate = EncoderValidation(validation, recipe)

    trained_on = sources_of(one for group in train for one in group.recordings)

    def publish(state: Mapping[str, Tensor], run: RunState, found: Evaluation | None) -> None:
        tensors = {k.removeprefix("vit."): v for k, v in state.items() if k.startswith("vit.")}
        write_part(
            folder,
            "encoder",
            folder.name,
            encoder_config(recipe).to_dict(),
            tensors,
            recipe=recipe.to_dict(),
            seed=recipe.seed,
            scores={} if found is None else dict(found.values),
            trained_on=trained_on,
        )

    return run_training(
        objective,
        samples,
        recipe,
        folder,
        fabric,
        evaluate=validate,
        publish=publish,
        resume=resume,
        name="encoder",
    )


def run_encoder(plan: RunPlan[EncoderRecipe], device: str = "auto") -> None:
    """Do a whole run, and tell what came out.

    Raises:
        ForesightError: as `train_encoder`.
    """
    recipe = plan.recipe
    with joined(device, recipe.precision, recipe.strategy) as fabric:
        resume = plan.resumes
        config = {"kind": "encoder", "inputs": plan.inputs, "recipe": recipe.to_dict()}
        agree(fabric, lambda: write_config(plan.folder, config) if fabric.is_global_zero else None)
        done = train_encoder(recipe, plan.folder, fabric, resume)
        if fabric.is_global_zero:
            best = "" if done.best is None else f"; best: {done.best.summary}"
            print(f"{plan.folder}: {done.steps} steps in {done.elapsed_s / 60:.1f} minutes{best}")


def training_groups(recipe: EncoderRecipe) -> tuple[list[Group], list[Group]]:
    """The recordings of each data spec with how often they are drawn: for training, validation.

    Raises:
        InputError: other classes, relative depth, no labels, or a recording in both.
    """
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
        labels = tuple(kind for kind in LABELS if any(len(r.labelled(kind)) for r in recordings))
        if DEPTH in labels and not all(recording.depth_is_metric for recording in recordings):
            raise InputError(
                f"{text} has relative depth, an encoder is trained on metres; leave depth out by "
                "depth=no"
            )
        if not labels:
            raise InputError(f"{text} has no labels; an encoder is trained on labels")
        kept, held = split_recordings(recordings, recipe.validation_share, recipe.seed)
        train.append(Group(tuple(kept), labels, share))
        validation.append(Group(tuple(held), labels, share))
    check_disjoint(
        [one for group in train for one in group.recordings],
        [one for group in validation for one in group.recordings],
        "trained on and validated on",
    )
    return train, validation


def _class_weights(samples: MixedSamples, count: int = 200) -> Tensor:
    """Square root of the inverse frequency, at most 4 times the mean."""
    pixels = np.ones(len(WORLD_CLASSES))
    for number in range(count):
        ids = samples[number][SEGMENTATION].numpy()
        pixels += np.bincount(ids[ids != UNLABELLED], minlength=len(pixels))
    share = pixels / pixels.sum()
    weights = 1 / np.sqrt(share)
    weights /= (weights * share).sum()  # the mean over pixels is 1
    return torch.from_numpy(np.minimum(weights, 8.0)).float()


class EncoderValidation:
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
            for key in ("image", *LABELS)
        }
        raw = model(batch["image"])
        size = batch["image"].shape[1:3]
        if bool((batch[SEGMENTATION] != UNLABELLED).any()):
            logits = nn.functional.interpolate(raw[SEGMENTATION], size=size, mode="bilinear")
            classes.update(logits.argmax(dim=1), batch[SEGMENTATION])
            has_classes = True
        if bool(torch.isfinite(batch[DEPTH]).any()):
            metres = nn.functional.interpolate(raw[DEPTH], size=size, mode="bilinear")
            depth.update(metres[:, 0].exp(), batch[DEPTH])
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
