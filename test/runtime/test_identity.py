"""Ids that last: against brute force, through steps and forecasts, and what breaks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("scipy", reason="needs SciPy (extra instances)")

from dino_foresight_ros.runtime import identity
from dino_foresight_ros.runtime.identity import IdentityTracker
from dino_foresight_ros.runtime.mask_matching import (
    LEAST_AFFINITY,
    Sight,
    assignment,
    overlaps,
)
from dino_foresight_ros.scene import Detection, Scene

S = 1_000_000_000
SIZE = (44, 80)


class Thing(NamedTuple):
    """An ellipse that moves evenly: (x, y) at 0 s, pixels a second, half axes; later ones hide."""

    x: float
    y: float
    vx: float = 0.0
    vy: float = 0.0
    rx: float = 4.0
    ry: float = 8.0
    class_id: int = 1


def view(
    things: Sequence[Thing],
    at_s: float,
    *,
    step: int = 0,
    shuffle: int = 0,
    size: tuple[int, int] = SIZE,
    least: int = 6,
) -> tuple[Scene, dict[int, int]]:
    """A scene of numbered ellipses, and raw id -> which thing it is.

    Raw ids are a permutation of the visible ones, another one for each shuffle.
    """
    y, x = np.mgrid[: size[0], : size[1]].astype(float)
    scale_y, scale_x = size[0] / SIZE[0], size[1] / SIZE[1]
    owner = np.full(size, -1)
    for number, thing in enumerate(things):
        dx = (x + 0.5) / scale_x - 0.5 - (thing.x + thing.vx * at_s)
        dy = (y + 0.5) / scale_y - 0.5 - (thing.y + thing.vy * at_s)
        owner[(dx / thing.rx) ** 2 + (dy / thing.ry) ** 2 <= 1.0] = number
    seen = [n for n in range(len(things)) if np.count_nonzero(owner == n) >= least]
    raw = np.random.default_rng(shuffle).permutation(len(seen)) + 1
    ids = np.zeros(size, np.uint16)
    detections, truth = [], {}
    for number, value in zip(seen, raw.tolist(), strict=True):
        ids[owner == number] = value
        truth[value] = number
        rows, columns = np.nonzero(owner == number)
        left, top = columns.min(), rows.min()
        box = (left, top, columns.max() - left + 1, rows.max() - top + 1)
        middle = (columns.mean(), rows.mean())
        detections.append(Detection(value, things[number].class_id, 0.9, box, middle))
    scene = Scene(round(at_s * S), step=step, instances=ids, detections=tuple(reversed(detections)))
    return scene, truth


def forecast(
    things: Sequence[Thing], at_s: float, steps: int = 3, error: float = 0.0
) -> tuple[list[Scene], list[dict[int, int]]]:
    """Now and so many instants 0.2 s apart; `error` bends the forecast motion."""
    made = [
        view(
            [t._replace(vx=t.vx * (1.0 - error), x=t.x + t.vx * error * at_s) for t in things],
            at_s + 0.2 * step,
            step=step,
            shuffle=round(at_s * 1000) * 20 + step,
        )
        for step in range(steps + 1)
    ]
    return [scene for scene, _ in made], [truth for _, truth in made]


def names_of(raw: Scene, named: Scene, truth: dict[int, int]) -> dict[int, int]:
    """Thing -> the id that its pixels got."""
    assert raw.instances is not None
    assert named.instances is not None
    found = {}
    for value, thing in truth.items():
        ids = np.unique(named.instances[raw.instances == value])
        assert len(ids) == 1
        found[thing] = int(ids[0])
    return found


def follow(
    tracker: IdentityTracker, things: Sequence[Thing], times_s: Sequence[float], **options: float
) -> list[dict[int, int]]:
    """Thing -> id of every instant of every forecast, in order."""
    found = []
    for at_s in times_s:
        scenes, truths = forecast(things, at_s, **options)  # type: ignore[arg-type]
        named = tracker.update(round(at_s * S), scenes)
        found += [names_of(r, n, t) for r, n, t in zip(scenes, named, truths, strict=True)]
    return found


def switches(names: Sequence[dict[int, int]]) -> int:
    """How often a thing's id differs from the one that it had when it was last found."""
    last: dict[int, int] = {}
    count = 0
    for of_instant in names:
        for thing, value in of_instant.items():
            count += last.get(thing, value) != value
            last[thing] = value
    return count


PEDESTRIANS = [Thing(20, 22, vx=18, class_id=9), Thing(60, 22, vx=-18, rx=5, ry=9, class_id=9)]


def test_crossing_pedestrians_keep_their_ids_through_twenty_frames() -> None:
    times_s = [0.1 * n for n in range(20)]
    hidden = [view(PEDESTRIANS, t)[1] for t in times_s]
    assert min(len(truth) for truth in hidden) == 1  # one hides the other in between
    for steps in (0, 3):
        names = follow(IdentityTracker(), PEDESTRIANS, times_s, steps=steps)
        assert switches(names) == 0
        assert {v for of in names for v in of.values()} == {1, 2}


def test_ids_hold_where_the_forecast_thinks_that_all_stands_still() -> None:
    times_s = [0.1 * n for n in range(20)]
    for error in (0.5, 1.0):
        names = follow(IdentityTracker(), PEDESTRIANS, times_s, error=error)[::4]
        assert switches(names) == 0


def test_small_fast_objects_whose_masks_do_not_overlap_keep_their_ids() -> None:
    things = [Thing(5, y, vx=35, rx=2, ry=3) for y in (8, 20, 32)]
    names = follow(IdentityTracker(), things, [0.1 * n for n in range(8)], steps=2)
    assert switches(names) == 0


def test_an_object_far_ahead_of_where_it_was_is_another_one() -> None:
    tracker = IdentityTracker()
    follow(tracker, [Thing(10, 22)], [0.0], steps=0)
    (there,) = follow(tracker, [Thing(60, 22)], [0.1], steps=0)
    assert there == {0: 2}


def test_a_class_that_flickers_keeps_the_id_and_another_object_there_does_not_take_it() -> None:
    tracker = IdentityTracker()
    car = Thing(30, 22, rx=10, ry=6, class_id=8)
    follow(tracker, [car], [0.0])
    assert follow(tracker, [car._replace(class_id=9)], [0.1])[0] == {0: 1}
    walker = Thing(30, 22, rx=2, ry=6, class_id=5)
    both = follow(tracker, [car, walker], [0.2])[0]
    assert both == {0: 1, 1: 2}


def test_hidden_objects_keep_their_id_as_long_as_was_asked_for() -> None:
    thing = Thing(30, 22)
    for gone_s, same in ((0.9, True), (1.1, False)):
        tracker = IdentityTracker(keep_s=1.0)
        follow(tracker, [thing], [0.0], steps=0)
        tracker.update(round(0.05 * S), [view([], 0.05)[0]])
        assert follow(tracker, [thing], [gone_s], steps=0) == [{0: 1 if same else 2}]


def test_time_that_goes_back_starts_with_new_ids() -> None:
    tracker = IdentityTracker()
    follow(tracker, [Thing(30, 22)], [5.0], steps=0)
    assert follow(tracker, [Thing(30, 22)], [1.0], steps=0) == [{0: 2}]
    assert tracker.live_ids == {2}


def test_ids_wrap_and_leave_out_those_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "MAX_ID", 4)
    tracker = IdentityTracker(first_id=3, keep_s=0.15)
    still = [Thing(10, 10), Thing(30, 10)]
    others = [Thing(50, 10), Thing(70, 10)]
    follow(tracker, still, [0.0], steps=0)
    assert tracker.live_ids == {3, 4}
    follow(tracker, [*still, others[0]], [0.1], steps=0)
    assert tracker.live_ids == {3, 4, 1}
    follow(tracker, still, [0.2, 0.3], steps=0)
    assert tracker.live_ids == {3, 4}
    follow(tracker, [*still, *others], [0.4], steps=0)
    assert tracker.live_ids == {3, 4, 2, 1}  # after 2 come 3 and 4, which are in use


def test_maps_of_another_size_keep_the_ids() -> None:
    tracker = IdentityTracker()
    things = [Thing(20, 22, vx=10), Thing(50, 22, vx=-5)]
    first, truth = view(things, 0.0)
    before = names_of(first, tracker.update(0, [first])[0], truth)
    large, truth = view(things, 0.1, size=(2 * SIZE[0], 3 * SIZE[1]), shuffle=3)
    assert names_of(large, tracker.update(S // 10, [large])[0], truth) == before


def test_nothing_found_ids_without_pixels_and_pixels_without_detections() -> None:
    tracker = IdentityTracker()
    empty = Scene(0, instances=np.zeros(SIZE, np.uint16))
    (named,) = tracker.update(0, [empty])
    assert named.detections == ()
    assert not np.any(named.instances)
    plain = Scene(S)
    assert tracker.update(S, [plain]) == (plain,)
    scene, _ = view([Thing(20, 22)], 2.0)
    assert scene.instances is not None
    ids = scene.instances.copy()
    ids[0, 0] = 65000  # pixels of no detection
    ghost = Detection(40000, 1, 0.9, (0, 0, 20, 20), (9, 9))
    odd = replace(scene, instances=ids, detections=(ghost, *scene.detections))
    (named,) = tracker.update(2 * S, [odd])
    assert [d.id for d in named.detections] == [1]
    assert named.instances is not None
    assert set(np.unique(named.instances)) == {0, 1}


def test_another_view_of_the_instant_takes_its_ids_and_what_only_it_has_is_left_out() -> None:
    things = [Thing(20, 22), Thing(50, 22)]
    tracker = IdentityTracker(first_id=700)
    seen, truth = view(things, 0.0)
    (named,) = tracker.update(0, [seen])
    moved = [things[0]._replace(x=22), things[1]._replace(y=24), Thing(70, 8)]
    for size in (SIZE, (2 * SIZE[0], 2 * SIZE[1])):
        other, other_truth = view(moved, 0.0, shuffle=5, size=size)
        alike = identity.named_alike(other, named)
        before, after = names_of(seen, named, truth), names_of(other, alike, other_truth)
        assert after == {**before, 2: 0}
        assert {d.id for d in alike.detections} == set(before.values())
        all_named = identity.named_alike(other, named, others_from=40)
        assert names_of(other, all_named, other_truth) == {**before, 2: 40}
    futures = replace(seen, samples=(view(things, 0.0, shuffle=9)[0],))
    (both,) = tracker.update(S // 10, [replace(futures, stamp_ns=S // 10)])
    assert np.array_equal(both.samples[0].instances, both.instances)


def best_by_brute_force(affinities: NDArray[np.float64], least: float) -> float:
    """Largest sum of any set of pairs that are good enough, each row and column once."""
    rows, columns = affinities.shape
    useful = np.where(affinities >= least, affinities, 0.0)
    best = 0.0
    for count in range(min(rows, columns) + 1):
        for chosen in combinations(range(rows), count):
            for order in permutations(range(columns), count):
                best = max(best, sum(useful[r, c] for r, c in zip(chosen, order, strict=True)))
    return best


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_the_assignment_is_the_best_of_all(rows: int, columns: int, seed: int) -> None:
    affinities = np.random.default_rng(seed).uniform(0.0, 1.0, (rows, columns))
    pairs = list(assignment(affinities))
    assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
    assert all(affinities[r, c] >= LEAST_AFFINITY for r, c in pairs)
    total = sum(affinities[r, c] for r, c in pairs)
    assert total == pytest.approx(best_by_brute_force(affinities, LEAST_AFFINITY))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(-90, 90), st.integers(-50, 50))
def test_shared_pixels_are_those_of_masks_laid_over_each_other(
    seed: int, across: int, down: int
) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 4, SIZE).astype(np.uint16)
    top, left, high, wide = (int(rng.integers(1, n)) for n in (30, 60, 14, 20))
    mask = rng.random((high, wide)) < 0.6
    sight = Sight(0, (top, left), mask, int(mask.sum()), np.zeros(2))
    shared = overlaps(sight, np.array([across, down], float), ids, np.arange(5), 3)
    expected = np.zeros(3)
    for y, x in zip(*np.nonzero(mask), strict=True):
        at = top + y + down, left + x + across
        if 0 <= at[0] < SIZE[0] and 0 <= at[1] < SIZE[1] and ids[at]:
            expected[ids[at] - 1] += 1
    np.testing.assert_array_equal(shared, expected)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_names_are_one_to_one_whatever_comes(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    tracker = IdentityTracker()
    for frame in range(4):
        things = [
            Thing(
                rng.uniform(0, 80), rng.uniform(0, 44), rx=rng.uniform(1, 9), ry=rng.uniform(1, 9)
            )
            for _ in range(count)
        ]
        scenes, truths = forecast(things, 0.1 * frame, steps=1)
        for raw, named, truth in zip(
            scenes, tracker.update(round(frame * 0.1 * S), scenes), truths, strict=True
        ):
            names = names_of(raw, named, truth)
            assert len(set(names.values())) == len(names)
            assert {d.id for d in named.detections} == set(names.values()) <= tracker.live_ids
            assert named.instances is not None
            assert raw.instances is not None
            np.testing.assert_array_equal(named.instances > 0, raw.instances > 0)
            order = [truth[d.id] for d in raw.detections]
            assert [names[thing] for thing in order] == [d.id for d in named.detections]
