"""Lightning Fabric, imported without torchmetrics, which it asks only for a version.

The import of torchmetrics brings matplotlib, scipy and, where it is installed, transformers;
together they take longer than torch. Whoever scores labels imports it afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_HIDDEN = "torchmetrics"


@contextmanager
def _without_torchmetrics() -> Iterator[None]:
    if _HIDDEN in sys.modules:
        yield
        return
    sys.modules[_HIDDEN] = None  # type: ignore[assignment]  # its import fails
    try:
        yield
    finally:
        del sys.modules[_HIDDEN]


with _without_torchmetrics():
    from lightning_fabric import Fabric
    from lightning_fabric.plugins import MixedPrecision, Precision
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy
    from lightning_fabric.strategies.model_parallel import ModelParallelStrategy

__all__ = [
    "DDPStrategy",
    "Fabric",
    "MixedPrecision",
    "ModelParallelStrategy",
    "Precision",
    "TorchElasticEnvironment",
]
