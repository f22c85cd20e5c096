"""What a forecaster is trained on: features on disk, or pictures with the encoder in the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from dino_foresight_ros.errors import BundleError, InputError, UsageError
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.recordings import Recording, open_recordings

from .data import (
    ClipAugmentation,
    ClipDataset,
    ClipTiming,
    TimedClips,
    check_disjoint,
    split_recordings,
)
from .encoder_loading import encoder_origin, load_encoder
from .feature_clips import FeatureClips, FeatureRecording, TimedFeatureClips
from .feature_plan import overlaps_between
from .feature_store import FeatureStore
from .forecaster_objective import ToFeatures
from .intervals import PAPER_INTERVALS_S
from .model_parts import load_pca
from .parts import Origin
from .recipes import ForecasterRecipe
from .sources import Source


class MakeClips(Protocol):
    """Recordings -> clips of even steps."""

    def __call__(
        self,
        recordings: Sequence[Recording],
        intervals_s: Sequence[float],
        context_frames: int,
        target_frames: int,
        *,
        augmentation: ClipAugmentation,
        seed: int,
        tolerance: float,
    ) -> ClipDataset: ...


class MakeTimedClips(Protocol):
    """Recordings -> clips at random distances in time."""

    def __call__(
        self,
        recordings: Sequence[Recording],
        timing: ClipTiming,
        *,
        augmentation: ClipAugmentation,
        seed: int,
    ) -> ClipDataset: ...


@dataclass(frozen=True)
class ForecasterData:
    """Recordings to train and to validate on, and how they become features.

    Attributes:
        train, validation: recordings that share no moment.
        to_features: frames of clips -> features.
        make_clips: recordings -> clips of even steps.
        grid: (h, w) patches.
        channels: C, values per patch that the forecaster sees.
        made_with: the encoder and, where there is one, the PCA.
        has_pixels: whether clips hold pictures.
        earlier: what the forecaster that this one starts from was trained on.
        make_timed_clips: recordings -> clips at random distances in time.
    """

    train: list[Recording]
    validation: list[Recording]
    to_features: ToFeatures
    make_clips: MakeClips
    grid: tuple[int, int]
    channels: int
    made_with: dict[str, Origin] = field(default_factory=dict)
    has_pixels: bool = False
    earlier: tuple[Source, ...] = ()
    make_timed_clips: MakeTimedClips = TimedFeatureClips


def _split(
    recordings: Sequence[Recording],
    validation: Sequence[Recording] | None,
    share: float,
    seed: int,
    recipe: ForecasterRecipe,
) -> tuple[list[Recording], list[Recording]]:
    if validation is not None:
        check_disjoint(recordings, validation, "trained on and validated on")
        return list(recordings), list(validation)
    if recipe.kind == "world":
        clip_s = clip_timing(recipe).longest_s
    else:
        steps = recipe.context_frames + recipe.masked_frames - 1
        clip_s = steps * max(recipe.intervals_s or PAPER_INTERVALS_S)
    return split_recordings(recordings, share, seed, gap_s=max(2.0, clip_s))


def clip_timing(recipe: ForecasterRecipe) -> ClipTiming:
    """How far apart the frames of a world forecaster's clips lie."""
    assert recipe.frame_interval_s is not None
    return ClipTiming(
        recipe.context_frames,
        recipe.gaps_s,
        recipe.horizons_s,
        recipe.frame_interval_s,
        recipe.nominal_share,
        recipe.steady_share,
    )


def split_clips(
    recordings: Sequence[Recording], validation_share: float, recipe: ForecasterRecipe
) -> ForecasterData:
    """Split recordings as the training does, to see which clips there are; nothing is read.

    Raises:
        InputError: nothing would be left to train on.
    """
    train, held_out = _split(recordings, None, validation_share, recipe.seed, recipe)
    return ForecasterData(train, held_out, ToFeatures(), FeatureClips, (1, 1), 0)


def data_from_store(
    features: Path,
    validation: Path | None,
    validation_share: float,
    pca: Path | None,
    recipe: ForecasterRecipe,
) -> ForecasterData:
    """Open features on disk.

    Args:
        features: a store of `foresight train features`.
        validation: another one; None: `validation_share` of the first.
        validation_share: 0 to 1.
        pca: for a store of raw features; else its features are used as they are.
        recipe: for the seed and the length of clips.

    Raises:
        BundleError: stores of different encoders or PCAs, or a PCA of another encoder.
        InputError: no store, an empty one, too little for a validation part, or recordings of which
            both stores show the same seconds.
    """
    store = FeatureStore.open(features)
    other = None if validation is None else FeatureStore.open(validation)
    if other is not None:
        _check_alike(features, store, Path(str(validation)), other)
        _check_apart(store, other)
    projection, channels, made_with = _projection(features, store, pca)
    train, held_out = _split(
        _recordings(store), None if other is None else _recordings(other),
        validation_share, recipe.seed, recipe,
    )  # fmt: skip
    return ForecasterData(
        train,
        held_out,
        ToFeatures(projection),
        FeatureClips,
        store.info.grid,
        channels,
        made_with,
    )


def data_from_pictures(
    specs: Sequence[str],
    validation: Sequence[str] | None,
    validation_share: float,
    encoder: tuple[str, tuple[int, int] | None, tuple[int, ...] | None],
    pca: Path,
    recipe: ForecasterRecipe,
    on_warning: Callable[[str], None] | None = None,
) -> ForecasterData:
    """Open recordings; the encoder runs in every step.

    Args:
        specs: what to train on.
        validation: what to validate on; None: `validation_share` of the former.
        validation_share: 0 to 1.
        encoder: its name, image size and layers, as `load_encoder` takes them.
        pca: fitted on this encoder's features.
        recipe: for the seed and the length of clips.
        on_warning: is told of what is left out.

    Raises:
        BundleError: a PCA of another encoder.
        ForesightError: as `open_recordings`, `load_encoder` and `load_pca`.
    """
    loaded = load_encoder(*encoder)
    projection, part = load_pca(pca)
    part.check_made_with("encoder", encoder_origin(loaded))
    if projection.features != loaded.feature_size:
        raise BundleError(
            f"the PCA '{part.name}' takes {projection.features} values per patch, the encoder "
            f"gives {loaded.feature_size}"
        )
    train, held_out = _split(
        open_recordings(specs, on_warning),
        None if validation is None else open_recordings(validation, on_warning),
        validation_share, recipe.seed, recipe,
    )  # fmt: skip
    size = loaded.config.image_size
    return ForecasterData(
        train,
        held_out,
        ToFeatures(projection, loaded),
        partial(ClipDataset, size=size),
        loaded.config.grid,
        projection.channels,
        {"encoder": encoder_origin(loaded), "pca": part.origin},
        has_pixels=True,
        make_timed_clips=partial(TimedClips, size=size),
    )


def _recordings(store: FeatureStore) -> list[Recording]:
    return [FeatureRecording(stored, store.info.grid) for stored in store.recordings]


def _check_alike(a_path: Path, a: FeatureStore, b_path: Path, b: FeatureStore) -> None:
    for what in ("encoder", "pca"):
        first, second = getattr(a.info, what), getattr(b.info, what)
        if getattr(first, "fingerprint", None) != getattr(second, "fingerprint", None):
            raise BundleError(
                f"{a_path} was made with the {what} {first or 'none'}, {b_path} with "
                f"{second or 'none'}; training and validation need the same: make one of them anew"
            )
    if a.info.grid != b.info.grid:
        raise InputError(
            f"{a_path} has a patch grid of {a.info.grid[0]}x{a.info.grid[1]}, {b_path} of "
            f"{b.info.grid[0]}x{b.info.grid[1]}; make one of them anew"
        )


def _check_apart(train: FeatureStore, validation: FeatureStore) -> None:
    """Refuse parts of one recording that overlap; `check_disjoint` knows of no common whole."""
    abouts = [[recording.about for recording in store.recordings] for store in (train, validation)]
    overlaps = overlaps_between(*abouts)
    if overlaps:
        first, second, shared_s = overlaps[0]
        more = f", and {len(overlaps) - 1} more such pairs" if overlaps[1:] else ""
        raise InputError(
            f"{first} in {train.path} and {second} in {validation.path} share {shared_s:.1f} s of "
            f"one recording{more}: these would be trained on and validated on; make one of the "
            "stores of other parts, such as part=0-0.7 and part=0.7-1"
        )


def _projection(
    path: Path, store: FeatureStore, pca: Path | None
) -> tuple[PCA | IdentityPCA | None, int, dict[str, Origin]]:
    made_with = {"encoder": store.info.encoder}
    if store.info.pca is not None:
        if pca is not None:
            _, part = load_pca(pca)
            if part.fingerprint != store.info.pca.fingerprint:
                raise BundleError(
                    f"{path} was made with the PCA {store.info.pca}, not with {part.origin}; "
                    "leave out --pca, or make the features anew"
                )
        return None, store.info.channels, {**made_with, "pca": store.info.pca}
    if pca is None:
        return None, store.info.channels, made_with
    projection, part = load_pca(pca)
    part.check_made_with("encoder", store.info.encoder)
    if projection.features != store.info.channels:
        raise UsageError(
            f"the PCA '{part.name}' takes {projection.features} values per patch, {path} holds "
            f"{store.info.channels}"
        )
    return projection, projection.channels, {**made_with, "pca": part.origin}
