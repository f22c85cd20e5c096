"""Thousands of mutated messages through the node's own callback and decoding, in process."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rclpy
import torch
from builtin_interfaces.msg import Time
from forecast_peers import picture
from sensor_msgs.msg import CompressedImage, Image

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.nodes.forecast import load_engine as forecast_engine
from dino_foresight_ros.nodes.forecast.node import ForecastNode
from dino_foresight_ros.recordings.image_decoding import SUPPORTED_ENCODINGS, decode_message

COUNT = int(os.environ.get("FORESIGHT_MUTATIONS", "5000"))
"""Messages in all; FORESIGHT_MUTATIONS=1000000 for a night."""
SECONDS = 10**9
U32 = (0, 1, 2, 3, 7, 8, 9, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
ENCODINGS = (*SUPPORTED_ENCODINGS, "", "16UC1", "32FC1", "rgb", "8UC3", "RGB8", "\u00fc", "a" * 999)
FORMATS = ("jpeg", "png", "", "jpg", "rgb8; jpeg compressed bgr8", "16UC1; compressedDepth", "h264")


class Mutator:
    """Valid messages, some of whose fields are then replaced, cut, flipped or swapped."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        small = picture(seed, (6, 9))
        self._coded = [cv2.imencode(kind, small)[1].tobytes() for kind in (".jpg", ".png")]

    def choose(self, values: Any) -> Any:
        return values[int(self.random.integers(len(values)))]

    def raw(self) -> Image:
        height, width = (int(n) for n in self.random.integers(1, 12, 2))
        encoding = self.choose(SUPPORTED_ENCODINGS)
        row = width * self.choose((1, 2, 3, 4, 6, 8)) + self.choose((0, 0, 0, 1, 5))
        message = Image(height=height, width=width, step=row, encoding=encoding)
        message.is_bigendian = self.choose((0, 0, 1, 255))
        message.data = self.random.bytes(height * row)
        for _ in range(self.choose((0, 1, 1, 2, 4))):
            self._mutate(message)
        return message

    def _mutate(self, message: Image) -> None:
        field = self.choose(("height", "width", "step", "encoding", "data"))
        if field == "encoding":
            message.encoding = self.choose(ENCODINGS)
        elif field == "data":
            message.data = self._damage(bytes(message.data))
        else:
            near = max(getattr(message, field) + int(self.random.integers(-2, 3)), 0)
            setattr(message, field, self.choose((*U32, near, near, near)))

    def compressed(self) -> CompressedImage:
        data = self.choose(self._coded)
        for _ in range(self.choose((0, 1, 1, 3))):
            data = self._damage(data)
        return CompressedImage(format=self.choose(FORMATS), data=data)

    def _damage(self, data: bytes) -> bytes:
        kind = self.choose(("cut", "empty", "flip", "flip", "flip", "grow", "noise"))
        if kind == "flip" and data:
            values = bytearray(data)
            for _ in range(self.choose((1, 3, 20))):
                values[self.choose(range(len(values)))] = int(self.random.integers(256))
            return bytes(values)
        if kind == "cut":
            return data[: int(self.random.integers(len(data) + 1))]
        if kind == "grow":
            return data + self.random.bytes(self.choose((1, 7, 300)))
        return b"" if kind == "empty" else self.random.bytes(self.choose((1, 50, 500)))

    def stamp(self, now_ns: int) -> Time:
        """Mostly the next frame's; now and then late, double, far off or impossible."""
        far = self.choose((0, 3600, -3600, 365 * 86400))
        odd = [Time(), Time(sec=-5), Time(sec=2**31 - 1, nanosec=2**32 - 1), Time(nanosec=1)]
        kind = self.random.random()
        if kind < 0.05:
            return self.choose(odd)
        if kind < 0.1:
            now_ns += far * SECONDS
        return Time(sec=now_ns // SECONDS, nanosec=now_ns % SECONDS)


class CheapEncoder:
    """Stands in for the encoder's pass: decoding, stamps and the context stay the node's."""

    def __init__(self, like: Any) -> None:
        self.shape = (*like.config.grid, like.feature_size)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        assert torch.isfinite(pixels).all()
        return torch.zeros(len(pixels), *self.shape)


@pytest.fixture
def node(
    ros_domain: dict[str, str],
    micro_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[ForecastNode]:
    load_engine = forecast_engine.load_engine

    def load_and_cheapen(parameters: Any) -> Any:
        loaded = load_engine(parameters)
        monkeypatch.setattr(loaded.engine, "_encode", CheapEncoder(loaded.engine.bundle.encoder))
        return loaded

    monkeypatch.setattr(forecast_engine, "load_engine", load_and_cheapen)
    arguments = [f"bundle:={micro_path}", f"image_transport:={request.param}", "device:=cpu"]
    arguments = [word for p in arguments for word in ("-p", p)]
    rclpy.init(args=["test", "--ros-args", "--log-level", "fatal", *arguments])
    node = ForecastNode()
    try:
        node.autostart()
        yield node
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
        # --log-level holds for the process, not for the context.
        rclpy.logging.set_logger_level("", rclpy.logging.LoggingSeverity.INFO)


@pytest.mark.parametrize("node", ["raw", "compressed"], indirect=True)
def test_mutated_messages_are_forecast_or_dropped_by_name(
    node: ForecastNode, request: pytest.FixtureRequest
) -> None:
    """No message ends the worker, and each one is accounted for."""
    is_raw = "raw" in request.node.name
    mutator = Mutator(seed=int(is_raw))
    callback = next(s.callback for s in node.subscriptions if s.topic_name == "/image")
    assert node.pipeline is not None
    counter = node.pipeline.scheduler.statistics
    now_ns, count = time.time_ns(), COUNT // 2
    expected: Counter[str] = Counter()
    for index in range(count):
        message = mutator.raw() if is_raw else mutator.compressed()
        now_ns += 50_000_000
        message.header.stamp = mutator.stamp(now_ns)
        expected[outcome(message)] += 1
        callback(message)
        if index % 3 == 0:  # some overtake others
            wait_until_idle(counter)
    wait_until_idle(counter)
    counts = counter.counts()
    assert counts.received == count
    assert counts.in_flight == 0
    assert counts.received == counts.forecasts + sum(counts.dropped.values())
    assert "error" not in counts.dropped
    assert counts.dropped["bad_image"] > 0
    # The mutations are worth something: neither all refused nor all fine.
    assert min(expected["decoded"], expected["refused"]) > count // 10, expected


def outcome(message: Any) -> str:
    """Decode as the node does; any error but InputError fails the test."""
    try:
        rgb = decode_message(message)
    except InputError:
        return "refused"
    assert rgb.dtype == np.uint8
    assert rgb.ndim == 3
    assert rgb.shape[2] == 3
    assert rgb.size
    return "decoded"


def wait_until_idle(counter: Any) -> None:
    deadline = time.monotonic() + 120.0
    while counter.counts().in_flight:
        assert time.monotonic() < deadline, counter.counts()
        time.sleep(0.0002)
