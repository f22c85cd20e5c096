"""A worker with an engine that tests command, and what it told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.runtime.camera_frame import CameraFrame, CameraResult
from dino_foresight_ros.runtime.context import Arrival, ContextBuffer, ContextRule
from dino_foresight_ros.runtime.forecast import Forecast
from dino_foresight_ros.runtime.grouping import Grouper
from dino_foresight_ros.runtime.mailbox import Frame
from dino_foresight_ros.runtime.request import OutputRequest, Outputs
from dino_foresight_ros.runtime.worker import ForecastWorker, Hooks

IMAGE = np.zeros((2, 2, 3), np.uint8)


def forecast_at(stamp_ns: int) -> Forecast:
    return Forecast(stamp_ns, (stamp_ns,), 0.2, (), "fake", False, 0.0)


def request_of(outputs: Outputs | None) -> OutputRequest | None:
    return None if outputs is None else OutputRequest(outputs)


class FakeEngine:
    """Stands in for `Foresight`; `gate` holds a pass until the test lets it go."""

    def __init__(self, fill: int = 0, duration_s: float = 0.0) -> None:
        self.arrival = Arrival.APPEND
        self.batches: list[list[str]] = []
        self.context_state = "4/4 frames"
        self.rule = ContextRule.for_interval(4, 0.2)
        self.fill = fill
        self.duration_s = duration_s
        self.seen: list[int] = []
        self.requests: list[OutputRequest | None] = []
        self.resets = 0
        self.encoded: dict[str, list[int]] = {}
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def update_cameras(self, frames: Mapping[str, CameraFrame]) -> dict[str, CameraResult]:
        self.batches.append(sorted(frames))
        self.entered.set()
        assert self.gate.wait(10)
        time.sleep(self.duration_s)
        return {name: self.update(name, frame) for name, frame in frames.items()}

    def update(self, camera: str, frame: CameraFrame) -> CameraResult:
        self.seen.append(frame.stamp_ns)
        self.requests.append(frame.request)
        if frame.stamp_ns < 0:
            raise ValueError("negative")
        self.encoded.setdefault(camera, []).append(frame.stamp_ns)
        if frame.request is not None and frame.request.is_empty:
            return CameraResult(drop="unwanted", arrival=self.arrival)
        if len(self.seen) <= self.fill:
            return CameraResult(drop="context_filling", arrival=self.arrival)
        return CameraResult(forecast_at(frame.stamp_ns), arrival=self.arrival)

    def needed(self, camera: str, newest_ns: int, waiting_ns: Sequence[int]) -> list[int]:
        return self.rule.needed(newest_ns, waiting_ns, self.held_ns(camera))

    def held_ns(self, camera: str) -> Sequence[int]:
        return self.encoded.get(camera, ())

    def context_of(self, camera: str) -> str:
        return self.context_state

    def reset(self) -> None:
        self.resets += 1
        self.encoded.clear()


class SlowEngine(FakeEngine):
    """Keeps a real context; a forecast takes far longer than the frame interval, as on a CPU."""

    def __init__(self, interval_s: float, encode_s: float, forecast_s: float) -> None:
        super().__init__()
        self.rule = ContextRule.for_interval(4, interval_s)
        self.buffers: dict[str, ContextBuffer] = {}
        self.encode_s, self.forecast_s = encode_s, forecast_s

    def held_ns(self, camera: str) -> Sequence[int]:
        return self.buffers[camera].stamps_ns if camera in self.buffers else ()

    def update(self, camera: str, frame: CameraFrame) -> CameraResult:
        self.seen.append(frame.stamp_ns)
        time.sleep(self.encode_s)
        if camera not in self.buffers:
            self.buffers[camera] = ContextBuffer(self.rule)
        buffer = self.buffers[camera]
        arrival = buffer.push(frame.stamp_ns, (torch.zeros(1, 1, 1),))
        if not arrival.accepted:
            return CameraResult(drop=arrival.value, arrival=arrival)
        if buffer.context_stamps() is None:
            return CameraResult(drop="context_filling", arrival=arrival)
        if frame.request is not None and frame.request.is_empty:
            return CameraResult(drop="unwanted", arrival=arrival)
        time.sleep(self.forecast_s)
        return CameraResult(forecast_at(frame.stamp_ns), arrival=arrival)


class Harness:
    """A worker with a fake engine, and what it told."""

    def __init__(self, engine: FakeEngine, wanted: Any = None) -> None:
        self.engine = engine
        self.published: list[int] = []
        self.drops: list[tuple[int, str]] = []
        self.errors: list[tuple[str, str]] = []
        self.wanted = wanted
        hooks = Hooks(
            decode=self.decode,
            request=lambda camera: request_of(self.wanted),
            on_forecast=self.on_forecast,
            on_drop=lambda frame, reason: self.drops.append((frame.stamp_ns, reason)),
            on_error=lambda frame, reason, error: self.errors.append((reason, str(error))),
            too_old=lambda frame: frame.payload == "old",
        )
        self.hooks = hooks
        self.worker = ForecastWorker(engine, hooks)

    def decode(self, frame: Frame) -> np.ndarray:
        if frame.payload == "broken":
            raise InputError("broken picture")
        return IMAGE

    def on_forecast(self, forecast: Forecast, frame: Frame) -> None:
        if frame.payload == "unpublishable":
            raise RuntimeError("no publisher")
        self.published.append(forecast.stamp_ns)

    def settle(self) -> None:
        assert wait_until(lambda: self.worker.counter.counts().in_flight == 0)

    def check_accounts(self) -> None:
        counts = self.worker.counter.counts()
        assert counts.received == counts.forecasts + counts.dropped_total + counts.in_flight
        assert counts.forecasts == len(self.published)
        assert counts.dropped_total == len(self.drops)


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


class Cameras(Harness):
    """A worker with a grouper for named cameras."""

    def __init__(self, engine: FakeEngine | None = None, wanted: Any = None) -> None:
        self.published_of: list[tuple[str, int]] = []
        super().__init__(engine or FakeEngine(), wanted)
        self.worker = ForecastWorker(
            self.engine,
            replace(self.hooks, request=self.request_of),
            grouper=Grouper(20_000_000, silent_s=0.5),
        )
        self.wanted_by: dict[str, Any] = {}
        self.worker.start()

    def request_of(self, camera: str) -> OutputRequest | None:
        return request_of(self.wanted_by.get(camera, self.wanted))

    def on_forecast(self, forecast: Forecast, frame: Frame) -> None:
        super().on_forecast(forecast, frame)
        self.published_of.append((frame.camera, forecast.stamp_ns))

    def check_accounts(self) -> None:
        super().check_accounts()
        total = self.worker.counter.counts()
        each = [self.worker.counter.counts(camera) for camera in "abc"]
        for counts in each:
            assert counts.received == counts.forecasts + counts.dropped_total + counts.in_flight
        for field in ("received", "forecasts", "dropped_total", "in_flight"):
            assert sum(getattr(c, field) for c in each) == getattr(total, field)
