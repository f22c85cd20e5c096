"""forecast_node whose screen is a full device, from its start."""

from __future__ import annotations

import os
from collections.abc import Sequence

from dino_foresight_ros.nodes.forecast import node as forecast_node
from dino_foresight_ros.ros.node_main import leave


def main(arguments: Sequence[str]) -> int:
    screen = os.open("/dev/full", os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(screen, descriptor)
    leave(forecast_node.main(arguments))
