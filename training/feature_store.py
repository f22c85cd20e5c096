"""Features of recordings on disk, encoded once: reading them back, in any order, quickly.

A store is a folder:

    store.yaml                          what the features are: encoder, PCA, patch grid, ...
    recordings/NAME-PRINT/recording.yaml
    recordings/NAME-PRINT/features-00000.safetensors, ...

A shard holds `features` (n, h, w, C) float16, `stamps_ns` (n,) int64 and `frames` (n,) int64, the
indices of the frames in their recording; and `ego_poses` (n, 4, 4) and `ego_signals` (n, 3)
float64 where the vehicle's motion is known. Shards appear whole or not at all, so what is there is
done, whoever wrote it and however it ended.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.motion import EGO_ARRAYS, EgoMotion

from .parts import Origin

MANIFEST = "store.yaml"
RECORDING = "recording.yaml"
SCHEMA = 1
_OPEN_SHARDS = 512

_opened: OrderedDict[Path, NDArray[np.float16]] = OrderedDict()


@dataclass(frozen=True)
class StoreInfo:
    """What the features of a store are.

    Attributes:
        kind: "pca" or "raw".
        encoder: that gave them.
        pca: that compressed them; None for raw ones.
        grid: (h, w) rows and columns of patches.
        channels: C values per patch.
        image_size: (H, W) pixels that frames were resized to.
        stride_s: seconds between the frames that were taken; None: every frame.
        shard_frames: frames per shard, the last one of a recording aside.
    """

    kind: str
    encoder: Origin
    pca: Origin | None
    grid: tuple[int, int]
    channels: int
    image_size: tuple[int, int]
    stride_s: float | None
    shard_frames: int

    @property
    def frame_bytes(self) -> int:
        """Bytes that a frame's features take."""
        return self.grid[0] * self.grid[1] * self.channels * 2

    def check_made_with(self, where: Path, encoder: Origin | None, pca: Origin | None) -> None:
        """Refuse another encoder, or another PCA on features that are compressed already.

        Raises:
            InputError: with both names.
        """
        pairs = (("encoder", self.encoder, encoder), ("PCA", self.pca, pca))
        for what, ours, given in pairs:
            if ours is None or given is None or ours.fingerprint == given.fingerprint:
                continue
            raise InputError(
                f"the features in {where} were made with the {what} {ours}, not with {given}; "
                f"give that {what}, or make features with this one in another folder"
            )

    def check_continues(self, where: Path, wanted: StoreInfo) -> None:
        """Refuse to add features of another kind to a store.

        Raises:
            InputError: naming what differs, both values.
        """
        if (self.pca is None) != (wanted.pca is None):
            raise InputError(
                f"{where} holds {_described(self)}, not {_described(wanted)}; choose another --out"
            )
        self.check_made_with(where, wanted.encoder, wanted.pca)
        for name in ("image_size", "stride_s", "channels", "grid"):
            ours, theirs = getattr(self, name), getattr(wanted, name)
            if ours != theirs:
                raise InputError(
                    f"{where} was made with {name} {_size(ours)}, not {_size(theirs)}; choose "
                    "another --out"
                )


def _size(value: object) -> str:
    """A size as it is given on the command line, HxW; other values as they are."""
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _described(info: StoreInfo) -> str:
    return "raw features" if info.pca is None else f"features of the PCA {info.pca}"


class StoredRecording:
    """The features of one recording; picklable, opens its files where it is read.

    Attributes:
        about: what recording.yaml says.
        name: of the recording.
        fingerprint: of the recording's content.
        stamps_ns: (N,) int64.
        frames: (N,) int64, indices of these frames in the recording.
        ego: the vehicle's motion at these frames; None where it is not known.
        base_from_optical: (4, 4) how the camera was mounted; None where it is not known.
        times, scene: as those of `Recording`; no scene in stores made before it was kept.
    """

    def __init__(self, folder: Path, info: StoreInfo) -> None:
        self.about = about = read_yaml(folder / RECORDING)
        try:
            self.name, self.fingerprint = str(about["name"]), str(about["fingerprint"])
            self.times = int(about.get("times", 1))
            self.scene = str(about.get("scene", ""))
            mount = about.get("base_from_optical")
            self.base_from_optical = (
                None if mount is None else np.array(mount, np.float64).reshape(4, 4)
            )
            shards = [folder / shard_name(i) for i in range(int(about["shards"]))]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{folder / RECORDING} lacks {error}; make it anew") from error
        self.missing = [path for path in shards if not path.is_file()]
        self._frame = (*info.grid, info.channels)
        self._shards = [path for path in shards if path not in self.missing]
        stamps, frames = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        ego: dict[str, list[NDArray[Any]]] = {name: [] for name in EGO_ARRAYS}
        for path in self._shards:
            table, start = _header(path)
            stamps.append(_small(path, table, start, "stamps_ns"))
            frames.append(_small(path, table, start, "frames"))
            for name in EGO_ARRAYS:
                if name in table:
                    ego[name].append(_small(path, table, start, name))
        self.stamps_ns: NDArray[np.int64] = np.concatenate(stamps)
        self.frames: NDArray[np.int64] = np.concatenate(frames)
        self.ego: EgoMotion | None = None
        if self._shards and all(len(parts) == len(self._shards) for parts in ego.values()):
            whole = {name: np.concatenate(parts) for name, parts in ego.items()}
            self.ego = EgoMotion.of_arrays(whole)
        self._starts = np.cumsum([len(part) for part in stamps])[:-1]

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def read(self, indices: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Read frames, in the order of `indices`.

        Args:
            indices: n places in `stamps_ns`.

        Returns:
            (n, h, w, C) float16.

        Raises:
            InputError: a shard is damaged.
            IndexError: there is no such frame.
        """
        wanted = np.asarray(indices, np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self):
            raise IndexError(f"{self.name} has frames 0 to {len(self) - 1}, not {list(indices)}")
        out = np.empty((len(wanted), *self._frame), np.float16)
        owners = np.searchsorted(self._starts, wanted, side="right") - 1
        for place, (owner, index) in enumerate(zip(owners, wanted, strict=True)):
            out[place] = _features(self._shards[owner], self._frame)[index - self._starts[owner]]
        return torch.from_numpy(out)


@dataclass(frozen=True)
class FeatureStore:
    """A finished store.

    Attributes:
        path: its folder.
        info: what its features are.
        recordings: by name.
    """

    path: Path
    info: StoreInfo
    recordings: tuple[StoredRecording, ...]

    @classmethod
    def open(cls, path: str | Path) -> FeatureStore:
        """Open a store.

        Raises:
            InputError: no store, a damaged one, or one that is not finished.
        """
        path = Path(path)
        info = read_info(path)
        folders = sorted(manifest.parent for manifest in path.glob(f"recordings/*/{RECORDING}"))
        recordings = tuple(StoredRecording(folder, info) for folder in folders)
        missing = sum(len(recording.missing) for recording in recordings)
        if missing or not recordings:
            raise InputError(
                f"{path} is not finished: {missing or 'all'} of its shards are missing; run the "
                "same `foresight train features` again, which goes on where it stopped"
            )
        return cls(path, info, recordings)


def is_store(path: Path) -> bool:
    """Whether a folder is a store, finished or not."""
    return (path / MANIFEST).is_file()


def shard_name(number: int) -> str:
    """File name of a recording's shard."""
    return f"features-{number:05d}.safetensors"


def read_info(path: Path) -> StoreInfo:
    """Read store.yaml.

    Raises:
        InputError: it is missing or damaged.
    """
    if not is_store(path):
        raise InputError(f"{path} holds no features; `foresight train features` makes some")
    values = read_yaml(path / MANIFEST)
    try:
        if values.pop("schema") != SCHEMA:
            raise InputError(f"{path / MANIFEST} has another schema than {SCHEMA}; make it anew")
        values.pop("dtype")
        pca = values["pca"]
        info = StoreInfo(**{**values, "encoder": Origin(**values["encoder"])})
        return replace(
            info,
            pca=None if pca is None else Origin(**pca),
            grid=(int(info.grid[0]), int(info.grid[1])),
            image_size=(int(info.image_size[0]), int(info.image_size[1])),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path / MANIFEST} is damaged ({error}); make it anew") from error


def info_to_dict(info: StoreInfo) -> dict[str, Any]:
    """Plain values for store.yaml."""
    values = {"schema": SCHEMA, "dtype": "float16", **asdict(info)}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping.

    Raises:
        InputError: it cannot be read or is none.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read ({reason}); make it anew") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} is no mapping; make it anew")
    return values


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """A safetensors file's table of tensors, and where their bytes start."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            table = json.loads(file.read(length))
            size = path.stat().st_size
        end = max(entry["data_offsets"][1] for name, entry in table.items() if name[0] != "_")
        if size != 8 + length + end:
            raise ValueError(f"{size} bytes, {8 + length + end} expected")
    except (OSError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise InputError(
            f"{path} is damaged ({error}); remove it and run `foresight train features` again"
        ) from error
    return table, 8 + length


def _small(path: Path, table: dict[str, Any], start: int, name: str) -> NDArray[Any]:
    """A tensor of few values, of which `_header` gave the place."""
    begin, end = table[name]["data_offsets"]
    with path.open("rb") as file:
        file.seek(start + begin)
        content = file.read(end - begin)
    values = np.frombuffer(content, {"I64": np.int64, "F64": np.float64}[table[name]["dtype"]])
    return values.reshape(table[name]["shape"])


def _features(path: Path, frame: tuple[int, ...]) -> NDArray[np.float16]:
    """A shard's features, mapped into memory; a few hundred stay mapped per process.

    Mapped by hand: copying a frame of 1.2 MB takes a third of the time of a slice through
    safetensors' own reader.
    """
    mapped = _opened.pop(path, None)
    if mapped is None:
        table, start = _header(path)
        entry = table["features"]
        if entry["dtype"] != "F16" or tuple(entry["shape"][1:]) != frame:
            raise InputError(
                f"{path} holds {entry['dtype']} {entry['shape']}, expected F16 (n, "
                f"{', '.join(map(str, frame))}); remove it and make it anew"
            )
        offset = start + entry["data_offsets"][0]
        mapped = np.memmap(path, np.float16, "r", offset, tuple(entry["shape"]))
    _opened[path] = mapped
    if len(_opened) > _OPEN_SHARDS:
        _opened.popitem(last=False)
    return mapped
