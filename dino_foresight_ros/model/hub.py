"""Bundles and files on a model hub: `Bundle.load("hub:owner/name")`, by huggingface_hub.

huggingface_hub decides where files lie (HF_HOME), whom to ask (HF_ENDPOINT), whether to ask at all
(HF_HUB_OFFLINE), and goes on where a connection broke. Files that it has whole are not loaded anew.
"""

from __future__ import annotations

import errno
import glob
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from dino_foresight_ros.errors import BundleError, ForesightError, UsageError
from dino_foresight_ros.model.manifest import PRETRAINED, read_manifest
from dino_foresight_ros.shipped import MANIFEST

_ADDRESS = re.compile(r"hub:(?P<id>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?")
DOCUMENTS = ("README.md", "LICENSE")


class HubError(ForesightError):
    """A file of a model hub that cannot be had."""


@dataclass(frozen=True)
class HubRepo:
    """A repository of a model hub.

    Attributes:
        id: "owner/name".
        revision: branch, tag or commit.
    """

    id: str
    revision: str = constants.DEFAULT_REVISION

    @classmethod
    def parse(cls, address: str) -> HubRepo:
        """Read "hub:owner/name" or "hub:owner/name@revision".

        Raises:
            UsageError: anything else.
        """
        match = _ADDRESS.fullmatch(address)
        if match is None:
            raise UsageError(
                f"'{address}' is not a hub repository; write hub:owner/name or "
                "hub:owner/name@revision"
            )
        return cls(match["id"], match["revision"] or constants.DEFAULT_REVISION)

    @property
    def page(self) -> str:
        """Where a browser shows the repository's files."""
        return f"https://huggingface.co/{self.id}/tree/{self.revision}"


def fetch_bundle(address: str, documents: bool = False) -> Path:
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
        folder = fetch_files(repo, [MANIFEST])
        names = _weights(read_manifest(folder), address)
        # The same commit, whatever is pushed meanwhile.
        return fetch_files(
            replace(repo, revision=folder.name), names, DOCUMENTS if documents else ()
        )
    except HubError as error:
        raise HubError(
            f"{error}; by hand: put {MANIFEST} and the .safetensors files of {repo.page} into a "
            f"folder and give that folder instead of {address}"
        ) from error


def fetch_files(repo: HubRepo, names: Sequence[str], optional: Collection[str] = ()) -> Path:
    """Download files of a repository, those that the cache lacks.

    Args:
        repo: where they lie.
        names: files that must be there.
        optional: files that may be there.

    Returns:
        The folder of the repository's commit in huggingface_hub's cache.

    Raises:
        HubError: a file cannot be had.
    """
    patterns = [glob.escape(name) for name in (*names, *optional)]
    try:
        folder = Path(snapshot_download(repo.id, revision=repo.revision, allow_patterns=patterns))
    except Exception as error:  # its HTTP library, whose errors share no base, depends on version
        raise HubError(f"cannot get {repo.id}: {_reason(error, repo)}") from error
    for name in names:
        if not (folder / name).is_file():
            raise HubError(
                f"cannot get {name} of {repo.id}: the repository has no such file at revision "
                f"{repo.revision}, or the cache {constants.HF_HUB_CACHE} lacks it"
            )
    return folder


def download_sizes(repo: HubRepo, names: Collection[str]) -> tuple[int, int] | None:
    """Bytes of files, all together and of those that the cache lacks; None where nobody says."""
    try:
        info = HfApi().model_info(repo.id, revision=repo.revision, files_metadata=True)
    except Exception:  # noqa: BLE001 - the download itself will say what is wrong
        return None
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    lacking = [
        name
        for name in names
        if not isinstance(try_to_load_from_cache(repo.id, name, revision=info.sha), str)
    ]
    return sum(sizes.get(n, 0) for n in names), sum(sizes.get(n, 0) for n in lacking)


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


def _reason(error: Exception, repo: HubRepo) -> str:
    """What went wrong, in one line."""
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the cache lacks a file, and this is why the hub was no help
    if isinstance(error, OfflineModeIsEnabled):
        return (
            f"offline mode is on (HF_HUB_OFFLINE) and the cache {constants.HF_HUB_CACHE} "
            "does not hold it"
        )
    if isinstance(error, GatedRepoError):
        return "the repository is gated; accept its terms on its page, then run 'hf auth login'"
    if isinstance(error, RepositoryNotFoundError):
        return f"{constants.ENDPOINT} has no such repository (a private one: 'hf auth login')"
    if isinstance(error, RevisionNotFoundError):
        return f"the repository has no such revision {repo.revision}"
    if isinstance(error, HfHubHTTPError):
        return f"{constants.ENDPOINT} answered {error.response.status_code}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk of {constants.HF_HUB_CACHE} is full; set HF_HOME to a larger one"
    if isinstance(error, (ValueError, LookupError)):
        return (
            f"{constants.ENDPOINT} does not answer as a model hub does (a login page in between, "
            "or a wrong HF_ENDPOINT?)"
        )
    lines = str(error).splitlines() or ["no reason given"]
    return f"asking {constants.ENDPOINT} failed ({type(error).__name__}: {lines[0]})"
