"""Run one node as a process: start, spin, end cleanly.

Exit codes: 0 for a normal end, SIGINT and SIGTERM; 1 for a failure; 2 for bad arguments or
parameters. A failure is one line on stderr, never a traceback.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from types import FrameType
from typing import NoReturn

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from dino_foresight_ros.errors import ForesightError, UsageError, describe
from dino_foresight_ros.process.deadline import exit_after, flush_output
from dino_foresight_ros.ros.environment import check_domain, choose_transport, logging_arguments

MIDDLEWARE_LIMIT_S = 5.0
"""How long the middleware may take to say goodbye to its peers.

Fast DDS of the package index sometimes never comes back: where a peer appears or leaves at that
moment, `set_listener` spins with the lock held that the one it waits for needs (its issue 6513).
"""

InvalidHandle: type[Exception] = rclpy_implementation.InvalidHandle
"""Something was used that is destroyed: a publisher, a subscription, a timer, a node."""

_run: _Run | None = None


class _Run:
    """The state of this process's one run: whether it is to end, and how."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = tuple(arguments)
        self.exit_code = 0
        self.starting = True
        self._is_ended = False
        # Not an Event: a signal may come while the main thread, in which its handler runs, holds
        # the Event's lock at the beginning of `wait`, and `set` would then wait for it for ever.
        self._ends: SimpleQueue[None] = SimpleQueue()

    @property
    def is_ended(self) -> bool:
        """Whether the run is to end, or has."""
        return self._is_ended

    def end(self, exit_code: int) -> None:
        """Have the run end; from any thread, and in the midst of anything."""
        if not self._is_ended:
            self._is_ended, self.exit_code = True, exit_code
            self._ends.put(None)

    def wait(self) -> None:
        """Wait until the run is to end; called once."""
        self._ends.get()

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.end(0)
        # Start-up (loading a model) runs in this thread and can take long: leave it at once.
        if self.starting:
            self.starting = False
            raise KeyboardInterrupt


def finish(exit_code: int = 0) -> None:
    """End the running node's process, from any thread: the input ended, or all is done."""
    if _run is not None:
        _run.end(exit_code)


def arguments_of_run() -> tuple[str, ...]:
    """Command line of the running node's process; empty where `run_node` does not run."""
    return () if _run is None else _run.arguments


def run_node(
    factory: Callable[[], Node], args: Sequence[str] | None = None, usage: str = ""
) -> int:
    """Build a node, spin it until it finishes or a signal comes, and take it down.

    The node may end itself with `finish()`. Callbacks run one at a time in one thread, which is
    not the main thread. ROS stays up until the node is destroyed, so that `destroy_node` may
    still publish and log.

    Args:
        factory: makes the node; called after ROS is up.
        args: command line without the program's name; None takes the process's own.
        usage: what --help prints.

    Returns:
        The process's exit code.
    """
    global _run
    arguments = list(sys.argv[1:] if args is None else args)
    try:
        others = _other_arguments(arguments)
    except UsageError as error:
        return _report(error)
    if others:
        with contextlib.suppress(BrokenPipeError):
            print(usage or f"usage: {_program()} --ros-args [-p NAME:=VALUE] [-r FROM:=TO] ...")
        return 0
    _run = run = _Run(arguments)
    # Own handlers: rclpy's would take ROS down before the node could end its work.
    previous = {
        number: signal.signal(number, run.on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        return _run_until_ended(run, factory, arguments)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _run = None


def _run_until_ended(run: _Run, factory: Callable[[], Node], arguments: list[str]) -> int:
    node: Node | None = None
    try:
        _init(arguments)
        node = factory()
        run.starting = False
        _spin(run, node)
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - the last resort
        run.end(_report(error))
    finally:
        run.starting = False
        _take_down(run, node)
    leave_if_work_is_stuck(run.exit_code)
    return run.exit_code


def _other_arguments(arguments: list[str]) -> list[str]:
    """Arguments that are none of ROS's; only --help can be among them.

    Raises:
        UsageError: there are others, or ROS's are malformed.
    """
    try:
        others: list[str] = remove_ros_args([sys.argv[0], *arguments])[1:]
    except RuntimeError as error:  # rclpy's own errors are kinds of RuntimeError
        raise UsageError(str(error)) from error
    unknown = [argument for argument in others if argument not in ("-h", "--help")]
    if unknown:
        raise UsageError(
            f"unexpected argument {unknown[0]!r}; parameters are given as "
            "--ros-args -p NAME:=VALUE, and --help lists them"
        )
    return others


def _init(arguments: list[str]) -> None:
    every = [sys.argv[0], *arguments, *logging_arguments()]
    choose_transport()
    check_domain(os.environ)
    try:
        rclpy.init(args=every, signal_handler_options=SignalHandlerOptions.NO)
    except (RuntimeError, ValueError) as error:
        raise UsageError(str(error)) from error


def _spin(run: _Run, node: Node) -> None:
    """Spin in a thread of its own: only a main thread that waits in Python sees signals."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    thread = threading.Thread(
        target=_spin_here, args=(run, executor), name="foresight-executor", daemon=True
    )
    thread.start()
    run.wait()
    executor.shutdown(timeout_sec=1.0)
    thread.join(timeout=1.0)


def _spin_here(run: _Run, executor: Executor) -> None:
    try:
        executor.spin()
    except ExternalShutdownException:
        run.end(0)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the last resort
        # A callback that outlasts the shutdown (a picture of 8K) ends on a node that is destroyed.
        if not (run.is_ended and isinstance(error, InvalidHandle)):
            run.end(_report(error))


def _take_down(run: _Run, node: Node | None) -> None:
    """End the node, then ROS; the exit code tells where the node's work did not come to its end."""
    with contextlib.ExitStack() as of_middleware:
        if node is not None:
            run.exit_code = _destroy(node, of_middleware) or run.exit_code
        with exit_after(MIDDLEWARE_LIMIT_S, run.exit_code):
            try:
                of_middleware.close()
                if node is None:
                    gc.collect()  # what the failed start left would stay in the graph of its peers
                rclpy.try_shutdown()
            except Exception as error:  # noqa: BLE001 - the process ends anyway
                print(f"while ending: {describe(error)}", file=sys.stderr)


def _destroy(node: Node, of_middleware: contextlib.ExitStack) -> int:
    """Let the node end its work and go; what the middleware has of it goes with the stack."""
    try:
        of_middleware.enter_context(node.handle)
        # What is left where `destroy_node` fails: the handle alone would not go, its parts hold it.
        of_middleware.callback(Node.destroy_node, node)
        node.destroy_node()
    except ForesightError as error:
        return _report(error)
    except InvalidHandle:  # a callback that still runs has destroyed a part of the node before
        pass
    except Exception as error:  # noqa: BLE001 - the process ends anyway
        print(f"while ending: {describe(error)}", file=sys.stderr)
    return 0


def leave(exit_code: int) -> NoReturn:
    """End the process at once, after run_node has taken its node down.

    Python's own ending would first unload torch, which takes a second, in which a process manager
    waits for nothing; and it can crash while a thread is deep in native code.
    """
    flush_output()
    os._exit(exit_code)


def leave_if_work_is_stuck(exit_code: int) -> None:
    """Leave at once while a thread is still deep in native code, whoever called."""
    stuck = [t for t in threading.enumerate() if t.name.startswith("foresight-") and t.is_alive()]
    if stuck:
        leave(exit_code)


def _report(error: BaseException) -> int:
    """Print one line about the error and return the exit code that it means."""
    if isinstance(error, KeyboardInterrupt):
        return 0
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, ParameterException):
        error = UsageError(str(error))
    print(f"{_program()}: {describe(error)}", file=sys.stderr, flush=True)
    return error.exit_code if isinstance(error, ForesightError) else 1


def _program() -> str:
    folder, name = os.path.split(sys.argv[0])
    # `python -m dino_foresight_ros.nodes.forecast.node` is forecast_node.
    return f"{os.path.basename(folder)}_node" if name == "node.py" else name or "node"
