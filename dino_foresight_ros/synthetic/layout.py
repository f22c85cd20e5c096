"""The cross-section of the road: lanes, parking strips, kerbs, sidewalks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dino_foresight_ros.synthetic.config import Conditions


@dataclass(frozen=True)
class RoadLayout:
    """Widths in metres. Lateral places are given as `d`, positive to the left of the centre line.

    `side` is -1 where traffic keeps right, +1 where it keeps left: forward lanes lie at d with
    the sign of `side`.
    """

    side: int
    lanes_forward: int
    lanes_backward: int
    ego_lane: int
    lane_m: float
    median_m: float
    parking_m: float
    shoulder_m: float
    sidewalk_m: float
    verge_m: float
    kerb_m: float
    dash_m: float
    dash_period_m: float
    edge_line: bool
    yellow_center: bool
    solid_center: bool

    def lane_center(self, forward: bool, index: int) -> float:
        """Lateral place of the middle of a lane; index 0 is the innermost."""
        distance = self.median_m / 2 + (index + 0.5) * self.lane_m
        return distance * (self.side if forward else -self.side)

    @property
    def ego_d_m(self) -> float:
        return self.lane_center(True, self.ego_lane)

    def half_width(self, direction: int) -> float:
        """From the centre line to the kerb, on the left (+1) or the right (-1)."""
        lanes = self.lanes_forward if direction == self.side else self.lanes_backward
        return self.median_m / 2 + lanes * self.lane_m + self.parking_m + self.shoulder_m

    def lanes_edge(self, direction: int) -> float:
        """From the centre line to the outer edge of the driving lanes."""
        return self.half_width(direction) - self.parking_m - self.shoulder_m

    def front(self, direction: int) -> float:
        """From the centre line to where gardens and houses may begin."""
        return self.half_width(direction) + self.verge_m + self.sidewalk_m


def choose_layout(seed: int, conditions: Conditions) -> RoadLayout:
    """Draw a cross-section that fits the scene."""
    rng = np.random.default_rng([seed, 4])
    scene = conditions.scene
    urban, highway = scene == "urban", scene == "highway"
    most = {"urban": 2, "suburban": 1, "rural": 1, "highway": 3}[scene]
    forward = int(rng.integers(2 if highway else 1, most + 1))
    parking = 2.1 if scene in ("urban", "suburban") and rng.random() < 0.65 else 0.0
    paved = scene in ("urban", "suburban")
    dash, period = ((6.0, 12.0), (3.0, 12.0), (3.0, 8.0), (3.0, 6.0), (4.0, 12.0))[rng.integers(5)]
    return RoadLayout(
        side=1 if conditions.drive_on_left else -1,
        lanes_forward=forward,
        lanes_backward=forward,
        ego_lane=int(rng.integers(forward)),
        lane_m=float(rng.uniform(3.4, 3.75) if highway else rng.uniform(2.9, 3.5)),
        median_m=2.0 if highway else 0.0,
        parking_m=parking,
        shoulder_m=float(rng.uniform(1.8, 2.8) if highway else rng.uniform(0.2, 0.5)),
        sidewalk_m=float(rng.uniform(2.0, 4.2)) if paved else 0.0,
        verge_m=float(rng.uniform(1.2, 2.4)) if paved and rng.random() < 0.4 else 0.0,
        kerb_m=float(rng.uniform(0.08, 0.16)) if paved else 0.0,
        dash_m=dash,
        dash_period_m=period,
        edge_line=bool(not urban or rng.random() < 0.5),
        yellow_center=bool(rng.random() < 0.25),
        solid_center=bool(rng.random() < 0.25),
    )
