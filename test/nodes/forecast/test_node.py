"""The forecast node as a process of its own, seen over DDS."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from forecast_peers import (
    INTERVAL_NS,
    Client,
    NodeProcess,
    header_at,
    stamp_of,
    stream,
    stream_until,
    values_of,
)
from lifecycle_msgs.srv import ChangeState, GetState
from ros_bench import TIMEOUT_S, wait_until
from sensor_msgs.msg import CameraInfo, Image

from dino_foresight_ros import msg as messages

PROGRAM = [sys.executable, str(Path(__file__).parents[3] / "scripts" / "forecast_node")]
"""As it is installed, and started as a user does."""
PARAMETERS = ("steps:=2", "device:=cpu", "stream_timeout_s:=1.0")


def test_forecast_messages_keep_time_and_follow_four_context_frames(client: Client) -> None:
    forecasts = client.subscribe(messages.Forecast, "foresight/forecast")
    base_ns = client.next_ns() + 60 * 10**9  # no frame of before fits into a context
    stamps = stream(client, base_ns, 3)
    assert forecasts == []
    stamps += stream_until(client, base_ns + 3 * INTERVAL_NS, lambda: len(forecasts) >= 3)
    for forecast in forecasts:
        source = stamp_of(forecast.header.stamp)
        context = [stamp_of(stamp) for stamp in forecast.context_stamps]
        assert forecast.header.frame_id == "cam"
        assert source in stamps[3:]
        assert context == [source - k * INTERVAL_NS for k in (3, 2, 1, 0)]
        targets = [source + k * INTERVAL_NS for k in (1, 2)]
        assert [stamp_of(stamp) for stamp in forecast.target_stamps] == targets
        assert [stamp_of(step.target_stamp) for step in forecast.steps] == targets
        assert [step.step for step in forecast.steps] == [1, 2]
        assert [step.horizon for step in forecast.steps] == pytest.approx([0.2, 0.4])
        assert forecast.model_name == "untrained-tiny"
        assert not forecast.trained
        assert 0 < forecast.latency < TIMEOUT_S


def test_images_have_the_promised_encodings_sizes_and_values(client: Client) -> None:
    forecasts = client.subscribe(messages.Forecast, "foresight/forecast")
    stream_until(client, client.next_ns(), lambda: bool(forecasts))
    promised = {
        "segmentation": ("mono8", np.uint8, 1),
        "depth": ("32FC1", np.float32, 1),
        "normals": ("32FC3", np.float32, 3),
        "confidence": ("32FC1", np.float32, 1),
    }
    for step in forecasts[-1].steps:
        arrays = {}
        assert step.depth_is_metric
        for name, (encoding, dtype, channels) in promised.items():
            image = getattr(step, name)
            assert (image.encoding, image.height, image.width) == (encoding, 72, 128)
            assert image.step == 128 * channels * np.dtype(dtype).itemsize
            assert image.header == forecasts[-1].header
            arrays[name] = np.frombuffer(image.data, dtype).reshape(72, 128, channels)
        assert arrays["segmentation"].max() < 14
        assert arrays["depth"].min() >= 1.0
        assert arrays["depth"].max() <= 80.0
        assert np.allclose(np.linalg.norm(arrays["normals"], axis=2), 1.0, atol=1e-3)
        assert 0.0 < arrays["confidence"].min() <= arrays["confidence"].max() <= 1.0


def test_step_topics_carry_images_colours_and_scaled_camera_info(client: Client) -> None:
    kinds = {
        "segmentation": Image,
        "segmentation_color": Image,
        "depth": Image,
        "normals": Image,
        "camera_info": CameraInfo,
    }
    got = {name: client.subscribe(kind, f"foresight/step_2/{name}") for name, kind in kinds.items()}
    labels = client.subscribe(messages.Labels, "foresight/labels", latched=True)
    info = CameraInfo(header=header_at(1), height=120, width=200, distortion_model="plumb_bob")
    info.d = [0.1, 0.2, 0.3, 0.4, 0.5]
    info.k = [100.0, 0.0, 100.0, 0.0, 110.0, 60.0, 0.0, 0.0, 1.0]
    info.p = [100.0, 0.0, 100.0, 8.0, 0.0, 110.0, 60.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    infos = client.node.create_publisher(CameraInfo, "camera_info", 1)
    assert client.spin_until(lambda: infos.get_subscription_count() > 0)

    def is_complete() -> bool:
        infos.publish(info)  # again and again: the node's side may not have met this one yet
        return all(got.values()) and bool(labels)

    stream_until(client, client.next_ns(), is_complete)
    client.node.destroy_publisher(infos)
    assert len(labels[-1].names) == 14
    assert labels[-1].unlabelled == 255
    palette = np.array(labels[-1].palette, np.uint8).reshape(-1, 3)
    stamps = {name: {stamp_of(m.header.stamp) for m in kept} for name, kept in got.items()}
    common = max(set.intersection(*stamps.values()))
    one = {n: next(m for m in k if stamp_of(m.header.stamp) == common) for n, k in got.items()}
    ids = np.frombuffer(one["segmentation"].data, np.uint8)
    colors = np.frombuffer(one["segmentation_color"].data, np.uint8).reshape(-1, 3)
    assert one["segmentation_color"].encoding == "rgb8"
    assert np.array_equal(colors, palette[ids])
    scaled = one["camera_info"]
    assert (scaled.height, scaled.width) == (72, 128)
    assert (scaled.height, scaled.width) == (one["depth"].height, one["depth"].width)
    assert scaled.k == pytest.approx([64, 0, 64, 0, 66, 36, 0, 0, 1])
    assert scaled.p == pytest.approx([64, 0, 64, 5.12, 0, 66, 36, 0, 0, 0, 1, 0])
    assert list(scaled.d) == list(info.d)


def test_every_frame_is_accounted_and_bad_ones_are_named(client: Client, node: NodeProcess) -> None:
    diagnostics = client.subscribe(DiagnosticArray, "/diagnostics")
    forecasts = client.subscribe(messages.Forecast, "foresight/forecast")
    base_ns = client.next_ns()
    stamps = stream_until(client, base_ns, lambda: bool(forecasts))
    before = len(forecasts)
    faults: list[tuple[int, dict[str, Any], str]] = [
        (stamps[-1], {}, "duplicate_stamp"),
        (stamps[-1] - INTERVAL_NS // 3, {}, "out_of_order"),
        (stamps[-1] + 1, {"width": 0}, "bad_image"),
        (stamps[-1] + 2, {"step": 5000}, "bad_image"),
        (stamps[-1] + 3, {"encoding": "16UC1"}, "bad_image"),
        (0, {}, "no_stamp"),
    ]

    def newest() -> dict[str, str]:
        return values_of(diagnostics[-1]) if diagnostics else {}

    for stamp, changes, reason in faults:
        dropped = int(newest().get(f"dropped.{reason}", 0))

        def is_named(s=stamp, c=changes, key=f"dropped.{reason}", n=dropped) -> bool:
            client.publish(s, **c)  # again, where another frame took its place
            return client.spin_until(lambda: int(newest().get(key, 0)) > n, 2.0)

        assert client.spin_until(is_named), newest()
    stream_until(client, stamps[-1] + INTERVAL_NS, lambda: len(forecasts) > before)
    assert client.spin_until(lambda: newest().get("in_flight") == "0")
    for message in diagnostics:
        values = values_of(message)
        dropped = sum(int(v) for k, v in values.items() if k.startswith("dropped."))
        assert dropped == int(values["dropped_total"])
        assert int(values["frames_received"]) == (
            int(values["forecasts_published"]) + dropped + int(values["in_flight"])
        )
    assert diagnostics[-1].status[0].name == "forecast_node: forecast"
    assert diagnostics[-1].status[0].hardware_id == "untrained-tiny"
    assert newest()["trained"] == "false"
    assert newest()["context"].endswith("/4 frames")
    assert float(newest()["latency_p99_ms"]) >= float(newest()["latency_p50_ms"]) > 0
    assert node.text.count("came twice") == 1
    assert node.text.count("came after a newer one") == 1


def test_nothing_is_forecast_for_nobody(client: Client) -> None:
    diagnostics = client.subscribe(DiagnosticArray, "/diagnostics")
    stream_until(
        client,
        client.next_ns(),
        lambda: bool(diagnostics) and "dropped.unwanted" in values_of(diagnostics[-1]),
    )


def test_camera_slower_than_the_context_needs_is_told_with_both_rates(
    client: Client, node: NodeProcess
) -> None:
    diagnostics = client.subscribe(DiagnosticArray, "/diagnostics")
    said = "2 frames/s come, the model needs 4.35 or more (4 frames 0.2 s apart)"

    def is_said() -> bool:
        client.publish(client.newest_ns + 500_000_000)
        client.spin_for(0.1)
        return any(said in d.status[0].message for d in diagnostics)

    client.publish(client.next_ns())
    assert wait_until(is_said)
    assert values_of(diagnostics[-1])["needed_rate_hz"].startswith("4.3")
    assert said in values_of(diagnostics[-1])["cannot_forecast"]
    warned = node.text.count(said)
    assert warned == 1
    diagnostics.clear()
    stream_until(
        client,
        client.next_ns(),
        lambda: bool(diagnostics) and said not in diagnostics[-1].status[0].message,
    )
    assert node.text.count(said) == warned


def test_stopped_stream_is_reported_once_and_its_return(client: Client, node: NodeProcess) -> None:
    diagnostics = client.subscribe(DiagnosticArray, "/diagnostics")
    stopped, resumed = "waiting for it to resume", "the image stream resumed"

    def is_stale() -> bool:
        return bool(diagnostics) and diagnostics[-1].status[0].level == DiagnosticStatus.STALE

    def look_on(count: int) -> None:
        looked = len(diagnostics)
        assert client.spin_until(lambda: len(diagnostics) > looked + count)

    stream_until(client, client.next_ns(), lambda: bool(diagnostics) and not is_stale())
    assert client.spin_until(is_stale)
    look_on(4)
    reports, returns = node.text.count(stopped), node.text.count(resumed)
    look_on(8)  # longer than the timeout
    assert node.text.count(stopped) == reports > 0
    stream_until(client, client.next_ns(), lambda: not is_stale())
    assert client.spin_until(lambda: node.text.count(resumed) > returns)


def test_time_jump_restarts_the_context(client: Client) -> None:
    forecasts = client.subscribe(messages.Forecast, "foresight/forecast")
    base_ns = client.next_ns()
    stream_until(client, base_ns, lambda: bool(forecasts))

    def after_the_jump() -> list[Any]:
        return [f for f in forecasts if stamp_of(f.header.stamp) < base_ns]

    stamps = stream_until(client, base_ns - 3600 * 10**9, lambda: bool(after_the_jump()))
    assert len(stamps) >= 4
    assert stamp_of(after_the_jump()[0].context_stamps[0]) in stamps


def test_lifecycle_transitions_stop_free_and_restart_the_node(
    client: Client, node: NodeProcess
) -> None:
    """Deactivate, clean up, refuse nonsense, come back."""

    def change(label: str) -> bool:
        request = ChangeState.Request()
        request.transition.label = label
        return bool(client.call(ChangeState, "/forecast_node/change_state", request).success)

    def state() -> str:
        answer = client.call(GetState, "/forecast_node/get_state", GetState.Request())
        return str(answer.current_state.label)

    assert state() == "active"
    assert change("deactivate")
    assert state() == "inactive"
    assert not change("deactivate")
    assert client.spin_until(lambda: client.images.get_subscription_count() == 0)
    assert change("cleanup")
    assert state() == "unconfigured"
    assert not change("activate")
    assert change("configure")
    assert change("activate")
    forecasts = client.subscribe(messages.Forecast, "foresight/forecast")
    assert client.spin_until(lambda: client.images.get_subscription_count() > 0)
    stream_until(client, client.next_ns(), lambda: bool(forecasts))


def test_sigterm_in_the_midst_of_work_ends_the_node_with_exit_code_0(
    ros_domain: dict[str, str], tmp_path: Path
) -> None:
    """While frames come in faster than it can work; what it warns of is said once by then."""
    node = NodeProcess(ros_domain, tmp_path / "log", "device:=cpu", namespace="/ended")
    client = Client("ending_client", "/ended")
    try:
        client.subscribe(messages.Forecast, "foresight/forecast")
        assert client.spin_until(lambda: client.images.get_subscription_count() > 0)
        base_ns = client.next_ns()
        resized = "each is resized to the model's 224x126"
        for index in range(3000):  # the node may find this publisher later than this one the node
            client.publish(base_ns + index * INTERVAL_NS // 8)
            client.spin_for(0.02)
            if index >= 40 and resized in node.text:
                break
        else:
            pytest.fail(node.text)
        assert node.end(signal.SIGTERM) == 0
        # Its peers know at once, not only when its DDS lease of 20 s runs out.
        name = ("forecast_node", "/ended")
        others = client.node.get_node_names_and_namespaces
        assert client.spin_until(lambda: name not in others(), 10.0)
        assert node.text.count("is untrained") == 1
        assert node.text.count("each is resized") == 1
    finally:
        client.close()
        node.kill()
