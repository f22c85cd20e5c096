"""The views in config/ (RViz and Foxglove): every topic is one that the nodes publish."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from forecast_peers import START_TIMEOUT_S, Client, NodeProcess
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)

from dino_foresight_ros.nodes.forecast import node as forecast_node
from dino_foresight_ros.nodes.monitor import node as monitor_node
from dino_foresight_ros.nodes.obstacle import node as obstacle_node
from dino_foresight_ros.nodes.overlay import node as overlay_node
from dino_foresight_ros.nodes.synthetic_camera import node as synthetic_camera_node

# What RViz 2's own displays subscribe to.
CLASSES = {
    "rviz_default_plugins/Image": "sensor_msgs/msg/Image",
    "rviz_default_plugins/PointCloud2": "sensor_msgs/msg/PointCloud2",
    "rviz_default_plugins/MarkerArray": "visualization_msgs/msg/MarkerArray",
    "rviz_default_plugins/DepthCloud": "sensor_msgs/msg/Image",
    "rviz_default_plugins/TF": "",
    "rviz_default_plugins/Grid": "",
    "rviz_default_plugins/Map": "nav_msgs/msg/OccupancyGrid",
}
# The keys that they save, those of groups as group/key. RViz passes over keys it does not know.
EVERY_DISPLAY = {"Class", "Enabled", "Name", "Value"}
TOPIC = {
    "Topic/Depth",
    "Topic/Durability Policy",
    "Topic/History Policy",
    "Topic/Reliability Policy",
    "Topic/Value",
}
POINTS = {
    "Alpha",
    "Autocompute Intensity Bounds",
    "Autocompute Value Bounds/Max Value",
    "Autocompute Value Bounds/Min Value",
    "Autocompute Value Bounds/Value",
    "Axis",
    "Channel Name",
    "Color",
    "Color Transformer",
    "Decay Time",
    "Invert Rainbow",
    "Max Color",
    "Max Intensity",
    "Min Color",
    "Min Intensity",
    "Position Transformer",
    "Selectable",
    "Size (Pixels)",
    "Style",
    "Use Fixed Frame",
    "Use rainbow",
}
KEYS = {
    "Grid": {
        "Alpha",
        "Cell Size",
        "Color",
        "Line Style/Line Width",
        "Line Style/Value",
        "Normal Cell Count",
        "Offset/X",
        "Offset/Y",
        "Offset/Z",
        "Plane",
        "Plane Cell Count",
        "Reference Frame",
    },
    "Image": TOPIC | {"Max Value", "Median window", "Min Value", "Normalize Range"},
    "PointCloud2": TOPIC | POINTS | {"Topic/Filter size", "Size (m)"},
    "MarkerArray": TOPIC | {"Namespaces"},
    "DepthCloud": POINTS
    | {
        "Auto Size/Auto Size Factor",
        "Auto Size/Value",
        "Color Image Topic",
        "Color Transport Hint",
        "Depth Map Topic",
        "Depth Map Transport Hint",
        "Occlusion Compensation/Occlusion Time-Out",
        "Occlusion Compensation/Value",
        "Queue Size",
        "Reliability Policy",
        "Topic Filter",
    },
    "Map": TOPIC
    | {key.replace("Topic", "Update Topic") for key in TOPIC}
    | {
        "Alpha",
        "Binary representation",
        "Binary threshold",
        "Color Scheme",
        "Draw Behind",
        "Topic/Filter size",
        "Use Timestamp",
    },
    "TF": {
        "Filter (blacklist)",
        "Filter (whitelist)",
        "Frame Timeout",
        "Frames/All Enabled",
        "Marker Scale",
        "Show Arrows",
        "Show Axes",
        "Show Names",
        "Tree",
        "Update Interval",
    },
}
RELIABILITY = {
    "Reliable": ReliabilityPolicy.RELIABLE,
    "Best Effort": ReliabilityPolicy.BEST_EFFORT,
    "System Default": ReliabilityPolicy.SYSTEM_DEFAULT,
}
DURABILITY = {
    "Volatile": DurabilityPolicy.VOLATILE,
    "Transient Local": DurabilityPolicy.TRANSIENT_LOCAL,
}
HISTORY = {"Keep Last": HistoryPolicy.KEEP_LAST, "Keep All": HistoryPolicy.KEEP_ALL}
ALL_STEPS = {1, 2, 3}
LIDAR = "/lidar_top"
"""Of a nuScenes recording; no node of ours publishes it."""
SURPRISE = "/foresight/surprise/image_color"
MAINS = {
    "forecast_node": forecast_node.main,
    "monitor_node": monitor_node.main,
    "obstacle_node": obstacle_node.main,
    "overlay_node": overlay_node.main,
    "synthetic_camera_node": synthetic_camera_node.main,
}


@pytest.fixture(scope="module")
def graph(ros_domain: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client that sees what camera, forecast, overlay and monitor node publish."""
    logs = tmp_path_factory.mktemp("logs")

    def start(name: str, *parameters: str) -> NodeProcess:
        return NodeProcess(ros_domain, logs / name, *parameters, program=MAINS[name])

    nodes = [
        start("forecast_node", "bundle:=untrained-tiny", "device:=cpu", "steps:=3"),
        start("overlay_node"),
        start("monitor_node"),
        start("obstacle_node"),
        start("synthetic_camera_node", "rate_hz:=1.0", "width:=64", "height:=36"),
    ]
    client = Client("views_client")
    wanted = {"/image", "/foresight/markers", "/foresight/step_3/camera_info", SURPRISE}
    wanted |= {"/obstacles/swept", "/obstacles/step_3/points"}
    assert client.spin_until(
        lambda: all(client.node.count_publishers(topic) for topic in wanted), START_TIMEOUT_S
    )
    yield client
    client.close()
    for node in nodes:
        node.kill()


@pytest.fixture(scope="module", params=["forecast.rviz", "map_view.rviz"])
def rviz(project_root: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    return yaml.safe_load((project_root / "config" / request.param).read_text())


def displays(rviz: dict[str, Any]) -> list[dict[str, Any]]:
    return rviz["Visualization Manager"]["Displays"]


def keys_of(group: dict[str, Any], lead: str = "") -> set[str]:
    keys: set[str] = set()
    for key, value in group.items():
        keys |= (
            keys_of(value, f"{lead}{key}/") if isinstance(value, dict) and value else {lead + key}
        )
    return keys


def check_topic(graph: Client, name: str, kind: str, qos: QoSProfile) -> None:
    types = dict(graph.node.get_topic_names_and_types())
    assert types.get(name) == [kind], f"{name} is {types.get(name)}, {kind} is wanted"
    publishers = graph.node.get_publishers_info_by_topic(name)
    assert publishers, f"nobody publishes {name}"
    for publisher in publishers:
        compatibility, reason = qos_check_compatible(publisher.qos_profile, qos)
        assert compatibility != QoSCompatibility.ERROR, f"{name}: {reason}"


def test_every_display_shows_a_topic_that_is_published(graph: Client, rviz: dict[str, Any]):
    for display in displays(rviz):
        kind = CLASSES[display["Class"]]
        if not kind or "Topic" not in display:
            continue
        topic = display["Topic"]
        if topic["Value"] == LIDAR:
            continue
        qos = QoSProfile(
            depth=topic["Depth"],
            reliability=RELIABILITY[topic["Reliability Policy"]],
            durability=DURABILITY[topic["Durability Policy"]],
            history=HISTORY[topic["History Policy"]],
        )
        check_topic(graph, topic["Value"], kind, qos)


def test_the_depth_cloud_finds_its_images_and_calibration(graph: Client, rviz: dict[str, Any]):
    (display,) = [d for d in displays(rviz) if d["Class"].endswith("DepthCloud")]
    qos = QoSProfile(depth=5, reliability=RELIABILITY[display["Reliability Policy"]])
    depth, color = display["Depth Map Topic"], display["Color Image Topic"]
    for topic in (depth, color):
        check_topic(graph, topic, "sensor_msgs/msg/Image", qos)
    beside = depth.rpartition("/")[0] + "/camera_info"
    check_topic(graph, beside, "sensor_msgs/msg/CameraInfo", qos)
    # RViz offers topics by these names only.
    assert "depth" in depth
    assert re.search("color|rgb|bgr|gray|mono", color)


def test_there_is_everything_for_steps_one_to_three(rviz: dict[str, Any]):
    values = [d["Topic"]["Value"] for d in displays(rviz) if "Topic" in d]
    for ending, now in (("image_color", {0}), ("depth_color", set()), ("points", set())):
        found = re.findall(rf"/foresight/step_(\d)/{ending}\b", "\n".join(values))
        assert {int(k) for k in found} == ALL_STEPS | now
    kinds = {display["Class"].rpartition("/")[2] for display in displays(rviz)}
    assert kinds - {"Grid"} == {
        "Image", "PointCloud2", "DepthCloud", "Map", "MarkerArray", "TF",
    }  # fmt: skip
    names = [display["Name"] for display in displays(rviz)]
    assert len(set(names)) == len(names)


def test_pictures_are_there_with_every_head_and_transport(rviz: dict[str, Any]):
    """A relative head publishes no /depth, a compressed camera no /image; overlay_node draws."""
    shown = [d["Topic"]["Value"] for d in displays(rviz) if d["Class"].endswith("/Image")]
    assert all(re.fullmatch(r"/foresight/\S+/(image|depth)_color", topic) for topic in shown)


def test_surprise_is_shown_in_colours_and_computed_only_when_asked_for(rviz: dict[str, Any]):
    """RViz auto-scales 32FC1, so that a calm map would look as alarming as a surprising one."""
    found = [d for d in displays(rviz) if d.get("Topic", {}).get("Value") == SURPRISE]
    assert [(d["Class"], d["Enabled"]) for d in found] == [("rviz_default_plugins/Image", False)]


def test_every_display_has_the_keys_that_its_class_saves(rviz: dict[str, Any]):
    for display in displays(rviz):
        wanted = KEYS[display["Class"].rpartition("/")[2]] | EVERY_DISPLAY
        assert keys_of(display) == wanted, display["Name"]


def test_the_file_has_what_rviz_writes(rviz: dict[str, Any]):
    manager = rviz["Visualization Manager"]
    for key in ("Displays", "Global Options", "Tools", "Transformation", "Views"):
        assert key in manager
    assert manager["Global Options"]["Fixed Frame"] in ("camera", "map")
    assert manager["Views"]["Current"]["Class"].startswith("rviz_default_plugins/")
    assert {panel["Class"].split("/")[0] for panel in rviz["Panels"]} == {"rviz_common"}
    for display in displays(rviz):
        assert display["Class"] in CLASSES
        assert isinstance(display["Enabled"], bool)
        assert display["Value"] == display["Enabled"]


def test_every_topic_of_the_foxglove_layout_is_published(graph: Client, project_root: Path):
    text = (project_root / "config" / "forecast_foxglove.json").read_text()
    layout = json.loads(text)
    types = dict(graph.node.get_topic_names_and_types())
    configs = layout["configById"]
    pictures = {c["imageMode"]["imageTopic"] for n, c in configs.items() if n.startswith("Image!")}
    assert pictures == {
        "/foresight/mosaic/image_color",
        "/foresight/step_0/image_color",
        SURPRISE,
        *(f"/foresight/step_{k}/{what}_color" for k in ALL_STEPS for what in ("image", "depth")),
    }
    for name, config in configs.items():
        kind = name.split("!")[0]
        if kind == "Image":
            assert types[config["imageMode"]["imageTopic"]] == ["sensor_msgs/msg/Image"]
            if calibration := config["imageMode"].get("calibrationTopic"):
                assert types[calibration] == ["sensor_msgs/msg/CameraInfo"]
        elif kind == "3D":
            assert set(config["topics"]) <= set(types)
            assert config["followTf"] == ("base_link" if name == "3D!obstacles" else "camera")
            clouds = {f"/obstacles/step_{k}/points" for k in (1, 2, 3)}
            if name == "3D!obstacles":
                assert set(config["topics"]) == {*clouds, "/obstacles/swept"}
        elif kind == "Plot":
            for path in config["paths"]:
                topic, _, field = path["value"].partition(".")
                assert types[topic] == ["dino_foresight_ros/msg/Forecast"]
                assert field == "latency"
        elif kind == "Tab":
            assert 0 <= config["activeTabIdx"] < len(config["tabs"])
            assert all(tab["title"] for tab in config["tabs"])
        else:
            assert types[config["topicToRender"]] == ["diagnostic_msgs/msg/DiagnosticArray"]
    tabs = [config.get("tabs", []) for config in configs.values()]
    panels = re.findall(r'"(\w+![\w]+)"', json.dumps([layout["layout"], tabs]))
    assert sorted(panels) == sorted(configs)


def test_the_foxglove_layout_subscribes_to_surprise_only_in_a_tab_of_its_own(project_root: Path):
    """A panel in an open tab subscribes, and then the monitor computes."""
    layout = json.loads((project_root / "config" / "forecast_foxglove.json").read_text())
    (tab,) = [config for name, config in layout["configById"].items() if name.startswith("Tab!")]
    shown = [layout["layout"], tab["tabs"][tab["activeTabIdx"]]]
    assert "Image!surprise" not in json.dumps(shown)
    assert "Image!surprise" in json.dumps(tab["tabs"])


def docked(rviz: dict[str, Any]) -> set[str]:
    """Names of the panels that the window's saved state gives a place.

    Qt saves each dock widget's name in UTF-16 after the length in bytes, and a byte before both
    that says what comes (0xfb).
    """
    state = bytes.fromhex(rviz["Window Geometry"]["QMainWindow State"])
    names = set()
    for at in range(len(state) - 5):
        length = int.from_bytes(state[at + 1 : at + 5], "big")
        if state[at] == 0xFB and length % 2 == 0 and 0 < length <= len(state) - at - 5:
            names.add(state[at + 5 : at + 5 + length].decode("utf-16-be"))
    return names


def test_every_picture_has_its_place_in_the_window(rviz: dict[str, Any]):
    """RViz stacks panels that the state does not name as stamps of 55x31 pixels."""
    pictures = {d["Name"] for d in displays(rviz) if d["Class"].endswith("/Image")}
    assert docked(rviz) == pictures | {panel["Name"] for panel in rviz["Panels"]}


def test_the_window_fits_a_small_screen(rviz: dict[str, Any]):
    window = rviz["Window Geometry"]
    assert (window["Width"], window["Height"]) == (1500, 900)
