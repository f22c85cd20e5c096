"""Functions of a bundle's modules in ONNX Runtime: graphs are exported once and kept on disk."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dino_foresight_ros.choices import PROVIDERS
from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.model.instance_head import QueryOutput
from dino_foresight_ros.model.onnx_export import (
    OPSET,
    TOLERANCE,
    check_packages,
    difference,
    tensors_of,
    write_graph,
)
from dino_foresight_ros.model.weights import add_to_digest
from dino_foresight_ros.version import __version__

_AUTO = ("cuda", "openvino", "cpu")
"""auto takes the first that is there; TensorRT builds its engines for minutes, so it has to be
asked for."""
_COARSE_TOLERANCE = 0.05
"""As `TOLERANCE`, where 16 bits or TensorFloat-32 may be computed in: tells a wrong graph alone."""


def resolve_provider(name: str) -> str:
    """Turn "auto" or a name of `PROVIDERS` into one that the installed onnxruntime has.

    Raises:
        UsageError: onnxruntime or the exporter is missing, an unknown name, or a provider that is
            not there.
    """
    check_packages("acceleration 'onnxruntime'")
    import onnxruntime

    there = onnxruntime.get_available_providers()
    have = [short for short, full in PROVIDERS.items() if full in there]
    if name == "auto":
        return next(short for short in _AUTO if short in have)
    if name not in PROVIDERS:
        raise UsageError(
            f"execution_provider '{name}' is unknown; valid: auto, {', '.join(PROVIDERS)}"
        )
    if name not in have:
        raise UsageError(
            f"execution_provider '{name}' is not in the installed onnxruntime, which has "
            f"{', '.join(have)}; use auto, or install the onnxruntime that has it"
        )
    return name


def cache_folder() -> Path | None:
    """Where graphs are kept, made; None where nothing can be written."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if not os.path.isabs(base):  # a user without a home folder
        return None
    folder = Path(base, "dino_foresight_ros", "onnxruntime")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


class OnnxFunction:
    """A function whose graphs, one for each shape of its arguments, run in ONNX Runtime."""

    def __init__(self, function: Callable[..., Any], provider: str) -> None:
        """Take the function.

        Args:
            function: a module, or a method of one. Takes tensors and plain values; gives a tensor,
                a tuple of tensors or a `QueryOutput`.
            provider: one of `PROVIDERS`.
        """
        self._function, self._provider = function, provider
        owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
        if not isinstance(owner, nn.Module):
            raise TypeError(f"{function!r} is neither a module nor a method of one")
        self._owner: nn.Module = owner
        self._name = getattr(function, "__name__", type(function).__name__).lstrip("_")
        self._sessions: dict[tuple[Any, ...], tuple[Any, type]] = {}

    def __contains__(self, shapes: tuple[Any, ...]) -> bool:
        """Whether there is a graph for arguments of these shapes."""
        return shapes in self._sessions

    def prepare(self, shapes: tuple[Any, ...], arguments: Sequence[Any]) -> None:
        """Take the kept graph, or export one, and compare it with torch.

        Raises:
            ForesightError: it cannot be exported or run, or it differs from torch.
        """
        # Before any export: what a module keeps of its first call must not be the tracer's.
        plain = self._function(*arguments)
        expected = [_host(x) for x in tensors_of(plain)]
        with _folder() as folder:
            path = folder / f"{self._name}-{self._identity(shapes, arguments)}.onnx"
            problem = self._try(path, arguments, expected) if path.exists() else "there is none"
            if isinstance(problem, str):
                self._export(path, arguments)
                problem = self._try(path, arguments, expected)
            if isinstance(problem, str):
                path.unlink(missing_ok=True)
                raise ForesightError(f"{self._name} in ONNX Runtime {problem}")
            self._sessions[shapes] = problem, type(plain)

    def __call__(self, shapes: tuple[Any, ...], arguments: Sequence[Any]) -> Any:
        """What the function gives, on the device of its first argument."""
        session, kind = self._sessions[shapes]
        device = next(x.device for x in arguments if isinstance(x, Tensor))
        # What is beside a head's queries is for the comparison with torch alone.
        most = 2 if kind is QueryOutput else None
        found = tuple(torch.from_numpy(x).to(device) for x in _run(session, arguments, most))
        if kind is QueryOutput:
            return QueryOutput(found[0], found[1])
        return found if kind is tuple else found[0]

    def _try(self, path: Path, arguments: Sequence[Any], expected: list[np.ndarray]) -> Any:
        """A session that gives what is expected; else what is wrong with it."""
        try:
            session = _open(path, self._provider)
            found = _run(session, arguments)
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 - onnxruntime has kinds of its own
            return f"failed: {' '.join(str(error).split())[:200]}"
        if not all(np.isfinite(x).all() for x in expected):
            return session  # the engine tells of a model that gives NaN
        is_exact = self._provider == "cpu" and expected[0].dtype == np.float32
        most = TOLERANCE if is_exact else _COARSE_TOLERANCE
        worst = difference(self._owner, found, expected)
        if worst <= most:
            return session
        return f"differs from torch by {worst:.1e} of its largest value, more than {most:g}"

    def _export(self, path: Path, arguments: Sequence[Any]) -> None:
        tensors = [x for x in arguments if isinstance(x, Tensor)]

        def of_tensors(*given: Tensor) -> Any:
            rest = iter(given)
            return self._function(*(next(rest) if isinstance(x, Tensor) else x for x in arguments))

        descriptor, name = tempfile.mkstemp(".partial", dir=path.parent)  # two nodes may start
        os.close(descriptor)
        partial = Path(name)
        try:
            with torch.inference_mode(False):
                inputs = {_input(i): x.clone() for i, x in enumerate(tensors)}
                write_graph(self._name, of_tensors, [self._owner], inputs, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _identity(self, shapes: tuple[Any, ...], arguments: Sequence[Any]) -> str:
        """What a graph depends on: weights, shapes, number formats and who exported it."""
        formats = [(x.dtype, x.device.type) for x in arguments if isinstance(x, Tensor)]
        told = (__version__, torch.__version__, OPSET, self._name, shapes, formats)
        digest = hashlib.sha256(f"{told} {self._owner}".encode())
        add_to_digest(digest, self._owner.state_dict())
        return digest.hexdigest()[:24]


def _open(path: Path, provider: str) -> Any:
    """A session on the provider; what that does not know runs on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    folder = str(path.parent)
    settings: dict[str, dict[str, Any]] = {
        "tensorrt": {"trt_engine_cache_enable": True, "trt_engine_cache_path": folder},
        "openvino": {"cache_dir": folder},
    }
    wanted = [(PROVIDERS[provider], settings.get(provider, {}))]
    if provider != "cpu":
        wanted.append((PROVIDERS["cpu"], {}))
    session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
    if PROVIDERS[provider] not in session.get_providers():  # its libraries are missing
        raise UsageError(
            f"execution_provider '{provider}' does not start here (it may miss libraries); use cpu"
        )
    return session


def _run(session: Any, arguments: Sequence[Any], most: int | None = None) -> list[np.ndarray]:
    """A graph's outputs, the first ones or all."""
    tensors = [x for x in arguments if isinstance(x, Tensor)]
    named = {_input(i): x for i, x in enumerate(tensors)}
    # An input that no output depends on may be missing.
    wanted = None if most is None else [x.name for x in session.get_outputs()[:most]]
    return session.run(wanted, {i.name: _host(named[i.name]) for i in session.get_inputs()})


def _input(index: int) -> str:
    return f"input_{index}"


def _host(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy()


@contextmanager
def _folder() -> Iterator[Path]:
    """The cache, or a folder that is gone afterwards."""
    kept = cache_folder()
    if kept is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="dino_foresight_ros_") as name:
        yield Path(name)
