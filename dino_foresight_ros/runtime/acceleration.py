"""torch.compile and CUDA graphs, warmed up at start and never a surprise in mid-stream."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dino_foresight_ros.errors import ForesightError, UsageError

ACCELERATIONS = ("none", "compile", "cudagraphs")


class Accelerated:
    """A function of one tensor, compiled for the shapes it was warmed up with.

    Any other shape (another camera joins the batch) goes through the plain function, so that
    nothing is compiled while frames wait.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], mode: str) -> None:
        """Wrap.

        Args:
            function: tensor -> tensor.
            mode: "none"; "compile", torch.compile's kernels; "cudagraphs", the same kernels as
                without, recorded and replayed as one CUDA graph.

        Raises:
            UsageError: an unknown mode, or CUDA graphs without a CUDA device.
        """
        if mode not in ACCELERATIONS:
            raise UsageError(f"acceleration '{mode}' is unknown; valid: {', '.join(ACCELERATIONS)}")
        if mode == "cudagraphs" and not torch.cuda.is_available():
            raise UsageError("acceleration 'cudagraphs' needs a CUDA device; use none or compile")
        self._plain = function
        self._mode = mode
        self._warm: set[tuple[int, ...]] = set()
        self._compiled: Callable[[Tensor], Tensor] = function
        if mode == "compile":
            self._compiled = torch.compile(function, dynamic=False)
        elif mode == "cudagraphs":
            self._compiled = torch.compile(function, backend="cudagraphs", dynamic=False)

    def warm_up(self, example: Tensor) -> Tensor:
        """Compile for the example's shape.

        Returns:
            The function's value.

        Raises:
            ForesightError: compiling failed (no C++ compiler, for one).
        """
        self._warm.add(tuple(example.shape))
        try:
            for _ in range(2):  # a CUDA graph is recorded in the second run
                result = self(example)
        except Exception as error:
            raise ForesightError(
                f"acceleration '{self._mode}' failed to compile the model "
                f"({' '.join(str(error).split())[:200]}); use acceleration none"
            ) from error
        return result

    def __call__(self, x: Tensor) -> Tensor:
        """The function's value, through the compiled form where x has a warm shape."""
        if self._mode == "none" or tuple(x.shape) not in self._warm:
            return self._plain(x)
        result = self._compiled(x)
        # A graph writes every result into the same memory.
        return result.clone() if self._mode == "cudagraphs" else result
