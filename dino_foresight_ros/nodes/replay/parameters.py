"""The parameters of replay_node."""

from __future__ import annotations

import math
import re

from dino_foresight_ros.ros.parameters import Change, ParameterSpec, path_problem

_NUMBER_LIMIT = 1e9
_TOPIC_NAME = re.compile(r"(/?[A-Za-z_][A-Za-z0-9_]*)(/[A-Za-z_][A-Za-z0-9_]*)*")


def _check_input(path: str) -> str | None:
    return path_problem(path) if path else "set it to a video, a folder of pictures or a rosbag2"


def _check_rate(rate: float) -> str | None:
    good = math.isfinite(rate) and 0.0 < rate <= 1000.0
    return None if good else f"{rate:g} is not above 0 and at most 1000"


def _check_fov(degrees: float) -> str | None:
    return None if 0.0 <= degrees < 180.0 else f"{degrees:g} is not from 0 to below 180"


def _check_topics(names: list[str]) -> str | None:
    bad = [name for name in names if name and not _TOPIC_NAME.fullmatch(name)]
    return f"{bad[0]!r} is not a topic name" if bad else None


def _check_node(name: str) -> str | None:
    return None if not name or _TOPIC_NAME.fullmatch(name) else f"{name!r} is not a node's name"


def _spec(name: str, default: bool | float | str | list[str], description: str) -> ParameterSpec:
    """A number counts seconds or a rate, so that nothing below 0 makes sense."""
    limits = (0.0, _NUMBER_LIMIT) if isinstance(default, float) else None
    return ParameterSpec(name, default, description, Change.NEVER, limits=limits)


def _checked(spec: ParameterSpec, **changes: object) -> ParameterSpec:
    return ParameterSpec(**{**spec.__dict__, **changes})


REPLAY_PARAMETERS: tuple[ParameterSpec, ...] = (
    _checked(
        _spec("input", "", "Video file, folder of pictures, or rosbag2 (folder, .mcap, .db3)."),
        check=_check_input,
    ),
    _checked(
        _spec("rate", 1.0, "How fast to play: 2.0 is twice as fast."),
        limits=None,
        check=_check_rate,
    ),
    _spec("loop", False, "Start again at the end; the stamps repeat."),
    _spec("start_s", 0.0, "Where to start, in seconds from the beginning."),
    _spec("end_s", 0.0, "Where to end, in seconds from the beginning; 0 plays to the end."),
    _spec("topic", "", "Which image topic of a bag to play."),
    _spec("as_recorded", False, "Play a bag's image topics and camera_info as they were recorded."),
    _spec("all_topics", False, "Play every topic of a bag as it was recorded."),
    _checked(
        _spec("topics", [""], "Play just these topics of a bag as they were recorded."),
        check=_check_topics,
    ),
    _checked(
        _spec("image_transport", "raw", "Publish Image (raw) or CompressedImage (compressed)."),
        choices=("raw", "compressed"),
    ),
    _spec("frame_id", "", "Frame of the images; as recorded, or camera_optical_frame, when empty."),
    _spec("frame_rate_hz", 0.0, "Pictures per second of a folder; 0 goes by the file names."),
    _checked(
        _spec("fov_deg", 0.0, "Horizontal field of view for camera_info; 0 when not known."),
        limits=None,
        check=_check_fov,
    ),
    _spec("publish_clock", True, "Publish the time of the recording on /clock."),
    _spec("wait_for_subscriber_s", 0.0, "Wait up to this many seconds for the first subscriber."),
    _checked(
        _spec(
            "wait_for_node",
            "",
            "The node whose subscription is waited for, such as forecast_node; empty: anybody's.",
        ),
        check=_check_node,
    ),
)
