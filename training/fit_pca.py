"""Fit the PCA to what the encoder makes of recordings, and show how much it keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.files import whole_folder
from dino_foresight_ros.model.encoder import Encoder
from dino_foresight_ros.model.pca import PCA
from dino_foresight_ros.progress import Progress, warn
from dino_foresight_ros.recordings import BadFiles, Recording, open_recordings
from dino_foresight_ros.spread import spread

from .encoder_loading import encoder_origin
from .model_parts import write_pca
from .parts import MANIFEST
from .pca_fit import Spectrum, StreamingPCA
from .reading import Chunk, cut, encode_ahead, pick_frames
from .recipes import PCARecipe
from .sources import sources_of

SCREE = "scree.png"
# What is written, and may be replaced.
PCA_FILES = (MANIFEST, "pca-*.safetensors", SCREE)


def choose_frames(
    recordings: Sequence[Recording], grid: tuple[int, int], recipe: PCARecipe
) -> list[Chunk]:
    """Choose the frames to fit on, spread over all recordings alike."""
    every = [
        (number, frame)
        for number, recording in enumerate(recordings)
        for frame in pick_frames(recording.stamps_ns, recipe.stride_s)
    ]
    if not every:
        raise InputError("there are no frames to fit a PCA on")
    wanted = len(every)
    if recipe.max_tokens is not None:
        wanted = max(1, recipe.max_tokens // (grid[0] * grid[1]))
    taken = [every[place] for place in spread(len(every), wanted)]
    chunks: list[Chunk] = []
    for number in range(len(recordings)):
        frames = [frame for owner, frame in taken if owner == number]
        chunks += cut(number, np.array(frames, np.int64), recipe.batch)
    return chunks


def fit_pca(
    recordings: Sequence[Recording],
    encoder: Encoder,
    recipe: PCARecipe,
    bad: BadFiles | None = None,
    on_frames: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[PCA, Spectrum]:
    """Encode frames and fit.

    Args:
        recordings: where frames come from.
        encoder: whose features they are.
        recipe: how.
        bad: counts unreadable frames, which are left out.
        on_frames: called with frames done and in all.

    Raises:
        InputError: no frames, too few tokens, or features that do not vary.
        UsageError: more channels than the encoder gives values.
    """
    if recipe.channels is not None and recipe.channels > encoder.feature_size:
        raise UsageError(
            f"channels is {recipe.channels}; it must be at most {encoder.feature_size}, which is "
            "what the encoder gives per patch"
        )
    chunks = choose_frames(recordings, encoder.config.grid, recipe)
    total = sum(len(chunk.frames) for chunk in chunks)
    bad = BadFiles(total) if bad is None else bad
    fit = StreamingPCA(encoder.feature_size, next(encoder.parameters()).device)
    done = 0
    for encoded in encode_ahead(encoder, recordings, chunks, bad, recipe.workers):
        if len(encoded.frames):
            fit.update(encoded.features.flatten(0, 2))
        done += len(chunks[encoded.chunk].frames)
        on_frames(done, total)
    return fit.fit(recipe.channels, recipe.keep if recipe.channels is None else None)


def make_pca(
    out: Path,
    data: Sequence[str],
    encoder: Encoder,
    recipe: PCARecipe,
    name: str | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Fit a PCA to recordings, write it into a new folder, and tell how much it keeps.

    Args:
        out: the folder.
        data: what `open_recordings` understands.
        encoder: on its device.
        recipe: how.
        name: of the PCA; the folder's.
        about: more to remember beside the recipe.

    Raises:
        ForesightError: as `fit_pca`; the folder cannot be written.
    """
    recordings = open_recordings(data, warn)
    bad = BadFiles(sum(map(len, recordings)), on_warning=warn)
    with Progress("pca", "frame") as progress:
        pca, spectrum = fit_pca(recordings, encoder, recipe, bad, progress.show)
    name = name or out.name
    kept = spectrum.kept(pca.channels)
    constant = int(spectrum.constant.sum())
    with whole_folder(out, PCA_FILES) as folder:
        write_pca(
            folder,
            name,
            pca,
            made_with={"encoder": encoder_origin(encoder)},
            recipe={
                **recipe.to_dict(),
                "data": list(data),
                "image_size": encoder.config.image_size,
                "layers": encoder.config.layers,
                **(about or {}),
            },
            scores={
                "variance_kept": round(kept, 6),
                "tokens": spectrum.tokens,
                "constant_values": constant,
                "unreadable_frames": len(bad),
            },
            trained_on=sources_of(recordings),
        )
        draw_scree(spectrum, pca.channels, f"{name}: {spectrum.tokens:,} tokens", folder / SCREE)
    if constant:
        warn(
            f"{constant} of {pca.features} feature values never vary in these frames; they take "
            "no part in the PCA"
        )
    print(
        f"{out}: {pca.features} -> {pca.channels} channels keep {100 * kept:.2f} % of the "
        f"standardised variance of {spectrum.tokens:,} tokens; {SCREE} shows it"
    )


def draw_scree(spectrum: Spectrum, channels: int, title: str, path: Path) -> None:
    """Draw how the variance spreads over the components, and how much is kept."""
    ratios = spectrum.ratios.numpy()
    numbers = range(1, len(ratios) + 1)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    right = left.twinx()
    left.semilogy(numbers, ratios.clip(min=1e-12), color="tab:blue")
    right.plot(numbers, 100 * ratios.cumsum(), color="tab:orange")
    right.axvline(channels, color="0.4", linestyle="--", linewidth=1)
    kept = 100 * spectrum.kept(channels)
    right.annotate(
        f"{channels} of {len(ratios)} components\nkeep {kept:.1f} %",
        (channels, kept),
        xytext=(8, -34) if channels < 0.7 * len(ratios) else (-8, -34),
        textcoords="offset points",
        ha="left" if channels < 0.7 * len(ratios) else "right",
        color="0.25",
    )
    positive = ratios[ratios > 1e-9]
    left.set(
        xlabel="component",
        xlim=(1, len(ratios)),
        ylim=(positive.min() / 2, positive.max() * 2),
        title=title,
    )
    left.set_ylabel("share of the variance", color="tab:blue")
    right.set_ylabel("kept together (%)", color="tab:orange")
    right.set_ylim(0, 102)
    left.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
