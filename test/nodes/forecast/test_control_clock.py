"""The node's clock: jumps back, changes of its source, and a /clock that does not run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from rclpy.parameter import Parameter
from ros_bench import Bench
from rosgraph_msgs.msg import Clock

from dino_foresight_ros.nodes.forecast.control import ClockWatch
from dino_foresight_ros.ros.time import ns_to_time


class Watched(Bench):
    """A node whose clock is watched, and a player of recordings."""

    def __init__(self, use_sim_time: bool) -> None:
        super().__init__()
        sim = Parameter("use_sim_time", value=use_sim_time)
        self.node = self.make("node", parameter_overrides=[sim])
        self.player = self.make("player")
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

    def close(self) -> None:
        self.watch.close()
        super().close()


@pytest.fixture
def simulated(ros_domain: dict[str, str]) -> Iterator[Watched]:
    bench = Watched(True)
    yield bench
    bench.close()


@pytest.fixture
def real(ros_domain: dict[str, str]) -> Iterator[Watched]:
    bench = Watched(False)
    yield bench
    bench.close()


def test_recording_that_loops_is_a_jump_and_running_time_is_none(simulated: Watched) -> None:
    for seconds in (100.0, 100.1, 160.0, 159.5):  # forward, and back by less than a second
        simulated.publish(seconds)
    assert simulated.jumps == []
    simulated.publish(100.0)
    assert simulated.jumps == ["/clock jumped back 59.5 s (a recording that loops?)"]


def test_change_of_the_source_is_told(real: Watched) -> None:
    real.node.set_parameters([Parameter("use_sim_time", value=True)])
    real.node.set_parameters([Parameter("use_sim_time", value=False)])
    assert ["from /clock" in real.jumps[0], "from the system" in real.jumps[1]] == [True, True]


def test_closed_watch_is_quiet(simulated: Watched) -> None:
    simulated.publish(100.0)
    simulated.watch.close()
    simulated.publish(10.0)
    assert simulated.jumps == []


def test_clock_that_nobody_publishes_is_warned_of_once(simulated: Watched) -> None:
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


def test_clock_that_stays_zero_is_told_apart(simulated: Watched) -> None:
    simulated.publish(0.0)
    assert simulated.watch.check(10.0, 5.0) is None
    warning = simulated.watch.check(15.0, 5.0)
    assert warning is not None
    assert "its time stays 0" in warning


def test_system_time_is_never_warned_of(real: Watched) -> None:
    assert [real.watch.check(t, 1.0) for t in (0.0, 100.0)] == [None, None]
