"""config/sros2_policy.xml: well formed, and just what the running nodes need."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

import rclpy
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from ros_bench import close_node

from dino_foresight_ros.nodes.forecast_node import ForecastNode
from dino_foresight_ros.nodes.monitor_node import MonitorNode
from dino_foresight_ros.ros.label_info import label_info_class

# Of policy.xsd in sros2: element -> (attributes it must have, those it may have, its children).
SCHEMA: dict[str, tuple[set[str], set[str], set[str]]] = {
    "policy": ({"version"}, set(), {"enclaves"}),
    "enclaves": (set(), set(), {"enclave"}),
    "enclave": ({"path"}, set(), {"profiles"}),
    "profiles": (set(), {"type"}, {"profile", "metadata"}),
    "profile": ({"ns", "node"}, set(), {"topics", "services", "actions"}),
    "topics": (set(), {"publish", "subscribe"}, {"topic"}),
    "services": (set(), {"reply", "request"}, {"service"}),
    "topic": (set(), set(), set()),
    "service": (set(), set(), set()),
}
SCHEMA_VERSION = "0.2.0"
NODES: dict[str, type[Node]] = {"forecast_node": ForecastNode, "monitor_node": MonitorNode}
PARAMETERS = {
    "forecast_node": {
        "device": "cpu",
        "steps": "2",
        "publish_features": "true",
        "use_sim_time": "true",
    },
    "monitor_node": {"use_sim_time": "true"},
}

Rule = tuple[str, str]
"""What is done (publish, subscribe or reply) and the full name of the topic or service."""


@pytest.fixture(scope="module")
def policy(project_root: Path) -> ElementTree.Element:
    return ElementTree.parse(project_root / "config" / "sros2_policy.xml").getroot()


@pytest.fixture(scope="module", params=NODES)
def node_name(request: pytest.FixtureRequest) -> str:
    """Which node the policy is of."""
    return str(request.param)


@pytest.fixture(scope="module")
def used(ros_domain: dict[str, str], node_name: str) -> Iterator[set[Rule]]:
    """What a running node has, a managed one when it is active, as the ROS graph knows it."""
    given = PARAMETERS[node_name]
    words = [word for name, value in given.items() for word in ("-p", f"{name}:={value}")]
    rclpy.init(args=["--ros-args", *words])
    node = NODES[node_name]()
    if isinstance(node, LifecycleNode):
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    name = node.get_name(), node.get_namespace()
    found = {
        "publish": node.get_publisher_names_and_types_by_node(*name),
        "subscribe": node.get_subscriber_names_and_types_by_node(*name),
        "reply": node.get_service_names_and_types_by_node(*name),
        "request": node.get_client_names_and_types_by_node(*name),
    }
    yield {(action, topic) for action, topics in found.items() for topic, _ in topics}
    close_node(node)
    rclpy.shutdown()


@pytest.fixture(scope="module")
def allowed(policy: ElementTree.Element, node_name: str) -> set[Rule]:
    (profile,) = (p for p in policy.iter("profile") if p.get("node") == node_name)
    namespace = str(profile.get("ns")).rstrip("/")
    rules = set()
    for group in profile:
        for action in group.attrib:
            for entry in group:
                name = str(entry.text)
                own = name.replace("~", f"{namespace}/{profile.get('node')}", 1)
                rules.add((action, own if own.startswith("/") else f"{namespace}/{own}"))
    return rules


def test_every_node_of_the_file_is_looked_at(policy: ElementTree.Element) -> None:
    enclaves = {str(enclave.get("path")).lstrip("/") for enclave in policy.iter("enclave")}
    assert enclaves == {str(p.get("node")) for p in policy.iter("profile")} == set(NODES)


def test_file_keeps_to_the_schema_of_sros2(policy: ElementTree.Element) -> None:
    assert policy.tag == "policy"
    assert policy.get("version") == SCHEMA_VERSION
    for element in policy.iter():
        must, may, children = SCHEMA[element.tag]
        assert must <= set(element.attrib) <= must | may, element.tag
        assert {child.tag for child in element} <= children
        assert bool(children) == bool(len(element)), element.tag
        if element.tag in ("topics", "services"):
            assert element.attrib
            assert set(element.attrib.values()) == {"ALLOW"}
        if not children:
            assert str(element.text).strip() == element.text
            assert element.text


def test_everything_that_the_node_uses_is_allowed(used: set[Rule], allowed: set[Rule]) -> None:
    assert len(used) > 15
    refused = [
        (action, name)
        for action, name in used
        if not any(action == a and fnmatchcase(name, pattern) for a, pattern in allowed)
    ]
    assert refused == []


def test_nothing_is_allowed_that_the_node_does_not_use(
    used: set[Rule], allowed: set[Rule], node_name: str
) -> None:
    elsewhere = set()
    if node_name == "forecast_node":
        elsewhere.add(("publish", "/foresight/step_*/depth_relative"))  # with a relative depth head
        if label_info_class() is None:
            elsewhere.add(("publish", "/foresight/label_info"))
    idle = {
        (action, pattern)
        for action, pattern in allowed
        if not any(action == a and fnmatchcase(name, pattern) for a, name in used)
    }
    assert idle == elsewhere


def test_page_on_security_lists_the_same(allowed: set[Rule], project_root: Path) -> None:
    page = (project_root / "docs" / "security.md").read_text()
    for _, name in allowed:
        last = name.rsplit("/", 1)[-1]
        assert any(f"`{lead}{last}`" in page for lead in ("", "/", "~/")), name
