"""Builds the engine that the forecast node's parameters describe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.devices import resolve_device, resolve_dtype
from dino_foresight_ros.model.presets import UNTRAINED_TINY
from dino_foresight_ros.ros.forecast_parameters import parse_output_size
from dino_foresight_ros.ros.forecast_topics import ModelInfo, choose_outputs
from dino_foresight_ros.runtime import Forecast, Foresight
from dino_foresight_ros.runtime.worker import Wanted


class InputSizedForesight(Foresight):
    """Forecasts at the size of the images that come in."""

    def update(
        self, image: np.ndarray, stamp_ns: int, wanted: Wanted | None = None, camera: str = ""
    ) -> Forecast | None:
        """As `Foresight.update`."""
        self.output_size = (int(image.shape[0]), int(image.shape[1]))
        return super().update(image, stamp_ns, wanted, camera)


class LoadedEngine(NamedTuple):
    """An engine and what the node tells about it."""

    engine: Foresight
    model: ModelInfo
    trained: bool
    device: str
    dtype: str


def load_engine(parameters: Mapping[str, Any]) -> LoadedEngine:
    """Load the bundle, build the engine and run it once, so that the first frame is not slow.

    Raises:
        BundleError: the bundle is missing, damaged or does not fit together.
        UsageError: no such device or number format.
        ForesightError: the model does not work, for example because it predicts NaN.
    """
    device = resolve_device(parameters["device"])
    dtype = resolve_dtype(parameters["dtype"], device)
    name = parameters["bundle"]
    path = name if name == UNTRAINED_TINY or name.startswith("hub:") else Path(name).expanduser()
    bundle = Bundle.load(path, device=device, dtype=dtype)
    kind = InputSizedForesight if parameters["output_size"] == "input" else Foresight
    engine = kind(
        bundle,
        steps=parameters["steps"],
        output_size=parse_output_size(parameters["output_size"]),
        acceleration=parameters["acceleration"],
    )
    _warm_up(engine)
    return LoadedEngine(
        engine=engine,
        model=_model_info(bundle, parameters["outputs"]),
        trained=bundle.trained,
        device=str(bundle.device),
        dtype=str(dtype).removeprefix("torch."),
    )


def _warm_up(engine: Foresight) -> None:
    bundle = engine.bundle
    image = np.zeros((*bundle.image_size, 3), np.uint8)
    for index in range(bundle.context_frames):
        engine.update(image, round(index * bundle.frame_interval_s * 1e9))
    engine.reset()


def _model_info(bundle: Bundle, allowed: list[str]) -> ModelInfo:
    segmentation: Any = bundle.tasks.get("segmentation")
    depth: Any = bundle.tasks.get("depth")
    return ModelInfo(
        name=bundle.name,
        outputs=choose_outputs(tuple(bundle.heads), allowed),
        class_names=() if segmentation is None else segmentation.class_names,
        palette=() if segmentation is None else segmentation.palette,
        depth_is_metric=depth is not None and depth.is_metric,
        image_size=bundle.image_size,
    )
