"""What a run of `foresight train head` is made of, and its presets. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dino_foresight_ros.errors import UsageError

TASKS = ("segmentation", "depth", "normals")
FEATURES = ("reconstructed", "forecast", "layers")
CLASS_WEIGHTS = ("none", "median-frequency", "inverse-sqrt")
DEPTH_KINDS = ("metric", "relative")
LOSS_SIZES = ("image", "output")


@dataclass(frozen=True)
class HeadRecipe:
    """Everything that decides what a head becomes.

    Attributes:
        kind: "dpt" or "linear".
        channels, width, batch_norm: of a DPT head.
        depth: "metric" (metres) or "relative" (inverse depth 0 to 255, the authors').
        bins: depth classes.
        min_m, max_m: range of a metric head.
        class_weights: of segmentation: "none", "median-frequency" (Eigen and Fergus 2015) or
            "inverse-sqrt" (of the class's share of the pixels).
        loss_size: "image": raw output is upsampled to the labels, as the authors train; "output":
            labels are taken at the head's output size, a third of the work.
        crop_scale, horizontal_flip: of pictures; without either, features are encoded once.
        steps, minutes: budget.
        batch_size: pictures per step, over all processes and accumulated parts.
        lr, schedule, warmup, weight_decay, clip, accumulate, precision, ema: of the optimiser.
        evaluations, validation_images: how often and on how many pictures at most.
        cache_gb: memory for features and labels that are encoded once, per process.
        workers: reading processes.
        seed: of everything random.
    """

    kind: str = "dpt"
    channels: tuple[int, int, int, int] = (128, 256, 512, 512)
    width: int = 256
    batch_norm: bool = True
    depth: str = "metric"
    bins: int = 256
    min_m: float = 1.0
    max_m: float = 80.0
    class_weights: str = "none"
    loss_size: str = "image"
    crop_scale: float = 1.0
    horizontal_flip: float = 0.0
    steps: int | None = None
    minutes: float | None = None
    batch_size: int = 128
    lr: float = 1.6e-3
    schedule: str = "cosine"
    warmup: float = 0.1
    weight_decay: float = 1e-4
    clip: float | None = None
    accumulate: int = 1
    precision: str = "auto"
    ema: float = 0.0
    evaluations: int = 10
    validation_images: int = 256
    cache_gb: float = 4.0
    workers: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name, valid in (
            ("class_weights", CLASS_WEIGHTS),
            ("depth", DEPTH_KINDS),
            ("loss_size", LOSS_SIZES),
        ):
            if getattr(self, name) not in valid:
                raise UsageError(
                    f"{name} '{getattr(self, name)}' is unknown; valid: {', '.join(valid)}"
                )
        if not 0 < self.min_m < self.max_m:
            raise UsageError(f"depth range {self.min_m} to {self.max_m} m: give 0 < least < most")
        if not 0 < self.crop_scale <= 1 or not 0 <= self.horizontal_flip <= 1:
            raise UsageError(
                f"crop_scale is {self.crop_scale} and horizontal_flip {self.horizontal_flip}; "
                "shares above 0 and from 0, at most 1"
            )
        for name, least in (("validation_images", 1), ("cache_gb", 0), ("bins", 2)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be >= {least}")

    @property
    def is_augmented(self) -> bool:
        """Whether pictures differ from epoch to epoch."""
        return self.crop_scale < 1 or self.horizontal_flip > 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


PRESETS: dict[str, dict[str, Any]] = {
    # 100 epochs of Cityscapes' 2975 pictures at batch 128; learning rate 1e-4 per 8 pictures. The
    # authors' code, but for its photometric distortion and its polynomial schedule.
    "paper": {"steps": 2324, "horizontal_flip": 0.5, "workers": 8},
    # For a CPU or a small GPU: an eighth of the weights, features encoded once.
    "light": {
        "channels": (48, 96, 192, 192),
        "width": 64,
        "bins": 64,
        "loss_size": "output",
        "steps": 1500,
        "batch_size": 8,
        "lr": 1e-3,
        "clip": 1.0,
    },
    # For bundles of a few MB: half of light's weights.
    "tiny": {
        "channels": (32, 64, 96, 96),
        "width": 48,
        "bins": 64,
        "loss_size": "output",
        "steps": 3000,
        "batch_size": 16,
        "lr": 1.5e-3,
        "clip": 1.0,
        "ema": 0.995,
    },
    # DINO-world's protocol: one linear layer.
    "linear": {
        "kind": "linear",
        "bins": 64,
        "loss_size": "output",
        "steps": 1500,
        "batch_size": 8,
        "lr": 1e-3,
        "clip": 1.0,
    },
}


def head_recipe(preset: str, flags: Mapping[str, Any]) -> HeadRecipe:
    """Put a recipe together: defaults < preset < flags; a flag's budget replaces the preset's.

    Raises:
        UsageError: no such preset, or a value that makes no sense.
    """
    if preset not in PRESETS:
        raise UsageError(f"preset '{preset}' is unknown; valid: {', '.join(PRESETS)}")
    values = dict(PRESETS[preset])
    if flags.get("steps") is not None or flags.get("minutes") is not None:
        values["steps"] = values["minutes"] = None
    return HeadRecipe(**{**values, **flags})
