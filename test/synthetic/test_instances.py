from __future__ import annotations

import numpy as np
import pytest

from dino_foresight_ros.classes import MOVING_CLASS_IDS
from dino_foresight_ros.synthetic import World, WorldConfig


@pytest.mark.parametrize("seed", [3, 5])
def test_each_object_of_a_moving_class_has_an_id_of_its_own(seed: int) -> None:
    world = World(WorldConfig(seed=seed, width=240, height=135, scene="urban"))
    objects = 0
    for t_s in (0.0, 2.0, 4.0):
        frame = world.render(t_s)
        assert frame.instances.dtype == np.uint16
        moving = np.isin(frame.segmentation, MOVING_CLASS_IDS)
        assert np.array_equal(frame.instances > 0, moving)
        for number in np.unique(frame.instances[moving]):
            mask = frame.instances == number
            objects += 1
            assert len(np.unique(frame.segmentation[mask])) == 1
            # No object is longer than a bus: two in one would be, sooner or later.
            rows, columns = np.nonzero(mask)
            rays = np.linalg.inv(frame.k) @ np.stack([columns, rows, np.ones(len(rows))])
            places = rays * frame.depth[mask]
            assert np.ptp(places, axis=1).max() < 14.0
    assert objects > 5


def test_parked_and_moving_vehicles_side_by_side_are_told_apart() -> None:
    """As many ids as there are objects: those of the actors and of what is parked."""
    world = World(WorldConfig(seed=5, width=240, height=135, scene="urban"))
    view = world._view(2.0)
    centers = np.concatenate(
        [group.center[np.isin(group.label, MOVING_CLASS_IDS)] for group in view.groups]
    )
    frame = world.render(2.0)
    seen = set(np.unique(frame.instances)) - {0}
    assert 1 < len(seen) <= len({tuple(center) for center in centers.tolist()})
