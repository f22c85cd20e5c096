"""What there is to do before features of recordings lie on disk."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model.encoder import Encoder
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.recordings.part import PartOfRecording
from dino_foresight_ros.stamps import NS_PER_S

from .encoder_loading import encoder_origin
from .feature_store import RECORDING, StoreInfo, is_store, read_info, read_yaml, shard_name
from .parts import Origin
from .reading import cut, pick_frames
from .recipes import FeatureRecipe


class Shard(NamedTuple):
    """Some frames of a recording, and the file that their features go to."""

    path: Path
    recording: int
    frames: NDArray[np.int64]


class Overlap(NamedTuple):
    """Two parts of one recording, by name, and how many seconds are in both."""

    first: str
    second: str
    shared_s: float


@dataclass(frozen=True)
class Plan:
    """What there is to do.

    Attributes:
        info: what the features are.
        shards: of all recordings; all processes see the same.
        frames, missing_frames: in all, and those whose shards are not there yet.
        duplicates: recordings that were given twice.
        overlaps: names of parts that show the same seconds of one recording, two by two; those
            that the store holds already included.
    """

    info: StoreInfo
    out: Path
    recordings: tuple[Recording, ...]
    shards: tuple[Shard, ...]
    frames: int
    missing_frames: int
    duplicates: int
    overlaps: tuple[Overlap, ...] = ()

    def size(self) -> str:
        """One line: how much it is, and how much is there."""
        info = self.info
        done = self.frames - self.missing_frames
        return (
            f"{len(self.recordings)} recordings, {self.frames:,} frames x "
            f"{info.grid[0]}x{info.grid[1]} patches x {info.channels} channels in float16: "
            f"{gigabytes(self.frames * info.frame_bytes)}"
            + (f", of which {gigabytes(done * info.frame_bytes)} are there" if done else "")
            + f"; {gigabytes(free_bytes(self.out))} free at {self.out}"
            + (f"; {self.duplicates} recordings are given twice" if self.duplicates else "")
        )

    def warning(self) -> str | None:
        """One line about parts that overlap; None where none do."""
        if not self.overlaps:
            return None
        first, second, shared_s = self.overlaps[0]
        more = f", and {len(self.overlaps) - 1} more such pairs" if self.overlaps[1:] else ""
        return (
            f"{first} and {second} share {shared_s:.1f} s of one recording{more}: its frames occur "
            "twice in training, and may be validated on as well; keep parts apart, such as with "
            "part=0-0.7 and part=0.7-1"
        )


def plan_store(
    recordings: Sequence[Recording],
    encoder: Encoder,
    pca: tuple[PCA | IdentityPCA, Origin] | None,
    recipe: FeatureRecipe,
    out: Path,
) -> Plan:
    """See what there is to do, and refuse what cannot be done.

    Raises:
        InputError: no frames; `out` holds something else, features of another encoder or PCA, or
            a recording of the same name and other content.
    """
    channels = encoder.feature_size if pca is None else pca[0].channels
    grid = encoder.config.grid
    frame_bytes = grid[0] * grid[1] * channels * 2
    info = StoreInfo(
        kind="raw" if pca is None else "pca",
        encoder=encoder_origin(encoder),
        pca=None if pca is None else pca[1],
        grid=grid,
        channels=channels,
        image_size=encoder.config.image_size,
        stride_s=recipe.stride_s,
        shard_frames=max(1, min(4096, int(recipe.shard_mb * 2**20) // frame_bytes)),
    )
    if is_store(out):
        found = read_info(out)
        found.check_continues(out, info)
        info = found
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and holds no features; choose another --out")
    unique = tuple({recording.fingerprint: recording for recording in recordings}.values())
    shards: list[Shard] = []
    for number, recording in enumerate(unique):
        folder = recording_folder(out, recording)
        frames = pick_frames(recording.stamps_ns, recipe.stride_s)
        pieces = cut(number, frames, info.shard_frames)
        shards += [
            Shard(folder / shard_name(i), number, piece.frames) for i, piece in enumerate(pieces)
        ]
    manifests = [read_yaml(path) for path in sorted(out.glob(f"recordings/*/{RECORDING}"))]
    _check_names(out, unique, manifests)
    if not shards:
        raise InputError("there are no frames to encode")
    return Plan(
        info=info,
        out=out,
        recordings=unique,
        shards=tuple(shards),
        frames=sum(len(shard.frames) for shard in shards),
        missing_frames=sum(len(s.frames) for s in shards if not s.path.exists()),
        duplicates=len(recordings) - len(unique),
        overlaps=_overlaps([*manifests, *map(about_recording, unique)]),
    )


def about_recording(recording: Recording) -> dict[str, Any]:
    """What a store keeps of a recording: what it is, and which part of which whole."""
    whole = recording.whole if isinstance(recording, PartOfRecording) else recording
    mount = recording.base_from_optical
    return {
        "name": recording.name,
        "fingerprint": recording.fingerprint,
        "times": recording.times,
        "whole": whole.fingerprint,
        "scene": recording.scene,
        "span_ns": [int(recording.stamps_ns[0]), int(recording.stamps_ns[-1])],
        **({"base_from_optical": np.asarray(mount).tolist()} if mount is not None else {}),
    }


def _overlaps(recordings: Sequence[Mapping[str, Any]]) -> tuple[Overlap, ...]:
    """Find parts of one recording that share a moment, each with the one that reaches furthest.

    Args:
        recordings: as `about_recording` gives; those without "whole" are passed over.
    """
    found = []
    for parts in _spans(recordings, "whole").values():
        reach, *others = parts
        for part in others:
            if part[0] <= reach[1]:
                shared_s = (min(part[1], reach[1]) - part[0]) / NS_PER_S
                found.append(Overlap(reach[2], part[2], shared_s))
            reach = max(reach, part, key=lambda one: one[1])
    return tuple(found)


def overlaps_between(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]
) -> tuple[Overlap, ...]:
    """Find recordings, one of each side, that share a moment of one recording or of one scene.

    Args:
        first, second: recordings as `about_recording` gives them; those without "whole" or
            "scene", of stores made before these were kept, are passed over.
    """
    found: dict[tuple[str, str], Overlap] = {}
    for key in ("whole", "scene"):
        theirs = _spans(second, key)
        for of, parts in _spans(first, key).items():
            for a in parts:
                for b in theirs.get(of, []):
                    if a[0] <= b[1] and b[0] <= a[1]:
                        shared_s = (min(a[1], b[1]) - max(a[0], b[0])) / NS_PER_S
                        found.setdefault((a[2], b[2]), Overlap(a[2], b[2], shared_s))
    return tuple(found.values())


def _spans(
    recordings: Sequence[Mapping[str, Any]], key: str
) -> dict[str, list[tuple[int, int, str]]]:
    """Whole recording or scene -> (first stamp, last stamp, name) of each of it, in order."""
    found: dict[str, dict[str, tuple[int, int, str]]] = {}
    for about in recordings:
        match about:
            case {"name": str(name), "fingerprint": str(fingerprint),
                  "span_ns": [int(low), int(high)]} if isinstance(about.get(key), str):  # fmt: skip
                found.setdefault(about[key], {})[fingerprint] = low, high, name
    return {of: sorted(parts.values()) for of, parts in found.items()}


def _check_names(
    out: Path, recordings: Sequence[Recording], manifests: Sequence[Mapping[str, Any]]
) -> None:
    """Refuse a recording that is there under the same name with other content."""
    known = {manifest.get("name"): manifest.get("fingerprint") for manifest in manifests}
    for recording in recordings:
        if known.get(recording.name, recording.fingerprint) != recording.fingerprint:
            raise InputError(
                f"{out} has features of {recording.name} as it was before it changed, or of "
                "another part of it; choose another --out, or add --force to begin anew"
            )


def recording_folder(out: Path, recording: Recording) -> Path:
    """Where a recording's shards lie."""
    name = "".join(c if c.isalnum() or c in "-_.@" else "_" for c in recording.name)
    return out / "recordings" / f"{name[:80]}-{recording.fingerprint[:12]}"


def free_bytes(path: Path) -> int:
    """Free bytes of the disk that a folder lies on, or will."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def gigabytes(count: int) -> str:
    """A size for people."""
    return f"{count / 1e9:,.2f} GB" if count >= 5e6 else f"{count / 1e6:,.2f} MB"
