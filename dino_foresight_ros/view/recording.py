"""Where what is shown goes: to the page's server, to a file, or to both."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import ForesightError, InputError
from dino_foresight_ros.media.bag_writer import check_file
from dino_foresight_ros.view import sdk
from dino_foresight_ros.view.layout import Shown, blueprint

APPLICATION = "dino_foresight"
_FLUSH_LIMIT_S = 5.0
_PARTIAL_SUFFIX = ".part"


class Recording:
    """A rerun recording that is written as it comes.

    Attributes:
        stream: rerun's RecordingStream, to log to.
    """

    def __init__(self, data_url: str | None, path: Path | None = None, force: bool = False) -> None:
        """Open it.

        Args:
            data_url: of the page's server, None without a page.
            path: an .rrd file, None for none. Until it is complete it is called .rrd.part.
            force: whether the file may exist, and is replaced.

        Raises:
            InputError: the file exists, or cannot be written.
        """
        rerun = sdk.load()
        self._path = path
        self._partial = path and path.with_name(path.name + _PARTIAL_SUFFIX)
        self.stream = rerun.RecordingStream(APPLICATION, recording_id=uuid.uuid4())
        sinks: list[Any] = [] if data_url is None else [rerun.GrpcSink(data_url)]
        if path is not None and self._partial is not None:
            check_file(path, force)
            _check_writable(self._partial)
            sinks.append(rerun.FileSink(self._partial))
        self.stream.set_sinks(*sinks)

    def lay_out(self, cameras: Sequence[Shown]) -> None:
        """Arrange the viewer for these cameras."""
        self.stream.send_blueprint(blueprint(cameras))

    def close(self) -> None:
        """Write what is left, and give the file its name.

        Raises:
            ForesightError: the file is not complete.
        """
        # A page's server that ended takes no more; the file is what matters now.
        with contextlib.suppress(RuntimeError, ValueError):
            self.stream.flush(timeout_sec=_FLUSH_LIMIT_S)
        self.stream.disconnect()
        if self._path is None or self._partial is None:
            return
        try:
            self._partial.replace(self._path)
        except OSError as error:
            raise ForesightError(f"{self._path} cannot be written: {error.strerror}") from error


def _check_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("wb").close()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
