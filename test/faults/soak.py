"""Hours in minutes: a running node over DDS, good frames and faults mixed, its memory watched.

    python test/faults/soak.py [--minutes 20] [--frames 20000] [--bundle DIR] [--out DIR]

Ends when either budget is used up. What is asserted: resident memory stays within 20 MB of what
it is after warm-up; received = forecast + dropped by a named reason + in flight in every
diagnostics message, and nothing in flight at the end; every forecast checked (one in 20) is what
an engine computes from the same frames; the node outlives it all and ends with exit code 0.
Writes soak.json and soak.md. Exit code 1 when anything of that fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

import peer_process
from fault_scene import Reference, Scene
from forecast_peers import NODE, NodeProcess, header_at, picture, rgb_message
from micro_bundle import make_micro_bundle

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.process.memory import resident_mb
from dino_foresight_ros.ros.images import image_to_msg

STEPS = 2
ALLOWED_MB = 20.0
WARM_UP = 0.15
"""Share of the budget before the first reading: allocators, thread pools and DDS settle."""
FAULT_EVERY = 12
"""Good frames between faults, about."""
CHECK_EVERY = 20
LONG_PAUSE_S = 20.0
SIZES = ((120, 200), (540, 960), (61, 33))


@dataclass
class Result:
    """What happened; `asdict` of it is soak.json."""

    seconds: float = 0.0
    frames_sent: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    forecasts_checked: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    unaccounted: int = 0
    resident_mb: list[float] = field(default_factory=list)
    growth_mb: float = 0.0
    exit_code: int | None = None
    failures: list[str] = field(default_factory=list)


class Soak:
    """One run."""

    def __init__(self, scene: Scene, environment: dict[str, str], seed: int) -> None:
        self.scene, self.environment = scene, environment
        self.random = random.Random(seed)
        self.result = Result()
        self.peers: list[subprocess.Popen[bytes]] = []
        self.size = SIZES[0]
        faults = (self.broken, self.odd_stamps, self.repeat, self.late, self.jump, self.resize)
        self.faults: list[Any] = [*faults, self.burst, self.other_camera, self.deaf, self.cycle]
        self.faults += [self.storm, self.pause]

    def run(self, seconds: float, frames: int, long_pause_s: float) -> Result:
        started, result, warm = time.monotonic(), self.result, False
        long_pause_at = 0.5
        while result.frames_sent < frames:
            elapsed = time.monotonic() - started
            if elapsed >= seconds:
                break
            done = max(elapsed / seconds, result.frames_sent / frames)
            if done > long_pause_at:
                long_pause_at = 2.0
                self.scene.client.spin_for(long_pause_s)
                self.scene.clock_ns += round(long_pause_s * 1e9)
            self.good()
            if self.random.random() < 1 / FAULT_EVERY:
                fault = self.random.choice(self.faults)
                result.faults[fault.__name__] = result.faults.get(fault.__name__, 0) + 1
                fault()
            if not warm and done >= WARM_UP:
                warm = True
                result.resident_mb.clear()
            self.note_memory(elapsed)
        self.finish(time.monotonic() - started)
        return result

    def note_memory(self, elapsed: float) -> None:
        """Once a second, and forget what was checked."""
        if len(self.result.resident_mb) <= elapsed or not self.result.resident_mb:
            self.result.resident_mb.append(resident_mb(self.scene.process.process.pid))
        self.scene.forget(100)

    def finish(self, seconds: float) -> None:
        result, scene = self.result, self.scene
        self.end_peers()
        scene.recovers(3)
        scene.wait_for(lambda: scene.counts().get("in_flight") == 0, 10.0)
        scene.check_accounts()
        result.seconds, result.counts = seconds, scene.counts()
        counts = result.counts
        dropped = sum(n for key, n in counts.items() if key.startswith("dropped."))
        result.unaccounted = counts["frames_received"] - counts["forecasts_published"] - dropped
        tenth = max(len(result.resident_mb) // 10, 1)
        low, high = (
            sorted(part)[len(part) // 2]
            for part in (result.resident_mb[:tenth], result.resident_mb[-tenth:])
        )
        result.growth_mb = high - low
        result.exit_code = scene.process.end()

    # Frames

    def good(self) -> None:
        scene, result = self.scene, self.result
        stamp = scene.send_good(self.size, 0.05)
        result.frames_sent += 1
        forecast = scene.forecast_of(stamp)
        if forecast is not None and result.frames_sent % CHECK_EVERY == 0:
            result.forecasts_checked += 1
            scene.check(forecast)

    def send(self, message: Any) -> None:
        self.scene.client.images.publish(message)
        self.result.frames_sent += 1
        self.scene.client.spin_for(0.01)

    def broken(self) -> None:
        stamp = self.scene.clock_ns + 1
        self.send(rgb_message(stamp, data=b"cut"))
        self.send(rgb_message(stamp, height=0))
        self.send(rgb_message(stamp, encoding="rgb9"))

    def odd_stamps(self) -> None:
        for sec, nanosec in ((0, 0), (-1, 0), (1, 2**32 - 1)):
            message = rgb_message(1)
            message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
            self.send(message)

    def repeat(self) -> None:
        stamp = self.scene.clock_ns
        self.send(image_to_msg(self.scene.picture_at(stamp), "rgb8", header_at(stamp)))

    def late(self) -> None:
        self.send(rgb_message(self.scene.clock_ns - 70_000_000))

    def jump(self) -> None:
        """On by a minute to a day; a stamp is never used twice, so that each has one picture."""
        self.scene.clock_ns += self.random.choice((60, 3600, 86400)) * 10**9
        self.send(rgb_message(self.scene.clock_ns - 1800 * 10**9))

    def resize(self) -> None:
        self.size = self.random.choice(SIZES)

    def burst(self) -> None:
        for _ in range(100):
            stamp = self.scene.tick()
            self.scene.send(rgb_message(stamp), picture(stamp))
            self.result.frames_sent += 1

    # Peers

    def peer(self, *arguments: str) -> subprocess.Popen[bytes]:
        self.end_peers()
        command = [sys.executable, peer_process.__file__, *arguments]
        output = subprocess.DEVNULL
        self.peers.append(subprocess.Popen(command, env=self.environment, stdout=output))
        return self.peers[-1]

    def end_peers(self) -> None:
        """By SIGKILL: they get no chance to say goodbye."""
        for peer in self.peers:
            peer.kill()
            peer.wait()
        self.peers.clear()

    def other_camera(self) -> None:
        """A second publisher for two seconds, its clock far ahead: no context can fill."""
        ahead = self.scene.clock_ns + 40 * 86400 * 10**9
        self.peer("camera", str(self.scene.client.node.get_namespace()), str(ahead))
        for _ in range(30):
            self.good()
        self.end_peers()

    def deaf(self) -> None:
        peer = self.peer("deaf", str(self.scene.client.node.get_namespace()))
        if self.random.random() < 0.5:
            self.scene.client.spin_for(2.0)
            peer.send_signal(signal.SIGSTOP)

    # Control

    def cycle(self) -> None:
        self.scene.restart()
        self.scene.ready()

    def storm(self) -> None:
        for value in (1.0, -1.0, "soon", 2.0) * 5:
            self.scene.set_parameter("stream_timeout_s", value)

    def pause(self) -> None:
        self.scene.client.spin_for(1.5)
        self.scene.clock_ns += 1_500_000_000


def judge(result: Result) -> list[str]:
    """What is wrong with a finished run."""
    wrong = []
    if result.growth_mb > ALLOWED_MB:
        wrong.append(f"resident memory grew by {result.growth_mb:.1f} MB")
    if result.unaccounted:
        wrong.append(f"{result.unaccounted} frames are unaccounted for")
    if result.exit_code != 0:
        wrong.append(f"the node ended with exit code {result.exit_code}")
    if not result.forecasts_checked:
        wrong.append("no forecast was checked")
    return wrong


def markdown(result: Result) -> str:
    """The result for people."""
    rows = {
        "time": f"{result.seconds:.0f} s",
        "frames sent": result.frames_sent,
        "frames received": result.counts.get("frames_received", 0),
        "forecasts": result.counts.get("forecasts_published", 0),
        "forecasts compared with an engine's": result.forecasts_checked,
        **{k: n for k, n in sorted(result.counts.items()) if k.startswith("dropped.")},
        "unaccounted for": result.unaccounted,
        "resident memory, change after warm-up": f"{result.growth_mb:+.1f} MB",
        "faults injected": ", ".join(f"{n} {k}" for k, n in sorted(result.faults.items())),
        "result": "; ".join(result.failures) or "passed",
    }
    return "| soak | |\n|---|---|\n" + "".join(f"| {k} | {v} |\n" for k, v in rows.items())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--bundle", type=Path, help="default: a small untrained one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--long-pause", type=float, default=LONG_PAUSE_S, metavar="SECONDS")
    parser.add_argument("--out", type=Path, default=Path("out/soak"))
    args = parser.parse_args(arguments)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("ROS_DOMAIN_ID", "77")
    with tempfile.TemporaryDirectory() as folder:
        bundle = args.bundle or make_micro_bundle().save(Path(folder, "micro"))
        result = soak(args, bundle, Path(folder, "log"))
    result.failures += judge(result)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "soak.json").write_text(json.dumps(asdict(result), indent=1))
    (args.out / "soak.md").write_text(markdown(result))
    print(markdown(result), end="")
    return 1 if result.failures else 0


def soak(args: argparse.Namespace, bundle: Path, log: Path) -> Result:
    """Run it."""
    environment = dict(os.environ)
    parameters = (f"bundle:={bundle}", f"steps:={STEPS}", "device:=cpu", "dtype:=float32")
    node = NodeProcess(environment, log, *parameters, program=NODE, namespace="/soak")
    scene = Scene(node, Reference(Bundle.load(bundle), STEPS), "/soak")
    run = Soak(scene, environment, args.seed)
    try:
        scene.ready()
        return run.run(60 * args.minutes, args.frames, args.long_pause)
    except AssertionError as error:
        run.result.failures.append(str(error))
        return run.result
    finally:
        run.end_peers()
        scene.close()
        node.kill()


if __name__ == "__main__":
    sys.exit(main())
