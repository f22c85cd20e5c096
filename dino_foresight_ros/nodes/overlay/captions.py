"""What a forecast's steps are, as lines of text over the scene."""

from __future__ import annotations

from collections.abc import Sequence

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from dino_foresight_ros.msg import Forecast
from dino_foresight_ros.render.style import UNTRAINED_TAG
from dino_foresight_ros.scene import Scene

_MARKER_LIFETIME = Duration(sec=2)


def caption(scene: Scene, age_ms: float | None) -> str:
    """What stands on a picture: step, horizon and age."""
    text = f"step {scene.step}   t+{scene.horizon_s:.2f} s"
    return text if age_ms is None else f"{text}   age {age_ms:.0f} ms"


def caption_markers(
    message: Forecast, scenes: Sequence[Scene], age_ms: float | None
) -> MarkerArray:
    """A line of text per step, side by side above the view, in the camera's optical frame."""
    markers = []
    for place, scene in enumerate(scenes):
        text = caption(scene, age_ms)
        if not message.trained:
            text = f"{text} ({UNTRAINED_TAG})"
        markers.append(
            Marker(
                header=message.header,
                ns="foresight",
                id=scene.step,
                type=Marker.TEXT_VIEW_FACING,
                action=Marker.ADD,
                pose=Pose(
                    position=Point(x=0.0, y=-3.0 - 0.6 * place, z=8.0),
                    orientation=Quaternion(w=1.0),
                ),
                scale=Vector3(z=0.5),
                color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0),
                lifetime=_MARKER_LIFETIME,
                text=text,
            )
        )
    return MarkerArray(markers=markers)
