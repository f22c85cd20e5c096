"""Things to draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dino_foresight_ros.render import ClassPalette, DepthScale, Style
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene

MakeForecast = Callable[..., ComparedForecast]


@pytest.fixture
def palette() -> ClassPalette:
    return ClassPalette(("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (70, 130, 180)))


@pytest.fixture
def make_style(palette: ClassPalette) -> Callable[..., Style]:
    def make(**changes: object) -> Style:
        values: dict[str, object] = {
            "palette": palette,
            "depth_scale": DepthScale(2.0, 100.0),
            "has_normals": True,
        }
        return Style(**{**values, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_forecast() -> MakeForecast:
    """A forecast of random content: `steps` steps, the frames of `arrived` of which came."""

    def make(
        steps: int = 3, arrived: int = 3, size: tuple[int, int] = (90, 160), seed: int = 0
    ) -> ComparedForecast:
        random = np.random.default_rng(seed)

        def picture() -> np.ndarray:
            return random.integers(0, 256, (*size, 3), np.uint8)

        def maps() -> dict[str, Any]:
            normals = random.normal(size=(18, 32, 3))
            return {
                "segmentation": random.integers(0, 3, (18, 32), np.uint8),
                "depth": random.uniform(1, 90, (18, 32)).astype(np.float32),
                "normals": (normals / np.linalg.norm(normals, axis=-1)[..., None]).astype("f4"),
            }

        def step(k: int) -> ComparedStep:
            stamp_ns = 200_000_000 * k
            came = picture() if k <= arrived else None
            return ComparedStep(
                Scene(stamp_ns, step=k, horizon_s=0.2 * k, **maps()),
                None if came is None else Scene(stamp_ns, image=came, **maps()),
            )

        made = tuple(step(k) for k in range(1, steps + 1))
        return ComparedForecast(Scene(0, image=picture(), **maps()), made, 12.0)

    return make
