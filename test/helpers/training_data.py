"""Recordings and parts small enough that a stage of training takes seconds."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from forked import ForkedProcess
from micro_bundle import make_micro_bundle

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.cli.main import main
from dino_foresight_ros.recordings import Frame, Recording
from dino_foresight_ros.recordings.label_tables import WORLD_SPACE
from dino_foresight_ros.recordings.pixels import write_pixels
from dino_foresight_ros.training import feature_writer

DATA = "synthetic:?seeds={seeds}&frames={frames}&size=56x84"
LABELS = ("segmentation", "depth", "normals")


def synthetic(seeds: str = "0", frames: int = 6) -> str:
    """Name synthetic recordings of the micro bundle's size."""
    return DATA.format(seeds=seeds, frames=frames)


class PaintedDrive(Recording):
    """A strip of sky, things and road that passes by: labels of all kinds at no cost."""

    kind = "painted"

    def __init__(
        self,
        seed: int,
        frames: int,
        size: tuple[int, int],
        interval_s: float = 0.1,
        without_depth: Collection[int] = (),
    ) -> None:
        every = np.arange(frames, dtype=np.int64)
        stamps_ns = np.round(every * interval_s * 1e9).astype(np.int64)
        with_depth = np.setdiff1d(every, np.array(list(without_depth), np.int64))
        super().__init__(
            f"painted-{seed}",
            stamps_ns,
            size,
            label_space=WORLD_SPACE,
            labelled={**dict.fromkeys(LABELS, every), "depth": with_depth},
            scene=f"painted {seed}",
        )
        (height, width), random = size, np.random.default_rng(seed)
        top, bottom, length = height // 3, height * 2 // 3, 4 * width
        things = [CLASS_IDS[name] for name in ("building", "vegetation", "car", "pedestrian")]
        block = np.arange(length) // (width // 6)
        count = block[-1] + 1
        ids = np.full((height, length), CLASS_IDS["sky"], np.uint8)
        ids[top:bottom] = random.choice(things, count)[block]
        ids[bottom:] = CLASS_IDS["road"]
        depth = np.full((height, length), np.nan, np.float32)
        depth[top:bottom] = random.uniform(5, 40, count)[block]
        depth[bottom:] = (1.5 * width / np.arange(bottom - top // 2, height - top // 2))[:, None]
        normals = np.full((height, length, 3), np.nan, np.float32)
        normals[top:bottom], normals[bottom:] = (0, 0, -1), (0, -1, 0)
        noise = random.integers(-20, 21, (height, length, 3))
        image = np.clip(np.array(WORLD_SPACE.palette)[ids] + noise, 0, 255).astype(np.uint8)
        self._strips = {
            "image": image, "segmentation": ids, "depth": depth, "normals": normals,
        }  # fmt: skip

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        first = 3 * index
        shown = {
            name: np.roll(self._strips[name], -first, axis=1)[:, : self.size[1]].copy()
            for name in ("image", *labels)
        }
        return Frame(int(self.stamps_ns[index]), index=index, **shown)

    def _fingerprint_parts(self) -> Iterable[str]:
        yield self.name


def keep_painted(
    folder: Path,
    seeds: Iterable[int],
    frames: int,
    size: tuple[int, int] = (56, 84),
    interval_s: float = 0.1,
) -> str:
    """Write painted drives as a store of pixels; return what names it."""
    for seed in seeds:
        drive = PaintedDrive(seed, frames, size, interval_s)
        write_pixels(drive, size, LABELS, folder)
    return f"pixels:{folder}"


def write_micro_bundle(folder: Path) -> Path:
    """Write the micro bundle."""
    return make_micro_bundle().save(folder)


def foresight(
    log: Path, *arguments: object, limit_bytes: int = -1, most_shards: int = -1
) -> ForkedProcess:
    """Start the command line in a process of its own.

    Args:
        log: takes what it prints.
        arguments: its words.
        limit_bytes: its files can grow no further; -1 sets no limit.
        most_shards: after so many shards of features it stands still for ever, in the midst of the
            next one; -1 sets no limit.
    """
    words = [str(limit_bytes), str(most_shards), *map(str, arguments)]
    return ForkedProcess(_limited, words, os.environ, log)


def _limited(words: Sequence[str]) -> int:
    os.setsid()
    torch.set_num_threads(1)  # more only wait for one another: the work is tiny
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(words[0]), -1))
    if int(words[1]) >= 0:
        _stand_still_after(int(words[1]))
    return main(words[2:])


def _stand_still_after(most_shards: int) -> None:
    replace, left = feature_writer.os.replace, iter(range(most_shards))

    def replace_or_wait(scratch: Path, path: Path) -> None:
        while path.suffix == ".safetensors" and next(left, None) is None:
            time.sleep(60)
        replace(scratch, path)

    feature_writer.os = SimpleNamespace(**vars(os) | {"replace": replace_or_wait})


def kill(process: ForkedProcess) -> None:
    """Kill a process and its workers with SIGKILL."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
