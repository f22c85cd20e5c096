"""Writes pixel stores, several recordings at a time; imports no torch unless frames are picked."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import cv2

from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.progress import Progress, warn
from dino_foresight_ros.recordings.opening import open_recordings
from dino_foresight_ros.recordings.part import PartOfRecording
from dino_foresight_ros.recordings.pixels import bytes_needed, write_pixels
from dino_foresight_ros.recordings.recording import LABEL_KINDS, Recording


def keep_pixels(
    data: Sequence[str],
    size: tuple[int, int],
    out: Path,
    jobs: int = 1,
    *,
    stride_s: float | None = None,
    pseudo_labels: str | None = None,
    device: str = "auto",
) -> tuple[int, int]:
    """Write frames and labels of the data into a store.

    Args:
        data: what `open_recordings` understands.
        size: (H, W) pixels.
        out: folder of the store; recordings that are there already stay.
        jobs: processes.
        stride_s: seconds between the frames; all when None.
        pseudo_labels: the bundle whose heads label every picture; the data's own labels when None.
        device: where that bundle runs.

    Returns:
        Numbers of recordings and frames.

    Raises:
        UsageError: jobs below 1, or several with pseudo-labels; a stride that is not positive.
        ForesightError: the disk is too small, or the data cannot be read.
    """
    if jobs < 1:
        raise UsageError(f"jobs is {jobs}; it must be >= 1")
    if pseudo_labels is not None and jobs > 1:
        raise UsageError(f"jobs is {jobs}; pseudo-labels are made in one process")
    recordings = open_recordings(data, on_warning=warn)
    if stride_s is not None:
        recordings = [_thinned(recording, stride_s) for recording in recordings]
    if pseudo_labels is not None:
        recordings = _pseudo_labelled(recordings, pseudo_labels, device, size)
    frames = sum(map(len, recordings))
    needed = bytes_needed(recordings, size, LABEL_KINDS)
    print(f"{len(recordings)} recordings, {frames} frames: {needed / 1e9:.2f} GB at most")
    try:
        out.mkdir(parents=True, exist_ok=True)
        already = sum(file.stat().st_size for file in out.rglob("*.safetensors"))
        free = shutil.disk_usage(out).free
    except OSError as error:
        raise ForesightError(f"{out} cannot be written: {error.strerror}") from error
    if needed - already > free:
        raise ForesightError(
            f"{out} has {free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB are needed; "
            "free some, or choose a smaller size"
        )
    # A function of a room without torch: processes that import it start in a fraction of the time.
    keep = partial(write_pixels, size=size, labels=LABEL_KINDS, store=out)
    with Progress("pixels", "frame", frames) as progress:
        if jobs == 1:
            for recording in recordings:
                keep(recording)
                progress.add(len(recording))
        else:
            for recording in _in_processes(keep, recordings, jobs):
                progress.add(len(recording))
    return len(recordings), frames


def _in_processes(
    keep: Callable[[Recording], object], recordings: Sequence[Recording], jobs: int
) -> Iterator[Recording]:
    """Keep recordings in several processes; yield each that is done, in order.

    Raises:
        ForesightError: a process died, or what `keep` raises.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, cv2.setNumThreads, (1,)) as pool:
        work = [pool.submit(keep, recording) for recording in recordings]
        try:
            for recording, one in zip(recordings, work, strict=True):
                one.result()
                yield recording
        except BrokenProcessPool as error:
            raise ForesightError(
                f"one of {jobs} processes died (killed for memory, most often); run the command "
                "again with fewer --jobs: it goes on where it was"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _thinned(recording: Recording, stride_s: float) -> Recording:
    from .reading import pick_frames  # which brings torch

    chosen = pick_frames(recording.stamps_ns, stride_s)
    return PartOfRecording(recording, chosen, recording.name)


def _pseudo_labelled(
    recordings: Sequence[Recording], bundle: str, device: str, size: tuple[int, int]
) -> list[Recording]:
    from .pseudo_labels import PseudoLabelled, load_teacher

    teacher = load_teacher(bundle, device)
    print(f"pseudo-labels by the heads of bundle {teacher.origin}: {', '.join(teacher.tasks)}")
    for task, why in teacher.left_out.items():
        warn(f"no pseudo-labels for {task}: {why}")
    for recording in recordings:
        if left := teacher.labels(1.0) - teacher.labels(recording.focal):
            warn(
                f"no pseudo-labels of {', '.join(sorted(left))} for {recording.name}: the bundle's "
                "head needs the camera's focal length, which is not known"
            )
    return [PseudoLabelled(recording, teacher, size) for recording in recordings]
