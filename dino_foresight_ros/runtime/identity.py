"""Identity: an object keeps its id through the steps of a forecast and from forecast to forecast.

Masks are matched where they are expected. A known object is expected at an instant where its last
forecast put it, and where its motion so far carries it; its mask is moved there and laid over the
masks that were found. The best assignment of all pairs is that of SciPy (`linear_sum_assignment`,
an extra), so the order of detections does not matter. Trackers of other libraries (ByteTrack,
OC-SORT, Norfair) match boxes of one instant after another; they neither take the later instants of
a forecast nor masks, and bring tens of megabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.runtime.mask_matching import Sight, Vector, assignment, overlaps, sights
from dino_foresight_ros.scene import Detection, Scene
from dino_foresight_ros.stamps import NS_PER_S

MAX_ID = 65535
"""Largest id; 0 is no object."""

# Overlap and nearness both count: masks of small objects that move fast do not overlap, and those
# of large ones are near each other where they do.
_NEARNESS_WEIGHT = 0.5
_OTHER_CLASS_WEIGHT = 0.5
_REACH = 1.5  # sizes of the object at which a centroid is no longer near
_SMOOTHING_S = 0.3  # over which motion is averaged


@dataclass(eq=False)
class _Track:
    """A known object.

    Attributes:
        id: of it.
        class_id: what it was last taken for.
        seen_ns: the newest frame whose forecast had it.
        path: its sights of that forecast, rising.
        current: its sights of the forecast that is being matched.
        velocity: pixels a second, averaged over frames; None before the second.
    """

    id: int
    class_id: int
    seen_ns: int
    path: list[Sight] = field(default_factory=list)
    current: list[Sight] = field(default_factory=list)
    velocity: Vector | None = None

    def expected(self, stamp_ns: int) -> Iterator[tuple[Sight, Vector]]:
        """Where it may be: a sight, and by how many pixels (x, y) it will have moved by then."""
        if self.path:
            yield self._on(self.path, stamp_ns)
        if self.current:
            yield self._on(self.current, stamp_ns)
        elif self.path and self.velocity is not None:
            first = self.path[0]
            yield first, self.velocity * ((stamp_ns - first.stamp_ns) / NS_PER_S)

    def _on(self, path: list[Sight], stamp_ns: int) -> tuple[Sight, Vector]:
        """Along a path: between two of its sights, or beyond them as its nearest two move."""
        nearest = min(path, key=lambda sight: abs(sight.stamp_ns - stamp_ns))
        ahead_s = (stamp_ns - nearest.stamp_ns) / NS_PER_S
        if ahead_s == 0.0:
            return nearest, np.zeros(2)
        place = path.index(nearest)
        other = place + 1 if ahead_s > 0 and place + 1 < len(path) else place - 1
        if other < 0:
            other = place + 1
        if other >= len(path):
            return nearest, (np.zeros(2) if self.velocity is None else self.velocity * ahead_s)
        between_s = (path[other].stamp_ns - nearest.stamp_ns) / NS_PER_S
        velocity = (path[other].centroid - nearest.centroid) / between_s
        return nearest, velocity * ahead_s

    def finish(self, frame_ns: int) -> None:
        """The forecast is matched: its sights become the path that the next one is expected on."""
        if not self.current:
            return
        if self.path and self.current[0].stamp_ns > self.path[0].stamp_ns:
            before, now = self.path[0], self.current[0]
            past_s = (now.stamp_ns - before.stamp_ns) / NS_PER_S
            velocity = (now.centroid - before.centroid) / past_s
            weight = 1.0 if self.velocity is None else 1.0 - float(np.exp(-past_s / _SMOOTHING_S))
            old = np.zeros(2) if self.velocity is None else self.velocity
            self.velocity = old + weight * (velocity - old)
        self.path, self.current, self.seen_ns = self.current, [], frame_ns


class IdentityTracker:
    """Gives the objects of one camera's forecasts ids that last.

    An id is 1 to 65535 and counts on; after the last one it starts anew, and leaves out those of
    objects that are still known.
    """

    def __init__(self, keep_s: float = 1.0, first_id: int = 1) -> None:
        """Know no object yet.

        Args:
            keep_s: how long an object that is not found any more, hidden by another one, keeps its
                id, seconds.
            first_id: of the first object.
        """
        self._keep_ns = round(keep_s * NS_PER_S)
        self._next = first_id
        self._tracks: list[_Track] = []
        self._frame_ns: int | None = None
        self._shape: tuple[int, int] | None = None

    def reset(self) -> None:
        """Forget all objects; ids count on."""
        self._tracks.clear()
        self._frame_ns = self._shape = None

    @property
    def live_ids(self) -> frozenset[int]:
        """Ids of the objects that are known."""
        return frozenset(track.id for track in self._tracks)

    def update(self, frame_ns: int, scenes: Sequence[Scene]) -> tuple[Scene, ...]:
        """Take a forecast's scenes, and give them with ids that last.

        Args:
            frame_ns: stamp of the forecast's newest context frame. Where it is not later than that
                of the forecast before, all objects are forgotten first.
            scenes: by rising instant; those without `instances` stay as they are. Detections whose
                id has no pixel in their box are left out; pixels without a detection become 0.

        Raises:
            UsageError: SciPy is missing.
        """
        if self._frame_ns is not None and frame_ns <= self._frame_ns:
            self.reset()
        self._frame_ns = frame_ns
        self._tracks = [t for t in self._tracks if frame_ns - t.seen_ns <= self._keep_ns]
        named = tuple(
            scene if scene.instances is None else self._name(frame_ns, scene) for scene in scenes
        )
        for track in self._tracks:
            track.finish(frame_ns)
        return named

    def _name(self, frame_ns: int, scene: Scene) -> Scene:
        ids = scene.instances
        assert ids is not None
        self._follow_size((ids.shape[0], ids.shape[1]))
        found = list(sights(scene))
        tracks = [
            t for t in self._tracks if not t.current or t.current[-1].stamp_ns < scene.stamp_ns
        ]
        affinities = _affinities(tracks, found, ids, scene.stamp_ns)
        table = np.zeros(MAX_ID + 1, np.uint16)
        named: list[Detection] = []
        partners = dict(assignment(affinities))
        for place, (detection, sight) in enumerate(found):
            if place in partners:
                track = tracks[partners[place]]
                track.class_id = detection.class_id
            else:
                track = _Track(self._new_id(), detection.class_id, frame_ns)
                self._tracks.append(track)
            track.current.append(sight)
            table[detection.id] = track.id
            named.append(replace(detection, id=track.id))
        made = replace(scene, instances=table[ids], detections=tuple(named))
        if not scene.samples:
            return made
        samples = tuple(named_alike(one, made) for one in scene.samples)
        return replace(made, samples=samples)

    def _new_id(self) -> int:
        taken = self.live_ids
        if len(taken) >= MAX_ID:
            raise UsageError(f"more than {MAX_ID} objects are known at once: keep them shorter")
        while self._next in taken:
            self._next = self._next % MAX_ID + 1
        fresh = self._next
        self._next = self._next % MAX_ID + 1
        return fresh

    def _follow_size(self, shape: tuple[int, int]) -> None:
        """Bring what is known to the size of maps from now on."""
        if self._shape is not None and shape != self._shape:
            scale = shape[0] / self._shape[0], shape[1] / self._shape[1]
            for track in self._tracks:
                track.path = [sight.resized(scale) for sight in track.path]
                track.current = [sight.resized(scale) for sight in track.current]
                if track.velocity is not None:
                    track.velocity = track.velocity * (scale[1], scale[0])
        self._shape = shape


def named_alike(scene: Scene, reference: Scene, others_from: int | None = None) -> Scene:
    """A scene with the ids that another view of nearly the same instant has.

    Args:
        scene: one of several futures, or the frame that came.
        reference: the mean of the futures, or the forecast of that frame.
        others_from: first id of objects that the reference does not have; None leaves them out.

    Raises:
        UsageError: SciPy is missing.
    """
    ids = scene.instances
    if ids is None or reference.instances is None:
        return scene
    shape, size = reference.instances.shape, ids.shape
    scale = size[0] / shape[0], size[1] / shape[1]
    tracks = [
        _Track(one.id, one.class_id, reference.stamp_ns, path=[sight.resized(scale)])
        for one, sight in sights(reference)
    ]
    found = list(sights(scene))
    pairs = dict(assignment(_affinities(tracks, found, ids, scene.stamp_ns)))
    table = np.zeros(MAX_ID + 1, np.uint16)
    named = []
    for place, (detection, _) in enumerate(found):
        number = tracks[pairs[place]].id if place in pairs else others_from
        if number is None:
            continue
        if place not in pairs:
            others_from = number % MAX_ID + 1
        table[detection.id] = number
        named.append(replace(detection, id=number))
    return replace(scene, instances=table[ids], detections=tuple(named))


def _affinities(
    tracks: Sequence[_Track],
    found: Sequence[tuple[Detection, Sight]],
    ids: NDArray[np.uint16],
    stamp_ns: int,
) -> Vector:
    """(detections, tracks): how well each fits each."""
    result = np.zeros((len(found), len(tracks)))
    if not result.size:
        return result
    places = np.zeros(MAX_ID + 1, np.intp)
    for place, (detection, _) in enumerate(found, 1):
        places[detection.id] = place
    areas = np.array([sight.area for _, sight in found], np.float64)
    centroids = np.array([sight.centroid for _, sight in found])
    sizes = np.array([sight.size for _, sight in found])
    classes = np.array([detection.class_id for detection, _ in found])
    for column, track in enumerate(tracks):
        for sight, moved in track.expected(stamp_ns):
            offset = centroids - (sight.centroid + moved)
            away = np.hypot(offset[:, 0], offset[:, 1])
            if (away > sizes + sight.size).all():  # too far to overlap or be near
                continue
            shared = overlaps(sight, moved, ids, places, len(found))
            overlap = shared / (areas + sight.area - shared)
            reach = _REACH * np.minimum(sizes, sight.size)
            nearness = np.maximum(1.0 - away / reach, 0.0)
            alike = np.minimum(areas, sight.area) / np.maximum(areas, sight.area)
            affinity = overlap + _NEARNESS_WEIGHT * nearness * np.sqrt(alike)
            result[:, column] = np.maximum(result[:, column], affinity)
        result[:, column] *= np.where(classes == track.class_id, 1.0, _OTHER_CLASS_WEIGHT)
    return result
