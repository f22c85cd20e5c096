"""How well objects keep their ids through a forecast, and how far off the ends of their ways are.

An object is followed by what is true of it: ids of labels that last over time. It counts where its
mask is found in the newest frame and in the frame before, so that a constant velocity is known too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.compare.instance_metrics import LEAST_PIXELS
from dino_foresight_ros.detections import true_detections
from dino_foresight_ros.objects import locate
from dino_foresight_ros.runtime.identity import IdentityTracker
from dino_foresight_ros.scene import Scene

_LEAST_OVERLAP = 0.5

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ObjectMotion:
    """What became of objects by one lead.

    Attributes:
        followed: true objects that are found now and before, and are there at the lead.
        kept: of those how many the forecast still has; the errors are of these.
        forecast_px, constant_velocity_px, copy_last_px: mean distance of centroids from the true
            object's, pixels of the labels; None where none is kept.
        located: of those kept how many have places in metres at all three instants; the errors in
            metres are of these.
        forecast_m, constant_velocity_m, copy_last_m: mean distance from the true object, metres in
            the camera's frame then. Constant is the velocity relative to the camera.
        found: true objects that are found now and, by the forecast, at the lead.
        switched: of those how many have another id then.
        query_switched: the same by the number of the query that found them, without matching.
    """

    followed: int
    kept: int
    forecast_px: float | None
    constant_velocity_px: float | None
    copy_last_px: float | None
    located: int
    forecast_m: float | None
    constant_velocity_m: float | None
    copy_last_m: float | None
    found: int
    switched: int
    query_switched: int


class ObjectMotionMeter:
    """Follows the objects of clips through forecasts."""

    def __init__(self) -> None:
        """Start with nothing followed."""
        self._followed: dict[int, int] = {}
        self._errors: dict[int, list[tuple[float, float, float]]] = {}
        self._errors_m: dict[int, list[tuple[float, float, float]]] = {}
        self._found: dict[int, list[tuple[bool, bool]]] = {}

    def update(
        self,
        before: Scene,
        now: Scene,
        steps: Sequence[Scene],
        truth: Mapping[int, Scene],
        rays: NDArray[np.float32] | None = None,
    ) -> None:
        """Follow the objects of one clip.

        Args:
            before, now: what the head sees in the last two frames of the context.
            steps: what it sees in the forecast, with instants that rise.
            truth: place in `steps` -> labels there, -1 for the newest frame; with `instances`
                whose ids last, and `segmentation` in the head's classes.
            rays: (H, W, 3) through the labels' pixels (`CameraView.pixel_rays`); with them and
                metric depth of scenes and labels, errors are taken in metres too.
        """
        tracker = IdentityTracker()
        (named_before,) = tracker.update(before.stamp_ns, [before])
        named = tracker.update(now.stamp_ns, [now, *steps])
        past, past_m = _centroids(named_before), _places(named_before, rays)
        now_m = _places(named[0], rays)
        seen = _partners(named[0], truth[-1])
        queries = _partners(now, truth[-1])
        spacing_s = (now.stamp_ns - before.stamp_ns) / 1e9
        for place, labels in truth.items():
            if place < 0:
                continue
            scene = named[place + 1]
            ahead_s = (scene.stamp_ns - now.stamp_ns) / 1e9
            here, here_m = _centroids(scene), _places(scene, rays)
            known_labels = replace(labels, detections=true_detections(labels))
            true, true_m = _centroids(known_labels), _places(known_labels, rays)
            then, by_query = _partners(scene, labels), _partners(steps[place], labels)
            for number, (known, at) in seen.items():
                if number in then:
                    is_switched = then[number][0] != known
                    is_other = by_query[number][0] != queries[number][0]
                    self._found.setdefault(place, []).append((is_switched, is_other))
                if number not in true or known not in past:
                    continue
                self._followed[place] = self._followed.get(place, 0) + 1
                if known in here:
                    ahead = ahead_s / spacing_s
                    ends = _ends(here[known], at, past[known], ahead)
                    self._errors.setdefault(place, []).append(_away(ends, true[number]))
                    if all(known in one for one in (here_m, now_m, past_m)) and number in true_m:
                        ends = _ends(here_m[known], now_m[known], past_m[known], ahead)
                        self._errors_m.setdefault(place, []).append(_away(ends, true_m[number]))

    def result(self, place: int) -> ObjectMotion | None:
        """Of one place in `steps`; None where no object was followed to it."""
        errors, found = self._errors.get(place, []), self._found.get(place, [])
        errors_m = self._errors_m.get(place, [])
        if place not in self._followed and not found:
            return None
        means, means_m = _means(errors), _means(errors_m)
        return ObjectMotion(
            followed=self._followed.get(place, 0),
            kept=len(errors),
            forecast_px=means[0],
            constant_velocity_px=means[1],
            copy_last_px=means[2],
            located=len(errors_m),
            forecast_m=means_m[0],
            constant_velocity_m=means_m[1],
            copy_last_m=means_m[2],
            found=len(found),
            switched=sum(switched for switched, _ in found),
            query_switched=sum(other for _, other in found),
        )


def _centroids(scene: Scene) -> dict[int, Array]:
    return {one.id: np.array(one.centroid) for one in scene.detections}


def _places(scene: Scene, rays: NDArray[np.float32] | None) -> dict[int, Array]:
    """Id -> (x, y, z) metres in the camera's frame, of the objects whose place is known."""
    found = {one.id: np.array(one.position) for one in locate(scene, rays).detections}
    return {number: place for number, place in found.items() if np.isfinite(place).all()}


def _ends(then: Array, now: Array, past: Array, ahead: float) -> tuple[Array, Array, Array]:
    """Where it is by the forecast, with a constant velocity, and standing still."""
    return then, now + (now - past) * ahead, now


def _away(ends: tuple[Array, Array, Array], true: Array) -> tuple[float, float, float]:
    first, second, third = (float(np.linalg.norm(end - true)) for end in ends)
    return first, second, third


def _means(errors: Sequence[tuple[float, float, float]]) -> list[float] | list[None]:
    return [float(mean) for mean in np.mean(errors, axis=0)] if errors else [None, None, None]


def _partners(scene: Scene, labels: Scene) -> dict[int, tuple[int, Array]]:
    """True id -> id and centroid (x, y) of the object of its class that overlaps it by half."""
    found: dict[int, tuple[int, Array]] = {}
    assert scene.instances is not None
    assert labels.instances is not None
    classes = {one.id: one.class_id for one in true_detections(labels)}
    for one in scene.detections:
        mask = scene.instances == one.id
        ids, counts = np.unique(labels.instances[mask], return_counts=True)
        for number, shared in zip(ids.tolist(), counts.tolist(), strict=True):
            if not number or classes.get(number) != one.class_id:
                continue
            area = int((labels.instances == number).sum())
            union = int(mask.sum()) + area - shared
            if area >= LEAST_PIXELS and shared > _LEAST_OVERLAP * union:
                found[number] = one.id, np.array(one.centroid)
    return found
