"""Predicted features to finished maps on the host: only what each camera's listeners want."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.dpt_head import fuse_batch_norm
from dino_foresight_ros.runtime.acceleration import Accelerated

HEAD_OF = {
    "segmentation": "segmentation",
    "confidence": "segmentation",
    "depth": "depth",
    "normals": "normals",
}

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


class _Part(NamedTuple):
    """One output of one step, (M, ...), of the cameras in `rows`; they need not all want it."""

    step: int
    name: str
    rows: list[int]
    values: Tensor


class Decoder:
    """A bundle's heads, ready for speed: copies with their batch norm folded, channels last."""

    def __init__(self, bundle: Bundle, acceleration: str) -> None:
        self.heads = {
            name: fuse_batch_norm(copy.deepcopy(head)).to(memory_format=torch.channels_last)
            for name, head in bundle.heads.items()
        }
        self._bundle = bundle
        self._run = {name: Accelerated(head, acceleration) for name, head in self.heads.items()}

    def warm_up(self, features: Tensor) -> None:
        """Compile every head for (B, h, w, L*D) features."""
        for head in self._run.values():
            head.warm_up(features)

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
        finite = torch.isfinite(predicted).flatten(1).all(dim=1)
        parts: list[_Part] = []
        for k in range(predicted.shape[1]):
            rows = [i for i, wish in enumerate(wishes) if "features" in wish.names[k]]
            if rows:
                parts.append(_Part(k, "features", rows, _pick(predicted[:, k], rows).float()))
            for part in self._decode_step(k, predicted, hidden, wishes):
                parts.append(part)
                if part.values.is_floating_point():  # a head may overflow in half precision
                    good = torch.isfinite(part.values).flatten(1).all(dim=1)
                    finite = _and(finite, part.rows, good)
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

    def _decode_step(
        self,
        k: int,
        predicted: Tensor,
        hidden: Mapping[int, Tensor],
        wishes: Sequence[Wish],
    ) -> list[_Part]:
        heads = [{HEAD_OF[n] for n in wish.names[k] if n in HEAD_OF} for wish in wishes]
        anybody = [i for i, names in enumerate(heads) if names]
        if not anybody:
            return []
        parts: list[_Part] = []
        features = self._bundle.pca.inverse(_pick(predicted[:, k], anybody))
        for head in sorted(set().union(*heads)):
            rows = [i for i in anybody if head in heads[i]]
            read = self._bundle.inputs.get(head)
            if read is not None and read.layers:
                x = torch.cat([_pick(hidden[i][:, k], rows) for i in read.layers], dim=-1)
            else:
                x = _pick(features, [anybody.index(i) for i in rows])
            parts += self._decode_head(head, k, x, rows, wishes)
        return parts

    def _decode_head(
        self, head: str, k: int, x: Tensor, rows: list[int], wishes: Sequence[Wish]
    ) -> list[_Part]:
        raw = self._run[head](x)
        parts: list[_Part] = []
        for size in dict.fromkeys(wishes[i].size for i in rows):
            members = [i for i in rows if wishes[i].size == size]
            own = _pick(raw, [rows.index(i) for i in members])
            for name, values in self._bundle.tasks[head].decode(own, size).items():
                parts.append(_Part(k, name, members, values))
        return parts

    def _download(self, parts: list[_Part], wishes: Sequence[Wish]) -> list[Maps]:
        """Copy what is wanted to the host: started together, waited for once."""
        device = self._bundle.device
        wanted = [p for p in parts if any(p.name in wishes[i].names[p.step] for i in p.rows)]
        host = [p.values if device.type != "cuda" else _to_pinned(p.values) for p in wanted]
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        maps: list[Maps] = [[{} for _ in wish.names] for wish in wishes]
        for part, values in zip(wanted, host, strict=True):
            array = values.numpy()
            for index, row in enumerate(part.rows):
                if part.name in wishes[row].names[part.step]:
                    maps[row][part.step][part.name] = array[index]
        return maps


def _pick(x: Tensor, rows: Sequence[int]) -> Tensor:
    """x[rows] without a copy where that is all of x."""
    return x if len(rows) == len(x) else x[list(rows)]


def _and(finite: Tensor, rows: Sequence[int], good: Tensor) -> Tensor:
    if len(rows) == len(finite):
        return finite & good
    result = finite.clone()
    result[list(rows)] &= good
    return result


def _to_pinned(tensor: Tensor) -> Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)
