"""What a run of `foresight train forecaster` is made of, and the presets that state it.

A value comes from the command line, else from a file of the user's (--config), else from the
preset, else from the default here. Without torch: the command line's --help reads this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from dino_foresight_ros.errors import UsageError

PRESETS_DIR = Path(__file__).parent / "presets"
DEFAULT_PRESET = "paper-lowres"
BUDGETS = ("steps", "minutes")
PIXELS_ONLY = ("horizontal_flip", "crop_scale")
FEATURES_ONLY = ("grid_flip",)


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class ForecasterRecipe:
    """Everything that decides what a forecaster becomes; each field says what it is."""

    width: int = _option(1152, "hidden size; a multiple of 3 and of the heads")
    layers: int = _option(12, "transformer blocks")
    heads: int = _option(8, "attention heads")
    context_frames: int = _option(4, "frames seen")
    attention: str = _option("factorised", "factorised (time, then space) or full")
    window: int = _option(1, "k of the k x k windows of temporal attention")
    mlp_ratio: float = _option(4.0, "feed-forward width over width")
    dropout: float = _option(0.1, "in training only")
    predict: str = _option(
        "features", "features (the paper's), or residual: their change since the newest frame, "
        "which starts as good as copying it; for short trainings",
    )  # fmt: skip
    intervals_s: tuple[float, ...] | None = _option(
        None, "seconds between frames, of which each clip draws one; none: 2, 3 and 4 frames of "
        "17 Hz (the paper's), moved to the nearest whole number of the recordings' own frames",
    )  # fmt: skip
    frame_interval_s: float | None = _option(
        None, "the nominal interval, which is validated on and which the bundle states; none: the "
        "middle one of intervals_s",
    )  # fmt: skip
    tolerance: float = _option(0.25, "share of the interval that a frame may lie off its instant")
    time_flip: float = _option(0.0, "probability of playing a clip backwards")
    horizontal_flip: float = _option(0.0, "probability of mirroring pictures (pixels only)")
    crop_scale: float = _option(
        1.0, "a random crop keeps at least this share of height and width (pixels only)"
    )
    grid_flip: float = _option(
        0.0, "probability of mirroring the patch grid of features from disk; an approximation: the "
        "features of a mirrored picture are not the mirrored features",
    )  # fmt: skip
    mask_schedule: str = _option("full", "full, linear, cosine, arccos or square")
    loss: str = _option("smooth_l1", "smooth_l1, mse or l1")
    beta: float = _option(0.1, "error at which smooth L1 becomes linear")
    steps: int | None = _option(None, "optimiser steps")
    minutes: float | None = _option(None, "wall-clock minutes")
    batch_size: int = _option(64, "clips per step, over all processes and accumulated parts")
    accumulate: int = _option(1, "parts that a process's clips of a step are computed in")
    lr: float = _option(6.4e-4, "highest learning rate")
    schedule: str = _option("cosine", "cosine or constant")
    warmup: float = _option(0.0, "share of the budget over which the learning rate rises")
    clip: float | None = _option(1.0, "largest norm of the gradient; none: any")
    betas: tuple[float, ...] = _option((0.9, 0.999), "of Adam")
    weight_decay: float = _option(0.0, "decoupled, as AdamW's")
    precision: str = _option("auto", "auto, float32, bfloat16 or float16")
    ema: float = _option(0.0, "decay of averaged weights, which are then kept; 0: none")
    workers: int = _option(0, "loading processes per training process; 0: a thread")
    evaluations: int = _option(20, "validations over the budget")
    validation_clips: int = _option(256, "clips of a validation, spread evenly")
    checkpoint_every_s: float = _option(300.0, "seconds between checkpoints")
    log_every: int = _option(10, "steps between logged values")
    seed: int = _option(0, "of everything random")

    def __post_init__(self) -> None:
        for name, kind in recipe_types().items():
            object.__setattr__(self, name, _convert(name, getattr(self, name), kind))
        if self.steps is None and self.minutes is None:
            raise UsageError("a run needs a budget: give --steps or --minutes")
        for interval in (*(self.intervals_s or ()), self.frame_interval_s or 1.0):
            if not 0 < interval < math.inf:
                raise UsageError(f"interval {interval} s: give a positive time")
        if self.intervals_s == ():
            raise UsageError("intervals_s is empty: give at least one, or none for the default")
        if self.validation_clips < 1:
            raise UsageError(f"validation_clips is {self.validation_clips}; it must be >= 1")
        for name in ("time_flip", "horizontal_flip", "grid_flip"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; a probability is 0 to 1")
        if not 0 < self.crop_scale <= 1:
            raise UsageError(f"crop_scale is {self.crop_scale}; a share is above 0, at most 1")

    def changed(self, flags: Mapping[str, Any]) -> ForecasterRecipe:
        """Return this with other values; a budget among them replaces this one's as a whole.

        Raises:
            UsageError: an unknown field, or a value that makes no sense.
        """
        return ForecasterRecipe(**_laid_over(asdict(self), "the command line", flags))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@lru_cache(maxsize=1)
def recipe_types() -> dict[str, Any]:
    """Field name -> its type."""
    hints = get_type_hints(ForecasterRecipe)
    return {f.name: hints[f.name] for f in fields(ForecasterRecipe)}


def preset_names() -> list[str]:
    """Presets that come with the package."""
    return sorted(path.stem for path in PRESETS_DIR.glob("*.yaml"))


def resolve_recipe(
    preset: str | None, file: Path | None, flags: Mapping[str, Any]
) -> ForecasterRecipe:
    """Put a recipe together: defaults < preset < file < flags.

    A later one that states a budget replaces the earlier budget as a whole: who asks for minutes
    does not get a preset's steps besides.

    Args:
        preset: a name of `preset_names()`; None for DEFAULT_PRESET.
        file: YAML with any of the fields.
        flags: fields that the command line gave.

    Raises:
        UsageError: no such preset or file, an unknown field, or a value that makes no sense.
    """
    name = preset or DEFAULT_PRESET
    if name not in preset_names():
        raise UsageError(f"preset '{name}' is unknown; valid: {', '.join(preset_names())}")
    values: dict[str, Any] = {}
    layers = [(f"preset {name}", _read_yaml(PRESETS_DIR / f"{name}.yaml"))]
    if file is not None:
        layers.append((str(file), _read_yaml(file)))
    for source, layer in [*layers, ("the command line", dict(flags))]:
        values = _laid_over(values, source, layer)
    return ForecasterRecipe(**values)


def _laid_over(values: Mapping[str, Any], source: str, layer: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(layer) - set(recipe_types()))
    if unknown:
        raise UsageError(f"{source}: '{unknown[0]}' is unknown; valid: {', '.join(recipe_types())}")
    has_budget = any(layer.get(budget) is not None for budget in BUDGETS)
    return {**values, **(dict.fromkeys(BUDGETS) if has_budget else {}), **layer}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} is not a mapping of names to values")
    return values


def _convert(name: str, value: Any, kind: Any) -> Any:
    """Check and convert a value to a field's type.

    Raises:
        UsageError: it does not fit.
    """
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    if value is None and type(None) in options:
        return None
    base = next(option for option in options if option is not type(None))
    try:
        return _as(base, value)
    except (TypeError, ValueError, OverflowError) as error:
        wanted = "numbers" if get_origin(base) is tuple else base.__name__
        raise UsageError(f"{name} is {value!r}; it takes {wanted}") from error


def _as(base: Any, value: Any) -> Any:
    if get_origin(base) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(_as(float, part) for part in parts)
    if base is str:
        if not isinstance(value, str):
            raise TypeError(value)
        return value
    if isinstance(value, bool):
        raise TypeError(value)
    number = float(value)  # YAML reads 6.4e-4 as text: its exponents want a dot and a sign
    if base is float:
        if not math.isfinite(number):
            raise ValueError(value)
        return number
    if number != int(number):
        raise ValueError(value)
    return int(number)
