"""Which frames the engine works at, and when: the newest first, and every frame accounted for."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import NamedTuple, Protocol, TypeVar

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.outputs import DropReason
from dino_foresight_ros.runtime.context import Arrival
from dino_foresight_ros.runtime.context_rules import ContextRule
from dino_foresight_ros.runtime.encoded import Encoded
from dino_foresight_ros.runtime.frame import CameraFrame, CameraResult, Forecast, QueuedFrame
from dino_foresight_ros.runtime.grouping import Grouper
from dino_foresight_ros.runtime.inbox import Inbox
from dino_foresight_ros.runtime.questions import Questions
from dino_foresight_ros.runtime.request import OutputRequest
from dino_foresight_ros.runtime.statistics import Statistics

T = TypeVar("T")

THREAD_NAME = "foresight-worker"
_STOPPED = "the node is not active: it takes no frames now"

CONTEXT_ONLY = OutputRequest(frozenset())
"""Of a frame that is encoded and not forecast."""
ASKED_S = 30.0
"""So long after a question the contexts of all cameras are kept, for the next one."""


class Engine(Protocol):
    """What is needed of `Foresight`."""

    def encode(self, frames: Mapping[str, CameraFrame]) -> Encoded: ...

    def forecast(
        self, encoded: Encoded, beside: Callable[[], None] | None = None
    ) -> Mapping[str, CameraResult]: ...

    def wait(self) -> None: ...

    def needed(self, camera: str, newest_ns: int, waiting_ns: Sequence[int]) -> list[int]: ...

    def reset(self) -> None: ...

    def context_of(self, camera: str) -> str: ...

    @property
    def context_state(self) -> str: ...

    @property
    def memory_bytes(self) -> int: ...

    @property
    def rule(self) -> ContextRule: ...


class Sink(Protocol):
    """Takes each frame's result.

    `forecast` in the engine's thread; `failed` in that and in those that help it; `dropped` in any.
    """

    def forecast(self, frame: QueuedFrame, forecast: Forecast, image_size: tuple[int, int]) -> None:
        """Take a forecast; `image_size` is (height, width) of the frame's image."""

    def dropped(self, frame: QueuedFrame, reason: DropReason) -> None:
        """Take note of a frame that was given up."""

    def failed(self, frame: QueuedFrame, reason: DropReason, error: Exception) -> None:
        """Take note of a frame that was given up for an error."""


class _Task(NamedTuple):
    """A frame, what is requested of it, and what it counts as when that is nothing."""

    frame: QueuedFrame
    request: OutputRequest | None
    reason_of_nothing: DropReason

    @property
    def is_empty(self) -> bool:
        return self.request is not None and self.request.is_empty


class _Batch(NamedTuple):
    """A frame of each of some cameras, encoded and to be forecast, and the images' (H, W)."""

    session: int
    tasks: list[_Task]
    sizes: dict[str, tuple[int, int]]
    encoded: Encoded


class Scheduler:
    """Hands frames to the engine and each result to the sink.

    A frame that arrives while another of its camera waits replaces it, so memory and delay stay
    bounded however slow the model is. Frames of several cameras go to the engine together; see
    `Inbox` and `Grouper`. Replaced frames that the engine needs for a context are encoded before
    the newest one, unless `fill_context` is set to false, at any time.

    `run` or `work` is called in one thread, which the engine belongs to; all else from any thread.

    An engine with several threads leaves some of them idle while a frame is encoded and at the end
    of a frame's decoding. So the next frame, if one waits by then, is encoded beside the decoding.
    """

    def __init__(
        self,
        engine: Engine,
        sink: Sink,
        statistics: Statistics | None = None,
        grouper: Grouper | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            engine: belongs to the scheduler from now on.
            sink: takes the results.
            statistics: where frames are counted; of its own when None.
            grouper: brings the frames of several cameras together; without one, none waits.
            now_ns: the clock of the frames' stamps, which tells their age; nanoseconds.
            now_s: a clock that runs whatever stamps do, seconds.
        """
        self.statistics = statistics or Statistics()
        self.fill_context = True
        self.grouper = grouper
        self._engine, self._sink = engine, sink
        self._now_ns, self._now_s = now_ns, now_s
        self._condition = threading.Condition()
        self._inbox = Inbox(engine.rule, grouper)
        self._contexts: dict[str, str] = {}
        self._context_state = engine.context_state
        self._context_bytes = 0
        self._session: int | None = None  # None while stopped; a result belongs to one session
        self._sessions = 0
        self._reset_asked = False
        self._questions = Questions()
        self._asked_s = -math.inf
        self._ahead: _Batch | None = None
        self._ahead_useless: DropReason | None = None  # why it is not to be forecast

    # From any thread

    @property
    def is_running(self) -> bool:
        """Whether frames are taken."""
        return self._session is not None

    @property
    def context_state(self) -> str:
        """Filling of the fullest context, such as "2/4 frames"."""
        return self._context_state

    @property
    def context_bytes(self) -> int:
        """Bytes that all contexts take on the device, as after the last frame."""
        return self._context_bytes

    @property
    def rule(self) -> ContextRule:
        """How contexts are chosen; it stays as it is."""
        return self._engine.rule

    @property
    def contexts(self) -> Mapping[str, str]:
        """Filling of each camera's context, as after the last frame."""
        with self._condition:
            return dict(self._contexts)

    def start(self) -> None:
        """Take frames from now on, with an empty context; also again after `stop`."""
        with self._condition:
            self._sessions += 1
            self._session = self._sessions
            self._reset_asked, self._ahead_useless = True, DropReason.RESET
            self._condition.notify_all()

    def stop(self) -> None:
        """Give up the waiting frames and the one in work, and take none any more."""
        with self._condition:
            self._session = None
            left = self._inbox.clear()
            self._condition.notify_all()
        self._drop(left, DropReason.INACTIVE)
        self._questions.give_up(_STOPPED)

    def submit(self, frame: QueuedFrame) -> None:
        """Hand over a frame; never blocks on the model."""
        self.statistics.received(frame.camera, frame.received_s)
        with self._condition:
            is_running = self.is_running
            useless = self._inbox.put(frame) if is_running else []
            self._condition.notify_all()
        if not is_running:
            self._drop([frame], DropReason.INACTIVE)
        self._drop(useless)

    def ask(self, parts: Generator[None, None, T]) -> Future[T]:
        """Have something else worked at in the engine's thread, a part after each frame.

        So frames go on being forecast while a long question is answered.

        Args:
            parts: yields after each part; what it returns or raises is the answer.

        Raises:
            InputError: no frames are taken, or too many questions wait.
        """
        with self._condition:
            if not self.is_running:
                raise InputError(_STOPPED)
            self._asked_s = self._now_s()
            answer = self._questions.ask(parts)
            self._condition.notify_all()
        return answer

    def refuse(self, frame: QueuedFrame, reason: DropReason) -> None:
        """Account for a frame that is not worth handing over."""
        self.statistics.received(frame.camera, frame.received_s)
        self._drop([frame], reason)

    def reset(self) -> int:
        """Drop the waiting frames, and the context as soon as no pass runs.

        Returns:
            How many frames waited.
        """
        with self._condition:
            self._reset_asked = True
            left = self._give_up_waiting(DropReason.RESET)
            self._condition.notify_all()
        self._drop(left, DropReason.RESET)
        return len(left)

    def discard(self, reason: DropReason) -> int:
        """Drop the frames that are not in work for a reason; the context stays.

        Returns:
            How many waited. One that was encoded ahead is dropped once no pass runs.
        """
        with self._condition:
            left = self._give_up_waiting(reason)
        self._drop(left, reason)
        return len(left)

    def _give_up_waiting(self, reason: DropReason) -> list[QueuedFrame]:
        """Take out what waits, to be dropped; the lock is held."""
        self._ahead_useless = reason
        return self._inbox.clear()

    # In the engine's thread

    def run(self) -> None:
        """Work until `stop`."""
        while self._wait():
            self.work()
        self._give_up_ahead(DropReason.INACTIVE)

    def _wait(self) -> bool:
        """Wait for something to do; False once stopped."""
        with self._condition:
            while self.is_running:
                due_s = self._inbox.next_due_s
                left_s = None if due_s is None else due_s - self._now_s()
                is_due = left_s is not None and left_s <= 0.0
                has_work = self._ahead is not None or self._inbox.has_work
                if self._reset_asked or self._questions or has_work or is_due:
                    return True
                self._condition.wait(left_s)
            return False

    def work(self) -> None:
        """Work once at all that waits now: the newest frame of each camera, in one batch."""
        with self._condition:
            useless, self._ahead_useless = self._ahead_useless, None
        if useless is not None:
            self._give_up_ahead(useless)
        batch, self._ahead = self._ahead, None
        batch = batch or self._encode_waiting()
        if batch is not None:
            self._forecast(batch)
            self._engine.wait()
            self._note_contexts()  # one that gave NaN was dropped
        self._questions.work()

    def _encode_waiting(self, is_ahead: bool = False) -> _Batch | None:
        """Encode what waits now; None where nothing of it is to be forecast."""
        with self._condition:
            session = self._session
            if session is None or (is_ahead and self._ahead_useless is not None):
                return None
            useless = self._inbox.due(self._now_s())
            is_reset, self._reset_asked = self._reset_asked, False
            waiting = self._inbox.take()
        self._drop(useless)
        if is_reset:
            self._engine.reset()
        tasks = {newest.camera: self._task(newest) for newest, _ in waiting}
        for group in _by_turns([self._choose(tasks[w.newest.camera], w.older) for w in waiting]):
            fill = [_Task(frame, CONTEXT_ONLY, DropReason.CONTEXT_ONLY) for frame in group]
            self._encode(session, fill)
        batch = self._encode(session, list(tasks.values()))
        self._note_contexts(*tasks)
        return batch

    def _encode_ahead(self) -> None:
        """Encode what waits now while heads are at work, in a thread that helps the engine."""
        if self._ahead is None:
            self._ahead = self._encode_waiting(is_ahead=True)

    def _give_up_ahead(self, reason: DropReason) -> None:
        batch, self._ahead = self._ahead, None
        if batch is not None:
            self._drop([task.frame for task in batch.tasks], reason)

    def _task(self, frame: QueuedFrame) -> _Task:
        limit_ns = frame.max_age_ns
        if limit_ns is not None and self._now_ns() - frame.stamp_ns > limit_ns:
            return _Task(frame, CONTEXT_ONLY, DropReason.TOO_OLD)
        return _Task(frame, frame.request, DropReason.UNWANTED)

    def _choose(self, newest: _Task, older: list[QueuedFrame]) -> list[QueuedFrame]:
        """The frames to encode before the newest one of their camera; the others are dropped."""
        asked = [f for f in older if self.fill_context or f.held_back is not None]
        if newest.is_empty:
            asked = []
        stamps = [frame.stamp_ns for frame in asked]
        chosen = self._engine.needed(newest.frame.camera, newest.frame.stamp_ns, stamps)
        needed = [asked[index] for index in chosen]
        self._drop([frame for frame in older if frame not in needed])
        return needed

    def _encode(self, session: int, tasks: list[_Task]) -> _Batch | None:
        """Have a frame of each camera encoded in one batch; None where none is to be forecast."""
        decoded = {t.frame.camera: image for t in tasks if (image := self._decode(t, session))}
        going = [task for task in tasks if task.frame.camera in decoded]
        if not going:
            return None
        try:
            encoded = self._engine.encode(decoded)
        except Exception as error:  # noqa: BLE001 - a bad frame must not end the thread
            for task in going:
                self._fail(task.frame, error)
            return None
        sizes = {name: frame.image.shape[:2] for name, frame in decoded.items()}
        settled = [task for task in going if task.frame.camera not in encoded.requests]
        self._finish_all(_Batch(session, settled, sizes, encoded), encoded.results)
        left = [task for task in going if task.frame.camera in encoded.requests]
        return _Batch(session, left, sizes, encoded) if left else None

    def _forecast(self, batch: _Batch) -> None:
        """Have frames forecast that are encoded, and give the results to the sink."""
        try:
            results = self._engine.forecast(batch.encoded, self._encode_ahead)
        except Exception as error:  # noqa: BLE001 - a bad frame must not end the thread
            for task in batch.tasks:
                self._fail(task.frame, error)
            return
        self._finish_all(batch, results)

    def _finish_all(self, batch: _Batch, results: Mapping[str, CameraResult]) -> None:
        for task in batch.tasks:
            camera = task.frame.camera
            self._finish(task, results[camera], batch.sizes[camera], batch.session)

    def _decode(self, task: _Task, session: int) -> CameraFrame | None:
        """The engine's input, or None for a frame that is not to be worked at."""
        frame = task.frame
        if session != self._session:
            self._drop([frame], DropReason.INACTIVE)
            return None
        is_unwanted = task.is_empty and task.reason_of_nothing is DropReason.UNWANTED
        is_asked = self._now_s() - self._asked_s < ASKED_S  # questions take all contexts
        if is_unwanted and self.grouper is not None and not is_asked:
            # Of several cameras, one that nobody listens to must not slow down the others.
            self._drop([frame], DropReason.UNWANTED)
            return None
        try:
            picture, request = frame.decode(frame.payload), task.request
            if frame.motion is not None and request is not None and not request.is_empty:
                request = replace(request, motion=frame.motion())
            if frame.focal is not None and request is not None and not request.is_empty:
                size = (picture.shape[0], picture.shape[1])
                request = replace(request, focal=frame.focal(size))
            return CameraFrame(picture, frame.stamp_ns, request)
        except Exception as error:  # noqa: BLE001 - a bad frame must not end the thread
            self._fail(frame, error)
        return None

    def _finish(
        self, task: _Task, result: CameraResult, image_size: tuple[int, int], session: int
    ) -> None:
        """Hand on a frame's forecast, or say why there is none."""
        frame = task.frame
        if result.error is not None:
            self._fail(frame, result.error)
        elif result.forecast is None:
            self._drop([frame], _reason(task, result))
        elif session != self._session:
            self._drop([frame], DropReason.INACTIVE)
        else:
            try:
                self._sink.forecast(frame, result.forecast, image_size)
            except Exception as error:  # noqa: BLE001 - a bad frame must not end the thread
                self._fail(frame, error)
                return
            self.statistics.forecast(frame.camera, frame.received_s, self._now_s())

    def _note_contexts(self, *new_cameras: str) -> None:
        # Copied here, since the engine belongs to this thread.
        with self._condition:
            self._context_state = self._engine.context_state
            self._context_bytes = self._engine.memory_bytes
            for camera in {*self._contexts, *new_cameras}:
                self._contexts[camera] = self._engine.context_of(camera)

    def _fail(self, frame: QueuedFrame, error: Exception) -> None:
        reason = DropReason(getattr(error, "drop_reason", DropReason.ERROR))
        if isinstance(error, InputError):
            reason = DropReason.BAD_IMAGE
        self._sink.failed(frame, reason, error)
        self.statistics.dropped(frame.camera, reason)

    def _drop(self, frames: Sequence[QueuedFrame], reason: DropReason | None = None) -> None:
        """Give frames up, each for its own reason when None."""
        for frame in frames:
            why = reason or frame.reason_unused
            self._sink.dropped(frame, why)
            self.statistics.dropped(frame.camera, why)


class Worker:
    """Runs a scheduler in a thread of its own; may be started again after it was stopped."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start taking frames, with an empty context."""
        with self._lock:
            self._scheduler.start()
            if self._thread is not None:  # still in a pass that outlasted `stop`: it goes on
                return
            self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float = 1.5) -> bool:
        """Stop, giving up the waiting frames and the one in work.

        Returns:
            False when a forward pass outlasts the timeout; its thread ends after that pass.
        """
        thread = self._thread
        self._scheduler.stop()
        if thread is not None:
            thread.join(timeout_s)
        return thread is None or not thread.is_alive()

    def _run(self) -> None:
        while True:
            self._scheduler.run()
            with self._lock:
                if not self._scheduler.is_running:  # not started again meanwhile
                    self._thread = None
                    break


def _by_turns(fills: list[list[QueuedFrame]]) -> list[list[QueuedFrame]]:
    """Groups of at most one frame of each camera, in the order to encode them.

    Counted from the newest, so that each context is complete as soon as its turn comes.
    """
    turns = range(max(map(len, fills), default=0))
    return [[fill[-1 - i] for fill in fills if i < len(fill)] for i in reversed(turns)]


def _reason(task: _Task, result: CameraResult) -> DropReason:
    """Why a frame that the engine took has no forecast."""
    arrival = result.arrival
    if arrival in (Arrival.DUPLICATE, Arrival.OUT_OF_ORDER, Arrival.TIME_JUMP):
        return DropReason(arrival.value)  # it broke the context, or is not in it
    if task.is_empty:
        return task.reason_of_nothing
    return result.drop or DropReason.CONTEXT_FILLING
