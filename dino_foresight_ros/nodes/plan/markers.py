"""Candidates as markers in the scene, coloured by risk, and what became of them in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from dino_foresight_ros.msg import CandidateScore
from dino_foresight_ros.planar_motion import of_twist
from dino_foresight_ros.render.imagined import risk_rgb

WAYS, WORDS = "candidates", "candidate_reasons"
_POINTS = 12
_WIDTH_M, _BEST_WIDTH_M, _LETTER_M = 0.04, 0.12, 0.35
_HEIGHT_M = 0.05
_NAMED = 3


def risk_color(risk: float, alpha: float = 0.8) -> ColorRGBA:
    """Green for 0 over yellow to red for 1."""
    red, green, blue = (value / 255 for value in risk_rgb(risk))
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)


def risk_of(score: CandidateScore) -> float:
    """Probability that the candidate meets something until its last horizon."""
    return max((h.probability_occupied for h in score.horizons), default=0.0)


def candidate_markers(
    header: Header,
    arcs: NDArray[np.float64],
    scores: Sequence[CandidateScore],
    ranking: Sequence[int],
    lifetime_s: float,
) -> MarkerArray:
    """A line per candidate, the best one wide, and why the first losers lost.

    Args:
        header: of the base frame.
        arcs: (K, 2) m/s and rad/s.
        scores: of them.
        ranking: their indices, best first.
        lifetime_s: after which they vanish, when no others come.
    """
    lifetime = Duration(sec=int(lifetime_s), nanosec=int(lifetime_s % 1.0 * 1e9))
    markers = [Marker(header=header, ns=space, action=Marker.DELETEALL) for space in (WAYS, WORDS)]
    for place, index in enumerate(ranking):
        score = scores[index]
        line = _line(arcs[index], score.horizons[-1].horizon)
        markers.append(
            Marker(
                header=header,
                ns=WAYS,
                id=int(index),
                type=Marker.LINE_STRIP,
                action=Marker.ADD,
                pose=Pose(orientation=Quaternion(w=1.0)),
                scale=Vector3(x=_WIDTH_M if place else _BEST_WIDTH_M),
                color=risk_color(risk_of(score), 0.6 if place else 1.0),
                lifetime=lifetime,
                points=line,
            )
        )
    for index in losers_to_name(scores, ranking):
        end = _line(arcs[index], scores[index].horizons[-1].horizon)[-1]
        markers.append(
            Marker(
                header=header,
                ns=WORDS,
                id=int(index),
                type=Marker.TEXT_VIEW_FACING,
                action=Marker.ADD,
                pose=Pose(
                    position=Point(x=end.x, y=end.y, z=2 * _LETTER_M),
                    orientation=Quaternion(w=1.0),
                ),
                scale=Vector3(z=_LETTER_M),
                color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0),
                lifetime=lifetime,
                text=scores[index].reason,
            )
        )
    return MarkerArray(markers=markers)


def losers_to_name(scores: Sequence[CandidateScore], ranking: Sequence[int]) -> list[int]:
    """A few that lost, each for another reason: the words but for their numbers."""
    found: dict[str, int] = {}
    for index in ranking[1:]:
        reason = scores[index].reason
        kind = "".join(letter for letter in reason if not letter.isdigit())
        if reason and kind not in found:
            found[kind] = int(index)
    return list(found.values())[:_NAMED]


def describe_plan(
    arc: Sequence[float], scores: Sequence[CandidateScore], ranking: Sequence[int]
) -> str:
    """The best candidate and why the others lost, in one line."""
    best = scores[ranking[0]]
    met = Counter(
        score.horizons[-1].class_name or "something"
        for score in scores
        if math.isfinite(score.time_to_contact)
    )
    text = f"best of {len(scores)}: {arc[0]:.2f} m/s, {arc[1]:+.2f} rad/s, risk {risk_of(best):.2f}"
    if met:
        named = ", ".join(f"{name} {count}" for name, count in met.most_common(_NAMED))
        text += f"; {sum(met.values())} meet something ({named})"
    return text


def _line(arc: NDArray[np.float64], seconds: float) -> list[Point]:
    times = np.linspace(0.0, seconds, _POINTS)
    twist = np.broadcast_to([arc[0], 0.0, arc[1]], (_POINTS, 3))
    return [Point(x=float(x), y=float(y), z=_HEIGHT_M) for x, y, _ in of_twist(twist, times)]
