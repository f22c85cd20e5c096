"""Frames to a running forecast node, and whether what comes back is what an engine computes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from forecast_peers import (
    INTERVAL_NS,
    START_TIMEOUT_S,
    Client,
    NodeProcess,
    picture,
    rgb_message,
    stamp_of,
)
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from ros_bench import TIMEOUT_S, wait_until
from sensor_msgs.msg import Image

from dino_foresight_ros import msg as messages
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.runtime import Foresight

RunScene = Callable[..., AbstractContextManager["Scene"]]
"""(environment, namespace, ...) -> a running node with the camera before it."""
RELIABLE = QoSProfile(depth=1)
FILL_WAIT_S, FRAME_WAIT_S = 0.06, 0.3
"""How long a frame's forecast is waited for before the next frame is sent: while the context can
hardly be full, and afterwards."""


class Reference:
    """The engine in the test's own process, fed with the context that a forecast names."""

    def __init__(self, bundle: Bundle, steps: int) -> None:
        self._engine = Foresight(bundle, steps=steps)

    def mismatch(self, forecast: Any, pictures: list[np.ndarray]) -> str | None:
        """Why a Forecast message is not what these context pictures give; None where it is."""
        stamps = [stamp_of(stamp) for stamp in forecast.context_stamps]
        self._engine.reset()
        expected = None
        for stamp, image in zip(stamps, pictures, strict=True):
            expected = self._engine.update(image, stamp)
        if expected is None or len(forecast.steps) != len(expected.steps):
            return f"{len(forecast.steps)} steps from a context at {stamps}"
        if stamp_of(forecast.header.stamp) != expected.stamp_ns:
            return f"stamped {stamp_of(forecast.header.stamp)}, newest frame {expected.stamp_ns}"
        for found, wanted in zip(forecast.steps, expected.steps, strict=True):
            if stamp_of(found.target_stamp) != wanted.target_stamp_ns:
                return f"step {found.step} aims at {stamp_of(found.target_stamp)}"
            for name, tolerance in {"depth": 2e-3, "confidence": 1e-3, "normals": 2e-3}.items():
                message, values = getattr(found, name), getattr(wanted, name)
                if (message.height, message.width) != values.shape[:2]:
                    return f"{name} is {message.width}x{message.height}"
                array = np.frombuffer(message.data, np.float32).reshape(values.shape)
                if not np.allclose(array, values, rtol=tolerance, atol=tolerance):
                    worst = float(np.abs(array - values).max())
                    return f"{name} of step {found.step} is off by up to {worst:g}"
            ids = np.frombuffer(found.segmentation.data, np.uint8)
            if np.mean(ids != wanted.segmentation.ravel()) > 0.002:
                return f"segmentation of step {found.step} differs"
        return None


class Scene:
    """One running node, a camera that sends it frames, and everything that it publishes."""

    def __init__(
        self,
        node: NodeProcess,
        reference: Reference,
        namespace: str,
        domain_id: int | None = None,
    ) -> None:
        self.process = node
        self.full_name = f"{namespace}/forecast_node"
        self.client = Client(f"camera_{domain_id}", namespace, domain_id, image_qos=RELIABLE)
        self.reference = reference
        self.forecasts = self.client.subscribe(messages.Forecast, "foresight/forecast")
        self._diagnostics = self.client.subscribe(DiagnosticArray, "/diagnostics")
        self._pictures: dict[int, np.ndarray] = {}
        self._checked = 0
        self._changes: Any = None
        self.clock_ns = time.time_ns()

    def close(self) -> None:
        self.client.close()

    def ready(self) -> None:
        """Wait until both directions are connected."""
        client = self.client
        topic = f"{client.node.get_namespace()}/foresight/forecast"
        for is_there in (
            lambda: client.images.get_subscription_count() > 0,
            lambda: client.node.count_publishers(topic) > 0,
        ):
            assert client.spin_until(is_there, START_TIMEOUT_S), self.process.text

    # Frames

    def tick(self) -> int:
        """The next frame's stamp."""
        self.clock_ns += INTERVAL_NS
        return self.clock_ns

    def expect(self, stamp_ns: int, decoded: np.ndarray) -> None:
        """Say what RGB the node should see in the frame with this stamp."""
        self._pictures[stamp_ns] = decoded

    def picture_at(self, stamp_ns: int) -> np.ndarray:
        """The RGB that the node should see in the frame with this stamp."""
        expected = self._pictures.get(stamp_ns)
        return picture(stamp_ns) if expected is None else expected

    def send(self, message: Image, decoded: np.ndarray | None = None) -> None:
        """Send a message; `decoded` is the RGB that the node should see in it, if any."""
        if decoded is not None:
            self.expect(stamp_of(message.header.stamp), decoded)
        self.client.images.publish(message)

    def send_good(self, size: tuple[int, int] = (120, 200), timeout_s: float = FRAME_WAIT_S) -> int:
        """Send a frame without fault and wait a moment for its forecast.

        Returns:
            Its stamp.
        """
        stamp = self.tick()
        self.send(rgb_message(stamp, size), picture(stamp, size))
        self.client.spin_until(lambda: self.forecast_of(stamp) is not None, timeout_s)
        return stamp

    def forecast_of(self, stamp_ns: int) -> Any:
        """The forecast from the frame with this stamp, or None."""
        newest_first = reversed(self.forecasts)
        return next((f for f in newest_first if stamp_of(f.header.stamp) == stamp_ns), None)

    def next_forecast(self, size: tuple[int, int] = (120, 200)) -> Any:
        """The forecast of the very next frame, however long it takes; the context must be whole."""
        forecast = self.forecast_of(self.send_good(size, TIMEOUT_S))
        assert forecast is not None, self._no_forecast([self.clock_ns])
        self.check_forecasts()
        return forecast

    def recovers(self, count: int = 2, size: tuple[int, int] = (120, 200)) -> list[Any]:
        """Send good frames until `count` of them, and the last, were forecast; check all so far.

        Returns:
            The forecasts of those frames.
        """
        sent: list[int] = []

        def found() -> list[Any]:
            return [f for f in map(self.forecast_of, sent) if f is not None]

        def is_back() -> bool:
            assert self.process.process.poll() is None, "the node ended"
            sent.append(self.send_good(size, FILL_WAIT_S if len(sent) < 3 else FRAME_WAIT_S))
            # A frame after it that was dropped would leave a hole in the context.
            return len(found()) >= count and self.client.spin_until(
                lambda: self.forecast_of(sent[-1]) is not None, 2.0
            )

        assert wait_until(is_back), self._no_forecast(sent)
        self.check_forecasts()
        return found()

    def _no_forecast(self, sent: list[int]) -> str:
        newest = self._diagnostics[-1].header.stamp if self._diagnostics else Time()
        return (
            f"no forecast of {len(sent)} frames, {self.client.images.get_subscription_count()} "
            f"readers; {len(self.forecasts)} forecasts so far, diagnostics "
            f"{time.time_ns() / 1e9 - stamp_of(newest) / 1e9:.1f} s old: {self.counts()}"
        )

    def check_forecasts(self) -> None:
        """Every forecast that came is right, whatever happened meanwhile."""
        for forecast in self.forecasts[self._checked :]:
            self.check(forecast)
        self._checked = len(self.forecasts)

    def check(self, forecast: Any) -> None:
        """One forecast is what the engine computes from the frames that it names."""
        pictures = [self.picture_at(stamp_of(stamp)) for stamp in forecast.context_stamps]
        problem = self.reference.mismatch(forecast, pictures)
        assert problem is None, problem

    def forget(self, keep: int) -> None:
        """Keep the newest forecasts, messages and pictures only; the others count as checked."""
        self.check_accounts()
        del self.forecasts[:-keep], self._diagnostics[:-keep]
        for stamp in sorted(self._pictures)[: -5 * keep]:
            del self._pictures[stamp]
        self._checked = len(self.forecasts)

    # Health

    def newest_status(self) -> DiagnosticStatus | None:
        name = self.full_name.lstrip("/")
        for array in reversed(self._diagnostics):
            for status in array.status:
                if status.name.startswith(name) and counts_of(status):
                    return status
        return None

    def counts(self) -> dict[str, int]:
        """The newest published counts; empty before the first."""
        status = self.newest_status()
        return {} if status is None else counts_of(status)

    def dropped(self, reason: str) -> int:
        return self.counts().get(f"dropped.{reason}", 0)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        assert self.client.spin_until(condition, timeout_s), self.counts()

    def check_accounts(self) -> None:
        """received = forecasts + dropped by a named reason + in flight, in every message so far."""
        for array in self._diagnostics:
            for status in array.status:
                counts = counts_of(status)
                if counts:
                    assert is_balanced(counts), counts

    # Control

    def change(self, label: str) -> bool:
        request = ChangeState.Request()
        request.transition.label = label
        if self._changes is None:
            service = f"{self.full_name}/change_state"
            self._changes = self.client.node.create_client(ChangeState, service)
        return bool(self.client.ask(self._changes, request).success)

    def set_parameter(self, name: str, value: Any) -> Any:
        wish = [Parameter(name, value=value).to_parameter_msg()]
        request = SetParameters.Request(parameters=wish)
        service = f"{self.full_name}/set_parameters"
        return self.client.call(SetParameters, service, request).results[0]

    def restart(self, **parameters: Any) -> None:
        """Deactivate, clean up, set parameters, configure, activate."""
        for label in ("deactivate", "cleanup"):
            assert self.change(label), self.process.text
        for name, value in parameters.items():
            assert self.set_parameter(name, value).successful
        for label in ("configure", "activate"):
            assert self.change(label), self.process.text

    def says(self, text: str) -> bool:
        return wait_until(lambda: text in self.process.text)


def counts_of(status: DiagnosticStatus) -> dict[str, int]:
    """Frames by what became of them; empty where the status tells nothing of frames."""
    values = {v.key: v.value for v in status.values}
    if "frames_received" not in values:
        return {}
    names = {"frames_received", "forecasts_published", "dropped_total", "in_flight"}
    return {k: int(v) for k, v in values.items() if k in names or k.startswith("dropped.")}


def is_balanced(counts: dict[str, int]) -> bool:
    dropped = sum(n for key, n in counts.items() if key.startswith("dropped."))
    out = counts["forecasts_published"] + dropped + counts["in_flight"]
    return counts["frames_received"] == out and dropped == counts["dropped_total"]
