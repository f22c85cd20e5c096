"""Several cameras of one rosbag2, told apart by their topics' names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag import COMPRESSED_TYPE, image_topics
from dino_foresight_ros.recordings.bag_reader import BagTopic
from dino_foresight_ros.topic_names import CAMERA_FIELD

ALL = "all"


class BagCameras(NamedTuple):
    """Cameras whose image topics are named alike.

    Attributes:
        names: in the order asked for.
        template: image topic of each, {camera} being its name.
        compressed: whether they are CompressedImage.
        topics: image topic by name.
    """

    names: tuple[str, ...]
    template: str
    compressed: bool
    topics: dict[str, BagTopic]


def split_topic(topic: str) -> tuple[str, str] | None:
    """(camera's name, template) of an image topic; None where no folder in it can be the name.

    The name is the folder that the images lie in: cam_front of /cam_front/image_rect/compressed,
    left of /stereo/left/image_raw.
    """
    parts = topic.strip("/").split("/")
    place = len(parts) - (3 if parts[-1] == "compressed" else 2)
    if place < 0:
        return None
    name, parts[place] = parts[place], CAMERA_FIELD
    return name, "/" + "/".join(parts)


def cameras_of(
    topics: Mapping[str, BagTopic], template: str | None = None
) -> dict[str, dict[str, BagTopic]]:
    """Camera's name -> template -> its image topic, of those that fit the template if given."""
    found: dict[str, dict[str, BagTopic]] = {}
    for topic in sorted(image_topics(dict(topics)), key=lambda t: t.name):
        if template is None:
            parts = split_topic(topic.name)
        else:
            match = re.fullmatch(_pattern(template), topic.name)
            parts = (match["name"], template) if match else None
        if parts is not None:
            found.setdefault(parts[0], {})[parts[1]] = topic
    return found


def _pattern(template: str) -> str:
    """A regular expression for a template's topics; every {camera} stands for the same name."""
    before, *after = (re.escape(part) for part in f"/{template.strip('/')}".split(CAMERA_FIELD))
    return before + "".join(
        (r"(?P<name>\w+)" if place == 0 else "(?P=name)") + part for place, part in enumerate(after)
    )


def choose_cameras(
    path: Path,
    topics: Mapping[str, BagTopic],
    wanted: Sequence[str],
    template: str | None = None,
    option: str = "topic",
) -> BagCameras:
    """Find the wanted cameras.

    Args:
        path: of the bag, for messages.
        topics: of the bag.
        wanted: names, upper or lower case; the one word "all" takes every camera there is.
        template: image topics that count, such as /{camera}/image_raw; any when None.
        option: what the template is called where the user gives it.

    Raises:
        InputError: a camera that is not there (the text lists those that are), or whose topic is
            not named, or not of the type, as the others' are.
    """
    known = cameras_of(topics, template)
    listed = ", ".join(known) or "none"
    if not known:
        images = ", ".join(t.name for t in image_topics(dict(topics))) or "none"
        kind = "" if template is None else f" named like {template}"
        raise InputError(f"{path} has no cameras{kind}; its image topics: {images}")
    lower = {name.lower(): name for name in known}
    names = list(known) if list(wanted) == [ALL] else [lower.get(w.lower(), w) for w in wanted]
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(f"{path} has no camera {', '.join(missing)}; its cameras: {listed}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"camera {', '.join(repeated)} is named more than once")
    common = [t for t in known[names[0]] if all(t in known[name] for name in names)]
    if len(common) != 1:
        every = [topic.name for name in names for topic in known[name].values()]
        problem = "are not named alike" if not common else "are several for each"
        shown = ", ".join(every[:6]) + (", ..." if len(every) > 6 else "")
        raise InputError(
            f"{path}: the cameras' image topics {problem} ({shown}); choose which with {option}, "
            f"such as {option} {(common or list(known[names[0]]))[0]}"
        )
    chosen = {name: known[name][common[0]] for name in names}
    kinds = {topic.msgtype for topic in chosen.values()}
    if len(kinds) > 1:
        raise InputError(
            f"{path}: some cameras are {' and some '.join(sorted(kinds))}; choose one kind"
        )
    return BagCameras(tuple(names), common[0], kinds == {COMPRESSED_TYPE}, chosen)
