"""Open every kind of data by the text that names it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.media.opening import check_exists, is_bag

from .recording import NS_PER_S, PartOfRecording, Recording
from .spec import Part, Spec, parse_spec, part_of


def open_recordings(
    specs: Sequence[str],
    on_warning: Callable[[str], None] | None = None,
    max_bad: int = 20,
) -> list[Recording]:
    """Open all the recordings that the texts name."""
    found: list[Recording] = []
    for text in specs:
        spec = parse_spec(text)
        part = part_of(spec)
        found += [_cut(recording, part) for recording in _open(spec, on_warning)]
    return found


def _open(spec: Spec, on_warning: Callable[[str], None] | None) -> list[Recording]:
    if spec.kind == "synthetic":
        return _open_synthetic(spec)
    check_exists(spec.path)
    kind, path = spec.kind, spec.path
    if kind == "auto":
        kind = "bag" if is_bag(path) else "folder" if path.is_dir() else "video"
    if kind == "bag":
        from .bags import open_bag

        return open_bag(path, path.name, spec.names("topic"), on_warning)
    if kind == "folder":
        from .folder import open_folder

        return open_folder(path, path.name, spec.number("rate", None), on_warning)
    if kind == "video":
        from .video import open_video

        return open_video(path, path.name)
    raise UsageError(f"{spec.text}: {kind} cannot be read yet")


def _open_synthetic(spec: Spec) -> list[Recording]:
    from dino_foresight_ros.synthetic import WorldConfig

    from .synthetic import SyntheticRecording

    interval_s = spec.number("interval", 0.1) or 0.1
    height, _, width = spec.options.get("size", "180x320").partition("x")
    low, _, high = spec.options.get("seeds", "0").partition("-")
    frames = spec.whole("frames", 50)
    return [
        SyntheticRecording(
            WorldConfig(seed, int(width), int(height), 1.0 / interval_s), frames, interval_s
        )
        for seed in range(int(low), int(high or low) + 1)
    ]


def _cut(recording: Recording, part: Part) -> Recording:
    if part == Part():
        return recording
    since_s = (recording.stamps_ns - recording.stamps_ns[0]) / NS_PER_S
    if part.is_share:
        order = np.arange(len(recording)) / len(recording)
        chosen = np.flatnonzero((order >= part.low) & (order < part.high))
    else:
        chosen = np.flatnonzero((since_s >= part.low) & (since_s < part.high))
    return PartOfRecording(recording, chosen, recording.name + part.label)
