"""Serialized messages of a rosbag2, whole or cut off, through the `rosbags` library."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from rosbags.interfaces import Qos
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.metadata import parse_qos

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag_compression import Unpacked, plain_message
from dino_foresight_ros.recordings.bag_messages import typestore
from dino_foresight_ros.recordings.bag_storage import StoredMessage, open_storage, storage_files
from dino_foresight_ros.recordings.message_conversion import OTHER_PACKAGES, find_conversion

NEW_RUN_NS = 1_000_000_000
"""A stamp that is earlier than the one before by more than this begins a new recording: a clock
that was set back, or a second run in one bag. Smaller steps back are messages out of order."""


@dataclass(frozen=True)
class BagTopic:
    """A recorded topic; `msgtype` like sensor_msgs/msg/Image, `qos` as its publishers offered."""

    name: str
    msgtype: str
    message_count: int
    qos: tuple[Qos, ...] = ()


class BagReader:
    """A rosbag2: a folder, or one .mcap or .db3 file, which may be compressed (.zstd, .lz4).

    `damage` says in a few words how the bag is incomplete (None when it is whole); it can become
    set while reading. `expected_counts` are the messages per topic that metadata.yaml promises.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.topics: dict[str, BagTopic] = {}
        self.start_ns = 0
        self.end_ns = 0
        self.damage: str | None = None
        self.expected_counts: dict[str, int] = {}
        self._reader: Reader | None = None
        self._unpacked = Unpacked()
        self._converters: dict[str, Callable[[bytes], bytes]] = {}
        reason = self._open_whole()
        if reason is not None:
            self._open_damaged(reason)

    def _open_whole(self) -> str | None:
        """Open with rosbags, or say why that does not work."""
        if self.path.is_dir() and not (self.path / "metadata.yaml").exists():
            return "metadata.yaml is missing"
        try:
            reader = Reader(self._unpacked.path(self.path))
            reader.open()
        except Exception as error:  # noqa: BLE001 - damaged files raise errors of every kind
            return _reason(error)
        self._reader = reader
        for connection in reader.connections:
            qos = tuple(getattr(connection.ext, "offered_qos_profiles", ()))
            msgtype = connection.msgtype
            if msgtype.startswith(OTHER_PACKAGES) and (found := find_conversion(msgtype)):
                msgtype, self._converters[connection.topic] = found
            self._add(connection.topic, msgtype, connection.msgcount, qos)
        self.expected_counts = {name: t.message_count for name, t in self.topics.items()}
        if reader.message_count:
            self.start_ns, self.end_ns = reader.start_time, reader.end_time
        if self._unmerged_journals():
            self.damage = "the recording was not closed; its journal (.db3-wal) is not read"
        return None

    def _open_damaged(self, reason: str) -> None:
        """Scan the storage files for what they hold; healthy ones that ROS 2 did not write too."""
        times: list[int] = []
        is_bag, is_healthy = False, self.path.is_file() or (self.path / "metadata.yaml").exists()
        for path in storage_files(self.path):
            file = open_storage(self._unpacked.path(path), check=False)
            if file is None:
                continue
            is_bag = True
            with closing(file):
                counts: Counter[str] = Counter()
                for place in file.places():
                    counts[place.topic] += 1
                    times.append(place.log_time_ns)
                is_healthy &= file.is_foreign and file.is_closed
                for topic in file.topics.values():
                    self._add(topic.name, topic.msgtype, counts[topic.name], _qos(topic.qos))
        if not is_bag:
            raise InputError(f"{self.path} is not a readable rosbag2: {reason}")
        if not times and is_healthy:
            raise InputError(f"{self.path} holds no message")
        if not times:
            raise InputError(f"{self.path} is cut off and holds no whole message: {reason}")
        self.start_ns, self.end_ns = min(times), max(times) + 1
        self.damage = None if is_healthy else reason
        self.expected_counts = self._promised_counts()

    def _unmerged_journals(self) -> bool:
        journals = [file.with_name(file.name + "-wal") for file in storage_files(self.path)]
        return any(journal.exists() and journal.stat().st_size > 0 for journal in journals)

    def _promised_counts(self) -> dict[str, int]:
        try:
            content = yaml.safe_load((self.path / "metadata.yaml").read_text(encoding="utf-8"))
            entries = content["rosbag2_bagfile_information"]["topics_with_message_count"]
            return {e["topic_metadata"]["name"]: int(e["message_count"]) for e in entries}
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError):
            return {}

    def _add(self, name: str, msgtype: str, count: int, qos: tuple[Qos, ...]) -> None:
        known = self.topics.get(name)
        count += known.message_count if known else 0
        self.topics[name] = BagTopic(name, msgtype, count, qos or (known.qos if known else ()))

    def messages(
        self, topics: Collection[str], start_ns: int = 0, end_ns: int = 2**62
    ) -> Iterator[StoredMessage]:
        """Yield the serialized messages of `topics` with `start_ns` <= log time < `end_ns`.

        In the order of log time; from a damaged bag in the order of writing, up to the damage.
        """
        if self._reader is None:
            yield from self._salvaged(topics, start_ns, end_ns)
            return
        count = 0
        try:
            for message in self._indexed(self._reader, topics, start_ns, end_ns):
                yield message
                count += 1
        except Exception as error:  # noqa: BLE001 - damaged files raise errors of every kind
            self.damage = _reason(error)
            # One bad record spoils a whole chunk for the index; a scan gets up to the record.
            yield from islice(self._salvaged(topics, start_ns, end_ns), count, None)

    def _indexed(
        self, reader: Reader, topics: Collection[str], start_ns: int, end_ns: int
    ) -> Iterator[StoredMessage]:
        connections = [c for c in reader.connections if c.topic in topics]
        if connections:
            found = reader.messages(connections, start=start_ns, stop=end_ns)
            for connection, log_time_ns, data in found:
                content = plain_message(bytes(data))
                convert = self._converters.get(connection.topic)
                content = convert(content) if convert else content
                yield StoredMessage(connection.topic, log_time_ns, content)

    def _salvaged(
        self, topics: Collection[str], start_ns: int, end_ns: int
    ) -> Iterator[StoredMessage]:
        for path in storage_files(self.path):
            file = open_storage(self._unpacked.path(path), check=False)
            if file is None:
                continue
            with closing(file), suppress(ValueError):  # damage: no way on from there
                for place in file.places():
                    if place.topic in topics and start_ns <= place.log_time_ns < end_ns:
                        data = file.message(place.topic, *place[3:])
                        yield StoredMessage(place.topic, place.log_time_ns, data)

    def deserialize(self, message: StoredMessage) -> Any:
        """Return the message's fields as rosbags has them; KeyError for a type it lacks."""
        return typestore().deserialize_cdr(message.data, self.topics[message.topic].msgtype)

    def close(self) -> None:
        """Close the files."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        self._unpacked.close()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _qos(text: str) -> tuple[Qos, ...]:
    try:
        return tuple(parse_qos(text))
    except Exception:  # noqa: BLE001 - an unreadable profile only means the default
        return ()
