"""Forecast node and monitor node, two processes, on a drive through the synthetic world."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from forecast_peers import INTERVAL_NS, Client, NodeProcess, stamp_of
from sensor_msgs.msg import Image

from dino_foresight_ros.msg import FeatureMap, ForecastSkill
from dino_foresight_ros.nodes.forecast import node as forecast_node
from dino_foresight_ros.nodes.monitor import node as monitor_node
from dino_foresight_ros.synthetic import World, WorldConfig

START_NS = 1_700_000_000 * 10**9
TIMEOUT_S = 300.0  # loading models on a busy machine; the wait ends once enough came


@pytest.fixture
def processes(ros_domain: dict[str, str], tmp_path: Path) -> Iterator[list[NodeProcess]]:
    """Both nodes, the forecast node listening to its camera."""
    parameters = {
        "forecast": (forecast_node.main, "steps:=2", "device:=cpu", "publish_features:=true"),
        "monitor": (monitor_node.main, "window:=5"),
    }
    with contextlib.ExitStack() as stack:
        started = []
        for name, (program, *given) in parameters.items():
            node = NodeProcess(ros_domain, tmp_path / name, *given, program=program)
            stack.callback(node.kill)
            started.append(node)
        yield started


def test_skill_is_what_the_published_features_give(processes: list[NodeProcess]) -> None:
    client = Client("end_to_end_client")
    features: dict[tuple[int, int], np.ndarray] = {}

    def keep(message: FeatureMap) -> None:
        shape = (message.grid_height, message.grid_width, message.channels)
        values = np.frombuffer(bytes(message.data), np.float32).reshape(shape)
        features[stamp_of(message.header.stamp), message.step] = values

    try:
        client.node.create_subscription(FeatureMap, "foresight/features", keep, 100)
        skills = client.subscribe(ForecastSkill, "foresight/skill")
        maps = client.subscribe(Image, "foresight/surprise")
        statuses = client.subscribe(DiagnosticArray, "/diagnostics")

        def checkable() -> list[ForecastSkill]:
            return [s for s in skills if keys_of(s) <= features.keys()]

        def has_enough() -> bool:
            steps = [skill.step for skill in checkable()]
            return steps.count(1) > 2 and steps.count(2) > 2 and len(maps) > 0

        heard = ("foresight/features", "foresight/forecast", "foresight/step_0/depth")
        assert client.spin_until(
            lambda: all(client.node.count_subscribers(topic) for topic in heard), TIMEOUT_S
        )
        client.wait_until_heard(processes[0])
        # The next frame comes when the last one is dealt with, however busy the machine is.
        drive = World(WorldConfig(seed=20, width=160, height=90, frame_rate_hz=5.0))
        for index, frame in enumerate(drive.frames(60)):
            stamp_ns = START_NS + index * INTERVAL_NS
            client.publish(stamp_ns, (90, 160), data=frame.image.tobytes())
            client.spin_until(lambda s=stamp_ns: (s, 2) in features, 10.0 if features else 0.5)
            if client.spin_until(has_enough, 0.0):
                break
        assert client.spin_until(has_enough), processes[1].text
        for skill in checkable():
            predicted, origin, came = (features[key] for key in sorted_keys(skill))
            error = np.mean((predicted - came) ** 2)
            copy_error = np.mean((origin - came) ** 2)
            assert skill.feature_error == pytest.approx(error, rel=1e-4)
            assert skill.copy_feature_error == pytest.approx(copy_error, rel=1e-4)
            assert skill.skill == pytest.approx(1 - error / copy_error, abs=1e-4)
            for name in ("segmentation_agreement", "copy_segmentation_agreement"):
                assert 0.0 <= getattr(skill, name) <= 1.0
            assert skill.depth_error >= 0.0
            assert skill.copy_depth_error >= 0.0
            assert not skill.trained
            assert skill.header.frame_id == "cam"
            assert skill.target_offset == pytest.approx(0.0, abs=1e-6)
        assert (maps[-1].height, maps[-1].width) == next(iter(features.values())).shape[:2]
        assert client.spin_until(lambda: any(is_warning(m.status[0]) for m in statuses))
    finally:
        client.close()


def is_warning(status: DiagnosticStatus) -> bool:
    """Whether it is the monitor's about random weights."""
    is_monitors = status.name == "monitor_node" and status.level == DiagnosticStatus.WARN
    return is_monitors and "untrained: skill says nothing" in status.message


def sorted_keys(skill: ForecastSkill) -> tuple[tuple[int, int], ...]:
    """Stamp and step of the forecast's features, of its newest frame's, of the frame that came."""
    made, came = stamp_of(skill.forecast_stamp), stamp_of(skill.header.stamp)
    return (made, skill.step), (made, 0), (came, 0)


def keys_of(skill: ForecastSkill) -> set[tuple[int, int]]:
    return set(sorted_keys(skill))
