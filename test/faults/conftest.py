"""Running forecast nodes for faults to be injected into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from fault_scene import Reference, RunScene, Scene
from forecast_peers import NodeProcess
from forked import Main
from micro_bundle import make_micro_bundle

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.nodes.forecast import node as forecast_node

STEPS = 2


@pytest.fixture(scope="session")
def micro_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small whole bundle on disk."""
    return make_micro_bundle().save(tmp_path_factory.mktemp("bundles") / "micro")


@pytest.fixture(scope="session")
def reference(micro_path: Path) -> Reference:
    return Reference(Bundle.load(micro_path), STEPS)


@pytest.fixture(scope="session")
def run_scene(
    micro_path: Path, reference: Reference, tmp_path_factory: pytest.TempPathFactory
) -> RunScene:
    """Runs a node and the camera before it."""

    @contextmanager
    def run(
        environment: dict[str, str],
        namespace: str,
        program: Sequence[str] | Main = forecast_node.main,
    ) -> Iterator[Scene]:
        node = NodeProcess(
            environment,
            tmp_path_factory.mktemp("node") / "log",
            f"bundle:={micro_path}",
            f"steps:={STEPS}",
            "device:=cpu",
            "dtype:=float32",
            "stream_timeout_s:=1.0",
            program=program,
            namespace=namespace,
        )
        scene = Scene(node, reference, namespace, int(environment["ROS_DOMAIN_ID"]))
        try:
            scene.ready()
            yield scene
        finally:
            scene.close()
            node.kill()

    return run


@pytest.fixture(scope="module")
def _shared(
    ros_domain: dict[str, str], run_scene: RunScene, request: pytest.FixtureRequest
) -> Iterator[Scene]:
    """One node for the faults of a module, which may name another program to run."""
    program = getattr(request.module, "PROGRAM", forecast_node.main)
    namespace = "/" + request.module.__name__.rpartition(".")[2]
    with run_scene(ros_domain, namespace, program) as scene:
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
