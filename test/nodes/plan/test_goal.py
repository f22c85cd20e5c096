"""Ways towards a goal: what each costs, and that the cheapest ones get there from anywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

from dino_foresight_ros.nodes.plan.goal import goal_costs, heading_costs
from dino_foresight_ros.obstacles.arc_search import ArcLimits, fan, refine
from dino_foresight_ros.planar_motion import compose, inverse, of_twist

ROBOT = ArcLimits(3.0, 0.8, 2.0)


def ends_of(arcs: np.ndarray, seconds: float) -> np.ndarray:
    twists = np.column_stack([arcs[:, 0], np.zeros(len(arcs)), arcs[:, 1]])
    return of_twist(twists, np.full(len(arcs), seconds))


def test_cost_is_the_share_of_the_greatest_progress_that_a_way_lacks():
    ends = [(2.0, 0.0, 0.0), (1.0, 0.0, 3.0), (0.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (-9.0, 0.0, 0.0)]
    np.testing.assert_allclose(goal_costs(ends, (4.0, 0.0, 1.0)), [0.0, 0.5, 1.0, 1.5, 2.0])
    np.testing.assert_allclose(heading_costs(ends, 0.0), [0.0, 0.5, 1.0, 1.5, 2.0])


@pytest.mark.parametrize("side", [1, -1])
def test_where_no_way_leads_nearer_the_one_that_turns_to_the_goal_is_best(side: int):
    arcs = fan(32, ROBOT, on_spot=True)
    best = arcs[goal_costs(ends_of(arcs, 0.6), (-5.0, 0.5 * side, 0.0)).argmin()]
    assert best.tolist() == [0.0, 0.8 * side]
    best = arcs[heading_costs(ends_of(arcs, 0.6), side * math.radians(170)).argmin()]
    assert best.tolist() == [0.0, 0.8 * side]


@pytest.mark.parametrize("horizon_s", [0.6, 2.0])
@pytest.mark.parametrize("degrees", range(-180, 180, 30))
@pytest.mark.parametrize("away_m", [2.0, 6.0])
def test_goal_is_reached_from_every_side(horizon_s: float, degrees: int, away_m: float):
    angle = math.radians(degrees)
    goal, base = (away_m * math.cos(angle), away_m * math.sin(angle), 0.0), np.zeros(3)
    random = np.random.default_rng(0)
    for _ in range(60):
        seen = compose(inverse(base), goal)
        if math.hypot(*seen[:2]) <= 0.5:
            return
        arcs = fan(32, ROBOT, on_spot=True)
        for _ in range(2):
            best = arcs[goal_costs(ends_of(arcs, horizon_s), seen).argmin()]
            arcs = refine(arcs, goal_costs(ends_of(arcs, horizon_s), seen), ROBOT, random)
        base = compose(base, of_twist([best[0], 0.0, best[1]], 0.5))
    pytest.fail(f"{math.hypot(*seen[:2]):.2f} m are left")
