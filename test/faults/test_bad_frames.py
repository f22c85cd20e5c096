"""Frames that are broken, wrongly stamped or change their kind, sent to a running node."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from fault_scene import Scene
from forecast_peers import INTERVAL_NS, Client, header_at, picture, rgb_message, stamp_of
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from dino_foresight_ros.ros.images import image_to_msg

HOUR_NS = 3600 * 10**9
YEAR_NS = 365 * 24 * HOUR_NS


def send_refused(scene: Scene, reason: str, *bad: Any, publisher: Any = None) -> None:
    """Send messages, each once the node has named the one before among the dropped."""
    before = scene.dropped(reason)
    for count, message in enumerate(bad, start=before + 1):
        (publisher or scene.client.images).publish(message)
        scene.wait_for(lambda count=count: scene.dropped(reason) >= count)
    assert scene.dropped(reason) == before + len(bad)


def keeps_its_context(scene: Scene) -> None:
    """The very next frame is forecast, from frames of before the fault."""
    before = scene.clock_ns
    assert stamp_of(scene.next_forecast().context_stamps[0]) < before


def test_a_forecast_from_other_frames_would_be_noticed(scene: Scene) -> None:
    """The check that all fault tests rest on."""
    forecast = scene.next_forecast()
    right = [picture(stamp_of(stamp)) for stamp in forecast.context_stamps]
    assert scene.reference.mismatch(forecast, right) is None
    for index in range(4):
        other = list(right)
        other[index] = picture(index)
        assert "is off by" in str(scene.reference.mismatch(forecast, other))
    assert "is off by" in str(scene.reference.mismatch(forecast, right[::-1]))


def test_zero_size_image(scene: Scene) -> None:
    stamp = scene.clock_ns + 1
    sizes = ((0, 0), (0, 200), (120, 0))
    empty = [rgb_message(stamp, height=h, width=w, data=b"") for h, w in sizes]
    send_refused(scene, "bad_image", *empty)
    assert scene.says("image is empty")
    keeps_its_context(scene)


def test_data_shorter_than_height_times_step(scene: Scene) -> None:
    whole = rgb_message(scene.clock_ns + 1)
    cut = (b"", bytes(whole.data)[:-1], bytes(whole.data)[: 120 * 200])
    send_refused(scene, "bad_image", *(rgb_message(scene.clock_ns + 1, data=d) for d in cut))
    keeps_its_context(scene)


def test_unknown_encoding(scene: Scene) -> None:
    names = ("", "rgb9", "16UC1", "rgb8\n", "\u00e9" * 300)
    unknown = [rgb_message(scene.clock_ns + 1, encoding=name) for name in names]
    send_refused(scene, "bad_image", *unknown)
    keeps_its_context(scene)


def test_zero_and_impossible_stamps(scene: Scene) -> None:
    """ROS stamps have no NaN: seconds below 0 or 1e9 and more nanoseconds are as impossible."""

    def stamped(sec: int, nanosec: int) -> Image:
        return rgb_message(1, header=Header(stamp=Time(sec=sec, nanosec=nanosec)))

    send_refused(scene, "no_stamp", stamped(0, 0))
    impossible = ((-1, 0), (-(2**31), 999_999_999), (5, 10**9), (5, 2**32 - 1))
    send_refused(scene, "bad_stamp", *(stamped(*stamp) for stamp in impossible))
    keeps_its_context(scene)


def test_stamps_that_jump_back_an_hour(scene: Scene) -> None:
    scene.clock_ns -= HOUR_NS
    first = scene.clock_ns
    (forecast, *_) = scene.recovers()
    assert stamp_of(forecast.context_stamps[0]) > first
    assert scene.says("time jumped back")


def test_stamps_that_jump_forward_a_year(scene: Scene) -> None:
    """And back again: both times the context starts anew."""
    here = scene.clock_ns
    scene.clock_ns += YEAR_NS
    (forecast, *_) = scene.recovers()
    assert stamp_of(forecast.context_stamps[0]) > here + YEAR_NS
    scene.clock_ns = here
    (forecast, *_) = scene.recovers()
    assert here < stamp_of(forecast.header.stamp) < here + YEAR_NS


def test_stamps_at_the_end_of_time(scene: Scene) -> None:
    """Targets beyond 2038 do not fit a ROS time: such frames are named, and nothing else."""
    here = scene.clock_ns
    scene.clock_ns = 2**31 * 10**9 - 4 * INTERVAL_NS - 1
    refused = scene.dropped("bad_stamp")

    def is_refused() -> bool:
        scene.send_good()
        return scene.dropped("bad_stamp") > refused

    scene.wait_for(is_refused)
    scene.clock_ns = here
    scene.recovers()


def test_duplicate_frames(scene: Scene) -> None:
    twice = rgb_message(scene.clock_ns)
    send_refused(scene, "duplicate_stamp", twice, twice)
    assert len([f for f in scene.forecasts if f.header.stamp == twice.header.stamp]) == 1
    keeps_its_context(scene)


def test_frames_out_of_order(scene: Scene) -> None:
    late = (INTERVAL_NS // 3, 2 * INTERVAL_NS + 1)
    send_refused(scene, "out_of_order", *(rgb_message(scene.clock_ns - age) for age in late))
    keeps_its_context(scene)


def test_resolution_that_changes_in_mid_stream(scene: Scene) -> None:
    for size in ((60, 90), (481, 641), (1, 1), (7, 1000), (120, 200)):
        scene.next_forecast(size)


def test_encoding_that_changes_in_mid_stream(scene: Scene) -> None:
    rgb = picture(1)
    grey = rgb[..., 0]
    sent = {
        "bgr8": (np.ascontiguousarray(rgb[..., ::-1]), rgb),
        "mono8": (grey, np.repeat(grey[..., None], 3, 2)),
        "rgba8": (np.dstack([rgb, grey]), rgb),
        "mono16": (grey.astype(np.uint16) << 8, np.repeat(grey[..., None], 3, 2)),
    }
    for encoding, (array, decoded) in sent.items():
        stamp = scene.tick()
        scene.send(image_to_msg(array, encoding, header_at(stamp)), decoded)
        scene.wait_for(lambda stamp=stamp: scene.forecast_of(stamp) is not None)
    keeps_its_context(scene)


def test_camera_info_of_another_size(scene: Scene) -> None:
    """It is not used, and said; a right one is."""
    client = scene.client
    scaled = client.subscribe(CameraInfo, "foresight/step_1/camera_info")
    depth = client.subscribe(type(rgb_message(1)), "foresight/step_1/depth")
    infos = client.node.create_publisher(CameraInfo, "camera_info", 1)
    scene.wait_for(lambda: infos.get_subscription_count() > 0)
    k = [100.0, 0.0, 100.0, 0.0, 100.0, 60.0, 0.0, 0.0, 1.0]
    said = "camera_info is for images of 480x640, but they are 200x120; it is not used"

    def is_refused() -> bool:
        infos.publish(CameraInfo(height=640, width=480, k=k))
        scene.send_good()
        return said in scene.process.text

    scene.wait_for(is_refused)
    for height, width in ((640, 480), (0, 0)):
        infos.publish(CameraInfo(height=height, width=width, k=k))
        client.spin_for(0.3)
        depth.clear()
        scene.recovers(2)
        scene.wait_for(lambda: bool(depth))
        assert scaled == []

    def is_used() -> bool:
        infos.publish(CameraInfo(height=120, width=200, k=k))
        scene.send_good()
        return bool(scaled)

    scene.wait_for(is_used)
    assert (scaled[0].height, scaled[0].width) == (depth[-1].height, depth[-1].width)
    client.node.destroy_publisher(infos)


def test_broken_jpeg(scene: Scene) -> None:
    """Cut, scrambled, empty and no JPEG at all, between good ones."""
    scene.restart(image_transport="compressed")
    camera = Client("jpeg", scene.client.node.get_namespace(), image_type=CompressedImage)
    smooth = cv2.resize(picture(1, (6, 10)), (200, 120), interpolation=cv2.INTER_LINEAR)
    good = cv2.imencode(".jpg", smooth)[1].tobytes()
    decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(good, np.uint8), 1), cv2.COLOR_BGR2RGB)
    scene.wait_for(lambda: camera.images.get_subscription_count() > 0)

    def jpeg(data: bytes, stamp: int) -> CompressedImage:
        return CompressedImage(header=header_at(stamp), format="jpeg", data=data)

    def goes_on() -> None:
        def is_forecast() -> bool:
            stamp = scene.tick()
            scene.expect(stamp, decoded)
            camera.images.publish(jpeg(good, stamp))
            return scene.client.spin_until(lambda: scene.forecast_of(stamp) is not None, 0.5)

        scene.wait_for(is_forecast)

    try:
        goes_on()
        header_only = good[:300] + bytes(len(good) - 302) + good[-2:]
        broken = (b"", b"no jpeg", good[: len(good) // 2], good[:-2], good[2:], good[:20])
        messages = [jpeg(data, scene.clock_ns + 1) for data in broken]
        send_refused(scene, "bad_image", *messages, publisher=camera.images)
        goes_on()
        # A JPEG whose inside is damaged may still decode to something: counted one way or other.
        camera.images.publish(jpeg(header_only, scene.clock_ns + 1))
        scene.clock_ns += HOUR_NS
        goes_on()
    finally:
        camera.close()
        scene.restart(image_transport="raw")
        scene.ready()
    scene.recovers()
