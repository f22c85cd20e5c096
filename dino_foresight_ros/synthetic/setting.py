"""What all parts of one world are made from."""

from __future__ import annotations

from dataclasses import dataclass

from dino_foresight_ros.synthetic.config import Conditions
from dino_foresight_ros.synthetic.ego import EgoPlan, Road
from dino_foresight_ros.synthetic.layout import RoadLayout
from dino_foresight_ros.synthetic.light import Light
from dino_foresight_ros.synthetic.materials import Materials


@dataclass(frozen=True)
class Setting:
    """A world's choices and the things that its scenery and its traffic share."""

    seed: int
    conditions: Conditions
    layout: RoadLayout
    plan: EgoPlan
    road: Road
    materials: Materials
    light: Light
