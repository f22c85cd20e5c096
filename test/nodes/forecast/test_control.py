"""A running forecast node is told what to do: services, parameters, lifecycle, over DDS."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from micro_bundle import make_micro_bundle

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from forecast_peers import (
    INTERVAL_NS,
    Client,
    NodeProcess,
    newest_is_forecast,
    stamp_of,
    stream_until,
    values_of,
)
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy as Durability
from rclpy.qos import ReliabilityPolicy as Reliability
from ros_bench import published_topics
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger

from dino_foresight_ros import msg as messages

NAME = "/forecast_node"


def PARAMETERS(folder: Path) -> tuple[str, ...]:  # noqa: N802 - of the fixture `node`
    bundle = make_micro_bundle().save(folder / "micro")
    return (f"bundle:={bundle}", "steps:=2", "device:=cpu", "stream_timeout_s:=1.0")


class Bench:
    """What a test does with the node."""

    def __init__(self, client: Client, node: NodeProcess) -> None:
        self.client, self.node = client, node
        self.diagnostics = client.subscribe(DiagnosticArray, "/diagnostics")
        self.next_ns = client.next_ns()

    def stream_until(self, condition: Callable[[], bool]) -> list[int]:
        stamps = stream_until(self.client, self.next_ns, condition)
        self.next_ns += len(stamps) * INTERVAL_NS
        return stamps

    def value(self, key: str) -> str:
        return values_of(self.diagnostics[-1]).get(key, "0") if self.diagnostics else "0"

    def dropped(self, reason: str) -> int:
        return int(self.value(f"dropped.{reason}"))

    def says(self, level: bytes, words: str) -> bool:
        status = self.diagnostics[-1].status[0] if self.diagnostics else None
        return status is not None and status.level == level and words in status.message

    def wait_until(self, condition: Callable[[], bool]) -> None:
        assert self.client.spin_until(condition), self.diagnostics[-1:]

    def set(self, **values: Any) -> list[Any]:
        wish = SetParameters.Request(
            parameters=[Parameter(n, value=v).to_parameter_msg() for n, v in values.items()]
        )
        return list(self.client.call(SetParameters, f"{NAME}/set_parameters", wish).results)

    def set_well(self, **values: Any) -> None:
        results = self.set(**values)
        assert all(result.successful for result in results), results

    def reset(self) -> Any:
        return self.client.call(Trigger, f"{NAME}/reset", Trigger.Request())

    def change(self, label: str) -> bool:
        request = ChangeState.Request()
        request.transition.label = label
        return bool(self.client.call(ChangeState, f"{NAME}/change_state", request).success)


@pytest.fixture
def bench(client: Client, node: NodeProcess) -> Bench:
    return Bench(client, node)


def test_reset_drops_the_context_and_says_how_full_it_was(bench: Bench) -> None:
    bench.reset()  # the first answer may get lost, and the second would say another number
    forecasts = bench.client.subscribe(messages.Forecast, "foresight/forecast")
    # No frame of before is on its way any more.
    bench.stream_until(lambda: newest_is_forecast(bench.client, forecasts))
    answer = bench.reset()
    assert answer.success
    assert "4/4 frames" in answer.message
    forecasts.clear()
    fresh = bench.stream_until(lambda: bool(forecasts))
    assert len(fresh) >= 4  # the context fills anew
    # Of new frames only; on a busy machine not always the very first four.
    assert {stamp_of(stamp) for stamp in forecasts[0].context_stamps} <= set(fresh)


def test_reset_shows_in_the_diagnostics_without_another_frame(bench: Bench) -> None:
    forecasts = bench.client.subscribe(messages.Forecast, "foresight/forecast")
    bench.stream_until(lambda: newest_is_forecast(bench.client, forecasts))
    bench.reset()
    bench.wait_until(lambda: bench.value("context") == "0/4 frames")


def test_paused_node_counts_frames_and_forecasts_none_until_it_resumes(bench: Bench) -> None:
    forecasts = bench.client.subscribe(messages.Forecast, "foresight/forecast")
    bench.stream_until(lambda: bool(forecasts))

    def enable(wanted: bool) -> Any:
        return bench.client.call(SetBool, f"{NAME}/set_enabled", SetBool.Request(data=wanted))

    enable(True)  # the first answer may get lost, and the second would say another thing
    answer = enable(False)
    assert answer.success
    assert answer.message.startswith("paused")
    assert enable(False).message == "was paused already"

    def forecast_since(first_ns: int) -> bool:
        return any(stamp_of(forecast.header.stamp) >= first_ns for forecast in forecasts)

    paused_ns = bench.next_ns  # a frame from before may still be in work
    disabled = bench.dropped("disabled")
    bench.stream_until(lambda: bench.dropped("disabled") >= disabled + 3)
    assert bench.says(DiagnosticStatus.OK, "paused")
    assert not forecast_since(paused_ns)
    assert enable(True).success
    resumed_ns = bench.next_ns
    bench.stream_until(lambda: forecast_since(resumed_ns))


def test_steps_change_while_it_runs(bench: Bench) -> None:
    forecasts = bench.client.subscribe(messages.Forecast, "foresight/forecast")
    bench.stream_until(lambda: bool(forecasts))
    bench.set_well(steps=4)
    depth = bench.client.subscribe(Image, "foresight/step_4/depth")
    bench.stream_until(lambda: bool(depth) and len(forecasts[-1].steps) == 4)
    horizons = [step.horizon for step in forecasts[-1].steps]
    assert horizons == pytest.approx([0.2, 0.4, 0.6, 0.8])
    bench.set_well(steps=1)
    bench.wait_until(lambda: "/foresight/step_2/depth" not in published_topics(bench.client.node))
    assert "/foresight/step_1/depth" in published_topics(bench.client.node)
    bench.stream_until(lambda: len(forecasts[-1].steps) == 1)
    bench.set_well(steps=2)
    bench.stream_until(lambda: len(forecasts[-1].steps) == 2)
    assert "Traceback" not in bench.node.text
    assert bench.dropped("error") == 0


def test_outputs_features_and_size_change_while_it_runs(bench: Bench) -> None:
    forecasts = bench.client.subscribe(messages.Forecast, "foresight/forecast")
    bench.set_well(outputs=["depth"], publish_features=True, output_size="64x32")
    features = bench.client.subscribe(messages.FeatureMap, "foresight/features")

    def sizes() -> list[tuple[int, int]]:
        step = forecasts[-1].steps[0]
        return [(image.width, image.height) for image in (step.depth, step.segmentation)]

    bench.stream_until(lambda: bool(forecasts and features) and sizes() == [(64, 32), (0, 0)])
    assert "/foresight/step_1/segmentation" not in published_topics(bench.client.node)
    every = ["segmentation", "confidence", "depth", "normals"]
    bench.set_well(outputs=every, publish_features=False, output_size="input")
    bench.stream_until(lambda: sizes() == [(200, 120), (200, 120)])
    bench.set_well(output_size="grid")
    bench.stream_until(lambda: sizes() == [(48, 32), (48, 32)])


def test_rate_limit_leaves_frames_to_the_context(bench: Bench) -> None:
    forecasts = bench.client.subscribe(messages.Forecast, "foresight/forecast")
    bench.set_well(max_rate_hz=1)  # a whole number serves
    try:
        bench.stream_until(lambda: newest_is_forecast(bench.client, forecasts))
        forecasts.clear()
        kept = bench.dropped("context_only"), bench.dropped("rate_limited")
        # How many of the frames reach the node depends on how busy the machine is.
        stamps = bench.stream_until(
            lambda: (
                len(forecasts) >= 2
                and bench.dropped("context_only") + bench.dropped("rate_limited") >= sum(kept) + 6
            )
        )
        assert len(forecasts) < len(stamps)
        # Every forecast has a whole context, of frames between those that were forecast.
        for forecast in forecasts:
            context = [stamp_of(stamp) for stamp in forecast.context_stamps]
            assert {b - a for a, b in pairwise(context)} == {INTERVAL_NS}
    finally:
        bench.set_well(max_rate_hz=0.0)
    count = len(forecasts)
    bench.stream_until(lambda: len(forecasts) >= count + 3)


def test_frames_older_than_max_age_are_not_forecast(bench: Bench) -> None:
    forecasts = bench.client.subscribe(messages.Forecast, "foresight/forecast")
    bench.set_well(max_age_ms=5000.0)
    try:
        bench.next_ns -= 60 * 10**9
        old = set(bench.stream_until(lambda: bench.dropped("too_old") >= 4))
        old |= set(
            bench.stream_until(lambda: bench.says(DiagnosticStatus.WARN, "dropped as too_old"))
        )
        assert not old & {stamp_of(forecast.header.stamp) for forecast in forecasts}
        forecasts.clear()
        bench.node.wait_for_text("more than max_age_ms allows (5000 ms)")
        bench.next_ns = bench.client.next_ns()
        bench.stream_until(lambda: bool(forecasts))
    finally:
        bench.set_well(max_age_ms=0.0)


def test_thresholds_of_the_diagnostics_change_while_it_runs(bench: Bench) -> None:
    forecasts = bench.client.subscribe(messages.Forecast, "foresight/forecast")
    bench.stream_until(lambda: bool(forecasts))
    bench.set_well(latency_warn_ms=0.001, latency_error_ms=0.0, min_rate_hz=500.0)
    bench.stream_until(lambda: bench.says(DiagnosticStatus.WARN, "above 0.001 ms"))
    message = bench.diagnostics[-1].status[0].message
    assert "forecasts/s are below 500" in message
    assert "untrained: forecasts mean nothing" in message
    bench.set_well(latency_error_ms=0.001)
    bench.stream_until(lambda: bench.says(DiagnosticStatus.ERROR, "above 0.001 ms"))
    bench.set_well(latency_warn_ms=0.0, latency_error_ms=0.0, min_rate_hz=0.0)
    bench.stream_until(lambda: not bench.says(DiagnosticStatus.ERROR, ""))
    bench.wait_until(lambda: bench.says(DiagnosticStatus.STALE, "no image for"))


def test_outputs_are_reliable_and_labels_latched(bench: Bench) -> None:
    def offered(topic: str) -> list[Any]:
        return bench.client.node.get_publishers_info_by_topic(topic)

    for topic in ("forecast", "step_1/depth", "step_1/camera_info", "labels"):
        bench.wait_until(lambda name=topic: bool(offered(f"/foresight/{name}")))
        assert offered(f"/foresight/{topic}")[0].qos_profile.reliability == Reliability.RELIABLE
    labels = offered("/foresight/labels")[0].qos_profile
    assert labels.durability == Durability.TRANSIENT_LOCAL


def test_diagnostics_tell_memory_device_and_model(bench: Bench) -> None:
    bench.wait_until(lambda: float(bench.value("memory_resident_mb")) > 50.0)
    assert bench.value("device") == "cpu"
    assert bench.value("model") == "micro"
    assert bench.value("trained") == "false"
    assert "memory_device_allocated_mb" not in values_of(bench.diagnostics[-1])


def test_parameters_set_together_are_all_taken_or_none(bench: Bench) -> None:
    def set_together(**values: Any) -> Any:
        wish = SetParametersAtomically.Request(
            parameters=[Parameter(n, value=v).to_parameter_msg() for n, v in values.items()]
        )
        service = f"{NAME}/set_parameters_atomically"
        return bench.client.call(SetParametersAtomically, service, wish).result

    refused = set_together(steps=3, stream_timeout_s=2.0, dtype="bfloat16")
    assert not refused.successful
    assert "dtype may change only while the node is unconfigured" in refused.reason
    assert not set_together(steps=3, max_rate_hz=-1.0).successful
    assert "/foresight/step_3/depth" not in published_topics(bench.client.node)
    assert set_together(steps=3, stream_timeout_s=2.0).successful
    bench.wait_until(lambda: "/foresight/step_3/depth" in published_topics(bench.client.node))
    assert set_together(steps=2, stream_timeout_s=1.0).successful


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("step", 3, "parameter step is unknown; did you mean steps?"),
        ("zzz", 3, "parameter zzz is unknown; valid: bundle, device"),
        ("steps", 17, "17 is out of range; valid: 1 to 16"),
        ("steps", "two", "'two' is not a whole number"),
        ("outputs", ["flow"], "'flow' is unknown; valid: segmentation"),
        ("autostart", False, "autostart may change only at start: it needs a restart"),
        ("bundle", "x", "bundle may change only while the node is unconfigured (clean it up"),
        ("max_age_ms", float("nan"), "nan is out of range"),
    ],
)
def test_refusal_says_what_is_valid(bench: Bench, name: str, value: Any, reason: str) -> None:
    result = bench.set(**{name: value})[0]
    assert not result.successful
    assert reason in result.reason


def test_cleanup_says_what_it_gave_back_and_a_failed_configure_can_be_retried(
    bench: Bench,
) -> None:
    """Bad bundle, bad device, and back to work."""
    forecasts = bench.client.subscribe(messages.Forecast, "foresight/forecast")
    assert bench.change("deactivate")
    bench.wait_until(lambda: bench.says(DiagnosticStatus.OK, "inactive"))
    answer = bench.reset()
    assert not answer.success
    assert "not active" in answer.message
    bench.set_well(steps=3)  # while inactive
    assert bench.change("cleanup")
    line = next(line for line in bench.node.text.splitlines() if "cleaned up" in line)
    assert "resident memory" in line
    assert "MB freed" in line
    bench.wait_until(lambda: bench.says(DiagnosticStatus.OK, "unconfigured"))
    for name, value, reason, good in (
        ("bundle", "/no/such/bundle", "/no/such/bundle is not a bundle", "untrained-tiny"),
        ("device", "cuda:77", "device 'cuda:77' does not exist here", "cpu"),
    ):
        bench.set_well(**{name: value})
        assert not bench.change("configure")
        failed = f"cannot configure: {reason}"
        bench.wait_until(lambda text=failed: bench.says(DiagnosticStatus.ERROR, text))
        assert failed in bench.node.text
        bench.set_well(**{name: good})
    assert bench.change("configure")
    bench.wait_until(lambda: bench.says(DiagnosticStatus.OK, "inactive"))
    assert bench.change("activate")
    bench.wait_until(lambda: bench.client.images.get_subscription_count() > 0)
    bench.stream_until(lambda: bool(forecasts))
    assert len(forecasts[-1].steps) == 3
    assert "Traceback" not in bench.node.text
