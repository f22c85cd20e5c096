"""Runs the model on the frames that came, after the run, to judge the forecasts."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dino_foresight_ros.detections import scene_fields
from dino_foresight_ros.outputs import DEPTH, IMAGES
from dino_foresight_ros.scene import ComparedForecast, Scene

if TYPE_CHECKING:
    from dino_foresight_ros.model import Bundle
    from dino_foresight_ros.runtime.decoder import Decoder

_MAPS = tuple(output.name for output in IMAGES if output.topics)


class Oracle:
    """Runs a bundle's encoder and heads on single frames, as the live node runs them.

    The heads see features that went through the PCA and back, as forecasts do. Heads that read the
    forecaster's layers say nothing of a frame that came.
    """

    def __init__(self, bundle: Bundle, decoder: Decoder) -> None:
        from dino_foresight_ros.model import DepthTask
        from dino_foresight_ros.runtime.decoder import layers_read

        depth = bundle.tasks.get(DEPTH)
        self._depth_is_metric = isinstance(depth, DepthTask) and depth.is_metric
        self.bundle, self._decoder = bundle, decoder
        self._focal: float | None = None
        self._outputs = frozenset(
            n for n in _MAPS if n in bundle.heads and not layers_read(bundle, n)
        )

    @classmethod
    def load(cls, bundle: str, device: str, dtype: str) -> Oracle:
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

    def of_camera(self, focal: float | None) -> Oracle:
        """The same for pictures of a camera with this focal length, as `CameraView.focal`."""
        one = copy.copy(self)
        one._focal = focal
        return one

    def describe(self, frame: Scene) -> Scene:
        """A frame, whose `image` is known, with what the model says of it."""
        import torch

        bundle = self.bundle
        with torch.inference_mode():
            pixels = bundle.encoder.preprocess(np.ascontiguousarray(frame.image)[None])
            z = bundle.pca.transform(bundle.encoder(pixels))
            outputs = self._decoder.decode(z, [dict.fromkeys(self._outputs)], focals=[self._focal])
            features = z[0].float().cpu().numpy()
        maps: dict[str, Any] = {o.name: o.values[0].cpu().numpy() for o in outputs}
        is_metric = self._depth_is_metric
        fields = scene_fields(maps)
        return replace(frame, features=features, depth_is_metric=is_metric, **fields)


def describe_forecasts(
    oracle: Oracle, forecasts: Sequence[ComparedForecast], first: Sequence[int], limit_s: float
) -> list[ComparedForecast]:
    """Describe the newest frame that each forecast knew, and the frames that then came.

    Args:
        oracle: what describes a frame.
        forecasts: of one run.
        first: places of those that must be described; the others are while there is time.
        limit_s: how long it may take.

    Returns:
        The forecasts in their order; those that were not described are as they were.
    """
    deadline_s = time.monotonic() + limit_s
    described = list(forecasts)
    # A frame that came after one forecast may be the newest that another knew.
    known: dict[int, Scene] = {}

    def describe(frame: Scene) -> Scene:
        if frame.image is None:
            return frame
        if id(frame.image) not in known:
            known[id(frame.image)] = oracle.describe(frame)
        return known[id(frame.image)]

    rest = [place for place in range(len(forecasts)) if place not in set(first)]
    for place in [*first, *far_apart(rest)]:
        if place not in first and time.monotonic() > deadline_s:
            break
        one = forecasts[place]
        steps = tuple(
            step if step.arrived is None else replace(step, arrived=describe(step.arrived))
            for step in one.steps
        )
        described[place] = _with_shared_ids(replace(one, newest=describe(one.newest), steps=steps))
    return described


def _with_shared_ids(forecast: ComparedForecast) -> ComparedForecast:
    """The same object has the same id in the forecast, now, and in the frames that came.

    What the model says of a single frame numbers its objects anew.
    """
    from dino_foresight_ros.runtime.identity import IdentityTracker, named_alike

    newest, steps = forecast.newest, forecast.steps
    if newest.instances is None or not steps:
        return forecast
    scenes = (newest, *(step.predicted for step in steps))
    newest, *predicted = IdentityTracker().update(newest.stamp_ns, scenes)
    known = [detection.id for scene in (newest, *predicted) for detection in scene.detections]
    first_other = 1 + max(known, default=0)
    named = []
    for step, scene in zip(steps, predicted, strict=True):
        came = None if step.arrived is None else named_alike(step.arrived, scene, first_other)
        named.append(replace(step, predicted=scene, arrived=came))
    return replace(forecast, newest=newest, steps=tuple(named))


def far_apart(places: list[int]) -> list[int]:
    """The same in an order whose every beginning is spread: halves, quarters, ..."""
    if not places:
        return []
    middle = len(places) // 2
    left, right = far_apart(places[:middle]), far_apart(places[middle + 1 :])
    mixed = [place for pair in zip(left, right, strict=False) for place in pair]
    mixed += left[len(right) :] + right[len(left) :]
    return [places[middle], *mixed]
