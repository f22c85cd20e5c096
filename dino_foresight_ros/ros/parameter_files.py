"""Parameter files: which of their sections fit a node, by ROS's rules. Imports no ROS."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

_KEY = "ros__parameters"
_FLAG = "--params-file"


def sections(content: Any, name: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each section of a parameter file: the name it is for, and its parameters.

    Args:
        content: of the file, parsed. Names may be nested: a namespace holds nodes.
        name: what the content is under.
    """
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        if key == _KEY:
            yield name, value if isinstance(value, Mapping) else {}
        else:
            yield from sections(value, f"{name}/{str(key).strip('/')}")


def fits(pattern: str, node: str) -> bool:
    """Whether a section's name is a node's.

    Args:
        pattern: full name, in which `*` stands for one part and `**` for any number of parts.
        node: full name of the node, such as "/robot1/forecast_node".
    """
    expression = "".join(
        r"(/\w+)*" if part == "**" else f"/{re.escape(part)}".replace(r"\*", r"\w+")
        for part in pattern.strip("/").split("/")
    )
    return re.fullmatch(expression, node) is not None


def parameters_for(files: Sequence[str | Path], node: str) -> dict[str, Any]:
    """What the files set for a node; a later one goes over an earlier one.

    Raises:
        OSError, yaml.YAMLError: a file cannot be read.
    """
    found: dict[str, Any] = {}
    for file in files:
        for name, values in sections(yaml.safe_load(Path(file).read_text())):
            if fits(name, node):
                found |= values
    return found


def unused_files(arguments: Sequence[str], node: str) -> list[str]:
    """One sentence for each parameter file of a command line that sets nothing for the node.

    Args:
        arguments: of the process; files that ROS itself refuses are left out.
        node: full name of the node.
    """
    given = [Path(file) for flag, file in pairwise(arguments) if flag == _FLAG]
    sentences = []
    for path in given:
        try:
            names = [name for name, _ in sections(yaml.safe_load(path.read_text()))]
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        if not any(fits(name, node) for name in names):
            held = f"it is for {', '.join(dict.fromkeys(names))}" if names else "it is empty"
            sentences.append(
                f"parameter file {path} sets nothing for this node, {node}: {held}; "
                f"name the section {node} or /**"
            )
    return sentences
