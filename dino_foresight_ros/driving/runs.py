"""Many drives: a file per seed, so that a run goes on where it was stopped."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dino_foresight_ros.driving.episode import RATE_HZ, Driver, Instant, drive_episode
from dino_foresight_ros.driving.monitor import CollisionMonitor
from dino_foresight_ros.driving.perception import CopyLast, Perception, Sensor, Truth
from dino_foresight_ros.driving.pictures import panel, write_video
from dino_foresight_ros.driving.policies import BRAKING, STEERING, Policy
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.process.cpu import set_up_cpu
from dino_foresight_ros.synthetic import HAZARDS, World, WorldConfig

if TYPE_CHECKING:
    from dino_foresight_ros.model import Bundle

SIZE = (88, 160)
NEEDS_BUNDLE = ("present", "forecast", "imagine", "monitor-forecast")


@dataclass(frozen=True)
class DriveSettings:
    """What the result of a seed depends on, besides the seed.

    Attributes:
        duration_s: of each drive.
        hazards: of `HAZARDS`.
        scene: of the worlds; None for what each seed draws.
        bundle: a path or a name; empty for none.
        horizons_s: of its forecasts.
        size: (height, width) of the pictures; those of the bundle where there is one.
    """

    duration_s: float = 30.0
    hazards: tuple[str, ...] = HAZARDS
    scene: str | None = None
    bundle: str = ""
    device: str = "cpu"  # of the bundle
    dtype: str = "auto"  # of the bundle, as forecast_node runs it
    horizons_s: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)
    size: tuple[int, int] = SIZE

    def fitted(self) -> DriveSettings:
        """With pictures of the bundle's size and its dtype by name, where there is a bundle."""
        if not self.bundle:
            return self
        bundle = _bundle(self.bundle, self.device, self.dtype)
        height, width = bundle.encoder.config.image_size
        dtype = str(bundle.dtype).removeprefix("torch.")
        return replace(self, size=(int(height), int(width)), dtype=dtype)

    def world(self, seed: int) -> WorldConfig:
        """The world of a seed."""
        height, width = self.size
        return WorldConfig(
            seed=seed,
            width=width,
            height=height,
            frame_rate_hz=RATE_HZ,
            scene=self.scene,
            view_distance_m=100.0,
        )


def make_driver(name: str, settings: DriveSettings) -> Driver:
    """The policy or monitor of a name.

    Raises:
        UsageError: it needs a bundle and there is none, or the bundle lacks a head.
    """
    if name == "constant":
        return Policy(None)
    steers = name in ("imagine", "oracle")
    perception = _perception(name.removeprefix("monitor-"), settings)
    if name.startswith("monitor-"):
        return CollisionMonitor(perception)
    return Policy(perception, STEERING if steers else BRAKING)


def _perception(name: str, settings: DriveSettings) -> Perception:
    if name == "sensor":
        return Sensor()
    if name in ("oracle", "truth"):
        return Truth()
    if name == "copy-last" and not settings.bundle:
        return CopyLast(Sensor())
    if not settings.bundle:
        raise UsageError(f"policy {name} drives by a bundle; give --bundle")
    from dino_foresight_ros.driving import foreseen

    kinds: dict[str, type[foreseen.Foreseen]] = {
        "present": foreseen.Present,
        "copy-last": foreseen.Present,
        "forecast": foreseen.Foreseen,
        "imagine": foreseen.Imagined,
    }
    bundle = _bundle(settings.bundle, settings.device, settings.dtype)
    found = kinds[name](bundle, settings.horizons_s)
    return CopyLast(found) if name == "copy-last" else found


@lru_cache(maxsize=1)
def _bundle(path: str, device: str, dtype: str) -> Bundle:
    from dino_foresight_ros.model import Bundle
    from dino_foresight_ros.model.devices import resolve_device, resolve_dtype

    where = resolve_device(device)
    return Bundle.load(path, device=where, dtype=resolve_dtype(dtype, where))


def drive_seed(seed: int, names: Sequence[str], settings: DriveSettings, out: Path) -> list[str]:
    """Drive one seed with every policy that its file does not have yet; returns what was driven.

    The file is written anew after each policy. Results of other settings are driven again.
    """
    path = out / f"seed_{seed:05d}.json"
    kept = json.loads(json.dumps(asdict(settings)))
    found: dict[str, Any] = {}
    if path.exists():
        before = json.loads(path.read_text())
        found = before["policies"] if before["settings"] == kept else {}
    missing = [name for name in names if name not in found]
    world = World(settings.world(seed)) if missing else None
    for name in missing:
        assert world is not None
        driver = make_driver(name, settings)
        episode = drive_episode(world, driver, settings.duration_s, settings.hazards)
        found[name] = episode.to_dict()
        text = json.dumps({"seed": seed, "settings": kept, "policies": found}, indent=1)
        scratch = path.with_suffix(f".{os.getpid()}.part")
        scratch.write_text(text)
        scratch.replace(path)
    return missing


def drive_seeds(
    seeds: Sequence[int],
    names: Sequence[str],
    settings: DriveSettings,
    out: Path,
    workers: int = 1,
    say: Callable[[str], None] = print,
) -> dict[str, list[dict[str, Any]]]:
    """Drive every seed with every policy, in so many processes.

    Returns:
        Policy -> the episodes of all seeds (`Episode.to_dict`).
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        make_driver(name, settings)  # what cannot be driven is said before anything is
    if workers == 1:
        _tell(((seed, drive_seed(seed, names, settings, out)) for seed in seeds), seeds, say)
    else:
        # Started afresh, since torch's threads do not survive a fork.
        context = get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
            tasks = {pool.submit(drive_seed, s, names, settings, out): s for s in seeds}
            _tell(((tasks[t], t.result()) for t in as_completed(tasks)), seeds, say)
    files = [json.loads((out / f"seed_{seed:05d}.json").read_text()) for seed in seeds]
    return {name: [file["policies"][name] for file in files] for name in names}


def _one_thread() -> None:
    """In a process that was started afresh, before torch is imported."""
    os.environ["OMP_NUM_THREADS"] = "1"
    set_up_cpu()
    import cv2

    cv2.setNumThreads(1)


def _tell(
    done: Iterable[tuple[int, list[str]]], seeds: Sequence[int], say: Callable[[str], None]
) -> None:
    for count, (seed, driven) in enumerate(done, start=1):
        what = ", ".join(driven) if driven else "kept from before"
        say(f"{count} of {len(seeds)}: seed {seed}: {what}")


def film_seed(seed: int, names: Sequence[str], settings: DriveSettings, path: Path) -> None:
    """Drive one seed with every policy and write them side by side as MP4."""
    world = World(settings.world(seed))
    panels = {}
    for name in names:
        shown: list[Any] = []
        counts: list[int] = [0]

        def show(
            instant: Instant, name: str = name, shown: list[Any] = shown, counts: list[int] = counts
        ) -> None:
            struck = instant.collisions > counts[max(len(counts) - 3, 0)]
            counts.append(instant.collisions)
            shown.append(panel(name, instant, struck))

        driver = make_driver(name, settings)
        drive_episode(world, driver, settings.duration_s, settings.hazards, show)
        panels[name] = shown
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, panels)


def read_seeds(text: str) -> list[int]:
    """Numbers and ranges such as 0-19,42.

    Raises:
        UsageError: it is something else.
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip())
        last = int(found[2] or found[1]) if found else -1
        if found is None or not int(found[1]) <= last < int(found[1]) + 100_000:
            raise UsageError(f"seeds are {text!r}; give numbers and ranges, such as 0-19,42")
        seeds += range(int(found[1]), last + 1)
    return list(dict.fromkeys(seeds))
