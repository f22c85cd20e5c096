"""What if it had been driven otherwise: forecasts of many ways beside what each of them showed.

The synthetic world is driven up to an instant, then on in several ways from there. Of each way the
forecast for its motion is compared with what every way showed: it should be nearest to its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dino_foresight_ros.compare.feature_errors import METRICS, clip_errors
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model import Encoder
from dino_foresight_ros.model.forecasters import Forecaster
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.planar_motion import motion_between
from dino_foresight_ros.progress import Progress
from dino_foresight_ros.render.markdown import table
from dino_foresight_ros.synthetic import World, WorldConfig
from dino_foresight_ros.synthetic.drive import Control
from dino_foresight_ros.training.encoder_loading import encoder_origin, load_encoder
from dino_foresight_ros.training.model_parts import load_forecaster, load_pca

WAYS: Mapping[str, tuple[float, float]] = {
    "keep": (0.0, 0.0),
    "brake softly": (-2.5, 0.0),
    "brake hard": (-6.0, 0.0),
    "speed up": (2.5, 0.0),
    "left": (0.0, 0.3),
    "right": (0.0, -0.3),
    "brake, left": (-4.0, 0.2),
    "brake, right": (-4.0, -0.2),
}
"""Name -> acceleration in m/s^2 and turn in rad/s, held from the instant on."""
HORIZONS_S = (0.5, 1.0)
INSTANTS_S = (4.0, 9.0, 14.0)
_LEAST_SPEED_MPS = 3.0
_STEP_S = 0.1


@dataclass(frozen=True)
class Case:
    """One instant of one world, driven on in several ways.

    Attributes:
        context: (N, H, W, 3) uint8 pictures before it, the newest at it.
        stamps_s: (N,) seconds, the last 0.
        shown: (ways, horizons, H, W, 3) uint8.
        motion: (ways, horizons, 3) of the base from the instant on.
    """

    context: NDArray[np.uint8]
    stamps_s: NDArray[np.float64]
    shown: NDArray[np.uint8]
    motion: NDArray[np.float64]


def drive_ways(
    world: World,
    at_s: float,
    frames: int,
    gap_s: float,
    horizons_s: Sequence[float] = HORIZONS_S,
) -> Case | None:
    """Render an instant and what follows it in all `WAYS`; None where the ego hardly moves then.

    Args:
        world: seen at the size of its configuration.
        at_s: the instant.
        frames, gap_s: of the context before it.
        horizons_s: seconds after it.
    """
    if world.ego_state(at_s).speed_mps < _LEAST_SPEED_MPS:
        return None
    stamps = np.arange(1 - frames, 1, dtype=np.float64) * np.float64(gap_s)
    # All from a driver outside: the vehicle ahead goes by the plan, and is left out here and there.
    context = [world.render(at_s + s, world.ego_state(at_s + s)).image for s in stamps]
    start = world.drive(at_s)
    shown, motion = [], []
    for acceleration, turn_rps in WAYS.values():
        drive, pictures, moved = start.fork(), [], []
        for horizon in horizons_s:
            while drive.t_s < at_s + horizon - 1e-6:
                curvature = turn_rps / max(drive.ego.speed_mps, 1.0)
                step_s = min(_STEP_S, at_s + horizon - drive.t_s)
                drive.step(Control(acceleration, curvature), step_s)
            pictures.append(drive.render().image)
            moved.append(motion_between(start.world_from_base, drive.world_from_base))
        shown.append(pictures)
        motion.append(moved)
    return Case(np.stack(context), stamps, np.array(shown), np.array(motion))


@torch.inference_mode()
def score_case(
    forecaster: Forecaster,
    encoder: Encoder,
    pca: PCA | IdentityPCA,
    case: Case,
    horizons_s: Sequence[float] = HORIZONS_S,
) -> NDArray[np.float64]:
    """Errors (horizons, ways, ways) of each way's forecast against what each way showed."""

    def features(pictures: NDArray[np.uint8]) -> Tensor:
        return pca.transform(encoder(encoder.preprocess(pictures)))

    parameter = next(forecaster.parameters())
    context = features(case.context).to(parameter)[None]
    ways, horizons = case.shown.shape[:2]
    shown = features(case.shown.reshape(-1, *case.shown.shape[2:])).to(parameter)
    shown = shown.unflatten(0, (ways, horizons))
    stamps_s = torch.from_numpy(case.stamps_s)[None]
    memories = forecaster.remember(context, stamps_s)
    motion = torch.from_numpy(case.motion)[None] if forecaster.takes_motion else None
    futures = forecaster.forecast(memories, stamps_s, list(horizons_s), motion)[0]
    futures = futures.expand(ways, -1, -1, -1, -1)
    found = np.empty((horizons, ways, ways))
    for h in range(horizons):
        for way in range(ways):
            forecasts, true = futures[:, h], shown[way, h].expand_as(futures[:, h])
            found[h, :, way] = clip_errors(forecasts, true)[:, METRICS.index("smooth_l1")].cpu()
    return found


def make_cases(
    seeds: Sequence[int],
    frames: int,
    gap_s: float,
    size: tuple[int, int],
    instants_s: Sequence[float] = INSTANTS_S,
    horizons_s: Sequence[float] = HORIZONS_S,
    on_world: Callable[[], None] = lambda: None,
) -> list[Case]:
    """Drive worlds in all ways.

    Args:
        seeds: of the worlds.
        frames, gap_s: of contexts.
        size: (H, W) of the pictures.
        instants_s: of each world; those where the ego is slower than 3 m/s are left out.
        horizons_s: seconds ahead.
        on_world: is called when a world is done.

    Raises:
        UsageError: instants before the context is there.
        InputError: no seeds, or the ego stands at every instant.
    """
    if min(instants_s) < (frames - 1) * gap_s:
        raise UsageError(f"a context of {frames} frames {gap_s:g} s apart begins before the world")
    cases = []
    for seed in seeds:
        world = World(WorldConfig(seed=int(seed), height=size[0], width=size[1]))
        found = [drive_ways(world, at_s, frames, gap_s, horizons_s) for at_s in instants_s]
        cases += [case for case in found if case is not None]
        on_world()
    if not cases:
        raise InputError("the ego stands at all instants of all seeds; give others")
    return cases


def counterfactual(
    forecaster: Forecaster,
    encoder: Encoder,
    pca: PCA | IdentityPCA,
    cases: Sequence[Case],
    horizons_s: Sequence[float] = HORIZONS_S,
) -> dict[str, Any]:
    """Score a forecaster.

    Args:
        forecaster: of any kind.
        encoder, pca: what it was trained with.
        cases: from `make_cases`.
        horizons_s: as these were made with.

    Returns:
        "cases" and "ways"; by horizon "nearest": the share of ways whose forecast, of those for all
        ways, is nearest to what that way showed; "by_way" likewise; "confusion": shares, row: the
        way driven, column: the way whose forecast was nearest.
    """
    errors = [score_case(forecaster, encoder, pca, case, horizons_s) for case in cases]
    return summary(np.stack(errors), horizons_s)


def compare_counterfactuals(
    forecasters: Sequence[str], encoder: str, pca: str, seeds: Sequence[int]
) -> list[dict[str, Any]]:
    """Score several forecasters on the same worlds.

    Args:
        forecasters: runs, parts or bundles.
        encoder, pca: that they were trained with, by name or folder.
        seeds: of the worlds.

    Returns:
        For each what `counterfactual` gives, with its name and how it takes motion.

    Raises:
        ForesightError: no such part, or parts that do not belong together.
    """
    loaded = load_encoder(encoder, None, None)
    projection, _ = load_pca(pca)
    cases: dict[tuple[int, float], list[Case]] = {}
    rows = []
    for path in forecasters:
        forecaster, part = load_forecaster(path)
        part.check_made_with("encoder", encoder_origin(loaded))
        forecaster.eval()
        context = forecaster.context_frames, part.frame_interval_s or forecaster.frame_interval_s
        if context not in cases:
            with Progress("driven otherwise", "world", len(seeds)) as progress:
                cases[context] = make_cases(
                    seeds, *context, loaded.config.image_size, on_world=partial(progress.add, 1)
                )
        motion = getattr(forecaster.config, "motion", "none")
        result = counterfactual(forecaster, loaded, projection, cases[context])
        rows.append({"forecaster": part.name, "motion": motion, **result})
    return rows


def counterfactual_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table: how often the forecast for the way driven was nearest, by way."""
    return table(
        ["forecaster", "motion", "horizon", "cases", "nearest", *WAYS],
        (
            [
                row["forecaster"], row["motion"], f"{horizon} s", str(row["cases"]),
                f"{100 * values['nearest']:.0f} %",
                *(f"{100 * values['by_way'][way]:.0f} %" for way in WAYS),
            ]
            for row in rows
            for horizon, values in row["horizons"].items()
        ),
    )  # fmt: skip


def summary(errors: NDArray[np.float64], horizons_s: Sequence[float]) -> dict[str, Any]:
    """What `counterfactual` gives, of errors (cases, horizons, forecasts, ways driven)."""
    ways = list(WAYS)
    found: dict[str, Any] = {"cases": len(errors), "ways": ways, "horizons": {}}
    for h, horizon in enumerate(horizons_s):
        # Of equal forecasts, as those without motion, none is nearest.
        each = errors[:, h]
        nearest = each.argmin(axis=1)  # (cases, ways driven)
        is_tied = np.ptp(each, axis=1) < 1e-9
        confusion = np.zeros((len(ways), len(ways)))
        for way in range(len(ways)):
            chosen = nearest[~is_tied[:, way], way]
            confusion[way] = np.bincount(chosen, minlength=len(ways)) / len(each)
        found["horizons"][f"{horizon:g}"] = {
            "nearest": float(np.diag(confusion).mean()),
            "by_way": dict(zip(ways, np.diag(confusion).tolist(), strict=True)),
            "confusion": confusion.tolist(),
        }
    return found
