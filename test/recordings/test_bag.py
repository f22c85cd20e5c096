"""Bags: written, read back, and damaged."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import CameraModel, bag_messages, open_recording, open_recordings
from dino_foresight_ros.recordings.bag_messages import typestore
from dino_foresight_ros.recordings.bag_reader import BagReader
from dino_foresight_ros.recordings.bag_topics import RAW_TYPE, no_pictures
from dino_foresight_ros.recordings.bag_writer import BagWriter, create_bag

START_NS = 1_700_000_000_123_456_789
STEP_NS = 40_000_000
COUNT = 12
CAMERA = CameraModel(
    64, 48, (70.0, 0.0, 31.5, 0.0, 71.0, 23.5, 0.0, 0.0, 1.0), (0.1, -0.2, 0.0, 0.01, 0.0)
)
storages = pytest.mark.parametrize("storage", ["mcap", "sqlite3"])


def picture(index: int) -> np.ndarray:
    """(48, 64, 3) noise: every frame differs from every other in every part."""
    return np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8)


def smooth(index: int) -> np.ndarray:
    """(48, 64, 3) that JPEG keeps well."""
    ramp = np.linspace(0, 150, 64)[None, :, None] + np.array([0, 40, 80]) + index
    return np.broadcast_to(ramp, (48, 64, 3)).astype(np.uint8)


def write_bag(
    out: Path,
    storage: str = "mcap",
    topics: Iterable[str] = ("/cam/image_raw",),
    start_ns: int = START_NS,
) -> Path:
    with create_bag(out, storage) as writer:  # type: ignore[arg-type]
        for index in range(COUNT):
            stamp_ns = start_ns + index * STEP_NS
            for topic in topics:
                writer.write_image(topic, picture(index), stamp_ns, "optical")
            writer.write_camera_info("/cam/camera_info", CAMERA, stamp_ns, "optical")
    return out


def storage_file(bag: Path) -> Path:
    return next(entry for entry in bag.iterdir() if entry.suffix in (".mcap", ".db3"))


@storages
def test_raw_pictures_come_back_exactly_with_their_stamps(tmp_path: Path, storage: str) -> None:
    with open_recording(write_bag(tmp_path / "bag", storage)) as source:
        frames = list(source.frames())
    assert [frame.stamp_ns for frame in frames] == [START_NS + i * STEP_NS for i in range(COUNT)]
    assert all(np.array_equal(frame.image, picture(frame.index)) for frame in frames)
    assert {frame.frame_id for frame in frames} == {"optical"}
    assert source.frame_count == len(frames) == COUNT
    assert source.frame_rate_hz == pytest.approx(25.0)
    assert source.size == (48, 64)
    assert source.has_absolute_stamps
    assert not source.truncated
    assert source.warnings == []


@storages
def test_the_storage_file_alone_is_enough(tmp_path: Path, storage: str) -> None:
    path = storage_file(write_bag(tmp_path / "bag", storage))
    with open_recording(path) as source:
        assert len(list(source.frames())) == COUNT
        assert not source.truncated


@pytest.mark.parametrize(("compression", "tolerance"), [("jpeg", 6), ("png", 0)])
def test_compressed_pictures_come_back(tmp_path: Path, compression: str, tolerance: int) -> None:
    with create_bag(tmp_path / "bag") as writer:
        for index in range(4):
            writer.write_compressed(
                "/cam/image/compressed",
                smooth(index),
                START_NS + index,
                "optical",
                compression,  # type: ignore[arg-type]
            )
    with open_recording(tmp_path / "bag") as source:
        frames = list(source.frames())
    assert len(frames) == 4
    for frame in frames:
        difference = np.abs(frame.image.astype(int) - smooth(frame.index))
        assert difference.max() <= tolerance


@pytest.mark.parametrize(
    ("image_topic", "has_info"),
    [
        ("/cam/image_raw", True),
        ("/cam/image_raw/compressed", True),
        ("/cam/compressed", True),
        ("/cam/deep/image_raw", False),
        ("/other/image_raw", False),
    ],
)
def test_camera_info_is_the_one_beside_the_image_topic(
    tmp_path: Path, image_topic: str, has_info: bool
) -> None:
    with open_recording(write_bag(tmp_path / "bag", topics=[image_topic])) as source:
        info = source.camera
    assert (info is not None) == has_info
    if info is not None:
        assert (info.width, info.height, info.k, info.d) == (64, 48, CAMERA.k, CAMERA.d)
        assert (info.distortion_model, info.frame_id) == ("plumb_bob", "optical")


def test_window_counts_from_the_first_message(tmp_path: Path) -> None:
    with open_recording(write_bag(tmp_path / "bag"), start_s=0.08, end_s=0.2) as source:
        assert [frame.stamp_ns - START_NS for frame in source.frames()] == [
            80_000_000,
            120_000_000,
            160_000_000,
        ]
        assert not source.truncated


def test_window_behind_the_end_says_how_long_the_bag_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no message in that part of the bag, which is 0\.440 s"):
        open_recording(write_bag(tmp_path / "bag"), start_s=9.0)


def test_several_image_topics_ask_for_a_choice(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", topics=["/left/image", "/right/image"])
    with pytest.raises(
        InputError, match="2 image topics; set topic to one of: /left/image, /right"
    ):
        open_recording(bag)
    with open_recording(bag, topic="right/image") as source:
        assert len(list(source.frames())) == COUNT


def test_unknown_topic_lists_those_there_are(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag")
    with pytest.raises(InputError, match="no image topic /front; choose one of: /cam/image_raw"):
        open_recording(bag, topic="/front")


def test_bag_without_images_lists_its_topics(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", topics=[])
    with pytest.raises(
        InputError, match=r"no image topic; its topics: /cam/camera_info \(sensor_msgs/msg/CameraIn"
    ):
        open_recording(bag)


def test_depth_images_are_not_taken_for_pictures(tmp_path: Path) -> None:
    def depth(message: object) -> None:
        message.encoding, message.step, message.width = "32FC1", 192, 48  # type: ignore[attr-defined]

    bag = write_changed(tmp_path / "bag", depth)
    with pytest.raises(InputError, match="encoding '32FC1' holds measurements such as depth"):
        open_recording(bag)


def write_changed(out: Path, change: Callable[..., None], only: int | None = None) -> Path:
    """Write a bag whose messages (or just one) were changed before they were serialized."""
    types = typestore()
    serialize = types.serialize_cdr
    seen = 0

    def changed(message: object, msgtype: str) -> bytes:
        nonlocal seen
        if msgtype.endswith("/Image"):
            if only is None or seen == only:
                change(message)
            seen += 1
        return bytes(serialize(message, msgtype))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(types, "serialize_cdr", changed)
        return write_bag(out)


def test_headers_without_time_take_the_time_of_recording(tmp_path: Path) -> None:
    zero = typestore().types["builtin_interfaces/msg/Time"](sec=0, nanosec=0)

    def without_time(message: object) -> None:
        message.header.stamp = zero  # type: ignore[attr-defined]

    with open_recording(write_changed(tmp_path / "bag", without_time)) as source:
        stamps = [frame.stamp_ns for frame in source.frames()]
    assert stamps == [START_NS + i * STEP_NS for i in range(COUNT)]
    assert source.warnings == [
        "bag: /cam/image_raw has no time in its headers; time of recording taken"
    ]


def test_one_damaged_picture_is_skipped_and_named(tmp_path: Path) -> None:
    def cut(message: object) -> None:
        message.data = message.data[:100]  # type: ignore[attr-defined]

    with open_recording(write_changed(tmp_path / "bag", cut, only=3)) as source:
        assert [frame.index for frame in source.frames()] == [0, 1, 2, *range(4, COUNT)]
    assert len(source.warnings) == 1
    assert source.warnings[0].startswith(
        "bag: picture 3 of /cam/image_raw skipped: image data has 100 bytes, but 48 rows"
    )


@storages
@pytest.mark.parametrize("with_metadata", [True, False])
def test_cut_recording_delivers_what_is_there_and_says_so(
    tmp_path: Path, storage: str, with_metadata: bool
) -> None:
    bag = write_bag(tmp_path / "bag", storage)
    file = storage_file(bag)
    data = file.read_bytes()
    file.write_bytes(data[: len(data) * 6 // 10])
    if not with_metadata:
        (bag / "metadata.yaml").unlink()
    with open_recording(bag) as source:
        frames = list(source.frames())
    assert 4 <= len(frames) <= 8
    assert all(np.array_equal(frame.image, picture(frame.index)) for frame in frames)
    assert source.truncated
    of = f" of {COUNT}" if with_metadata else ""
    assert source.warnings[0].startswith(
        f"bag is truncated: {len(frames)}{of} pictures could be read ("
    )
    assert source.camera is not None


@storages
@pytest.mark.parametrize("share", [0.0005, 0.01, 0.03])
def test_recording_cut_at_its_start_is_an_error(tmp_path: Path, storage: str, share: float) -> None:
    file = storage_file(write_bag(tmp_path / "bag", storage))
    data = file.read_bytes()
    file.write_bytes(data[: round(len(data) * share)])
    with pytest.raises(InputError, match=r"cut off and holds no whole message|not a readable"):
        open_recording(file)


@storages
def test_recording_without_metadata_is_complete_but_named_so(tmp_path: Path, storage: str) -> None:
    bag = write_bag(tmp_path / "bag", storage)
    (bag / "metadata.yaml").unlink()
    with open_recording(bag) as source:
        assert len(list(source.frames())) == COUNT
    assert source.warnings == [
        f"bag is truncated: {COUNT} pictures could be read (metadata.yaml is missing)"
    ]


def test_damage_inside_a_mcap_ends_the_reading_with_a_warning(tmp_path: Path) -> None:
    file = storage_file(write_bag(tmp_path / "bag"))
    data = bytearray(file.read_bytes())
    # The length of a record in the middle now points beyond everything.
    middle = data.index(picture(6).tobytes()[:64]) - 120
    data[middle : middle + 60] = b"\xff" * 60
    file.write_bytes(data)
    with open_recording(tmp_path / "bag") as source:
        frames = list(source.frames())
    assert len(frames) < COUNT
    assert source.truncated


@storages
def test_garbage_behind_the_right_suffix_is_refused(tmp_path: Path, storage: str) -> None:
    path = tmp_path / ("a.mcap" if storage == "mcap" else "a.db3")
    path.write_bytes(b"garbage" * 100)
    with pytest.raises(InputError, match="is not a readable rosbag2"):
        open_recording(path)


def test_other_data_in_sqlite_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db3") as connection:
        connection.execute("CREATE TABLE cats(name TEXT)")
    connection.close()
    with pytest.raises(InputError, match=r"a\.db3"):
        open_recording(tmp_path / "a.db3")


def test_missing_storage_file_is_an_error(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag")
    storage_file(bag).unlink()
    with pytest.raises(InputError, match="files are missing"):
        open_recording(bag)


def test_folder_whose_metadata_is_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_text("model: 3\n")
    with pytest.raises(InputError, match="is not a readable rosbag2"):
        open_recording(tmp_path)


def test_split_recording_is_read_through(tmp_path: Path) -> None:
    """Two storage files without metadata.yaml, as a killed recording with splits leaves."""
    first = write_bag(tmp_path / "a")
    second = write_bag(tmp_path / "b", start_ns=START_NS + COUNT * STEP_NS)
    bag = tmp_path / "split"
    bag.mkdir()
    shutil.copy(storage_file(first), bag / "split_2.mcap")
    shutil.copy(storage_file(second), bag / "split_10.mcap")
    with open_recording(bag) as source:
        stamps = [frame.stamp_ns for frame in source.frames()]
    assert stamps == [START_NS + i * STEP_NS for i in range(2 * COUNT)]


def test_rosbag_1_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "old.bag"
    path.write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(InputError, match="ROS 1 bag; convert it first with rosbags-convert"):
        open_recording(path)


def test_reader_gives_back_the_recorded_bytes_and_profiles(tmp_path: Path) -> None:
    reader = BagReader(write_bag(tmp_path / "bag"))
    info = reader.topics["/cam/camera_info"]
    assert (info.msgtype, info.message_count) == ("sensor_msgs/msg/CameraInfo", COUNT)
    assert info.qos[0].reliability.name == "RELIABLE"
    messages = list(reader.messages(["/cam/camera_info"], START_NS + STEP_NS))
    assert [m.log_time_ns for m in messages] == [START_NS + i * STEP_NS for i in range(1, COUNT)]
    assert reader.deserialize(messages[0]).header.frame_id == "optical"
    reader.close()


def test_existing_output_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "bag"
    out.mkdir()
    (out / "precious").touch()
    with pytest.raises(InputError, match="exists already"), create_bag(out):
        pass
    with pytest.raises(InputError, match="is not a rosbag2 folder"), create_bag(out, force=True):
        pass
    assert [entry.name for entry in out.iterdir()] == ["precious"]


def test_force_replaces_a_bag_only_when_the_new_one_is_whole(tmp_path: Path) -> None:
    out = write_bag(tmp_path / "bag")
    before = {entry.name: entry.read_bytes() for entry in out.iterdir()}

    def write(writer: BagWriter, fail: bool) -> None:
        writer.write_image("/new", picture(0), START_NS, "optical")
        if fail:
            raise InputError("the input ended badly")

    with pytest.raises(InputError, match="badly"), create_bag(out, force=True) as writer:
        write(writer, fail=True)
    assert {entry.name: entry.read_bytes() for entry in out.iterdir()} == before
    with create_bag(out, force=True) as writer:
        write(writer, fail=False)
    assert list(BagReader(out).topics) == ["/new"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["bag"]


def test_failure_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with create_bag(tmp_path / "bag") as writer:
            writer.write_image("/cam", picture(0), START_NS, "optical")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_leading_slash_of_frames_is_dropped_and_said_once(tmp_path: Path) -> None:
    with create_bag(tmp_path / "bag") as writer:
        for index in range(3):
            writer.write_image("/cam/image_raw", picture(index), START_NS + index, "/optical")
            writer.write_camera_info("/cam/camera_info", CAMERA, START_NS + index, "/optical")
    with open_recording(tmp_path / "bag") as source:
        assert {frame.frame_id for frame in source.frames()} == {"optical"}
        assert source.camera is not None
        assert source.camera.frame_id == "optical"
        assert source.warnings == [
            "bag: frame_id /optical is taken as optical: tf2 refuses a leading slash"
        ]


def test_depth_and_infrared_are_told_by_encoding_and_name(tmp_path: Path) -> None:
    encodings = {
        "/cam/depth/image_rect_raw": "16UC1",
        "/cam/aligned_depth_to_color/image_raw": "16UC1",
        "/cam/points/range": "32FC1",
        "/cam/infra1/image_rect_raw": "mono8",
        "/cam/ir/image_raw": "mono16",
        "/cam/color/image_raw": "rgb8",
        "/depth_camera/image_raw": "bgr8",
        "/mirror/image_raw": "mono8",
        "/infra/color/image_raw": "bayer_rggb8",
    }
    with create_bag(tmp_path / "bag") as writer:
        for topic, encoding in encodings.items():
            message = bag_messages.image(picture(0), START_NS, "optical")
            message.encoding = encoding
            writer.write(topic, message.__msgtype__, START_NS, message)
        data = np.frombuffer(b"no picture", np.uint8)
        for topic, name in (
            ("/d/x/compressedDepth", "16UC1; compressedDepth png"),
            ("/e/ir", "jpeg"),
        ):
            message = bag_messages.compressed_image(data, "png", START_NS, "optical")
            message.format = name
            writer.write(topic, message.__msgtype__, START_NS, message)
    reader = BagReader(tmp_path / "bag")
    assert no_pictures(reader) == {
        "/cam/depth/image_rect_raw": "16UC1",
        "/cam/aligned_depth_to_color/image_raw": "16UC1",
        "/cam/points/range": "32FC1",
        "/cam/infra1/image_rect_raw": "infra",
        "/cam/ir/image_raw": "ir",
        "/d/x/compressedDepth": "16UC1",
        "/e/ir": "ir",
    }
    reader.close()


def test_the_only_colour_camera_beside_depth_and_infrared_needs_no_choice(tmp_path: Path) -> None:
    with create_bag(tmp_path / "bag") as writer:
        for index in range(3):
            for topic, encoding in (("color", "rgb8"), ("depth", "16UC1"), ("infra1", "mono8")):
                message = bag_messages.image(picture(index), START_NS + index, "optical")
                message.encoding = encoding
                writer.write(f"/cam/{topic}/image_raw", RAW_TYPE, START_NS + index, message)
    with open_recording(tmp_path / "bag") as source:
        assert np.array_equal(next(source.frames()).image, picture(0))
        assert source.warnings == [
            "bag: /cam/color/image_raw is read; left out: /cam/depth/image_raw (16UC1), "
            "/cam/infra1/image_raw (infra)"
        ]
    warnings: list[str] = []
    found = open_recordings([str(tmp_path / "bag")], warnings.append)  # as training does
    assert [recording.name for recording in found] == ["bag.cam.color.image_raw"]
    assert warnings == [
        "bag: left out: /cam/depth/image_raw (16UC1), /cam/infra1/image_raw (infra)"
    ]
