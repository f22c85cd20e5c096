"""Closed loop: who knows more meets less, and scores are what happened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dino_foresight_ros.benchmark.stopping import stopping_rows, stopping_table
from dino_foresight_ros.cli.main import main
from dino_foresight_ros.driving import (
    TIMES_S,
    CollisionMonitor,
    CopyLast,
    Episode,
    Policy,
    Sensor,
    Truth,
    drive_episode,
    ego_footprint,
    table,
    totals,
)
from dino_foresight_ros.driving.maneuvers import BRAKE_HARD, KEEP, LEFT, control_of, trajectory_of
from dino_foresight_ros.driving.perception import at_times, without_noise
from dino_foresight_ros.driving.policies import met_on
from dino_foresight_ros.driving.runs import read_seeds
from dino_foresight_ros.driving.scores import per_km_between
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.obstacles import ObstaclePoints
from dino_foresight_ros.synthetic import HAZARDS, Control, Drive, World, WorldConfig


@pytest.fixture(scope="module")
def street() -> World:
    """A pedestrian crosses before the ego after 4 s; a second one after 8 s."""
    config = WorldConfig(seed=3, width=160, height=88, view_distance_m=60.0, frame_rate_hz=5.0)
    return World(config)


def before_the_walker(world: World) -> Drive:
    drive = world.drive(hazards=HAZARDS)
    while drive.t_s < 2.6:
        drive.step(control_of(drive, KEEP), 0.2)
    return drive


def points(*places: tuple[float, float]) -> ObstaclePoints:
    xyz = np.array([(x, y, 0.5) for x, y in places], np.float32).reshape(-1, 3)
    return ObstaclePoints(xyz, np.full(len(xyz), 10, np.uint8), np.ones(len(xyz), np.float32))


@pytest.mark.slow
def test_keeping_speed_strikes_whom_the_truth_brakes_for(street: World) -> None:
    blind = drive_episode(street, Policy(None), 5.0, HAZARDS)
    assert (blind.collisions, blind.stops) == (1, 0)
    assert blind.contacts[0][0] == 10
    knowing = drive_episode(street, Policy(Truth()), 5.0, HAZARDS)
    assert (knowing.collisions, knowing.false_stops) == (0, 0)
    assert knowing.stops >= 1
    assert len(knowing.contact_margins_s) == knowing.stops
    assert 0.5 * blind.travelled_m < knowing.travelled_m < blind.travelled_m


@pytest.mark.slow
def test_the_truth_foresees_on_a_way_what_driving_it_meets(street: World) -> None:
    """Against the world itself: the instant of the first contact."""
    drive, truth = before_the_walker(street), Truth()
    truth.see(drive, None)
    foreseen = met_on(truth, trajectory_of(drive, KEEP), ego_footprint(0.0))
    ahead = drive.fork()
    while ahead.contact() is None:
        ahead.step(control_of(ahead, KEEP), 0.05)
        assert ahead.t_s < 6.0
    assert foreseen.time_to_contact_s == pytest.approx(ahead.t_s - drive.t_s, abs=0.2)
    # The present alone does not know of it: whoever will be struck still walks beside the lane.
    sensor = Sensor()
    sensor.see(drive, drive.render())
    assert met_on(sensor, trajectory_of(drive, KEEP), ego_footprint(0.0)).class_id != 10


def test_a_way_is_where_the_maneuver_leads(street: World) -> None:
    drive = street.drive()
    for maneuver in (KEEP, LEFT, BRAKE_HARD):
        trajectory, ahead = trajectory_of(drive, maneuver), drive.fork()
        assert len(trajectory.poses) == len(TIMES_S)
        for _ in range(5):
            curvature = ahead.lane_curvature(maneuver.offset_m)
            wanted = 2.0 * (ahead.comfortable_speed() - ahead.ego.speed_mps)
            hard = maneuver.acceleration_mps2
            ahead.step(Control(np.clip(wanted, -2, 1.5) if hard is None else hard, curvature), 0.2)
        place = drive.to_base(ahead.ego_xy[None])[0]
        assert trajectory.poses[TIMES_S.index(1.0), :2] == pytest.approx(place, abs=0.1)
    assert trajectory_of(drive, LEFT).poses[-1, 1] > trajectory_of(drive, KEEP).poses[-1, 1] + 0.5
    assert drive.t_s == 0.0


def test_the_present_stays_and_copy_last_goes_along(street: World) -> None:
    drive, frame = street.drive(), street.render(0.0)
    sensor, copied = Sensor(), CopyLast(Sensor())
    sensor.see(drive, frame)
    copied.see(drive, frame)
    trajectory = trajectory_of(drive, KEEP)
    still, moved = sensor.around(trajectory)[-1].xyz, copied.around(trajectory)[-1].xyz
    assert len(still) == len(moved) > 20
    gone = np.hypot(*trajectory.poses[-1, :2])
    assert np.median(moved[:, 0] - still[:, 0]) == pytest.approx(gone, rel=0.15)


def test_horizons_are_taken_where_they_are_nearest_and_kept_after_the_last() -> None:
    now, near, far = points((1.0, 0.0)), points((2.0, 0.0)), points((3.0, 0.0))
    found = [one.xyz[0, 0] for one in at_times(now, [near, far], [0.4, 0.8])]
    assert found[:4] == [1.0, 2.0, 2.0, 3.0] or found[:4] == [2.0, 2.0, 2.0, 3.0]
    assert set(found[4:]) == {3.0}


def test_single_pixels_are_no_obstacle() -> None:
    crowd = [(5.1, 1.1), (5.12, 1.12), (5.14, 1.2), (9.0, 0.0), (9.1, 3.0)]
    kept = without_noise(points(*crowd))
    assert kept.xyz[:, 0].tolist() == pytest.approx([5.1])


@pytest.mark.parametrize(
    ("place", "rule", "speed"),
    [
        ((3.0, 0.0), "stop", 0.0),  # 1.2 m before the bumper
        ((6.0, 0.5), "slowdown", 4.0),  # 4.2 m before it, at a crawl
        ((6.0, 1.6), "", 10.0),  # beside the trajectory
        ((60.0, 0.0), "", 10.0),
    ],
)
def test_the_monitor_limits_speed_by_its_polygons(
    place: tuple[float, float], rule: str, speed: float
) -> None:
    monitor = CollisionMonitor(Sensor())
    places = points(place).xyz[:, :2]
    assert monitor.limit(places, 10.0, 1.0, Control(0.0, 0.0)) == (pytest.approx(speed), rule)


def test_the_monitor_keeps_the_contact_away_in_time() -> None:
    """11.8 m before the bumper at 10 m/s: contact in 1.2 s; by hand from nav2's rule."""
    monitor = CollisionMonitor(Sensor())
    front = float(ego_footprint(0.0).corners[:, 0].max())
    places = points((front + 0.25 + 11.8, 0.0)).xyz[:, :2]
    assert monitor.time_to_contact_s(places, 10.0, 0.0) == pytest.approx(1.2, abs=0.05)
    allowed, rule = monitor.limit(places, 12.0, 10.0, Control(0.0, 0.0))
    assert (allowed, rule) == (pytest.approx(10.0 * 1.2 / 1.8, rel=0.05), "approach")
    # In a left bend the same point is passed by.
    assert monitor.time_to_contact_s(places, 10.0, 0.1) == float("inf")


def test_scores_are_sums_over_the_distance_and_medians() -> None:
    one = Episode(30.0, 250.0, 1, 0, 4, 1, 2, [1.0, 2.0], [], [0.4], [(10, 3.0, 5.0)])
    other = Episode(30.0, 250.0, 0, 1, 2, 0, 0, [6.0], [], [], [])
    row = totals([one.to_dict(), other.to_dict()])
    assert row["km"] == 0.5
    assert (row["collisions"], row["collisions_per_km"], row["off_road"]) == (1, 2.0, 1)
    assert (row["stops_per_km"], row["false_stops_per_km"]) == (12.0, 2.0)
    assert (row["contact_margin_s"], row["resuming_s"]) == (2.0, 0.4)
    assert np.isnan(row["stopping_s"])
    assert row["mean_speed_mps"] == pytest.approx(500.0 / 60.0)
    lines = table({"p": row}).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert np.isnan(row["collisions_per_km_between_low"])  # two seeds tell no interval


def test_the_interval_of_a_rate_is_as_wide_as_seeds_differ() -> None:
    """Poisson counts at 4 per km on 60 drives of 250 m: 4 +- 1.96 sqrt(60) / 15 km."""
    counts = np.random.default_rng(3).permutation([0] * 22 + [1] * 22 + [2] * 11 + [3] * 4 + [4])
    drives = [{"collisions": int(n), "travelled_m": 250.0} for n in counts]
    low, high = per_km_between(drives, "collisions")
    assert (low + high) / 2 == pytest.approx(counts.sum() / 15.0, rel=0.05)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(60 * counts.var()) / 15.0, rel=0.1)
    assert np.isnan(per_km_between([{"collisions": 0, "travelled_m": 9.0}] * 9, "collisions")[0])


def test_contacts_avoided_are_told_against_nobody_holding_back() -> None:
    def driven(
        collisions: int, metres: float, false_stops: int, margins: list[float]
    ) -> dict[str, Any]:
        return Episode(
            20.0, metres, collisions, 0, 2, false_stops, 0, margins, [], [1.5],
            [(10, 3.0, 4.0)] if margins else [],
        ).to_dict()  # fmt: skip

    found = {
        "constant": [driven(2, 250.0, 0, []), driven(2, 250.0, 0, [])],
        "monitor-sensor": [driven(1, 200.0, 1, [0.5, 0.7]), driven(0, 200.0, 0, [1.5])],
    }
    blind, sensor = stopping_rows(found)
    assert (blind["contacts_per_km"], blind["avoided"]) == (8.0, 0.0)
    assert sensor["avoided"] == pytest.approx(1 - 2.5 / 8.0)
    assert sensor["false_stops_per_km"] == 2.5
    assert sensor["time_to_contact_at_stop_s"] == 0.7
    assert np.isnan(blind["contact_speed_mps"])  # none were kept
    assert sensor["contact_speed_mps"] == 4.0
    assert "| true depth now | 2.50 | 69 % | 4.0 m/s | 2.50 |" in stopping_table([blind, sensor])


@pytest.mark.slow
def test_the_command_drives_resumes_and_films(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["drive", "--seeds", "3", "--seconds", "1", "--out", str(tmp_path)]
    command += ["--policies", "constant", "sensor"]
    assert main([*command, "--video", "3"]) == 0
    assert "| sensor |" in capsys.readouterr().out
    kept = tmp_path / "seed_00003.json"
    result = json.loads(kept.read_text())
    assert result["policies"]["constant"]["duration_s"] == 1.0
    video = cv2.VideoCapture(str(tmp_path / "drive_3.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    result["policies"]["sensor"]["collisions"] = 7  # what is kept is not driven again
    kept.write_text(json.dumps(result))
    assert main(command) == 0
    assert json.loads((tmp_path / "drive.json").read_text())["sensor"]["collisions"] == 7
    command[command.index("1")] = "0.4"  # below what is allowed
    assert main(command) == 2
    command[command.index("0.4")] = "1.2"
    command.remove("sensor")
    assert main(command) == 0
    assert list(json.loads(kept.read_text())["policies"]) == ["constant"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--policies", "teleport"], "teleport"),
        (["--policies", "forecast"], "--bundle"),
        (["--seconds", "0"], "--seconds"),
        (["--hazards", "meteor"], "meteor"),
        (["--scene", "moon"], "moon"),
        (["--seeds", "x"], "seeds"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_bad_arguments_get_one_line(
    flags: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["drive", "--out", str(tmp_path), *flags]) == 2
    text = capsys.readouterr().err
    assert words in text
    assert text.count("\n") == 1


def test_seeds_are_numbers_and_ranges() -> None:
    assert read_seeds("0-2,7,1") == [0, 1, 2, 7]
    with pytest.raises(UsageError, match="0-19,42"):
        read_seeds("5-1")
