"""Pictures of forecasts: colours, legends, contact sheet, mosaics. No torch, no ROS."""

from dino_foresight_ros.render.colors import ClassPalette, DepthScale
from dino_foresight_ros.render.contact_sheet import contact_sheet
from dino_foresight_ros.render.mosaic import Mosaic, columns_of
from dino_foresight_ros.render.style import Style
from dino_foresight_ros.render.surround import SurroundMosaic

__all__ = [
    "ClassPalette",
    "DepthScale",
    "Mosaic",
    "Style",
    "SurroundMosaic",
    "columns_of",
    "contact_sheet",
]
