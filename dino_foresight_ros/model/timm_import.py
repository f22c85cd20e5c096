"""timm, imported without torch's compiler (torch._dynamo), as long as nothing is compiled.

torchvision and a model of timm name the compiler when they are imported, and its import takes about
as long as that of torch. Whoever compiles later gets the real one.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_COMPILER = ("torch._dynamo", "torch._dynamo.utils")


def _real(name: str) -> ModuleType:
    """The compiler's module, in the place of its stand-in."""
    _remove_stand_ins()
    return importlib.import_module(name)


class _StandIn(ModuleType):
    """Imports the compiler only when something of it is used."""

    def __getattr__(self, name: str) -> Any:
        """Whatever the importing libraries do not ask for today."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)

    @staticmethod
    def disable(function: Any, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """torch.compiler.disable, put off until the first call."""
        disabled: list[Callable[..., Any]] = []

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if not disabled:
                disabled.append(_real(_COMPILER[0]).disable(function, *arguments, **options))
            return disabled[0](*args, **kwargs)

        return call

    @staticmethod
    def is_compile_supported(device_type: str) -> Any:
        """torch._dynamo.utils.is_compile_supported, put off likewise."""
        return _real(_COMPILER[1]).is_compile_supported(device_type)


def _remove_stand_ins() -> None:
    for name in _COMPILER:
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


@contextmanager
def _without_compiler() -> Iterator[None]:
    import torch  # noqa: F401 - whose own import looks for the compiler

    if not set(_COMPILER) & sys.modules.keys():
        sys.modules.update({name: _StandIn(name) for name in _COMPILER})
    try:
        yield
    finally:
        _remove_stand_ins()


with _without_compiler():
    import timm

__all__ = ["timm"]
