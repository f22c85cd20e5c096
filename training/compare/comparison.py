"""A comparison as its file describes it: settings, seeds, axes, and the variants they make."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.training.compare.settings import (
    Settings,
    check_name,
    flatten,
    recipe_of,
    section,
    start_of,
)
from dino_foresight_ros.training.evaluation import EvaluationConfig
from dino_foresight_ros.training.head_tasks import training_class
from dino_foresight_ros.training.recipe_base import PRESETS_DIR, read_yaml
from dino_foresight_ros.training.recipes import (
    FeatureRecipe,
    ForecasterRecipe,
    HeadRecipe,
    PCARecipe,
)

PRESETS = PRESETS_DIR / "compare"
EACH, GRID = "each", "grid"
_OWN = ("about", "like", "seeds", "combine", "axes", "evaluation", "name")
_EVALUATION = ("horizons", "motion", "max_clips", "max_label_clips", "resamples", "confidence")


@dataclass(frozen=True)
class Variant:
    """One choice of all settings.

    Attributes:
        chosen: axis -> the name of its value here.
        settings: everything that is given.
    """

    chosen: Mapping[str, str]
    settings: Settings

    @property
    def name(self) -> str:
        """Such as "pca.channels 48"; values of several axes with commas between."""
        return ", ".join(f"{axis} {value}" for axis, value in self.chosen.items())


@dataclass(frozen=True)
class Comparison:
    """What is compared.

    Attributes:
        name: of its folder.
        about: what it is to find out.
        seeds: every variant is trained with each.
        axes: axis -> names of its values; the first is what the others are set apart from.
        variants: the baseline first.
        evaluation: how each is measured.
    """

    name: str
    about: str
    seeds: tuple[int, ...]
    axes: Mapping[str, tuple[str, ...]]
    variants: tuple[Variant, ...]
    evaluation: EvaluationConfig

    @property
    def baseline(self) -> Variant:
        """What the other variants are set apart from."""
        return self.variants[0]


def preset_names() -> list[str]:
    """Comparisons that come with the package."""
    found = [path for path in PRESETS.glob("*.yaml") if "axes" in read_yaml(path)]
    return sorted(path.stem for path in found)


def read_comparison(text: str) -> Comparison:
    """Read a comparison from a file, or one that comes with the package.

    Args:
        text: path of a YAML file, or a name of `preset_names()`.

    Raises:
        UsageError: no such file, an unknown setting or axis, or a value that makes no sense.
    """
    path = Path(text).expanduser()
    if not path.is_file():
        if text not in preset_names():
            raise UsageError(
                f"{text} is no file and no comparison that comes with the package; "
                f"these are {', '.join(preset_names())}"
            )
        path = PRESETS / f"{text}.yaml"
    values = _with_base(path)
    own = {key: values.pop(key) for key in _OWN if key in values}
    settings = flatten(values, str(path))
    axes = _axes(own.get("axes"), path)
    combine = own.get("combine", EACH)
    if combine not in (EACH, GRID):
        raise UsageError(f"{path}: combine is {combine!r}; it is each (one axis at a time) or grid")
    variants = tuple(
        Variant(
            {axis: chosen[axis] for axis in axes},
            {**settings, **{k: v for axis in axes for k, v in axes[axis][chosen[axis]].items()}},
        )
        for chosen in _choices(axes, combine)
    )
    name = str(own.get("name", path.stem))
    if not re.fullmatch(r"[\w.-]+", name):
        raise UsageError(f"{path}: name {name!r} is no name for a folder")
    comparison = Comparison(
        name=name,
        about=" ".join(str(own.get("about", "")).split()),
        seeds=_seeds(own.get("seeds", [0]), path),
        axes={axis: tuple(values) for axis, values in axes.items()},
        variants=variants,
        evaluation=_evaluation(own.get("evaluation") or {}, path),
    )
    for variant in variants:
        _check(variant, path)
    return comparison


def _with_base(path: Path) -> dict[str, Any]:
    """A file's values over those of the file that it is like."""
    values = read_yaml(path)
    base = values.pop("like", None)
    if base is None:
        return values
    found = next((p for p in (path.parent / str(base), PRESETS / str(base)) if p.is_file()), None)
    if found is None:
        raise UsageError(
            f"{path}: {base}, which it is like, is neither beside it nor in the package"
        )
    return _merged(read_yaml(found), values)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping) and key != "axes"
        result[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def _axes(found: Any, path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Axis -> name of a value -> the settings that it stands for."""
    if not isinstance(found, dict) or not found:
        raise UsageError(f"{path}: it has no axes; give one, such as axes: {{pca.channels: [48]}}")
    axes: dict[str, dict[str, dict[str, Any]]] = {}
    for axis, values in found.items():
        if isinstance(values, list) and values:
            check_name(str(axis), str(path), "axis")
            axes[axis] = {_text(v): flatten({axis: v}, str(path), "axis") for v in values}
            if len(axes[axis]) < len(values):
                raise UsageError(f"{path}: axis {axis} has a value twice")
        elif isinstance(values, dict) and all(isinstance(v, dict) for v in values.values()):
            axes[str(axis)] = {str(k): flatten(v, f"{path}: {axis} {k}") for k, v in values.items()}
        else:
            raise UsageError(
                f"{path}: axis {axis} takes a list of values of that setting, or names with the "
                "settings that each stands for"
            )
    return axes


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)


def _choices(axes: Mapping[str, Mapping[str, Any]], combine: str) -> Sequence[Mapping[str, str]]:
    names = {axis: list(values) for axis, values in axes.items()}
    if combine == GRID:
        return [dict(zip(names, values, strict=True)) for values in product(*names.values())]
    first = {axis: values[0] for axis, values in names.items()}
    others = [{**first, axis: value} for axis, values in names.items() for value in values[1:]]
    return [first, *others]


def _seeds(found: Any, path: Path) -> tuple[int, ...]:
    good = isinstance(found, list) and found and all(type(s) is int and s >= 0 for s in found)
    if not good or len(set(found)) < len(found):
        raise UsageError(f"{path}: seeds is {found!r}; it takes different whole numbers from 0")
    return tuple(found)


def _evaluation(values: Any, path: Path) -> EvaluationConfig:
    unknown = sorted(set(values) - set(_EVALUATION)) if isinstance(values, dict) else [values]
    if unknown:
        raise UsageError(
            f"{path}: evaluation has no '{unknown[0]}'; valid: {', '.join(_EVALUATION)}"
        )
    horizons = tuple(values.get("horizons", (1, 3)))
    rest = {key: value for key, value in values.items() if key != "horizons"}
    return EvaluationConfig(
        horizons=horizons, label_horizons=horizons, gaps_s=(), fitted=False, **rest
    )


def _check(variant: Variant, path: Path) -> None:
    """Find what makes no sense before hours are spent."""
    settings = variant.settings
    for name in ("data.train", "data.test", "encoder.name"):
        if not settings.get(name):
            raise UsageError(f"{path}: {name} is missing")
    tasks = section(settings, "heads").get("tasks", ())
    try:
        for task in tasks:
            training_class(task)
        recipe_of(settings, "pca", PCARecipe)
        recipe_of(settings, "features", FeatureRecipe)
        recipe_of(settings, "forecaster", ForecasterRecipe)
        earlier = start_of(settings)
        if settings.get("bundle.resize_grid") and earlier is None:
            raise UsageError("bundle.resize_grid stretches an earlier forecaster; give its start")
        if earlier is not None:
            recipe_of(earlier, "forecaster", ForecasterRecipe)
        for task in tasks:
            recipe_of(settings, "heads", HeadRecipe, task)
    except UsageError as error:
        raise UsageError(f"{path}: {variant.name}: {error}") from error
