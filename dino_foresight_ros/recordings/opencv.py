"""OpenCV without the lines that it and libav print about damaged files.

The environment variables OPENCV_LOG_LEVEL and OPENCV_FFMPEG_LOGLEVEL bring the lines back.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2

# Absent from some builds of OpenCV.
_logging = getattr(getattr(cv2, "utils", None), "logging", None)
if _logging is not None and "OPENCV_LOG_LEVEL" not in os.environ:
    _logging.setLogLevel(_logging.LOG_LEVEL_ERROR)

__all__ = ["cv2"]
