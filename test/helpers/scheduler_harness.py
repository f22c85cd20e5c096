"""A scheduler with an engine and a clock that tests command, and what it told its sink."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.outputs import DropReason
from dino_foresight_ros.runtime.context import Arrival, ContextBuffer
from dino_foresight_ros.runtime.context_rules import EvenContext
from dino_foresight_ros.runtime.encoded import Encoded
from dino_foresight_ros.runtime.frame import CameraFrame, CameraResult, Forecast, QueuedFrame
from dino_foresight_ros.runtime.grouping import Grouper
from dino_foresight_ros.runtime.request import OutputRequest, Outputs
from dino_foresight_ros.runtime.scheduler import Scheduler

IMAGE = np.zeros((2, 3, 3), np.uint8)
MS = 1_000_000


class Clock:
    """A clock that goes on only when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._alarms: list[tuple[float, Callable[[], None]]] = []

    def at(self, when_s: float, call: Callable[[], None]) -> None:
        """Have something happen once it is so late."""
        self._alarms.append((when_s, call))

    def advance(self, seconds: float) -> None:
        """Let time pass, and happen what is due meanwhile."""
        end_s = self.now_s + seconds
        while due := [alarm for alarm in self._alarms if alarm[0] <= end_s]:
            alarm = min(due, key=lambda a: a[0])
            self._alarms.remove(alarm)
            self.now_s = max(self.now_s, alarm[0])
            alarm[1]()
        self.now_s = end_s


def forecast_at(stamp_ns: int) -> Forecast:
    return Forecast(stamp_ns, (stamp_ns,), 0.2, (), "fake", False, 0.0)


class FakeEngine:
    """Stands in for `Foresight`; `meanwhile` happens during the next pass."""

    def __init__(self, fill: int = 0) -> None:
        self.arrival = Arrival.APPEND
        self.batches: list[list[str]] = []
        self.context_state = "4/4 frames"
        self.memory_bytes = 0
        self.rule = EvenContext.for_interval(4, 0.2)
        self.fill = fill
        self.seen: list[int] = []
        self.requests: list[OutputRequest | None] = []
        self.resets = 0
        self.encoded: dict[str, list[int]] = {}
        self.meanwhile: Callable[[], None] = lambda: None

    def encode(self, frames: Mapping[str, CameraFrame]) -> Encoded:
        self.batches.append(sorted(frames))
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        results = {name: self.update(name, frame) for name, frame in frames.items()}
        wanted: Any = {name: None for name, result in results.items() if result.forecast}
        return Encoded(results, wanted, 0.0)

    def forecast(
        self, encoded: Encoded, beside: Callable[[], None] | None = None
    ) -> dict[str, CameraResult]:
        return encoded.results

    def wait(self) -> None:
        pass

    def update(self, camera: str, frame: CameraFrame) -> CameraResult:
        self.seen.append(frame.stamp_ns)
        self.requests.append(frame.request)
        if frame.stamp_ns < 0:
            raise ValueError("negative")
        self.encoded.setdefault(camera, []).append(frame.stamp_ns)
        if frame.request is not None and frame.request.is_empty:
            return CameraResult(drop=DropReason.UNWANTED, arrival=self.arrival)
        if len(self.seen) <= self.fill:
            return CameraResult(drop=DropReason.CONTEXT_FILLING, arrival=self.arrival)
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


class GatedEngine(FakeEngine):
    """Holds a pass until the test opens the gate; for tests with a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def encode(self, frames: Mapping[str, CameraFrame]) -> Encoded:
        self.entered.set()
        assert self.gate.wait(10)
        return super().encode(frames)


class ThreadedEngine(FakeEngine):
    """Has the next frames encoded while it decodes; `while_decoding` happens before that."""

    def __init__(self) -> None:
        super().__init__()
        self.while_decoding: Callable[[], None] = lambda: None
        self.order: list[tuple[str, int]] = []

    def encode(self, frames: Mapping[str, CameraFrame]) -> Encoded:
        self.order += [("encode", frame.stamp_ns) for frame in frames.values()]
        return super().encode(frames)

    def forecast(
        self, encoded: Encoded, beside: Callable[[], None] | None = None
    ) -> dict[str, CameraResult]:
        happens, self.while_decoding = self.while_decoding, lambda: None
        happens()
        if beside is not None:
            beside()
        for result in encoded.results.values():
            if result.forecast is not None:
                self.order.append(("forecast", result.forecast.stamp_ns))
                if result.forecast.stamp_ns == 666:
                    raise ValueError("cannot be decoded")
        return encoded.results

    def reset(self) -> None:
        super().reset()
        self.order.append(("reset", 0))


class SlowEngine(FakeEngine):
    """Keeps a real context; a forecast takes far longer than the frame interval, as on a CPU."""

    def __init__(self, clock: Clock, interval_s: float, encode_s: float, forecast_s: float) -> None:
        super().__init__()
        self.clock = clock
        self.rule = EvenContext.for_interval(4, interval_s)
        self.buffers: dict[str, ContextBuffer] = {}
        self.encode_s, self.forecast_s = encode_s, forecast_s

    def held_ns(self, camera: str) -> Sequence[int]:
        return self.buffers[camera].stamps_ns if camera in self.buffers else ()

    def update(self, camera: str, frame: CameraFrame) -> CameraResult:
        self.seen.append(frame.stamp_ns)
        self.clock.advance(self.encode_s)
        if camera not in self.buffers:
            self.buffers[camera] = ContextBuffer(self.rule)
        buffer = self.buffers[camera]
        arrival = buffer.push(frame.stamp_ns, (torch.zeros(1, 1, 1),))
        if not arrival.accepted:
            return CameraResult(drop=DropReason(arrival.value), arrival=arrival)
        if buffer.context_stamps() is None:
            return CameraResult(drop=DropReason.CONTEXT_FILLING, arrival=arrival)
        if frame.request is not None and frame.request.is_empty:
            return CameraResult(drop=DropReason.UNWANTED, arrival=arrival)
        self.clock.advance(self.forecast_s)
        return CameraResult(forecast_at(frame.stamp_ns), arrival=arrival)


class Harness:
    """A scheduler with a fake engine, worked by hand, and what its sink was told."""

    def __init__(
        self,
        engine: FakeEngine | None = None,
        outputs: Outputs | None = None,
        clock: Clock | None = None,
        grouper: Grouper | None = None,
    ) -> None:
        """Prepare; frames request `outputs`, unless `outputs_of` has their camera."""
        self.engine: Any = engine or FakeEngine()
        self.clock = clock or Clock()
        self.outputs = outputs
        self.outputs_of: dict[str, Outputs] = {}
        self.published: list[int] = []
        self.published_of: list[tuple[str, int]] = []
        self.sizes: list[tuple[int, int]] = []
        self.drops: list[tuple[int, str]] = []
        self.errors: list[tuple[str, str]] = []
        self.scheduler = Scheduler(
            self.engine,
            self,
            grouper=grouper,
            now_ns=lambda: round(self.clock.now_s * 1e9),
            now_s=lambda: self.clock.now_s,
        )

    # The sink

    def forecast(self, frame: QueuedFrame, forecast: Forecast, image_size: tuple[int, int]) -> None:
        if frame.payload == "unpublishable":
            raise RuntimeError("no publisher")
        self.published.append(forecast.stamp_ns)
        self.published_of.append((frame.camera, forecast.stamp_ns))
        self.sizes.append(image_size)

    def dropped(self, frame: QueuedFrame, reason: DropReason) -> None:
        self.drops.append((frame.stamp_ns, reason))

    def failed(self, frame: QueuedFrame, reason: DropReason, error: Exception) -> None:
        self.errors.append((reason, str(error)))

    # The sender

    def frame(self, payload: str, stamp_ns: int, camera: str = "", **more: Any) -> QueuedFrame:
        def decode(payload: str) -> np.ndarray:
            if payload == "broken":
                raise InputError("broken picture")
            return IMAGE

        outputs = self.outputs_of.get(camera, self.outputs)
        request = None if outputs is None else OutputRequest(outputs)
        return QueuedFrame(payload, stamp_ns, self.clock.now_s, camera, decode, request, **more)

    def submit(self, payload: str, stamp_ns: int, camera: str = "", **more: Any) -> None:
        self.scheduler.submit(self.frame(payload, stamp_ns, camera, **more))

    def hold_back(self, stamp_ns: int) -> None:
        self.submit("a", stamp_ns, held_back=DropReason.RATE_LIMITED)

    def stream(self, cameras: str, period_s: float, end_s: float) -> None:
        """Submit frames of each camera as the clock goes on, and work all the while."""
        for k in range(round(end_s / period_s)):
            for camera in cameras:
                stamp_ns = 10**9 + round(k * period_s * 1e9)
                self.clock.at(k * period_s, lambda s=stamp_ns, c=camera: self.submit("a", s, c))
        while self.clock.now_s < end_s:
            self.clock.advance(period_s)
            self.scheduler.work()
        self.settle()

    def settle(self) -> None:
        """Work until every frame has come to its end, those that wait for others included."""
        for _ in range(1000):
            self.scheduler.work()
            if self.counts().in_flight == 0:
                return
            self.clock.advance(0.01)
        raise AssertionError(f"frames are left: {self.counts()}")

    def counts(self, camera: str | None = None) -> Any:
        return self.scheduler.statistics.counts(camera)

    def check_accounts(self) -> None:
        counts = self.counts()
        assert counts.received == counts.forecasts + counts.dropped_total + counts.in_flight
        assert counts.forecasts == len(self.published)
        assert counts.dropped_total == len(self.drops) + len(self.errors)

    def check_accounts_of(self, cameras: str) -> None:
        self.check_accounts()
        total = self.counts()
        each = [self.counts(camera) for camera in cameras]
        for counts in each:
            assert counts.received == counts.forecasts + counts.dropped_total + counts.in_flight
        for field in ("received", "forecasts", "dropped_total", "in_flight"):
            assert sum(getattr(c, field) for c in each) == getattr(total, field)
