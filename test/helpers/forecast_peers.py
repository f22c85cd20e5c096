"""A forecast node in a process of its own, and the peers that tests meet it with over DDS."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from forked import ForkedProcess, Main
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from ros_bench import Bench, on_timeout, wait_until
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dino_foresight_ros.nodes.forecast import node as forecast_node

NODE = [sys.executable, "-m", "dino_foresight_ros.nodes.forecast.node"]
INTERVAL_NS = 200_000_000
START_TIMEOUT_S = 180.0
SHORTEST_WAIT_S = 0.03
"""Between frames: a node that is asked for nothing but forecasts gives 30 a second."""


class NodeProcess:
    """A forecast node and what it printed.

    Attributes:
        started: those that ran in the test that runs now, whose logs are shown if it fails.
    """

    started: ClassVar[list[NodeProcess]] = []

    def __init__(
        self,
        environment: dict[str, str],
        log: Path,
        *parameters: str,
        remaps: tuple[str, ...] = (),
        program: Sequence[str] | Main = forecast_node.main,
        namespace: str = "",
    ) -> None:
        """Start it: a main function at once, in a fork; a command as a user would."""
        words = [program.__module__] if callable(program) else program
        if any("forecast" in word for word in words):
            # Quick to load, and quick to tell; what is given goes over it.
            quick = "bundle:=untrained-tiny", "acceleration:=none", "diagnostics_period_s:=0.2"
            parameters = (*quick, *parameters)
        arguments = ["--ros-args", *(w for p in parameters for w in ("-p", p))]
        remaps += (f"__ns:={namespace}",) if namespace else ()
        arguments += [w for r in remaps for w in ("-r", r)]
        self.log = log
        self.process: subprocess.Popen[bytes] | ForkedProcess
        with log.open("wb") as output:
            if callable(program):
                self.process = ForkedProcess(program, arguments, environment, log)
            else:
                self.process = subprocess.Popen(
                    [*program, *arguments],
                    env=environment,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
        self.started.append(self)

    @property
    def text(self) -> str:
        return self.log.read_text()

    def wait_for_text(self, text: str, timeout_s: float = START_TIMEOUT_S) -> None:
        def seen() -> bool:
            assert self.process.poll() is None, f"the node ended:\n{self.text}"
            return text in self.text

        assert wait_until(seen, timeout_s), f"no {text!r} in:\n{self.text}"

    def print_stacks(self) -> None:
        """Let it print where each of its threads is now, if it was forked."""
        if isinstance(self.process, ForkedProcess) and self.process.poll() is None:
            self.process.send_signal(signal.SIGUSR1)
            time.sleep(0.5)

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        assert wait_until(lambda: self.process.poll() is not None), "the node did not end"
        return self.process.wait()

    def end(self, number: int = signal.SIGINT) -> int:
        """Ask it to end; it must have printed no traceback. Return its exit code."""
        self.process.send_signal(number)
        code = self.wait()
        assert "Traceback" not in self.text, self.text
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _print_all_stacks() -> None:
    for node in NodeProcess.started:
        node.print_stacks()


on_timeout.append(_print_all_stacks)


class Client(Bench):
    """A node of the test's that publishes frames and keeps what it receives."""

    def __init__(
        self,
        name: str = "test_client",
        namespace: str = "",
        domain_id: int | None = None,
        image_qos: QoSProfile = qos_profile_sensor_data,
        image_type: type = Image,
    ) -> None:
        super().__init__(domain_id)
        self.node = self.make(name, namespace=namespace)
        self.images = self.node.create_publisher(image_type, "image", image_qos)
        self.received: dict[str, list[Any]] = {}
        self.newest_ns = 0
        self._subscriptions: list[Any] = []
        self._callers: dict[str, Any] = {}

    def wait_until_heard(self, node: NodeProcess) -> None:
        """Until a forecast node takes images: it is active from then on."""

        def is_heard() -> bool:
            assert node.process.poll() is None, f"the node ended:\n{node.text}"
            return self.images.get_subscription_count() > 0

        assert self.spin_until(is_heard, START_TIMEOUT_S), node.text

    def subscribe(self, kind: type, topic: str, latched: bool = False) -> list[Any]:
        kept = self.received.setdefault(topic, [])
        qos = QoSProfile(depth=20)
        if latched:
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
        self._subscriptions.append(self.node.create_subscription(kind, topic, kept.append, qos))
        return kept

    def unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            self.node.destroy_subscription(subscription)
        self._subscriptions.clear()
        self.received.clear()

    def has_heard_of(self, stamp_ns: int) -> bool:
        """Whether a message came that is made of the frame with this stamp."""
        newest = [kept[-1] for kept in self.received.values() if kept]
        headers = [message.header for message in newest if hasattr(message, "header")]
        return any(stamp_of(header.stamp) == stamp_ns for header in headers)

    def next_ns(self) -> int:
        """Now, or after all that was published: tests that share a node go on from one another."""
        return max(time.time_ns(), self.newest_ns + INTERVAL_NS)

    def publish(self, stamp_ns: int, size: tuple[int, int] = (120, 200), **changes: Any) -> None:
        self.newest_ns = max(self.newest_ns, stamp_ns)
        self.images.publish(rgb_message(stamp_ns, size, **changes))

    def call(self, kind: type, service: str, request: Any) -> Any:
        """The answer of a service; its server has to find this peer at the first call only."""
        return self.ask(self.caller(kind, service), request)

    def caller(self, kind: type, service: str) -> Any:
        if service not in self._callers:
            self._callers[service] = self.node.create_client(kind, service)
        return self._callers[service]


def stream(client: Client, first_ns: int, count: int, **changes: Any) -> list[int]:
    """Publish frames one interval apart, at the speed of their stamps or of their forecasts.

    A busy node need not get to see every one of them.

    Returns:
        Their stamps.
    """
    stamps = [first_ns + index * INTERVAL_NS for index in range(count)]
    for stamp in stamps:
        client.publish(stamp, **changes)
        client.spin_for(SHORTEST_WAIT_S)
        client.spin_until(lambda s=stamp: client.has_heard_of(s), INTERVAL_NS / 1e9)
    return stamps


def stream_until(client: Client, first_ns: int, condition: Callable[[], bool]) -> list[int]:
    """Publish frames until the condition holds; return their stamps."""
    stamps: list[int] = []

    def holds() -> bool:
        if condition():
            return True
        stamps.extend(stream(client, first_ns + len(stamps) * INTERVAL_NS, 1))
        return condition()

    assert wait_until(holds)
    return stamps


def newest_is_forecast(client: Client, forecasts: list[Any]) -> bool:
    """Whether the node has done all that was sent to it; to be asked while frames are sent."""
    return client.spin_until(
        lambda: bool(forecasts) and stamp_of(forecasts[-1].header.stamp) == client.newest_ns,
        2.0 if forecasts else 0.0,
    )


def rgb_message(stamp_ns: int, size: tuple[int, int] = (120, 200), **changes: Any) -> Image:
    """An rgb8 image of the stamp's `picture`; fields may be changed."""
    height, width = size
    message = Image(header=header_at(stamp_ns), height=height, width=width, encoding="rgb8")
    message.step = 3 * width
    message.data = picture(stamp_ns, size).tobytes()
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def picture(stamp_ns: int, size: tuple[int, int] = (120, 200)) -> np.ndarray:
    """(H, W, 3) uint8 noise that depends on the stamp."""
    return np.random.default_rng(stamp_ns % 2**32).integers(0, 256, (*size, 3), dtype=np.uint8)


def header_at(stamp_ns: int) -> Header:
    return Header(stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id="cam")


def stamp_of(stamp: Time) -> int:
    return stamp.sec * 10**9 + stamp.nanosec


def values_of(message: DiagnosticArray) -> dict[str, str]:
    return {v.key: v.value for v in message.status[0].values}
