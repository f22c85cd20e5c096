"""The reference tables: what pages, parameter files and nodes say is the same, and current."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from dino_foresight_ros.nodes.forecast.node import ForecastNode
from dino_foresight_ros.nodes.monitor.node import MonitorNode
from dino_foresight_ros.nodes.obstacle.node import ObstacleNode
from dino_foresight_ros.nodes.plan.node import PlanNode
from dino_foresight_ros.ros.parameters import Parameters

# Declared by rclpy for every node.
RCLPYS_OWN = {"use_sim_time", "start_type_description_service"}
CHANGE_RULES = {
    "any time": "May change at any time.",
    "unconfigured": "May change only while the node is unconfigured (clean it up first).",
    "start": "May change only at start.",
}
# Another valid value of the parameters whose valid ones are no list and no range.
OTHER_VALUES: dict[str, Any] = {
    "camera_mounts": [0.2, 0.0, 1.2, 0.0, 5.0, 0.0],
    "ground_classes": ["road"],
    "footprint": [0.0, 0.0, 1.0, 0.0, 0.0, 1.0],
    "imagine_weights": [1.0, 0.0, 0.0, 1.0],
    "base_frame": "base",
    "bundle": "elsewhere",
    "device": "cpu",
    "output_size": "input",
    "cameras": ["front", "rear"],
    "camera_topic": "/robot/{camera}/image_raw",
    "horizons_s": [0.1, 0.5],
    "context_frames": 2,
}


NODES: dict[str, type[Node]] = {
    "forecast_node": ForecastNode,
    "monitor_node": MonitorNode,
    "obstacle_node": ObstacleNode,
    "plan_node": PlanNode,
}

SUFFIXES = {
    "m/s^2": "_mps2",
    "m/s": "_mps",
    "rad/s": "_rps",
    "metres": "_m",
    "seconds": "_s",
    "degrees": "_deg",
}


class Row(NamedTuple):
    """A row of the page's table."""

    name: str
    default: Any
    valid: str
    may_change: str
    meaning: str


@pytest.fixture(scope="module")
def docs(project_root: Path) -> Any:
    """The program behind `make tables`."""
    path = project_root / "scripts" / "reference_tables.py"
    spec = importlib.util.spec_from_file_location("reference_tables", path)
    assert spec is not None
    assert spec.loader is not None
    docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docs)
    return docs


@pytest.fixture(scope="module", params=NODES)
def documented(request: pytest.FixtureRequest, docs: Any) -> Any:
    """A node's entry in that program."""
    return next(entry for entry in docs.NODES if entry.node == request.param)


def test_every_node_with_a_parameter_file_is_looked_at(docs: Any) -> None:
    assert {entry.node for entry in docs.NODES} == set(NODES)


def test_name_of_a_number_ends_in_its_unit(documented: Any) -> None:
    units = re.compile("|".join(map(re.escape, SUFFIXES)), re.IGNORECASE)
    for spec in documented.specs:
        unit = units.search(spec.description)
        if isinstance(spec.default, float) and unit is not None:
            assert spec.name.endswith(SUFFIXES[unit[0].lower()]), spec


@pytest.fixture(scope="module")
def rows(documented: Any) -> dict[str, Row]:
    text = documented.page.read_text()
    table = re.findall(r"^\| `(\w+)` \| `(.*?)` \| (.*?) \| (.*?) \| (.+?) \|$", text, re.M)
    found = [Row(name, yaml.safe_load(value), *rest) for name, value, *rest in table]
    assert len(found) == len({row.name for row in found})
    return {row.name: row for row in found}


@pytest.fixture(scope="module")
def stated(documented: Any) -> dict[str, Any]:
    """Name -> default in the parameter file."""
    text = documented.parameters.read_text()
    parameters: dict[str, Any] = yaml.safe_load(text)["/**"]["ros__parameters"]
    return parameters


@pytest.fixture(scope="module")
def node(ros_domain: dict[str, str], documented: Any) -> Iterator[Node]:
    rclpy.init()
    node = NODES[documented.node]()
    yield node
    node.destroy_node()
    rclpy.shutdown()


@pytest.fixture(scope="module")
def declared(node: Node) -> dict[str, tuple[Any, ParameterDescriptor]]:
    """Name -> value and descriptor, as the node itself answers."""
    names = sorted(set(node.get_parameters_by_prefix("")) - RCLPYS_OWN)
    return {name: (node.get_parameter(name).value, node.describe_parameter(name)) for name in names}


def test_yaml_page_and_node_name_the_same_parameters(
    declared: dict[str, Any], stated: dict[str, Any], rows: dict[str, Row]
) -> None:
    assert set(stated) == set(declared)
    assert set(rows) == set(declared)
    assert list(stated) == list(rows)


def test_yaml_page_and_node_state_the_same_defaults(
    declared: dict[str, Any], stated: dict[str, Any], rows: dict[str, Row]
) -> None:
    for name, (value, _) in declared.items():
        for said in (stated[name], rows[name].default):
            assert said == value, name
            assert type(said) is type(value) or isinstance(value, list), name


def test_page_and_descriptors_give_the_same_rule_of_change(
    declared: dict[str, Any], rows: dict[str, Row]
) -> None:
    for name, (_, descriptor) in declared.items():
        rule = rows[name].may_change
        assert CHANGE_RULES[rule] in descriptor.additional_constraints, name
        assert descriptor.read_only == (rule == "start"), name


def test_page_and_descriptors_give_the_same_valid_values(
    declared: dict[str, Any], rows: dict[str, Row]
) -> None:
    for name, (value, descriptor) in declared.items():
        valid, row = rows[name].valid, rows[name]
        assert row.meaning == descriptor.description, name
        ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
        if ranges:
            low, high = (float(number) for number in valid.split(" to "))
            assert (low, high) == (ranges[0].from_value, ranges[0].to_value), name
        elif choices := re.search(r"Valid: (.*)\.", descriptor.additional_constraints):
            assert valid == choices[1], name
        else:
            assert valid in ("text", "true, false", "list of texts", "list of numbers"), name
            assert (valid == "true, false") == isinstance(value, bool), name


def other_value(row: Row) -> Any:
    """A valid value that is not the default."""
    if row.name in OTHER_VALUES:
        return OTHER_VALUES[row.name]
    if isinstance(row.default, bool):
        return not row.default
    if isinstance(row.default, int | float):
        bounds = [type(row.default)(float(bound)) for bound in row.valid.split(" to ")]
        return next(bound for bound in bounds if bound != row.default)
    other = next(choice for choice in row.valid.split(", ") if choice != row.default)
    return [other] if isinstance(row.default, list) else other


@pytest.mark.parametrize("is_configured", [False, True])
def test_a_node_keeps_to_the_rules_of_change(
    node: Node, documented: Any, rows: dict[str, Row], is_configured: bool
) -> None:
    """Every parameter is set to another valid value; the table says which attempts succeed."""
    bare = Node(f"bare_{is_configured}".lower(), context=node.context)
    try:
        Parameters(bare, documented.specs, lambda: not is_configured)
        for name, row in rows.items():
            result = bare.set_parameters([Parameter(name, value=other_value(row))])[0]
            allowed = {"any time"} if is_configured else {"any time", "unconfigured"}
            assert result.successful == (row.may_change in allowed), (name, result.reason)
    finally:
        bare.destroy_node()


def test_what_make_tables_writes_is_what_is_there(docs: Any) -> None:
    for table in docs.TABLES:
        assert docs.page_text(table.page) == table.page.read_text(), "run make tables"
    for documented in docs.NODES:
        assert docs.yaml_text(documented) == documented.parameters.read_text(), "run make tables"
