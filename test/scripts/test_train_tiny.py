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


@pytest.mark.process
class TestRefused:
    """What would train on other data than was asked for ends before anything is done."""

    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        folder = tmp_path / "data"
        (folder / "comma10k").mkdir(parents=True)
        for name in ("highway.mp4", "highway_curve.mp4", "robot_track.mp4", "street_camera.mp4"):
            (folder / name).touch()
        return folder

    def run(self, data: Path, out: Path, **settings: str) -> subprocess.CompletedProcess[str]:
        words = [str(ROOT / "scripts" / "train_tiny.sh"), str(out)]
        environment = {**os.environ, "DATA": str(data), **settings}
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)

    def test_camvid_is_named_where_it_is_missing(self, data: Path, tmp_path: Path) -> None:
        ended = self.run(data, tmp_path / "out")
        assert ended.returncode == 2
        assert "camvid/train is missing" in ended.stderr

    @pytest.mark.parametrize("begun", ["recipe 2, CAMVID=yes, TRIAL=", None])
    def test_a_folder_that_was_begun_otherwise(
        self, data: Path, tmp_path: Path, begun: str | None
    ) -> None:
        (tmp_path / ".done-encoder").touch()
        if begun is not None:
            (tmp_path / ".choices").write_text(begun)
        ended = self.run(data, tmp_path, CAMVID="no")
        assert ended.returncode == 2
        assert f"was begun with {begun or 'an earlier recipe'}" in ended.stderr
        assert "give another folder" in ended.stderr
