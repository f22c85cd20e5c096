"""Several cameras of one rosbag2, told apart by their topics' names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.bag_reader import BagTopic
from dino_foresight_ros.recordings.bag_topics import COMPRESSED_TYPE, image_topics
from dino_foresight_ros.topic_names import CAMERA_FIELD

ALL = "all"


class BagCameras(NamedTuple):
    """Cameras whose image topics are named alike.

    Attributes:
        names: in the order asked for.
        template: image topic of each, {camera} being its name.
        compressed: whether they are CompressedImage.
        topics: image topic by name.
        left_out: the bag's other image topics, each with the reason, where all cameras were asked
            for.
    """

    names: tuple[str, ...]
    template: str
    compressed: bool
    topics: dict[str, BagTopic]
    left_out: tuple[str, ...] = ()


def split_topics(topics: Collection[str]) -> dict[str, tuple[str, str]]:
    """(camera's name, template) of each image topic in which some part can be the name.

    The name is the part in which topics differ that are alike in all others: cam_left of
    /cam_left/camera/color/image_raw beside /cam_right/camera/color/image_raw, left of
    /stereo/left/image_raw beside /stereo/right/image_raw. Where topics can be grouped so in several
    ways, the largest group goes first, then that which differs nearest to the beginning. The name
    in a topic that is like no other stands in the same place, else it is the folder of the images.
    """
    found: dict[str, tuple[str, str]] = {}
    first_place = -1
    rest = [topic for topic in topics if _templates(topic)]
    while rest:
        alike = Counter(item for topic in rest for item in _templates(topic).items())
        (place, template), count = max(alike.items(), key=lambda item: (item[1], -item[0][0]))
        if count == 1:
            for topic in rest:
                templates = _templates(topic)
                place = first_place if first_place in templates else max(templates)
                found[topic] = (_parts(topic)[place], templates[place])
            break
        first_place = place if first_place < 0 else first_place
        group = [topic for topic in rest if _templates(topic).get(place) == template]
        found |= {topic: (_parts(topic)[place], template) for topic in group}
        rest = [topic for topic in rest if topic not in group]
    return found


def _parts(topic: str) -> list[str]:
    return topic.strip("/").split("/")


def _templates(topic: str) -> dict[int, str]:
    """Place of each part that can be a camera's name -> the topic's template then."""
    parts = _parts(topic)
    folders = len(parts) - (2 if parts[-1] == "compressed" else 1)
    return {
        place: "/" + "/".join([*parts[:place], CAMERA_FIELD, *parts[place + 1 :]])
        for place in range(folders)
    }


def cameras_of(
    topics: Collection[BagTopic], template: str | None = None
) -> dict[str, dict[str, BagTopic]]:
    """Camera's name -> template -> its image topic, of those that fit the template if given."""
    found: dict[str, dict[str, BagTopic]] = {}
    split = split_topics([topic.name for topic in topics]) if template is None else {}
    for topic in sorted(topics, key=lambda t: t.name):
        if template is None:
            parts = split.get(topic.name)
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
    no_pictures: Mapping[str, str] | None = None,
) -> BagCameras:
    """Find the wanted cameras.

    Args:
        path: of the bag, for messages.
        topics: of the bag.
        wanted: names, upper or lower case; the one word "all" takes every camera there is.
        template: image topics that count, such as /{camera}/image_raw; any when None.
        option: what the template is called where the user gives it.
        no_pictures: image topics that hold depth or infrared, each with the reason; such cameras
            are chosen only by name.

    Raises:
        InputError: a camera that is not there (the text lists those that are), or whose topic is
            not named, or not of the type, as the others' are.
    """
    images, others = image_topics(dict(topics)), no_pictures or {}
    pictures = [topic for topic in images if topic.name not in others] or images
    known = cameras_of(pictures, template)
    if list(wanted) != [ALL] and not {name.lower() for name in wanted} <= _lower(known).keys():
        known = cameras_of(images, template)
    listed = ", ".join(known) or "none"
    if not known:
        every = ", ".join(topic.name for topic in images) or "none"
        kind = "" if template is None else f" named like {template}"
        raise InputError(f"{path} has no cameras{kind}; its image topics: {every}")
    lower = _lower(known)
    names = list(known) if list(wanted) == [ALL] else [lower.get(w.lower(), w) for w in wanted]
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(f"{path} has no camera {', '.join(missing)}; its cameras: {listed}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"camera {', '.join(repeated)} is named more than once")
    common = [t for t in known[names[0]] if all(t in known[name] for name in names)]
    if len(common) != 1:
        named = [topic.name for name in names for topic in known[name].values()]
        problem = "are not named alike" if not common else "are several for each"
        shown = ", ".join(named[:6]) + (", ..." if len(named) > 6 else "")
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
    left_out = []
    if list(wanted) == [ALL]:
        rest = {topic.name for topic in images} - {topic.name for topic in chosen.values()}
        why = f"not named like {common[0]}"
        left_out = [f"{name} ({others.get(name, why)})" for name in sorted(rest)]
    compressed = kinds == {COMPRESSED_TYPE}
    return BagCameras(tuple(names), common[0], compressed, chosen, tuple(left_out))


def _lower(names: Collection[str]) -> dict[str, str]:
    return {name.lower(): name for name in names}
