"""What each stage of `foresight train all` does: the functions behind the commands it prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dino_foresight_ros.cli.train.arguments import run_in_processes

if TYPE_CHECKING:
    from dino_foresight_ros.model.encoder import Encoder

Options: TypeAlias = Mapping[str, Any]
"""A command's options by name, such as frame_interval; None: not given."""


def fit_pca(options: Options, out: Path, go_on: bool) -> None:
    """Fit the PCA of the encoder's features."""
    from dino_foresight_ros.training.fit_pca import make_pca
    from dino_foresight_ros.training.recipes import PCARecipe, resolve_recipe

    recipe = resolve_recipe(PCARecipe, flags=_given(options, "channels", "stride_s", "workers"))
    about = {name: options[name] for name in ("encoder", "dtype")}
    make_pca(out, options["data"], _encoder(options), recipe, about=about)


def keep_features(options: Options, out: Path, go_on: bool) -> None:
    """Keep the recordings' features on disk; goes on by itself."""
    from dino_foresight_ros.training.feature_writer import make_features
    from dino_foresight_ros.training.recipes import FeatureRecipe, resolve_recipe

    recipe = resolve_recipe(FeatureRecipe, flags=_given(options, "stride_s", "workers"))
    make_features(out, options["data"], _encoder(options), str(options["pca"]), recipe)


def train_forecaster(options: Options, out: Path, go_on: bool) -> None:
    """Train the forecaster; a run that is gone on with knows its own inputs and recipe."""
    from dino_foresight_ros.training.train_forecaster import plan_forecaster, run_forecaster

    inputs, flags = {}, {}
    if not go_on:
        inputs = {"features": str(options["features"]), **_only(options, "validation_share")}
        flags = _given(options, "minutes", "steps", "seed")
        if options["frame_interval"] is not None:
            flags["frame_interval_s"] = options["frame_interval"]
    preset = None if go_on else options["preset"]
    plan = plan_forecaster(out, inputs, flags, preset=preset, resume=go_on)
    run_in_processes(options["processes"], run_forecaster, plan, options["device"])


def train_head(options: Options, out: Path, go_on: bool) -> None:
    """Train a head; a run that is gone on with knows its own inputs and recipe."""
    from dino_foresight_ros.training.train_head import plan_head, run_head

    inputs, flags = {}, _given(options, "workers")
    if not go_on:
        names = ("task", "data", "encoder", "image_size", "layers", "dtype", "validation_share")
        inputs = {**_only(options, *names), "pca": str(options["pca"])}
        flags |= _given(options, "minutes", "steps", "seed")
    preset = None if go_on else options["preset"]
    plan = plan_head(out, inputs, flags, preset=preset, resume=go_on)
    run_head(plan, options["device"])


def assemble_bundle(options: Options, out: Path, go_on: bool) -> None:
    """Put the parts together."""
    from dino_foresight_ros.training.assemble import write_bundle

    write_bundle(
        out,
        options["encoder"],
        str(options["pca"]),
        str(options["forecaster"]),
        {task: str(folder) for task, folder in options["head"].items()},
        frame_interval_s=options["interval"],
        **_only(options, "name", "image_size", "layers"),
    )


def evaluate_bundle(options: Options, out: Path, go_on: bool) -> None:
    """Measure the bundle."""
    from dino_foresight_ros.cli.evaluate import write_and_tell
    from dino_foresight_ros.model import Bundle
    from dino_foresight_ros.model.devices import resolve_device
    from dino_foresight_ros.progress import warn
    from dino_foresight_ros.recordings import open_recordings
    from dino_foresight_ros.training.evaluation import EvaluationConfig, evaluate

    config = EvaluationConfig(**_given(options, "max_clips", "seed"))
    bundle = Bundle.load(str(options["bundle"]), resolve_device(options["device"]))
    data, fit = (open_recordings(options[name], warn) for name in ("data", "fit_data"))
    write_and_tell(evaluate(bundle, data, config, fit, warn, True), out)


WORK: dict[str, Callable[[Options, Path, bool], None]] = {
    "train pca": fit_pca,
    "train features": keep_features,
    "train forecaster": train_forecaster,
    "train head": train_head,
    "bundle assemble": assemble_bundle,
    "evaluate": evaluate_bundle,
}
"""Command -> what does the same: with these options, into a folder, gone on with or anew."""


def _encoder(options: Options) -> Encoder:
    from dino_foresight_ros.training.encoders import open_encoder

    names = ("encoder", "image_size", "layers", "device", "dtype")
    return open_encoder(*(options[name] for name in names))


def _only(options: Options, *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names}


def _given(options: Options, *names: str) -> dict[str, Any]:
    return {name: options[name] for name in names if options[name] is not None}
