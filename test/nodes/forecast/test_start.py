"""How a forecast node starts: interrupted, unmanaged, and after a failure."""

from __future__ import annotations

import gc
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from micro_bundle import make_micro_bundle

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dino_foresight_ros.msg", reason="needs the built messages")

import rclpy
from forecast_peers import INTERVAL_NS, NODE, Client, NodeProcess, header_at
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from ros_bench import close_node, wait_until
from sensor_msgs.msg import CompressedImage

from dino_foresight_ros import msg as messages
from dino_foresight_ros.model import MaskedForecaster
from dino_foresight_ros.nodes.forecast.node import ForecastNode
from dino_foresight_ros.ros.node_main import InvalidHandle
from dino_foresight_ros.runtime import Foresight


def test_signal_while_loading_ends_the_node_with_exit_code_0(
    ros_domain: dict[str, str], tmp_path: Path
) -> None:
    running = NodeProcess(ros_domain, tmp_path / "log", program=NODE)
    try:
        threads = Path(f"/proc/{running.process.pid}/task")
        # ROS is up, and loading torch and the model takes seconds more.
        assert wait_until(
            lambda: any("dds.ev" in path.read_text() for path in threads.glob("*/comm"))
        )
        time.sleep(0.3)
        code = running.end(signal.SIGINT)
        assert code in (0, -signal.SIGINT), running.text
        assert "listening" not in running.text
    finally:
        running.kill()


class PipelineThatFails:
    """Stands for a pipeline that cannot be taken down."""

    def stop(self, timeout_s: float) -> bool:
        return True

    def destroy(self) -> None:
        raise RuntimeError("out of order")


def test_a_node_whose_work_fails_at_the_end_is_taken_down(
    ros_domain: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rclpy.init(args=["test", "--ros-args", "-p", "autostart:=false"])
    node = ForecastNode()
    try:
        monkeypatch.setattr(node, "pipeline", PipelineThatFails())
        with pytest.raises(RuntimeError, match="out of order"):
            node.destroy_node()
        with pytest.raises(InvalidHandle):
            node.get_name()
    finally:
        rclpy.try_shutdown()


def alive(kind: type) -> int:
    """How many objects of a class there are."""
    gc.collect()
    return sum(type(one) is kind for one in gc.get_objects())


def test_cleanup_lets_go_of_the_model(ros_domain: dict[str, str], tmp_path: Path) -> None:
    bundle = make_micro_bundle().save(tmp_path / "micro")
    given = (f"bundle:={bundle}", "autostart:=false", "device:=cpu")
    rclpy.init(args=["--ros-args", *(word for one in given for word in ("-p", one))])
    node = ForecastNode()
    try:
        before = alive(MaskedForecaster), alive(Foresight)
        for _ in range(2):
            assert node.trigger_configure() is TransitionCallbackReturn.SUCCESS
            assert node.trigger_activate() is TransitionCallbackReturn.SUCCESS
            assert alive(Foresight) == before[1] + 1
            assert node.trigger_deactivate() is TransitionCallbackReturn.SUCCESS
            assert node.trigger_cleanup() is TransitionCallbackReturn.SUCCESS
            assert (alive(MaskedForecaster), alive(Foresight)) == before
    finally:
        close_node(node)
        rclpy.try_shutdown()


def test_unmanaged_failure_is_retryable_and_compressed_images_work(
    ros_domain: dict[str, str], tmp_path: Path
) -> None:
    """autostart false: a bad bundle leaves the node unconfigured; a good one then works."""
    running = NodeProcess(
        ros_domain,
        tmp_path / "log",
        "autostart:=false",
        "bundle:=/no/such/bundle",
        "image_transport:=compressed",
        "output_size:=input",
        "outputs:=[segmentation]",
        remaps=("__node:=second", "image:=camera/compressed"),
    )
    client = Client()
    try:
        request = ChangeState.Request()
        request.transition.label = "configure"
        name = "/second"
        assert not client.call(ChangeState, f"{name}/change_state", request).success
        assert "/no/such/bundle is not a bundle" in running.text
        bundle = Parameter("bundle", value="untrained-tiny").to_parameter_msg()
        wish = SetParameters.Request(parameters=[bundle])
        assert client.call(SetParameters, f"{name}/set_parameters", wish).results[0].successful
        assert client.call(ChangeState, f"{name}/change_state", request).success
        refused = client.call(
            SetParameters,
            f"{name}/set_parameters",
            SetParameters.Request(
                parameters=[Parameter("dtype", value="float32").to_parameter_msg()]
            ),
        ).results[0]
        assert not refused.successful
        assert "clean it up first" in refused.reason
        request.transition.label = "activate"
        assert client.call(ChangeState, f"{name}/change_state", request).success
        forecasts = client.subscribe(messages.Forecast, "foresight/forecast")
        pictures = client.node.create_publisher(
            CompressedImage, "camera/compressed", qos_profile_sensor_data
        )
        assert client.spin_until(lambda: pictures.get_subscription_count() > 0)
        assert client.spin_until(lambda: client.node.count_publishers("/foresight/forecast") > 0)
        jpeg = cv2.imencode(".jpg", np.zeros((90, 160, 3), np.uint8))[1].tobytes()
        base_ns, count = time.time_ns(), 0

        def is_forecast() -> bool:
            nonlocal count
            data = b"broken" if count == 2 else jpeg
            header = header_at(base_ns + count * INTERVAL_NS)
            pictures.publish(CompressedImage(header=header, format="jpeg", data=data))
            count += 1
            return client.spin_until(lambda: bool(forecasts), INTERVAL_NS / 1e9)

        assert wait_until(is_forecast)
        step = forecasts[0].steps[0]
        assert (step.segmentation.height, step.segmentation.width) == (90, 160)
        assert (step.depth.height, step.confidence.height) == (0, 0)
        assert running.end() == 0
    finally:
        client.close()
        running.kill()
