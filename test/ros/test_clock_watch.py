"""The node's clock: jumps back, changes of its source, and a /clock that does not run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock

from dino_foresight_ros.ros.clock_watch import ClockWatch
from dino_foresight_ros.ros.stamps import ns_to_time


class Bench:
    def __init__(self, use_sim_time: bool) -> None:
        self.context = Context()
        self.context.init()
        sim = Parameter("use_sim_time", value=use_sim_time)
        self.node = Node("node", context=self.context, parameter_overrides=[sim])
        self.player = Node("player", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.player)
        self.jumps: list[str] = []
        self.watch = ClockWatch(self.node, self.jumps.append)
        self.clock = None

    def publish(self, seconds: float) -> None:
        if self.clock is None:
            self.clock = self.player.create_publisher(Clock, "/clock", 10)
            assert self.spin_until(lambda: self.clock.get_subscription_count() > 0)
        now_ns = round(seconds * 1e9)
        self.clock.publish(Clock(clock=ns_to_time(now_ns)))
        assert self.spin_until(lambda: self.node.get_clock().now().nanoseconds == now_ns)

    def spin_until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
        deadline = time.monotonic() + timeout_s
        while not condition() and time.monotonic() < deadline:
            self.executor.spin_once(timeout_sec=0.02)
        return condition()

    def close(self) -> None:
        self.watch.close()
        self.executor.shutdown()
        self.node.destroy_node()
        self.player.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def simulated(ros_domain: dict[str, str]) -> Iterator[Bench]:
    bench = Bench(True)
    yield bench
    bench.close()


@pytest.fixture
def real(ros_domain: dict[str, str]) -> Iterator[Bench]:
    bench = Bench(False)
    yield bench
    bench.close()


def test_recording_that_loops_is_a_jump_and_running_time_is_none(simulated: Bench) -> None:
    for seconds in (100.0, 100.1, 160.0, 159.5):  # forward, and back by less than a second
        simulated.publish(seconds)
    assert simulated.jumps == []
    simulated.publish(100.0)
    assert simulated.jumps == ["/clock jumped back 59.5 s (a recording that loops?)"]


def test_change_of_the_source_is_told(real: Bench) -> None:
    real.node.set_parameters([Parameter("use_sim_time", value=True)])
    real.node.set_parameters([Parameter("use_sim_time", value=False)])
    assert ["from /clock" in real.jumps[0], "from the system" in real.jumps[1]] == [True, True]


def test_closed_watch_is_quiet(simulated: Bench) -> None:
    simulated.publish(100.0)
    simulated.watch.close()
    simulated.publish(10.0)
    assert simulated.jumps == []


def test_clock_that_nobody_publishes_is_warned_of_once(simulated: Bench) -> None:
    watch = simulated.watch
    assert watch.check(10.0, 5.0) is None
    assert watch.check(14.9, 5.0) is None
    warning = watch.check(15.0, 5.0)
    assert warning is not None
    assert "nobody publishes it" in warning
    assert watch.check(16.0, 5.0) is None
    simulated.publish(0.0)
    assert watch.check(17.0, 5.0) is None
    simulated.publish(3.0)
    assert watch.check(30.0, 5.0) is None


def test_clock_that_stays_zero_is_told_apart(simulated: Bench) -> None:
    simulated.publish(0.0)
    assert simulated.watch.check(10.0, 5.0) is None
    warning = simulated.watch.check(15.0, 5.0)
    assert warning is not None
    assert "its time stays 0" in warning


def test_system_time_is_never_warned_of(real: Bench) -> None:
    assert [real.watch.check(t, 1.0) for t in (0.0, 100.0)] == [None, None]
