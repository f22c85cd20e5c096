"""Bundles that lie on a model hub: `Bundle.load("hub:owner/name")`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.bundle import PRETRAINED, read_manifest
from dino_foresight_ros.model.hub_files import HubError, HubFile, HubRepo, download, find
from dino_foresight_ros.shipped import MANIFEST


def resolve_hub(address: str, documents: bool = False) -> Path:
    """Get the bundle of a hub repository: bundle.yaml and the safetensors files that it names.

    Args:
        address: "hub:owner/name" or "hub:owner/name@revision".
        documents: README.md and LICENSE too, where there are any.

    Returns:
        The folder that holds the files, in huggingface_hub's cache.

    Raises:
        UsageError: the address is not one.
        HubError: a file cannot be had.
        BundleError: the repository is not a bundle, or names weights that are not safetensors.
    """
    repo = HubRepo.parse(address)
    try:
        manifest = find(repo, MANIFEST)
        folder = download([manifest])[0].parent
        at_commit = replace(repo, revision=manifest.commit)
        names = _weights(read_manifest(folder), address)
        files = [find(at_commit, name) for name in names]
        download(files + (_documents(at_commit) if documents else []))
    except HubError as error:
        raise type(error)(
            f"{error}; by hand: put {MANIFEST} and the .safetensors files of {repo.page} into a "
            f"folder and give that folder instead of {address}"
        ) from error
    return folder


def _weights(manifest: dict[str, Any], address: str) -> list[str]:
    """Names of the weights files; never anything but safetensors in the bundle's own folder."""
    parts = [manifest[part] for part in ("encoder", "pca", "forecaster")]
    heads = manifest.get("heads")
    parts += heads.values() if isinstance(heads, dict) else []
    names = [part["weights"] for part in parts if isinstance(part, dict) and "weights" in part]
    for name in names:
        plain = isinstance(name, str) and Path(name).name == name
        if name != PRETRAINED and not (plain and name.endswith(".safetensors")):
            raise BundleError(f"{address} names weights {name!r}; only safetensors are read")
    return sorted({name for name in names if name != PRETRAINED})


def _documents(repo: HubRepo) -> list[HubFile]:
    found = []
    for name in ("README.md", "LICENSE"):
        try:
            found.append(find(repo, name))
        except HubError:
            continue
    return found
