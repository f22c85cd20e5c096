"""The whole demo, as a user runs it: real nodes in processes of their own, over DDS."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not there (run through scripts/with_env)")
pytest.importorskip("dino_foresight_ros.msg", reason="the messages are not built")

FRAMES = 24
LIMIT_S = 240.0
_MARK = "FORESIGHT_TEST_MARK"


def marked_processes(mark: str) -> list[int]:
    """Processes that inherited a mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


class DemoProcess:
    """One `foresight demo`, whose descendants can be found."""

    def __init__(self, environment: dict[str, str], *arguments: object) -> None:
        self.mark = uuid.uuid4().hex
        code = "import sys; from dino_foresight_ros.cli import main; sys.exit(main())"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "demo", *map(str, arguments)],
            env={**environment, _MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self) -> tuple[int, str, str]:
        """(exit code, standard output, standard error)."""
        try:
            out, err = self.process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return self.process.returncode, out, err


def run_demo(environment: dict[str, str], *arguments: object) -> tuple[int, str, str]:
    return DemoProcess(environment, *arguments).finish()


@pytest.fixture(scope="module")
def demo(
    ros_domain: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], str, str]:
    """The results of one run: folder, numbers, what it printed, and its warnings."""
    out = tmp_path_factory.mktemp("demo with spaces") / "out"
    code, printed, warnings = run_demo(ros_domain, "--out", out, "--frames", FRAMES)
    assert code == 0, warnings
    return out, json.loads((out / "metrics.json").read_text()), printed, warnings


Demo = tuple[Path, dict[str, Any], str, str]


def test_results_are_complete_and_nothing_else_is_left(demo: Demo) -> None:
    out = demo[0]
    names = {entry.name for entry in out.iterdir()}
    assert names == {"contact_sheet.png", "forecast.mp4", "metrics.json", "log"}


def test_every_frame_is_accounted_for(demo: Demo) -> None:
    numbers = demo[1]
    assert numbers["frames_in"] == FRAMES
    assert numbers["frames_in"] == numbers["forecasts_out"] + numbers["dropped_total"]
    assert numbers["dropped_total"] == sum(numbers["dropped"].values())
    assert numbers["forecasts_out"] >= 1
    assert numbers["forecasts_seen"] <= numbers["forecasts_out"]
    # Four context frames, 0.2 s apart: nothing comes out before 0.6 s of a 10 Hz stream.
    assert numbers["dropped"]["context_filling"] >= 1
    assert set(numbers["exit_codes"].values()) == {0}


def test_numbers_describe_the_run(demo: Demo) -> None:
    numbers = demo[1]
    assert 0 < numbers["latency_p50_ms"] <= numbers["latency_p99_ms"] < 60_000
    assert numbers["model"] == "untrained-tiny"
    assert numbers["trained"] is False
    assert numbers["steps"] == 3
    assert numbers["frame_interval_s"] == pytest.approx(0.2)
    assert numbers["image_size"] == [640, 360]
    assert numbers["forecast_size"] == [128, 72]
    assert numbers["input"]["kind"] == "synthetic"
    assert isinstance(numbers["seed"], int)
    assert numbers["machine"]["cpu_count"] == os.cpu_count()
    assert numbers["device"] == "cpu" or numbers["device"].startswith("cuda")


def test_sheet_is_a_picture_with_frames_and_the_warning(demo: Demo) -> None:
    sheet = cv2.imread(str(demo[0] / "contact_sheet.png"))
    assert sheet.shape[1:] == (1600, 3)
    assert sheet.shape[0] > 700
    # BGR: the amber of the warning.
    assert (sheet == (7, 193, 255)).all(-1).sum() > 10_000
    assert len(np.unique(sheet.astype(np.uint32) @ np.uint32([1, 256, 65536]))) > 5_000


def test_video_decodes_to_the_number_of_frames_that_is_stated(demo: Demo) -> None:
    video = demo[1]["video"]
    capture = cv2.VideoCapture(str(demo[0] / "forecast.mp4"))
    sizes = []
    while True:
        ok, frame = capture.read()
        if not ok:
            break
        sizes.append([frame.shape[1], frame.shape[0]])
    assert len(sizes) == video["frames"] >= 1
    assert all(size == video["size"] for size in sizes)
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(video["frame_rate_hz"])


def test_user_is_told_where_the_results_are_and_that_they_mean_nothing(demo: Demo) -> None:
    out, _, printed, warnings = demo
    for name in ("contact_sheet.png", "forecast.mp4", "metrics.json"):
        assert str(out / name) in printed
    assert "UNTRAINED" in printed
    assert "mean nothing" in printed
    # The progress bar: a busy machine may let the demo miss the first frame, not more.
    assert re.search(rf"({FRAMES - 1}|{FRAMES})/{FRAMES} .*\d+ forecasts", warnings)
    assert "Traceback" not in warnings


@pytest.fixture
def old_results(tmp_path: Path) -> Path:
    """A folder with the results of an earlier run."""
    for name in ("contact_sheet.png", "forecast.mp4", "metrics.json"):
        (tmp_path / name).write_text("old")
    return tmp_path


def test_a_node_that_refuses_to_start_ends_the_demo_in_one_line(
    ros_domain: dict[str, str], old_results: Path
) -> None:
    code, printed, err = run_demo(ros_domain, "--out", old_results, "--device", "tpu")
    assert code == 2
    assert printed == ""
    (line,) = [line for line in err.splitlines() if line.startswith("foresight:")]
    assert line.startswith("foresight: forecast_node: ")
    assert "'tpu' is unknown; valid: auto" in line
    assert err.rstrip().endswith(line)
    assert [entry.name for entry in old_results.iterdir()] == ["log"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("not a video"), "not a video"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.mkdir(), "empty folder"),
    ],
    ids=["missing", "not_a_video", "empty_file", "empty_folder"],
)
def test_an_input_that_cannot_be_used_ends_the_demo_before_it_starts(
    ros_domain: dict[str, str], tmp_path: Path, make: Any, words: str
) -> None:
    path = tmp_path / "clip.mp4"
    make(path)
    code, printed, err = run_demo(ros_domain, "--out", tmp_path / "out", "--input", path)
    assert code == 1
    assert printed == ""
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("foresight: ")
    assert words in err
    assert str(path) in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl_c", "sigterm"]
)
def test_an_interrupted_demo_leaves_no_process_and_no_result(
    ros_domain: dict[str, str], old_results: Path, number: signal.Signals, code: int
) -> None:
    demo = DemoProcess(ros_domain, "--out", old_results)
    log = old_results / "log" / "forecast_node.log"
    deadline_s = time.monotonic() + 60
    while len(marked_processes(demo.mark)) < 2 or not log.exists():
        assert time.monotonic() < deadline_s, "the forecast node never started"
        time.sleep(0.1)
    time.sleep(0.5)
    demo.process.send_signal(number)
    returned, _, err = demo.finish()
    assert returned == code
    assert "Traceback" not in err
    assert marked_processes(demo.mark) == []
    assert [entry.name for entry in old_results.iterdir()] == ["log"]


def test_a_killed_demo_takes_its_nodes_with_it(ros_domain: dict[str, str], tmp_path: Path) -> None:
    demo = DemoProcess(ros_domain, "--out", tmp_path)
    deadline_s = time.monotonic() + 60
    while len(marked_processes(demo.mark)) < 2:
        assert time.monotonic() < deadline_s, "the forecast node never started"
        time.sleep(0.1)
    time.sleep(0.5)
    demo.process.kill()
    demo.finish()
    deadline_s = time.monotonic() + 30
    while marked_processes(demo.mark):
        assert time.monotonic() < deadline_s, "a node outlived the demo"
        time.sleep(0.1)
    assert not (tmp_path / "metrics.json").exists()
