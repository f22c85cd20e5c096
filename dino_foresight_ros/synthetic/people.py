"""Pedestrians and cyclists: round limbs drawn as strips that turn towards the camera."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.synthetic.faces import Array, Faces, planar
from dino_foresight_ros.synthetic.materials import Materials

_CLOTHES = (
    (0.16, 0.18, 0.24),
    (0.3, 0.3, 0.32),
    (0.62, 0.12, 0.12),
    (0.2, 0.32, 0.56),
    (0.75, 0.73, 0.68),
    (0.42, 0.34, 0.24),
    (0.1, 0.1, 0.11),
    (0.2, 0.42, 0.28),
    (0.85, 0.6, 0.18),
)
_SKIN = ((0.95, 0.75, 0.62), (0.72, 0.5, 0.36), (0.4, 0.27, 0.2), (0.86, 0.66, 0.52))


@dataclass(frozen=True)
class Look:
    """What a person looks like; tints are (r, g, b) factors."""

    height_m: float
    top: tuple[float, float, float]
    trousers: tuple[float, float, float]
    skin: tuple[float, float, float]
    coat: bool
    cloth: int


def choose_look(rng: np.random.Generator) -> Look:
    """Draw a person's looks."""
    return Look(
        height_m=float(np.clip(rng.normal(1.7, 0.12), 1.2, 1.98)),
        top=_CLOTHES[rng.integers(len(_CLOTHES))],
        trousers=_CLOTHES[rng.integers(3) if rng.random() < 0.7 else rng.integers(len(_CLOTHES))],
        skin=_SKIN[rng.integers(len(_SKIN))],
        coat=bool(rng.random() < 0.3),
        cloth=int(rng.integers(2)),
    )


class Limb(NamedTuple):
    """A tapered round limb from `start` to `end` (local metres), radii in metres."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius0: float
    radius1: float
    texture: str
    tint: tuple[float, float, float]


class Crowd:
    """Collects the people of one instant, to be drawn all at once."""

    def __init__(self) -> None:
        self._limbs: list[Limb] = []
        self._counts: list[int] = []
        self._labels: list[int] = []
        self._instances: list[int] = []
        self._poses: list[tuple[float, float, float, float]] = []

    def add_pedestrian(
        self, look: Look, instance: int, phase_rad: float, stride: float, yaw: float, at: Array
    ) -> None:
        """A walking person at `at` (3,) facing `yaw`; `stride` 0 stands still."""
        self._add(_walker(look, phase_rad, stride), "pedestrian", instance, yaw, at)

    def add_cyclist(
        self, look: Look, instance: int, phase_rad: float, yaw: float, at: Array
    ) -> None:
        """A person on a bicycle at `at` (3,) facing `yaw`."""
        self._add(_rider(look, phase_rad), "cyclist", instance, yaw, at)

    def _add(self, limbs: list[Limb], label: str, instance: int, yaw: float, at: Array) -> None:
        self._limbs += limbs
        self._counts.append(len(limbs))
        self._labels.append(CLASS_IDS[label])
        self._instances.append(instance)
        self._poses.append((yaw, float(at[0]), float(at[1]), float(at[2])))

    def faces(self, materials: Materials, camera: Array) -> list[Faces]:
        """Eight-cornered polygons in planes that face the camera (3,)."""
        if not self._limbs:
            return []
        counts = np.array(self._counts)
        poses = np.repeat(np.array(self._poses), counts, axis=0)
        c, s, zero = np.cos(poses[:, 0]), np.sin(poses[:, 0]), np.zeros(len(poses))
        turn = np.stack(
            [
                np.stack([c, -s, zero], 1),
                np.stack([s, c, zero], 1),
                np.stack([zero, zero, zero + 1], 1),
            ],
            axis=1,
        )
        at = poses[:, 1:]
        start = np.einsum("nij,nj->ni", turn, np.array([limb.start for limb in self._limbs])) + at
        end = np.einsum("nij,nj->ni", turn, np.array([limb.end for limb in self._limbs])) + at
        faces = _strips(self._limbs, start, end, materials, camera)
        return [
            replace(
                faces,
                label=np.repeat(np.array(self._labels, dtype=np.uint8), counts),
                instance=np.repeat(np.array(self._instances, dtype=np.uint16), counts),
                center=at,
                anchor_m=np.full(len(at), 0.3),
            )
        ]


def _walker(look: Look, phase: float, stride: float) -> list[Limb]:
    h = look.height_m
    hip, shoulder, knee_len, shin_len = 0.52 * h, 0.82 * h, 0.25 * h, 0.25 * h
    cloth = f"cloth{look.cloth}"
    limbs = []
    for side, sign in ((1.0, 1.0), (-1.0, -1.0)):
        swing = 0.42 * stride * np.sin(phase) * sign
        bend = max(0.0, 0.75 * stride * np.cos(phase) * sign) + 0.05
        y = side * 0.085
        hip_at = (0.0, y, hip)
        knee = (knee_len * np.sin(swing), y, hip - knee_len * np.cos(swing))
        shin = swing - bend
        foot = (knee[0] + shin_len * np.sin(shin), y, max(knee[2] - shin_len * np.cos(shin), 0.05))
        toe = (foot[0] + 0.17, y, max(foot[2] - 0.02, 0.035))
        limbs += [
            Limb(hip_at, knee, 0.095, 0.07, cloth, look.trousers),
            Limb(knee, foot, 0.07, 0.05, cloth, look.trousers),
            Limb(foot, toe, 0.05, 0.04, cloth, (0.12, 0.1, 0.09)),
        ]
        arm = -0.4 * stride * np.sin(phase) * sign
        top = (0.0, side * 0.215, shoulder)
        elbow = (0.16 * h * np.sin(arm), side * 0.235, shoulder - 0.16 * h * np.cos(arm))
        hand = (
            elbow[0] + 0.15 * h * np.sin(arm + 0.3),
            side * 0.225,
            elbow[2] - 0.15 * h * np.cos(arm + 0.3),
        )
        limbs += [
            Limb(top, elbow, 0.06, 0.05, cloth, look.top),
            Limb(elbow, hand, 0.048, 0.035, cloth, look.top),
        ]
    hem = 0.36 * h if look.coat else 0.49 * h
    limbs += [
        Limb((0.0, 0.0, hem), (0.0, 0.0, 0.68 * h), 0.17, 0.165, cloth, look.top),
        Limb((0.0, 0.0, 0.67 * h), (0.02, 0.0, 0.85 * h), 0.175, 0.14, cloth, look.top),
        Limb((0.02, 0.0, 0.84 * h), (0.03, 0.0, 0.9 * h), 0.055, 0.055, "cloth0", look.skin),
        Limb((0.03, 0.0, 0.875 * h), (0.03, 0.0, h), 0.08, 0.085, "head", (1.0, 1.0, 1.0)),
    ]
    return limbs


def _rider(look: Look, phase: float) -> list[Limb]:
    cloth, frame = f"cloth{look.cloth}", (0.3, 0.32, 0.36)
    hip, shoulder = (-0.18, 0.0, 0.98), (0.2, 0.0, 1.42)
    limbs = [
        Limb((-0.5, 0.0, 0.34), (0.0, 0.0, 0.3), 0.022, 0.022, "metal", frame),
        Limb((0.0, 0.0, 0.3), (-0.15, 0.0, 0.9), 0.022, 0.022, "metal", frame),
        Limb((-0.15, 0.0, 0.86), (0.4, 0.0, 0.86), 0.022, 0.022, "metal", frame),
        Limb((0.0, 0.0, 0.3), (0.42, 0.0, 0.82), 0.022, 0.022, "metal", frame),
        Limb((0.53, 0.0, 0.34), (0.38, 0.0, 1.0), 0.022, 0.022, "metal", frame),
    ]
    for x in (-0.5, 0.53):
        spokes = np.arange(13) * (2 * np.pi / 12)
        rim = [(x + 0.33 * np.cos(a), 0.0, 0.34 + 0.33 * np.sin(a)) for a in spokes]
        limbs += [
            Limb(a, b, 0.022, 0.022, "cloth0", (0.12, 0.12, 0.12))
            for a, b in itertools.pairwise(rim)
        ]
    for side in (1.0, -1.0):
        turn = phase + (np.pi if side < 0 else 0.0)
        foot = (0.02 + 0.16 * np.cos(turn), side * 0.1, 0.3 - 0.16 * np.sin(turn))
        knee = (0.28 + 0.05 * np.cos(turn), side * 0.11, 0.78 - 0.08 * np.sin(turn))
        limbs += [
            Limb((hip[0], side * 0.09, hip[2]), knee, 0.09, 0.07, cloth, look.trousers),
            Limb(knee, foot, 0.065, 0.05, cloth, look.trousers),
            Limb(foot, (foot[0] + 0.15, foot[1], foot[2]), 0.045, 0.04, "cloth0", (0.1,) * 3),
            Limb(
                (shoulder[0], side * 0.2, shoulder[2]),
                (0.3, side * 0.26, 1.18),
                0.055,
                0.045,
                cloth,
                look.top,
            ),
            Limb(
                (0.3, side * 0.26, 1.18), (0.42, side * 0.24, 1.04), 0.045, 0.035, cloth, look.top
            ),
        ]
    limbs += [
        Limb(hip, shoulder, 0.17, 0.19, cloth, look.top),
        Limb(shoulder, (0.28, 0.0, 1.54), 0.06, 0.055, "cloth0", look.skin),
        Limb((0.28, 0.0, 1.5), (0.3, 0.0, 1.74), 0.085, 0.095, "head", (1.0, 1.0, 1.0)),
    ]
    return limbs


def _strips(
    limbs: list[Limb], start: Array, end: Array, materials: Materials, camera: Array
) -> Faces:
    """Limbs from `start` (N, 3) to `end` (N, 3) as polygons that face the camera."""
    n = len(limbs)
    r0 = np.array([limb.radius0 for limb in limbs])[:, None]
    r1 = np.array([limb.radius1 for limb in limbs])[:, None]
    axis = end - start
    length = np.linalg.norm(axis, axis=1, keepdims=True)
    axis /= length
    across = np.cross(axis, camera - (start + end) / 2)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    corners = np.stack(
        [
            start + across * r0,
            start + across * r0 * 0.5 - axis * r0 * 0.8,
            start - across * r0 * 0.5 - axis * r0 * 0.8,
            start - across * r0,
            end - across * r1,
            end - across * r1 * 0.5 + axis * r1 * 0.8,
            end + across * r1 * 0.5 + axis * r1 * 0.8,
            end + across * r1,
        ],
        axis=1,
    )
    widest = np.maximum(r0, r1)
    span = length + 1.6 * widest
    return planar(
        corners,
        np.array([materials[limb.texture] for limb in limbs], dtype=np.int32),
        0,
        origin=end + axis * widest * 0.8 - across * widest,
        u_axis=across * (0.5 / widest),
        v_axis=-axis / span,
        tint=np.array([limb.tint for limb in limbs], dtype=np.float32).reshape(n, 3),
        two_sided=True,
    )
