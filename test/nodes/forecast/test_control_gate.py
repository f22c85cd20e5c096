"""What the gate lets through, for one camera and for several."""

from __future__ import annotations

import numpy as np

from dino_foresight_ros.nodes.forecast.control import FrameGate

MS = 1_000_000


def gate(max_rate_hz: float = 0.0) -> FrameGate:
    one = FrameGate()
    one.max_rate_hz = max_rate_hz
    return one


def test_without_limits_everything_passes() -> None:
    one = gate()
    assert not any(one.holds_back("", k, 0.001 * k) for k in range(100))


def test_one_camera_passes_at_the_limit() -> None:
    one = gate(max_rate_hz=2.0)
    passed = [k for k in range(100) if not one.holds_back("", k * 100 * MS, k * 0.1)]
    assert passed == list(range(0, 100, 5))


def test_cameras_of_one_instant_pass_or_stay_together() -> None:
    one = gate(max_rate_hz=10.0)
    one.same_instant_ns = 10 * MS
    rng = np.random.default_rng(4)
    passed: dict[str, list[int]] = {"left": [], "right": [], "rear": []}
    for k in range(300):
        for camera in rng.permutation(list(passed)):
            stamp_ns = k * 33 * MS + int(rng.integers(-4 * MS, 4 * MS))
            if not one.holds_back(str(camera), stamp_ns, k * 0.033 + rng.uniform(0, 0.004)):
                passed[str(camera)].append(k)
    assert passed["left"] == passed["right"] == passed["rear"]
    assert 95 <= len(passed["left"]) <= 100


def test_cameras_that_are_not_synchronised_do_not_take_turns_from_each_other() -> None:
    one = gate(max_rate_hz=1.0)
    one.same_instant_ns = 10 * MS
    passed = {"left": 0, "right": 0}
    for k in range(200):
        for camera, late_ms in (("left", 0), ("right", 40)):
            stamp_ms = k * 100 + late_ms
            passed[camera] += not one.holds_back(camera, stamp_ms * MS, stamp_ms / 1000)
    assert passed == {"left": 20, "right": 20}


def test_camera_beside_a_faster_one_keeps_its_share() -> None:
    one = gate(max_rate_hz=2.0)
    one.same_instant_ns = 20 * MS
    frames = [(k * 20, "fast") for k in range(1000)] + [(k * 130, "slow") for k in range(154)]
    passed = {"fast": 0, "slow": 0}
    for stamp_ms, camera in sorted(frames):
        passed[camera] += not one.holds_back(camera, stamp_ms * MS, stamp_ms / 1000)
    assert 36 <= passed["fast"] <= 41
    assert 20 <= passed["slow"] <= 41


def test_camera_does_not_pass_twice_in_one_instant() -> None:
    one = gate(max_rate_hz=1.0)
    one.same_instant_ns = 50 * MS
    assert not one.holds_back("left", 100 * MS, 0.0)
    assert not one.holds_back("right", 130 * MS, 0.01)
    assert one.holds_back("left", 120 * MS, 0.02)
    assert one.holds_back("right", 140 * MS, 0.04)
