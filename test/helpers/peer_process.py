"""A peer in a process of its own that tests may kill or freeze.

camera NAMESPACE FIRST_STAMP_NS   publishes the stamps' pictures until it is ended
deaf NAMESPACE                    subscribes reliably to every output and never reads any
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import rclpy
from forecast_peers import INTERVAL_NS, rgb_message
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image

from dino_foresight_ros.msg import Forecast

PERIOD_S = 0.05


def camera(namespace: str, stamp_ns: int) -> None:
    node = rclpy.create_node("other_camera", namespace=namespace)
    images = node.create_publisher(Image, "image", QoSProfile(depth=1))
    while not images.get_subscription_count():
        time.sleep(0.02)
    while True:
        images.publish(rgb_message(stamp_ns))
        stamp_ns += INTERVAL_NS
        time.sleep(PERIOD_S)


def deaf(namespace: str) -> None:
    node = rclpy.create_node("deaf", namespace=namespace)
    topics = {"forecast": Forecast, "step_1/camera_info": CameraInfo}
    topics |= {f"step_{k}/{n}": Image for k in (1, 2) for n in ("segmentation", "depth")}
    kept = [
        node.create_subscription(kind, f"foresight/{name}", print, QoSProfile(depth=1))
        for name, kind in topics.items()
    ]
    print(f"subscribed to {len(kept)}", flush=True)
    while True:
        time.sleep(1.0)


def main(arguments: Sequence[str]) -> int:
    kind, namespace, *stamps = arguments
    rclpy.init(args=[])
    if kind == "camera":
        camera(namespace, int(stamps[0]))
    else:
        deaf(namespace)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
