"""Fixtures that every test may use."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from dds_domains import claimed_domain

# Before torch loads: threads that spin while they wait take the cores that other processes, such as
# the nodes under test, need; a pass can then take fifty times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell has its background jobs ignore SIGINT, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def project_root() -> Path:
    """Return the checkout."""
    return ROOT


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

    monkeypatch.setattr(run, "_leave_if_work_is_stuck", lambda exit_code: None)


@pytest.fixture
def second_ros_domain(ros_domain: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield the environment of subprocesses in another DDS domain than this test process's."""
    with claimed_domain() as domain:
        yield ros_domain | {"ROS_DOMAIN_ID": str(domain)}
