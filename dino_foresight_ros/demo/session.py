"""One run of the demo: real nodes in their own processes, real topics, a folder of results."""

from __future__ import annotations

import os
import queue
import re
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_foresight_ros.demo.candidates import DemoCamera
from dino_foresight_ros.demo.dds import (
    choose_domain,
    frame_transport,
    left_out,
    private_environment,
)
from dino_foresight_ros.demo.options import MEASURED, DemoInput, DemoOptions, open_input
from dino_foresight_ros.demo.pictures import VIDEO_RATE_HZ, Pictures, Setting
from dino_foresight_ros.demo.processes import LogLine, NodeFailedError, NodeGroup, NodeProcess
from dino_foresight_ros.demo.result_folder import METRICS, VIDEO, ResultFolder
from dino_foresight_ros.demo.results import write_pictures
from dino_foresight_ros.demo.run_statistics import RunStatistics, summarize, write_metrics
from dino_foresight_ros.demo.watches import IdleWatch, PlayWatch, ReadyWait
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.process.cpu import used_cpu_s
from dino_foresight_ros.progress import Progress, timed, warn
from dino_foresight_ros.scene import ComparedForecast

if TYPE_CHECKING:
    from dino_foresight_ros.demo.client import DemoClient

# The forecast node reports once a second; a model may need long for the frame it is at.
DRAIN_LIMIT_S = 60.0
DELIVERY_LIMIT_S = 3.0
_POLL_S = 0.1
_WAITING_FORECASTS = 64


@dataclass(frozen=True)
class DemoResult:
    """Where the results are, and the numbers in metrics.json."""

    paths: list[Path]
    numbers: dict[str, Any]


def run_demo(options: DemoOptions) -> DemoResult:
    """Play the input through the nodes and write the results.

    Raises:
        InputError: the input or the folder cannot be used; nothing was started.
        NodeFailedError: a node failed, hung, or gave no forecast.
        KeyboardInterrupt: Ctrl-C; every process has ended.
    """
    results = ResultFolder(options.out, options.input)
    demo_input = open_input(options, warn)
    if names := left_out(os.environ):
        warn(
            f"the demo's nodes meet on this machine alone, without {', '.join(names)} of the shell"
        )
    domain_id = options.domain_id if options.domain_id is not None else choose_domain()
    with (
        results as folder,
        tempfile.TemporaryDirectory(prefix="foresight-demo-") as scratch,
        end_on_signals() as check_signals,
    ):
        environment = private_environment(os.environ, domain_id, scratch)
        environment |= frame_transport(demo_input.frame_bytes, Path(scratch))
        run = _Run(options, demo_input, folder, check_signals)
        try:
            # This process takes part as well, and ROS reads the variables when it starts.
            with _environment(environment):
                numbers = run.play(environment, domain_id)
        except BaseException:
            run.pictures.abandon()
            raise
        return DemoResult(folder.publish(), numbers)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Give this process other environment variables for a while."""
    before = dict(os.environ)
    try:
        _replace_environment(variables)
        yield
    finally:
        _replace_environment(before)


def _replace_environment(variables: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


@contextmanager
def end_on_signals() -> Iterator[Callable[[], None]]:
    """Let SIGINT, SIGTERM and SIGHUP unwind the stack, so that the nodes are ended.

    Python drops what a handler raises inside a finaliser or the callback of a weak reference, of
    which an import runs many. So what is yielded raises again, if a signal came.
    """
    came: list[int] = []

    def check() -> None:
        if came:
            number = came[-1]
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield check
        return

    def leave(number: int, _frame: object) -> None:
        came.append(number)
        check()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield check
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def count_played(log: Sequence[LogLine]) -> int | None:
    """How many frames a player says at its end that it published; None when it does not say."""
    for line in reversed(log):
        match = re.fullmatch(r"end.* after (\d+) (?:frames|images)", line.text)
        if match:
            return int(match[1])
    return None


def _show(progress: Progress, statistics: RunStatistics) -> None:
    """Bring the bar up to what was statistics."""
    note = f"{statistics.forecasts} forecasts"
    if statistics.newest_latency_ms is not None:
        note += f", {statistics.newest_latency_ms:.0f} ms"
    progress.show(statistics.frames, note=note)


def needed(statistics: RunStatistics) -> str:
    """What was missing for a forecast, as the forecast node says."""
    told = statistics.diagnostics
    if "cannot_forecast" in told:
        return told["cannot_forecast"]
    if "needed_frames" not in told:
        return "the model needs several frames, spread over a second or more"
    least_s = float(told["needed_duration_s"])
    text = f"the model needs {told['needed_frames']}, which takes {least_s:.3g} s or more"
    return f"{text}: it is too short" if statistics.duration_s < least_s else text


class _Run:
    """The phases of one run."""

    def __init__(
        self,
        options: DemoOptions,
        demo_input: DemoInput,
        folder: ResultFolder,
        check_signals: Callable[[], None],
    ) -> None:
        self._options = options
        self._check_signals = check_signals
        self._input = demo_input
        self._folder = folder
        self._frames_played: int | None = None
        self._compared: queue.Queue[tuple[str, ComparedForecast]] = queue.Queue(_WAITING_FORECASTS)
        self._play_watch = PlayWatch(demo_input.node, folder.log_dir, options.rate)
        cameras = [topics.camera for topics in demo_input.topics]
        self.pictures = Pictures(folder.partial(VIDEO), cameras)

    def play(self, environment: dict[str, str], domain_id: int) -> dict[str, Any]:
        """Run from the start of the nodes to the written results; returns the numbers."""
        with NodeGroup(self._folder.log_dir, environment) as nodes:
            forecaster = nodes.start(
                "forecast_node", self._options.forecast_parameters(self._input)
            )
            # It waits for a subscriber. By the time the model is loaded, everybody has discovered
            # everybody, and nobody misses the first frames.
            player = nodes.start(self._input.node, self._input.parameters)
            # Imported while the forecast node loads: rclpy, which takes a second.
            from dino_foresight_ros.demo.client import DemoClient

            played = self._input
            with DemoClient(
                domain_id,
                played.topics,
                self._on_compared,
                1.0 / VIDEO_RATE_HZ,
                played.compressed,
                with_truth=played.kind == "synthetic",
            ) as client:
                self._wait_until_ready(nodes, forecaster, client)
                self._watch(nodes, player, client)
                self._drain(nodes, client)
            exit_codes = {node.name: node.stop() for node in (player, forecaster)}
        self._frames_played = count_played(player.log())
        self._tell_warnings(player, forecaster)
        for name, code in exit_codes.items():
            if code:
                warn(f"{name} ended with exit code {code} (log: {self._folder.log_dir})")
        return self._write_results(client, exit_codes)

    def _check(self, nodes: NodeGroup) -> None:
        """End the run if a signal came, or a node ended."""
        self._check_signals()
        nodes.check()

    def _on_compared(self, camera: str, forecast: ComparedForecast) -> None:
        # Full only when drawing cannot keep up; the video shows the forecast before for longer.
        with suppress(queue.Full):
            self._compared.put_nowait((camera, forecast))

    def _wait_until_ready(
        self, nodes: NodeGroup, forecaster: NodeProcess, client: DemoClient
    ) -> None:
        """The labels are latched, and published when the forecast node becomes active."""
        wait = ReadyWait(time.monotonic())
        with timed("loading the model"):
            while not client.is_ready:
                self._check(nodes)
                is_active = any(line.text.startswith("active") for line in forecaster.log())
                why = wait.give_up(time.monotonic(), is_active, used_cpu_s(forecaster.pid))
                if why is not None:
                    raise NodeFailedError(f"forecast_node {why} (log: {self._folder.log_dir})")
                time.sleep(_POLL_S)

    def _watch(self, nodes: NodeGroup, player: NodeProcess, client: DemoClient) -> None:
        """Draw while the input plays, to its end."""
        idle = IdleWatch(time.monotonic())
        interrupted = False
        with Progress(self._input.name, "frame", self._input.frame_count) as progress:
            while player.exit_code is None:
                self._check(nodes)
                self._draw(client, wait_s=_POLL_S)
                _show(progress, client.statistics)
                idle_s = idle.seconds(time.monotonic(), used_cpu_s(player.pid))
                self._play_watch.check(time.monotonic(), client.statistics, idle_s)
                stop_after = self._input.stop_after
                if (
                    stop_after is not None
                    and client.statistics.most_frames >= stop_after
                    and not interrupted
                ):
                    player.interrupt()
                    interrupted = True
            self._check(nodes)
            self._draw(client)
            _show(progress, client.statistics)

    def _draw(self, client: DemoClient, wait_s: float = 0.0) -> None:
        """Draw the forecasts that are waiting; wait for the first one so long at most."""
        deadline_s = time.monotonic() + wait_s
        while True:
            left_s = max(0.001, deadline_s - time.monotonic())
            try:
                camera, forecast = self._compared.get(timeout=left_s)
            except queue.Empty:
                return
            self.pictures.add(camera, forecast, self._setting(client))

    def _setting(self, client: DemoClient) -> Setting:
        statistics = client.statistics
        return Setting(
            client.palette,
            client.depth_is_metric,
            statistics.first_stamp_ns or 0,
            statistics.trained,
        )

    def _drain(self, nodes: NodeGroup, client: DemoClient) -> None:
        """Wait until the forecast node says that no frame is being worked on."""
        ended_s = time.monotonic()
        received_before: int | None = None
        told_s: float | None = ended_s
        statistics = client.statistics
        while time.monotonic() - ended_s < DRAIN_LIMIT_S:
            self._check(nodes)
            self._draw(client, wait_s=_POLL_S)
            if statistics.diagnostics_s is None or statistics.diagnostics_s <= (told_s or 0.0):
                continue
            told_s = statistics.diagnostics_s
            received = int(statistics.diagnostics.get("frames_received", 0))
            is_idle = int(statistics.diagnostics.get("in_flight", 0)) == 0
            if is_idle and (received >= statistics.frames or received == received_before):
                break
            received_before = received
        deadline_s = time.monotonic() + DELIVERY_LIMIT_S
        published = int(statistics.diagnostics.get("forecasts_published", 0))
        while statistics.forecasts < published and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)

    def _tell_warnings(self, *nodes: NodeProcess) -> None:
        for node in nodes:
            texts = dict.fromkeys(line.text for line in node.log() if line.level == "WARN")
            for text in texts:
                # These are told elsewhere, and once.
                if "untrained" not in text and text not in self._play_watch.cannot_forecast:
                    warn(f"{node.name}: {text}")

    def _summary(self, statistics: RunStatistics) -> dict[str, Any]:
        return summarize(statistics, self._frames_played, self._input.recorded)

    def _write_results(self, client: DemoClient, exit_codes: dict[str, int]) -> dict[str, Any]:
        statistics = client.statistics
        self._draw(client)
        self.pictures.flush(self._setting(client))
        if not statistics.forecasts or not self.pictures.has_any:
            counts = self._summary(statistics)
            why = ", ".join(f"{name}: {count}" for name, count in counts["dropped"].items())
            played = f"{counts['frames_in']} frames in {statistics.duration_s:.3g} s"
            raise InputError(
                f"{self._input.name}: {played} gave no forecast (dropped: {why or 'none'}); "
                f"{needed(statistics)}"
            )
        facts = {"kind": self._input.kind, "name": self._input.name, **self._input.facts}
        numbers = {**self._summary(statistics), "input": facts, "exit_codes": exit_codes}
        numbers["seed"] = self._input.facts.get("seed")
        is_synthetic = self._input.kind == "synthetic"
        numbers["measured"] = MEASURED["synthetic" if is_synthetic else "recorded"]
        numbers["video"] = self.pictures.finish_video()
        with timed("looking at what came, drawing"):
            bundle = self._options.chosen_bundle
            numbers["skill"] = write_pictures(
                self._folder,
                self.pictures,
                self._setting(client),
                numbers,
                bundle,
                DemoCamera.of_world(self._options.seed)
                if is_synthetic
                else DemoCamera.assumed(self._options.fov_deg),
                {name: one.focal for name, one in client.statistics.cameras.items()},
            )
        numbers["files"] = self._folder.names()
        write_metrics(self._folder.partial(METRICS), numbers)
        return numbers
