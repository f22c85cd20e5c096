"""The demo's pictures: the video while it runs, the contact sheet at its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dino_foresight_ros.demo.moments import MomentKeeper
from dino_foresight_ros.demo.video import TimedVideo
from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.render import (
    ClassPalette,
    DepthScale,
    Look,
    Moment,
    Mosaic,
    columns_of,
    contact_sheet,
)

VIDEO_RATE_HZ = 10.0
SHEET_MOMENTS = 3


class Pictures:
    """Turns moments into the video, and keeps a few of them for the sheet."""

    def __init__(self, video_path: Path) -> None:
        self._video_path = video_path
        self._keeper = MomentKeeper()
        self._video: TimedVideo | None = None
        self._mosaic: Mosaic | None = None

    def add(
        self,
        moment: Moment,
        palette: ClassPalette | None,
        depth_is_metric: bool,
        origin_ns: int,
        trained: bool,
    ) -> None:
        """Show a moment in the video; the first one fixes its layout."""
        self._keeper.add(moment)
        if self._mosaic is None or self._video is None:
            has_depth = any(step.depth is not None for step in moment.steps)
            scale = DepthScale.fixed(depth_is_metric) if has_depth else None
            look = Look(palette, scale, origin_ns, trained)
            height, width = moment.image.shape[:2]
            self._mosaic = Mosaic(look, columns_of([moment]), width / height)
            self._video = TimedVideo(self._video_path, VIDEO_RATE_HZ, self._mosaic.size)
        self._video.show(self._mosaic.draw(moment), moment.stamp_ns)

    @property
    def has_any(self) -> bool:
        """Whether there is anything to show."""
        return self._video is not None

    def finish_video(self) -> dict[str, Any]:
        """Complete the file and describe it."""
        assert self._video is not None
        assert self._mosaic is not None
        self._video.close()
        height, width = self._mosaic.size
        return {
            "codec": self._video.codec,
            "frames": self._video.frame_count,
            "frame_rate_hz": VIDEO_RATE_HZ,
            "size": [width, height],
        }

    def abandon(self) -> None:
        """Close the file of a run that failed."""
        if self._video is not None:
            self._video.close()

    def write_sheet(
        self,
        path: Path,
        palette: ClassPalette | None,
        depth_is_metric: bool,
        origin_ns: int,
        numbers: Mapping[str, Any],
    ) -> None:
        """Draw the sheet from what was kept and write it as PNG."""
        moments = self._keeper.choose(SHEET_MOMENTS)
        depths = [s.depth for m in moments for s in m.steps if s.depth is not None]
        scale = DepthScale.spanning(depths, depth_is_metric) if depths else None
        look = Look(palette, scale, origin_ns, bool(numbers["trained"]))
        sheet = contact_sheet(
            moments, look, f"Forecasts of {numbers['input']['name']}", facts(numbers)
        )
        bgr = np.ascontiguousarray(sheet[..., ::-1])
        if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_PNG_COMPRESSION, 9]):
            raise ForesightError(f"cannot write {path}: is the disk full?")


def facts(numbers: Mapping[str, Any]) -> list[str]:
    """The lines beneath the sheet's title."""
    width, height = numbers["image_size"]
    setup = (
        f"{numbers['model']}, {numbers['steps']} steps of {numbers['frame_interval_s']:.2f} s,  "
        f"camera {width} x {height},  {numbers['device']} {numbers['dtype']}"
    )
    result = f"{numbers['forecasts_out']} forecasts from {numbers['frames_in']} frames"
    if numbers["forecasts_per_s"] is not None:
        result += f",  {numbers['forecasts_per_s']:.1f} per second"
    if numbers["latency_p50_ms"] is not None:
        p50, p99 = numbers["latency_p50_ms"], numbers["latency_p99_ms"]
        result += f",  latency {p50:.0f} ms (median), {p99:.0f} ms (99th percentile)"
    return [setup, result]
