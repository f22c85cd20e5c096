"""Fitted and trained parts as modules: out of a part's folder, or out of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.bundle import Bundle
from dino_foresight_ros.model.forecasters import (
    Forecaster,
    MaskedForecaster,
    SlidingForecaster,
    WorldForecaster,
    build_forecaster,
    describe_forecaster,
)
from dino_foresight_ros.model.heads import Head, HeadInput, build_head, head_config
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.model.tasks import Task, task_from_dict, task_to_dict
from dino_foresight_ros.model.weights import empty, load_strict
from dino_foresight_ros.shipped import MANIFEST, names_bundle

from .encoder_loading import encoder_origin
from .parts import Origin, Part, fingerprint, is_part, read_part, write_part
from .pca_fit import pca_config, pca_origin
from .sources import bundle_sources

__all__ = [
    "TrainableForecaster",
    "TrainedHead",
    "load_forecaster",
    "load_head",
    "load_pca",
    "write_forecaster",
    "write_head",
    "write_pca",
]


TrainableForecaster: TypeAlias = MaskedForecaster | WorldForecaster
"""Kinds of forecasters that training knows."""


class TrainedHead(NamedTuple):
    """A head and what it reads and means."""

    head: Head
    task: Task
    reads: HeadInput


def load_pca(path: str | Path) -> tuple[PCA | IdentityPCA, Part]:
    """Load a fitted PCA, or a bundle's.

    Raises:
        BundleError: no PCA is there, or it is damaged.
    """
    bundle = _bundle(path, has_heads=False)
    if bundle is None:
        part, tensors = read_part(Path(path), "pca")
        pca = PCA(int(part.config["features"]), int(part.config["channels"]))
        load_strict(pca, tensors, part.name)
        return pca, part
    origin = pca_origin(bundle.pca, f"PCA of {bundle.name}")
    made_with = {"encoder": _encoder_origin(bundle)}
    part = Part("pca", origin.name, origin.fingerprint, {}, made_with, **_known(bundle, "pca"))
    return bundle.pca, part


def write_pca(folder: Path, name: str, pca: PCA, **details: object) -> Part:
    """Write a PCA; `details` as `parts.write_part` takes them."""
    return write_part(folder, "pca", name, pca_config(pca), pca.state_dict(), **details)  # type: ignore[arg-type]


def load_forecaster(path: str | Path) -> tuple[TrainableForecaster, Part]:
    """Load a trained forecaster, or a bundle's.

    Raises:
        BundleError: no forecaster is there, it is damaged, it slides windows, or it is of a kind
            that training does not know.
    """
    bundle = _bundle(path, has_heads=False)
    if bundle is None:
        part, tensors = read_part(Path(path), "forecaster")
        forecaster = _trainable(build_forecaster(part.config), path)
        load_strict(forecaster, tensors, part.name)
        return forecaster.eval(), part
    trainable = _trainable(bundle.forecaster, path)
    config = describe_forecaster(trainable)
    made_with = {
        "encoder": _encoder_origin(bundle),
        "pca": pca_origin(bundle.pca, f"PCA of {bundle.name}"),
    }
    part = Part(
        "forecaster",
        f"forecaster of {bundle.name}",
        fingerprint(config, trainable.state_dict()),
        config,
        made_with,
        frame_interval_s=bundle.frame_interval_s,
        **_known(bundle, "forecaster"),
    )
    return trainable, part


def _trainable(forecaster: Forecaster, path: str | Path) -> TrainableForecaster:
    if isinstance(forecaster, SlidingForecaster):
        raise BundleError(
            f"{path}: its forecaster slides windows over a larger patch grid, which training does "
            "not; give the bundle of the forecaster's own grid"
        )
    if not isinstance(forecaster, TrainableForecaster):
        raise BundleError(
            f"{path}: its forecaster is of kind {forecaster.kind}; training reads those of kind "
            f"{MaskedForecaster.kind} and {WorldForecaster.kind}"
        )
    return forecaster


def write_forecaster(
    folder: Path, name: str, forecaster: TrainableForecaster, **details: object
) -> Part:
    """Write a forecaster; `details` as `parts.write_part` takes them."""
    config, tensors = describe_forecaster(forecaster), forecaster.state_dict()
    return write_part(folder, "forecaster", name, config, tensors, **details)  # type: ignore[arg-type]


def load_head(path: str | Path, of_task: str | None = None) -> tuple[TrainedHead, Part]:
    """Load a trained head, or the one that a bundle has for a task.

    Args:
        path: of the head's folder, or a bundle.
        of_task: name of the task of a bundle's head; without it bundles are refused.

    Raises:
        BundleError: no head is there, or it is damaged.
    """
    bundle = None if of_task is None else _bundle(path)
    if bundle is not None and of_task is not None:
        return _head_of(bundle, of_task)
    part, tensors = read_part(Path(path), "head")
    config = part.config
    try:
        task = task_from_dict(config["task"]["name"], dict(config["task"]["meaning"]))
        reads = HeadInput(**config["reads"])
        shape = int(config["embed_dim"]), int(config["layers"])
        head = empty(partial(build_head, head_config(config["head"]), *shape))
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path}: part.yaml has a value that does not fit: {error}") from error
    load_strict(head, tensors, part.name)
    return TrainedHead(head.eval(), task, reads), part


def _head_of(bundle: Bundle, name: str) -> tuple[TrainedHead, Part]:
    if name not in bundle.heads:
        raise BundleError(
            f"{bundle.name} has no head for {name}; its heads: {', '.join(bundle.heads) or 'none'}"
        )
    trained = TrainedHead(
        bundle.heads[name], bundle.tasks[name], bundle.inputs.get(name, HeadInput())
    )
    made_with = {
        "encoder": _encoder_origin(bundle),
        "pca": pca_origin(bundle.pca, f"PCA of {bundle.name}"),
    }
    if trained.reads.layers:
        forecaster = _trainable(bundle.forecaster, bundle.name)
        config = describe_forecaster(forecaster)
        made_with["forecaster"] = Origin(
            f"forecaster of {bundle.name}", fingerprint(config, forecaster.state_dict())
        )
    about = {"task": {"name": name, "meaning": task_to_dict(trained.task)}}
    config = {**about, "head": trained.head.config.to_dict(), "reads": trained.reads.to_dict()}
    part = Part(
        "head",
        f"{name} head of {bundle.name}",
        fingerprint(config, trained.head.state_dict()),
        config,
        made_with,
        **_known(bundle, f"{name} head"),
    )
    return trained, part


def write_head(
    folder: Path,
    name: str,
    trained: TrainedHead,
    embed_dim: int,
    layers: int,
    weights: Mapping[str, Tensor],
    **details: object,
) -> Part:
    """Write a head.

    Args:
        folder: where.
        name: of the head.
        trained: the head, what it means and what it reads.
        embed_dim, layers: of what it reads, as `build_head` took them.
        weights: of the head.
        details: as `parts.write_part` takes them.
    """
    config = {
        "task": {"name": trained.task.name, "meaning": task_to_dict(trained.task)},
        "head": trained.head.config.to_dict(),
        "reads": trained.reads.to_dict(),
        "embed_dim": embed_dim,
        "layers": layers,
    }
    return write_part(folder, "head", name, config, weights, **details)  # type: ignore[arg-type]


def _bundle(path: str | Path, has_heads: bool = True) -> Bundle | None:
    text = str(path)
    if names_bundle(text) or (not is_part(Path(path)) and (Path(path) / MANIFEST).is_file()):
        return Bundle.load(text, has_heads=has_heads)
    return None


def _known(bundle: Bundle, part: str) -> dict[str, Any]:
    """What a bundle keeps about the run that made a part of it, as fields of `Part`."""
    provenance = bundle.info.get("provenance")
    known = provenance.get(part) if isinstance(provenance, Mapping) else None
    known = known if isinstance(known, Mapping) else {}
    return {
        "recipe": {
            **(known.get("recipe") or {}),
            "bundle": bundle.name,
            "trained": bundle.trained,
        },
        "seed": known.get("seed"),
        "scores": dict(known.get("scores") or {}),
        "code_version": str(known.get("code_version") or ""),
        "trained_on": bundle_sources(bundle.info).get(part, ()),
    }


def _encoder_origin(bundle: Bundle) -> Origin:
    return Origin(
        f"{bundle.encoder.config.model} of {bundle.name}",
        encoder_origin(bundle.encoder).fingerprint,
    )
