"""What a forecast's steps are, as lines of text over pictures and beside the scene."""

from __future__ import annotations

from collections.abc import Sequence

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from dino_foresight_ros.msg import Forecast
from dino_foresight_ros.render.style import UNTRAINED_TAG
from dino_foresight_ros.ros.clouds import ASSUME_A_VIEW, intrinsics_of
from dino_foresight_ros.ros.stream_watch import PeriodWatch
from dino_foresight_ros.scene import Scene

# Far ahead, so that the captions are beside the cloud from wherever the eye is behind the camera.
_AHEAD_M, _HEIGHT_M, _LETTER_M, _LINE_M = 30.0, 2.0, 1.2, 1.6
_HALF_TEXT_M = 10.0
_GAP_M = 4.0
_FARTHEST_M = 42.0  # to the left; beyond it captions would leave the view
_USUAL_SLOPE = 0.7  # of a camera's left edge, x / z, where it is not known: 70 degrees
# A caption stays while a few forecasts are missing; the first one while the next is on its way.
_LEAST_LIFETIME_S, _FIRST_LIFETIME_S, _PERIODS = 2.0, 30.0, 3.0
_BELIEVABLE_DELAY_MS = 1000.0
NOT_CALIBRATED = f"not calibrated, no 3D; {ASSUME_A_VIEW}"


def caption(scene: Scene, age_ms: float | None) -> str:
    """What stands on a picture: step, horizon and age."""
    text = f"step {scene.step}   t+{scene.horizon_s:.2f} s"
    return text if age_ms is None else f"{text}   age {age_ms:.0f} ms"


def believable_age_ms(now_ns: int, stamp_ns: int, latency_s: float) -> float | None:
    """Age of the newest frame, milliseconds; None where stamps are not of this clock.

    A frame that is much older than what its forecast took does not come from a camera now: it was
    recorded, or is played slower or faster than it was.

    Args:
        now_ns: the wall clock's time.
        stamp_ns: of the frame.
        latency_s: from the frame's arrival to the forecast's publication.
    """
    age_ms = (now_ns - stamp_ns) / 1e6
    return age_ms if 0.0 <= age_ms <= latency_s * 1e3 + _BELIEVABLE_DELAY_MS else None


def lifetime_of(arrivals: PeriodWatch) -> Duration:
    """How long a caption stays when no other follows.

    Args:
        arrivals: when forecasts came, by the node's clock.
    """
    period_ns, seconds = arrivals.period_ns, _FIRST_LIFETIME_S
    if period_ns is not None:
        seconds = max(_LEAST_LIFETIME_S, _PERIODS * period_ns / 1e9)
    return Duration(sec=int(seconds), nanosec=int(seconds % 1.0 * 1e9))


def caption_markers(
    message: Forecast,
    scenes: Sequence[Scene],
    age_ms: float | None,
    lifetime: Duration,
    info: CameraInfo | None = None,
) -> MarkerArray:
    """A line of text per step, in the camera's optical frame, left of what the camera sees.

    Args:
        message: the forecast.
        scenes: its steps, the nearest first; so they stand from the top down.
        age_ms: of the newest frame; None where it is not known.
        lifetime: how long the text stays.
        info: the camera's calibration; where there is none, a line says how to assume one.
    """
    lines = {scene.step: " ".join(caption(scene, age_ms).split()) for scene in scenes}
    if not message.trained:
        lines = {step: f"{text} ({UNTRAINED_TAG})" for step, text in lines.items()}
    matrix = None if info is None else intrinsics_of(info)
    if matrix is None and any(scene.depth_is_metric for scene in scenes):
        lines[0] = NOT_CALIBRATED
    # How far left the camera sees per metre ahead.
    slope = _USUAL_SLOPE if matrix is None else float(matrix[0, 2] / matrix[0, 0])
    left_m = min(slope * _AHEAD_M + _GAP_M + _HALF_TEXT_M, _FARTHEST_M)
    markers = [
        Marker(
            header=message.header,
            ns="foresight",
            id=number,
            type=Marker.TEXT_VIEW_FACING,
            action=Marker.ADD,
            pose=Pose(
                position=Point(x=-left_m, y=_LINE_M * place - _HEIGHT_M, z=_AHEAD_M),
                orientation=Quaternion(w=1.0),
            ),
            scale=Vector3(z=_LETTER_M),
            color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0),
            lifetime=lifetime,
            text=text,
        )
        for place, (number, text) in enumerate(lines.items())
    ]
    if 0 not in lines:  # said until the calibration came
        gone = Marker(header=message.header, ns="foresight", id=0, action=Marker.DELETE)
        markers.append(gone)
    return MarkerArray(markers=markers)
