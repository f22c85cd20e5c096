"""Feature errors by continuous horizon, from contexts as cameras give them: any rate, jitter, gaps.

Errors are those of `compare.feature_errors`, in percent below copying the newest frame. Every frame
counts as of its own stamp, so nothing is off by half a frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dino_foresight_ros.compare import nearest_frames, patch_errors
from dino_foresight_ros.compare.feature_errors import METRICS, clip_errors, energy_scores
from dino_foresight_ros.compare.measures import within_spread
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model import Forecaster
from dino_foresight_ros.model.forecasters import WorldForecaster
from dino_foresight_ros.planar_motion import Motion
from dino_foresight_ros.recordings import Recording
from dino_foresight_ros.render.markdown import table
from dino_foresight_ros.stamps import NS_PER_S
from dino_foresight_ros.training.evaluation.contexts import (
    ANOTHER,
    MOTIONS,
    NEAR,
    TRUE,
    UNKNOWN,
    Setting,
    context_row,
)
from dino_foresight_ros.training.feature_clips import FeatureRecording, read_features
from dino_foresight_ros.training.feature_store import FeatureStore
from dino_foresight_ros.training.model_parts import load_forecaster

HORIZONS_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
_TURN_RAD = np.radians(5.0)
_TRIES = 40
"""So many contexts are looked at for one on a turn."""


def settings_of(
    forecaster: Forecaster, interval_s: float, has_motion: bool = False
) -> tuple[Setting, ...]:
    """What is compared: the nominal context; for kind world also all that only it can answer.

    Args:
        forecaster: of any kind.
        interval_s: between the frames of a nominal context.
        has_motion: whether it is known of recordings how the vehicle moves; then turns apart, and
            what motion tells a forecaster that takes it.
    """
    nominal = Setting(forecaster.context_frames, interval_s)
    if has_motion:
        told = MOTIONS if forecaster.takes_motion else (UNKNOWN,)
        about = [replace(nominal, motion=m, turns=t) for t in (False, True) for m in told]
    else:
        about = [nominal]
    if not isinstance(forecaster, WorldForecaster):
        return tuple(about)
    frames = nominal.frames
    return (
        *about,
        Setting(frames, interval_s, feed_back_beyond_s=interval_s),
        Setting(frames, interval_s, jitter=0.3),
        Setting(frames, interval_s, missing=0.3),
        Setting(frames, interval_s / 2),
        Setting(2, interval_s),
        Setting(8, interval_s / 2),
        Setting(16, interval_s / 4),
    )


def compare_instants(
    forecasters: Sequence[str],
    features: Path,
    clips: int,
    seed: int = 0,
    samples: int = 8,
    device: torch.device | str = "cpu",
) -> list[dict[str, Any]]:
    """Score forecasters in all settings, on the same contexts.

    Args:
        forecasters: runs, parts or bundles.
        features: a store, made with the PCA that they were trained on.
        clips, seed, samples: as `score_instants` takes them.
        device: where forecasters run.

    Returns:
        For each forecaster and setting its names, kind, number of parameters and horizons; none
        where no recording has such a context.

    Raises:
        ForesightError: no such forecaster or store; features of another encoder or PCA.
    """
    store = FeatureStore.open(features)
    recordings = [FeatureRecording(stored, store.info.grid) for stored in store.recordings]
    made_with = {"encoder": store.info.encoder, "pca": store.info.pca}
    rows: list[dict[str, Any]] = []
    for path in forecasters:
        forecaster, part = load_forecaster(path)
        for kind, origin in made_with.items():
            if origin is not None:
                part.check_made_with(kind, origin)
        forecaster = forecaster.to(device)
        forecaster.frame_interval_s = part.frame_interval_s or forecaster.frame_interval_s
        has_motion = any(recording.ego is not None for recording in recordings)
        for setting in settings_of(forecaster, forecaster.frame_interval_s, has_motion):
            try:
                horizons = score_instants(
                    forecaster, recordings, setting, HORIZONS_S, clips, seed, samples
                )
            except InputError:
                if not rows:
                    raise
                horizons = {}  # a slow camera, or a short recording, has no such context
            rows.append(
                {
                    "forecaster": part.name,
                    "kind": forecaster.kind,
                    "parameters": sum(p.numel() for p in forecaster.parameters()),
                    "setting": setting.name,
                    "horizons": {f"{h:g}": values for h, values in horizons.items()},
                }
            )
    return rows


def instants_table(rows: Sequence[Mapping[str, Any]], metric: str = METRICS[0]) -> str:
    """A Markdown table: percent below copying the newest frame, by horizon.

    Where several futures were drawn also that of the best of them, and how far they differ over how
    far their mean is off: 1 where the spread tells the truth.
    """
    horizons = sorted({h for row in rows for h in row["horizons"]}, key=float)

    def cell(values: Mapping[str, Any] | None) -> str:
        if values is None:
            return "-"
        text = f"{values['skill'][metric]:.1f}"
        best = values.get("skill_of_best")
        if best is None:
            return text
        return f"{text} (best {best[metric]:.1f}, spread {values['spread_over_error']:.2f})"

    return table(
        ["forecaster", "context", *(f"{h} s" for h in horizons)],
        (
            [
                f"{row['forecaster']} ({row['kind']})",
                row["setting"],
                *(cell(row["horizons"].get(h)) for h in horizons),
            ]
            for row in rows
        ),
    )


@dataclass
class HorizonErrors:
    """Sums over clips at one horizon.

    Attributes:
        clips: how many there were.
        ahead_s: sum of how far ahead their targets really were.
        forecast: sum of the errors, in the order of METRICS; of the mean where there are samples.
        copied: the same of copying the newest frame.
        best, each: the same of the best sample, and of the samples on average.
        pairs: spread of the samples and SmoothL1 of their mean, clip by clip.
        variance: sum of the samples' variance, mean over patches and channels.
        patch_correlation: sum of the rank correlations of spread and error over a clip's patches.
        within_spread: sum of the shares of patches whose error is within twice the spread.
        energy: sum of the energy score: mean distance of samples from the truth, less half their
            mean distance from one another (root of the mean square over patches and channels). Of
            one prediction it is its distance, so that one and several can be compared.
    """

    clips: int = 0
    ahead_s: float = 0.0
    forecast: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(METRICS)))
    copied: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(METRICS)))
    best: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(METRICS)))
    each: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(METRICS)))
    pairs: list[tuple[float, float]] = field(default_factory=list)
    energy: float = 0.0
    variance: float = 0.0
    patch_correlation: float = 0.0
    within_spread: float = 0.0

    def skill(self, errors: NDArray[np.float64]) -> dict[str, float]:
        """Percent below copying the newest frame, by metric."""
        return {m: float(100 * (1 - e / c)) for m, e, c in zip(METRICS, errors, self.copied)}  # noqa: B905

    def result(self) -> dict[str, Any]:
        """Plain values."""
        values: dict[str, Any] = {
            "clips": self.clips,
            "measured_s": self.ahead_s / self.clips,
            "skill": self.skill(self.forecast),
            "energy_score": self.energy / self.clips,
        }
        if self.pairs:
            spread, error = np.array(self.pairs).T
            values["skill_of_best"] = self.skill(self.best)
            values["skill_of_each"] = self.skill(self.each)
            values["spread_error_correlation"] = _rank_correlation(spread, error)
            values["patch_correlation"] = self.patch_correlation / self.clips
            values["within_spread"] = self.within_spread / self.clips
            mse = self.forecast[METRICS.index("mse")]
            values["spread_over_error"] = float(np.sqrt(self.variance / mse)) if mse else 0.0
        return values


def score_instants(
    forecaster: Forecaster,
    recordings: Sequence[Recording],
    setting: Setting,
    horizons_s: Sequence[float] = HORIZONS_S,
    clips: int = 64,
    seed: int = 0,
    samples: int = 1,
) -> dict[float, dict[str, Any]]:
    """Score one setting.

    Args:
        forecaster: with its frame interval; kind masked is scored at its multiples alone.
        recordings: of features.
        setting: how contexts lie.
        horizons_s: seconds ahead.
        clips: how many contexts, spread over the recordings.
        seed: of where they lie.
        samples: futures drawn of each, where the forecaster draws them.

    Returns:
        Horizon -> skill by metric, and what was measured; horizons without any clip left out.

    Raises:
        InputError: no recording is long enough for a context and the nearest horizon.
    """
    if isinstance(forecaster, WorldForecaster):
        forecaster = forecaster.with_options(feed_back_beyond_s=setting.feed_back_beyond_s)
    else:
        interval_s = forecaster.frame_interval_s
        steps = sorted({max(1, round(h / interval_s)) for h in horizons_s})
        horizons_s = [s * interval_s for s in steps if s <= 16]
    samples = min(samples, forecaster.max_samples)
    found: dict[float, HorizonErrors] = {h: HorizonErrors() for h in horizons_s}
    taken = 0
    for index in range(clips * (_TRIES if setting.turns else 1)):
        rng = np.random.default_rng([seed, index])
        recording = recordings[index % len(recordings)]
        row = _context(recording.stamps_ns, setting, min(horizons_s), rng)
        if row is None or (setting.turns and not _turns(recording, int(row[-1]))):
            continue
        told = None
        if forecaster.takes_motion and setting.motion == TRUE:
            told = recording, int(row[-1])
        elif forecaster.takes_motion and setting.motion == ANOTHER:
            told = _another(recordings, index, rng)
        _score_clip(forecaster, recording, row, found, samples, told)
        taken += 1
        if taken == clips:
            break
    if not any(one.clips for one in found.values()):
        raise InputError(
            f"no recording is long enough for {setting.name} and a horizon of {min(horizons_s):g} s"
        )
    return {h: one.result() for h, one in found.items() if one.clips}


def _context(
    stamps_ns: NDArray[np.int64], setting: Setting, horizon_s: float, rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """Frames of a context whose first horizon lies in the recording; None where there is none."""
    offsets_s = setting.offsets_s(rng)
    first = np.searchsorted(stamps_ns, stamps_ns[0] - round(offsets_s[0] * NS_PER_S))
    end = np.searchsorted(stamps_ns, stamps_ns[-1] - round(horizon_s * NS_PER_S), side="right")
    if first >= end:
        return None
    return context_row(stamps_ns, int(rng.integers(first, end)), offsets_s)


def _turns(recording: Recording, newest: int) -> bool:
    """Whether the vehicle turns by more than 5 degrees within a second after a frame."""
    moved = _moved(recording, newest, [1.0])
    return bool(abs(moved[0, 2]) > _TURN_RAD)


def _moved(recording: Recording, newest: int, ahead_s: Sequence[float]) -> Motion:
    """The motion (S, 3) from a frame until the frames nearest to instants; NaN where unknown."""
    stamps = recording.stamps_ns
    instants = stamps[newest] + np.round(np.asarray(ahead_s) * NS_PER_S).astype(np.int64)
    frames = nearest_frames(stamps, instants)
    is_near = np.abs(stamps[frames] - instants) <= NEAR * np.asarray(ahead_s) * NS_PER_S
    return np.where(is_near[:, None], recording.moved(newest, frames), np.nan)


def _another(
    recordings: Sequence[Recording], index: int, rng: np.random.Generator
) -> tuple[Recording, int]:
    """A frame of another recording, where there is one."""
    step = int(rng.integers(1, len(recordings))) if len(recordings) > 1 else 0
    recording = recordings[(index + step) % len(recordings)]
    return recording, int(rng.integers(max(1, len(recording) // 2)))


@torch.inference_mode()
def _score_clip(
    forecaster: Forecaster,
    recording: Recording,
    row: NDArray[np.int64],
    found: Mapping[float, HorizonErrors],
    samples: int,
    told: tuple[Recording, int] | None = None,
) -> None:
    """Add a clip's errors.

    Args:
        forecaster: of any kind.
        recording, row: the context's frames.
        found: sums by horizon.
        samples: futures to draw.
        told: whose motion the forecaster is told: from this frame of this recording on.
    """
    stamps = recording.stamps_ns
    targets: dict[float, int] = {}
    for horizon in found:
        instant = stamps[row[-1]] + round(horizon * NS_PER_S)
        target = int(nearest_frames(stamps, np.array([instant]))[0])
        off_s = abs(int(stamps[target]) - int(instant)) / NS_PER_S
        near_s = NEAR * horizon
        if not isinstance(forecaster, WorldForecaster):  # two frames must not be one multiple
            near_s = min(near_s, 0.25 * forecaster.frame_interval_s)
        if target > row[-1] and off_s <= near_s:
            targets[horizon] = target
    if not targets:
        return
    frames = sorted(set(targets.values()))
    ahead_s = ((stamps[frames] - stamps[row[-1]]) / NS_PER_S).tolist()
    if not isinstance(forecaster, WorldForecaster):  # answers its multiples only
        ahead_s = [round(a / forecaster.frame_interval_s) * forecaster.frame_interval_s
                   for a in ahead_s]  # fmt: skip
    parameter = next(forecaster.parameters())
    context = read_features(recording, row).to(parameter)[None]
    true = read_features(recording, np.array(frames)).to(parameter)
    stamps_s = torch.from_numpy((stamps[row] - stamps[row[-1]]) / NS_PER_S)[None]
    memories = forecaster.remember(context, stamps_s)
    motion = None if told is None else torch.from_numpy(_moved(*told, ahead_s))[None]
    futures = forecaster.forecast(memories, stamps_s, ahead_s, motion, samples=samples)[0]
    errors = clip_errors(futures.mean(dim=0), true).numpy()
    copied = clip_errors(context[0, -1:].expand_as(true), true).numpy()
    for horizon, target in targets.items():
        at, one = frames.index(target), found[horizon]
        one.clips += 1
        one.ahead_s += ahead_s[at]
        one.forecast += errors[at]
        one.copied += copied[at]
        one.energy += float(energy_scores(futures[:, at].flatten(1), true[at].flatten()))
        if samples > 1:
            add_samples(one, futures[:, at], true[at], errors[at])


def add_samples(
    one: HorizonErrors, futures: Tensor, true: Tensor, mean_errors: NDArray[np.float64]
) -> None:
    """Add what K samples of one instant say.

    Args:
        one: sums, which grow.
        futures: (K, h, w, C).
        true: (h, w, C), what came.
        mean_errors: of the futures' mean, in the order of METRICS.
    """
    each = clip_errors(futures, true.expand_as(futures)).numpy()
    one.best += each[each[:, 0].argmin()]
    one.each += each.mean(axis=0)
    one.pairs.append((float(futures.std(dim=0).mean()), float(mean_errors[0])))
    drawn = futures.float().cpu()
    variance = drawn.var(dim=0, correction=0).mean(dim=-1)
    errors = patch_errors(drawn.mean(dim=0).numpy(), true.float().cpu().numpy())
    assert errors is not None
    one.variance += float(variance.mean())
    one.within_spread += within_spread(errors, variance.sqrt().numpy())
    one.patch_correlation += _rank_correlation(variance.flatten().numpy(), errors.ravel())


def _rank_correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Spearman's; 0 where one of them does not vary."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    ranks = [np.argsort(np.argsort(x)) for x in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
