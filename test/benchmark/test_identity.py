"""The benchmark of switched ids, with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from dino_foresight_ros.benchmark.identity import Counts, InstantBefore, count, true_objects
from dino_foresight_ros.scene import Detection, Scene


def scene(*boxes: tuple[int, int, int], stamp_ns: int = 0) -> Scene:
    """Boxes 4 pixels high: (id, left, width)."""
    ids = np.zeros((6, 40), np.uint16)
    for number, left, width in boxes:
        ids[1:5, left : left + width] = number
    found = [Detection(n, 1, 0.9, (left, 1, width, 4), (left, 3)) for n, left, width in boxes]
    return Scene(stamp_ns, instances=ids, detections=tuple(found))


@pytest.mark.parametrize(("width", "known"), [(10, 7), (6, 7), (5, 0), (21, 0)])
def test_a_mask_stands_for_the_object_that_it_overlaps_by_half(width: int, known: int) -> None:
    truth = scene((7, 2, 10), (8, 30, 4)).instances
    found = scene((1, 2, width))
    partners = true_objects(found, truth)
    assert found.instances is not None
    assert set(np.unique(partners[found.instances == 1])) == {known}
    assert not partners[found.instances == 0].any()


@pytest.mark.slow
def test_a_jump_is_a_switch_where_masks_of_the_instant_before_are_matched() -> None:
    """An object that moves by its width every instant, beside one that stays."""
    drive = []
    for step in range(3):
        one = scene((1, 4 + 8 * step, 6), (2, 34, 4), stamp_ns=step)
        assert one.instances is not None
        drive.append((step, [one], [one.instances]))
    counts, took = count(InstantBefore(), drive)
    assert counts == Counts(found=4, switched=2)
    assert len(took) == 3
