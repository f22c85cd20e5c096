"""Writes what is said about the nodes' parameters from where they are declared.

Makes the parameter files in config/ and the tables on the pages anew: `make parameters`.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dino_foresight_ros.nodes.forecast.parameters import FORECAST_PARAMETERS
from dino_foresight_ros.nodes.monitor.parameters import MONITOR_PARAMETERS
from dino_foresight_ros.ros.parameters import Change, ParameterSpec

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- The table is written by `make parameters`. -->"
END = "<!-- End of the table. -->"
YAML_HEAD = """\
# Every parameter of {node} with its default (written by `make parameters`). Copy it, change
# what you need, and pass it:
#   ros2 launch dino_foresight_ros forecast.launch.py {argument}
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
        argument: of forecast.launch.py, passes a parameter file.
    """

    node: str
    specs: Sequence[ParameterSpec]
    parameters: Path
    page: Path
    argument: str


NODES = (
    Documented(
        "forecast_node",
        FORECAST_PARAMETERS,
        ROOT / "config" / "forecast.yaml",
        ROOT / "docs" / "parameters.md",
        "params_file:=my.yaml",
    ),
    Documented(
        "monitor_node",
        MONITOR_PARAMETERS,
        ROOT / "config" / "monitor.yaml",
        ROOT / "docs" / "monitor.md",
        "monitor:=true monitor_params_file:=my.yaml",
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
    kinds = {bool: "true, false", str: "text", list: "list of texts", int: "whole number"}
    return kinds.get(type(spec.default), "number")


def yaml_text(documented: Documented) -> str:
    """The parameter file."""
    parts = [YAML_HEAD.format(node=documented.node, argument=documented.argument)]
    for spec in documented.specs:
        text = spec.description
        if spec.choices is not None or spec.limits is not None:
            text += f" Valid: {valid(spec)}."
        lines = textwrap.wrap(f"{text} May change: {WHEN[spec.change]}.", 94)
        parts += [f"    # {line}\n" for line in lines]
        parts.append(f"    {spec.name}: {yaml_value(spec.default)}\n")
    return "".join(parts)


def table(specs: Sequence[ParameterSpec]) -> str:
    """The table of a page."""
    rows = ["| name | default | valid | may change | |", "|---|---|---|---|---|"]
    for spec in specs:
        cells = (
            f"`{spec.name}`",
            f"`{yaml_value(spec.default)}`",
            valid(spec),
            WHEN[spec.change],
            spec.description,
        )
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows)


def page_text(documented: Documented) -> str:
    """The page with the table in its place."""
    text = documented.page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{documented.page.name} lacks the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table(documented.specs)}\n{END}{after}"


def main() -> None:
    """Write every file and table."""
    for documented in NODES:
        documented.page.write_text(page_text(documented), "utf-8")
        documented.parameters.write_text(yaml_text(documented), "utf-8")


if __name__ == "__main__":
    main()
