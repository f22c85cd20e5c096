"""Predicted features to finished maps on the host: only what each camera's listeners want."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.heads import fuse_batch_norm
from dino_foresight_ros.outputs import FEATURES, HEAD_OF
from dino_foresight_ros.runtime.acceleration import Accelerator

TOKENS_PER_PASS = 4096
"""Patches that go through a head at once: 18 frames of 11 x 20, 2 of the paper's 32 x 64."""

Maps = list[dict[str, np.ndarray]]
"""One camera's outputs by name, for step 1, 2, ..."""


class Wish(NamedTuple):
    """What is wanted of one camera.

    Attributes:
        names: outputs of step 1, 2, ..., as many as are predicted.
        size: (H, W) of the maps; patch grid x 8 when None.
        seen: outputs of the newest context frame itself.
    """

    names: Sequence[frozenset[str]]
    size: tuple[int, int] | None
    seen: frozenset[str] = frozenset()


def layers_read(bundle: Bundle, head: str) -> tuple[int, ...]:
    """The forecaster's layers that a head reads; none for one that reads features.

    Such a head sees what the forecaster thinks of the frame it predicts, so it says nothing of a
    frame that came.
    """
    read = bundle.inputs.get(head)
    return () if read is None else tuple(read.layers)


def head_input(
    bundle: Bundle, head: str, features: Tensor | None, hidden: Mapping[int, Tensor]
) -> Tensor | None:
    """What a head reads, (B, h, w, ...): features, or the forecaster's layers; None without it."""
    layers = layers_read(bundle, head)
    if not layers:
        return features
    return torch.cat([hidden[i] for i in layers], dim=-1) if hidden else None


@torch.inference_mode()
def decode_maps(
    bundle: Bundle,
    sizes: Mapping[str, tuple[int, int]],
    z: Tensor | None = None,
    hidden: Mapping[int, Tensor] | None = None,
) -> dict[str, Tensor]:
    """What a bundle's heads say, each at a size of its own, on the device: for measuring offline.

    Args:
        bundle: whose PCA, heads and tasks are used.
        sizes: head -> (H, W) of its maps.
        z: (B, h, w, C) PCA features; without them, heads that read features are left out.
        hidden: layer -> (B, h, w, D); without it, heads that read layers are left out.

    Returns:
        Head -> maps: ids (B, H, W), depth (B, H, W) or normals (B, H, W, 3).
    """
    features = None if z is None else bundle.pca.inverse(z)
    maps = {}
    for head, size in sizes.items():
        x = head_input(bundle, head, features, hidden or {})
        if x is not None:
            raw = bundle.heads[head](x)
            # One by one: logits at the size of Cityscapes' labels take 160 MB a picture.
            decoded = [bundle.tasks[head].decode(one[None], size)[head] for one in raw]
            maps[head] = torch.cat(decoded)
    return maps


class _Place(NamedTuple):
    """One predicted frame: step, counted from 0, and camera."""

    step: int
    row: int


class _Part(NamedTuple):
    """One output, (M, ...), of M predicted frames; not every one need want it."""

    name: str
    places: Sequence[_Place]
    values: Tensor


class Decoder:
    """A bundle's heads, ready for speed: copies with their batch norm folded, channels last.

    Several steps go through a head together, as many as do not swell memory; compiled heads take
    a step at a time, since they know one number of cameras only.
    """

    def __init__(self, bundle: Bundle, accelerator: Accelerator | None = None) -> None:
        accelerator = accelerator or Accelerator()
        self.heads = {
            name: fuse_batch_norm(copy.deepcopy(head)).to(memory_format=torch.channels_last)
            for name, head in bundle.heads.items()
        }
        self._bundle = bundle
        self._run = {name: accelerator.wrap(head) for name, head in self.heads.items()}
        height, width = bundle.grid
        self._frames_per_pass = 1 if accelerator.is_on else TOKENS_PER_PASS // (height * width)

    def decode(
        self, predicted: Tensor, hidden: Mapping[int, Tensor], wishes: Sequence[Wish]
    ) -> tuple[list[Maps], list[bool]]:
        """Run the wanted heads and download.

        Args:
            predicted: (B, steps, h, w, C) PCA features.
            hidden: layer -> (B, steps, h, w, D), of the forecaster's layers that heads read.
            wishes: for each of the B cameras.

        Returns:
            For each camera its maps; and whether all it predicted and decoded was finite.
        """
        parts: list[_Part] = []
        features = _places(wishes, {FEATURES})
        if features:
            parts.append(_Part(FEATURES, features, _take(predicted, features).float()))
        for places in self._passes(wishes):
            parts += self._decode_pass(places, predicted, hidden, wishes)
        finite = torch.isfinite(predicted).flatten(1).all(dim=1)
        for part in parts:
            if part.values.is_floating_point():  # a head may overflow in half precision
                bad = ~torch.isfinite(part.values).flatten(1).all(dim=1)
                rows = torch.tensor([place.row for place in part.places], device=bad.device)
                finite &= (
                    torch.zeros(len(finite), device=bad.device).index_add(0, rows, bad.float()) == 0
                )
        return self._download(parts, wishes), finite.tolist()

    def decode_seen(
        self, newest: Tensor, wishes: Sequence[Wish]
    ) -> tuple[list[dict[str, np.ndarray]], list[bool]]:
        """The same of the newest context frames, (B, h, w, C); free where nobody wants any."""
        if not any(wish.seen for wish in wishes):
            return [{} for _ in wishes], [True] * len(wishes)
        only = [Wish([wish.seen], wish.size) for wish in wishes]
        maps, finite = self.decode(newest[:, None], {}, only)
        return [steps[0] for steps in maps], finite

    def _passes(self, wishes: Sequence[Wish]) -> list[list[_Place]]:
        """The predicted frames that some head is wanted of, whole steps to a pass."""
        passes: list[list[_Place]] = []
        for _, step in itertools.groupby(_places(wishes, HEAD_OF), lambda place: place.step):
            places = list(step)
            if passes and len(passes[-1]) + len(places) <= self._frames_per_pass:
                passes[-1] += places
            else:
                passes.append(places)
        return passes

    def _decode_pass(
        self,
        places: Sequence[_Place],
        predicted: Tensor,
        hidden: Mapping[int, Tensor],
        wishes: Sequence[Wish],
    ) -> list[_Part]:
        parts: list[_Part] = []
        heads = [{HEAD_OF[n] for n in wishes[p.row].names[p.step] if n in HEAD_OF} for p in places]
        features = self._bundle.pca.inverse(_take(predicted, places))
        for head in sorted(set().union(*heads)):
            chosen = [i for i, names in enumerate(heads) if head in names]
            members = [places[i] for i in chosen]
            layers = {i: _take(hidden[i], members) for i in layers_read(self._bundle, head)}
            x = head_input(self._bundle, head, _pick(features, chosen), layers)
            assert x is not None
            parts += self._decode_head(head, x, members, wishes)
        return parts

    def _decode_head(
        self, head: str, x: Tensor, places: Sequence[_Place], wishes: Sequence[Wish]
    ) -> list[_Part]:
        raw = self._run[head](x)
        parts: list[_Part] = []
        for size in dict.fromkeys(wishes[place.row].size for place in places):
            chosen = [i for i, place in enumerate(places) if wishes[place.row].size == size]
            members = [places[i] for i in chosen]
            for name, values in self._bundle.tasks[head].decode(_pick(raw, chosen), size).items():
                parts.append(_Part(name, members, values))
        return parts

    def _download(self, parts: list[_Part], wishes: Sequence[Wish]) -> list[Maps]:
        """Copy what is wanted to the host: started together, waited for once."""
        device = self._bundle.device
        wanted = [p for p in parts if any(_wants(wishes, place, {p.name}) for place in p.places)]
        host = [p.values if device.type != "cuda" else _to_pinned(p.values) for p in wanted]
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        maps: list[Maps] = [[{} for _ in wish.names] for wish in wishes]
        for part, values in zip(wanted, host, strict=True):
            array = values.numpy()
            for index, place in enumerate(part.places):
                if _wants(wishes, place, {part.name}):
                    maps[place.row][place.step][part.name] = array[index]
        return maps


def _wants(wishes: Sequence[Wish], place: _Place, names: Collection[str]) -> bool:
    return any(name in names for name in wishes[place.row].names[place.step])


def _places(wishes: Sequence[Wish], names: Collection[str]) -> list[_Place]:
    """The predicted frames of which any of the outputs is wanted, by step."""
    steps = max((len(wish.names) for wish in wishes), default=0)
    every = [_Place(k, row) for k in range(steps) for row in range(len(wishes))]
    return [place for place in every if _wants(wishes, place, names)]


def _take(x: Tensor, places: Sequence[_Place]) -> Tensor:
    """(B, steps, ...) -> (M, ...) of these predicted frames."""
    return x[[place.row for place in places], [place.step for place in places]]


def _pick(x: Tensor, rows: Sequence[int]) -> Tensor:
    """x[rows] without a copy where that is all of x."""
    return x if len(rows) == len(x) else x[list(rows)]


def _to_pinned(tensor: Tensor) -> Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)
