"""Commands that run one of the nodes in their own process, without its parameters' syntax."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from typing import Any

from dino_foresight_ros.errors import ForesightError

_OF_THE_COMMAND_LINE = ("command", "run", "traceback")


def run_node(name: str, arguments: list[str]) -> int:
    """Run a node, such as "view_node", until it ends, and return its exit code.

    Raises:
        ForesightError: ROS 2 is not there.
    """
    try:
        node = importlib.import_module(
            f"dino_foresight_ros.nodes.{name.removesuffix('_node')}.node"
        )
    except ModuleNotFoundError as error:
        raise ForesightError(
            f"ROS 2 is not available ({error.name} is missing); use scripts/with_env or source ROS"
        ) from error
    code: int = node.main(arguments)
    return code


def parameter_arguments(given: Mapping[str, Any]) -> list[str]:
    """Turn options into `-p NAME:=VALUE`; what belongs to the command line itself is left out."""
    arguments: list[str] = []
    for name, value in given.items():
        if name not in _OF_THE_COMMAND_LINE:
            # JSON is YAML that keeps a string a string, whatever is in it.
            arguments += ["-p", f"{name}:={json.dumps(value)}"]
    return arguments
