"""What is in an .rrd file, by rerun's own reader."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple


class Row(NamedTuple):
    """What was logged at once to one entity: timeline -> nanoseconds, component -> its values."""

    times: dict[str, int]
    values: dict[str, Any]


def read_rrd(path: Path) -> dict[str, list[Row]]:
    """Entity path -> its rows in the order of their logging; static ones have no times."""
    import rerun as rr  # takes a second

    entities: dict[str, list[Row]] = defaultdict(list)
    for chunk in rr.chunk.RrdReader(path).stream().to_chunks():
        table = chunk.to_record_batch()
        timelines = set(chunk.timeline_names)
        for index in range(table.num_rows):
            times, values = {}, {}
            for name, column in zip(table.schema.names, table.columns, strict=True):
                value = column[index]
                if name in timelines:
                    times[name] = value.value
                elif ":" in name and value.is_valid:
                    values[name.split(":")[-1]] = value.as_py()
            entities[chunk.entity_path].append(Row(times, values))
    # rerun writes rows in blocks, whose order is not theirs.
    for rows in entities.values():
        rows.sort(key=lambda row: row.times.get("log_time", 0))
    return entities
