"""What moves or is parked on the road at one instant: place, outline, looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.synthetic.faces import Array, Faces
from dino_foresight_ros.synthetic.materials import Materials
from dino_foresight_ros.synthetic.people import Crowd, Look
from dino_foresight_ros.synthetic.shadows import vehicle_caster
from dino_foresight_ros.synthetic.streams import Vehicle

PEDESTRIAN_SIZE_M = (0.4, 0.5, 1.7)
CYCLIST_SIZE_M = (1.7, 0.4, 1.7)


@dataclass(frozen=True)
class RoadUser:
    """A vehicle, a cyclist or a pedestrian.

    Attributes:
        instance: its number (`identity.py`).
        at: (3,) middle of its outline on the ground, world frame, metres.
        yaw_rad: where it faces.
        speed_mps: in that direction.
        vehicle: its looks, of vehicles.
        look: its looks, of people; `cyclist` tells riders from walkers.
        phase_rad: of the legs.
        stride: 0 stands still, 1 walks.
        braking: whether the brake lights are on.
    """

    instance: int
    at: Array
    yaw_rad: float
    speed_mps: float
    vehicle: Vehicle | None = None
    look: Look | None = None
    cyclist: bool = False
    phase_rad: float = 0.0
    stride: float = 1.0
    braking: bool = False

    @property
    def size_m(self) -> tuple[float, float, float]:
        """Length, width and height."""
        if self.vehicle is not None:
            return self.vehicle.size
        return CYCLIST_SIZE_M if self.cyclist else PEDESTRIAN_SIZE_M

    @property
    def class_id(self) -> int:
        """Of WORLD_CLASSES."""
        if self.vehicle is not None:
            return int(self.vehicle.model.label[0])
        return CLASS_IDS["cyclist" if self.cyclist else "pedestrian"]

    @property
    def obstacle(self) -> Obstacle:
        """Its outline, without its looks."""
        outline = box_outline(self.at, self.yaw_rad, *self.size_m[:2])
        return Obstacle(self.instance, self.class_id, outline)


@dataclass(frozen=True)
class Obstacle:
    """An object's outline on the ground, exact.

    Attributes:
        instance: its number (`identity.py`), as in the frames' maps.
        class_id: of WORLD_CLASSES.
        outline: (M, 2) convex, counter-clockwise, world frame, metres.
    """

    instance: int
    class_id: int
    outline: Array


class Moving:
    """What moves at one instant, as it is drawn: polygons, people, and what casts shadows."""

    def __init__(self) -> None:
        self._faces: list[Faces] = []
        self._crowd = Crowd()
        self.casters: list[Array] = []

    def add(self, user: RoadUser) -> None:
        """Draw a road user."""
        at, yaw = user.at, user.yaw_rad
        if user.vehicle is not None:
            model = user.vehicle.braking if user.braking else user.vehicle.model
            self._faces.append(model.placed(yaw, at).numbered(user.instance))
        elif user.look is not None and user.cyclist:
            self._crowd.add_cyclist(user.look, user.instance, user.phase_rad, yaw, at)
        elif user.look is not None:
            self._crowd.add_pedestrian(
                user.look, user.instance, user.phase_rad, user.stride, yaw, at
            )
        self.casters.append(vehicle_caster(at, yaw, *user.size_m))

    def add_faces(self, faces: Faces) -> None:
        """Draw something that casts no shadow."""
        self._faces.append(faces)

    def faces(self, materials: Materials, camera: Array) -> list[Faces]:
        """Polygons, those of people facing the camera (3,)."""
        return self._faces + self._crowd.faces(materials, camera)


def box_outline(at: Array, yaw_rad: float, length_m: float, width_m: float) -> Array:
    """Corners (4, 2) of a box around `at`, counter-clockwise from the front left."""
    corners = np.array([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]]) * (length_m, width_m)
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return corners @ np.array([[c, s], [-s, c]]) + np.asarray(at)[:2]


def gap_m(one: Array, other: Array) -> float:
    """Least distance between two convex outlines (M, 2), (N, 2); 0 where they touch or overlap."""
    if _overlap(one, other):
        return 0.0
    return float(min(_to_edges(one, other).min(), _to_edges(other, one).min()))


def _overlap(one: Array, other: Array) -> bool:
    """By separating axes: convex outlines are apart where the normal of some edge parts them."""
    for outline in (one, other):
        edges = np.roll(outline, -1, axis=0) - outline
        normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1)
        a, b = one @ normals.T, other @ normals.T
        if np.any((a.max(0) < b.min(0)) | (b.max(0) < a.min(0))):
            return False
    return True


def _to_edges(points: Array, outline: Array) -> Array:
    """Distance of each point from each edge."""
    edges = np.roll(outline, -1, axis=0) - outline
    offset = points[:, None] - outline
    along = np.einsum("pei,ei->pe", offset, edges) / np.maximum((edges**2).sum(1), 1e-12)
    return np.linalg.norm(offset - np.clip(along, 0, 1)[..., None] * edges, axis=2)
