"""Tell what an input is and open it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag_salvage import BAG_SUFFIXES
from dino_foresight_ros.recordings.folder import FolderSource
from dino_foresight_ros.recordings.images import IMAGE_SUFFIXES
from dino_foresight_ros.recordings.source import Source, Window
from dino_foresight_ros.recordings.video import VideoSource


def is_bag(path: Path) -> bool:
    """Tell whether a path is a rosbag2: a folder of one, or a storage file."""
    if path.is_dir():
        return (path / "metadata.yaml").exists() or any(
            entry.suffix in BAG_SUFFIXES for entry in path.iterdir()
        )
    return path.suffix in BAG_SUFFIXES


def check_exists(path: Path) -> None:
    """Raise InputError unless the path exists, is readable and is not empty."""
    try:
        if not path.exists():
            raise InputError(f"{path} does not exist; give a video, a folder of pictures or a bag")
        if path.is_dir():
            next(path.iterdir(), None)
            return
        if not path.is_file():
            raise InputError(f"{path} is neither a file nor a folder")
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path} is empty (0 bytes)")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def open_source(
    path: str | Path,
    *,
    topic: str | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
    frame_rate_hz: float | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Source:
    """Open a video file, a folder of pictures, or a rosbag2 (folder, .mcap or .db3).

    `topic` chooses among a bag's image topics; `start_s` and `end_s` cut out a part, in seconds
    from the beginning; `frame_rate_hz` is for folders. `on_warning` is called with each line of
    `Source.warnings` as it comes up. Raises InputError when the input cannot be used, UsageError
    for a bad argument.
    """
    path = Path(path).expanduser()
    window = Window(start_s, end_s)
    check_exists(path)
    if is_bag(path):
        from dino_foresight_ros.recordings.bag import BagSource

        return BagSource(path, window, on_warning, topic)
    if path.is_dir():
        return FolderSource(path, window, on_warning, frame_rate_hz)
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        raise InputError(f"{path} is a single picture; give a folder of them, a video or a bag")
    if suffix == ".bag":
        raise InputError(f"{path} is a ROS 1 bag; convert it first with rosbags-convert")
    return VideoSource(path, window, on_warning)
