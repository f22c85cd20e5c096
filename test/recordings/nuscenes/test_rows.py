"""Large JSON tables, row by row."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.nuscenes import rows as rows_module
from dino_foresight_ros.recordings.nuscenes.rows import table_rows


def test_rows_are_read_one_by_one_across_any_break(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"token": f"t{i}", "text": 'a "]" \\ ü {', "numbers": [i, 1e-7]} for i in range(20)]
    path = tmp_path / "t.json"
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")
    for chunk in (1, 2, 3, 7, 50, 10_000):
        monkeypatch.setattr(rows_module, "CHUNK", chunk)
        assert list(table_rows(path)) == rows
    path.write_text("[]")
    assert list(table_rows(path)) == []


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"a": 1}', '[{"a": 1}, {"b"', "[{]", "x"])
def test_what_is_no_table_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"t\.json"):
        list(table_rows(path))


@pytest.mark.slow
def test_a_large_table_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    row = json.dumps({"token": "0" * 32, "filename": "x" * 300})
    path.write_text("[\n" + ",\n".join([row] * 120_000) + "\n]")  # 44 MB
    tracemalloc.start()
    assert sum(1 for _ in table_rows(path)) == 120_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6
