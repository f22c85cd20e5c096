"""Files of a model hub: downloaded by name, resumed, checked, kept in huggingface_hub's cache.

huggingface_hub decides where things lie (HF_HOME), whom to ask (HF_ENDPOINT) and whether to ask
at all (HF_HUB_OFFLINE). Two things are added to it: a download goes on where an earlier run was
cut off, and what was received is compared with its hash. Both happen before a file enters the
cache, so a file in the cache is whole.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

from dino_foresight_ros.errors import ForesightError, UsageError

_ADDRESS = re.compile(r"hub:(?P<id>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ETAG = re.compile(r"[\w-]+")
_GONE = (EntryNotFoundError, RevisionNotFoundError)


class HubError(ForesightError):
    """A file of a model hub that cannot be had."""


class MissingFileError(HubError):
    """The repository is there and does not hold the file."""


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


@dataclass(frozen=True)
class HubFile:
    """A file of a repository, found but not necessarily downloaded.

    Attributes:
        commit: the commit that the repository's revision stood for when it was asked.
        size: in bytes.
        etag: the hub's hash of the content: sha256 of large files, git's sha1 of small ones.
        path: in the cache, where it is there already.
    """

    repo: HubRepo
    name: str
    commit: str
    size: int
    etag: str = ""
    path: Path | None = None


def find(repo: HubRepo, name: str) -> HubFile:
    """Ask the hub for a file's size and hash; the cache answers for a hub that does not.

    Raises:
        MissingFileError: the repository has no such file or revision.
        HubError: neither the hub nor the cache gives it.
    """
    cached = _cached(repo, name)
    if cached is not None and _COMMIT.fullmatch(repo.revision):
        return cached
    try:
        found = get_hf_file_metadata(hf_hub_url(repo.id, name, revision=repo.revision))
    except Exception as error:  # its HTTP library, whose errors share no base, depends on version
        if cached is not None and not isinstance(error, _GONE):
            return cached
        raise _explained(error, repo, name) from error
    etag, commit, size = found.etag or "", found.commit_hash or "", found.size
    if not _COMMIT.fullmatch(commit) or not _ETAG.fullmatch(etag) or size is None:
        raise HubError(
            f"cannot get {name} of {repo.id}: {constants.ENDPOINT} does not answer as a model hub "
            "does (a login page in between, or a wrong HF_ENDPOINT?)"
        )
    file = HubFile(repo, name, commit, size, etag)
    cached = _cached(replace(repo, revision=commit), name)
    if cached is None or cached.path is None:
        return file
    if cached.size != size:
        cached.path.resolve().unlink(missing_ok=True)
        cached.path.unlink(missing_ok=True)
        return file
    return replace(file, path=cached.path)


def download(files: Iterable[HubFile]) -> list[Path]:
    """Download what the cache lacks.

    Returns:
        The files' places in the cache, in one folder per repository and commit.

    Raises:
        HubError: the disk is too small, the connection broke, or the content is not what the hub
            announced. What had arrived is kept, and the next call goes on from there.
    """
    files = list(files)
    _check_space(files)
    return [_download(file) if file.path is None else file.path for file in files]


def _cached(repo: HubRepo, name: str) -> HubFile | None:
    path = try_to_load_from_cache(repo.id, name, constants.HF_HUB_CACHE, repo.revision)
    if not isinstance(path, str):
        return None
    depth = len(Path(name).parts)
    commit = Path(path).parents[depth - 1].name
    return HubFile(repo, name, commit, Path(path).stat().st_size, path=Path(path))


def _check_space(files: list[HubFile]) -> None:
    """Refuse before the download what would fill the disk at its end."""
    cache = Path(constants.HF_HUB_CACHE)
    present = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    need = 0
    for file in files:
        if file.path is None:
            partial = _partial(file)
            need += file.size - (partial.stat().st_size if partial.is_file() else 0)
    free = shutil.disk_usage(present).free
    if need > free:
        raise HubError(
            f"cannot download {files[0].repo.id}: it needs {readable_size(need)} more in {cache}, "
            f"which has {readable_size(free)} free; set HF_HOME to a folder on a larger disk"
        )


def _blob(file: HubFile) -> Path:
    folder = repo_folder_name(repo_id=file.repo.id, repo_type="model")
    return Path(constants.HF_HUB_CACHE, folder, "blobs", file.etag)


def _partial(file: HubFile) -> Path:
    return _blob(file).with_name(f"{file.etag}.incomplete")


def _download(file: HubFile) -> Path:
    try:
        _complete_blob(file)
        # Finds the blob in place: what it adds is the cache's own bookkeeping around it.
        path = Path(hf_hub_download(file.repo.id, file.name, revision=file.repo.revision))
    except ForesightError:
        raise
    except Exception as error:  # see find
        raise _explained(error, file.repo, file.name) from error
    if file.commit not in path.parts:
        raise HubError(f"{file.repo.id} was changed during the download; run this again")
    return path


def _complete_blob(file: HubFile) -> None:
    """Bring the content into the cache, going on from what an earlier run left."""
    blob, partial = _blob(file), _partial(file)
    locks = Path(constants.HF_HUB_CACHE, ".locks", blob.parents[1].name)
    locks.mkdir(parents=True, exist_ok=True)
    blob.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(locks / f"{file.etag}.lock"):
        if blob.is_file() and blob.stat().st_size == file.size:
            return
        with partial.open("ab") as stream:
            if stream.tell() > file.size:
                stream.truncate(0)
                stream.seek(0)
            # A redirect to another host drops the token on the way.
            http_get(
                hf_hub_url(file.repo.id, file.name, revision=file.commit),
                stream,
                resume_size=stream.tell(),
                headers=build_hf_headers(),
                expected_size=file.size,
                displayed_filename=file.name,
            )
        if not _matches(partial, file.etag):
            partial.unlink()
            raise HubError(
                f"cannot get {file.name} of {file.repo.id}: what arrived does not have the hash "
                f"that the hub announced ({file.etag}) and was removed; run this again"
            )
        partial.replace(blob)


def _matches(path: Path, etag: str) -> bool:
    """Whether a file has the hash that an etag states; true for an etag that states none."""
    if re.fullmatch(r"[0-9a-f]{64}", etag):
        digest = hashlib.sha256()
    elif _COMMIT.fullmatch(etag):
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    else:
        return True
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == etag


def _explained(error: Exception, repo: HubRepo, name: str) -> HubError:
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    kind = HubError
    if isinstance(error, OfflineModeIsEnabled):
        reason = (
            f"offline mode is on (HF_HUB_OFFLINE) and the cache {constants.HF_HUB_CACHE} "
            "does not hold it"
        )
    elif isinstance(error, GatedRepoError):
        reason = "the repository is gated; accept its terms on its page, then run 'hf auth login'"
    elif isinstance(error, RepositoryNotFoundError):
        reason = f"{constants.ENDPOINT} has no such repository (a private one: 'hf auth login')"
    elif isinstance(error, _GONE):
        kind = MissingFileError
        what = "revision" if isinstance(error, RevisionNotFoundError) else "file at revision"
        reason = f"the repository has no such {what} {repo.revision}"
    elif isinstance(error, HfHubHTTPError):
        reason = f"{constants.ENDPOINT} answered {error.response.status_code}"
    elif isinstance(error, OSError) and error.errno == errno.ENOSPC:
        reason = (
            f"the disk of {constants.HF_HUB_CACHE} is full; set HF_HOME to a folder on a larger one"
        )
    elif isinstance(error, OSError) and error.filename is not None:
        reason = f"{error.strerror}: {error.filename}"
    else:
        lines = str(error).splitlines() or ["no reason given"]
        reason = f"asking {constants.ENDPOINT} failed ({type(error).__name__}: {lines[0]})"
    return kind(f"cannot get {name} of {repo.id}: {reason}")


def readable_size(size: int) -> str:
    """A number of bytes as people write it: "1.27 GB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
