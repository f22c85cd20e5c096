r"""How often objects change their id, on the synthetic world's true objects.

    python -m dino_foresight_ros.benchmark.identity \
        --data 'synthetic:?seeds=900-901&frames=30&interval=0.1&size=88x160'

Each frame gives a forecast of now and three instants 0.2 s apart. Their masks are the true ones of
those instants, or those of now three times (a forecast that all stands still); ids are taken away,
and some detections are left out at random, as a head misses some. Compared are `IdentityTracker`,
and the usual matching of each instant's masks with those of the instant before, without motion.

With `--bundle tiny` the masks are what a bundle's head finds in each frame and in its forecast; an
object is known where a mask overlaps the true one by half.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.outputs import INSTANCES, SEGMENTATION
from dino_foresight_ros.process.cpu import set_up_cpu
from dino_foresight_ros.recordings import Recording, open_recordings
from dino_foresight_ros.runtime.identity import IdentityTracker
from dino_foresight_ros.scene import Detection, Scene

STEPS_S = (0.0, 0.2, 0.4, 0.6)
LEAST_PIXELS = 12
_LEAST_IOU = 0.3
_LEAST_TRUE_IOU = 0.5

Drive = list[tuple[int, list[Scene], list[NDArray[np.uint16]]]]
"""Per forecast: stamp of its frame, scenes with ids of their own, and the true ids of each."""


class Counts(NamedTuple):
    """Instants at which a known object was found again, and at how many its id was another."""

    found: int
    switched: int

    def __str__(self) -> str:
        share = 100.0 * self.switched / max(1, self.found)
        return f"{self.switched} of {self.found} ({share:.2f} %)"


class Matcher(Protocol):
    """Gives objects ids that last."""

    def update(self, frame_ns: int, scenes: Sequence[Scene]) -> tuple[Scene, ...]: ...


class InstantBefore:
    """Masks matched with those of the instant before by overlap, where each was last seen."""

    def __init__(self) -> None:
        self._known: dict[int, NDArray[np.bool_]] = {}
        self._next = 1

    def update(self, frame_ns: int, scenes: Sequence[Scene]) -> tuple[Scene, ...]:
        """As `IdentityTracker.update`; the next forecast goes on from this one's first instant."""
        from scipy.optimize import linear_sum_assignment

        made, now = [], None
        for scene in scenes:
            assert scene.instances is not None
            ids, masks = list(self._known), [scene.instances == d.id for d in scene.detections]
            overlap = np.array([[_iou(a, self._known[i]) for i in ids] for a in masks])
            pairs = {}
            if overlap.size:
                rows, columns = linear_sum_assignment(overlap, maximize=True)
                pairs = {r: ids[c] for r, c in zip(rows, columns, strict=True)
                         if overlap[r, c] >= _LEAST_IOU}  # fmt: skip
            table = np.zeros(65536, np.uint16)
            for row, detection in enumerate(scene.detections):
                if row not in pairs:
                    pairs[row], self._next = self._next, self._next + 1
                table[detection.id] = pairs[row]
                self._known[pairs[row]] = masks[row]
            made.append(Scene(scene.stamp_ns, instances=table[scene.instances]))
            now = dict(self._known) if now is None else now
        self._known = now or {}
        return tuple(made)


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def forecasts(
    truths: Sequence[Scene], is_true: bool, missing: float, seed: int
) -> Iterator[tuple[int, list[Scene], list[NDArray[np.uint16]]]]:
    """Stamp, scenes with ids of their own, and the true ids of each."""
    rng = np.random.default_rng(seed)
    by_stamp = {scene.stamp_ns: scene for scene in truths}
    for now in truths:
        stamps = [now.stamp_ns + round(ahead * 1e9) for ahead in STEPS_S]
        if any(stamp not in by_stamp for stamp in stamps):
            continue
        shown = [by_stamp[stamp] if is_true else now for stamp in stamps]
        scenes, true_ids = [], []
        for step, (stamp, scene) in enumerate(zip(stamps, shown, strict=True)):
            blind, true = _without_ids(scene, missing, rng)
            scenes.append(Scene(stamp, step=step, instances=blind[0], detections=blind[1]))
            true_ids.append(true)
        yield now.stamp_ns, scenes, true_ids


def _without_ids(
    truth: Scene, missing: float, rng: np.random.Generator
) -> tuple[tuple[NDArray[np.uint16], tuple[Detection, ...]], NDArray[np.uint16]]:
    assert truth.instances is not None
    assert truth.segmentation is not None
    numbers, sizes = np.unique(truth.instances, return_counts=True)
    kept = [
        n for n, s in zip(numbers.tolist(), sizes.tolist(), strict=True)
        if n and s >= LEAST_PIXELS and rng.random() >= missing
    ]  # fmt: skip
    raw = (rng.permutation(len(kept)) + 1).tolist()
    ids = np.zeros_like(truth.instances)
    detections = []
    for number, value in zip(kept, raw, strict=True):
        mask = truth.instances == number
        ids[mask] = value
        class_id = int(np.bincount(truth.segmentation[mask]).argmax())
        rows, columns = np.nonzero(mask)
        left, top = float(columns.min()), float(rows.min())
        box = (left, top, columns.max() - left + 1.0, rows.max() - top + 1.0)
        middle = (float(columns.mean()), float(rows.mean()))
        detections.append(Detection(value, class_id, 0.9, box, middle))
    return (ids, tuple(detections)), np.where(np.isin(truth.instances, kept), truth.instances, 0)


def found_by(bundle: Any, recording: Recording, truths: Sequence[Scene]) -> Drive:
    """What a bundle's head finds in each frame and in its forecast."""
    from dino_foresight_ros.runtime import Foresight

    truth_at = {scene.stamp_ns: scene.instances for scene in truths}
    wanted = {step: frozenset({INSTANCES}) for step in range(len(STEPS_S))}
    engine = Foresight(bundle, outputs=wanted, output_size=recording.size, horizons_s=STEPS_S[1:])
    drive: Drive = []
    for frame in recording.frames():
        forecast = engine.update(frame.image, frame.stamp_ns)
        if forecast is None or forecast.step_0 is None:
            continue
        scenes = [forecast.step_0, *forecast.steps]
        true = [truth_at.get(scene.stamp_ns) for scene in scenes]
        if all(ids is not None for ids in true):
            partners = [true_objects(*pair) for pair in zip(scenes, true, strict=True)]
            drive.append((frame.stamp_ns, scenes, partners))
    return drive


def true_objects(found: Scene, truth: Any) -> NDArray[np.uint16]:
    """(H, W) the true id of each mask that overlaps it by half, 0 elsewhere."""
    true = np.zeros_like(truth)
    assert found.instances is not None
    for detection in found.detections:
        mask = found.instances == detection.id
        numbers, counts = np.unique(truth[mask & (truth > 0)], return_counts=True)
        if numbers.size and _iou(mask, truth == numbers[counts.argmax()]) > _LEAST_TRUE_IOU:
            true[mask] = numbers[counts.argmax()]
    return true


def count(matcher: Matcher, drive: Drive) -> tuple[Counts, list[float]]:
    """Switches through steps and forecasts together, and each forecast's ms of processor time."""
    last: dict[int, int] = {}
    found = switched = 0
    took = []
    for stamp_ns, scenes, true_ids in drive:
        start = time.thread_time()
        named = matcher.update(stamp_ns, scenes)
        took.append((time.thread_time() - start) * 1e3)
        for scene, true in zip(named, true_ids, strict=True):
            assert scene.instances is not None
            for number in np.unique(true[true > 0]).tolist():
                value = int(scene.instances[true == number][0])
                found += number in last
                switched += last.get(number, value) != value
                last[number] = value
    return Counts(found, switched), took


def _print_row(name: str, drives: Sequence[Drive]) -> None:
    totals = {IdentityTracker: Counts(0, 0), InstantBefore: Counts(0, 0)}
    took: list[float] = []
    for drive in drives:
        for kind, total in totals.items():
            matcher: Matcher = kind()
            counts, spent = count(matcher, drive)
            totals[kind] = Counts(total.found + counts.found, total.switched + counts.switched)
            took += spent if kind is IdentityTracker else []
    numbers = " | ".join(str(total) for total in totals.values())
    print(f"| {name} | {numbers} | {statistics.median(took or [0.0]):.1f} |")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, help="recordings with instances")
    parser.add_argument("--bundle", help="whose head finds the objects; none: the truth")
    parser.add_argument("--missing", type=float, nargs="+", default=[0.0, 0.1])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    set_up_cpu()
    recordings = open_recordings(args.data)
    kinds = [INSTANCES, SEGMENTATION]
    truths = [[f.labels for f in one.read(range(len(one)), kinds)] for one in recordings]
    print("| forecast | missed | tracker | instant before | tracker, ms of processor time |")
    print("|---|---|---|---|---|")
    if args.bundle is not None:
        from dino_foresight_ros.model import Bundle

        bundle = Bundle.load(args.bundle)
        pairs = zip(recordings, truths, strict=True)
        _print_row(f"{bundle.name}'s head | -", [found_by(bundle, *pair) for pair in pairs])
        return 0
    for is_true in (True, False):
        for missing in args.missing:
            name = "true masks" if is_true else "all stands still"
            drives = [
                list(forecasts(one, is_true, missing, args.seed + place))
                for place, one in enumerate(truths)
            ]
            _print_row(f"{name} | {missing:.0%}", drives)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
