"""The settings that a comparison's file may give or vary, by their names, such as pca.channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.picture_size import parse_sides
from dino_foresight_ros.training.recipe_base import Recipe, resolve_recipe
from dino_foresight_ros.training.recipes import (
    FeatureRecipe,
    ForecasterRecipe,
    HeadRecipe,
    PCARecipe,
)

Settings = Mapping[str, Any]
"""Value of each setting that is given, by its name with the section in front."""
R = TypeVar("R", bound=Recipe)

START = "start"
"""Section of what an earlier training differs in, whose forecaster a run starts from. With
bundle.resize_grid it is not trained on, but stretched."""
_WORK = ("workers", "rank", "world", "seed")
"""Of recipes, what a comparison decides itself."""


def _fields(kind: type[Recipe]) -> tuple[str, ...]:
    return tuple(one.name for one in fields(kind) if one.name not in _WORK)


SECTIONS: dict[str, tuple[str, ...]] = {
    "data": ("train", "labels", "test", "validation_share", "pixels"),
    "encoder": ("name", "image_size", "layers"),
    "pca": _fields(PCARecipe),
    "features": tuple(name for name in _fields(FeatureRecipe) if name != "shard_mb"),
    "forecaster": ("preset", *_fields(ForecasterRecipe)),
    "heads": ("tasks", "preset", *_fields(HeadRecipe)),
    "bundle": ("resize_grid", "slide_windows"),
}
"""Names of all settings, by section."""
_LISTS = ("data.train", "data.labels", "data.test", "heads.tasks")
_SIZES = ("data.pixels", "encoder.image_size")
_VALID = tuple(f"{section}.{name}" for section, names in SECTIONS.items() for name in names)
_STARTABLE = tuple(
    f"{START}.{name}" for name in _VALID if name.startswith(("encoder.image_size", "forecaster."))
)


def check_name(name: str, where: str, what: str) -> str:
    """Return the name of a setting.

    Args:
        name: such as "pca.channels".
        where: what the file is called.
        what: that the name stands for, "setting" or "axis".

    Raises:
        UsageError: there is none of that name; names those nearest to it, or all of its section.
    """
    if name in _VALID or name in _STARTABLE:
        return name
    near = get_close_matches(name, [*_VALID, *_STARTABLE], n=3)
    section = name.partition(".")[0]
    if near:
        hint = f"the nearest: {', '.join(near)}"
    elif section in SECTIONS:
        hint = f"{section} has {', '.join(SECTIONS[section])}"
    else:
        hint = f"it begins with one of {', '.join(f'{s}.' for s in (*SECTIONS, START))}"
    raise UsageError(f"{where}: there is no {what} '{name}'; {hint}")


def flatten(values: Mapping[str, Any], where: str, what: str = "setting") -> dict[str, Any]:
    """Read settings that stand in sections, or with their whole names, or both.

    Raises:
        UsageError: an unknown one, or a value of the wrong kind.
    """
    found: dict[str, Any] = {}
    for name, value in _leaves(values):
        found[check_name(name, where, what)] = _checked(name, value, where)
    return found


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _checked(name: str, value: Any, where: str) -> Any:
    """A value as the trainers take it; recipes check their own."""
    plain = name.removeprefix(f"{START}.")
    if plain in _LISTS:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UsageError(f"{where}: {name} is {value!r}; it takes a list of texts")
        return tuple(texts)
    if plain in _SIZES and value is not None:
        size = parse_sides("x".join(map(str, value)) if isinstance(value, list) else str(value))
        if size is None:
            raise UsageError(f"{where}: {name} is {value!r}; it takes HxW, such as 154x280")
        return size
    if plain == "encoder.layers" and value is not None:
        parts = value if isinstance(value, list) else [value]
        if not parts or not all(_is_whole(part) for part in parts):
            raise UsageError(f"{where}: {name} is {value!r}; it takes a list of blocks, from 0")
        return tuple(int(part) for part in parts)
    if plain.startswith("bundle.") and not isinstance(value, bool):
        raise UsageError(f"{where}: {name} is {value!r}; it takes yes or no")
    return tuple(value) if isinstance(value, list) else value


def _is_whole(value: Any) -> bool:
    return str(value).isdigit() and not isinstance(value, bool)


def section(settings: Settings, name: str) -> dict[str, Any]:
    """The settings of one section, without its name."""
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in settings.items() if k.startswith(prefix)}


def recipe_of(
    settings: Settings, name: str, kind: type[R], variant: str | None = None, **decided: Any
) -> R:
    """The recipe of a section.

    Args:
        settings: of a variant.
        name: of the section.
        kind: of recipe.
        variant: of its preset, see `resolve_recipe`: a head's task.
        decided: fields that are no settings.

    Raises:
        UsageError: a value that makes no sense.
    """
    values = section(settings, name)
    preset = values.pop("preset", None)
    values.pop("tasks", None)
    return resolve_recipe(kind, preset, None, {**values, **decided}, variant)


def start_of(settings: Settings) -> dict[str, Any] | None:
    """Settings of the earlier training that a run starts from; None without any."""
    other = section(settings, START)
    if not other:
        return None
    own = {k: v for k, v in settings.items() if not k.startswith(f"{START}.")}
    return {**own, **other}
