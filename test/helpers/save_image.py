"""Saves pictures for docs/, as JPEG small enough for a repository.

python test/helpers/save_image.py file IN OUT.jpg
python test/helpers/save_image.py topic TOPIC OUT.jpg [N]    # the N-th that comes
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

MOST_BYTES = 480_000
MOST_WIDTH = 1600


def write_jpeg(picture: np.ndarray, path: Path) -> None:
    """Write (H, W, 3) uint8 BGR as well as `MOST_BYTES` allows."""
    height, width = picture.shape[:2]
    if width > MOST_WIDTH:
        size = (MOST_WIDTH, round(height * MOST_WIDTH / width))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    for quality in range(92, 40, -4):
        done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done and data.nbytes <= MOST_BYTES:
            path.write_bytes(data.tobytes())
            print(f"{path}: {picture.shape[1]}x{picture.shape[0]}, {data.nbytes} bytes")
            return
    raise SystemExit(f"{path} would be larger than {MOST_BYTES} bytes")


def next_picture(topic: str, number: int) -> np.ndarray:
    """The picture that comes as number `number` on an image topic, BGR."""
    import rclpy
    from sensor_msgs.msg import Image

    from dino_foresight_ros.recordings.image_decoding import decode_message
    from dino_foresight_ros.ros.qos import output_qos

    rclpy.init()
    node = rclpy.create_node("save_image")
    seen: list[Image] = []
    node.create_subscription(Image, topic, seen.append, output_qos())
    while len(seen) < number:
        rclpy.spin_once(node, timeout_sec=0.5)
    rclpy.shutdown()
    return decode_message(seen[number - 1])[..., ::-1]


def main(kind: str, source: str, path: str, number: str = "1") -> None:
    """Save one picture."""
    picture = cv2.imread(source) if kind == "file" else next_picture(source, int(number))
    if picture is None:
        raise SystemExit(f"{source} is no picture")
    write_jpeg(np.ascontiguousarray(picture), Path(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
