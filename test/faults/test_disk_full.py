"""No room for the log: neither on the screen nor in ROS_LOG_DIR."""

from __future__ import annotations

import resource
from pathlib import Path

import full_screen_node
from fault_scene import RunScene, rgb_message


def test_disk_full_for_the_log(
    ros_domain: dict[str, str], run_scene: RunScene, tmp_path: Path
) -> None:
    """Screen output goes to a full device from the start; then no file may grow any more.

    The limit on file sizes fails every write to the log file, as a full disk does.
    """
    environment = ros_domain | {"ROS_LOG_DIR": str(tmp_path)}
    with run_scene(environment, "/disk_full", full_screen_node.main) as scene:
        scene.recovers()
        (log,) = tmp_path.glob("*.log")
        # rcl's log file is written every few seconds, and at once after an error.
        scene.wait_for(lambda: "active: listening" in log.read_text())
        pid = scene.process.process.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0))
        size = log.stat().st_size
        # Each has something to say.
        assert scene.change("deactivate")
        assert scene.change("activate")
        scene.ready()
        before = scene.dropped("bad_image")

        def is_refused() -> bool:
            # Again and again: a newer frame may have replaced it.
            scene.clock_ns += 1
            scene.client.images.publish(rgb_message(scene.clock_ns, encoding="rgb9"))
            return scene.dropped("bad_image") > before

        scene.wait_for(is_refused)
        scene.recovers(1)
        assert log.stat().st_size == size
        scene.check_accounts()
        assert scene.process.end() == 0
