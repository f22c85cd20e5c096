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
import forked_nodes
import numpy as np
import pytest
from forked import ForkedProcess
from nuscenes_set import NuScenesSet

from dino_foresight_ros.cli.main import main

pytestmark = pytest.mark.process

pytest.importorskip("rclpy", reason="ROS 2 is not there (run through scripts/with_env)")
pytest.importorskip("dino_foresight_ros.msg", reason="the messages are not built")

FRAMES, DRIVE_FRAMES = 18, 19
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
    """One `foresight demo` as a user starts it, whose descendants can be found."""

    def __init__(self, environment: dict[str, str], *arguments: object) -> None:
        self.mark = uuid.uuid4().hex
        code = "import sys; from dino_foresight_ros.cli.main import main; sys.exit(main())"
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


def run_quickly(
    environment: dict[str, str], scratch: Path, *arguments: object
) -> tuple[int, str, str]:
    """What a demo gives whose processes import nothing: for what is not about their start."""
    out, err = scratch / "stdout", scratch / "stderr"
    words = [str(err), "demo", *map(str, arguments)]
    process = ForkedProcess(forked_nodes.foresight, words, environment, out)
    try:
        code = process.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return code, out.read_text(), err.read_text()


@pytest.fixture(scope="module")
def demo(
    ros_domain: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], str, str]:
    """The results of one run: folder, numbers, what it printed, and its warnings."""
    folder = tmp_path_factory.mktemp("demo with spaces")
    out = folder / "out"
    # Slowly: a machine that is busy elsewhere has to see what comes at the predicted instants.
    words = ("--out", out, "--frames", FRAMES, "--bundle", "untrained-tiny", "--rate", 0.2)
    code, printed, warnings = run_quickly(ros_domain, folder, *words)
    assert code == 0, warnings
    return out, json.loads((out / "metrics.json").read_text()), printed, warnings


Demo = tuple[Path, dict[str, Any], str, str]


@pytest.mark.long  # each of its processes imports torch; the others' are forked
def test_a_demo_that_a_user_starts_leaves_its_results(
    ros_domain: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("--out", out, "--frames", FRAMES, "--bundle", "untrained-tiny", "--rate", 0.2)
    code, printed, warnings = DemoProcess(ros_domain, *words).finish()
    assert code == 0, warnings
    numbers = json.loads((out / "metrics.json").read_text())
    assert numbers["frames_in"] == FRAMES
    assert set(numbers["exit_codes"].values()) == {0}
    assert str(out / "contact_sheet.png") in printed


def test_results_are_complete_and_nothing_else_is_left(demo: Demo) -> None:
    out = demo[0]
    names = {entry.name for entry in out.iterdir()}
    assert names == {"contact_sheet.png", "skill.png", "forecast.mp4", "metrics.json", "log"}
    files = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert set(demo[1]["files"]) == files


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
    assert sheet.shape[1:] == (1920, 3)
    assert sheet.shape[0] > 700
    # BGR: the amber of the warning.
    assert (sheet == (7, 193, 255)).all(-1).sum() > 10_000
    assert len(np.unique(sheet.astype(np.uint32) @ np.uint32([1, 256, 65536]))) > 5_000


def test_skill_is_measured_against_what_came_and_against_the_truth(demo: Demo) -> None:
    skill = demo[1]["skill"]
    assert skill["moments"] >= 1
    assert skill["steps"] == [1, 2, 3]
    assert skill["horizons_ms"] == pytest.approx([200.0, 400.0, 600.0])
    for name in ("feature_error", "segmentation_agreement", "depth_error", "normals_error_deg"):
        for predictor in ("forecast", "copy_last"):
            values = [value for value in skill[name][predictor] if value is not None]
            assert values, (name, predictor)
            assert all(value >= 0 for value in values)
    # The synthetic world knows its labels and depth.
    assert {"forecast", "copy_last", "oracle"} < set(skill["true_segmentation_miou"])
    assert {"forecast", "copy_last", "oracle"} < set(skill["true_depth_error"])
    picture = cv2.imread(str(demo[0] / "skill.png"))
    assert picture.shape[1] == 1600
    # BGR: the line of the forecast, and the amber of the warning.
    assert (picture == (61, 139, 255)).all(-1).sum() > 1_000
    assert (picture == (7, 193, 255)).all(-1).sum() > 10_000
    assert "feature error, forecast (copy-last): " in demo[2]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second and a half of a drive in nuScenes' format as a bag."""
    folder = tmp_path_factory.mktemp("nuscenes")
    NuScenesSet(folder, length=DRIVE_FRAMES).write()
    bag = folder / "bag"
    words = ["bag", "from-nuscenes", "--dataroot", str(folder), "--scene", "scene-0061"]
    assert main([*words, "--out", str(bag)]) == 0
    return bag


def test_several_cameras_of_a_bag_have_a_sheet_each_and_a_mosaic_together(
    ros_domain: dict[str, str], tmp_path: Path, drive: Path
) -> None:
    out, cameras = tmp_path / "out", ("cam_front", "cam_front_left")
    words = ("--input", drive, "--cameras", ",".join(cameras).upper(), "--rate", 0.3)
    words += ("--out", out, "--bundle", "untrained-tiny", "--steps", 1)
    code, printed, warnings = run_quickly(ros_domain, tmp_path, *words)
    assert code == 0, warnings
    numbers = json.loads((out / "metrics.json").read_text())
    assert set(numbers["cameras"]) == set(cameras)
    # A machine that is busy elsewhere may not get to every camera while the drive lasts.
    forecast = {c for c, own in numbers["cameras"].items() if own["forecasts_seen"]}
    assert forecast
    assert set(numbers["skill"]["cameras"]) == forecast
    sheets = {f"contact_sheet_{camera}.png" for camera in forecast}
    names = {entry.name for entry in out.iterdir()}
    assert names == sheets | {"mosaic.png", "skill.png", "forecast.mp4", "metrics.json", "log"}
    for camera, own in numbers["cameras"].items():
        assert own["frames_in"] == DRIVE_FRAMES
        assert own["frames_in"] == own["forecasts_out"] + own["dropped_total"]
        assert own["image_size"] in ([80, 48], None)  # compressed: known once one was decoded
        assert f"  {camera}: {DRIVE_FRAMES} frames in, " in printed
    assert numbers["frames_in"] == 2 * DRIVE_FRAMES
    assert numbers["forecasts_out"] == sum(c["forecasts_out"] for c in numbers["cameras"].values())
    mosaic = cv2.imread(str(out / "mosaic.png"))
    assert list(mosaic.shape[1::-1]) == numbers["video"]["size"]
    assert "Traceback" not in warnings


def test_a_camera_that_a_bag_lacks_ends_the_demo_with_those_it_has(
    tmp_path: Path, drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--input", drive, "--cameras", "cam_front,cam_top", "--out", tmp_path / "out")
    assert main(["demo", *map(str, words)]) == 1
    printed, err = capsys.readouterr()
    assert printed == ""
    assert len(err.strip().splitlines()) == 1
    assert "has no camera cam_top; its cameras: cam_back, cam_back_left, " in err
    assert not (tmp_path / "out").exists()


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
    for name in ("contact_sheet.png", "skill.png", "forecast.mp4", "metrics.json"):
        assert str(out / name) in printed
    assert "UNTRAINED" in printed
    assert "mean nothing" in printed
    # The progress bar: a busy machine may let the demo miss the first frame, not more.
    assert re.search(rf"({FRAMES - 1}|{FRAMES})/{FRAMES} .*\d+ forecasts", warnings)
    assert "Traceback" not in warnings


@pytest.fixture
def old_results(tmp_path: Path) -> Path:
    """A folder with the results of an earlier run."""
    for name in ("contact_sheet_left.png", "skill.png", "forecast.mp4"):
        (tmp_path / name).write_text("old")
    told = {"frames_in": 9, "forecasts_out": 5, "exit_codes": {}, "machine": {}}
    (tmp_path / "metrics.json").write_text(json.dumps(told))
    return tmp_path


def assert_old(folder: Path) -> None:
    """Only the log of the run that ended is new."""
    names = {"contact_sheet_left.png", "skill.png", "forecast.mp4", "metrics.json", "log"}
    assert {entry.name for entry in folder.iterdir()} == names
    assert (folder / "forecast.mp4").read_text() == "old"
    assert (folder / "log" / "unfinished" / "forecast_node.log").is_file()


def test_a_node_that_refuses_to_start_ends_the_demo_in_one_line(
    ros_domain: dict[str, str], old_results: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    words = ("--out", old_results, "--device", "tpu")
    code, printed, err = run_quickly(ros_domain, tmp_path_factory.mktemp("scratch"), *words)
    assert code == 2
    assert printed == ""
    told = [line for line in err.splitlines() if line.startswith("foresight: ")]
    (line,) = [line for line in told if not line.startswith("foresight: warning: ")]
    assert line.startswith("foresight: forecast_node: ")
    assert "'tpu' is unknown; valid: auto" in line
    assert err.rstrip().endswith(line)
    assert_old(old_results)


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
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Any, words: str
) -> None:
    path = tmp_path / "clip.mp4"
    make(path)
    assert main(["demo", "--out", str(tmp_path / "out"), "--input", str(path)]) == 1
    printed, err = capsys.readouterr()
    assert printed == ""
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("foresight: ")
    assert words in err
    assert str(path) in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="ctrl_c"),
        pytest.param(signal.SIGTERM, 143, id="sigterm", marks=pytest.mark.long),
    ],
)
def test_an_interrupted_demo_leaves_no_process_and_no_result(
    ros_domain: dict[str, str], old_results: Path, number: signal.Signals, code: int
) -> None:
    demo = DemoProcess(ros_domain, "--out", old_results)
    log = old_results / "log" / "unfinished" / "forecast_node.log"
    deadline_s = time.monotonic() + LIMIT_S
    while len(marked_processes(demo.mark)) < 2 or not log.exists():
        assert time.monotonic() < deadline_s, "the forecast node never started"
        time.sleep(0.1)
    time.sleep(0.5)
    demo.process.send_signal(number)
    returned, _, err = demo.finish()
    assert returned == code
    assert "Traceback" not in err
    assert marked_processes(demo.mark) == []
    assert_old(old_results)


def test_an_input_that_the_results_would_replace_is_refused_and_stays(
    old_results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    played = old_results / "forecast.mp4"
    assert main(["demo", "--input", str(played), "--out", str(old_results)]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"the input {played} is what --out {old_results} would replace" in line
    assert played.read_text() == "old"


def test_a_killed_demo_takes_its_nodes_with_it(ros_domain: dict[str, str], tmp_path: Path) -> None:
    demo = DemoProcess(ros_domain, "--out", tmp_path)
    deadline_s = time.monotonic() + LIMIT_S
    while len(marked_processes(demo.mark)) < 2:
        assert time.monotonic() < deadline_s, "the forecast node never started"
        time.sleep(0.1)
    time.sleep(0.5)
    demo.process.kill()
    demo.finish()
    deadline_s = time.monotonic() + LIMIT_S
    while marked_processes(demo.mark):
        assert time.monotonic() < deadline_s, "a node outlived the demo"
        time.sleep(0.1)
    assert not (tmp_path / "metrics.json").exists()
