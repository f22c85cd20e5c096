"""After the run: what the model itself says of the frames that came, beside its forecasts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dino_foresight_ros.outputs import IMAGES
from dino_foresight_ros.scene import ComparedForecast, Scene

if TYPE_CHECKING:
    from dino_foresight_ros.model import Bundle
    from dino_foresight_ros.runtime.decoder import Decoder

_MAPS = tuple(output.name for output in IMAGES if output.topics)


class Judge:
    """Runs a bundle's encoder and heads on single frames, as the live node runs them.

    The heads see features that went through the PCA and back, as forecasts do. Heads that read the
    forecaster's layers say nothing of a frame that came.
    """

    def __init__(self, bundle: Bundle, decoder: Decoder) -> None:
        self._bundle, self._decoder = bundle, decoder
        layered = {name for name, read in bundle.inputs.items() if read.layers}
        self._wanted = frozenset(n for n in _MAPS if n in bundle.heads and n not in layered)

    @classmethod
    def load(cls, bundle: str, device: str, dtype: str) -> Judge:
        """Load the model again.

        Args:
            bundle: as the forecast node was given it.
            device, dtype: where and how the forecast node ran it.

        Raises:
            BundleError, UsageError: as `Bundle.load`.
        """
        from dino_foresight_ros.model import Bundle
        from dino_foresight_ros.model.devices import resolve_device, resolve_dtype
        from dino_foresight_ros.runtime.decoder import Decoder

        where = resolve_device(device)
        loaded = Bundle.load(bundle, device=where, dtype=resolve_dtype(dtype, where))
        return cls(loaded, Decoder(loaded))

    def describe(self, frame: Scene) -> Scene:
        """A frame, whose `image` is known, with what the model says of it."""
        import torch

        bundle = self._bundle
        with torch.inference_mode():
            pixels = bundle.encoder.preprocess(np.ascontiguousarray(frame.image)[None])
            z = bundle.pca.transform(bundle.encoder(pixels))
            outputs = self._decoder.decode(z, [dict.fromkeys(self._wanted)])
            features = z[0].float().cpu().numpy()
        maps: dict[str, Any] = {o.name: o.values[0].cpu().numpy() for o in outputs}
        return replace(frame, features=features, **maps)


def judge_moments(
    judge: Judge, moments: Sequence[ComparedForecast], first: Sequence[int], limit_s: float
) -> list[ComparedForecast]:
    """Describe the newest known frame of each moment, and those that came.

    Args:
        judge: who looks.
        moments: of one run.
        first: places of those that must be judged; the others are while there is time.
        limit_s: how long it may take.

    Returns:
        The moments in their order; those that were not judged are as they were.
    """
    deadline_s = time.monotonic() + limit_s
    judged = list(moments)
    # A frame that came in one moment may be the newest known one of another.
    known: dict[int, Scene] = {}

    def described(frame: Scene | None) -> Scene | None:
        if frame is None or frame.image is None:
            return frame
        if id(frame.image) not in known:
            known[id(frame.image)] = judge.describe(frame)
        return known[id(frame.image)]

    rest = [place for place in range(len(moments)) if place not in set(first)]
    for place in [*first, *_far_apart(rest)]:
        if place not in first and time.monotonic() > deadline_s:
            break
        forecast = moments[place]
        steps = tuple(replace(step, arrived=described(step.arrived)) for step in forecast.steps)
        judged[place] = replace(
            forecast, seen=described(forecast.seen) or forecast.seen, steps=steps
        )
    return judged


def _far_apart(places: list[int]) -> list[int]:
    """The same in an order whose every beginning is spread: halves, quarters, ..."""
    if not places:
        return []
    middle = len(places) // 2
    left, right = _far_apart(places[:middle]), _far_apart(places[middle + 1 :])
    mixed = [place for pair in zip(left, right, strict=False) for place in pair]
    mixed += left[len(right) :] + right[len(left) :]
    return [places[middle], *mixed]
