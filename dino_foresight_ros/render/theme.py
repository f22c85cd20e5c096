"""Colours and sizes that all pictures share."""

from __future__ import annotations

from dino_foresight_ros.render.palette import Color

BACKGROUND: Color = (18, 20, 24)
PANEL: Color = (30, 33, 39)
TEXT: Color = (236, 238, 241)
DIM: Color = (150, 156, 166)
WARNING: Color = (255, 193, 7)
ON_WARNING: Color = (30, 22, 0)

UNTRAINED_TEXTS = (
    "UNTRAINED WEIGHTS - not a real forecast",
    "UNTRAINED - no real forecast",
    "UNTRAINED",
)
UNTRAINED_TAG = "untrained"
