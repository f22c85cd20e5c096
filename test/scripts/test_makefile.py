"""The Makefile hands on what it is given, and refuses names that it does not know."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
]


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Say what would be run."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.run(
        ["make", "-n", *words], cwd=ROOT, env=inherited, capture_output=True, text=True, timeout=240
    )


def test_the_demo_gets_what_is_given() -> None:
    done = make("demo", "INPUT=my drive.mp4", "OUT=o", "DEVICE=cpu", "ARGS=--steps 2", "VIEW=web")
    words = shlex.split(done.stdout.replace("\\\n", " "))
    assert words[:2] == ["scripts/with_env", "foresight"]
    assert words[2:] == [
        "demo", "--out", "o", "--input", "my drive.mp4", "--view", "web", "--device", "cpu",
        "--steps", "2",
    ]  # fmt: skip


@pytest.mark.parametrize("words", [("demo", "INPTU=x"), ("demo", "input=x"), ("test", "WORKER=3")])
def test_a_name_that_is_not_known_is_refused_with_those_that_are(words: tuple[str, str]) -> None:
    done = make(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert f"{words[1].split('=')[0]}= is unknown here; known: INPUT OUT TOPIC" in line


def test_every_name_that_the_makefile_reads_is_known() -> None:
    text = (ROOT / "Makefile").read_text()
    names = [line.split()[0] for line in text.splitlines() if " ?= " in f"{line} "]
    assert len(names) > 8
    for name in [
        *names,
        "WITH_ENV",
        "FORESIGHT_LAUNCH_PATH",
        "FORESIGHT_PYTHON",
        "FORESIGHT_ENV_DIR",
    ]:
        assert make("test", f"{name}=x").returncode == 0, name
