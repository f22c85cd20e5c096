"""The services that tell a running node to start its context anew, or to pause."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger


class Answer(NamedTuple):
    """Whether it was done, and what was done or why not."""

    success: bool
    message: str


class ControlServices:
    """~/reset (std_srvs/Trigger) and ~/set_enabled (std_srvs/SetBool)."""

    def __init__(
        self, node: Node, reset: Callable[[], Answer], set_enabled: Callable[[bool], Answer]
    ) -> None:
        self._reset, self._set_enabled = reset, set_enabled
        node.create_service(Trigger, "~/reset", self._on_reset)
        node.create_service(SetBool, "~/set_enabled", self._on_set_enabled)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self._reset()
        return response

    def _on_set_enabled(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        response.success, response.message = self._set_enabled(request.data)
        return response
