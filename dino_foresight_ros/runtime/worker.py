"""A thread that owns the engine. The newest frame wins, and every frame is accounted for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.runtime.forecast import Forecast
from dino_foresight_ros.runtime.statistics import FrameCounter, LatencyWindow, RateMeter

if TYPE_CHECKING:
    from dino_foresight_ros.runtime.feature_buffer import Arrival

THREAD_NAME = "foresight-worker"

Wanted = frozenset[str] | Mapping[int, frozenset[str]]
"""Outputs wanted of every step, or of each step (counted from 1)."""


class Engine(Protocol):
    """What the worker needs of `Foresight`."""

    last_drop: str | None
    last_arrival: Arrival | None

    def update(
        self, image: np.ndarray, stamp_ns: int, wanted: Wanted | None = None
    ) -> Forecast | None: ...

    def reset(self) -> None: ...

    @property
    def context_state(self) -> str: ...


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
        wanted: names of the outputs that somebody wants now, for all steps or by step; nothing
            in it when nobody wants any, None for all.
        on_forecast: takes each result and its frame, and publishes it.
        on_drop: takes each given-up frame and the reason.
        on_error: takes the reason and the exception of a frame that failed.
    """

    decode: Callable[[Any], np.ndarray]
    wanted: Callable[[], Wanted | None]
    on_forecast: Callable[[Forecast, Frame], None]
    on_drop: Callable[[Frame, str], None] = lambda frame, reason: None
    on_error: Callable[[str, Exception], None] = lambda reason, error: None


class ForecastWorker:
    """Runs the engine in a thread behind a mailbox of one frame.

    A frame that arrives while another waits replaces it, so memory and delay stay bounded
    however slow the model is. Reasons of dropped frames are the engine's (`context_filling`,
    `duplicate_stamp`, `out_of_order`) and these: `time_jump` (the context restarts with this
    frame), `superseded` by a newer frame, `bad_image`, `error`, `unwanted` (nobody listens; the
    context is still kept), `inactive` (the worker does not run or stopped meanwhile).
    """

    def __init__(self, engine: Engine, hooks: Hooks, counter: FrameCounter | None = None) -> None:
        self.counter = counter or FrameCounter()
        self.latency = LatencyWindow()
        self.input_rate = RateMeter()
        self.output_rate = RateMeter()
        self.context_state = engine.context_state
        self._engine = engine
        self._hooks = hooks
        self._condition = threading.Condition()
        self._waiting: Frame | None = None
        self._session: int | None = None  # None while stopped; a frame belongs to one session
        self._sessions = 0
        self._reset_asked = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start taking frames, with an empty context; also again after `stop`."""
        with self._condition:
            self._sessions += 1
            self._session = self._sessions
            self._reset_asked = True
            if self._thread is not None:  # still in a pass that outlasted `stop`: it goes on
                return
            self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
            self._thread.start()

    def submit(self, payload: Any, stamp_ns: int) -> None:
        """Hand over a frame; never blocks on the model."""
        frame = self._receive(payload, stamp_ns)
        with self._condition:
            running = self._session is not None
            overtaken = self._waiting
            if running:
                self._waiting = frame
                self._condition.notify_all()
        if not running:
            self._drop(frame, "inactive")
        elif overtaken is not None:
            self._drop(overtaken, "superseded")

    def refuse(self, payload: Any, stamp_ns: int, reason: str) -> None:
        """Account for a frame that is not worth handing over."""
        self._drop(self._receive(payload, stamp_ns), reason)

    def reset(self) -> None:
        """Drop the engine's context before the next frame; from any thread."""
        with self._condition:
            self._reset_asked = True

    def stop(self, timeout_s: float = 1.5) -> bool:
        """Stop, giving up the waiting frame and the one in work.

        Returns:
            False when a forward pass outlasts the timeout; its thread ends after that pass.
        """
        with self._condition:
            self._session = None
            waiting, self._waiting = self._waiting, None
            self._condition.notify_all()
            ended = self._condition.wait_for(lambda: self._thread is None, timeout_s)
        if waiting is not None:
            self._drop(waiting, "inactive")
        return ended

    def _receive(self, payload: Any, stamp_ns: int) -> Frame:
        frame = Frame(payload, stamp_ns, time.monotonic())
        self.counter.receive()
        self.input_rate.tick(frame.received_s)
        return frame

    def _run(self) -> None:
        while (work := self._next()) is not None:
            self._process(*work)

    def _next(self) -> tuple[Frame, int] | None:
        """The next frame and its session; None when the thread is to end."""
        with self._condition:
            self._condition.wait_for(lambda: self._session is None or self._waiting is not None)
            if self._session is None:
                self._thread = None
                self._condition.notify_all()
                return None
            frame, self._waiting = self._waiting, None
            assert frame is not None
            if self._reset_asked:
                self._reset_asked = False
                self._engine.reset()
            return frame, self._session

    def _process(self, frame: Frame, session: int) -> None:
        try:
            reason = self._forecast(frame, session)
        except InputError as error:
            reason = "bad_image"
            self._hooks.on_error(reason, error)
        except Exception as error:  # noqa: BLE001 - a bad frame must not end the thread
            reason = "error"
            self._hooks.on_error(reason, error)
        # Read here, since the engine belongs to this thread.
        self.context_state = self._engine.context_state
        if reason is not None:
            self._drop(frame, reason)
            return
        done_s = time.monotonic()
        self.latency.add(done_s - frame.received_s)
        self.output_rate.tick(done_s)
        self.counter.forecast()

    def _forecast(self, frame: Frame, session: int) -> str | None:
        """Publish the frame's forecast, or return why there is none."""
        image = self._hooks.decode(frame.payload)
        wanted = self._hooks.wanted()
        forecast = self._engine.update(image, frame.stamp_ns, wanted)
        if forecast is None:
            arrival = self._engine.last_arrival
            if arrival is not None and arrival.value == "time_jump":
                return "time_jump"
            return self._engine.last_drop or "context_filling"
        if _is_nothing(wanted):
            return "unwanted"
        if session != self._session:
            return "inactive"
        self._hooks.on_forecast(forecast, frame)
        return None

    def _drop(self, frame: Frame, reason: str) -> None:
        self.counter.drop(reason)
        self._hooks.on_drop(frame, reason)


def _is_nothing(wanted: Wanted | None) -> bool:
    if isinstance(wanted, Mapping):
        return not any(wanted.values())
    return wanted is not None and not wanted
