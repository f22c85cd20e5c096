"""Writes what is said about forecast_node's parameters from where they are declared.

Makes config/forecast.yaml and the table in README.md anew: `make parameters`.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dino_foresight_ros.ros.forecast_parameters import FORECAST_PARAMETERS
from dino_foresight_ros.ros.parameters import Change, ParameterSpec

ROOT = Path(__file__).resolve().parents[1]
BEGIN = "<!-- The table is written by `make parameters`. -->"
END = "<!-- End of the table. -->"
YAML_HEAD = """\
# Every parameter of forecast_node with its default (written by `make parameters`). Copy it, change
# what you need, and pass it:
#   ros2 launch dino_foresight_ros forecast.launch.py params_file:=my.yaml
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


def yaml_text(specs: Sequence[ParameterSpec]) -> str:
    """The parameter file."""
    parts = [YAML_HEAD]
    for spec in specs:
        text = spec.description
        if spec.choices is not None or spec.limits is not None:
            text += f" Valid: {valid(spec)}."
        lines = textwrap.wrap(f"{text} May change: {WHEN[spec.change]}.", 94)
        parts += [f"    # {line}\n" for line in lines]
        parts.append(f"    {spec.name}: {yaml_value(spec.default)}\n")
    return "".join(parts)


def table(specs: Sequence[ParameterSpec]) -> str:
    """The table of README.md."""
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


def with_table(text: str, specs: Sequence[ParameterSpec]) -> str:
    """README's text with the table in its place."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"README.md lacks the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table(specs)}\n{END}{after}"


def main() -> None:
    """Write both files."""
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8"), FORECAST_PARAMETERS), "utf-8")
    (ROOT / "config" / "forecast.yaml").write_text(yaml_text(FORECAST_PARAMETERS), "utf-8")


if __name__ == "__main__":
    main()
