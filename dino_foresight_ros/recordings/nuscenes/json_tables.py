"""Rows of a JSON table one after the other, however large the file is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import InputError

_CHUNK = 1 << 22
_decoder = json.JSONDecoder()


def table_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file that holds one array of objects; a few megabytes in memory.

    Raises:
        InputError: the file is missing, cut off or no such array.
    """
    try:
        with path.open(encoding="utf-8") as file:
            buffer, position, started = file.read(_CHUNK), 0, False
            while True:
                position = _skip(buffer, position, " \t\r\n" + ("," if started else ""))
                if position >= len(buffer):
                    buffer, position = file.read(_CHUNK), 0
                    if not buffer:
                        raise InputError(f"{path} is cut off: it does not end with ]")
                    continue
                if not started:
                    if buffer[position] != "[":
                        raise InputError(f"{path} is no table: it does not begin with [")
                    started, position = True, position + 1
                    continue
                if buffer[position] == "]":
                    return
                try:
                    row, position = _decoder.raw_decode(buffer, position)
                except ValueError as error:
                    more = file.read(_CHUNK)
                    if not more:
                        raise InputError(f"{path} is cut off or damaged: {error}") from error
                    buffer, position = buffer[position:] + more, 0
                    continue
                if not isinstance(row, dict):
                    raise InputError(f"{path} is no table: it holds {str(row)[:40]!r}")
                yield row
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged: it is not UTF-8 text") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _skip(text: str, position: int, characters: str) -> int:
    while position < len(text) and text[position] in characters:
        position += 1
    return position
