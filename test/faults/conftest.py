"""Running forecast nodes for faults to be injected into."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

import hooked_forecast_node
from fault_scene import Reference, Scene
from forecast_peers import NODE, NodeProcess
from micro_bundle import make_micro_bundle

from dino_foresight_ros.model import Bundle

STEPS = 2
HOOKED = [sys.executable, hooked_forecast_node.__file__]


@pytest.fixture(scope="session")
def micro_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small whole bundle on disk."""
    return make_micro_bundle().save(tmp_path_factory.mktemp("bundles") / "micro")


@pytest.fixture(scope="session")
def reference(micro_path: Path) -> Reference:
    return Reference(Bundle.load(micro_path), STEPS)


@contextmanager
def running(
    environment: dict[str, str],
    folder: Path,
    reference: Reference,
    bundle: Path,
    namespace: str,
    program: list[str],
) -> Iterator[Scene]:
    log = folder / "log"
    node = NodeProcess(
        environment,
        log,
        f"bundle:={bundle}",
        f"steps:={STEPS}",
        "device:=cpu",
        "dtype:=float32",
        "stream_timeout_s:=1.0",
        program=program,
        namespace=namespace,
    )
    scene = Scene(node, reference, "forecast_node", namespace)
    try:
        node.wait_for_text("active: listening")
        scene.ready()
        yield scene
    finally:
        scene.close()
        node.kill()


@pytest.fixture(scope="module")
def _shared(
    ros_domain: dict[str, str],
    micro_path: Path,
    reference: Reference,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Scene]:
    """One node for the faults of a module, which may ask for another program or namespace."""
    program = getattr(request.module, "PROGRAM", NODE)
    namespace = "/" + request.module.__name__.rpartition(".")[2]
    folder = tmp_path_factory.mktemp("node")
    with running(ros_domain, folder, reference, micro_path, namespace, program) as scene:
        yield scene


@pytest.fixture
def scene(_shared: Scene) -> Iterator[Scene]:
    """A node that forecasts right now; afterwards every frame must be accounted for."""
    _shared.ready()
    _shared.recovers(1)
    yield _shared
    _shared.check_forecasts()
    _shared.check_accounts()
    assert "Traceback" not in _shared.process.text
