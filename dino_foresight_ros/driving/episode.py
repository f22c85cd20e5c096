"""One drive of one policy through one world, and what happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from dino_foresight_ros.driving.maneuvers import KEEP, ego_footprint, trajectory_of
from dino_foresight_ros.driving.perception import Truth
from dino_foresight_ros.driving.policies import Choice, met_on
from dino_foresight_ros.obstacles import Sweep
from dino_foresight_ros.synthetic import Drive, Frame, World

RATE_HZ = 5.0
HARD_MPS2 = 4.0
_STANDING_MPS, _GOING_MPS = 0.3, 1.0
_STRUCK_MPS = 0.5
"""A slower ego was struck, and did not strike."""


class Driver(Protocol):
    """What chooses: a policy, or a collision monitor."""

    @property
    def needs_picture(self) -> bool: ...

    def choose(self, drive: Drive, frame: Frame | None) -> Choice: ...


class Instant(NamedTuple):
    """One step of a drive, for pictures."""

    drive: Drive
    frame: Frame
    choice: Choice
    collisions: int


@dataclass
class Episode:
    """What happened.

    Attributes:
        duration_s: of the drive.
        travelled_m: along the road.
        collisions: objects that the ego ran into, each counted once.
        off_road: times that it came beyond a kerb.
        stops: times that it began to brake for something.
        false_stops: those of them in which nothing would have been met by going on.
        hard_brakes: times that it began to brake by more than 4 m/s^2.
        contact_margins_s: at each stop with a reason, the time that was left until contact.
        stopping_s: from beginning to brake until it stood, of stops that ended so.
        resuming_s: from the trajectory being free again until it went, of a standing ego.
        contacts: what was run into: class id, seconds, m/s.
    """

    duration_s: float = 0.0
    travelled_m: float = 0.0
    collisions: int = 0
    off_road: int = 0
    stops: int = 0
    false_stops: int = 0
    hard_brakes: int = 0
    contact_margins_s: list[float] = field(default_factory=list)
    stopping_s: list[float] = field(default_factory=list)
    resuming_s: list[float] = field(default_factory=list)
    contacts: list[tuple[int, float, float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class _Watch:
    """Counts what happens, by the world's truth."""

    def __init__(self, episode: Episode) -> None:
        self._episode, self._truth = episode, Truth()
        self._footprint = ego_footprint()
        self._met: set[int] = set()
        self._was_off = self._was_stopping = self._was_hard = False
        self._stop_began_s = self._free_since_s = float("nan")

    def before(self, drive: Drive, choice: Choice) -> None:
        """Judge a choice before it is carried out."""
        episode, speed = self._episode, drive.ego.speed_mps
        is_hard = choice.control.acceleration_mps2 < -HARD_MPS2 and speed > _STANDING_MPS
        episode.hard_brakes += is_hard and not self._was_hard
        self._was_hard = is_hard
        if choice.stops and not self._was_stopping and speed > _GOING_MPS:
            episode.stops += 1
            self._stop_began_s = drive.t_s
            swept = self._going_on(drive)
            if swept.contact:
                episode.contact_margins_s.append(round(swept.time_to_contact_s, 2))
            else:
                episode.false_stops += 1
        if not choice.stops:
            self._stop_began_s = float("nan")
        self._was_stopping = choice.stops
        if speed < _STANDING_MPS:
            if not np.isnan(self._stop_began_s):
                episode.stopping_s.append(round(drive.t_s - self._stop_began_s, 2))
                self._stop_began_s = float("nan")
            if np.isnan(self._free_since_s) and not self._going_on(drive).contact:
                self._free_since_s = drive.t_s
        elif speed > _GOING_MPS and not np.isnan(self._free_since_s):
            episode.resuming_s.append(round(drive.t_s - self._free_since_s, 2))
            self._free_since_s = float("nan")

    def after(self, drive: Drive) -> None:
        """Look for contacts, at the end of a part of a step."""
        episode = self._episode
        touched = drive.contact()
        if touched is not None and touched.instance not in self._met:
            self._met.add(touched.instance)
            if drive.ego.speed_mps > _STRUCK_MPS:
                episode.collisions += 1
                speed = round(drive.ego.speed_mps, 1)
                episode.contacts.append((touched.class_id, round(drive.t_s, 1), speed))
        off = drive.is_off_road
        episode.off_road += off and not self._was_off
        self._was_off = off

    def _going_on(self, drive: Drive) -> Sweep:
        self._truth.see(drive, None)
        return met_on(self._truth, trajectory_of(drive, KEEP), self._footprint)


def drive_episode(
    world: World,
    driver: Driver,
    duration_s: float,
    hazards: tuple[str, ...],
    on_instant: Callable[[Instant], None] | None = None,
) -> Episode:
    """Drive for so long from the world's beginning.

    Args:
        world: rendered at its own size, where the driver or `on_instant` needs pictures.
        driver: asked 5 times a second.
        duration_s: of the world.
        hazards: kinds of road users that react, of `HAZARDS`.
        on_instant: is shown every step.
    """
    drive, episode = world.drive(hazards=hazards), Episode()
    watch = _Watch(episode)
    for _ in range(round(duration_s * RATE_HZ)):
        frame = drive.render() if driver.needs_picture or on_instant is not None else None
        choice = driver.choose(drive, frame)
        if on_instant is not None and frame is not None:
            on_instant(Instant(drive.fork(), frame, choice, episode.collisions))
        watch.before(drive, choice)
        # Contacts are looked for twice a step, so that nothing narrow is driven through.
        for _ in range(2):
            drive.step(choice.control, 0.5 / RATE_HZ)
            watch.after(drive)
    episode.duration_s, episode.travelled_m = round(drive.t_s, 2), round(drive.travelled_m, 2)
    return episode
