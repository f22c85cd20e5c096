"""A module's forecast node in a process of its own, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from forecast_peers import Client, NodeProcess

from dino_foresight_ros.nodes.forecast import node as forecast_node


@pytest.fixture(scope="module")
def node(
    ros_domain: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[NodeProcess]:
    """The module's node, with its PARAMETERS, run by its PROGRAM where it names one.

    PARAMETERS may be a function of a folder, where they need files.
    """
    parameters = request.module.PARAMETERS
    if callable(parameters):
        parameters = parameters(tmp_path_factory.mktemp("files"))
    running = NodeProcess(
        ros_domain,
        tmp_path_factory.mktemp("node") / "log",
        *parameters,
        program=getattr(request.module, "PROGRAM", forecast_node.main),
    )
    try:
        yield running
        assert running.end() == 0, running.text
    finally:
        running.kill()


@pytest.fixture(scope="module")
def _client(ros_domain: dict[str, str]) -> Iterator[Client]:
    client = Client()
    yield client
    client.close()


@pytest.fixture
def client(_client: Client, node: NodeProcess) -> Iterator[Client]:
    """A peer that the node listens to; what it subscribed to ends with the test."""
    _client.wait_until_heard(node)
    yield _client
    _client.unsubscribe()
