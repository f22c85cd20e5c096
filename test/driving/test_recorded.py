"""A monitor beside a recorded drive: by hand, and on a bend with something that stands on it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import pytest
from micro_bundle import make_micro_bundle

from dino_foresight_ros.benchmark.stopping import main, mount_of, recorded_markdown
from dino_foresight_ros.cli.main import main as foresight
from dino_foresight_ros.driving.recorded import RecordedDrive, monitor_recording, stop_rows
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.obstacles import ObstaclePoints
from dino_foresight_ros.recordings import open_recordings
from dino_foresight_ros.recordings.camera_view import view_of_model
from dino_foresight_ros.recordings.motion import EgoMotion, planar_pose
from dino_foresight_ros.recordings.recording import Frame, Recording
from dino_foresight_ros.runtime.imagined import Mount


def test_stops_are_told_against_those_of_the_truth() -> None:
    """By hand: 20 instants 0.2 s apart, 100 m; the truth stops from 2.0 s on."""
    times = 0.2 * np.arange(20)
    late, early, never = (np.zeros(20, bool) for _ in range(3))
    late[12:] = True  # 0.4 s after the truth
    early[[0, 7]] = True  # 2 s and 0.6 s before it: both belong to it
    truth = times > 1.9
    drive = RecordedDrive(
        times, np.full(20, 5.0), 100.0,
        {"late": late, "early": early, "never": never, "truth": truth},
    )  # fmt: skip
    alone = np.zeros(20, bool)
    alone[3] = True
    quiet = {"late": alone, "early": never, "never": never, "truth": never}
    rows = {
        row["source"]: row
        for row in stop_rows([drive, RecordedDrive(times, np.full(20, 5.0), 100.0, quiet)])
    }
    assert [rows[name]["answered"] for name in ("late", "early", "never", "truth")] == [1, 1, 0, 1]
    assert rows["late"]["earlier_s"] == pytest.approx(-0.4)
    assert rows["early"]["earlier_s"] == pytest.approx(2.0)
    assert np.isnan(rows["never"]["earlier_s"])
    assert rows["late"]["stops_per_km"] == pytest.approx(2 / 0.2)
    assert rows["late"]["false_stops_per_km"] == pytest.approx(1 / 0.2)
    assert rows["early"]["false_stops_per_km"] == 0.0
    assert "| never | 0.00 | 0 % | - | 0.00 |" in recorded_markdown(list(rows.values()))
    standing = RecordedDrive(times, np.full(20, 0.5), 100.0, {"truth": truth})
    assert stop_rows([standing])[0]["stops_per_km"] == 0.0


class Bend(Recording):
    """A robot that drives a bend of 50 m at 6 m/s towards what stands on it after 20 m."""

    def __init__(self, has_motion: bool = True) -> None:
        super().__init__("bend", np.arange(0, 6_000_000_000, 100_000_000), (2, 2))
        angle = 6.0 * self.stamps_ns / 1e9 / 50.0
        places = 50.0 * np.column_stack([np.sin(angle), 1 - np.cos(angle)])
        poses = planar_pose(np.column_stack([places, angle]))
        self._motion = EgoMotion(np.full(60, 6.0), np.full(60, np.nan), poses)
        self.has_motion = has_motion

    @property
    def ego(self) -> EgoMotion | None:
        return self._motion if self.has_motion else None

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        image = np.zeros((2, 2, 3), np.uint8)
        return Frame(int(self.stamps_ns[index]), image=image, index=index)

    def _fingerprint_parts(self) -> Iterable[str]:
        yield self.name


class Eyes:
    """Sees what stands there, in the base frame; its forecasts are exact."""

    horizons_s, interval_s = (0.4, 0.8), 0.2

    def __init__(self, recording: Bend) -> None:
        self.recording = recording
        angle = 20.0 / 50.0 + 0.1 * np.arange(-3, 4)[:, None] / 50.0
        sides = 50.0 - 0.1 * np.arange(-3, 4)
        self.stands = np.column_stack(
            [(np.sin(angle) * sides).ravel(), (50.0 - np.cos(angle) * sides).ravel()]
        )

    def look(self, image: np.ndarray, stamp_ns: int, mount: Mount, poses: np.ndarray) -> None:
        index = int(np.searchsorted(self.recording.stamps_ns, stamp_ns))
        assert self.recording.ego is not None
        pose = np.linalg.inv(self.recording.ego.world_from_ego[index])
        xyz = np.column_stack([self.stands, np.full((len(self.stands), 2), (0.5, 1.0))])
        found = (xyz @ pose.T)[:, :3].astype(np.float32)
        count = len(found)
        self.points = ObstaclePoints(found, np.zeros(count, np.uint8), np.ones(count, np.float32))
        self.steps = [self.points] * 2


@pytest.mark.slow
def test_what_stands_is_at_one_place_in_what_comes_and_goes_along_with_copy_last() -> None:
    recording = Bend()
    drive = monitor_recording(recording, Eyes(recording), None)  # type: ignore[arg-type]
    assert len(drive.times_s) == 30  # every second frame: 0.2 s apart
    assert drive.travelled_m == pytest.approx(6.0 * 5.8, rel=0.01)
    present, truth = drive.stopping["present"], drive.stopping["truth"]
    # 20 m on the bend less the robot's front and side: by nav2's rule a stop from 1.8 s before on.
    first = float(drive.times_s[np.argmax(truth)])
    assert first == pytest.approx(20.0 / 6.0 - 0.9 - 1.9 / 6.0, abs=0.45)
    before = drive.times_s < 20.0 / 6.0 - 0.4  # what is passed is seen behind, and later no more
    assert np.array_equal(present[before], truth[before])
    assert np.array_equal(present, drive.stopping["forecast"])
    assert drive.stopping["copy-last"][before].sum() < present[before].sum()


def test_a_recording_without_motion_is_refused() -> None:
    recording = Bend(has_motion=False)
    with pytest.raises(InputError, match="record odometry"):
        monitor_recording(recording, Eyes(recording), None)  # type: ignore[arg-type]


SPEC = "synthetic:?seeds=3&frames=8&interval=0.2&size=56x84"


@pytest.mark.slow
def test_the_command_looks_at_recordings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_micro_bundle().save(tmp_path / "bundle")
    words = ["--data", SPEC, "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "--data needs --bundle" in capsys.readouterr().err
    words += ["--bundle", str(tmp_path / "bundle")]
    (recording,) = open_recordings([SPEC])
    monkeypatch.setattr("dino_foresight_ros.recordings.open_recordings", lambda specs: [recording])
    camera, recording.camera = recording.camera, None
    assert main(words) == 1
    assert "does not tell its camera" in capsys.readouterr().err
    recording.camera = camera
    monkeypatch.setattr(type(recording), "base_from_optical", None)
    assert main(words) == 1
    assert "give --camera-pose" in capsys.readouterr().err
    assert main([*words, "--camera-pose", "0", "0", "1.4", "0", "0", "0"]) == 0
    rows = json.loads((tmp_path / "out" / "recorded.json").read_text())
    assert [row["source"] for row in rows] == ["present", "copy-last", "forecast", "truth"]
    assert "| forecast |" in capsys.readouterr().out


@pytest.mark.slow
def test_a_bag_tells_its_camera_its_place_and_its_motion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = tmp_path / "drive"
    assert foresight(["bag", "from-video", SPEC, "--out", str(bag)]) == 0
    (world,), (recording,) = open_recordings([SPEC]), open_recordings([f"bag:{bag}"])
    mount = mount_of(recording, None)
    np.testing.assert_allclose(mount.base_from_optical, world.base_from_optical, atol=1e-6)
    assert world.camera is not None
    expected = view_of_model(world.camera, "world").pixel_rays((56, 84))
    np.testing.assert_allclose(mount.view.pixel_rays((56, 84)), expected, atol=1e-6)
    placed = mount_of(recording, [0.3, 0.0, 1.2, 0.0, 0.0, 0.0])
    assert placed.base_from_optical[:3, 3].tolist() == [0.3, 0.0, 1.2]
    make_micro_bundle().save(tmp_path / "bundle")
    words = ["--data", f"bag:{bag}", "--bundle", str(tmp_path / "bundle")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    (row, *_) = json.loads((tmp_path / "out" / "recorded.json").read_text())
    driven = np.diff(world.ego.world_from_ego[:, :2, 3], axis=0)
    assert row["km"] == pytest.approx(np.hypot(*driven.T).sum() / 1000, rel=0.01)
    assert "km" in capsys.readouterr().out
