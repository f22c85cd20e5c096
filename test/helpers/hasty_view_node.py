"""view_node that is sooner in saying what it waits for."""

from __future__ import annotations

from collections.abc import Sequence

from dino_foresight_ros.nodes.view import node as view_node


def main(arguments: Sequence[str]) -> int:
    view_node.FIRST_HINT_S = 1.0
    return view_node.main(arguments)
