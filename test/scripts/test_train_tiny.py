"""`make train-tiny` goes through all of its stages, on seconds of data."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_data_sets import *  # noqa: F403 (fixtures)

ROOT = Path(__file__).parents[2]


@pytest.mark.process
@pytest.mark.long
def test_every_stage_of_the_tiny_bundle_runs_and_is_not_run_again(
    tmp_path: Path,
    make_camvid: Callable[..., Path],
    make_comma10k: Callable[..., Path],
    make_drive: Callable[..., Path],
) -> None:
    for name in ("highway.mp4", "highway_curve.mp4", "robot_track.mp4", "street_camera.mp4"):
        make_drive(name, count=120)
    make_camvid()
    make_comma10k()
    words = ["make", "train-tiny", f"DATA={tmp_path}", f"TINY={tmp_path / 'tiny'}"]
    environment = {**os.environ, "TRIAL": "1", "DEVICE": "cpu"}

    def run() -> str:
        ended = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout[-1000:] + ended.stderr[-3000:]
        return ended.stdout

    told = run()
    done = sorted(path.name.removeprefix(".done-") for path in (tmp_path / "tiny").glob(".done-*"))
    assert done == sorted(line[3:] for line in told.splitlines() if line.startswith("== "))
    assert {"pixels", "encoder", "forecaster", "normals", "bundle", "evaluate-camvid"} <= set(done)
    assert (tmp_path / "tiny" / "bundle" / "bundle.yaml").is_file()
    assert (tmp_path / "tiny" / "reports" / "highway" / "report.json").is_file()
    assert "== " not in run()
