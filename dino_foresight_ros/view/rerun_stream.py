"""The rerun recording of what is shown: sent to the page's server, to a file, or to both."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import ForesightError, InputError
from dino_foresight_ros.recordings.bag_writer import check_file
from dino_foresight_ros.view import rerun_sdk
from dino_foresight_ros.view.blueprint import ShownCamera, blueprint

APPLICATION = "dino_foresight"
_FLUSH_LIMIT_S = 5.0
_PARTIAL_SUFFIX = ".part"
# A complete .rrd file ends with this word and a number of 4 bytes.
_FOOTER_WORD, _FOOTER_PLACE = b"FOOT", -8


class RerunStream:
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
        rerun = rerun_sdk.load()
        self._path = path
        self._partial = path and path.with_name(path.name + _PARTIAL_SUFFIX)
        self.stream = rerun.RecordingStream(APPLICATION, recording_id=uuid.uuid4())
        sinks: list[Any] = [] if data_url is None else [rerun.GrpcSink(data_url)]
        if path is not None and self._partial is not None:
            check_file(path, force)
            _check_writable(self._partial)
            sinks.append(rerun.FileSink(self._partial))
        self.stream.set_sinks(*sinks)

    def lay_out(self, cameras: Sequence[ShownCamera]) -> None:
        """Arrange the viewer for these cameras."""
        self.stream.send_blueprint(blueprint(cameras))

    def close(self) -> None:
        """Write what is left, and give the file its name; an incomplete one keeps .rrd.part.

        Raises:
            ForesightError: the file is not complete.
        """
        reason = ""
        try:
            self.stream.flush(timeout_sec=_FLUSH_LIMIT_S)
        except (RuntimeError, ValueError) as error:
            reason = f": {' '.join(str(error).split())}"
        self.stream.disconnect()
        if self._path is None or self._partial is None:
            return
        # A flush also fails when the page's server has ended, which does the file no harm; and
        # the disk may be full only now. The footer is written last, once all else is.
        if not _has_footer(self._partial):
            raise ForesightError(
                f"{self._path} is not complete{reason}; what was written is in {self._partial}"
            )
        try:
            self._partial.replace(self._path)
        except OSError as error:
            raise ForesightError(f"{self._path} cannot be written: {error.strerror}") from error


def _has_footer(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(_FOOTER_PLACE, os.SEEK_END)
            return file.read(len(_FOOTER_WORD)) == _FOOTER_WORD
    except OSError:
        return False


def _check_writable(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("wb").close()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
