"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import pytest
from dds_domains import claimed_domain
from hypothesis import settings

# Before torch loads: threads that spin while they wait take the cores that other processes, such as
# the nodes under test, need; a pass can then take fifty times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Work as small as that of tests is done no sooner by several threads, and the cores are for the
# other worker of the tests (`make test`).
os.environ.setdefault("OMP_NUM_THREADS", "1")

# On a busy machine an example may take any time.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

# A shell has its background jobs ignore SIGINT, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What is imported and collected stays until the end: a tenth of the time of collecting was spent on
# looking through it for garbage. From then on it is left out of the search.
gc.disable()

ROOT = Path(__file__).resolve().parents[1]
# Fixtures that start processes or ROS nodes.
PROCESS_FIXTURES = {"ros_domain", "checkout"}
# What Python tells about processes that it starts.
PROCESS_EVENTS = {"subprocess.Popen", "os.fork", "os.posix_spawn"}

# Frames of synthetic recordings up to this size are rendered once in a process of the tests.
SMALL_PIXELS = 10_000

may_start_processes = True
is_test_running = False


def pytest_configure(config: pytest.Config) -> None:
    """Let tests that `-m` chose as starting no process start none."""
    global may_start_processes
    may_start_processes = "not process" not in config.option.markexpr


@pytest.hookimpl(tryfirst=True)  # before -m chooses by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests whose fixtures start processes or ROS nodes as such."""
    for item in items:
        if PROCESS_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.process)
    items[:] = spread_waiting(items)


def spread_waiting(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Order the files so that those that start processes are spread evenly among the others.

    They wait most of their time, which others then use: workers of `make test` take file by file.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting, working = [], []
    for of_file in files.values():
        waits = any(item.get_closest_marker("process") for item in of_file)
        (waiting if waits else working).append(of_file)
    each = [
        ((i + 0.5) / len(kind), of_file)
        for kind in (waiting, working)
        for i, of_file in enumerate(kind)
    ]
    return [item for _, of_file in sorted(each, key=lambda e: e[0]) for item in of_file]


def pytest_collection_finish() -> None:
    """Collect garbage from now on."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Watch for processes while a test runs."""
    global is_test_running
    is_test_running = True
    try:
        return (yield)
    finally:
        is_test_running = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the node processes printed: those running, and its own."""
    report = yield
    peers = sys.modules.get("forecast_peers")
    started = peers.NodeProcess.started if peers is not None else []
    if report.failed:
        report.sections.extend((f"log of node {node.process.pid}", node.text) for node in started)
    if report.when == "teardown":
        started[:] = [node for node in started if node.process.poll() is None]
    return report


def refuse_processes(event: str, arguments: tuple[object, ...]) -> None:
    is_process = event in PROCESS_EVENTS and arguments[:1] != ("git",)  # which is quick
    if is_process and is_test_running and not may_start_processes:
        raise RuntimeError(f"this test starts {arguments}: it needs the mark `process`")


sys.addaudithook(refuse_processes)


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Return the checkout."""
    return ROOT


@pytest.fixture(scope="session", autouse=True)
def kept_worlds() -> Iterator[None]:
    """Draw a synthetic world's textures, and small frames of recordings, once in a process.

    Textures take 0.6 s of a core, whatever the size of the pictures; a small frame 0.06 s.
    """
    from dino_foresight_ros.recordings import synthetic as recorded
    from dino_foresight_ros.synthetic import Frame, World, WorldConfig, world
    from dino_foresight_ros.synthetic.ego import EgoState

    frames: dict[tuple[WorldConfig, float], Frame] = {}

    class KeptWorld(World):
        """Renders no small frame twice; whoever reads one gets arrays of their own."""

        def render(self, t_s: float, ego: EgoState | None = None) -> Frame:
            if ego is not None or self.config.width * self.config.height > SMALL_PIXELS:
                return super().render(t_s, ego)
            key = self.config, t_s
            if key not in frames:
                if len(frames) > 256:  # some 50 MB
                    frames.clear()
                frames[key] = super().render(t_s)
            return deepcopy(frames[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "Materials", lru_cache(maxsize=8)(world.Materials))
        patch.setattr(recorded, "World", KeptWorld)
        yield


@pytest.fixture(scope="session", autouse=True)
def kept_untrained_parts() -> Iterator[None]:
    """Draw the random weights of untrained-tiny once in a process; each bundle gets its own."""
    if "dino_foresight_ros.model" not in sys.modules:  # of the tests that run, none needs torch
        yield
        return
    from copies import Copies

    from dino_foresight_ros.model import untrained

    with pytest.MonkeyPatch.context() as patch:
        made = untrained.draw_parts
        kept = lru_cache(maxsize=2)(lambda *arguments: Copies(made(*arguments)))
        patch.setattr(untrained, "draw_parts", lambda *arguments: kept(*arguments).copy())
        yield


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Return the folder with the recordings and reference numbers that some tests need."""
    folder = Path(os.environ.get("FORESIGHT_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no test recordings: {folder} is absent (set FORESIGHT_SHARED)")
    return folder


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Return the folder with tiny models of the paper's authors and what their code computes."""
    return ROOT / "test" / "golden"


@pytest.fixture(scope="module")
def ros_domain() -> Iterator[dict[str, str]]:
    """Isolate this test module's DDS traffic; yield the environment for its subprocesses.

    The same variables are set in this process, for nodes that a test creates in it. At the
    module's end they must be gone: `ros_bench.Bench` closes its own.
    """
    with claimed_domain() as domain, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.delenv("ROS_STATIC_PEERS", raising=False)
        patch.setenv("PYTHONUNBUFFERED", "1")
        yield dict(os.environ)
    threads = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
    participants = sum(name.startswith("dds.ev") for name in threads)
    assert not participants, "nodes of this module were not closed: DDS still runs their threads"


@pytest.fixture
def node_in_this_process(ros_domain: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a node's main function be called here: it must not leave for another test's thread."""
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    from dino_foresight_ros.ros import node_main as run

    monkeypatch.setattr(run, "leave_if_work_is_stuck", lambda exit_code: None)


@pytest.fixture
def second_ros_domain(ros_domain: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield the environment of subprocesses in another DDS domain than this test process's."""
    with claimed_domain() as domain:
        yield ros_domain | {"ROS_DOMAIN_ID": str(domain)}
