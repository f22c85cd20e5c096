"""A model slower than its camera: every context stays complete, at the least cost."""

from __future__ import annotations

import pytest

from dino_foresight_ros.runtime.context_rules import EvenContext
from dino_foresight_ros.runtime.frame import QueuedFrame
from dino_foresight_ros.runtime.inbox import Mailbox

MS = 1_000_000
RULE = EvenContext.for_interval(frames=4, interval_s=0.2)


def simulate(period_ms: float, pass_ms: float, encode_ms: float) -> tuple[list[bool], float]:
    """A camera and a model slower than it, in simulated time.

    Returns:
        For each frame taken after the first 1.2 s, whether its context is complete; and the
        share of the camera's frames that was encoded.
    """
    mailbox = Mailbox(RULE)
    encoded: list[int] = []
    complete: list[bool] = []
    free_at_ms, count = 0.0, 200
    for i in range(count):
        now_ms = i * period_ms
        mailbox.put(QueuedFrame(None, 10**18 + round(now_ms * MS), now_ms / 1e3))
        if now_ms < free_at_ms:
            continue
        waiting = mailbox.take()
        assert waiting is not None
        newest_ns, older_ns = waiting.newest.stamp_ns, [f.stamp_ns for f in waiting.older]
        needed = [older_ns[k] for k in RULE.needed(newest_ns, older_ns, encoded)]
        encoded += [*needed, newest_ns]
        assert encoded == sorted(set(encoded))
        if now_ms > 1200:
            complete.append(RULE.choose(encoded) is not None)
        free_at_ms = now_ms + pass_ms + encode_ms * len(needed)
    return complete, len(encoded) / count


@pytest.mark.parametrize("period_ms", [100, 50, 33.3])
@pytest.mark.parametrize("pass_ms", [40, 135, 260, 700])
def test_every_context_of_a_slow_model_is_complete(period_ms: float, pass_ms: float):
    complete, _ = simulate(period_ms, pass_ms, encode_ms=12)
    assert len(complete) > 5
    assert all(complete)


def test_a_fast_camera_does_not_cost_an_encoder_pass_per_frame():
    _, share = simulate(period_ms=33.3, pass_ms=250, encode_ms=12)
    assert share < 0.5
