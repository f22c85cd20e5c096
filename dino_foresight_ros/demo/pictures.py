"""The demo's pictures: a video while it runs, sheets and charts at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dino_foresight_ros.demo.sampler import CameraSet, CameraSets, EvenSampler, is_whole
from dino_foresight_ros.demo.skill_scorer import Model, tables
from dino_foresight_ros.render import (
    ClassPalette,
    DepthScale,
    Mosaic,
    Style,
    SurroundMosaic,
    columns_of,
    contact_sheet,
)
from dino_foresight_ros.render.png import write_png
from dino_foresight_ros.render.video_writer import TimedVideo
from dino_foresight_ros.scene import ComparedForecast

VIDEO_RATE_HZ = 10.0
SHEET_FORECASTS = 3
# Of all cameras together: each costs a few passes of the encoder.
_KEPT_FORECASTS, _LEAST_KEPT = 24, 6


class Setting(NamedTuple):
    """What all pictures of a run share.

    Attributes:
        palette: names and colours of the classes; None without a segmentation head.
        depth_is_metric: whether depth is metres.
        origin_ns: the stamp that is written as 0 s.
        trained: whether the weights are.
    """

    palette: ClassPalette | None
    depth_is_metric: bool
    origin_ns: int
    trained: bool

    def style(self, forecasts: Sequence[ComparedForecast], fixed_scale: bool) -> Style:
        """Colours for pictures of these forecasts; a stream has a fixed scale of depth."""
        scenes = [scene for forecast in forecasts for scene in forecast.scenes()]
        depths = [scene.depth for scene in scenes if scene.depth is not None]
        scale = None
        if depths:
            is_metric = self.depth_is_metric
            scale = (
                DepthScale.fixed(is_metric)
                if fixed_scale
                else DepthScale.spanning(depths, is_metric)
            )
        has_normals = any(scene.normals is not None for scene in scenes)
        return Style(
            self.palette,
            scale,
            self.origin_ns,
            self.trained,
            has_normals=has_normals,
            has_instances=any(scene.instances is not None for scene in scenes),
        )

    @property
    def model(self) -> Model:
        """What the maps mean, for those who measure them."""
        classes = 0 if self.palette is None else len(self.palette.names)
        return Model(classes, self.depth_is_metric)


class Pictures:
    """Turns forecasts into the video, and keeps a few of them for the sheets."""

    def __init__(self, video_path: Path, cameras: Sequence[str]) -> None:
        """Prepare.

        Args:
            video_path: file to write.
            cameras: names; the only, unnamed one is "".
        """
        self._video_path = video_path
        self._cameras = list(cameras)
        capacity = max(_LEAST_KEPT, _KEPT_FORECASTS // len(self._cameras))
        self._samplers = {name: EvenSampler(is_whole, capacity) for name in self._cameras}
        self._sets = CameraSets(len(self._cameras))
        self._set_sampler: EvenSampler[CameraSet] = EvenSampler(self._is_whole_set, 6)
        self._video: TimedVideo | None = None
        self._mosaic: Mosaic | SurroundMosaic | None = None

    def add(self, camera: str, forecast: ComparedForecast, setting: Setting) -> None:
        """Show a forecast in the video; the first one fixes its layout."""
        self._samplers[camera].add(forecast)
        if len(self._cameras) == 1:
            mosaic, video = self._opened([forecast], setting)
            assert isinstance(mosaic, Mosaic)
            video.show(mosaic.draw(forecast), forecast.newest.stamp_ns)
            return
        self._show_set(self._sets.add(camera, forecast), setting)

    def flush(self, setting: Setting) -> None:
        """Show what waits for cameras that will not come any more."""
        self._show_set(self._sets.rest(), setting)

    def _show_set(self, together: CameraSet | None, setting: Setting) -> None:
        if together is None:
            return
        self._set_sampler.add(together)
        mosaic, video = self._opened(list(together.values()), setting)
        assert isinstance(mosaic, SurroundMosaic)
        video.show(
            mosaic.draw(together), min(forecast.newest.stamp_ns for forecast in together.values())
        )

    def _opened(
        self, forecasts: Sequence[ComparedForecast], setting: Setting
    ) -> tuple[Mosaic | SurroundMosaic, TimedVideo]:
        if self._mosaic is None or self._video is None:
            image = forecasts[0].newest.image
            assert image is not None
            height, width = image.shape[:2]
            style, steps = setting.style(forecasts, fixed_scale=True), columns_of(forecasts)
            self._mosaic = (
                Mosaic(style, steps, width / height)
                if len(self._cameras) == 1
                else SurroundMosaic(style, self._cameras, steps[-1], width / height)
            )
            self._video = TimedVideo(self._video_path, VIDEO_RATE_HZ, self._mosaic.size)
        return self._mosaic, self._video

    def _is_whole_set(self, together: CameraSet) -> bool:
        return len(together) == len(self._cameras) and all(map(is_whole, together.values()))

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

    def kept(self, camera: str) -> tuple[list[ComparedForecast], list[int]]:
        """Forecasts of a camera that were kept, and the places of those for its sheet."""
        sampler = self._samplers[camera]
        return sampler.kept(), sampler.choose(SHEET_FORECASTS)

    def write_mosaic(self, path: Path) -> None:
        """Write one forecast of all cameras as PNG."""
        assert isinstance(self._mosaic, SurroundMosaic)
        sets = self._set_sampler.kept()
        (place,) = self._set_sampler.choose(1)
        write_png(path, self._mosaic.draw(sets[place]))


def write_sheet(
    path: Path,
    forecasts: Sequence[ComparedForecast],
    setting: Setting,
    numbers: Mapping[str, Any],
    camera: str = "",
) -> None:
    """Draw a contact sheet and write it as PNG.

    Args:
        path: file to write.
        forecasts: described ones, of one camera.
        setting: what all pictures share.
        numbers: of the run, and of this camera.
        camera: its name; empty for the only one.
    """
    title = f"Forecasts of {numbers['input']['name']}" + (f", {camera}" if camera else "")
    numbers_of = [tables(forecast) for forecast in forecasts]
    style = setting.style(forecasts, fixed_scale=False)
    write_png(path, contact_sheet(forecasts, style, title, facts(numbers), tables=numbers_of))


def facts(numbers: Mapping[str, Any]) -> list[str]:
    """The lines beneath a title."""
    size = numbers["image_size"]
    setup = (
        f"{numbers['model']}, {numbers['steps']} steps of "
        f"{1000.0 * numbers['frame_interval_s']:.0f} ms,  "
        + ("" if size is None else f"camera {size[0]} x {size[1]},  ")
        + f"{numbers['device']} {numbers['dtype']}"
    )
    result = f"{numbers['forecasts_out']} forecasts from {numbers['frames_in']} frames"
    if numbers["forecasts_per_s"] is not None:
        result += f",  {numbers['forecasts_per_s']:.1f} per second"
    if numbers["latency_p50_ms"] is not None:
        p50, p99 = numbers["latency_p50_ms"], numbers["latency_p99_ms"]
        result += f",  latency {p50:.0f} ms (median), {p99:.0f} ms (99th percentile)"
    return [setup, result]
