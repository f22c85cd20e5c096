"""Running a model does not come near the one reader of pickles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import run_model
from forked import ForkedProcess


@pytest.mark.process
def test_running_a_model_does_not_come_near_the_reader_of_pickles(tmp_path: Path) -> None:
    output = tmp_path / "out"
    process = ForkedProcess(run_model.main, ["untrained-tiny"], os.environ, output)
    assert process.wait(120) == 0, output.read_text()
    modules = output.read_text().split()
    assert "dino_foresight_ros.model.bundle" in modules
    assert "dino_foresight_ros.model.reference.pickles" not in modules
