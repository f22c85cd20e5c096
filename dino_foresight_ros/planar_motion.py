"""Planar motion of a robot's base: metres forward, metres to the left, radians to the left.

A motion is (dx, dy, dyaw) of base_link from one instant to another, in the axes that base_link has
at the first (REP-103). A motion with a NaN is unknown, and so is everything made of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Motion = NDArray[np.float64]
"""(..., 3) float64: dx m, dy m, dyaw rad."""
_AHEAD_RAD = 1e-6
"""A camera that looks to the side by less looks ahead."""


def compose(first: ArrayLike, then: ArrayLike) -> Motion:
    """The motion (..., 3) of one motion and then another; dyaw within -pi to pi."""
    a, b = np.asarray(first, np.float64), np.asarray(then, np.float64)
    cos, sin = np.cos(a[..., 2]), np.sin(a[..., 2])
    x = a[..., 0] + cos * b[..., 0] - sin * b[..., 1]
    y = a[..., 1] + sin * b[..., 0] + cos * b[..., 1]
    return np.stack(np.broadcast_arrays(x, y, wrapped(a[..., 2] + b[..., 2])), axis=-1)


def moved_until(steps: ArrayLike) -> Motion:
    """Motions (..., S, 3), each from the end of the one before -> from the first's start on."""
    parts = np.asarray(steps, np.float64)
    total, found = np.zeros((*parts.shape[:-2], 3)), []
    for number in range(parts.shape[-2]):
        total = compose(total, parts[..., number, :])
        found.append(total)
    return np.stack(found, axis=-2)


def inverse(motion: ArrayLike) -> Motion:
    """The motion (..., 3) back to where one began."""
    m = np.asarray(motion, np.float64)
    cos, sin = np.cos(m[..., 2]), np.sin(m[..., 2])
    x = -cos * m[..., 0] - sin * m[..., 1]
    y = sin * m[..., 0] - cos * m[..., 1]
    return np.stack([x, y, wrapped(-m[..., 2])], axis=-1)


def wrapped(angle: ArrayLike) -> NDArray[np.float64]:
    """Angles within -pi to pi, rad."""
    angle = np.asarray(angle, np.float64)
    turned: NDArray[np.float64] = np.arctan2(np.sin(angle), np.cos(angle))
    return turned


def motion_between(world_from_first: ArrayLike, world_from_then: ArrayLike) -> Motion:
    """The motion (..., 3) from poses (..., 4, 4) of base_link to later ones."""
    a, b = np.asarray(world_from_first, np.float64), np.asarray(world_from_then, np.float64)
    turned = np.swapaxes(a[..., :3, :3], -1, -2)
    place = (turned @ (b[..., :3, 3] - a[..., :3, 3])[..., None])[..., 0]
    ahead = (turned @ b[..., :3, :1])[..., 0]
    yaw = np.arctan2(ahead[..., 1], ahead[..., 0])
    return np.stack(np.broadcast_arrays(place[..., 0], place[..., 1], yaw), axis=-1)


def of_twist(twist: ArrayLike, seconds: ArrayLike = 1.0) -> Motion:
    """The motion (..., 3) of a twist (..., 3), m/s, m/s and rad/s, that is held for some time."""
    v = np.asarray(twist, np.float64) * np.asarray(seconds, np.float64)[..., None]
    along, across = _arc(v[..., 2])
    x = along * v[..., 0] - across * v[..., 1]
    y = across * v[..., 0] + along * v[..., 1]
    return np.stack([x, y, wrapped(v[..., 2])], axis=-1)


def pose_of(motion: ArrayLike) -> NDArray[np.float64]:
    """(4, 4) pose, in the base before a motion (3,), of the base after it."""
    x, y, yaw = (float(value) for value in np.asarray(motion, np.float64))
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:2, 3] = x, y
    return pose


def motion_of(pose: ArrayLike) -> Motion:
    """x, y and yaw (3,) of a pose (4, 4): height, roll and pitch are left out."""
    p = np.asarray(pose, np.float64)
    return np.array([p[0, 3], p[1, 3], np.arctan2(p[1, 0], p[0, 0])])


def camera_yaw(base_from_optical: ArrayLike) -> float:
    """Where a camera looks, rad to the left of the base's forward axis.

    0 of one that looks up or down, within 15 degrees.

    Args:
        base_from_optical: (4, 4) pose of its optical frame (z forward) in the base.
    """
    ahead = np.asarray(base_from_optical, np.float64)[:3, 2]
    is_level = np.hypot(ahead[0], ahead[1]) > np.sin(np.radians(15))
    return float(np.arctan2(ahead[1], ahead[0])) if is_level else 0.0


def seen_by(motion: ArrayLike, base_from_optical: ArrayLike | None) -> Motion:
    """The motion (..., 3) in the base's axes as they would be if it looked where a camera looks.

    So a forecaster that learned how the view of a camera ahead changes may be told of the views of
    one at the side or astern: driving on, the latter goes backwards. A camera whose pose is None is
    taken to look ahead.
    """
    m = np.asarray(motion, np.float64)
    yaw = 0.0 if base_from_optical is None else camera_yaw(base_from_optical)
    if abs(yaw) < _AHEAD_RAD:
        return m
    cos, sin = np.cos(yaw), np.sin(yaw)
    x = cos * m[..., 0] + sin * m[..., 1]
    y = cos * m[..., 1] - sin * m[..., 0]
    return np.stack([x, y, m[..., 2]], axis=-1)


def twist_of(motion: ArrayLike) -> NDArray[np.float64]:
    """The twist (..., 3) that gives a motion when it is held for a second."""
    m = np.asarray(motion, np.float64)
    along, across = _arc(m[..., 2])
    length = along**2 + across**2
    x = (along * m[..., 0] + across * m[..., 1]) / length
    y = (along * m[..., 1] - across * m[..., 0]) / length
    return np.stack([x, y, m[..., 2]], axis=-1)


def motion_at(motions: ArrayLike, ahead_s: ArrayLike, at_s: ArrayLike) -> Motion:
    """The motion until instants between others, as if the twist were held from one on.

    Args:
        motions: (..., S, 3) until each instant.
        ahead_s: (S,) rising seconds, above 0.
        at_s: from 0 to the last of them: one instant, or several (N,).

    Returns:
        (..., 3) of one instant, (..., N, 3) of several.
    """
    motions, times = np.asarray(motions, np.float64), np.asarray(ahead_s, np.float64)
    at = np.asarray(at_s, np.float64)
    after = np.minimum(np.searchsorted(times, at), len(times) - 1)
    start_s = np.append(0.0, times)[after]
    start = np.concatenate([np.zeros_like(motions[..., :1, :]), motions], axis=-2)[..., after, :]
    share = (at - start_s) / (times[after] - start_s)
    rest = compose(inverse(start), motions[..., after, :])
    return compose(start, of_twist(twist_of(rest), share))


def twists_along(motions: ArrayLike) -> NDArray[np.float64]:
    """The twists (..., T, 3) by which motions (..., T, 3) follow each other, held for a second."""
    motions = np.asarray(motions, np.float64)
    before = np.concatenate([np.zeros_like(motions[..., :1, :]), motions[..., :-1, :]], axis=-2)
    return twist_of(compose(inverse(before), motions))


def _arc(yaw: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of an arc of unit length that turns by yaw: how far it goes along and across, (...) each."""
    small = np.abs(yaw) < 1e-6
    safe = np.where(small, 1.0, yaw)
    along = np.where(small, 1 - yaw**2 / 6, np.sin(safe) / safe)
    across = np.where(small, yaw / 2, (1 - np.cos(safe)) / safe)
    return along, across
