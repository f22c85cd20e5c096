"""Objects in the scene: an arrow from where each is now to where it will be, and its name."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker

from dino_foresight_ros.classes import class_label
from dino_foresight_ros.objects import ObjectPath
from dino_foresight_ros.render.objects import object_color

_SHAFT_M, _HEAD_M, _LETTER_M, _ABOVE_M = 0.25, 0.6, 0.7, 1.2
_ARROWS, _NAMES = "object_arrows", "object_names"


def object_markers(
    header: Header,
    paths: Sequence[ObjectPath],
    names: Sequence[str],
    lifetime: Duration,
    shown: Collection[int] = (),
) -> list[Marker]:
    """An arrow and a line of text per object that has a position.

    Args:
        header: of the forecast, its frame the camera's optical frame.
        paths: the objects.
        names: of the classes.
        lifetime: how long they stay.
        shown: ids of objects that were shown so far; those that are gone are taken away.
    """
    made = [
        Marker(header=header, ns=space, id=number, action=Marker.DELETE)
        for number in sorted(frozenset(shown) - {path.id for path in paths})
        for space in (_ARROWS, _NAMES)
    ]
    for path in paths:
        if path.ends is None:
            continue
        start, end = (Point(x=x, y=y, z=z) for x, y, z in (at.tolist() for at in path.ends))
        red, green, blue = (value / 255.0 for value in object_color(path.id))
        color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
        still = Pose(orientation=Quaternion(w=1.0))
        made.append(
            Marker(
                header=header, ns=_ARROWS, id=path.id, type=Marker.ARROW, action=Marker.ADD,
                pose=still, scale=Vector3(x=_SHAFT_M, y=_HEAD_M, z=0.0), color=color,
                lifetime=lifetime, points=[start, end],
            )
        )  # fmt: skip
        above = Pose(
            position=Point(x=start.x, y=start.y - _ABOVE_M, z=start.z),
            orientation=Quaternion(w=1.0),
        )
        made.append(
            Marker(
                header=header, ns=_NAMES, id=path.id, type=Marker.TEXT_VIEW_FACING,
                action=Marker.ADD, pose=above, scale=Vector3(z=_LETTER_M), color=color,
                lifetime=lifetime, text=f"{class_label(path.class_id, names)} {path.id}",
            )
        )  # fmt: skip
    return made
