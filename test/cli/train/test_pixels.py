"""`foresight train pixels` in several processes, started the ways that a person starts it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
STARTED = [
    path
    for path in sorted((REPOSITORY / "scripts").iterdir())
    if path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env python3")
] + [REPOSITORY / "dino_foresight_ros" / "cli" / "__main__.py"]


@pytest.mark.process
def test_spawned_workers_do_not_start_the_command_again(tmp_path: Path) -> None:
    start = REPOSITORY / "scripts" / "foresight"
    words = ["train", "pixels", "--data", "synthetic:?seeds=0-1&frames=2&size=42x56"]
    words += ["--image-size", "42x56", "--jobs", "2", "--out", str(tmp_path / "pixels")]
    ended = subprocess.run(
        [sys.executable, str(start), *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("2 recordings, 4 frames\n") == 1


@pytest.mark.parametrize("script", STARTED, ids=lambda path: path.name)
def test_what_is_imported_starts_nothing(script: Path) -> None:
    calls = [
        ast.unparse(statement)
        for statement in ast.parse(script.read_text()).body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    ]
    assert not [call for call in calls if "main()" in call]
