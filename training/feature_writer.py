"""Encode recordings once and keep the features: resumable, over several processes, deduplicated."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from dino_foresight_ros.errors import ForesightError, InputError
from dino_foresight_ros.files import check_replaceable, write_whole
from dino_foresight_ros.model.encoder import Encoder
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.progress import Progress, warn
from dino_foresight_ros.recordings import BadFiles, open_recordings

from .encoder_loading import encoder_origin
from .feature_plan import (
    Plan,
    Shard,
    about_recording,
    free_bytes,
    gigabytes,
    plan_store,
    recording_folder,
)
from .feature_store import MANIFEST, RECORDING, info_to_dict, is_store, read_yaml
from .model_parts import load_pca
from .reading import Chunk, cut, encode_ahead
from .recipes import FeatureRecipe

_WAITING = 2
"""Shards that may wait to be written while the encoder goes on."""


def make_features(
    out: Path, data: Sequence[str], encoder: Encoder, pca: str | None, recipe: FeatureRecipe
) -> None:
    """Encode what is missing of recordings in a store, and tell how far it is.

    Args:
        out: folder of the store.
        data: what `open_recordings` understands.
        encoder: on its device.
        pca: folder of a PCA, whose channels are kept; None keeps raw features.
        recipe: how.

    Raises:
        ForesightError: as `plan_store` and `write_features`.
    """
    recordings = open_recordings(data, warn)
    fitted = None
    if pca is not None:
        module, part = load_pca(pca)
        part.check_made_with("encoder", encoder_origin(encoder))
        fitted = (module.to(next(encoder.parameters()).device), part.origin)
    plan = plan_store(recordings, encoder, fitted, recipe, out)
    print(plan.size(), flush=True)
    if recipe.rank == 0 and (warning := plan.warning()) is not None:
        warn(warning)
    bad = BadFiles(plan.frames, on_warning=warn)
    with Progress("features", "frame") as progress:
        missing = write_features(plan, encoder, fitted and fitted[0], recipe, bad, progress.show)
    which = f"rank {recipe.rank} of {recipe.world}: " if recipe.world > 1 else ""
    if missing:
        print(f"{which}done; {missing} shards of other processes are missing in {out}")
    else:
        print(f"{which}{out} is complete")


@torch.inference_mode()
def write_features(
    plan: Plan,
    encoder: Encoder,
    pca: PCA | IdentityPCA | None,
    recipe: FeatureRecipe,
    bad: BadFiles,
    on_frames: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Encode what is missing of this process's share.

    Args:
        plan: from `plan_store`.
        encoder, pca: as it was made with, on their device.
        recipe: likewise.
        bad: counts unreadable frames, which are left out.
        on_frames: called with frames done and in all, of this process's share.

    Returns:
        How many shards of all are still missing: other processes' work.

    Raises:
        ForesightError: the disk is or gets full, or the folder cannot be written; what is
            written stays, and the same call goes on from there.
        InputError: too many unreadable frames, or features that float16 cannot hold.
    """
    free = free_bytes(plan.out)
    needed = plan.missing_frames * plan.info.frame_bytes
    if needed > free:
        raise ForesightError(
            f"{plan.out} has {gigabytes(free)} free, the features need {gigabytes(needed)}; free "
            "some, or take fewer frames (--stride-s) or channels"
        )
    _prepare(plan)
    mine = [
        shard
        for number, shard in enumerate(plan.shards)
        if number % recipe.world == recipe.rank and not shard.path.exists()
    ]
    chunks: list[Chunk] = []
    ends: dict[int, Shard] = {}
    for shard in mine:
        chunks += cut(shard.recording, shard.frames, recipe.batch)
        ends[len(chunks) - 1] = shard
    total, done = sum(len(shard.frames) for shard in mine), 0
    writer = _Writer()
    features: list[Tensor] = []
    frames: list[NDArray[np.int64]] = []
    try:
        for encoded in encode_ahead(encoder, plan.recordings, chunks, bad, recipe.workers):
            if len(encoded.frames):
                z = encoded.features if pca is None else pca.transform(encoded.features)
                features.append(z.half().cpu())
                frames.append(encoded.frames)
            done += len(chunks[encoded.chunk].frames)
            if encoded.chunk in ends:
                shard = ends[encoded.chunk]
                writer.put(shard.path, _tensors(plan, shard, features, frames))
                features, frames = [], []
            on_frames(done, total)
    finally:
        writer.close()
    return sum(not shard.path.exists() for shard in plan.shards)


def _tensors(
    plan: Plan, shard: Shard, features: list[Tensor], frames: list[NDArray[np.int64]]
) -> dict[str, Tensor]:
    recording = plan.recordings[shard.recording]
    empty = torch.empty((0, *plan.info.grid, plan.info.channels), dtype=torch.float16)
    whole = torch.cat([empty, *features])
    if not bool(torch.isfinite(whole).all()):
        raise InputError(
            f"{recording.name}: the features of its frames {shard.frames[0]} to "
            f"{shard.frames[-1]} do not fit into float16; check the encoder and the PCA"
        )
    indices = np.concatenate([np.empty(0, np.int64), *frames])
    ego = {} if recording.ego is None else recording.ego.at(indices).arrays()
    return {
        **{name: torch.from_numpy(np.ascontiguousarray(rows)) for name, rows in ego.items()},
        "features": whole,
        "frames": torch.from_numpy(indices),
        "stamps_ns": torch.from_numpy(recording.stamps_ns[indices]),
    }


class _Writer:
    """Writes shards in a thread, so that the encoder does not wait for the disk."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._waiting: list[Future[None]] = []

    def put(self, path: Path, tensors: dict[str, Tensor]) -> None:
        """Hand over a shard; raises what an earlier one failed with."""
        self._waiting.append(self._pool.submit(write_shard, path, tensors))
        while len(self._waiting) > _WAITING or (self._waiting and self._waiting[0].done()):
            self._waiting.pop(0).result()

    def close(self) -> None:
        """Finish what waits, and raise the first failure."""
        self._pool.shutdown()
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.result()


def write_shard(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a shard whole or not at all; leave it to another process that is just writing it.

    Raises:
        ForesightError: the disk is full, or the folder cannot be written.
    """
    scratch = path.with_suffix(".part")
    content = save(tensors)
    try:
        # Not truncated when it is opened: another process may be writing it.
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT, 0o644), "wb") as file:
            if not _is_ours(file, scratch):
                return
            try:
                file.truncate(0)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.replace(scratch, path)
            except OSError:
                scratch.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ForesightError(
            f"{path} cannot be written: {error.strerror or error}; what is finished stays: make "
            "room and run the same command again to go on"
        ) from error


def _is_ours(file: IO[bytes], scratch: Path) -> bool:
    """Take the lock of a file that is being written; False where another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    try:
        # Finished and renamed by another process between our opening and locking it.
        return os.stat(scratch).st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def remove_store(out: Path) -> None:
    """Remove a store, and nothing else.

    Raises:
        ForesightError: the folder is none, or it cannot be removed.
    """
    if out.exists() and not is_store(out):
        raise ForesightError(f"{out} holds no features, so --force does not remove it")
    check_replaceable(out, (MANIFEST, f".{MANIFEST}.*", "recordings"))
    try:
        shutil.rmtree(out, ignore_errors=not out.exists())
    except OSError as error:
        raise ForesightError(f"{out} cannot be removed: {error}") from error


def _prepare(plan: Plan) -> None:
    """Write the manifests; other processes write the same."""
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
        if not is_store(plan.out):
            _write_yaml(plan.out / MANIFEST, info_to_dict(plan.info))
        for number, recording in enumerate(plan.recordings):
            folder = recording_folder(plan.out, recording)
            folder.mkdir(parents=True, exist_ok=True)
            shards = sum(shard.recording == number for shard in plan.shards)
            about = {**about_recording(recording), "shards": shards}
            if not (folder / RECORDING).exists() or read_yaml(folder / RECORDING) != about:
                _write_yaml(folder / RECORDING, about)
    except OSError as error:
        raise ForesightError(f"{plan.out} cannot be written: {error.strerror or error}") from error


def _write_yaml(path: Path, values: dict[str, object]) -> None:
    write_whole(path, yaml.safe_dump(values, sort_keys=False, default_flow_style=None))
