"""A thread that owns the engine. The newest frame wins, and every frame is accounted for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.runtime.forecast import Forecast
from dino_foresight_ros.runtime.statistics import FrameCounter, LatencyWindow, RateMeter


class Engine(Protocol):
    """What the worker needs of `Foresight`."""

    last_drop: str | None

    def update(
        self, image: np.ndarray, stamp_ns: int, wanted: frozenset[str] | None = None
    ) -> Forecast | None: ...

    def reset(self) -> None: ...


@dataclass(frozen=True)
class Frame:
    """A frame on its way: whatever the sender handed over, not decoded yet.

    Attributes:
        payload: what `decode` turns into an (H, W, 3) uint8 RGB array.
        stamp_ns: its time stamp, nanoseconds.
        received_s: when it was handed over, seconds of `time.monotonic`.
    """

    payload: Any
    stamp_ns: int
    received_s: float


@dataclass(frozen=True)
class Hooks:
    """What the worker calls, in its own thread (`on_drop` also in the sender's).

    Attributes:
        decode: payload -> (H, W, 3) uint8 RGB; InputError for a bad one.
        wanted: names of the outputs that somebody wants now; empty for nothing, None for all.
        on_forecast: takes each result and its frame, and publishes it.
        on_drop: takes each given-up frame and the reason.
        on_error: takes the reason and the exception of a frame that failed.
    """

    decode: Callable[[Any], np.ndarray]
    wanted: Callable[[], frozenset[str] | None]
    on_forecast: Callable[[Forecast, Frame], None]
    on_drop: Callable[[Frame, str], None] = lambda frame, reason: None
    on_error: Callable[[str, Exception], None] = lambda reason, error: None


class ForecastWorker:
    """Runs the engine in a thread behind a mailbox of one frame.

    A frame that arrives while another waits replaces it, so memory and delay stay bounded
    however slow the model is. Reasons of dropped frames are the engine's (`context_filling`,
    `duplicate_stamp`, ...) and these: `superseded` by a newer frame, `bad_image`, `error`,
    `unwanted` (nobody listens; the context is still kept), `inactive` (the worker does not
    run or stopped meanwhile).
    """

    def __init__(self, engine: Engine, hooks: Hooks, counter: FrameCounter | None = None) -> None:
        self.counter = counter or FrameCounter()
        self.latency = LatencyWindow()
        self.input_rate = RateMeter()
        self.output_rate = RateMeter()
        self._engine = engine
        self._hooks = hooks
        self._condition = threading.Condition()
        self._waiting: Frame | None = None
        self._running = False
        self._reset_asked = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start taking frames, with an empty context. May follow a `stop` that returned True."""
        if self._thread is not None and self._thread.is_alive():
            raise RuntimeError("the worker runs already")
        self._running = True
        self._reset_asked = True
        self._thread = threading.Thread(target=self._run, name="foresight-worker", daemon=True)
        self._thread.start()

    def submit(self, payload: Any, stamp_ns: int) -> None:
        """Hand over a frame; never blocks on the model."""
        frame = Frame(payload, stamp_ns, time.monotonic())
        self.counter.receive()
        self.input_rate.tick(frame.received_s)
        with self._condition:
            running = self._running
            overtaken = self._waiting
            if running:
                self._waiting = frame
                self._condition.notify()
        if not running:
            self._drop(frame, "inactive")
        elif overtaken is not None:
            self._drop(overtaken, "superseded")

    def reset(self) -> None:
        """Drop the engine's context before the next frame; from any thread."""
        with self._condition:
            self._reset_asked = True

    def stop(self, timeout_s: float = 1.5) -> bool:
        """Stop, giving up the waiting frame and the one in work.

        Returns:
            False when a forward pass outlasts the timeout: its thread is still alive then and
            ends by itself after that pass.
        """
        with self._condition:
            self._running = False
            waiting, self._waiting = self._waiting, None
            self._condition.notify()
        if waiting is not None:
            self._drop(waiting, "inactive")
        if self._thread is None or self._thread is threading.current_thread():
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (frame := self._next_frame()) is not None:
            self._process(frame)

    def _next_frame(self) -> Frame | None:
        with self._condition:
            while self._running and self._waiting is None:
                self._condition.wait()
            if not self._running:
                return None
            frame, self._waiting = self._waiting, None
            return frame

    def _process(self, frame: Frame) -> None:
        try:
            dropped = self._forecast(frame)
        except InputError as error:
            dropped = "bad_image"
            self._hooks.on_error(dropped, error)
        except Exception as error:  # noqa: BLE001 - a bad frame must not end the thread
            dropped = "error"
            self._hooks.on_error(dropped, error)
        if dropped is not None:
            self._drop(frame, dropped)
            return
        done_s = time.monotonic()
        self.latency.add(done_s - frame.received_s)
        self.output_rate.tick(done_s)
        self.counter.forecast()

    def _forecast(self, frame: Frame) -> str | None:
        """Publish the frame's forecast, or return why there is none."""
        with self._condition:
            reset, self._reset_asked = self._reset_asked, False
        if reset:
            self._engine.reset()
        image = self._hooks.decode(frame.payload)
        wanted = self._hooks.wanted()
        forecast = self._engine.update(image, frame.stamp_ns, wanted)
        if forecast is None:
            return self._engine.last_drop or "context_filling"
        if wanted is not None and not wanted:
            return "unwanted"
        if not self._running:
            return "inactive"
        self._hooks.on_forecast(forecast, frame)
        return None

    def _drop(self, frame: Frame, reason: str) -> None:
        self.counter.drop(reason)
        self._hooks.on_drop(frame, reason)
