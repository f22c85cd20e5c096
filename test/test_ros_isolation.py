"""Tests that share a process and a domain do not see each other's nodes."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dds_domains
import pytest
from dds_domains import claimed_domain

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from ros_bench import Bench, published_topics
from std_msgs.msg import Empty


@pytest.fixture
def _no_collection() -> Iterator[None]:
    """The garbage collector, which would free what nobody closed, stays away."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collection")
@pytest.mark.parametrize("kind", [Node, LifecycleNode])
def test_closed_nodes_leave_the_graph(kind: Any, ros_domain: dict[str, str]) -> None:
    for _ in range(4):
        bench = Bench()
        node = bench.make("namesake", kind)
        node.create_publisher(Empty, "word", 1)
        assert bench.spin_until(lambda node=node: "/word" in published_topics(node))
        bench.spin_for(0.2)  # others would be met
        assert node.get_node_names() == ["namesake"]
        assert node.count_publishers("/word") == 1
        bench.close()


def test_domain_left_last_is_claimed_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(dds_domains, "DOMAINS", range(20, 24))
    claimed = []
    for _ in range(8):
        with claimed_domain() as domain:
            claimed.append(domain)
    assert sorted(claimed[:4]) == [20, 21, 22, 23]
    assert claimed[4:] == claimed[:4]


def test_domain_is_nobody_elses_while_it_is_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(dds_domains, "DOMAINS", range(20, 23))
    with ExitStack() as stack:
        held = {stack.enter_context(claimed_domain()) for _ in range(3)}
        assert held == {20, 21, 22}
        with pytest.raises(RuntimeError, match="every DDS domain"):
            stack.enter_context(claimed_domain())
