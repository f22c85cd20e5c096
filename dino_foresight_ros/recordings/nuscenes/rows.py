"""Reads and checks the rows of the nuScenes tables one by one, however large a table is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.poses import Transform

NS_PER_US = 1000
CHUNK = 1 << 22
_decoder = json.JSONDecoder()
Row = Mapping[str, Any]
TableProgress = Callable[[str, Iterable[Row]], Iterable[Row]]
"""Passes the rows of the table of that name on, to show progress."""


class TableFolder:
    """The tables of one version of the data set."""

    def __init__(self, path: Path, progress: TableProgress = lambda name, rows: rows) -> None:
        self.path = path
        self._progress = progress

    def file(self, table: str) -> Path:
        """Where a table lies."""
        return self.path / f"{table}.json"

    def rows(self, table: str, *fields: str) -> Iterable[Row]:
        """Yield a table's rows, which have `token` and `fields`.

        Raises:
            InputError: the table is missing or damaged, or a row lacks a field.
        """
        path = self.file(table)
        for row in self._progress(table, table_rows(path)):
            for field in ("token", *fields):
                if field not in row:
                    raise InputError(
                        f"{path}: row {row.get('token', '?')} has no {field}; is it a nuScenes "
                        "table of schema v1.0?"
                    )
            yield row

    def table(self, name: str, *fields: str) -> dict[str, Row]:
        """All rows of a small table by their tokens."""
        return {row["token"]: row for row in self.rows(name, *fields)}

    def look_up(
        self, table: Mapping[str, Any], row: Row, field: str, source: str, target: str
    ) -> Any:
        """What the token in `field` of a row of `source` stands for in `target`.

        Raises:
            InputError: it is not there.
        """
        token = str(row.get(field))
        if token not in table:
            raise InputError(
                f"{self.file(source)}: row {row.get('token', '?')} names the {target} {token}, "
                f"which {self.file(target)} lacks"
            )
        return table[token]


def microseconds(row: Row, path: Path) -> int:
    """Time stamp of a row, microseconds since 1970."""
    value = row["timestamp"]
    if not isinstance(value, int) or value <= 0:
        raise InputError(f"{path}: row {row['token']} has no time stamp, but {value!r}")
    return value


def numbers(row: Row, field: str, count: int, path: Path) -> Any:
    """A tuple of `count` floats from a field."""
    try:
        values = tuple(float(value) for value in row[field])
    except (KeyError, TypeError, ValueError):
        values = ()
    if len(values) != count:
        raise InputError(f"{path}: row {row['token']} has no {field} of {count} numbers")
    return values


def transform(row: Row, path: Path) -> Transform:
    """Pose of a row of ego_pose, calibrated_sensor or sample_annotation."""
    rotation = numbers(row, "rotation", 4, path)
    length = sum(value * value for value in rotation) ** 0.5
    if not 0.99 < length < 1.01:
        raise InputError(f"{path}: row {row['token']} has a rotation that is no unit quaternion")
    w, x, y, z = (value / length for value in rotation)
    return Transform(numbers(row, "translation", 3, path), (w, x, y, z))


def table_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file that holds one array of objects; a few megabytes in memory.

    Raises:
        InputError: the file is missing, cut off or no such array.
    """
    try:
        with path.open(encoding="utf-8") as file:
            buffer, position, started = file.read(CHUNK), 0, False
            while True:
                position = _skip(buffer, position, " \t\r\n" + ("," if started else ""))
                if position >= len(buffer):
                    buffer, position = file.read(CHUNK), 0
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
                    more = file.read(CHUNK)
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
