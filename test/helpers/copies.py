"""Copies of models that cost almost nothing: their tensors share memory until somebody writes.

`deepcopy` of untrained-tiny takes 40 MB of new memory, and a core longer than most tests of it.
"""

from __future__ import annotations

import pickle
import tempfile
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn

_ALIGNED = 64


class Copies:
    """Copies of one object, each with modules and tensors of its own."""

    def __init__(self, value: Any) -> None:
        """Keep it: its tensors in a file, the rest as bytes."""
        file = BytesIO()
        pickler = _Pickler(file)
        pickler.dump(value)
        self._rest, self._tensors, self._at = file.getvalue(), pickler.tensors, [0]
        for tensor in self._tensors:
            size = -(-tensor.nbytes // _ALIGNED) * _ALIGNED
            self._at.append(self._at[-1] + size)
        self._file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - open as long as this lives
        for tensor, at in zip(self._tensors, self._at, strict=False):
            self._file.seek(at)
            self._file.write(tensor.detach().contiguous().flatten().view(torch.uint8).numpy())
        self._file.truncate(self._at[-1])
        self._file.flush()

    def copy(self) -> Any:
        """One more; what is written to it goes to no other."""
        size = self._at[-1]
        memory = torch.from_file(self._file.name, shared=False, size=size, dtype=torch.uint8)
        tensors = [
            memory[at : at + kept.nbytes].view(kept.dtype).view(kept.shape)
            for kept, at in zip(self._tensors, self._at, strict=False)
        ]
        return _Unpickler(BytesIO(self._rest), [*map(_like, tensors, self._tensors)]).load()


def _like(tensor: Tensor, kept: Tensor) -> Tensor:
    if isinstance(kept, nn.Parameter):
        return nn.Parameter(tensor, kept.requires_grad)
    return tensor


class _Pickler(pickle.Pickler):
    """Leaves tensors out, and keeps them in order."""

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.tensors: list[Tensor] = []
        self._places: dict[int, int] = {}

    def persistent_id(self, value: object) -> int | None:
        if not isinstance(value, Tensor):
            return None
        place = self._places.setdefault(id(value), len(self.tensors))
        if place == len(self.tensors):
            self.tensors.append(value)
        return place


class _Unpickler(pickle.Unpickler):
    """Puts tensors in."""

    def __init__(self, file: BytesIO, tensors: list[Tensor]) -> None:
        super().__init__(file)
        self._tensors = tensors

    def persistent_load(self, place: int) -> Tensor:
        return self._tensors[place]
