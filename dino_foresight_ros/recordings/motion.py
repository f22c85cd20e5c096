"""How a vehicle moved between any two instants, from poses or twists at instants of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dino_foresight_ros.planar_motion import (
    Motion,
    compose,
    motion_between,
    of_twist,
    twist_of,
    wrapped,
)
from dino_foresight_ros.stamps import NS_PER_S

Poses = NDArray[np.float64]
"""(N, 4, 4) world_from_base: x forward, y left, z up; NaN where unknown."""

MAX_GAP_S = 0.5
"""Between poses further apart nothing is known."""
_HOLD_S = 0.02
"""So far beside a pose it is held: before the first, after the last, inside a gap."""
# A step is a jump where it leaves what the steps around it foretell by more than a vehicle can
# change in that time: room for noise, and 10 m/s^2 or 3 rad/s^2.
_JUMP_M, _JUMP_MPS2 = 0.3, 10.0
_JUMP_RAD, _JUMP_RADPS2 = 0.2, 3.0
_STEPS_AROUND = 2


def relative_motion(world_from_base: Poses, i: ArrayLike, j: ArrayLike) -> Motion:
    """The motion (..., 3) of base_link from poses of index i to those of index j.

    Args:
        world_from_base: (N, 4, 4).
        i, j: (...) indices.

    Returns:
        dx m forward, dy m to the left, dyaw rad to the left; NaN where a pose is unknown.
    """
    return motion_between(world_from_base[np.asarray(i)], world_from_base[np.asarray(j)])


@dataclass(frozen=True)
class EgoMotion:
    """How the vehicle moves, one row per frame of the recording; NaN where unknown.

    Attributes:
        speed_mps: (N,) float64 forward speed in m/s.
        steering_rad: (N,) float64 steering-wheel angle, left positive.
        world_from_ego: (N, 4, 4) float64, takes points of the vehicle's frame (x forward, y left,
            z up; base_link) to a fixed frame.
        segments: (N,) int64; between poses of different segments the localisation jumped, so that
            they say nothing of the motion. None: there is one segment.
    """

    speed_mps: NDArray[np.float64]
    steering_rad: NDArray[np.float64]
    world_from_ego: NDArray[np.float64]
    segments: NDArray[np.int64] | None = None

    def at(self, indices: NDArray[np.int64]) -> EgoMotion:
        """Return the rows of some frames."""
        return EgoMotion(
            self.speed_mps[indices],
            self.steering_rad[indices],
            self.world_from_ego[indices],
            None if self.segments is None else self.segments[indices],
        )

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """As arrays with a row per frame, by name, for a file; `of_arrays` reads them."""
        count = len(self.speed_mps)
        segments = np.zeros(count) if self.segments is None else self.segments
        return {
            "ego_poses": self.world_from_ego.reshape(count, 4, 4),
            "ego_signals": np.stack([self.speed_mps, self.steering_rad, segments], axis=1),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[np.float64]]) -> EgoMotion:
        """What `arrays` gave."""
        speed, steering, segments = arrays["ego_signals"].reshape(-1, 3).T
        poses = arrays["ego_poses"].reshape(-1, 4, 4)
        return cls(speed.copy(), steering.copy(), poses, segments.astype(np.int64))

    def between(self, i: ArrayLike, j: ArrayLike) -> Motion:
        """The motion (..., 3) of base_link from frames i to frames j; a NaN where unknown."""
        found = relative_motion(self.world_from_ego, i, j)
        if self.segments is not None:
            same = self.segments[np.asarray(i)] == self.segments[np.asarray(j)]
            found = np.where(same[..., None], found, np.nan)
        return found

    def twists(self, stamps_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """The twist (N, 3) at each frame, by the frames before and after it; NaN where unknown.

        Args:
            stamps_ns: (N,) of the frames.

        Returns:
            m/s forward, m/s to the left and rad/s to the left.
        """
        every = np.arange(len(stamps_ns))
        before, after = (every - 1).clip(0), (every + 1).clip(max=len(every) - 1)
        seconds = ((stamps_ns[after] - stamps_ns[before]) / NS_PER_S)[:, None]
        twists = np.full((len(every), 3), np.nan)
        np.divide(twist_of(self.between(before, after)), seconds, out=twists, where=seconds > 0)
        return twists


@dataclass(frozen=True)
class MotionTrack:
    """Poses of base_link at instants, and everything between them.

    Between two poses the twist is held; where they are more than 0.5 s apart nothing is known.

    Attributes:
        stamps_ns: (N,) int64, rising.
        world_from_base: (N, 4, 4) float64.
        segments: (N,) int64, rising; another one after each jump of the localisation.
    """

    stamps_ns: NDArray[np.int64]
    world_from_base: Poses
    segments: NDArray[np.int64]

    @classmethod
    def from_poses(cls, stamps_ns: ArrayLike, world_from_base: ArrayLike) -> MotionTrack:
        """Take poses in any order; of one stamp the last counts, and those with NaN are left out.

        Args:
            stamps_ns: (N,) integers.
            world_from_base: (N, 4, 4).
        """
        stamps = np.asarray(stamps_ns, np.int64)
        poses = np.asarray(world_from_base, np.float64).reshape(-1, 4, 4)
        known = np.isfinite(poses).all(axis=(1, 2))
        stamps, poses = stamps[known], poses[known]
        order = np.argsort(stamps, kind="stable")
        stamps, poses = stamps[order], poses[order]
        last = np.append(np.diff(stamps) > 0, True)[: len(stamps)]
        stamps, poses = stamps[last], poses[last]
        jumps = find_jumps(stamps, poses)
        return cls(stamps, poses, np.append(0, np.cumsum(jumps))[: len(stamps)])

    @classmethod
    def from_twists(cls, stamps_ns: ArrayLike, twists: ArrayLike) -> MotionTrack:
        """Integrate twists from stamp to stamp, the mean of two being held between them.

        Args:
            stamps_ns: (N,) integers.
            twists: (N, 3) m/s forward, m/s to the left, rad/s to the left.
        """
        stamps, values = np.asarray(stamps_ns, np.int64), np.asarray(twists, np.float64)
        known = np.isfinite(values).all(axis=1)
        stamps, values = stamps[known], values[known]
        stamps, first = np.unique(stamps, return_index=True)
        values = values[first]
        seconds = np.diff(stamps) / NS_PER_S
        place = np.zeros(3)
        poses = np.empty((len(stamps), 4, 4))
        steps = of_twist((values[1:] + values[:-1]) / 2, seconds)
        for number in range(len(stamps)):
            poses[number] = planar_pose(place)
            if number < len(steps):
                place = compose(place, steps[number])
        gaps = np.cumsum(seconds > MAX_GAP_S)
        return cls(stamps, poses, np.append(0, gaps)[: len(stamps)].astype(np.int64))

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def at(self, stamps_ns: ArrayLike) -> tuple[Poses, NDArray[np.int64]]:
        """Poses (M, 4, 4) at instants (M,), NaN where unknown, and their segments, -1 there."""
        wanted = np.atleast_1d(np.asarray(stamps_ns, np.int64))
        poses = np.full((len(wanted), 4, 4), np.nan)
        segments = np.full(len(wanted), -1, np.int64)
        if not len(self):
            return poses, segments
        last = len(self) - 1
        after = np.searchsorted(self.stamps_ns, wanted).clip(0, last)
        before = np.where(self.stamps_ns[after] > wanted, after - 1, after).clip(0)
        start, end = self.stamps_ns[before], self.stamps_ns[after]
        gap_s = (end - start) / NS_PER_S
        inside = (start <= wanted) & (wanted <= end) & (gap_s <= MAX_GAP_S)
        inside &= self.segments[before] == self.segments[after]
        fraction = np.where(
            gap_s > 0, (wanted - start) / NS_PER_S / np.where(gap_s > 0, gap_s, 1.0), 0.0
        )
        moved = self._part(before[inside], after[inside], fraction[inside])
        poses[inside], segments[inside] = moved, self.segments[before[inside]]
        ends = np.stack([before, after])
        off_s = np.abs(self.stamps_ns[ends] - wanted) / NS_PER_S
        nearest = np.take_along_axis(ends, off_s.argmin(axis=0)[None], axis=0)[0]
        held = ~inside & (off_s.min(axis=0) <= _HOLD_S)
        poses[held], segments[held] = (
            self.world_from_base[nearest[held]], self.segments[nearest[held]],
        )  # fmt: skip
        return poses, segments

    def between(self, from_ns: int, to_ns: int) -> Motion:
        """The motion (3,) float64 of base_link from one instant to another; NaN where unknown."""
        poses, segments = self.at([from_ns, to_ns])
        if segments[0] != segments[1]:
            return np.full(3, np.nan)
        return motion_between(poses[0], poses[1])

    def ego(self, stamps_ns: NDArray[np.int64]) -> EgoMotion:
        """The motion at the frames of a recording, (N,) stamps."""
        poses, segments = self.at(stamps_ns)
        found = EgoMotion(
            np.full(len(stamps_ns), np.nan), np.full(len(stamps_ns), np.nan), poses, segments
        )
        found.speed_mps[:] = found.twists(stamps_ns)[:, 0]
        return found

    def _part(
        self, before: NDArray[np.intp], after: NDArray[np.intp], fraction: NDArray[np.float64]
    ) -> Poses:
        """Poses some fraction of the way between poses of two indices."""
        first, then = self.world_from_base[before], self.world_from_base[after]
        moved = of_twist(twist_of(motion_between(first, then)), fraction)
        poses = first @ planar_pose(moved)
        heights = (first[:, 2, 3], then[:, 2, 3])
        poses[:, 2, 3] = (1 - fraction) * heights[0] + fraction * heights[1]
        return poses


EGO_ARRAYS = ("ego_poses", "ego_signals")
"""What `EgoMotion.arrays` gives."""


def planar_pose(motion: ArrayLike) -> Poses:
    """Motions (..., 3) as poses (..., 4, 4)."""
    m = np.asarray(motion, np.float64)
    cos, sin = np.cos(m[..., 2]), np.sin(m[..., 2])
    poses = np.zeros((*m.shape[:-1], 4, 4))
    poses[..., 0, 0], poses[..., 0, 1], poses[..., 0, 3] = cos, -sin, m[..., 0]
    poses[..., 1, 0], poses[..., 1, 1], poses[..., 1, 3] = sin, cos, m[..., 1]
    poses[..., 2, 2] = poses[..., 3, 3] = 1.0
    return poses


def find_jumps(stamps_ns: NDArray[np.int64], world_from_base: Poses) -> NDArray[np.bool_]:
    """Which steps from pose to pose no vehicle makes: the localisation jumped, or was reset.

    Each step is compared with the median twist of up to two steps before and two after it.

    Args:
        stamps_ns: (N,) rising.
        world_from_base: (N, 4, 4) without NaN.

    Returns:
        (N - 1,), also where more than 0.5 s lie between two poses.
    """
    count = max(len(stamps_ns) - 1, 0)
    seconds = np.diff(stamps_ns) / NS_PER_S
    is_gap = seconds > MAX_GAP_S
    if count < 2:
        return is_gap
    every = np.arange(count)
    steps = relative_motion(world_from_base, every, every + 1)
    twists = twist_of(steps) / seconds[:, None]
    offsets = [o for o in range(-_STEPS_AROUND, _STEPS_AROUND + 1) if o]
    around = every[:, None] + np.array(offsets)
    neighbours = twists[around.clip(0, count - 1)]
    neighbours[(around < 0) | (around >= count)] = np.nan
    foretold = np.nanmedian(neighbours, axis=1) * seconds[:, None]
    off = steps - of_twist(foretold)
    far = np.hypot(off[:, 0], off[:, 1]) > _JUMP_M + _JUMP_MPS2 * seconds**2
    turned = np.abs(wrapped(off[:, 2])) > _JUMP_RAD + _JUMP_RADPS2 * seconds**2
    jumps: NDArray[np.bool_] = is_gap | far | turned
    return jumps
