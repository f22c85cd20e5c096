"""torch.compile and CUDA graphs, warmed up at start and never a surprise in mid-stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from dino_foresight_ros.errors import ForesightError, UsageError

ACCELERATIONS = ("none", "compile", "cudagraphs")

F = TypeVar("F", bound=Callable[..., Any])


class Accelerator:
    """Compiles functions of tensors for the shapes that they are called with while warming up.

    Any other shape (another camera joins the batch) goes through the plain function, so that
    nothing is compiled while frames wait.
    """

    def __init__(self, mode: str = "none") -> None:
        """Choose how to compile.

        Args:
            mode: "none"; "compile", torch.compile's kernels; "cudagraphs", the same kernels as
                without, recorded and replayed as one CUDA graph.

        Raises:
            UsageError: an unknown mode, or CUDA graphs without a CUDA device.
        """
        if mode not in ACCELERATIONS:
            raise UsageError(f"acceleration '{mode}' is unknown; valid: {', '.join(ACCELERATIONS)}")
        if mode == "cudagraphs" and not torch.cuda.is_available():
            raise UsageError("acceleration 'cudagraphs' needs a CUDA device; use none or compile")
        self.mode = mode
        self._is_warming_up = False

    @property
    def is_on(self) -> bool:
        """Whether functions are compiled at all."""
        return self.mode != "none"

    @contextmanager
    def warming_up(self) -> Iterator[None]:
        """Within it, functions are compiled for the shapes that they meet.

        Raises:
            ForesightError: compiling failed (no C++ compiler, for one).
        """
        self._is_warming_up = True
        try:
            yield
        except Exception as error:
            raise ForesightError(
                f"acceleration '{self.mode}' failed to compile the model "
                f"({' '.join(str(error).split())[:200]}); use acceleration none"
            ) from error
        finally:
            self._is_warming_up = False

    def wrap(self, function: F) -> F:
        """The same function, compiled where its tensors have warm shapes.

        Args:
            function: of tensors and plain values, gives a tensor, a tuple of tensors, or what has
                `clone`.
        """
        if not self.is_on:
            return function
        backend = "inductor" if self.mode == "compile" else "cudagraphs"
        compiled = torch.compile(function, backend=backend, dynamic=False)
        warm: set[tuple[Any, ...]] = set()

        def run(*arguments: Any) -> Any:
            shapes = tuple(tuple(a.shape) if isinstance(a, Tensor) else a for a in arguments)
            if self._is_warming_up:
                warm.add(shapes)
            if shapes not in warm:
                return function(*arguments)
            result = compiled(*arguments)
            # A graph writes every result into the same memory.
            return _clone(result) if self.mode == "cudagraphs" else result

        return run  # type: ignore[return-value]


def _clone(result: Any) -> Any:
    return tuple(x.clone() for x in result) if isinstance(result, tuple) else result.clone()
