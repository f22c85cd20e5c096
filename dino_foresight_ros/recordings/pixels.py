"""Recordings decoded or rendered once, at a fixed size, and kept for quick random access.

A pixel store is a folder with a folder per recording. In it lie shards of up to 256 frames
(safetensors: `images` (n, H, W, 3) uint8; `segmentation` (n, H, W) uint8, `depth` (n, H, W) float16
(metres, or inverse depth as recording.yaml says), `normals` (n, H, W, 3) int8 in 1/127 and
`instances` (n, H, W) uint16, each only of the frames that have that label; where the vehicle's
motion is known, `ego_poses` (n, 4, 4) and `ego_signals` (n, 3) float64) and, written last,
recording.yaml, which has the camera's intrinsics too. Reading a frame is a slice of a memory-mapped
file.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dino_foresight_ros.errors import ForesightError, InputError
from dino_foresight_ros.files import plain, write_whole
from dino_foresight_ros.outputs import DEPTH, INSTANCES, NORMALS, SEGMENTATION
from dino_foresight_ros.recordings.camera import CameraModel
from dino_foresight_ros.recordings.file_identity import files_identity
from dino_foresight_ros.recordings.motion import EGO_ARRAYS, EgoMotion
from dino_foresight_ros.recordings.recording import (
    LABEL_KINDS,
    Frame,
    LabelSpace,
    Recording,
    UnreadableFrame,
)

MANIFEST = "recording.yaml"
SHARD_FRAMES = 256
_SCHEMA = 1
_BYTES_PER_PIXEL = {SEGMENTATION: 1, DEPTH: 2, NORMALS: 3, INSTANCES: 2}
_MAX_DEPTH_M = 65000.0  # of float16
_NORMAL_SCALE = 127.0
_OPEN_FILES = 64

_opened: OrderedDict[Path, Any] = OrderedDict()


class PixelRecording(Recording):
    """One recording of a pixel store."""

    def __init__(self, folder: Path) -> None:
        manifest = folder / MANIFEST
        try:
            about = yaml.safe_load(manifest.read_text(encoding="utf-8"))
            if about["schema"] != _SCHEMA:
                raise ValueError(f"schema {about['schema']}, expected {_SCHEMA}")
            shards = [folder / _shard_name(i) for i in range(-(-about["frames"] // SHARD_FRAMES))]
            stamps_ns, labelled, self._ego = _read_index(shards)
            space = about["label_space"]
            super().__init__(
                about["name"],
                stamps_ns,
                tuple(about["size"]),
                label_space=None if space is None else _label_space(space),
                labelled=labelled,
                scene=about.get("scene", ""),
            )
            self.labelled_by = str(about.get("labelled_by", ""))
            self.depth_is_metric = bool(about.get("depth_is_metric", True))
            self.depth_is_complete = bool(about.get("depth_is_complete", False))
            self.camera = _camera(about.get("camera"), self.size)
            mount = about.get("base_from_optical")
            self._mount = None if mount is None else np.array(mount, np.float64).reshape(4, 4)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
            raise InputError(
                f"{folder} is damaged ({error}); remove it and make it anew"
            ) from error
        self.folder = folder

    @property
    def ego(self) -> EgoMotion | None:
        """How the vehicle moved, where the recording that was kept told it."""
        return self._ego

    @property
    def base_from_optical(self) -> NDArray[np.float64] | None:
        """How the camera was mounted, where the recording that was kept told it."""
        return self._mount

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        shard, row = divmod(index, SHARD_FRAMES)
        path = self.folder / _shard_name(shard)
        try:
            file = _open(path)
            image = file.get_slice("images")[row : row + 1][0]
            found: dict[str, Any] = {kind: self._label(file, kind, index) for kind in labels}
        except (SafetensorError, OSError) as error:
            raise UnreadableFrame(str(path), index, str(error)) from error
        return Frame(int(self.stamps_ns[index]), image=image, index=index, **found)

    def _label(self, file: Any, kind: str, index: int) -> NDArray[Any] | None:
        frames = self.labelled(kind)
        place = int(np.searchsorted(frames, index))
        if place == len(frames) or frames[place] != index:
            return None
        first = int(np.searchsorted(frames, index - index % SHARD_FRAMES))
        stored = file.get_slice(kind)[place - first : place - first + 1][0]
        if kind == DEPTH:
            return np.asarray(stored, np.float32)
        return _unpack_normals(stored) if kind == NORMALS else np.asarray(stored)

    def _fingerprint_parts(self) -> Iterable[str]:
        yield from files_identity(sorted(self.folder.iterdir()), self.folder)

    def frame_file(self, index: int) -> str:
        """Return the file of a frame, as it is named in messages."""
        return str(self.folder / _shard_name(index // SHARD_FRAMES))


def open_pixels(store: Path) -> list[Recording]:
    """Open every finished recording of a pixel store.

    Raises:
        InputError: no such store, or a damaged recording.
    """
    manifests = sorted(store.glob(f"*/{MANIFEST}"))
    if not manifests:
        raise InputError(f"{store} is no pixel store; `foresight train pixels` makes one")
    return [PixelRecording(manifest.parent) for manifest in manifests]


def write_pixels(
    recording: Recording,
    size: tuple[int, int],
    labels: Collection[str],
    store: Path,
    on_frames: Callable[[int], None] = lambda count: None,
) -> Path:
    """Keep a recording's frames at a size; shards that are there already stay.

    Args:
        recording: what to read.
        size: (H, W) pixels; pictures by area, labels by nearest neighbour.
        labels: kinds to keep, where the recording has them.
        store: folder of the store.
        on_frames: called with the number of frames done since the last call.

    Returns:
        The recording's folder.

    Raises:
        UnreadableFrame: a frame that cannot be read.
        ForesightError: the disk is full, or the folder cannot be written.
    """
    stamp = f"{recording.fingerprint[:8]}-{size[1]}x{size[0]}"
    folder = store / f"{_file_name(recording.name)}-{stamp}"
    if (folder / MANIFEST).exists():
        on_frames(len(recording))
        return folder
    space, mount = recording.label_space, recording.base_from_optical
    about = {
        "schema": _SCHEMA,
        "name": recording.name,
        "frames": len(recording),
        "size": list(size),
        "made_from": recording.fingerprint,
        "scene": recording.scene,
        "label_space": None if space is None else asdict(space),
        "depth_is_metric": recording.depth_is_metric,
        "depth_is_complete": recording.depth_is_complete,
        **({"labelled_by": recording.labelled_by} if recording.labelled_by else {}),
        **({"camera": asdict(recording.camera)} if recording.camera is not None else {}),
        **({"base_from_optical": np.asarray(mount).tolist()} if mount is not None else {}),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(recording), SHARD_FRAMES):
            path = folder / _shard_name(start // SHARD_FRAMES)
            indices = range(start, min(start + SHARD_FRAMES, len(recording)))
            if not path.exists():
                _write_shard(recording, indices, size, labels, path)
            on_frames(len(indices))
        write_whole(folder / MANIFEST, yaml.safe_dump(plain(about), sort_keys=False))
    except UnreadableFrame:
        raise
    except (OSError, SafetensorError) as error:
        raise ForesightError(
            f"{folder} cannot be written: {error}; run again to go on from here"
        ) from error
    return folder


def bytes_needed(
    recordings: Sequence[Recording], size: tuple[int, int], labels: Collection[str]
) -> int:
    """Bytes that a store of these will take."""
    pixels = size[0] * size[1]
    return sum(
        pixels * (3 * len(recording) + sum(_label_bytes(recording, kind) for kind in labels))
        for recording in recordings
    )


def _label_bytes(recording: Recording, kind: str) -> int:
    return _BYTES_PER_PIXEL[kind] * len(recording.labelled(kind))


def _write_shard(
    recording: Recording,
    indices: range,
    size: tuple[int, int],
    labels: Collection[str],
    path: Path,
) -> None:
    tensors: dict[str, list[NDArray[Any]]] = {"images": []}
    rows: dict[str, list[int]] = {}
    for index in indices:
        frame = recording.read([index], labels)[0]
        tensors["images"].append(_resize(frame.image, size, cv2.INTER_AREA))
        for kind in labels:
            value = getattr(frame, kind)
            if value is not None:
                nearest = _resize(value, size, cv2.INTER_NEAREST_EXACT)
                tensors.setdefault(kind, []).append(_pack(kind, nearest))
                rows.setdefault(f"rows_of_{kind}", []).append(index - indices.start)
    arrays = {name: np.stack(values) for name, values in tensors.items()}
    arrays |= {name: np.asarray(values, np.int64) for name, values in rows.items()}
    arrays["stamps_ns"] = recording.stamps_ns[indices.start : indices.stop]
    if recording.ego is not None:
        arrays |= recording.ego.at(np.arange(indices.start, indices.stop)).arrays()
    scratch = path.with_suffix(f".{os.getpid()}.part")
    try:
        save_file(arrays, scratch)
        scratch.rename(path)
    finally:
        scratch.unlink(missing_ok=True)


def _read_index(
    shards: list[Path],
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.int64]], EgoMotion | None]:
    """Stamps of all frames, the frames that have each label, and the vehicle's motion."""
    stamps_ns: list[NDArray[np.int64]] = []
    labelled: dict[str, list[NDArray[np.int64]]] = {}
    ego: dict[str, list[NDArray[np.float64]]] = {name: [] for name in EGO_ARRAYS}
    for number, path in enumerate(shards):
        with safe_open(path, framework="numpy") as file:
            stamps_ns.append(file.get_tensor("stamps_ns"))
            names = set(file.keys())
            for kind in LABEL_KINDS:
                if kind in names:
                    rows = file.get_tensor(f"rows_of_{kind}") + number * SHARD_FRAMES
                    labelled.setdefault(kind, []).append(rows)
            for name in names.intersection(EGO_ARRAYS):
                ego[name].append(file.get_tensor(name))
    whole = {kind: np.concatenate(rows) for kind, rows in labelled.items()}
    if not all(len(parts) == len(shards) for parts in ego.values()):
        return np.concatenate(stamps_ns), whole, None
    motion = EgoMotion.of_arrays({name: np.concatenate(parts) for name, parts in ego.items()})
    return np.concatenate(stamps_ns), whole, motion


def _open(path: Path) -> Any:
    """Keep a few files open per process."""
    file = _opened.pop(path, None)
    if file is None:
        file = safe_open(path, framework="numpy")
    _opened[path] = file
    if len(_opened) > _OPEN_FILES:
        _opened.popitem(last=False)
    return file


def _resize(array: NDArray[Any], size: tuple[int, int], how: int) -> NDArray[Any]:
    if array.shape[:2] == size:
        return array
    return np.asarray(cv2.resize(array, (size[1], size[0]), interpolation=how))


def _pack(kind: str, value: NDArray[Any]) -> NDArray[Any]:
    if kind == DEPTH:
        return np.minimum(value, _MAX_DEPTH_M).astype(np.float16)  # NaN stays NaN
    if kind == NORMALS:  # a unit vector is never 0, so 0 stands for NaN
        return np.round(np.nan_to_num(value, nan=0.0) * _NORMAL_SCALE).astype(np.int8)
    return np.asarray(value, np.uint16 if kind == INSTANCES else np.uint8)


def _unpack_normals(stored: NDArray[np.int8]) -> NDArray[np.float32]:
    normals = stored.astype(np.float32)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    unknown = np.full_like(normals, np.nan)
    return np.divide(normals, length, out=unknown, where=length > 0)


def _shard_name(number: int) -> str:
    return f"frames-{number:05d}.safetensors"


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_.@" else "_" for c in name)


def _camera(values: dict[str, Any] | None, size: tuple[int, int]) -> CameraModel | None:
    """Of pictures of the store's size; None where it was not known."""
    if values is None:
        return None
    numbers = {name: tuple(float(v) for v in values[name]) for name in ("k", "d")}
    return CameraModel(**{**values, **numbers}).resized(*size)


def _label_space(values: dict[str, Any]) -> LabelSpace:
    return LabelSpace(
        tuple(values["class_names"]),
        tuple((int(r), int(g), int(b)) for r, g, b in values["palette"]),
        tuple(values["moving"]),
    )
