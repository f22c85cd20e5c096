"""config/sros2_policy.xml: well formed, and just what the running nodes need."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.node import Node
from ros_bench import TIMEOUT_S, close_node, wait_until
from sensor_msgs.msg import CameraInfo, Image

from dino_foresight_ros import msg as messages
from dino_foresight_ros.nodes.forecast.node import ForecastNode
from dino_foresight_ros.nodes.monitor.node import MonitorNode
from dino_foresight_ros.nodes.obstacle.node import ObstacleNode
from dino_foresight_ros.nodes.overlay.node import OverlayNode
from dino_foresight_ros.nodes.plan.node import PlanNode
from dino_foresight_ros.nodes.replay.node import ReplayNode
from dino_foresight_ros.nodes.synthetic_camera.node import SyntheticCameraNode
from dino_foresight_ros.nodes.view.node import ViewNode
from dino_foresight_ros.ros.message_types import message_class

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
NODES: dict[str, type[Node]] = {
    "forecast_node": ForecastNode,
    "monitor_node": MonitorNode,
    "overlay_node": OverlayNode,
    "obstacle_node": ObstacleNode,
    "plan_node": PlanNode,
    "view_node": ViewNode,
    "replay_node": ReplayNode,
    "synthetic_camera_node": SyntheticCameraNode,
}
PARAMETERS = {
    "forecast_node": {
        "device": "cpu",
        "steps": "2",
        "publish_features": "true",
        "use_sim_time": "true",
    },
    "monitor_node": {"use_sim_time": "true"},
    "overlay_node": {"use_sim_time": "true"},
    "obstacle_node": {"use_sim_time": "true"},
    "plan_node": {"use_sim_time": "true"},
    "view_node": {
        "use_sim_time": "true",
        "image_topic": "image",
        "serve": "false",
        "record": "[{folder}/a.rrd, {folder}/a.mcap]",
    },
    "replay_node": {"input": "{folder}", "loop": "true"},
    "synthetic_camera_node": {"publish_clock": "true", "width": "64", "height": "36"},
}
HEARD_WITH_PEERS = {
    "overlay_node": {"/image", "/foresight/forecast"},
    "view_node": {"/image", "/foresight/forecast", "/foresight/step_1/depth_relative"},
}
"""What these subscribe to only while others listen to them, or publish it."""

OF_OTHER_PACKAGES = {
    "/foresight/label_info": message_class("vision_msgs/msg/LabelInfo"),
    "/tf": message_class("tf2_msgs/msg/TFMessage"),
    "/tf_static": message_class("tf2_msgs/msg/TFMessage"),
}
"""Topics that are there where the package of their type is installed; else the type is None."""

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
def used(
    ros_domain: dict[str, str], node_name: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[set[Rule]]:
    """What a running node has, a managed one when it is active, as the ROS graph knows it."""
    if node_name == "view_node":
        pytest.importorskip("rerun", reason="needs the rerun SDK: pip install rerun-sdk")
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(2):
        cv2.imwrite(str(folder / f"{index}.png"), np.zeros((24, 32, 3), np.uint8))
    given = {name: v.format(folder=folder) for name, v in PARAMETERS[node_name].items()}
    words = [word for name, value in given.items() for word in ("-p", f"{name}:={value}")]
    rclpy.init(args=["--ros-args", *words])
    peer = rclpy.create_node("peer", use_global_arguments=False)
    meet(peer)
    node = NODES[node_name]()
    if isinstance(node, LifecycleNode):
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    wait_for_peers(node, HEARD_WITH_PEERS.get(node_name, set()))
    name = node.get_name(), node.get_namespace()
    found = {
        "publish": node.get_publisher_names_and_types_by_node(*name),
        "subscribe": node.get_subscriber_names_and_types_by_node(*name),
        "reply": node.get_service_names_and_types_by_node(*name),
        "request": node.get_client_names_and_types_by_node(*name),
    }
    yield {(action, topic) for action, topics in found.items() for topic, _ in topics}
    close_node(node)
    close_node(peer)
    rclpy.shutdown()


def meet(peer: Node) -> None:
    """Listen to what is drawn, and publish all that there is to record and more."""
    peer.create_subscription(Image, "foresight/mosaic/image_color", print, 1)
    step = "foresight/step_1"
    images = ("segmentation", "segmentation_color", "depth", "depth_relative", "normals")
    published = {
        "image": Image,
        "camera_info": CameraInfo,
        "foresight/forecast": messages.Forecast,
        "foresight/features": messages.FeatureMap,
        "foresight/labels": messages.Labels,
        "foresight/skill": messages.ForecastSkill,
        "foresight/surprise": Image,
        "/diagnostics": DiagnosticArray,
        f"{step}/camera_info": CameraInfo,
        **{f"{step}/{name}": Image for name in images},
    }
    published |= {topic: kind for topic, kind in OF_OTHER_PACKAGES.items() if kind is not None}
    for topic, kind in published.items():
        peer.create_publisher(kind, topic, 1)


def wait_for_peers(node: Node, wanted: set[str]) -> None:
    """Let the node's timers run until it subscribes to these."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)

    def hears() -> bool:
        executor.spin_once(timeout_sec=0.02)
        return wanted <= {subscription.topic_name for subscription in node.subscriptions}

    assert wait_until(hears, TIMEOUT_S)
    executor.remove_node(node)
    executor.shutdown()


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


def test_every_node_of_the_package_has_an_enclave(project_root: Path) -> None:
    scripts = (project_root / "scripts").glob("*_node")
    assert {script.name for script in scripts} == set(NODES)


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
    assert len(used) > 10
    refused = [
        (action, name)
        for action, name in used
        if not any(action == a and fnmatchcase(name, pattern) for a, pattern in allowed)
    ]
    assert refused == []


def test_nothing_is_allowed_that_the_node_does_not_use(
    used: set[Rule], allowed: set[Rule], node_name: str
) -> None:
    elsewhere = {
        rule
        for rule in allowed
        if rule[1] in OF_OTHER_PACKAGES and OF_OTHER_PACKAGES[rule[1]] is None
    }
    if node_name == "forecast_node":
        elsewhere.add(("publish", "/foresight/step_*/depth_relative"))  # with a relative depth head
        # Where the packages of their messages are installed.
        of_objects = ("predicted_objects", "step_*/detections")
        elsewhere |= {("publish", f"/foresight/{name}") for name in of_objects}
    if node_name == "view_node":  # where plan_node runs
        planned = ("imagined/image_color", "candidates", "best_path")
        elsewhere |= {("subscribe", f"/foresight/{name}") for name in planned}
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
        assert re.search(rf"`([\w~/]*/)?{last}`", page), name
