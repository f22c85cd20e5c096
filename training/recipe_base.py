"""What a recipe is: declared fields whose values come from flags, a file and a preset.

A value comes from the command line, else from a file of the user's (--config), else from the
preset, else from the default of its field. Without torch: the command line's --help reads this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast, get_type_hints

import yaml

from dino_foresight_ros.errors import UsageError

PRESETS_DIR = Path(__file__).parent / "presets"
BUDGETS = ("steps", "minutes")


def option(
    default: Any,
    text: str,
    *,
    choices: Sequence[str] = (),
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    is_free: bool = False,
    separator: str | None = ",",
) -> Any:
    """Declare a field of a recipe.

    Args:
        default: its value where nobody gives one.
        text: what it is, for --help.
        choices: the only valid texts.
        least, above, most, below: bounds of a number, or of every number of a list.
        is_free: whether a run that is gone on with may have another value.
        separator: between the values of a list in one word of the command line; None: each value
            is a word of its own.
    """
    bounds = {">=": least, ">": above, "<=": most, "<": below}
    metadata = {
        "help": text,
        "choices": tuple(choices),
        "bounds": {sign: limit for sign, limit in bounds.items() if limit is not None},
        "is_free": is_free,
        "separator": separator,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Recipe:
    """Values that decide what comes out of a stage; each field says what it is."""

    KIND: ClassVar[str] = ""
    """Names the folder of its presets."""
    DEFAULT_PRESET: ClassVar[str | None] = None
    RETIRED: ClassVar[Mapping[str, Any]] = {}
    """Fields of older runs that are gone, with the value at which they did nothing."""

    def __post_init__(self) -> None:
        for one in fields(self):
            _check(one, getattr(self, one.name))

    @classmethod
    def preset_names(cls) -> list[str]:
        """Presets that come with the package."""
        return sorted(path.stem for path in (PRESETS_DIR / cls.KIND).glob("*.yaml"))

    @classmethod
    def free_on_resume(cls) -> list[str]:
        """Fields that may change when a run is gone on with."""
        return [one.name for one in fields(cls) if one.metadata["is_free"]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def _check(one: Field[Any], value: Any) -> None:
    """Check a value against what its field declares.

    Raises:
        UsageError: it is none of the choices, not finite, or out of bounds.
    """
    choices = one.metadata["choices"]
    for item in value if isinstance(value, tuple) else (value,):
        if choices and item not in choices:
            raise UsageError(f"{one.name} '{item}' is unknown; valid: {', '.join(choices)}")
        if isinstance(item, str) or item is None:
            continue
        if not math.isfinite(item):
            raise UsageError(f"{one.name} is {item}; it must be finite")
        for sign, limit in one.metadata["bounds"].items():
            is_good = {
                ">=": item >= limit, ">": item > limit, "<=": item <= limit, "<": item < limit
            }[sign]  # fmt: skip
            if not is_good:
                wanted = "positive" if (sign, limit) == (">", 0) else f"{sign} {limit}"
                raise UsageError(f"{one.name} is {item}; it must be {wanted}")


R = TypeVar("R", bound=Recipe)


def saved_recipe(kind: type[R], values: Mapping[str, Any]) -> R:
    """Make the recipe of a run on disk, which may be older than this version.

    Raises:
        UsageError: it made use of a field that is gone, or as `make_recipe`.
    """
    for name, nothing in kind.RETIRED.items():
        if values.get(name, nothing) != nothing:
            raise UsageError(
                f"the run was started with {name} {values[name]}, which is gone; start another run"
            )
    return make_recipe(kind, {k: v for k, v in values.items() if k not in kind.RETIRED})


def resolve_recipe(
    kind: type[R],
    preset: str | None = None,
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    variant: str | None = None,
) -> R:
    """Put a recipe together: defaults < preset < file < flags.

    A later one that states a budget replaces the earlier budget as a whole: who asks for minutes
    does not get a preset's steps besides.

    Args:
        kind: of recipe.
        preset: a name of its `preset_names()`; None for its default, if it has one.
        file: YAML with any of the fields.
        flags: fields that the command line gave.
        variant: of the preset: its values of that folder beside it, where there are any, are laid
            over it.

    Raises:
        UsageError: no such preset or file, an unknown field, or a value that makes no sense.
    """
    name = preset or kind.DEFAULT_PRESET
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if name is not None:
        if name not in kind.preset_names():
            raise UsageError(
                f"preset '{name}' is unknown; valid: {', '.join(kind.preset_names()) or 'none'}"
            )
        layers.append((f"preset {name}", _read_preset(kind, name)))
        special = PRESETS_DIR / kind.KIND / str(variant) / f"{name}.yaml"
        if special.is_file():
            layers.append((f"preset {name} for {variant}", read_yaml(special)))
    if file is not None:
        layers.append((str(file), read_yaml(file)))
    values: dict[str, Any] = {}
    for source, layer in [*layers, ("the command line", flags or {})]:
        values = _laid_over(kind, values, source, layer)
    return make_recipe(kind, values)


def _read_preset(kind: type[Recipe], name: str) -> dict[str, Any]:
    """Read a preset, laid over the one that it is `like`."""
    values = read_yaml(PRESETS_DIR / kind.KIND / f"{name}.yaml")
    base = values.pop("like", None)
    return values if base is None else {**_read_preset(kind, base), **values}


def changed(recipe: R, flags: Mapping[str, Any]) -> R:
    """Return a recipe with other values; a budget among them replaces its own as a whole.

    Raises:
        UsageError: an unknown field, or a value that makes no sense.
    """
    values = _laid_over(type(recipe), recipe.to_dict(), "the command line", flags)
    return make_recipe(type(recipe), values)


def make_recipe(kind: type[R], values: Mapping[str, Any]) -> R:
    """Make a recipe of values as YAML and the command line give them.

    Raises:
        UsageError: a value is not of its field's type, or makes no sense.
    """
    from argparse import ArgumentError

    parser = _parser(cast(Any, kind))
    whole = {name: _whole_number(kind, name, value) for name, value in values.items()}
    try:
        parsed = parser.parse_object(whole)
    except ArgumentError as error:
        for one in fields(kind):
            if one.name in whole and not _fits(parser, one.name, whole[one.name]):
                raise UsageError(
                    f"{one.name} is {values[one.name]!r}; it takes {one.type}"
                ) from error
        raise UsageError(" ".join(str(error).split())) from error
    return kind(**parsed.as_dict())


@lru_cache
def _parser(kind: Any) -> Any:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    return parser


def _fits(parser: Any, name: str, value: Any) -> bool:
    from argparse import ArgumentError

    try:
        parser.parse_object({name: value})
    except ArgumentError:
        return False
    return True


@lru_cache
def _types(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _whole_number(kind: type[Recipe], name: str, value: Any) -> Any:
    """Let 1e4 be a whole number where one is wanted."""
    if isinstance(value, str | float) and "int" in str(_types(cast(Any, kind)).get(name)):
        try:
            return int(float(value)) if float(value) == int(float(value)) else value
        except (ValueError, OverflowError):
            pass
    return value


def _laid_over(
    kind: type[Recipe], values: Mapping[str, Any], source: str, layer: Mapping[str, Any]
) -> dict[str, Any]:
    names = [one.name for one in fields(kind)]
    unknown = sorted(set(layer) - set(names))
    if unknown:
        raise UsageError(f"{source}: '{unknown[0]}' is unknown; valid: {', '.join(names)}")
    has_budget = any(layer.get(budget) is not None for budget in BUDGETS)
    return {**values, **(dict.fromkeys(BUDGETS) if has_budget else {}), **layer}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file of names and values.

    Raises:
        UsageError: it cannot be read, is not YAML, or is something else.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} is not a mapping of names to values")
    return values
