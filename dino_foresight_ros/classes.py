"""The classes of the synthetic world, and how labelled real data maps onto them.

An id is the position in `WORLD_CLASSES`. Colours are those of Cityscapes where the class exists
there, so that pictures look familiar. Classes are kept coarse enough that Cityscapes and CamVid
labels map onto them without guessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

UNLABELLED = 255
SKY_CLASSES = ("sky",)
"""Names of classes that have no depth; case does not count."""


def class_name(class_id: int, names: Sequence[str], otherwise: str = "") -> str:
    """The name of a class id, or `otherwise` where it has none."""
    return names[class_id] if class_id != UNLABELLED and class_id < len(names) else otherwise


def class_label(class_id: int, names: Sequence[str]) -> str:
    """The name of a class id, or "class ID" where it has none."""
    return class_name(class_id, names, f"class {class_id}")


class ClassInfo(NamedTuple):
    """One semantic class: its name, its (r, g, b) colour, and whether its objects can move."""

    name: str
    color: tuple[int, int, int]
    is_moving: bool = False


WORLD_CLASSES: tuple[ClassInfo, ...] = (
    ClassInfo("road", (128, 64, 128)),
    ClassInfo("road_marking", (234, 234, 234)),
    ClassInfo("sidewalk", (244, 35, 232)),
    ClassInfo("building", (70, 70, 70)),
    ClassInfo("fence", (190, 153, 153)),
    ClassInfo("pole", (153, 153, 153)),
    # Signs and traffic lights: one class, as in CamVid's SignSymbol.
    ClassInfo("sign", (220, 220, 0)),
    ClassInfo("vegetation", (107, 142, 35)),
    ClassInfo("terrain", (152, 251, 152)),
    ClassInfo("sky", (70, 130, 180)),
    ClassInfo("pedestrian", (220, 20, 60), is_moving=True),
    # The rider and what is ridden: one class, as in CamVid's Bicyclist.
    ClassInfo("cyclist", (255, 0, 0), is_moving=True),
    ClassInfo("car", (0, 0, 142), is_moving=True),
    # Trucks, vans with a box, and buses.
    ClassInfo("truck", (0, 0, 70), is_moving=True),
)

CLASS_IDS: dict[str, int] = {info.name: index for index, info in enumerate(WORLD_CLASSES)}
"""Class name -> id."""

MOVING_CLASS_IDS: tuple[int, ...] = tuple(
    index for index, info in enumerate(WORLD_CLASSES) if info.is_moving
)

# A dataset class covers every world class listed for it; the first one is what its pixels become
# when the data is used for training. To score, merge predictions the other way round.
CAMVID_TO_WORLD: dict[str, tuple[str, ...]] = {
    "Sky": ("sky",),
    "Building": ("building",),
    "Pole": ("pole",),
    "Road": ("road", "road_marking"),
    "Pavement": ("sidewalk",),
    "Tree": ("vegetation", "terrain"),
    "SignSymbol": ("sign",),
    "Fence": ("fence",),
    "Car": ("car", "truck"),
    "Pedestrian": ("pedestrian",),
    "Bicyclist": ("cyclist",),
}
"""CamVid class name -> names of the world classes it covers, the usual one first."""

COMMA10K_CLASSES: tuple[ClassInfo, ...] = (
    ClassInfo("road", (64, 32, 32)),
    ClassInfo("lane markings", (255, 0, 0)),
    ClassInfo("undrivable", (128, 128, 96)),
    ClassInfo("movable", (0, 255, 102), is_moving=True),
    ClassInfo("own car", (204, 0, 255)),
)
"""The classes of comma10k, in the order and colours of its masks."""

COMMA10K_TRAINS_WORLD: dict[str, tuple[str, ...]] = {
    "road": ("road",),
    "lane markings": ("road_marking",),
    "movable": ("car", "truck", "pedestrian", "cyclist"),
}
"""comma10k class name -> names of the world classes it covers, the usual one first; movable is
mostly cars. Undrivable is anything from pavement to sky, and the own car is not in the world, so
training leaves both out."""

COMMA10K_TO_WORLD: dict[str, tuple[str, ...]] = {
    **COMMA10K_TRAINS_WORLD,
    "undrivable": (
        "building",
        "sidewalk",
        "fence",
        "pole",
        "sign",
        "vegetation",
        "terrain",
        "sky",
    ),
    "own car": (),
}
"""comma10k class name -> names of the world classes it covers, for scores."""

CITYSCAPES_CLASSES: tuple[ClassInfo, ...] = (
    ClassInfo("road", (128, 64, 128)),
    ClassInfo("sidewalk", (244, 35, 232)),
    ClassInfo("building", (70, 70, 70)),
    ClassInfo("wall", (102, 102, 156)),
    ClassInfo("fence", (190, 153, 153)),
    ClassInfo("pole", (153, 153, 153)),
    ClassInfo("traffic light", (250, 170, 30)),
    ClassInfo("traffic sign", (220, 220, 0)),
    ClassInfo("vegetation", (107, 142, 35)),
    ClassInfo("terrain", (152, 251, 152)),
    ClassInfo("sky", (70, 130, 180)),
    ClassInfo("person", (220, 20, 60), is_moving=True),
    ClassInfo("rider", (255, 0, 0), is_moving=True),
    ClassInfo("car", (0, 0, 142), is_moving=True),
    ClassInfo("truck", (0, 0, 70), is_moving=True),
    ClassInfo("bus", (0, 60, 100), is_moving=True),
    ClassInfo("train", (0, 80, 100), is_moving=True),
    ClassInfo("motorcycle", (0, 0, 230), is_moving=True),
    ClassInfo("bicycle", (119, 11, 32), is_moving=True),
)
"""The 19 training classes of Cityscapes, which the published segmentation head predicts."""

# Trains have no counterpart. The world labels walls and crash barriers as fences.
CITYSCAPES_TO_WORLD: dict[str, tuple[str, ...]] = {
    "road": ("road", "road_marking"),
    "sidewalk": ("sidewalk",),
    "building": ("building",),
    "wall": ("fence",),
    "fence": ("fence",),
    "pole": ("pole",),
    "traffic light": ("sign",),
    "traffic sign": ("sign",),
    "vegetation": ("vegetation",),
    "terrain": ("terrain",),
    "sky": ("sky",),
    "person": ("pedestrian",),
    "rider": ("cyclist",),
    "car": ("car",),
    "truck": ("truck",),
    "bus": ("truck",),
    "motorcycle": ("cyclist",),
    "bicycle": ("cyclist",),
}
"""Cityscapes class name -> names of the world classes it covers, the usual one first."""

NUSCENES_CLASSES: tuple[ClassInfo, ...] = (
    ClassInfo("barrier", (112, 128, 144)),
    ClassInfo("bicycle", (220, 20, 60), is_moving=True),
    ClassInfo("bus", (255, 127, 80), is_moving=True),
    ClassInfo("car", (255, 158, 0), is_moving=True),
    ClassInfo("construction_vehicle", (233, 150, 70), is_moving=True),
    ClassInfo("motorcycle", (255, 61, 99), is_moving=True),
    ClassInfo("pedestrian", (0, 0, 230), is_moving=True),
    ClassInfo("traffic_cone", (47, 79, 79)),
    ClassInfo("trailer", (255, 140, 0), is_moving=True),
    ClassInfo("truck", (255, 99, 71), is_moving=True),
    ClassInfo("driveable_surface", (0, 207, 191)),
    ClassInfo("other_flat", (175, 0, 75)),
    ClassInfo("sidewalk", (75, 0, 75)),
    ClassInfo("terrain", (112, 180, 60)),
    ClassInfo("manmade", (222, 184, 135)),
    ClassInfo("vegetation", (0, 175, 0)),
)
"""The 16 classes of nuScenes' lidar segmentation challenge, in its order and colours."""

NUSCENES_CATEGORIES: dict[str, str] = {
    "movable_object.barrier": "barrier",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
    "flat.driveable_surface": "driveable_surface",
    "flat.other": "other_flat",
    "flat.sidewalk": "sidewalk",
    "flat.terrain": "terrain",
    "static.manmade": "manmade",
    "static.vegetation": "vegetation",
}
"""nuScenes category -> its class in the challenge; other categories have none."""

NUSCENES_TO_WORLD: dict[str, tuple[str, ...]] = {
    "barrier": ("fence",),
    "bicycle": ("cyclist",),
    "bus": ("truck",),
    "car": ("car",),
    "construction_vehicle": ("truck",),
    "motorcycle": ("cyclist",),
    "pedestrian": ("pedestrian",),
    "trailer": ("truck",),
    "truck": ("truck",),
    "driveable_surface": ("road", "road_marking"),
    "sidewalk": ("sidewalk",),
    "terrain": ("terrain",),
    "manmade": ("building",),
    "vegetation": ("vegetation",),
}
"""nuScenes class -> names of the world classes it covers, the usual one first. Poles and signs are
manmade there, which is mostly buildings."""
