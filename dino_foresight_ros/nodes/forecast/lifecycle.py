"""Managed nodes, where rclpy leaves gaps."""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode


def tolerate_bad_transitions(node: LifecycleNode) -> None:
    """Refuse an impossible transition (activate before configure) that a service call asks for.

    rclpy lets its exception out of the service's callback, which ends the process.
    """
    service = getattr(node, "_service_change_state", None)
    if service is None:  # another rclpy, which may do better
        return
    original = service.callback

    def answer(request: Any, response: Any) -> Any:
        try:
            return original(request, response)
        except RuntimeError as error:  # rclpy's own errors are kinds of RuntimeError
            text = " ".join(str(error).split())
            node.get_logger().warning(f"transition refused: {text}")
            response.success = False
            return response

    service.callback = answer


def end_lifecycle(node: LifecycleNode) -> None:
    """Take a destroyed managed node out of the graph.

    rclpy's destroy_node leaves the state machine, which keeps the node, and with it the DDS
    participant, alive until the garbage collector comes by. A process that ends before that never
    says goodbye: for the 20 s of the participant's lease its peers believe that it lives.
    """
    state_machine = getattr(node, "_state_machine", None)
    if state_machine is not None:
        state_machine.destroy_when_not_in_use()
