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
from dino_foresight_ros.runtime.mailbox import Frame, Mailbox, Rule
from dino_foresight_ros.runtime.statistics import FrameCounter, LatencyWindow, RateMeter

if TYPE_CHECKING:
    from dino_foresight_ros.runtime.feature_buffer import Arrival

THREAD_NAME = "foresight-worker"
NOTHING: Mapping[int, frozenset[str]] = {}
"""Wanted outputs of a frame that only fills the context."""

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

    @property
    def rule(self) -> Rule: ...


@dataclass(frozen=True)
class Hooks:
    """What the worker calls, in its own thread (`on_drop` also in the sender's).

    Attributes:
        decode: frame -> (H, W, 3) uint8 RGB; InputError for a bad one.
        wanted: camera -> names of the outputs that somebody wants of it now, for all steps or by
            step; nothing in it when nobody wants any, None for all.
        on_forecast: takes each result and its frame, and publishes it.
        on_drop: takes each given-up frame and the reason.
        on_error: takes a frame that failed, the reason and the exception.
        too_old: whether a frame, whose turn has come, is too old to be worth forecasting.
    """

    decode: Callable[[Frame], np.ndarray]
    wanted: Callable[[str], Wanted | None]
    on_forecast: Callable[[Forecast, Frame], None]
    on_drop: Callable[[Frame, str], None] = lambda frame, reason: None
    on_error: Callable[[Frame, str, Exception], None] = lambda frame, reason, error: None
    too_old: Callable[[Frame], bool] = lambda frame: False


class ForecastWorker:
    """Runs the engine in a thread behind a mailbox for the newest frame.

    A frame that arrives while another waits replaces it, so memory and delay stay bounded
    however slow the model is. Reasons of dropped frames are the engine's (`context_filling`,
    `duplicate_stamp`, `out_of_order`) and these: `time_jump` (the context restarts with this
    frame), `superseded` by a newer frame, `context_only` (superseded, but encoded for the newer
    frame's context), `bad_image`, `bad_output` (the model predicted NaN), `out_of_memory`,
    `error` (any other), `unwanted` (nobody listens; the context is still kept), `too_old` (the
    same), `reset` (waited when the context was dropped), `inactive` (the worker does not run or
    stopped meanwhile), and whatever `offer` and `refuse` are told.
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
        self._mailbox = Mailbox(engine.rule)
        self._encoded_ns: list[int] = []  # stamps of the engine's context, rising
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

    def submit(self, payload: Any, stamp_ns: int, camera: str = "") -> None:
        """Hand over a frame; never blocks on the model."""
        frame = self._receive(payload, stamp_ns, camera)
        with self._condition:
            running = self._session is not None
            useless = self._mailbox.put(frame) if running else []
            self._condition.notify_all()
        if not running:
            self._drop(frame, "inactive")
        for old in useless:
            self._drop(old, old.unused)

    def offer(self, payload: Any, stamp_ns: int, reason: str, camera: str = "") -> None:
        """Hand over a frame for the context only; unused, it is dropped for the reason."""
        frame = self._receive(payload, stamp_ns, camera, reason)
        with self._condition:
            running = self._session is not None
            useless = self._mailbox.keep(frame) if running else []
        if not running:
            self._drop(frame, "inactive")
        for old in useless:
            self._drop(old, old.unused)

    def refuse(self, payload: Any, stamp_ns: int, reason: str, camera: str = "") -> None:
        """Account for a frame that is not worth handing over."""
        self._drop(self._receive(payload, stamp_ns, camera), reason)

    def reset(self) -> int:
        """Drop the waiting frames, and the engine's context before the next one; from any thread.

        Returns:
            How many frames waited.
        """
        with self._condition:
            self._reset_asked = True
        return self.discard("reset")

    def discard(self, reason: str) -> int:
        """Drop the waiting frames for a reason and return how many; the context stays."""
        with self._condition:
            left = self._mailbox.clear()
        for frame in left:
            self._drop(frame, reason)
        return len(left)

    def stop(self, timeout_s: float = 1.5) -> bool:
        """Stop, giving up the waiting frames and the one in work.

        Returns:
            False when a forward pass outlasts the timeout; its thread ends after that pass.
        """
        with self._condition:
            self._session = None
            left = self._mailbox.clear()
            self._condition.notify_all()
            ended = self._condition.wait_for(lambda: self._thread is None, timeout_s)
        for frame in left:
            self._drop(frame, "inactive")
        return ended

    def _receive(
        self, payload: Any, stamp_ns: int, camera: str, unused: str = "superseded"
    ) -> Frame:
        frame = Frame(payload, stamp_ns, time.monotonic(), camera, unused)
        self.counter.receive()
        self.input_rate.tick(frame.received_s)
        return frame

    def _run(self) -> None:
        while (session := self._wait_for_work()) is not None:
            self._work(session)

    def _wait_for_work(self) -> int | None:
        """Wait for a frame; its session, or None when the thread is to end."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._session is None or self._mailbox.newest is not None
            )
            if self._session is None:
                self._thread = None
                self._condition.notify_all()
            return self._session

    def _work(self, session: int) -> None:
        with self._condition:
            if self._mailbox.newest is None:  # stopped meanwhile
                return
            reset, self._reset_asked = self._reset_asked, False
            if reset:
                self._encoded_ns.clear()
            newest, needed, useless = self._mailbox.take(self._encoded_ns)
        if reset:
            self._engine.reset()
        for frame in useless:
            self._drop(frame, frame.unused)
        too_old = self._hooks.too_old(newest)
        wanted = NOTHING if too_old else self._hooks.wanted(newest.camera)
        for frame in needed:
            if _is_nothing(wanted):
                self._drop(frame, frame.unused)
            else:
                self._process(frame, session, NOTHING, "context_only")
        self._process(newest, session, wanted, "too_old" if too_old else "unwanted")
        # Read here, since the engine belongs to this thread.
        self.context_state = self._engine.context_state

    def _process(
        self, frame: Frame, session: int, wanted: Wanted | None, reason_of_nothing: str
    ) -> None:
        try:
            reason = self._forecast(frame, session, wanted, reason_of_nothing)
        except InputError as error:
            reason = "bad_image"
            self._hooks.on_error(frame, reason, error)
        except Exception as error:  # noqa: BLE001 - a bad frame must not end the thread
            reason = getattr(error, "drop_reason", "error")
            self._encoded_ns.clear()  # whether this frame got into the context is not known
            self._hooks.on_error(frame, reason, error)
        if reason is not None:
            self._drop(frame, reason)
            return
        done_s = time.monotonic()
        self.latency.add(done_s - frame.received_s)
        self.output_rate.tick(done_s)
        self.counter.forecast()

    def _forecast(
        self, frame: Frame, session: int, wanted: Wanted | None, reason_of_nothing: str
    ) -> str | None:
        """Publish the frame's forecast, or return why there is none."""
        if session != self._session:
            return "inactive"
        image = self._hooks.decode(frame)
        forecast = self._engine.update(image, frame.stamp_ns, wanted)
        reason = self._note_arrival(frame.stamp_ns)
        if reason is not None and forecast is None:
            return reason
        if _is_nothing(wanted):
            return reason_of_nothing
        if forecast is None:
            return self._engine.last_drop or "context_filling"
        if session != self._session:
            return "inactive"
        self._hooks.on_forecast(forecast, frame)
        return None

    def _note_arrival(self, stamp_ns: int) -> str | None:
        """Keep book of the engine's context; the reason when the frame broke it or is not in it."""
        arrival = "append" if self._engine.last_arrival is None else self._engine.last_arrival.value
        if arrival in ("duplicate_stamp", "out_of_order"):
            return arrival
        if arrival in ("gap", "time_jump"):
            self._encoded_ns.clear()
        oldest_ns = stamp_ns - self._engine.rule.span_ns
        self._encoded_ns[:] = [s for s in self._encoded_ns if oldest_ns <= s < stamp_ns]
        self._encoded_ns.append(stamp_ns)
        return "time_jump" if arrival == "time_jump" else None

    def _drop(self, frame: Frame, reason: str) -> None:
        self.counter.drop(reason)
        self._hooks.on_drop(frame, reason)


def _is_nothing(wanted: Wanted | None) -> bool:
    if isinstance(wanted, Mapping):
        return not any(wanted.values())
    return wanted is not None and not wanted
