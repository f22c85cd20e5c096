"""Functions of a model recorded by torch.jit.trace, which run without Python's lock."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.model.instance_head import QueryOutput
from dino_foresight_ros.model.onnx_export import TOLERANCE, difference, tensors_of
from dino_foresight_ros.progress import warn

MOST_GRAPHS = 16
"""Graphs kept of a function; the one that was not used for longest goes."""
STEADY_CALLS = 30
"""So often a shape comes before it is recorded in mid-stream; that takes as long as some frames."""
_COARSE_TOLERANCE = 0.02
"""As `TOLERANCE`, in 16 bits."""
_RUNS = 3
"""Runs after which torch has specialised and optimised a graph."""

_RECORDING = threading.Lock()
"""One graph is recorded at a time: what Python warns of meanwhile is held back for all threads."""

Shapes = tuple[Any, ...]
Graph = Callable[..., Any]


class TracedFunction:
    """A function with a graph for each shape of its arguments, each compared with the function.

    Hundreds of small operations wait for the interpreter, and two threads for its lock; a graph
    runs through without either. May be called in several threads.
    """

    def __init__(
        self, function: Callable[..., Any], on_warning: Callable[[str], None] = warn
    ) -> None:
        """Take the function.

        Args:
            function: of tensors and plain values; gives a tensor, a tuple of tensors or a
                `QueryOutput`. The weights that it uses must not change any more.
            on_warning: is told where a shape that is met in mid-stream cannot be recorded.
        """
        self._function, self._on_warning = function, on_warning
        self._name = getattr(function, "__name__", type(function).__name__).lstrip("_")
        self._graphs: OrderedDict[Shapes, Graph | None] = OrderedDict()  # None: stays as it is
        self._calls: OrderedDict[Shapes, int] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def shapes(self) -> list[Shapes]:
        """Those of which there is a graph, the last used one last."""
        with self._lock:
            return [shapes for shapes, graph in self._graphs.items() if graph is not None]

    def prepare(self, shapes: Shapes, arguments: Sequence[Any]) -> None:
        """Record a graph for these shapes, unless there is one.

        Raises:
            ForesightError: it cannot be recorded, or differs from the function.
        """
        with self._lock:
            if self._graphs.get(shapes) is not None:
                return
        with _RECORDING:
            graph = self._recorded(arguments)
        self._keep(shapes, graph)

    def __call__(self, shapes: Shapes, arguments: Sequence[Any]) -> Any:
        """What the function gives."""
        with self._lock:
            graph = self._graphs.get(shapes)
            if graph is not None:
                self._graphs.move_to_end(shapes)
            is_due = shapes not in self._graphs and self._is_steady(shapes)
        if is_due and _RECORDING.acquire(blocking=False):
            try:
                graph = self._recorded(arguments)
            except ForesightError as error:
                self._on_warning(f"{error}; it goes on without")
            finally:
                _RECORDING.release()
            self._keep(shapes, graph)
        if graph is None:
            return self._function(*arguments)
        return graph(*(x for x in arguments if isinstance(x, Tensor)))

    def _is_steady(self, shapes: Shapes) -> bool:
        count = self._calls.pop(shapes, 0) + 1
        self._calls[shapes] = count
        if len(self._calls) > 4 * MOST_GRAPHS:
            self._calls.popitem(last=False)
        return count >= STEADY_CALLS

    def _keep(self, shapes: Shapes, graph: Graph | None) -> None:
        with self._lock:
            self._graphs[shapes] = graph
            self._graphs.move_to_end(shapes)
            self._calls.pop(shapes, None)
            if len(self._graphs) > MOST_GRAPHS:
                self._graphs.popitem(last=False)

    def _recorded(self, arguments: Sequence[Any]) -> Graph:
        """A graph that gives what the function does, also for other values than it saw."""
        given = [x for x in arguments if isinstance(x, Tensor)]

        def of_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
            rest = iter(tensors)
            plain = (next(rest) if isinstance(x, Tensor) else x for x in arguments)
            return tensors_of(self._function(*plain))

        try:
            kind = type(self._function(*arguments))  # before: what it keeps must not be the graph's
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecated, and a Python number is kept as it was
                graph = torch.jit.trace(of_tensors, tuple(given), check_trace=False)
            for _ in range(_RUNS - 1):
                graph(*given)
            others = _other_values(given)
            problem = _problem(self._function, graph(*others), of_tensors(*others))
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ForesightError(f"{self._name} cannot be traced ({reason})") from error
        if problem:
            raise ForesightError(f"{self._name} as a traced graph {problem}")

        def run(*tensors: Tensor) -> Any:
            found = graph(*tensors)
            if kind is QueryOutput:
                return QueryOutput(found[0], found[1])
            return found if kind is tuple else found[0]

        return run


def _problem(of: Any, found: Sequence[Tensor], expected: Sequence[Tensor]) -> str:
    """What is wrong with the outputs of a function's graph; empty where they are right."""
    if not all(bool(x.isfinite().all()) for x in expected):
        return ""  # the engine tells of a model that gives NaN
    is_coarse = any(x.dtype.itemsize < 4 for x in expected)
    most = _COARSE_TOLERANCE if is_coarse else TOLERANCE
    ours, wanted = ([x.float().cpu().numpy() for x in some] for some in (found, expected))
    if [x.shape for x in ours] != [x.shape for x in wanted]:
        return "gives other shapes"
    worst = difference(of, ours, wanted)
    if worst <= most:
        return ""
    return f"differs by {worst:.1e} of its largest value, more than {most:g}"


def _other_values(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Others of the same shapes, with numbers where there was NaN."""
    generator = torch.Generator().manual_seed(0)

    def other(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        change = 0.3 * torch.randn(x.shape, generator=generator)
        return x.nan_to_num(0.5) + change.to(x)

    return [other(x) for x in tensors]
