"""A bag with odometry: trained on by the commands of docs/planning.md, then played to the node."""

from __future__ import annotations

from pathlib import Path

import pytest
from micro_bundle import make_micro_bundle

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

from diagnostic_msgs.msg import DiagnosticArray
from forecast_peers import Client, NodeProcess, values_of
from geometry_msgs.msg import Twist, Vector3
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.msg import Candidate
from dino_foresight_ros.recordings import open_recording
from dino_foresight_ros.recordings.bag_reader import BagReader
from dino_foresight_ros.srv import Imagine

pytestmark = pytest.mark.process
TOPICS = {"/odom": Odometry, "/camera/camera_info": CameraInfo, "/camera/image_raw": Image}
SMALL = (
    "--width 24 --layers 1 --heads 2 --rope 4,4,4 --steps 3 --batch-size 2 --evaluations 1 "
    "--validation-share 0.3"
)


def foresight(*words: object) -> None:
    assert main([word for part in words for word in str(part).split()]) == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a bag and of a bundle that was trained on it."""
    out = tmp_path_factory.mktemp("run")
    micro = make_micro_bundle().save(out / "micro")
    parts = f"--encoder {micro} --pca {micro}"
    foresight(
        "bag from-video synthetic:?seeds=3&frames=72&interval=0.1&size=36x66&driver=wander",
        f"--out {out}/drive",
    )
    foresight(f"train pixels --data bag:{out}/drive --image-size 56x84 --out {out}/pixels")
    foresight(
        f"train features --data pixels:{out}/pixels {parts} --out {out}/features --device cpu"
    )
    foresight(
        f"train forecaster --features {out}/features --kind world --motion blocks {SMALL}",
        f"--device cpu --out {out}/forecaster",
    )
    foresight(f"bundle assemble {parts} --forecaster {out}/forecaster --out {out}/bundle")
    return out


def test_the_fastest_motion_that_was_trained_on_is_that_of_the_bag(folder: Path) -> None:
    forecaster = Bundle.load(folder / "bundle").forecaster
    assert forecaster.takes_motion
    with open_recording(folder / "drive") as drive:
        ego = drive.ego
    assert ego is not None
    assert forecaster.motion_speeds is not None
    assert forecaster.motion_speeds[0] == pytest.approx(ego.speed_mps.max(), rel=0.25)


def test_its_odometry_moves_the_forecasts_of_the_node(
    folder: Path, ros_domain: dict[str, str], tmp_path: Path
) -> None:
    node = NodeProcess(
        ros_domain, tmp_path / "log", f"bundle:={folder}/bundle", "device:=cpu",
        "camera_mounts:=[0.0, 0.0, 1.4, 0.0, 5.0, 0.0]",
    )  # fmt: skip
    client = Client("bag_player")
    try:
        client.wait_until_heard(node)
        names = {"/camera/image_raw": "image", "/camera/camera_info": "camera_info"}
        publishers = {
            topic: client.node.create_publisher(kind, names.get(topic, "odom"), 10)
            for topic, kind in TOPICS.items()
        }
        assert client.spin_until(
            lambda: all(p.get_subscription_count() for p in publishers.values())
        )
        statuses = client.subscribe(DiagnosticArray, "/diagnostics")
        reader = BagReader(folder / "drive")
        for message in reader.messages(list(TOPICS)):
            publishers[message.topic].publish(bytes(message.data))
            client.spin_for(0.02)
        reader.close()

        def motions() -> set[str]:
            return {values_of(status).get("motion", "") for status in statuses}

        assert client.spin_until(lambda: "hold" in motions()), motions()
        arc = Candidate(twist=Twist(linear=Vector3(x=1.0)), duration=1.0)
        request = Imagine.Request(candidates=[arc])
        response = client.call(Imagine, "foresight/imagine", request)
        assert not response.success
        assert "bundle has no metric depth head" in response.message
        assert "frame dropped" not in node.text
        assert node.end() == 0, node.text
    finally:
        client.close()
        node.kill()
