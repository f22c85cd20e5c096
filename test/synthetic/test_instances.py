from __future__ import annotations

import numpy as np
import pytest

from dino_foresight_ros.classes import MOVING_CLASS_IDS
from dino_foresight_ros.synthetic import World, WorldConfig

pytestmark = pytest.mark.slow


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
    view = world.view(2.0)
    centers = np.concatenate(
        [group.center[np.isin(group.label, MOVING_CLASS_IDS)] for group in view.groups]
    )
    frame = world.render(2.0)
    seen = set(np.unique(frame.instances)) - {0}
    assert 1 < len(seen) <= len({tuple(center) for center in centers.tolist()})


@pytest.mark.parametrize(("seed", "scene"), [(5, "urban"), (3, "suburban"), (1, "highway")])
def test_an_id_stands_for_one_place_at_an_instant(seed: int, scene: str) -> None:
    """Every polygon of an object shares its centre, and no two objects share one."""
    world = World(WorldConfig(seed=seed, width=80, height=45, scene=scene))
    for t_s in (0.0, 7.0):
        groups = world.view(t_s).groups
        label, instance, center = (
            np.concatenate([getattr(group, name) for group in groups])
            for name in ("label", "instance", "center")
        )
        moving = np.isin(label, MOVING_CLASS_IDS)
        assert np.array_equal(instance > 0, moving)
        centers = np.unique(center[moving], axis=0)
        pairs = np.unique(np.column_stack([instance[moving], center[moving]]), axis=0)
        assert len(pairs) == len(centers) == len(np.unique(instance[moving])) > 3


def test_an_object_keeps_its_id_while_it_moves() -> None:
    """From instant to instant an id's object is of one class and moves no faster than traffic."""
    world = World(WorldConfig(seed=5, width=160, height=90, scene="urban"))
    before: dict[int, tuple[int, np.ndarray]] = {}
    kept = 0
    for t_s in np.arange(0.0, 4.0, 0.2):
        view = world.view(float(t_s))
        now: dict[int, tuple[int, np.ndarray]] = {}
        for group in view.groups:
            for number, label, center in zip(
                group.instance, group.label, group.center, strict=True
            ):
                if number:
                    now[int(number)] = int(label), center
        for number in now.keys() & before.keys():
            assert now[number][0] == before[number][0]
            assert np.linalg.norm(now[number][1] - before[number][1]) < 0.2 * 30.0
            kept += 1
        # A stretch's parked cars come and go together; most objects stay.
        assert len(now.keys() & before.keys()) >= 0.7 * len(before)
        before = now
    assert kept > 200
