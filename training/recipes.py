"""The recipes of trainings: one dataclass per trainer, of the fields that decide what comes out.

Without torch: the command line's --help reads this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dino_foresight_ros.choices import PRECISIONS
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.outputs import DEPTH_KINDS, METRIC
from dino_foresight_ros.training.recipe_base import Recipe, option

VALIDATION_SHARE = 0.1
"""Fraction of the training data that is held out where nothing else is said."""


@dataclass(frozen=True)
class TrainingRecipe(Recipe):
    """What every training has: a budget, an optimiser, and a course."""

    steps: int | None = option(None, "optimiser steps", least=1, is_free=True)
    minutes: float | None = option(
        None, "wall-clock minutes, validations included, over all resumed parts", above=0,
        is_free=True,
    )  # fmt: skip
    batch_size: int = option(
        64, "samples per step, over all processes and accumulated parts", least=1
    )
    accumulate: int = option(
        1, "parts that a process's samples of a step are computed in", least=1, is_free=True
    )
    lr: float = option(1e-3, "highest learning rate", above=0)
    schedule: str = option(
        "cosine", "cosine (down to 0 at the end of the budget) or constant",
        choices=("cosine", "constant"),
    )  # fmt: skip
    warmup: float = option(
        0.0, "fraction of the budget over which the learning rate rises, from a hundredth", least=0,
        below=1,
    )  # fmt: skip
    clip: float | None = option(1.0, "largest norm of the gradient; none: any", above=0)
    betas: tuple[float, float] = option((0.9, 0.999), "of Adam", least=0, below=1)
    weight_decay: float = option(0.0, "decoupled, as AdamW's", least=0)
    precision: str = option(
        "auto", f"{', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}, under autocast",
        choices=PRECISIONS, is_free=True,
    )  # fmt: skip
    ema: float = option(
        0.0, "decay of averaged weights, which are then kept; 0: none", least=0, below=1
    )
    strategy: str = option(
        "ddp", "of several processes: ddp (a copy of the model each) or fsdp (a part of it each)",
        choices=("ddp", "fsdp"), is_free=True,
    )  # fmt: skip
    workers: int = option(
        0, "loading processes per training process; 0: a thread", least=0, is_free=True
    )
    evaluations: int = option(20, "validations over the budget", least=1, is_free=True)
    checkpoint_every_s: float = option(300.0, "seconds between checkpoints", least=0, is_free=True)
    log_every: int = option(10, "steps between logged values", least=1, is_free=True)
    loggers: tuple[str, ...] = option(
        ("tensorboard",), "besides history.jsonl: tensorboard, csv, wandb, or none",
        choices=("tensorboard", "csv", "wandb"), is_free=True,
    )  # fmt: skip
    seed: int = option(0, "of everything random", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps is None and self.minutes is None:
            raise UsageError("a run needs a budget: give --steps or --minutes")

    def used(self, steps: int, elapsed_s: float) -> float:
        """Return how much of the budget is used, 0 to 1; the one that is used up first counts."""
        by_steps = 0.0 if self.steps is None else steps / self.steps
        by_time = 0.0 if self.minutes is None else elapsed_s / (60 * self.minutes)
        return min(1.0, max(by_steps, by_time))

    def learning_rate(self, used: float) -> float:
        """Return the learning rate where a fraction of the budget is used.

        A schedule over the budget, not over steps, ends where the budget ends: also one of minutes,
        whose number of steps nobody knows.
        """
        if used < self.warmup:
            return self.lr * max(used / self.warmup, 0.01)
        if self.schedule == "constant":
            return self.lr
        rest = (used - self.warmup) / (1 - self.warmup)
        return self.lr * 0.5 * (1 + math.cos(math.pi * rest))


@dataclass(frozen=True)
class ForecasterRecipe(TrainingRecipe):
    """Everything that decides what a forecaster becomes."""

    KIND: ClassVar[str] = "forecaster"
    DEFAULT_PRESET: ClassVar[str | None] = "stored-lowres"
    PICTURES_PRESET: ClassVar[str] = "paper-lowres"
    """What is taken instead where pictures are encoded in every step."""
    WORLD_PRESET: ClassVar[str] = "world-small"
    """What is taken instead for kind world."""
    RETIRED: ClassVar[Mapping[str, Any]] = {"grid_flip": 0.0}

    kind: str = option(
        "masked", "masked (DINO-Foresight), or world (DINO-world's predictor), which forecasts any "
        "instants from frames of any instants", choices=("masked", "world"),
    )  # fmt: skip
    width: int = option(1152, "hidden size; a multiple of the heads, and of 3 (kind masked)")
    layers: int = option(12, "transformer blocks")
    heads: int = option(8, "attention heads")
    context_frames: int = option(4, "frames seen")
    masked_frames: int = option(
        1, "frames predicted at once (3 in the paper's seven-frame variant); each step of the "
        "training hides the last one to all of them", least=1,
    )  # fmt: skip
    attention: str = option(
        "factorised", "factorised (time, then space) or full", choices=("factorised", "full")
    )
    window: int = option(1, "k of the k x k windows of temporal attention")
    mlp_ratio: float = option(4.0, "feed-forward width over width")
    dropout: float = option(0.1, "in training only")
    predict: str = option(
        "features", "features (the paper's); residual: their change since the newest frame, "
        "which starts as good as copying it, for short trainings; or codes, kind masked: which of "
        "`codes` cluster centres they are nearest to, by cross-entropy (the paper's ablation)",
        choices=("features", "residual", "codes"),
    )  # fmt: skip
    codes: int = option(1024, "predict codes: cluster centres, by k-means", least=2)
    intervals_s: tuple[float, ...] | None = option(
        None, "seconds between frames, of which each clip draws one; none: 2, 3 and 4 frames of "
        "17 Hz (the paper's), moved to the nearest whole number of the recordings' own frames",
        above=0,
    )  # fmt: skip
    frame_interval_s: float | None = option(
        None, "the nominal interval, which is validated on and which the bundle states; none: the "
        "middle one of intervals_s", above=0,
    )  # fmt: skip
    tolerance: float = option(0.25, "fraction of the interval that a frame may lie off its instant")
    time_flip: float = option(0.0, "probability of playing a clip backwards", least=0, most=1)
    horizontal_flip: float = option(
        0.0, "probability of mirroring pictures (pixels only)", least=0, most=1
    )
    crop_scale: float = option(
        1.0, "a random crop keeps at least this fraction of height and width (pixels only)",
        above=0, most=1,
    )  # fmt: skip
    feature_crop: tuple[int, int] | None = option(
        None, "rows and columns, such as 16x32, of a random window of patches that is cut from "
        "larger features, to be run as sliding windows (`bundle assemble --slide-windows`)",
        least=1, separator="x",
    )  # fmt: skip
    rope: tuple[int, int, int] = option(
        (20, 20, 20), "kind world: values of a head that rotate by time, column and row", least=0
    )
    query: str = option(
        "learned", "kind world: what asks at each patch: one learned vector, or noise, a future "
        "for each draw", choices=("learned", "noise"),
    )  # fmt: skip
    futures: str = option(
        "none", "kind world: how a learned query draws several futures: none, or blocks, noise "
        "that changes what each block gives, trained by the CRPS of `draws` futures",
        choices=("none", "blocks"),
    )  # fmt: skip
    draws: int = option(2, "futures: so many are drawn of each clip", least=2)
    query_newest: bool = option(
        False, "kind world: add a projection of the newest frame's features to it; a short "
        "training learns nothing without",
    )  # fmt: skip
    noise_std: float = option(0.02, "kind world: of noise queries", above=0)
    best_of: int = option(
        1, "kind world: noise queries drawn for each asked frame, of which the best is trained on",
        least=1,
    )  # fmt: skip
    block_scale: float = option(
        1e-5, "kind world: what the scales of each block's two branches start at", above=0
    )
    every_frame: bool = option(
        False, "kind world: ask for each frame of a clip from those before it (the paper's), not "
        "for the last one alone",
    )  # fmt: skip
    gaps_s: tuple[float, float] = option(
        (1 / 60, 0.3), "kind world: least and most seconds between the frames of a clip", above=0
    )
    horizons_s: tuple[float, float] | None = option(
        None, "kind world: least and most seconds to the asked frame; none: one more gap", above=0
    )
    nominal_share: float = option(
        0.5, "kind world: fraction of clips whose gaps, and of those whose horizon, are the "
        "nominal interval", least=0, most=1,
    )  # fmt: skip
    steady_share: float = option(
        0.5, "kind world: fraction of the other clips with one gap between all their frames",
        least=0, most=1,
    )  # fmt: skip
    motion: str = option(
        "none", "kind world: how the motion of the vehicle until the asked instant is taken: none, "
        "blocks (DINO-world's) after each block, or film, one scale and shift for all patches",
        choices=("none", "blocks", "film"),
    )  # fmt: skip
    motion_dropout: float = option(
        0.2, "motion: probability that a clip's is hidden, so that forecasts without it stay good",
        least=0, most=1,
    )  # fmt: skip
    train_only: str = option(
        "all", "all; or with --from motion or futures: what takes motion or draws futures alone, "
        "the rest stays as it is", choices=("all", "motion", "futures"),
    )  # fmt: skip
    mask_schedule: str = option(
        "full", "full, linear, cosine, arccos or square",
        choices=("full", "linear", "cosine", "arccos", "square"),
    )  # fmt: skip
    loss: str = option(
        "smooth_l1",
        "of what is expected",
        choices=("smooth_l1", "mse", "l1"),
    )
    beta: float = option(0.1, "error at which smooth L1 becomes linear")
    lr: float = option(6.4e-4, "highest learning rate", above=0)
    validation_clips: int = option(
        256, "clips of a validation, spread evenly", least=1, is_free=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.intervals_s == ():
            raise UsageError("intervals_s is empty: give at least one, or none for the default")
        for name in ("motion", "futures"):
            value = getattr(self, name)
            if self.kind != "world" and value != "none":
                raise UsageError(f"{name} {value} is for kind world")
            if self.train_only == name and value == "none":
                raise UsageError(f"train_only {name} needs --{name}, such as --{name} blocks")
        if self.futures != "none" and self.query == "noise":
            raise UsageError(f"futures {self.futures} is for query learned; noise draws already")
        if self.futures == "none" and self.draws != 2:
            raise UsageError(f"draws is {self.draws}; it needs futures blocks")
        if self.kind == "world":
            if self.frame_interval_s is None:
                raise UsageError("frame_interval_s: kind world needs the interval to validate on")
            if self.predict == "codes":
                raise UsageError("predict codes is for kind masked")
            if self.feature_crop is not None:
                raise UsageError("feature_crop is for kind masked; kind world runs on any grid")
            if self.best_of > 1 and self.query != "noise":
                raise UsageError(f"best_of is {self.best_of}; it needs query noise")
            if self.every_frame and self.horizons_s is not None:
                raise UsageError("every_frame asks for the next frame; leave horizons_s none")

    @property
    def changes_pictures(self) -> bool:
        """Whether pictures are cropped or mirrored, which features from disk cannot be."""
        return self.crop_scale < 1 or self.horizontal_flip > 0


PIXELS_ONLY = ("horizontal_flip", "crop_scale")
"""Fields of a forecaster's recipe that features from disk cannot follow."""


@dataclass(frozen=True)
class HeadRecipe(TrainingRecipe):
    """Everything that decides what a head becomes."""

    KIND: ClassVar[str] = "head"
    DEFAULT_PRESET: ClassVar[str | None] = "paper"

    kind: str = option(
        "dpt", "dpt or linear; task instances: dpt (Mask2Former on its first stage), or centres "
        "(Panoptic-DeepLab on more of it, for short trainings)",
        choices=("dpt", "linear", "centres"),
    )  # fmt: skip
    channels: tuple[int, int, int, int] = option(
        (128, 256, 512, 512), "of a DPT head's four levels", least=1
    )
    width: int = option(256, "of a DPT head's fusion", least=1)
    batch_norm: bool = option(True, "whether a DPT head's fusion has batch norm")
    queries: int = option(100, "task instances: most objects of a picture", least=1, most=65535)
    encoder_layers: int = option(6, "task instances: layers of the pixel decoder", least=1)
    decoder_layers: int = option(9, "task instances: layers of the transformer decoder", least=1)
    attention_heads: int = option(8, "task instances: heads of both decoders", least=1)
    feedforward: int = option(
        2048, "task instances: width of the transformer decoder's feed-forward", least=2
    )
    points: int = option(12544, "task instances: pixels of each mask that the loss reads", least=16)
    least_pixels: int = option(
        1, "task instances: of an object to learn, in labels of --loss-size", least=1
    )
    stuff: bool = option(
        False, "task instances: learn the classes without objects too, one region each, for "
        "semantic and panoptic maps",
    )  # fmt: skip
    depth: str = option(
        METRIC, "metric (metres) or relative (inverse depth 0 to 255, the authors')",
        choices=DEPTH_KINDS,
    )  # fmt: skip
    bins: int = option(256, "depth classes", least=2)
    min_m: float = option(1.0, "least depth of a metric head", above=0)
    max_m: float = option(80.0, "most depth of a metric head")
    validity: bool = option(
        True, "whether a metric depth head also learns where there is no depth, such as the sky"
    )
    quantile: float | None = option(
        None, "a metric depth is the distance within which the surface lies with this probability; "
        "none: the expectation", above=0, below=1,
    )  # fmt: skip
    focal: float | None = option(
        None, "focal length of the canonical camera of a metric depth head, over the square root "
        "of the picture's area (0.88: 75 degrees at 154x280); depth then follows each camera's "
        "own, which the data must know; none: the head guesses it from the picture", above=0,
    )  # fmt: skip
    class_weights: str = option(
        "none", "of the pixels of a class, tasks segmentation and metric depth: none, "
        "median-frequency (Eigen and Fergus 2015) or inverse-sqrt (of the class's fraction of the "
        "pixels)", choices=("none", "median-frequency", "inverse-sqrt"),
    )  # fmt: skip
    loss_size: str = option(
        "image", "image: raw output is upsampled to the labels, as the authors train; output: "
        "labels are taken at the head's output size, a third of the work",
        choices=("image", "output"),
    )  # fmt: skip
    crop_scale: float = option(
        1.0, "a random crop keeps at least this fraction of height and width", above=0, most=1
    )
    horizontal_flip: float = option(
        0.0, "probability of mirroring; 0, with crop_scale 1: encode once", least=0, most=1
    )
    batch_size: int = option(
        128, "pictures per step, over all processes and accumulated parts", least=1
    )
    lr: float = option(1.6e-3, "highest learning rate", above=0)
    warmup: float = option(
        0.1, "fraction of the budget over which the learning rate rises", least=0, below=1
    )
    weight_decay: float = option(1e-4, "decoupled, as AdamW's", least=0)
    clip: float | None = option(None, "largest norm of the gradient; none: any", above=0)
    evaluations: int = option(10, "validations over the budget", least=1, is_free=True)
    validation_images: int = option(256, "held-out pictures at most", least=1, is_free=True)
    cache_gb: float = option(
        4.0, "memory for features that are encoded once, per process", least=0, is_free=True
    )
    workers: int = option(2, "reading processes", least=0, is_free=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.min_m < self.max_m:
            raise UsageError(f"depth range {self.min_m} to {self.max_m} m: give 0 < least < most")

    @property
    def is_augmented(self) -> bool:
        """Whether pictures differ from epoch to epoch."""
        return self.crop_scale < 1 or self.horizontal_flip > 0


@dataclass(frozen=True)
class EncoderRecipe(TrainingRecipe):
    """Everything that decides what an encoder becomes."""

    KIND: ClassVar[str] = "encoder"

    data: tuple[str, ...] = option(
        (), "labelled recordings; each text is a group, which may lack kinds of labels",
        separator=None,
    )  # fmt: skip
    shares: tuple[float, ...] = option(
        (), "how often each group is drawn, against the others (default: all alike)", above=0,
        separator=None,
    )  # fmt: skip
    image_size: tuple[int, int] = option(
        (154, 280), "height and width in pixels, multiples of 14, such as 154x280", least=14,
        separator="x",
    )  # fmt: skip
    width: int = option(256, "hidden size", least=1)
    depth: int = option(8, "transformer blocks, a multiple of 4", least=4)
    heads: int = option(4, "attention heads", least=1)
    segmentation: float = option(1.0, "weight of the loss of segmentation", least=0)
    depth_weight: float = option(1.0, "weight of the loss of depth", least=0)
    normals: float = option(0.5, "weight of the loss of normals", least=0)
    crop: float = option(
        0.7, "least fraction of height and width that a random crop keeps", above=0, most=1
    )
    validation_share: float = option(
        0.05, "fraction of each group that is only validated on", above=0, below=1
    )
    batch_size: int = option(24, "pictures per step, over all processes", least=1)
    weight_decay: float = option(0.02, "decoupled, as AdamW's", least=0)
    warmup: float = option(
        0.03, "fraction of the budget over which the learning rate rises", least=0, below=1
    )
    ema: float = option(
        0.999, "decay of averaged weights, which are then kept; 0: none", least=0, below=1
    )
    workers: int = option(1, "processes that read", least=0, is_free=True)
    evaluations: int = option(10, "validations over the budget", least=1, is_free=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.data:
            raise UsageError("an encoder needs data: give at least one --data")
        if self.shares and len(self.shares) != len(self.data):
            raise UsageError(f"{len(self.shares)} shares for {len(self.data)} groups of data")
        if self.width % self.heads or self.depth % 4:
            raise UsageError(
                f"width {self.width} must split into {self.heads} heads, and depth {self.depth} "
                "into four quarters"
            )


@dataclass(frozen=True)
class PCARecipe(Recipe):
    """How a PCA is fitted."""

    KIND: ClassVar[str] = "pca"

    channels: int | None = option(
        None, "components to keep; none: as many as --keep takes", least=1
    )
    keep: float = option(
        0.98, "fraction of the standardised variance to keep (what the paper's 1152 of 3072 keep)",
        above=0, most=1,
    )  # fmt: skip
    stride_s: float | None = option(None, "seconds between frames; none: every frame", above=0)
    max_tokens: int | None = option(
        1_000_000, "patches to fit on at most, from frames spread evenly; none: all", least=2
    )
    batch: int = option(8, "frames encoded together", least=1)
    workers: int = option(2, "processes that read", least=0)


@dataclass(frozen=True)
class FeatureRecipe(Recipe):
    """How features are made."""

    KIND: ClassVar[str] = "features"

    stride_s: float | None = option(None, "seconds between frames; none: every frame", above=0)
    batch: int = option(8, "frames encoded together", least=1)
    workers: int = option(2, "processes that read", least=0)
    shard_mb: float = option(
        64.0, "size of a new store's files in MB, which is also what a killed run does again",
        above=0,
    )  # fmt: skip
    rank: int = option(0, "which of several processes that share the work this is", least=0)
    world: int = option(1, "how many processes", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank >= self.world:
            raise UsageError(f"rank {self.rank} of {self.world}: it must be 0 to {self.world - 1}")
