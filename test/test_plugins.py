"""Heads and data of other packages: the example of docs/plugins.md, and what is wrong with some."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dino_foresight_ros import plugins
from dino_foresight_ros.output_row import Output
from dino_foresight_ros.plugins import DatasetPlugin, HeadPlugin

EXAMPLE = Path(__file__).parents[1] / "docs" / "example_plugin"
GROUP = re.compile(r'\[project\.entry-points\."([\w.]+)"\]\n((?:\w+ = "[\w.:]+"\n)+)')

WORK = """
import json, sys
from pathlib import Path

from dino_foresight_ros.cli.main import main

out, pictures = Path(sys.argv[1]), sys.argv[2]
parts = ["--encoder", "untrained-tiny", "--pca", "untrained-tiny"]
data = ["--data", "synthetic:?seeds=0&frames=2&size=42x56"]
data += ["--validation", "synthetic:?seeds=1&frames=1&size=42x56"]
fast = ["--preset", "linear", "--steps", "2", "--batch-size", "2", "--workers", "0"]
fast += ["--device", "cpu", "--loggers", "none", "--image-size", "42x56"]
head = ["train", "head", "--task", "edges", *data, *parts, *fast, "--out", str(out / "edges")]
assert main(head) == 0
words = ["bundle", "assemble", *parts, "--forecaster", "untrained-tiny"]
words += ["--head", f"edges={out / 'edges'}", "--out", str(out / "bundle")]
assert main(words) == 0

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.outputs import IMAGE_NAMES, step_topics
from dino_foresight_ros.recordings import open_recordings
from dino_foresight_ros.runtime import Foresight

engine = Foresight(Bundle.load(out / "bundle"), steps=1)
for frame in open_recordings([f"array:{pictures}?rate=5&part=0-0.9"])[0].frames():
    forecast = engine.update(frame.image, frame.stamp_ns)
edges = forecast.steps[0].edges
found = {
    "shape": edges.shape, "least": float(edges.min()), "most": float(edges.max()),
    "bytes": forecast.steps[0].nbytes >= edges.nbytes,
    "outputs": IMAGE_NAMES, "topics": [topic.name for topic in step_topics(["edges"], True)],
}
(out / "found.json").write_text(json.dumps(found))
"""


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment in which the example is installed, as an installer would leave it."""
    about = tmp_path / "site" / "foresight_example-0.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: foresight-example\nVersion: 0.1\n"
    )
    groups = GROUP.findall((EXAMPLE / "pyproject.toml").read_text())
    lines = [f"[{group}]\n{entries.replace(chr(34), '')}" for group, entries in groups]
    (about / "entry_points.txt").write_text("\n".join(lines))
    paths = [str(about.parent), str(EXAMPLE), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


READ = """
import json, sys

from dino_foresight_ros.outputs import HEADS, IMAGE_NAMES, step_topics
from dino_foresight_ros.recordings import open_recordings

recording = open_recordings([f"array:{sys.argv[1]}?rate=5&part=0-0.6"])[0]
frames = [(frame.stamp_ns, frame.image.tolist()) for frame in recording.frames()]
topics = [topic.name for topic in step_topics(["edges"], True)]
print(json.dumps([frames, HEADS, IMAGE_NAMES, topics]))
"""


@pytest.mark.process
def test_the_example_adds_an_output_and_a_kind_of_data(
    installed: dict[str, str], tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 6, 9, 3), dtype=np.uint8)
    np.save(tmp_path / "drive.npy", images)
    words = [sys.executable, "-c", READ, str(tmp_path / "drive.npy")]
    ended = subprocess.run(words, env=installed, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr[-2000:]
    frames, heads, names, topics = json.loads(ended.stdout)
    assert [stamp_ns for stamp_ns, _ in frames] == [200_000_000 * i for i in range(5)]
    assert np.array_equal([image for _, image in frames], images[:5])
    assert heads[-1] == names[-1] == "edges"
    assert topics == ["edges"]


@pytest.mark.long  # it imports torch and trains; the quick one above does not
@pytest.mark.process
def test_the_example_trains_a_head_and_reads_data_of_its_own(
    installed: dict[str, str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "drive.npy", rng.integers(0, 256, (8, 60, 80, 3), dtype=np.uint8))
    words = [sys.executable, "-c", WORK, str(tmp_path), str(tmp_path / "drive.npy")]
    ended = subprocess.run(words, env=installed, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr[-2000:]
    found: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    assert 0 <= found["least"] < found["most"] <= 1
    assert len(found["shape"]) == 2
    assert found["bytes"]
    assert found["outputs"] == ["segmentation", "confidence", "depth", "normals", "spread", "edges"]
    assert found["topics"] == ["edges"]


def _row(**changes: Any) -> Output:
    row = Output("heat", "warmth", head="heat", dtype="float32", channels=1, encoding="32FC1")
    return replace(row, **changes)


GOOD = HeadPlugin((_row(),), task="a:B", training="a:C")


def broken() -> None:
    raise AssertionError("nobody calls what an entry point names")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("nowhere.at_all:X", "No module named 'nowhere'"),
        ("test_plugins_rows:missing", "has no attribute 'missing'"),
        ("test_plugins_rows:function", "is no HeadPlugin"),
        ("test_plugins_rows:empty", "it gives no output"),
        ("test_plugins_rows:other", "is of head other, not of heat"),
        ("test_plugins_rows:unnamed", "needs a name like a variable's, and an"),
        ("test_plugins_rows:message", "has a message_field, which no message has"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_left_out_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: str, why: str
) -> None:
    rows = SimpleNamespace(
        __name__="test_plugins_rows",
        function=broken,
        good=replace(GOOD, outputs=(_row(head="warm"),)),
        empty=replace(GOOD, outputs=()),
        other=replace(GOOD, outputs=(_row(head="other"),)),
        unnamed=replace(GOOD, outputs=(_row(name="two words"),)),
        message=replace(GOOD, outputs=(_row(message_field="depth"),)),
    )
    monkeypatch.setitem(sys.modules, "test_plugins_rows", rows)  # type: ignore[arg-type]
    entries = [
        EntryPoint("heat", value, plugins.HEADS_GROUP),
        EntryPoint("warm", "test_plugins_rows:good", plugins.HEADS_GROUP),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries)
    with caplog.at_level(logging.WARNING):
        found = plugins.installed_heads.__wrapped__()
    assert set(found) == {"warm"}
    (told,) = (record.getMessage() for record in caplog.records)
    assert told.startswith("entry point heat of dino_foresight_ros.heads left out: ")
    assert why in told
    assert "\n" not in told


def test_a_kind_of_data_of_another_package_is_named_like_the_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from dino_foresight_ros.errors import InputError, UsageError
    from dino_foresight_ros.recordings import open_recordings, opening, spec

    kinds = {"sensorlog": DatasetPlugin("nowhere.at_all:X", keys=("topic_name",))}
    for module in (spec, opening):
        monkeypatch.setattr(module, "installed_datasets", lambda: kinds)
    with pytest.raises(UsageError, match=r"unknown option rate; valid for sensorlog: topic_name"):
        open_recordings([f"sensorlog:{tmp_path}?rate=3"])
    with pytest.raises(InputError, match=r"its reader cannot be loaded: No module named 'nowhere"):
        open_recordings([f"sensorlog:{tmp_path}?topic_name=a"])
    with pytest.raises(UsageError, match=r"valid kinds: .*synthetic, sensorlog"):
        open_recordings(["sensorlogs:/nowhere/at/all"])
