"""Writes the reference tables on the pages, and the parameter files of config/: `make tables`.

Parameters come from what the nodes declare; outputs, topics and drop reasons from `outputs.py`.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dino_foresight_ros.nodes.forecast.parameters import FORECAST_PARAMETERS
from dino_foresight_ros.nodes.monitor.parameters import MONITOR_PARAMETERS
from dino_foresight_ros.nodes.obstacle.parameters import OBSTACLE_PARAMETERS
from dino_foresight_ros.nodes.plan.parameters import PLAN_PARAMETERS
from dino_foresight_ros.outputs import OUTPUTS, DropReason, UnmatchedReason
from dino_foresight_ros.ros.parameters import Change, ParameterSpec
from dino_foresight_ros.topic_names import (
    INSTANCE_TOPICS,
    MONITOR_TOPICS,
    OBSTACLE_TOPICS,
    OVERLAY_TOPICS,
    PLAN_TOPICS,
    MadeTopic,
)

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BEGIN = "<!-- Table of {name}, written by `make tables`. -->"
END = "<!-- End of the table. -->"
LAUNCH = "ros2 launch dino_foresight_ros forecast.launch.py"
YAML_HEAD = """\
# Every parameter of {node} with its default (written by `make tables`). Copy it, change
# what you need, and pass it:
#   {command}
# A parameter may change at any time (by ros2 param set), while the node is unconfigured (so clean
# it up first), or only at its start.
/**:
  ros__parameters:
"""
WHEN = {
    Change.ANY_TIME: "any time",
    Change.UNCONFIGURED: "unconfigured",
    Change.NEVER: "start",
}


class Documented(NamedTuple):
    """A node whose parameters stand in a file and on a page.

    Attributes:
        node: its name.
        specs: its parameters.
        parameters: the parameter file.
        page: the page with the table.
        command: passes a parameter file.
    """

    node: str
    specs: Sequence[ParameterSpec]
    parameters: Path
    page: Path
    command: str


NODES = (
    Documented(
        "forecast_node",
        FORECAST_PARAMETERS,
        ROOT / "config" / "forecast.yaml",
        DOCS / "parameters.md",
        f"{LAUNCH} params_file:=my.yaml",
    ),
    Documented(
        "monitor_node",
        MONITOR_PARAMETERS,
        ROOT / "config" / "monitor.yaml",
        DOCS / "monitor.md",
        f"{LAUNCH} monitor:=true monitor_params_file:=my.yaml",
    ),
    Documented(
        "obstacle_node",
        OBSTACLE_PARAMETERS,
        ROOT / "config" / "obstacle.yaml",
        DOCS / "nav2.md",
        "ros2 launch dino_foresight_ros obstacle.launch.py params_file:=my.yaml",
    ),
    Documented(
        "plan_node",
        PLAN_PARAMETERS,
        ROOT / "config" / "plan.yaml",
        DOCS / "planning.md",
        "ros2 launch dino_foresight_ros plan.launch.py params_file:=my.yaml",
    ),
)


def yaml_value(value: Any) -> str:
    """A default as YAML writes it in one line."""
    if isinstance(value, list):
        return f"[{', '.join(yaml_value(v) for v in value)}]"
    if isinstance(value, str) and value.replace("-", "").replace("_", "").isalnum():
        return value
    return json.dumps(value)


def valid(spec: ParameterSpec) -> str:
    """Range or choices of a parameter; its kind where it has neither."""
    if spec.choices is not None:
        return ", ".join(spec.choices)
    if spec.limits is not None:
        return f"{spec.limits[0]:.10g} to {spec.limits[1]:.10g}"
    if isinstance(spec.default, list):
        return "list of numbers" if spec.element is float else "list of texts"
    kinds = {bool: "true, false", str: "text", int: "whole number"}
    return kinds.get(type(spec.default), "number")


def yaml_text(documented: Documented) -> str:
    """The parameter file."""
    parts = [YAML_HEAD.format(node=documented.node, command=documented.command)]
    for spec in documented.specs:
        text = spec.description
        if spec.choices is not None or spec.limits is not None:
            text += f" Valid: {valid(spec)}."
        lines = textwrap.wrap(f"{text} May change: {WHEN[spec.change]}.", 94)
        parts += [f"    # {line}\n" for line in lines]
        parts.append(f"    {spec.name}: {yaml_value(spec.default)}\n")
    return "".join(parts)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar in a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[cell.replace("|", chr(92) + "|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in cells)


def parameter_table(specs: Sequence[ParameterSpec]) -> str:
    """Parameters of a node."""
    rows = [
        (
            f"`{spec.name}`",
            f"`{yaml_value(spec.default)}`",
            valid(spec),
            WHEN[spec.change],
            spec.description,
        )
        for spec in specs
    ]
    return markdown(("name", "default", "valid", "may change", ""), rows)


def output_table() -> str:
    """What a forecast can hold."""
    rows = [
        (
            f"`{output.name}`",
            f"`{output.head}`" if output.head else "",
            f"{output.dtype}" + (f" x {output.channels}" if output.channels != 1 else ""),
            f"`{output.message_field}`" if output.message_field else "",
            output.step_0.value,
            output.description,
        )
        for output in OUTPUTS
    ]
    return markdown(("output", "head", "values", "in ForecastStep", "step 0", ""), rows).replace(
        " x None", " x channels"
    )


def topic_table() -> str:
    """Topics of each step."""
    rows = [
        (
            f"`foresight/step_k/{topic.name}`",
            f"sensor_msgs/Image, {topic.encoding}",
            topic.description,
        )
        for output in OUTPUTS
        for topic in output.topics
    ]
    return markdown(("of each step", "type", ""), rows)


def made_table(topics: Sequence[MadeTopic], folder: str = "foresight/") -> str:
    """What a node makes of forecasts."""
    rows = [(f"`{folder}{topic.name}`", topic.type, topic.description) for topic in topics]
    return markdown(("out", "type", ""), rows)


def reason_table(reasons: type[DropReason] | type[UnmatchedReason]) -> str:
    """Why frames, or predictions, are dropped."""
    return markdown(("reason", ""), [(f"`{reason}`", reason.description) for reason in reasons])


class Table(NamedTuple):
    """A table on a page, between marks that name it."""

    page: Path
    name: str
    text: str


TABLES = (
    *(Table(node.page, f"{node.node}'s parameters", parameter_table(node.specs)) for node in NODES),
    Table(DOCS / "topics.md", "outputs", output_table()),
    Table(DOCS / "topics.md", "step topics", topic_table()),
    Table(DOCS / "instances.md", "topics of objects", made_table(INSTANCE_TOPICS)),
    Table(DOCS / "topics.md", "overlay_node's topics", made_table(OVERLAY_TOPICS)),
    Table(DOCS / "monitor.md", "monitor_node's topics", made_table(MONITOR_TOPICS)),
    Table(DOCS / "planning.md", "plan_node's topics", made_table(PLAN_TOPICS)),
    Table(DOCS / "nav2.md", "obstacle_node's topics", made_table(OBSTACLE_TOPICS, "")),
    Table(DOCS / "node.md", "drop reasons", reason_table(DropReason)),
    Table(DOCS / "monitor.md", "drop reasons", reason_table(UnmatchedReason)),
)


def page_text(page: Path) -> str:
    """The page with its tables in their places."""
    text = page.read_text(encoding="utf-8")
    for table in TABLES:
        if table.page == page:
            begin = BEGIN.format(name=table.name)
            before, _, rest = text.partition(begin)
            _, found, after = rest.partition(END)
            if not found:
                raise SystemExit(f"{page.name} lacks the marks {begin} and {END}")
            text = f"{before}{begin}\n{table.text}\n{END}{after}"
    return text


def main() -> None:
    """Write every file and table."""
    for page in dict.fromkeys(table.page for table in TABLES):
        page.write_text(page_text(page), "utf-8")
    for documented in NODES:
        documented.parameters.write_text(yaml_text(documented), "utf-8")


if __name__ == "__main__":
    main()
