"""Pictures of forecasts: colours, legends, contact sheet, mosaic. No torch, no ROS."""

from dino_foresight_ros.render.banner import untrained_banner, with_untrained_banner
from dino_foresight_ros.render.depth import DepthScale
from dino_foresight_ros.render.mosaic import Mosaic
from dino_foresight_ros.render.normals import colorize_normals
from dino_foresight_ros.render.palette import ClassPalette, colorize, overlay
from dino_foresight_ros.render.sheet import contact_sheet
from dino_foresight_ros.render.text import draw_tag, draw_text
from dino_foresight_ros.render.views import Look, Moment, StepView, columns_of, spread

__all__ = [
    "ClassPalette",
    "DepthScale",
    "Look",
    "Moment",
    "Mosaic",
    "StepView",
    "colorize",
    "colorize_normals",
    "columns_of",
    "contact_sheet",
    "draw_tag",
    "draw_text",
    "overlay",
    "spread",
    "untrained_banner",
    "with_untrained_banner",
]
