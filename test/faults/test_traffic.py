"""Peers that misbehave: bursts, pauses, deaths, crowds, silence and storms."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import peer_process
import pytest
from fault_scene import RunScene, Scene
from forecast_peers import INTERVAL_NS, picture, rgb_message, stamp_of
from forked import ForkedProcess
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from dino_foresight_ros.ros.environment import PROFILES_VARIABLES

SHARED_MEMORY_IN_USE = not any(
    os.environ.get(name) for name in ("FASTDDS_BUILTIN_TRANSPORTS", *PROFILES_VARIABLES)
)
Peers = Callable[..., ForkedProcess]


@pytest.fixture
def peers(ros_domain: dict[str, str], tmp_path: Path) -> Iterator[Peers]:
    """Starts peers in processes of their own that print to `peer.log`; none outlives the test."""
    started: list[ForkedProcess] = []

    def start(*arguments: str) -> ForkedProcess:
        log = tmp_path / "peer.log"
        started.append(ForkedProcess(peer_process.main, arguments, ros_domain, log))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def namespace_of(scene: Scene) -> str:
    return str(scene.client.node.get_namespace())


def newest_stamp(scene: Scene) -> int:
    return stamp_of(scene.forecasts[-1].header.stamp)


def kill_cameras(scene: Scene, peers: Peers) -> None:
    """Three cameras one after the other, each killed by SIGKILL, so that none says goodbye."""
    for _ in range(3):
        scene.clock_ns += 3600 * 10**9
        start = scene.clock_ns
        camera = peers("camera", namespace_of(scene), str(start))
        scene.wait_for(lambda start=start: newest_stamp(scene) > start + INTERVAL_NS)
        camera.kill()
        camera.wait()
        scene.clock_ns = newest_stamp(scene)
        scene.check_forecasts()
    scene.clock_ns += 60 * 10**9
    scene.recovers()


def start_reader(scene: Scene, peers: Peers, tmp_path: Path) -> ForkedProcess:
    """A process that subscribes to every output, once the scene knows of it; `peers` logs there."""
    depth = f"{namespace_of(scene)}/foresight/step_1/depth"
    before = scene.client.node.count_subscribers(depth)
    reader = peers("deaf", namespace_of(scene))
    log = tmp_path / "peer.log"
    scene.wait_for(lambda: log.exists() and "subscribed to" in log.read_text())
    scene.wait_for(lambda: scene.client.node.count_subscribers(depth) == before + 1)
    return reader


def test_burst_of_500_frames(scene: Scene) -> None:
    """All at once: the newest wins, the others are named, the forecasts that come are right."""
    scene.wait_for(lambda: bool(scene.counts()))
    received = scene.counts()["frames_received"]
    for _ in range(500):
        stamp = scene.tick()
        scene.send(rgb_message(stamp, (60, 100)), picture(stamp, (60, 100)))
    scene.recovers()

    def all_done() -> bool:
        counts = scene.counts()
        return counts["frames_received"] > received + 1 and counts["in_flight"] == 0

    scene.wait_for(all_done)


def test_pause_of_20_seconds(scene: Scene) -> None:
    """20 s by the stamps, on the wall longer than stream_timeout_s; the soak waits 20 s."""
    stopped = scene.process.text.count("no image came")
    scene.send_good()
    scene.wait_for(lambda: scene.process.text.count("no image came") > stopped)
    resumed = scene.process.text.count("the image stream resumed")
    scene.clock_ns += 20 * 10**9
    first = scene.clock_ns
    (forecast, *_) = scene.recovers()
    assert stamp_of(forecast.context_stamps[0]) > first
    assert scene.process.text.count("the image stream resumed") > resumed


def test_second_instance_in_another_domain(
    scene: Scene, run_scene: RunScene, second_ros_domain: dict[str, str]
) -> None:
    """Same names, another ROS_DOMAIN_ID: neither hears the other's frames."""
    with run_scene(second_ros_domain, namespace_of(scene)) as other:
        other.recovers()
        scene.clock_ns += 3600 * 10**9
        first = scene.clock_ns
        scene.recovers(4)
        other.client.spin_for(0.3)
        assert all(stamp_of(f.header.stamp) < first for f in other.forecasts)
        other.clock_ns += 7200 * 10**9
        first = other.clock_ns
        other.recovers(4)
        scene.client.spin_for(0.3)
        assert all(stamp_of(f.header.stamp) < first for f in scene.forecasts)
        other.check_accounts()
        assert other.process.end() == 0
    scene.recovers()


def test_publisher_is_killed_and_restarted(scene: Scene, peers: Peers) -> None:
    """SIGKILL, so that it cannot say goodbye; three times, the last one stays."""
    kill_cameras(scene, peers)


def test_two_publishers_on_one_topic(scene: Scene, peers: Peers) -> None:
    """Their frames mix: each is used or named, no forecast is wrong, and when one goes all is well.

    The other camera's clock lies half an interval ahead.
    """
    other = peers("camera", namespace_of(scene), str(scene.clock_ns + INTERVAL_NS // 2))
    scene.wait_for(lambda: newest_stamp(scene) > scene.clock_ns)
    count = len(scene.forecasts)
    scene.clock_ns = newest_stamp(scene) - INTERVAL_NS // 2
    for _ in range(40):
        scene.send_good(timeout_s=peer_process.PERIOD_S)
    scene.wait_for(lambda: len(scene.forecasts) > count)
    scene.check_forecasts()
    other.kill()
    scene.clock_ns = max(scene.clock_ns, newest_stamp(scene)) + 60 * 10**9
    scene.recovers()


def test_subscriber_that_never_reads(scene: Scene, peers: Peers, tmp_path: Path) -> None:
    """Reliable outputs wait for nobody: the model goes on, and others get every forecast."""
    deaf = start_reader(scene, peers, tmp_path)
    stamps = [scene.send_good(timeout_s=5.0) for _ in range(45)]
    got = [stamp for stamp in stamps if scene.forecast_of(stamp) is not None]
    assert len(got) >= 42
    # The time that a frame takes grows with nothing: to wait for a reader takes 0.1 s a topic.
    latencies = [scene.forecast_of(stamp).latency for stamp in got]
    assert sorted(latencies[-20:])[10] < 3 * sorted(latencies[:20])[10] + 0.4
    deaf.kill()
    scene.recovers()


@pytest.mark.long
def test_others_hear_on_after_peers_were_killed(scene: Scene, peers: Peers, tmp_path: Path) -> None:
    """Also when their leases have run out, 20 s later, and after many large messages."""
    kill_cameras(scene, peers)
    reader = start_reader(scene, peers, tmp_path)
    for _ in range(25):
        scene.send_good()
    reader.kill()
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        scene.send_good(timeout_s=0.1)
    scene.recovers(20)


def test_messages_of_forecasts_have_room_in_shared_memory(scene: Scene) -> None:
    """Fast DDS's own segment of 512 KB stays full of what killed readers held."""
    if shutil.disk_usage("/dev/shm").free < 2**28 or not SHARED_MEMORY_IN_USE:
        pytest.skip("little shared memory on this machine, or another transport was chosen")
    maps = Path(f"/proc/{scene.process.process.pid}/maps").read_text().splitlines()
    segments = [line.split()[0].split("-") for line in maps if "/dev/shm/fastrtps_" in line]
    assert max(int(end, 16) - int(start, 16) for start, end in segments) >= 2**25


def test_parameter_storm(scene: Scene) -> None:
    """Hundreds of good, bad and unknown values while frames come; each is answered."""
    assert scene.set_parameter("stream_timeout_s", 1.0).successful
    client = scene.client.caller(SetParameters, f"{scene.full_name}/set_parameters")
    wishes = [
        Parameter("stream_timeout_s", value=1.0),
        Parameter("stream_timeout_s", value=-1.0),
        Parameter("stream_timeout_s", value="soon"),
        Parameter("steps", value=99),
        Parameter("bundle", value="/no/such/bundle"),
        Parameter("no_such_parameter", value=1),
    ]
    answers = []
    # A service keeps ten requests; more at once would be lost on the way.
    for _ in range(50):
        for wish in wishes:
            request = SetParameters.Request(parameters=[wish.to_parameter_msg()])
            answers.append(client.call_async(request))
        scene.send_good(timeout_s=0.05)
        scene.wait_for(lambda: all(answer.done() for answer in answers))
    successful = [bool(a.result().results[0].successful) for a in answers]
    assert [i % 6 for i, good in enumerate(successful) if good] == [0] * 50
    scene.recovers()
