"""The forecast node with a model of any instants: cameras of all rates, horizons, futures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticArray
from forecast_peers import (
    Client,
    NodeProcess,
    newest_is_forecast,
    stamp_of,
    stream_until,
    values_of,
)
from sensor_msgs.msg import Image

from dino_foresight_ros import msg as messages
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model.forecasters import MaskedForecaster, WorldConfig, WorldForecaster
from dino_foresight_ros.nodes.forecast.horizons import Horizons

FRAMES = 4


@pytest.fixture(scope="module")
def world_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = WorldConfig(
        channels=30, width=24, layers=1, heads=2, rope=(4, 4, 4), query="noise", noise_std=3.0
    )
    torch.manual_seed(0)
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    forecaster.initialise(block_scale=0.5)
    bundle = replace(make_micro_bundle(), forecaster=forecaster)
    return bundle.save(tmp_path_factory.mktemp("bundle") / "world")


@pytest.fixture(scope="module")
def node(
    ros_domain: dict[str, str], tmp_path_factory: pytest.TempPathFactory, world_bundle: Path
) -> Iterator[NodeProcess]:
    running = NodeProcess(
        ros_domain,
        tmp_path_factory.mktemp("node") / "log",
        f"bundle:={world_bundle}",
        "device:=cpu",
        "dtype:=float32",
        "horizons_s:=[0.05, 0.33, 2.0]",
        "samples:=4",
        "sample_outputs:=[segmentation]",
        "context_frames:=3",
    )
    yield running
    running.kill()


def send(client: Client, stamp_ns: int, has_arrived: Callable[[], bool]) -> None:
    """Publish a frame, again where it got lost: of two with one stamp a node takes the first."""

    def is_taken() -> bool:
        client.publish(stamp_ns)
        return client.spin_until(has_arrived, 3.0)

    assert client.spin_until(is_taken), f"nothing came of {stamp_ns}"


@pytest.mark.parametrize(("rate_hz", "jitter"), [(4.0, 0.0), (7.3, 0.4), (30.0, 0.0)])
def test_a_camera_of_any_rate_is_forecast_at_every_frame(
    client: Client, rate_hz: float, jitter: float
) -> None:
    forecasts = client.subscribe(messages.Forecast, "foresight/forecast")
    diagnostics = client.subscribe(DiagnosticArray, "/diagnostics")
    # The node knows who listens, and has done all that was sent.
    stream_until(client, client.next_ns(), lambda: newest_is_forecast(client, forecasts))
    forecasts.clear()
    diagnostics.clear()
    # Far after the stretch before it, so that the context begins anew.
    base_ns = client.next_ns() + 10**12
    offsets = np.random.default_rng(0).uniform(-jitter / 2, jitter / 2, 6)
    stamps = [base_ns + round((i + offsets[i]) / rate_hz * 1e9) for i in range(6)]

    def is_first() -> bool:
        return any(values_of(one).get("context") == "1/3 frames" for one in diagnostics)

    send(client, stamps[0], is_first)
    for stamp in stamps[1:]:
        send(client, stamp, lambda s=stamp: client.has_heard_of(s))
    assert [stamp_of(f.header.stamp) for f in forecasts] == stamps[1:]
    for number, forecast in enumerate(forecasts, 1):
        context = [stamp_of(stamp) for stamp in forecast.context_stamps]
        assert context == stamps[max(0, number - 2) : number + 1]
        ahead = [stamp_of(step.target_stamp) - stamps[number] for step in forecast.steps]
        assert ahead == [50_000_000, 330_000_000, 2_000_000_000]
        assert [step.horizon for step in forecast.steps] == pytest.approx([0.05, 0.33, 2.0])
        for step in forecast.steps:
            spread = np.frombuffer(step.spread.data, np.float32)
            assert spread.size == step.depth.width * step.depth.height
            assert spread.min() > 0
            confidence = np.frombuffer(step.confidence.data, np.float32)
            assert set(np.unique(confidence)) <= {0.0, 0.25, 0.5, 0.75, 1.0}


def test_each_future_has_topics_of_its_own(client: Client) -> None:
    names = [f"foresight/step_2/sample_{k}/segmentation" for k in range(1, 5)]
    got = [client.subscribe(Image, name) for name in [*names, "foresight/step_2/spread"]]
    diagnostics = client.subscribe(DiagnosticArray, "/diagnostics")
    assert client.spin_until(lambda: all(client.node.count_publishers(f"/{n}") for n in names))
    stream_until(client, client.next_ns(), lambda: all(got))
    pictures = [np.frombuffer(kept[0].data, np.uint8) for kept in got[:4]]
    assert any((pictures[0] != other).any() for other in pictures[1:])
    assert client.node.count_publishers("/foresight/step_2/sample_5/segmentation") == 0
    kept_mb = 4 * 6 * (30 + 2 * 24) * 4 * 3 / 1e6  # 3 frames: features, keys and values of a block

    def told() -> bool:
        return any(
            float(values_of(one).get("context_memory_mb", 0)) == pytest.approx(kept_mb, abs=6e-4)
            for one in diagnostics
        )

    assert client.spin_until(told)


def test_a_masked_bundle_says_what_it_has(
    ros_domain: dict[str, str], tmp_path: Path, world_bundle: Path
) -> None:
    node = NodeProcess(ros_domain, tmp_path / "log", "horizons_s:=[0.3]", "device:=cpu")
    assert node.wait() == 1
    lines = [line for line in node.text.splitlines() if "cannot configure" in line]
    assert len(lines) == 1
    assert "horizons 0.3 s are not all multiples of the frame interval" in lines[0]
    assert "has 0.2, 0.4, ... 3.2 s" in lines[0]


def test_horizons_from_now_add_the_measured_age(world_bundle: Path) -> None:
    forecaster = WorldForecaster(
        WorldConfig(channels=6, width=24, layers=1, heads=2, rope=(4, 4, 4))
    )
    forecaster.frame_interval_s = 0.2
    said: list[str] = []
    horizons = Horizons(forecaster, [0.0, 0.5], "now", said.append)
    assert horizons.steps(7) == 2
    assert horizons.ahead_s(7) == (0.001, 0.5)
    for age_s in (0.1, 0.3, 0.12):
        horizons.published(age_s)
    assert horizons.ahead_s(7) == pytest.approx((0.12, 0.62))
    assert Horizons(forecaster, [], "now").ahead_s(3) == pytest.approx((0.2, 0.4, 0.6))
    assert Horizons(forecaster, [], "frame").ahead_s(3) is None
    assert Horizons(forecaster, [0.1], "frame").ahead_s(3) == (0.1,)
    assert not said
    for _ in range(31):
        horizons.published(3e8)
    assert [horizons.ahead_s(7) for _ in range(2)] == [(0.001, 0.5)] * 2
    assert len(said) == 1
    assert "use_sim_time" in said[0]


def test_horizons_that_cannot_be_are_refused() -> None:
    masked = make_micro_bundle().forecaster
    assert isinstance(masked, MaskedForecaster)
    with pytest.raises(UsageError, match=r"kind masked has only multiples of 0\.2 s"):
        Horizons(masked, [], "now")
    forecaster = WorldForecaster(
        WorldConfig(channels=6, width=24, layers=1, heads=2, rope=(4, 4, 4))
    )
    with pytest.raises(UsageError, match=r"horizons 0, 0\.2 s are not all above 0"):
        Horizons(forecaster, [0.0, 0.2], "frame")
    with pytest.raises(UsageError, match="must rise"):
        Horizons(forecaster, [0.2, 0.2], "now")
