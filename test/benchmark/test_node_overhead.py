"""The node's overhead: what is left of a frame's way when the engine's time is taken off."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from micro_bundle import make_micro_bundle

from dino_foresight_ros.benchmark import node_overhead
from dino_foresight_ros.benchmark.engine import Case
from dino_foresight_ros.benchmark.node_overhead import describe, measure_overhead
from dino_foresight_ros.recordings.image_decoding import ImageDecoder

SLEEP_MS = 150.0


def test_a_slow_decoder_is_the_nodes_and_not_the_engines(
    ros_domain: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case("tiny", steps=1, outputs=("depth",))
    take = ImageDecoder.take

    def slow(decoder: ImageDecoder, message: Any) -> Callable[[], Any]:
        decode = take(decoder, message)

        def decode_slowly() -> Any:
            time.sleep(SLEEP_MS / 1e3)
            return decode()

        return decode_slowly

    monkeypatch.setattr(ImageDecoder, "take", slow)
    monkeypatch.setattr(node_overhead, "build", lambda size: make_micro_bundle())
    result = measure_overhead(case, frames=5)
    assert result.overhead.count == 5
    assert result.decode.p50_ms >= SLEEP_MS
    assert result.overhead.p50_ms >= result.decode.p50_ms
    assert 0 < result.publish.p50_ms < SLEEP_MS
    assert result.whole.p50_ms > result.engine.p50_ms > 0
    assert "1 steps of depth" in describe(case, result)
