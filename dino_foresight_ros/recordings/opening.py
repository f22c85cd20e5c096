"""Opens recordings: one to play, or all that several specs name.

Readers are imported where they are used: a node that only decodes pictures starts without them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dino_foresight_ros.errors import ForesightError, InputError, UsageError
from dino_foresight_ros.plugins import installed_datasets, resolve
from dino_foresight_ros.recordings.bad_files import BadFiles
from dino_foresight_ros.recordings.file_kinds import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    check_exists,
    is_bag,
    natural_key,
    unpacked_name,
    without_copies,
)
from dino_foresight_ros.recordings.folder import FolderRecording
from dino_foresight_ros.recordings.part import PartOfRecording
from dino_foresight_ros.recordings.recording import Recording, Warn, Window
from dino_foresight_ros.recordings.spec import (
    KIND_KEYS,
    Part,
    Spec,
    check_keys,
    parse_spec,
    part_of,
)
from dino_foresight_ros.recordings.video import VideoRecording
from dino_foresight_ros.stamps import NS_PER_S

MAX_BAD = 20


def open_recording(
    path: str | Path,
    *,
    topic: str | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    frame_rate_hz: float | None = None,
    on_warning: Warn | None = None,
) -> Recording:
    """Open one video file, folder of pictures, or rosbag2 (folder, .mcap or .db3) to play it.

    Args:
        path: of the input.
        topic: chooses among a bag's image topics.
        start_s, end_s: which part `frames` gives, in seconds from the beginning.
        frame_rate_hz: for folders.
        on_warning: is called with each line of `Recording.warnings` as it comes up.

    Raises:
        InputError: the input cannot be used.
        UsageError: a bad argument.
    """
    path, window = Path(path).expanduser(), Window(start_s, end_s)
    check_exists(path)
    if is_bag(path):
        from dino_foresight_ros.recordings.bag import open_topic

        return open_topic(path, topic, window, on_warning)
    if path.is_dir():
        return FolderRecording(path, "", window, on_warning, frame_rate_hz)
    _refuse_file(path)
    return VideoRecording(path, "", window, on_warning)


def open_recordings(
    specs: Sequence[str],
    on_warning: Warn | None = None,
    max_bad: int = MAX_BAD,
    measures: bool = False,
) -> list[Recording]:
    """Open all the recordings that the texts name, in that order.

    Args:
        specs: each a path or `KIND:PATH?key=value&key=value`, see `spec.parse_spec`. A path may be
            a video, a folder of pictures, a rosbag2, a data set of a known layout, or a folder
            with several of these in it, at any depth.
        on_warning: is called with a line for everything that is left out or assumed.
        measures: of Cityscapes, CamVid and comma10k take val or test, not train, where no split is
            named.
        max_bad: how many damaged or missing files are left out before that is an error.

    Raises:
        InputError: no frames at all, a path that does not exist, too many damaged files.
        UsageError: a text that cannot be understood; says what is valid.
    """
    if not specs:
        raise UsageError("no data is named; give a path or KIND:PATH?key=value")
    warn: Warn = on_warning or (lambda text: None)
    # Told at the end: where nothing is left, the error says it all in one line.
    left_out: list[str] = []
    bad = BadFiles(0, max_bad, left_out.append)
    found: list[Recording] = []
    for text in specs:
        spec = replace(parse_spec(text), measures=measures)
        part, times = part_of(spec), spec.whole("times", 1)
        opened = _parts(_open(spec, warn, bad), part, warn)
        for recording in opened:
            recording.times = times
            for rig in spec.names("rig"):
                recording.set_rig(rig)
        found += opened
    if not found:
        raise InputError(f"nothing to read: {bad.summary()}")
    bad.tell_totals()
    for text in left_out:
        warn(text)
    return _named_apart(_without_repeats(found, warn))


def _open(spec: Spec, warn: Warn, bad: BadFiles) -> list[Recording]:
    if spec.kind == "synthetic":
        from dino_foresight_ros.recordings.synthetic import open_synthetic

        return open_synthetic(spec)
    check_exists(spec.path)
    if spec.kind == "auto":
        return _open_path(spec, spec.path, warn, bad)
    return _open_kind(spec.kind, spec, spec.path, warn, bad)


def _open_kind(kind: str, spec: Spec, path: Path, warn: Warn, bad: BadFiles) -> list[Recording]:
    spec = replace(spec, kind=kind, path=path)
    check_keys(spec)
    if kind == "camvid":
        from dino_foresight_ros.recordings.camvid import open_camvid

        return open_camvid(spec, warn)
    if kind == "cityscapes":
        from dino_foresight_ros.recordings.cityscapes import open_cityscapes

        return open_cityscapes(spec, warn)
    if kind == "comma10k":
        from dino_foresight_ros.recordings.comma10k import open_comma10k

        return open_comma10k(spec, warn, bad)
    if kind in ("coco", "youtube-vis"):
        from dino_foresight_ros.recordings.coco import open_coco, open_youtube_vis

        return open_coco(spec, warn) if kind == "coco" else open_youtube_vis(spec, warn)
    if kind == "nuscenes":
        from dino_foresight_ros.recordings.nuscenes.recordings import open_nuscenes

        return open_nuscenes(spec, warn, bad)
    if kind == "pixels":
        from dino_foresight_ros.recordings.pixels import open_pixels

        return open_pixels(path)
    if kind not in KIND_KEYS:
        return _open_plugin(kind, spec, warn)
    if kind == "folder":
        return [FolderRecording(path, _name(path), None, warn, spec.number("rate", None))]
    try:
        if kind == "bag":
            from dino_foresight_ros.recordings.bag import open_bag

            return open_bag(path, _name(path), spec.names("topic"), warn)
        video = VideoRecording(path, _name(path), None, warn)
        len(video)  # tells now what is damaged
        return [video]
    except OSError as error:
        bad.add(str(path), f"{path} cannot be read: {error.strerror or error}")
    except InputError as error:
        if spec.names("topic"):
            raise
        bad.add(str(path), str(error))
    return []


def _open_plugin(kind: str, spec: Spec, warn: Warn) -> list[Recording]:
    try:
        open_them = resolve(installed_datasets()[kind].open)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{spec.text}: its reader cannot be loaded: {error}") from error
    found: list[Recording] = open_them(spec, warn)
    return found


def _name(path: Path) -> str:
    return path.resolve().name or "root"


def _open_path(spec: Spec, path: Path, warn: Warn, bad: BadFiles) -> list[Recording]:
    """Tell by its looks what a path is."""
    if path.is_file():
        _refuse_file(path)
        return _open_kind("bag" if is_bag(path) else "video", spec, path, warn, bad)
    data_set = _data_set(path)
    if data_set:
        return _open_kind(data_set, spec, path, warn, bad)
    if (path / "metadata.yaml").is_file():
        return _open_kind("bag", spec, path, warn, bad)
    return _open_several(spec, path, warn, bad)


def _data_set(folder: Path) -> str | None:
    """The data set whose layout a folder has."""
    from dino_foresight_ros.recordings.camvid import is_camvid
    from dino_foresight_ros.recordings.cityscapes import is_cityscapes
    from dino_foresight_ros.recordings.comma10k import is_comma10k
    from dino_foresight_ros.recordings.nuscenes.recordings import is_nuscenes

    layouts = {
        "nuscenes": is_nuscenes,
        "cityscapes": is_cityscapes,
        "camvid": is_camvid,
        "comma10k": is_comma10k,
    }
    for kind, plugin in installed_datasets().items():
        if plugin.matches is not None and kind not in layouts:
            layouts[kind] = resolve(plugin.matches)
    return next((kind for kind, matches in layouts.items() if matches(folder)), None)


def _refuse_file(path: Path) -> None:
    if path.suffix.lower() == ".bag":
        raise InputError(f"{path} is a ROS 1 bag; convert it first with rosbags-convert")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise InputError(f"{path} is a single picture; give a folder of them, a video or a bag")


def _open_several(spec: Spec, path: Path, warn: Warn, bad: BadFiles) -> list[Recording]:
    """Open what a folder holds: pictures of its own, videos, bags and folders of these."""
    try:
        entries = sorted(path.iterdir(), key=lambda entry: natural_key(entry.name))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    entries = [entry for entry in entries if not entry.name.startswith(".")]
    found: list[Recording] = []
    before = len(bad)
    if any(entry.suffix.lower() in IMAGE_SUFFIXES and entry.is_file() for entry in entries):
        found += _open_kind("folder", spec, path, warn, bad)
    bags = without_copies(entry for entry in entries if entry.is_file())
    if _are_splits(bags):
        found += _open_kind("bag", spec, path, warn, bad)
        bags = []
    for entry in entries:
        if entry in bags or (entry.is_file() and entry.suffix.lower() in VIDEO_SUFFIXES):
            found += _open_path(spec, entry, warn, bad)
        elif entry.is_dir():
            found += _open_below(spec, entry, warn, bad)
    if not found and len(bad) == before:
        names = ", ".join(entry.name for entry in entries[:5]) or "nothing"
        raise InputError(
            f"{path} holds no video, pictures, rosbag2 or known data set; it holds {names}"
        )
    return found


def _open_below(spec: Spec, path: Path, warn: Warn, bad: BadFiles) -> list[Recording]:
    """Open a folder inside a folder, which need not hold anything of use."""
    try:
        return _open_path(spec, path, warn, bad)
    except UsageError:
        raise
    except ForesightError as error:
        if len(bad) > bad.limit:
            raise
        warn(f"left out: {error}")
        return []


def _are_splits(bags: list[Path]) -> bool:
    """Tell whether storage files without metadata.yaml are one bag: NAME_0, NAME_1, ..."""
    stems = [Path(unpacked_name(bag)).stem.rpartition("_") for bag in bags]
    numbers = {number for _, _, number in stems}
    is_one = len({stem for stem, _, _ in stems}) == 1
    return len(bags) > 1 and is_one and numbers == {str(i) for i in range(len(bags))}


def _parts(recordings: list[Recording], part: Part, warn: Warn) -> list[Recording]:
    if part == Part():
        return recordings
    found = [cut for recording in recordings if (cut := _cut(recording, part, warn)) is not None]
    if recordings and not found:
        names = ", ".join(recording.name for recording in recordings[:5])
        raise InputError(f"no frame of {names} lies in the part {part.label[1:]}")
    return found


def _cut(recording: Recording, part: Part, warn: Warn) -> Recording | None:
    """Cut by time from the first frame, or by fractions of the number of frames."""
    if part.is_fraction:
        where = np.arange(len(recording)) / len(recording)
    else:
        where = (recording.stamps_ns - recording.stamps_ns[0]) / NS_PER_S
    chosen = np.flatnonzero((where >= part.low) & (where < part.high))
    if not chosen.size:
        warn(f"{recording.name} left out: no frame lies in the part {part.label[1:]}")
        return None
    return PartOfRecording(recording, chosen, recording.name + part.label)


def _without_repeats(recordings: list[Recording], warn: Warn) -> list[Recording]:
    """Drop what was named twice, told by equal names and fingerprints."""
    names = Counter(recording.name for recording in recordings)
    kept: dict[tuple[str, str], Recording] = {}
    for recording in recordings:
        repeated = names[recording.name] > 1
        key = (recording.name, recording.fingerprint if repeated else "")
        if key in kept:
            warn(f"{recording.name} is named twice; it is read once")
            continue
        kept[key] = recording
    return list(kept.values())


def _named_apart(recordings: list[Recording]) -> list[Recording]:
    """Give recordings of the same name a suffix from their content, not from their order."""
    names = Counter(recording.name for recording in recordings)
    for recording in recordings:
        if names[recording.name] > 1:
            recording.name = f"{recording.name}~{recording.fingerprint[:6]}"
    return recordings
