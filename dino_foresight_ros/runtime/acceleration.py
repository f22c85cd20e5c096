"""Traced graphs, torch.compile, CUDA graphs and ONNX Runtime, all of them warmed up at start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from dino_foresight_ros.choices import ACCELERATIONS
from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.runtime.onnx_sessions import OnnxFunction, resolve_provider
from dino_foresight_ros.runtime.traced import TracedFunction

F = TypeVar("F", bound=Callable[..., Any])


class Accelerator:
    """Compiles functions of tensors for the shapes that they are called with while warming up.

    Any other shape (another camera joins the batch) goes through the plain function, so that
    nothing is compiled while frames wait. Tracing takes a fraction of a second: it is done in
    mid-stream too, of a shape that comes again and again.
    """

    def __init__(self, mode: str = "none", provider: str = "auto") -> None:
        """Choose how to compile.

        Args:
            mode: "none"; "trace", the same kernels as without, called by torch.jit's graphs
                instead of Python; "compile", torch.compile's kernels; "cudagraphs", the same
                kernels as without, recorded and replayed as one CUDA graph; "onnxruntime", graphs
                that are exported at the first start and kept in the user's cache.
            provider: of onnxruntime: auto, cpu, cuda, openvino or tensorrt.

        Raises:
            UsageError: an unknown mode, CUDA graphs without a CUDA device, or ONNX Runtime or its
                provider is not there.
        """
        if mode not in ACCELERATIONS:
            raise UsageError(f"acceleration '{mode}' is unknown; valid: {', '.join(ACCELERATIONS)}")
        if mode == "cudagraphs" and not torch.cuda.is_available():
            raise UsageError("acceleration 'cudagraphs' needs a CUDA device; use none or compile")
        self.mode = mode
        self._provider = resolve_provider(provider) if mode == "onnxruntime" else ""
        self._is_warming_up = False

    @property
    def is_on(self) -> bool:
        """Whether functions are compiled at all."""
        return self.mode != "none"

    @property
    def needs_known_shapes(self) -> bool:
        """Whether only shapes that were met while warming up are fast."""
        return self.mode not in ("none", "trace")

    @contextmanager
    def warming_up(self) -> Iterator[None]:
        """Within it, functions are compiled for the shapes that they meet.

        Raises:
            ForesightError: compiling failed (no C++ compiler, for one).
        """
        self._is_warming_up = True
        try:
            yield
        except UsageError:
            raise
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
        if self.mode == "onnxruntime":
            return self._wrap_onnx(function)
        if self.mode == "trace":
            return self._wrap_traced(function)
        backend = "inductor" if self.mode == "compile" else "cudagraphs"
        compiled = torch.compile(function, backend=backend, dynamic=False)
        warm: set[tuple[Any, ...]] = set()

        def run(*arguments: Any) -> Any:
            shapes = _shapes(arguments)
            if self._is_warming_up and shapes not in warm:
                # What the function keeps of its own, such as an encoder's position embeddings at
                # this size, is made here: the compiler cannot make parameters in inference mode.
                function(*arguments)
                warm.add(shapes)
            if shapes not in warm:
                return function(*arguments)
            result = compiled(*(_row_major(x) for x in arguments))
            # A graph writes every result into the same memory.
            return _clone(result) if self.mode == "cudagraphs" else result

        return run  # type: ignore[return-value]

    def _wrap_traced(self, function: F) -> F:
        graphs = TracedFunction(function)

        def run(*arguments: Any) -> Any:
            shapes = _shapes(arguments)
            if self._is_warming_up:
                graphs.prepare(shapes, arguments)
            return graphs(shapes, arguments)

        return run  # type: ignore[return-value]

    def _wrap_onnx(self, function: F) -> F:
        graphs = OnnxFunction(function, self._provider)

        def run(*arguments: Any) -> Any:
            shapes = _shapes(arguments)
            if self._is_warming_up and shapes not in graphs:
                graphs.prepare(shapes, arguments)
            return graphs(shapes, arguments) if shapes in graphs else function(*arguments)

        return run  # type: ignore[return-value]


def _shapes(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(tuple(a.shape) if isinstance(a, Tensor) else a for a in arguments)


def _row_major(argument: Any) -> Any:
    """Tensors laid out alike whatever they are views of: another layout would be compiled anew."""
    if not isinstance(argument, Tensor):
        return argument
    return argument.reshape(-1).view(argument.shape)  # `contiguous` keeps odd strides of 1-sides


def _clone(result: Any) -> Any:
    return tuple(x.clone() for x in result) if isinstance(result, tuple) else result.clone()
