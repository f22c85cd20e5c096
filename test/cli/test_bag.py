"""`foresight bag`."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.recordings import open_recording, open_recordings
from dino_foresight_ros.recordings.bag_reader import BagReader
from dino_foresight_ros.recordings.bag_writer import create_bag
from dino_foresight_ros.recordings.motion import MotionTrack
from dino_foresight_ros.recordings.synthetic import SyntheticRecording
from dino_foresight_ros.recordings.transform_tree import read_transforms
from dino_foresight_ros.synthetic import World


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Return 20 frames at 25 Hz, each brighter than the one before."""
    path = tmp_path / "drive.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (64, 48))
    for index in range(20):
        writer.write(np.full((48, 64, 3), 10 * index, np.uint8))
    writer.release()
    return path


def convert(video: Path, out: Path, *options: str) -> Path:
    assert main(["bag", "from-video", str(video), "--out", str(out), *options]) == 0
    return out


def run_and_read_error(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return the exit code and the one line on stderr."""
    capsys.readouterr()
    code = main(["bag", *arguments])
    (line,) = capsys.readouterr().err.splitlines()
    return code, line


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_frames_of_the_video_are_in_the_bag(video: Path, tmp_path: Path, storage: str) -> None:
    bag = convert(video, tmp_path / "bag", "--storage", storage, "--start-stamp", str(10**18 + 7))
    with open_recording(video) as original, open_recording(bag) as copy:
        pairs = list(zip(original.frames(), copy.frames(), strict=True))
        assert copy.camera is None
    assert len(pairs) == 20
    for before, after in pairs:
        assert np.array_equal(before.image, after.image)
        assert after.stamp_ns == before.stamp_ns + 10**18 + 7
        assert after.frame_id == "camera_optical_frame"


def test_without_start_stamp_the_bag_begins_now(video: Path, tmp_path: Path) -> None:
    before_ns = time.time_ns()
    with open_recording(convert(video, tmp_path / "bag")) as source:
        assert before_ns <= next(source.frames()).stamp_ns <= time.time_ns()


def test_compressed_bag_has_the_names_of_image_transport(video: Path, tmp_path: Path) -> None:
    options = ["--compressed", "jpeg", "--topic", "/front/image_rect", "--fov-deg", "90"]
    bag = convert(video, tmp_path / "bag", *options, "--frame-id", "front_optical")
    with open_recording(video) as original, open_recording(bag) as copy:
        for before, after in zip(original.frames(), copy.frames(), strict=True):
            assert np.abs(before.image.astype(int) - after.image).max() <= 4
        assert copy.camera is not None
        assert copy.camera.k[0] == pytest.approx(32.0)
        assert copy.camera.frame_id == "front_optical"
    assert sorted(BagReader(bag).topics) == ["/front/camera_info", "/front/image_rect/compressed"]


def test_another_bag_keeps_its_stamps_and_calibration(video: Path, tmp_path: Path) -> None:
    options = ["--start-stamp", str(10**18), "--fov-deg", "70", "--frame-id", "nose"]
    first = convert(video, tmp_path / "first", *options)
    second = convert(first, tmp_path / "second", "--storage", "sqlite3", "--end-s", "0.2")
    with open_recording(first) as before, open_recording(second) as after:
        assert before.camera == after.camera
        stamps = [(frame.stamp_ns, frame.frame_id) for frame in after.frames()]
    assert stamps == [(10**18 + i * 40_000_000, "nose") for i in range(5)]


def test_cut_input_is_written_as_far_as_it_goes_with_a_warning(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = convert(video, tmp_path / "whole")
    file = whole / "whole.mcap"
    file.write_bytes(file.read_bytes()[:60_000])
    convert(whole, tmp_path / "part")
    assert "foresight: warning: whole is truncated: " in capsys.readouterr().err
    with open_recording(tmp_path / "part") as source:
        assert 0 < len(list(source.frames())) < 20


def test_existing_output_is_kept_unless_forced(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = convert(video, tmp_path / "bag")
    arguments = ["from-video", str(video), "--out", str(out)]
    code, line = run_and_read_error(capsys, *arguments)
    assert code == 1
    assert line.endswith("bag exists already; choose another name or add --force")
    assert main(["bag", *arguments, "--force", "--end-s", "0.1"]) == 0
    with open_recording(out) as source:
        assert len(list(source.frames())) == 3


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--topic", "image"], 2, "is not a full topic name"),
        (["--topic", "/a//b"], 2, "is not a full topic name"),
        (["--fov-deg", "180"], 2, "field of view 180 degrees"),
        (["--jpeg-quality", "0"], 2, "JPEG quality 0"),
        (["--start-stamp", "-5"], 2, "start stamp -5"),
        (["--start-s", "3", "--end-s", "1"], 2, "end 1 s is not after start 3 s"),
    ],
)
def test_bad_arguments_write_nothing(
    video: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    text: str,
) -> None:
    out = tmp_path / "bag"
    found, line = run_and_read_error(capsys, "from-video", str(video), "--out", str(out), *options)
    assert (found, text in line) == (code, True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["drive.mp4"]


def test_missing_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "bag")
    code, line = run_and_read_error(capsys, "from-video", "/nowhere.mp4", "--out", out)
    assert code == 1
    assert line.startswith("foresight: /nowhere.mp4 does not exist")


def test_several_image_topics_name_the_option_that_chooses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = tmp_path / "two"
    with create_bag(two, "mcap") as writer:
        for topic in ("/left/image", "/right/image"):
            writer.write_image(topic, np.zeros((48, 64, 3), np.uint8), 10**18, "camera")
    out = tmp_path / "out"
    code, line = run_and_read_error(capsys, "from-video", str(two), "--out", str(out))
    assert code == 1
    assert "2 image topics; choose one with --input-topic: /left/image, /right/image" in line
    assert not out.exists()


def test_info_lists_topics_and_damage(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = convert(video, tmp_path / "bag", "--fov-deg", "70", "--start-stamp", str(10**18))
    capsys.readouterr()
    assert main(["bag", "info", str(bag)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{bag}: 0.760 s from 1000000000.000 s (Unix time)",
        "  /camera/camera_info  sensor_msgs/msg/CameraInfo  20 messages",
        "  /camera/image_raw  sensor_msgs/msg/Image  20 messages",
    ]
    (bag / "metadata.yaml").unlink()
    assert main(["bag", "info", str(bag)]) == 0
    assert "  incomplete: metadata.yaml is missing" in capsys.readouterr().out


@pytest.mark.slow
def test_bag_of_a_world_has_the_true_motion_and_the_mounting(tmp_path: Path) -> None:
    spec = "synthetic:?seeds=3&frames=12&interval=0.1&size=36x64&driver=wander"
    out = tmp_path / "bag"
    assert main(["bag", "from-video", spec, "--out", str(out), "--start-stamp", "5000"]) == 0
    (world,) = open_recordings([spec])
    bag = open_recordings([f"bag:{out}"])[0]
    assert isinstance(world, SyntheticRecording)
    assert bag.stamps_ns.tolist() == (world.stamps_ns + 5000).tolist()
    assert bag.ego is not None
    np.testing.assert_allclose(bag.ego.world_from_ego, world.ego.world_from_ego, atol=1e-9)
    np.testing.assert_allclose(bag.ego.between(0, 11), world.ego.between(0, 11), atol=1e-9)
    with open_recording(out) as played:
        assert played.camera is not None
        assert played.camera.k == pytest.approx(World(world.config).k.ravel().tolist())
    reader = BagReader(out)
    tree = read_transforms(reader, pytest.fail)
    mount = tree.lookup("base_link", "camera_optical_frame", 5000)
    np.testing.assert_allclose(mount, World(world.config).base_from_optical, atol=1e-9)
    # Twists that are integrated lead where the poses lead.
    messages = [reader.deserialize(m).twist.twist for m in reader.messages(["/odom"])]
    twists = [(m.linear.x, m.linear.y, m.angular.z) for m in messages]
    walked = MotionTrack.from_twists(bag.stamps_ns, twists).between(5000, 5000 + 10**9)
    np.testing.assert_allclose(walked, world.ego.between(0, 10), atol=0.05)
    reader.close()

    again = tmp_path / "again"  # another bag keeps it
    assert main(["bag", "from-video", str(out), "--out", str(again), "--end-s", "0.5"]) == 0
    kept = open_recordings([f"bag:{again}"])[0].ego
    assert kept is not None
    np.testing.assert_allclose(kept.world_from_ego, bag.ego.world_from_ego[:5], atol=1e-9)


def test_several_worlds_are_no_bag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "bag")
    code, line = run_and_read_error(capsys, "from-video", "synthetic:?seeds=0-2", "--out", out)
    assert code == 2
    assert "3 worlds; a bag takes one" in line
