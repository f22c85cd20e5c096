"""A thread that owns the engine. The newest frame wins, and every frame is accounted for."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Any, NamedTuple

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.runtime.camera_frame import CameraFrame, CameraResult
from dino_foresight_ros.runtime.context import Arrival
from dino_foresight_ros.runtime.grouping import Grouper
from dino_foresight_ros.runtime.hooks import Engine, Hooks
from dino_foresight_ros.runtime.inbox import Inbox
from dino_foresight_ros.runtime.mailbox import SUPERSEDED, Frame
from dino_foresight_ros.runtime.request import OutputRequest
from dino_foresight_ros.runtime.statistics import FrameCounter, LatencyWindow, RateMeter

__all__ = ["NOTHING", "THREAD_NAME", "Engine", "ForecastWorker", "Hooks"]

THREAD_NAME = "foresight-worker"
NOTHING = OutputRequest(frozenset())
"""Of a frame that only fills the context."""


class _Task(NamedTuple):
    """A frame, what is requested of it, and what it counts as when that is nothing."""

    frame: Frame
    request: OutputRequest | None
    reason_of_nothing: str


class ForecastWorker:
    """Runs the engine in a thread behind a mailbox for each camera's newest frame.

    A frame that arrives while another of its camera waits replaces it, so memory and delay stay
    bounded however slow the model is. Frames of several cameras go to the engine together; see
    `Inbox` and `Grouper`. Replaced frames that fill holes of a context are encoded unless
    `fill_context` is set to false, at any time.

    Reasons of dropped frames are the engine's (`context_filling`, `duplicate_stamp`,
    `out_of_order`) and these: `time_jump` (the context restarts with this frame), `superseded` by
    a newer frame, `context_only` (superseded, but encoded for the newer frame's context),
    `bad_image`, `bad_output` (the model predicted NaN), `out_of_memory`, `error` (any other),
    `unwanted` (nobody listens; an only camera's context is still kept), `too_old` (the context
    is kept), `reset` (waited when the context was dropped), `inactive` (the worker does not run
    or stopped meanwhile), and whatever `offer` and `refuse` are told.
    """

    def __init__(
        self,
        engine: Engine,
        hooks: Hooks,
        counter: FrameCounter | None = None,
        grouper: Grouper | None = None,
    ) -> None:
        """Prepare.

        Args:
            engine: belongs to the worker from now on.
            hooks: what to call.
            counter: where frames are counted; one of its own when None.
            grouper: brings the frames of several cameras together; without one, none waits.
        """
        self.counter = counter or FrameCounter()
        self.latency = LatencyWindow()
        self.input_rate = RateMeter()
        self.output_rate = RateMeter()
        self.input_rate_of: defaultdict[str, RateMeter] = defaultdict(RateMeter)  # by camera
        self.output_rate_of: defaultdict[str, RateMeter] = defaultdict(RateMeter)
        self.context_state = engine.context_state
        self.context_of: dict[str, str] = {}  # by camera
        self.fill_context = True
        self.grouper = grouper
        self._engine = engine
        self._hooks = hooks
        self._condition = threading.Condition()
        self._inbox = Inbox(engine.rule, grouper)
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
            useless = self._inbox.put(frame) if running else []
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
            useless = self._inbox.keep(frame) if running else []
        if not running:
            self._drop(frame, "inactive")
        for old in useless:
            self._drop(old, old.unused)

    def refuse(self, payload: Any, stamp_ns: int, reason: str, camera: str = "") -> None:
        """Account for a frame that is not worth handing over."""
        self._drop(self._receive(payload, stamp_ns, camera), reason)

    def reset(self) -> int:
        """Drop the waiting frames, and the context as soon as no pass runs; from any thread.

        Returns:
            How many frames waited.
        """
        with self._condition:
            self._reset_asked = True
            self._condition.notify_all()
        return self.discard("reset")

    def discard(self, reason: str) -> int:
        """Drop the waiting frames for a reason and return how many; the context stays."""
        with self._condition:
            left = self._inbox.clear()
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
            left = self._inbox.clear()
            self._condition.notify_all()
            ended = self._condition.wait_for(lambda: self._thread is None, timeout_s)
        for frame in left:
            self._drop(frame, "inactive")
        return ended

    def _receive(self, payload: Any, stamp_ns: int, camera: str, unused: str = SUPERSEDED) -> Frame:
        frame = Frame(payload, stamp_ns, time.monotonic(), camera, unused)
        self.counter.receive(camera)
        self.input_rate.tick(frame.received_s)
        self.input_rate_of[camera].tick(frame.received_s)
        return frame

    def _run(self) -> None:
        while (session := self._wait_for_work()) is not None:
            self._work(session)

    def _wait_for_work(self) -> int | None:
        """Wait for frames or a reset; the session, or None when the thread is to end."""
        while True:
            with self._condition:
                useless = self._inbox.due(time.monotonic()) if self._session is not None else []
                if self._session is None:
                    self._thread = None
                    self._condition.notify_all()
                    return None
                session, has_work = self._session, self._reset_asked or self._inbox.has_work
                if not has_work and not useless:
                    due_s = self._inbox.next_due_s
                    timeout_s = None if due_s is None else max(0.0, due_s - time.monotonic())
                    self._condition.wait(timeout_s)
            for frame in useless:
                self._drop(frame, frame.unused)
            if has_work:
                return session

    def _work(self, session: int) -> None:
        with self._condition:
            reset, self._reset_asked = self._reset_asked, False
            if reset:
                self._engine.reset()
            batch = self._inbox.take(self._engine.needed)
        for frame in batch.useless:
            self._drop(frame, frame.unused)
        tasks = {frame.camera: self._task(frame) for frame in batch.newest}
        for group in batch.fill:
            self._process(session, [t for f in group if (t := self._fill_task(f, tasks[f.camera]))])
        self._process(session, list(tasks.values()))
        # Read here, since the engine belongs to this thread.
        self.context_state = self._engine.context_state
        changed = {*tasks, *(self.context_of if reset else ())}
        self.context_of |= {camera: self._engine.context_of(camera) for camera in changed}

    def _task(self, frame: Frame) -> _Task:
        if self._hooks.too_old(frame):
            return _Task(frame, NOTHING, "too_old")
        return _Task(frame, self._hooks.request(frame.camera), "unwanted")

    def _fill_task(self, frame: Frame, newest: _Task) -> _Task | None:
        """Encode a replaced frame for the newest one's context, where that is worth it."""
        is_asked_for = self.fill_context or frame.unused != SUPERSEDED
        if is_asked_for and not _is_empty(newest.request):
            return _Task(frame, NOTHING, "context_only")
        self._drop(frame, frame.unused)
        return None

    def _process(self, session: int, tasks: list[_Task]) -> None:
        """Give a group to the engine in one batch and publish; each frame gets its reason."""
        decoded = {t.frame.camera: image for t in tasks if (image := self._decode(t, session))}
        if not decoded:
            return
        going = [task for task in tasks if task.frame.camera in decoded]
        try:
            results = self._engine.update_cameras(decoded)
        except Exception as error:  # noqa: BLE001 - a bad frame must not end the thread
            for task in going:
                self._fail(task.frame, getattr(error, "drop_reason", "error"), error)
            return
        for task in going:
            result = results[task.frame.camera]
            if isinstance(result.error, InputError):
                self._fail(task.frame, "bad_image", result.error)
            elif result.error is not None:
                self._fail(task.frame, getattr(result.error, "drop_reason", "error"), result.error)
            else:
                self._finish(task, result, session)

    def _decode(self, task: _Task, session: int) -> CameraFrame | None:
        """The engine's input, or None for a frame that is not to be worked at."""
        frame = task.frame
        if session != self._session:
            self._drop(frame, "inactive")
            return None
        is_unwanted = task.reason_of_nothing == "unwanted" and _is_empty(task.request)
        if is_unwanted and self.grouper is not None:
            # Of several cameras, one that nobody listens to must not slow down the others.
            self._drop(frame, "unwanted")
            return None
        try:
            return CameraFrame(self._hooks.decode(frame), frame.stamp_ns, task.request)
        except InputError as error:
            self._fail(frame, "bad_image", error)
        except Exception as error:  # noqa: BLE001 - a bad frame must not end the thread
            self._fail(frame, "error", error)
        return None

    def _finish(self, task: _Task, result: CameraResult, session: int) -> None:
        """Publish a frame's forecast, or say why there is none."""
        frame = task.frame
        if result.forecast is None:
            reason = task.reason_of_nothing if _is_empty(task.request) else result.drop
            if result.arrival in (Arrival.DUPLICATE, Arrival.OUT_OF_ORDER, Arrival.TIME_JUMP):
                reason = result.arrival.value  # it broke the context, or is not in it
            self._drop(frame, reason or "context_filling")
            return
        if session != self._session:
            self._drop(frame, "inactive")
            return
        try:
            self._hooks.on_forecast(result.forecast, frame)
        except Exception as error:  # noqa: BLE001 - a bad frame must not end the thread
            self._fail(frame, "error", error)
            return
        done_s = time.monotonic()
        self.latency.add(done_s - frame.received_s)
        self.output_rate.tick(done_s)
        self.output_rate_of[frame.camera].tick(done_s)
        self.counter.forecast(frame.camera)

    def _fail(self, frame: Frame, reason: str, error: Exception) -> None:
        self._hooks.on_error(frame, reason, error)
        self._drop(frame, reason)

    def _drop(self, frame: Frame, reason: str) -> None:
        self.counter.drop(reason, frame.camera)
        self._hooks.on_drop(frame, reason)


def _is_empty(request: OutputRequest | None) -> bool:
    return request is not None and request.is_empty
