"""The world's textures by name, drawn from its seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.synthetic import building_textures as building
from dino_foresight_ros.synthetic import ground_textures as ground
from dino_foresight_ros.synthetic import object_textures as objects
from dino_foresight_ros.synthetic.atlas import Atlas
from dino_foresight_ros.synthetic.config import Conditions
from dino_foresight_ros.synthetic.faces import Faces
from dino_foresight_ros.synthetic.layout import RoadLayout

FACADES, SHOPS, LEAVES, CLOTHS, SIGNS = 8, 3, 3, 2, 6


class Materials:
    """Texture numbers by name, and the atlas that holds them."""

    def __init__(self, seed: int, conditions: Conditions, layout: RoadLayout) -> None:
        rng = np.random.default_rng([seed, 5])
        self._names: dict[str, int] = {}
        self._images: list[NDArray[np.uint8]] = []
        self._models: dict[tuple[Any, ...], Faces] = {}
        self._add_ground(rng, conditions, layout)
        self._add_buildings(rng)
        self._add_objects(rng)
        self.atlas = Atlas(self._images)
        self._images = []

    def __getitem__(self, name: str) -> int:
        return self._names[name]

    def model(self, build: Callable[..., Faces], *arguments: Any) -> Faces:
        """What `build(self, *arguments)` gives, built once. It is kept here, not in the module:
        there it would keep the textures of worlds that nobody has any more."""
        key = (build, *arguments)
        if key not in self._models:
            self._models[key] = build(self, *arguments)
        return self._models[key]

    def _add(self, name: str, image: NDArray[np.uint8]) -> None:
        self._names[name] = len(self._images)
        self._images.append(image)

    def _add_ground(
        self, rng: np.random.Generator, conditions: Conditions, layout: RoadLayout
    ) -> None:
        self._add("road", ground.road(rng, layout, conditions))
        wet = 0.75 if conditions.weather == "wet" else 1.0
        shade = wet * rng.uniform(75, 125)
        self._add("asphalt", ground.plain(rng, (shade, shade, shade)))
        self._add("slabs", ground.slabs(rng))
        self._add("grass", ground.grass(rng, float(rng.beta(1.2, 2.5))))
        self._add("field", ground.grass(rng, float(rng.uniform(0.3, 1.0))))
        self._add("paint", ground.plain(rng, (218, 218, 214), 0.07))
        self._add("concrete", ground.plain(rng, (150, 148, 142)))

    def _add_buildings(self, rng: np.random.Generator) -> None:
        for k in range(FACADES):
            self._add(f"facade{k}", building.facade(rng))
        for k in range(SHOPS):
            self._add(f"shop{k}", building.shop(rng))
        for k in range(2):
            self._add(f"roof{k}", building.roof(rng))
            self._add(f"planks{k}", building.planks(rng))
            self._add(f"wall{k}", building.stones(rng))
        self._add("rail", building.rail(rng))
        season = rng.beta(1.0, 1.6)
        for k in range(LEAVES):
            self._add(f"leaves{k}", building.leaves(rng, float(np.clip(season + 0.3 * k, 0, 1.2))))
        self._add("bark", building.bark(rng))

    def _add_objects(self, rng: np.random.Generator) -> None:
        self._add("car_side", objects.car_side())
        self._add("car_windows", objects.car_windows())
        self._add("car_windscreen", objects.car_glass(rear=False))
        self._add("car_rear_window", objects.car_glass(rear=True))
        self._add("car_front", objects.car_front(rng))
        self._add("car_rear", objects.car_rear(rng, braking=False))
        self._add("car_braking", objects.car_rear(rng, braking=True))
        self._add("car_body", objects.car_body())
        self._add("wheel", objects.wheel())
        self._add("truck_side", objects.truck_side(rng, bus=False))
        self._add("bus_side", objects.truck_side(rng, bus=True))
        self._add("truck_front", objects.truck_end(rng, front=True))
        self._add("truck_rear", objects.truck_end(rng, front=False))
        for k in range(CLOTHS):
            self._add(f"cloth{k}", objects.cloth(rng))
        self._add("head", objects.head())
        for k, image in enumerate(objects.signs(rng)):
            self._add(f"sign{k}", image)
        self._add("light_red", objects.traffic_light(0))
        self._add("light_green", objects.traffic_light(1))
        self._add("metal", objects.metal(rng))
