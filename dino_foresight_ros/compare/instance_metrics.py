"""Scores of single objects: average precision as Cityscapes defines it, and panoptic quality.

Objects of a map are never over one another, so at an overlap above one half each has one partner at
most, and nothing is left to choose.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.errors import InputError, UsageError

OVERLAPS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""Least intersection over union of a pair; AP is the mean over them, AP50 that of the first."""
SCORE_BINS = 100
"""Of scores from 0 to 1, in `ap50_of_counts`."""
LEAST_PIXELS = 100
"""Of the labels: smaller true objects are not asked for, as in Cityscapes' script."""


@dataclass(frozen=True)
class InstanceScores:
    """Scores of objects, 0 to 1; NaN where no object is true.

    Attributes:
        ap: mean over `OVERLAPS` and over the classes that have true objects.
        ap50: at an overlap of one half, mean over those classes.
        pq: panoptic quality (Kirillov et al. 2019), mean over the classes that have objects, true
            or predicted.
        ap_of, ap50_of, pq_of: class id -> its score.
        true_objects: how many are asked for.
    """

    ap: float
    ap50: float
    pq: float
    ap_of: dict[int, float]
    ap50_of: dict[int, float]
    pq_of: dict[int, float]
    true_objects: int


@dataclass
class _Class:
    """What is known of one class.

    Attributes:
        scores: (n,) of predicted objects.
        overlaps: (n,) their largest intersection over union with a true object that is asked for.
        ignored: (n,) share of their pixels that says nothing against them.
        true: how many objects are asked for.
        quality, pairs, alone, missed: of panoptic quality: the pairs' overlaps summed up, their
            number, predicted objects and true objects without a partner.
    """

    scores: list[float] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)
    ignored: list[float] = field(default_factory=list)
    true: int = 0
    quality: float = 0.0
    pairs: int = 0
    alone: int = 0
    missed: int = 0

    def average_precision(self, least: float) -> float:
        """At an overlap above `least`; NaN without a true object."""
        if not self.true:
            return float("nan")
        overlaps, scores = np.array(self.overlaps), np.array(self.scores)
        hits = overlaps > least
        counted = hits | (np.array(self.ignored) <= least)
        return average_precision(scores[counted], hits[counted], self.true)

    def counts(self, first: int, true_before: int) -> NDArray[np.float64]:
        """(2 * SCORE_BINS + 1,) predicted objects from the first one on that have a partner, by
        score; those that count; and true objects since then."""
        scores, overlaps = np.array(self.scores[first:]), np.array(self.overlaps[first:])
        bins = np.minimum(scores * SCORE_BINS, SCORE_BINS - 1).astype(np.int64)
        hits = overlaps > OVERLAPS[0]
        counted = hits | (np.array(self.ignored[first:]) <= OVERLAPS[0])
        both = [np.bincount(bins[which], minlength=SCORE_BINS) for which in (hits, counted)]
        return np.concatenate([*both, [self.true - true_before]]).astype(np.float64)


def ap50_of_counts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """AP50 of summed counts, of scores in `SCORE_BINS` steps.

    Args:
        counts: (..., T, 2 * SCORE_BINS + 1), sums of what `InstanceMetrics.update` gives.

    Returns:
        (...), the mean over the classes that have true objects; NaN without any.
    """
    hits, counted = (
        np.cumsum(part[..., ::-1], axis=-1)[..., ::-1]
        for part in (counts[..., :SCORE_BINS], counts[..., SCORE_BINS:-1])
    )
    true = counts[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(counted > 0, hits / counted, 1.0)
        recall = hits / true[..., None]
    # As `average_precision` has it; steps without an object repeat a point, which adds nothing.
    padded = np.concatenate([recall[..., :1], recall, np.zeros((*recall.shape[:-1], 2))], axis=-1)
    precision = np.concatenate([precision, np.ones((*precision.shape[:-1], 1))], axis=-1)
    each = (precision * (padded[..., :-2] - padded[..., 2:])).sum(axis=-1) / 2
    known = true > 0
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(known, each, 0.0).sum(-1) / known.sum(-1)
    return mean


def average_precision(scores: NDArray[np.float64], hits: NDArray[np.bool_], true: int) -> float:
    """Area under precision over recall, by Cityscapes' rule.

    Args:
        scores: (n,) of predicted objects.
        hits: (n,) whether each has a partner.
        true: number of true objects, above 0.
    """
    if not scores.size:
        return 0.0
    order = np.argsort(scores, kind="stable")
    starts = np.unique(scores[order], return_index=True)[1]
    kept = len(scores) - starts  # objects of at least each score
    right = np.cumsum(hits[order][::-1])[kept - 1]
    precision = np.append(right / kept, 1.0)
    recall = np.append(right / true, 0.0)
    # Each point stands for half the way to its neighbours.
    padded = np.concatenate([recall[:1], recall, [0.0]])
    return float(precision @ (padded[:-2] - padded[2:]) / 2)


class InstanceMetrics:
    """Scores objects picture by picture."""

    def __init__(self, things: Sequence[int], least_pixels: int = LEAST_PIXELS) -> None:
        """Start with nothing scored.

        Args:
            things: ids of the classes whose objects are scored.
            least_pixels: below which a true object is not asked for.

        Raises:
            UsageError: no class.
        """
        if not things:
            raise UsageError("no class of objects to score")
        self.things = tuple(things)
        self.least_pixels = least_pixels
        self._classes: dict[int, _Class] = defaultdict(_Class)
        self._pictures = 0

    def update(self, predicted: tuple[Any, Any], true: tuple[Any, Any]) -> NDArray[np.float64]:
        """Score a batch.

        Args:
            predicted: ids (B, H, W), and (B, Q, 3) id, class id and score, as `InstancesTask`
                decodes them; arrays or tensors.
            true: ids (B, H, W), 0 none, and class ids (B, H, W), 255 unlabelled. Pixels of a class
                of objects that belong to none (groups) say nothing against a prediction.

        Returns:
            (B, T, 2 * SCORE_BINS + 1), what each picture adds to the sums that `ap50_of_counts`
            reads, by class of objects.

        Raises:
            InputError: other shapes.
        """
        ids, found, true_ids, classes = (_array(values) for values in (*predicted, *true))
        if ids.ndim != 3 or not ids.shape == true_ids.shape == classes.shape:
            raise InputError(
                f"instances: predicted has shape {ids.shape}, true {true_ids.shape} and its "
                f"classes {classes.shape}; all must be the same (B, H, W)"
            )
        counts = []
        for picture in zip(ids, found, true_ids, classes, strict=True):
            self._pictures += 1
            known = [self._classes[thing] for thing in self.things]
            before = [(len(one.scores), one.true) for one in known]
            self._score(*picture)
            counts.append([one.counts(*start) for one, start in zip(known, before, strict=True)])
        return np.array(counts)

    def _score(
        self,
        ids: NDArray[Any],
        found: NDArray[Any],
        true_ids: NDArray[Any],
        classes: NDArray[Any],
    ) -> None:
        objects = {int(i): (int(c), float(s)) for i, c, s in found.tolist() if i > 0}
        numbers, of_pixel = np.unique(ids, return_inverse=True)
        truths, of_true = np.unique(true_ids, return_inverse=True)
        shape = len(numbers), len(truths)
        flat = of_pixel.ravel() * shape[1] + of_true.ravel()
        together = np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
        area, true_area = together.sum(axis=1), together.sum(axis=0)
        is_void = classes == UNLABELLED
        void = np.bincount(of_pixel[is_void & (true_ids == 0)].ravel(), minlength=shape[0])
        class_of = _classes_of(of_true, classes, len(truths))
        for thing in self.things:
            one = self._classes[thing]
            rows = [
                k for k, n in enumerate(numbers) if n and objects.get(int(n), (-1,))[0] == thing
            ]
            columns = np.flatnonzero((truths > 0) & (class_of == thing))
            asked = columns[true_area[columns] >= self.least_pixels]
            small = columns[true_area[columns] < self.least_pixels]
            group = np.bincount(
                of_pixel[(true_ids == 0) & (classes == thing)].ravel(), minlength=shape[0]
            )
            one.true += len(asked)
            partners = set()
            for row in rows:
                shared = together[row]
                union = area[row] + true_area - shared
                forgiven = (void[row] + group[row]) / area[row]
                overlap = max((shared[k] / union[k] for k in asked), default=0.0)
                one.scores.append(objects[int(numbers[row])][1])
                one.overlaps.append(float(overlap))
                one.ignored.append(float(forgiven + shared[small].sum() / area[row]))
                # Panoptic quality asks for objects of any size, and leaves out what is unlabelled.
                known = {int(k): float(shared[k] / (union[k] - void[row])) for k in columns}
                found_as = max(known, key=lambda k: known[k], default=-1)
                if known.get(found_as, 0.0) > 0.5:
                    partners.add(found_as)
                    one.pairs += 1
                    one.quality += known[found_as]
                elif forgiven <= 0.5:
                    one.alone += 1
            one.missed += len(columns) - len(partners)

    def compute(self) -> InstanceScores:
        """Score everything so far.

        Raises:
            InputError: nothing was scored.
        """
        if not self._pictures:
            raise InputError("instances: nothing was scored; call update() first")
        ap_of, ap50_of, pq_of = {}, {}, {}
        for thing in self.things:
            one = self._classes[thing]
            if one.true:
                each = [one.average_precision(least) for least in OVERLAPS]
                ap_of[thing], ap50_of[thing] = float(np.mean(each)), each[0]
            counted = one.pairs + 0.5 * one.alone + 0.5 * one.missed
            if counted:
                pq_of[thing] = one.quality / counted
        return InstanceScores(
            _mean(ap_of), _mean(ap50_of), _mean(pq_of), ap_of, ap50_of, pq_of,
            sum(one.true for one in self._classes.values()),
        )  # fmt: skip


def _array(values: Any) -> NDArray[Any]:
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)


def _classes_of(of_true: NDArray[Any], classes: NDArray[Any], count: int) -> NDArray[np.int64]:
    """The class of most pixels of each true object, (count,)."""
    flat = of_true.ravel() * (UNLABELLED + 1) + classes.ravel()
    each = np.bincount(flat, minlength=count * (UNLABELLED + 1))
    return each.reshape(count, UNLABELLED + 1).argmax(axis=1)


def _mean(values: dict[int, float]) -> float:
    return float(np.mean(list(values.values()))) if values else float("nan")
