"""`foresight train pixels` in several processes, started the ways that a person starts it."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.recordings import Frame, Recording

REPOSITORY = Path(__file__).parents[3]
STARTED = [
    path
    for path in sorted((REPOSITORY / "scripts").iterdir())
    if path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env python3")
] + [REPOSITORY / "dino_foresight_ros" / "cli" / "__main__.py"]


# As a checkout's script, as a module, and as an installer's console script starts it.
CONSOLE = """import sys
from dino_foresight_ros.cli.main import main
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.mark.process
@pytest.mark.parametrize(
    "way",
    ["script", *(pytest.param(way, marks=pytest.mark.long) for way in ("module", "console"))],
)
def test_spawned_workers_do_not_start_the_command_again(tmp_path: Path, way: str) -> None:
    console = tmp_path / "foresight"
    console.write_text(CONSOLE)
    start = {
        "script": [str(REPOSITORY / "scripts" / "foresight")],
        "module": ["-m", "dino_foresight_ros.cli"],
        "console": [str(console)],
    }[way]
    words = ["train", "pixels", "--data", "synthetic:?seeds=0-1&frames=2&size=42x56"]
    words += ["--image-size", "42x56", "--jobs", "2", "--out", str(tmp_path / "pixels")]
    ended = subprocess.run(
        [sys.executable, *start, *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("2 recordings, 4 frames\n") == 1


class Deadly(Recording):
    """Kills the process that it is sent to, or that reads it, as the system does for memory."""

    def __init__(self, when: str) -> None:
        super().__init__("deadly", np.arange(4) * 10**8, (28, 28))
        self._when, self._home = when, os.getpid()

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        if os.getpid() != self._home:
            os.kill(os.getpid(), signal.SIGKILL)
        return Frame(int(self.stamps_ns[index]), image=np.zeros((28, 28, 3), np.uint8))

    def _fingerprint_parts(self) -> Iterable[str]:
        yield self._when

    def __reduce__(self) -> Any:
        return (os.kill, (os.getpid(), 0)) if self._when == "read" else (os._exit, (9,))


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.process
def test_a_process_that_dies_ends_the_command_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dino_foresight_ros.training import pixel_writer

    monkeypatch.setattr(pixel_writer, "open_recordings", lambda *given, **more: [Deadly("sent")])
    words = ["train", "pixels", "--data", "x", "--image-size", "28x28", "--jobs", "2"]
    assert main([*words, "--out", str(tmp_path / "pixels")]) == 1
    assert last_line(capsys).startswith("foresight: one of 2 processes died (killed for memory")


@pytest.mark.process
def test_a_reader_that_dies_ends_the_command_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dino_foresight_ros.training import fit_pca

    monkeypatch.setattr(fit_pca, "open_recordings", lambda *given, **more: [Deadly("read")])
    words = ["train", "pca", "--data", "x", "--encoder", "untrained-tiny", "--image-size", "28x28"]
    words += ["--workers", "1", "--device", "cpu", "--channels", "2"]
    assert main([*words, "--out", str(tmp_path / "pca")]) == 1
    assert last_line(capsys).startswith("foresight: a process that reads data died (killed for")


@pytest.mark.parametrize("script", STARTED, ids=lambda path: path.name)
def test_what_is_imported_starts_nothing(script: Path) -> None:
    calls = [
        ast.unparse(statement)
        for statement in ast.parse(script.read_text()).body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    ]
    assert not [call for call in calls if "main()" in call]
