"""Things to draw."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dino_foresight_ros.render import ClassPalette, DepthScale, Look, Moment, StepView
from dino_foresight_ros.render.views import SceneMaps

MakeMoment = Callable[..., Moment]


@pytest.fixture
def palette() -> ClassPalette:
    return ClassPalette(("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (70, 130, 180)))


@pytest.fixture
def make_look(palette: ClassPalette) -> Callable[..., Look]:
    def make(**changes: object) -> Look:
        values: dict[str, object] = {
            "palette": palette,
            "scale": DepthScale(2.0, 100.0),
            "has_normals": True,
        }
        return Look(**{**values, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def make_moment() -> MakeMoment:
    """A moment of random content: `steps` steps, `arrived` of which were seen and judged."""

    def make(
        steps: int = 3, arrived: int = 3, size: tuple[int, int] = (90, 160), seed: int = 0
    ) -> Moment:
        random = np.random.default_rng(seed)

        def picture() -> np.ndarray:
            return random.integers(0, 256, (*size, 3), np.uint8)

        def maps() -> dict[str, np.ndarray]:
            normals = random.normal(size=(18, 32, 3))
            return {
                "segmentation": random.integers(0, 3, (18, 32), np.uint8),
                "depth": random.uniform(1, 90, (18, 32)).astype(np.float32),
                "normals": (normals / np.linalg.norm(normals, axis=-1)[..., None]).astype("f4"),
            }

        views = tuple(
            StepView(
                step=k,
                horizon_s=0.2 * k,
                target_stamp_ns=200_000_000 * k,
                arrived=picture() if k <= arrived else None,
                oracle=SceneMaps(**maps()) if k <= arrived else None,
                **maps(),
            )
            for k in range(1, steps + 1)
        )
        return Moment(picture(), 0, views, 12.0, SceneMaps(**maps()))

    return make
