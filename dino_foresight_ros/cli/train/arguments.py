"""Arguments that several stages share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dino_foresight_ros.choices import PRECISIONS
from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.files import check_replaceable
from dino_foresight_ros.picture_size import parse_sides
from dino_foresight_ros.training.recipe_base import R, Recipe

if TYPE_CHECKING:
    from dino_foresight_ros.model.encoder import Encoder
    from dino_foresight_ros.training.run_folder import RunPlan

Options: TypeAlias = Mapping[str, Any]
"""A command's options by name, such as image_size; missing or None: not given."""


def image_size(text: str) -> tuple[int, int]:
    """Parse "HxW" as (H, W)."""
    size = parse_sides(text)
    if size is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not HEIGHTxWIDTH, such as 224x448")
    return size


def layer_list(text: str) -> tuple[int, ...]:
    """Parse "2,5,8,11"."""
    return _whole_numbers(text, "layers, such as 2,5,8,11")


def steps_list(text: str) -> int | list[int]:
    """Parse "2", or "0,1,3"."""
    steps = _whole_numbers(text, "steps, such as 0,1,3")
    return steps[0] if len(steps) == 1 else list(steps)


def _whole_numbers(text: str, what: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of {what}")
    return tuple(int(part) for part in parts)


def add_data(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add --data."""
    parser.add_argument(
        "--data", nargs="+", required=required, metavar="SPEC",
        help="what to read: a video, folder of pictures, bag, folder of several, or KIND:PATH?... "
        "(synthetic, cityscapes, nuscenes, camvid, comma10k, ...)",
    )  # fmt: skip


def add_encoder(
    parser: argparse.ArgumentParser,
    required: bool = True,
    image_size_default: str = "the bundle's, else 224x448",
    layers_default: str = "the encoder's own",
) -> None:
    """Add --encoder and its shape; the defaults are words for --help."""
    parser.add_argument(
        "--encoder", required=required, metavar="E",
        help="a bundle or untrained-tiny (its encoder), an encoder part, or a family such as "
        "dinov2-base-reg (weights fetched by timm)",
    )  # fmt: skip
    parser.add_argument(
        "--image-size", type=image_size, metavar="HxW",
        help=f"pixels that frames are resized to (default: {image_size_default})",
    )  # fmt: skip
    parser.add_argument(
        "--layers", type=layer_list, metavar="N,N,...",
        help=f"blocks whose outputs are taken, counted from 0 (default: {layers_default})",
    )  # fmt: skip


def add_placement(parser: argparse.ArgumentParser) -> None:
    """Add where and in which number format the encoder runs."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument(
        "--dtype", default="auto", choices=PRECISIONS,
        help="number format of the encoder; auto: float32 on a CPU, float16 on a GPU",
    )  # fmt: skip


def open_encoder_of(options: Options, device: Any = None) -> Encoder:
    """Load the encoder that `add_encoder` and `add_placement` declare, on its device.

    Raises:
        ForesightError: as `training.encoders.load_encoder`.
    """
    from dino_foresight_ros.training.encoder_loading import open_encoder

    shape = options["image_size"], options["layers"]
    where = options["device"] if device is None else device
    return open_encoder(options["encoder"], *shape, where, options["dtype"])


def add_recipe(
    parser: argparse.ArgumentParser, kind: type[Recipe], skip: Collection[str] = ()
) -> None:
    """Add a flag for every field of a recipe, --preset where it has any, and --config."""
    presets = kind.preset_names()
    if presets:
        parser.add_argument(
            "--preset", metavar="NAME",
            help=f"one of {', '.join(presets)} (default: {kind.DEFAULT_PRESET})",
        )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, metavar="YAML", help="values of one's own, named as in config.yaml"
    )
    group = parser.add_argument_group(
        "recipe (the flags, else --config, else " + ("the preset)" if presets else "the default)")
    )
    for one in fields(kind):
        if one.name in skip:
            continue
        names = dict.fromkeys(
            name.replace("_", "-") for name in (one.name.removesuffix("_s"), one.name)
        )
        default = one.default
        if isinstance(default, tuple):
            default = (one.metadata["separator"] or " ").join(map(str, default))
        shown = "" if presets or default in (None, "") else f" (default: {default})"
        group.add_argument(
            *(f"--{name.replace('_', '-')}" for name in names),
            dest=one.name,
            default=argparse.SUPPRESS,
            metavar="X",
            nargs=None if one.metadata["separator"] else "+",
            help=(one.metadata["help"] + shown).replace("%", "%%"),
        )


def recipe_flags(options: Options, kind: type[Recipe]) -> dict[str, Any]:
    """Return the fields of a recipe that are given, by name or by flag.

    "none" is none, unless it is one of a field's choices.
    """
    given: dict[str, Any] = {}
    for one in fields(kind):
        value = options.get(one.name, options.get(one.name.removesuffix("_s")))
        if value is None:
            continue
        is_list = isinstance(one.default, tuple) or "tuple" in str(one.type)
        if value == "none" and "none" not in one.metadata["choices"]:
            value = () if isinstance(one.default, tuple) else None
        elif is_list and isinstance(value, str):
            value = tuple(part.strip() for part in value.split(one.metadata["separator"]))
        given[one.name] = tuple(value) if isinstance(value, list) else value
    return given


@contextmanager
def said_once() -> Iterator[None]:
    """Let one of torchrun's processes of a machine say what is wrong with what all were given."""
    try:
        yield
    except ForesightError as error:
        if os.environ.get("LOCAL_RANK", "0") != "0":
            sys.exit(error.exit_code)
        raise


def run_in_processes(processes: int, function: Callable[..., None], *arguments: object) -> None:
    """Call a function here, or in several processes that train together.

    Raises:
        UsageError: no number of processes, or torchrun has started some already.
    """
    if processes < 1:
        raise UsageError(f"--processes is {processes}; it must be >= 1")
    if processes == 1:
        function(*arguments)
        return
    from dino_foresight_ros.training.launch import launch, processes_from_environment

    if processes_from_environment()[1] > 1:
        raise UsageError("--processes is for a command without torchrun; give one of the two")
    launch(processes, function, *arguments)


def train(
    options: Options,
    kind: type[R],
    plan: Callable[..., RunPlan[R]],
    run: Callable[..., None],
    *arguments: object,
    inputs: Collection[str] = (),
) -> None:
    """Plan a run by a command's options and do it, here or in several processes.

    Args:
        options: the command's.
        kind: of recipe.
        plan: of (folder, inputs, flags, preset=, file=, resume=).
        run: of (plan, device, *arguments).
        arguments: the rest of what `run` takes.
        inputs: names of the options that `plan` takes as inputs.

    Raises:
        ForesightError: as `plan` and `run`; another run is in the folder.
    """
    from dino_foresight_ros.training.run_folder import alone_in

    with alone_in(options["out"]):
        with said_once():
            made = plan(
                options["out"],
                {name: options.get(name) for name in inputs},
                recipe_flags(options, kind),
                preset=options.get("preset"),
                file=options.get("config"),
                resume=bool(options.get("resume")),
            )
        processes = 1 if options.get("processes") is None else options["processes"]
        run_in_processes(processes, run, made, options["device"], *arguments)


def refuse_existing(out: Path, force: bool, own: Sequence[str]) -> None:
    """Refuse an output folder that exists, and with --force one that holds anything else.

    Args:
        out: the folder.
        force: whether --force is given.
        own: patterns of the names that the command writes.

    Raises:
        ForesightError: it exists, or may not be replaced.
    """
    check_replaceable(out, own)
    if out.exists() and not force:
        raise ForesightError(f"{out} exists; choose another --out or add --force")
