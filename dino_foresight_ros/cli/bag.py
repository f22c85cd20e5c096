"""`foresight bag`: make and inspect rosbag2 recordings."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_foresight_ros.cli import bag_nuscenes
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.files import check_apart
from dino_foresight_ros.topic_names import camera_info_beside, frame_name

if TYPE_CHECKING:
    from dino_foresight_ros.recordings import CameraModel, Frame, Recording
    from dino_foresight_ros.recordings.bag_writer import BagWriter

DEFAULT_TOPIC = "/camera/image_raw"
DEFAULT_FRAME_ID = "camera_optical_frame"
_TOPIC_NAME = re.compile(r"(/[A-Za-z_][A-Za-z0-9_]*)+")
_LAST_STAMP_NS = 2**31 * 1_000_000_000


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add `foresight bag` and what is below it."""
    parser: argparse.ArgumentParser = subparsers.add_parser("bag", help="make and inspect rosbag2")
    below = parser.add_subparsers(dest="bag_command", metavar="COMMAND", required=True)
    _add_from_video(below)
    bag_nuscenes.add_parser(below)
    info = below.add_parser("info", help="list the topics of a rosbag2, also of one cut off")
    info.add_argument("bag", type=Path, metavar="BAG", help="rosbag2 folder, .mcap or .db3")
    info.set_defaults(bag_run=_run_info)
    return parser


def _add_from_video(below: Any) -> None:
    parser = below.add_parser(
        "from-video",
        help="turn a video, a folder of pictures, another bag or a synthetic world into a rosbag2",
        description="Write frames as a rosbag2; where the motion of the vehicle is known, as that "
        "of a synthetic world, /odom and /tf too.",
    )
    add = parser.add_argument
    add(
        "input",
        type=Path,
        metavar="INPUT",
        help="video file, folder of pictures, rosbag2, or 'synthetic:?seeds=3&frames=200'",
    )
    add("--out", type=Path, required=True, metavar="BAG", help="the rosbag2 folder to write")
    add("--storage", choices=("mcap", "sqlite3"), default="mcap", help="default: %(default)s")
    add("--topic", default=DEFAULT_TOPIC, help="image topic to write; default: %(default)s")
    add("--compressed", choices=("jpeg", "png"), help="write CompressedImage, on TOPIC/compressed")
    add("--jpeg-quality", type=int, default=95, metavar="1-100", help="default: %(default)s")
    add("--frame-id", help=f"default: as recorded, or {DEFAULT_FRAME_ID}")
    add("--fov-deg", type=float, metavar="DEG", help="horizontal field of view: adds camera_info")
    add("--start-stamp", type=int, metavar="NS", help="Unix time of the first frame; default: now")
    add("--start-s", type=float, default=0.0, metavar="S", help="leave out what comes before")
    add("--end-s", type=float, metavar="S", help="leave out what comes from here on")
    add("--frame-rate", type=float, metavar="HZ", help="of a folder of pictures")
    add("--input-topic", metavar="TOPIC", help="which image topic of an input bag")
    add("--force", action="store_true", help="replace an existing bag")
    parser.set_defaults(bag_run=_run_from_video)


def run(args: argparse.Namespace) -> int:
    """Run the chosen subcommand."""
    return int(args.bag_run(args))


def _run_from_video(args: argparse.Namespace) -> int:
    _check(args)
    from dino_foresight_ros.progress import Progress
    from dino_foresight_ros.recordings.bag_motion import BagMotion
    from dino_foresight_ros.recordings.bag_writer import check_output, create_bag

    out = args.out.expanduser()
    check_output(out, args.force)
    check_apart(args.input, out)
    count = 0
    with _open_input(args) as recording, create_bag(out, args.storage, force=args.force) as writer:
        camera = _camera(args, recording)
        motion = BagMotion.of(recording)
        with Progress(recording.name, "frame", recording.frame_count) as progress:
            for frame in recording.frames():
                if count == 0:
                    offset_ns = _offset_ns(args, recording, frame)
                    motion.write_mount(writer, frame.stamp_ns + offset_ns, _frame_id(args, frame))
                motion.write(writer, frame.index, frame.stamp_ns + offset_ns)
                _write(args, writer, frame, frame.stamp_ns + offset_ns, camera)
                count += 1
                progress.add()
    print(f"{out}: {count} frames on {_image_topic(args)}; play with: ros2 bag play {out}")
    return 0


def _open_input(args: argparse.Namespace) -> Recording:
    from dino_foresight_ros.progress import warn
    from dino_foresight_ros.recordings import open_recording, open_recordings

    if str(args.input).startswith("synthetic:"):
        worlds = open_recordings([str(args.input)], on_warning=warn)
        if len(worlds) > 1:
            raise UsageError(f"{args.input} is {len(worlds)} worlds; a bag takes one: seeds=3")
        return worlds[0]
    try:
        return open_recording(
            args.input,
            topic=args.input_topic,
            start_s=args.start_s,
            end_s=args.end_s,
            frame_rate_hz=args.frame_rate,
            on_warning=warn,
        )
    except InputError as error:
        # In the words of this command: nodes have a parameter instead.
        text = str(error).replace("set topic to one of", "choose one with --input-topic")
        raise InputError(text) from error


def _check(args: argparse.Namespace) -> None:
    if not _TOPIC_NAME.fullmatch(args.topic):
        raise UsageError(f"topic {args.topic!r} is not a full topic name such as {DEFAULT_TOPIC}")
    if not 1 <= args.jpeg_quality <= 100:
        raise UsageError(f"JPEG quality {args.jpeg_quality}: give 1 to 100")
    if args.start_stamp is not None and not 0 <= args.start_stamp < _LAST_STAMP_NS:
        raise UsageError(f"start stamp {args.start_stamp}: give Unix time in nanoseconds")


def _offset_ns(args: argparse.Namespace, recording: Recording, first: Frame) -> int:
    """Say what to add to the source's stamps."""
    if args.start_stamp is not None:
        return int(args.start_stamp) - first.stamp_ns
    return 0 if recording.has_absolute_stamps else time.time_ns() - first.stamp_ns


def _camera(args: argparse.Namespace, recording: Recording) -> CameraModel | None:
    from dino_foresight_ros.recordings import CameraModel

    if args.fov_deg is None:
        return recording.camera
    height, width = recording.size
    return CameraModel.from_fov(width, height, args.fov_deg)


def _image_topic(args: argparse.Namespace) -> str:
    topic: str = args.topic
    if args.compressed and not topic.endswith("/compressed"):
        return f"{topic}/compressed"
    return topic


def _frame_id(args: argparse.Namespace, frame: Frame) -> str:
    return frame_name(args.frame_id or "") or frame.frame_id or DEFAULT_FRAME_ID


def _write(
    args: argparse.Namespace,
    writer: BagWriter,
    frame: Frame,
    stamp_ns: int,
    camera: CameraModel | None,
) -> None:
    frame_id, topic = _frame_id(args, frame), _image_topic(args)
    if args.compressed:
        writer.write_compressed(
            topic, frame.image, stamp_ns, frame_id, args.compressed, args.jpeg_quality
        )
    else:
        writer.write_image(topic, frame.image, stamp_ns, frame_id)
    if camera is not None:
        writer.write_camera_info(camera_info_beside(topic), camera, stamp_ns, frame_id)


def _run_info(args: argparse.Namespace) -> int:
    from dino_foresight_ros.recordings.bag_reader import BagReader
    from dino_foresight_ros.recordings.file_kinds import check_exists

    check_exists(args.bag)
    reader = BagReader(args.bag)
    try:
        seconds = (reader.end_ns - reader.start_ns) / 1e9
        print(f"{args.bag}: {seconds:.3f} s from {reader.start_ns / 1e9:.3f} s (Unix time)")
        for topic in sorted(reader.topics.values(), key=lambda topic: topic.name):
            print(f"  {topic.name}  {topic.msgtype}  {topic.message_count} messages")
        if reader.damage:
            print(f"  incomplete: {reader.damage}")
    finally:
        reader.close()
    return 0
