"""What a bundle that takes motion imagines of a moment of the run, on each of a fan of arcs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.demo.pictures import Setting
from dino_foresight_ros.outputs import DEPTH
from dino_foresight_ros.render.colors import ClassPalette, Picture
from dino_foresight_ros.render.imagined import (
    TILE_WIDTH,
    ImaginedTrajectory,
    arc_name,
    beneath,
    beside,
    imagined_columns,
    seen_from_above,
)
from dino_foresight_ros.render.text import draw_tag
from dino_foresight_ros.render.tiles import fit
from dino_foresight_ros.scene import ComparedForecast, Scene

if TYPE_CHECKING:
    from dino_foresight_ros.model import Bundle
    from dino_foresight_ros.obstacles import Footprint
    from dino_foresight_ros.obstacles.arc_search import Arcs
    from dino_foresight_ros.runtime.imagined import Imagined

HORIZONS_S = (0.5, 1.0, 1.5)
CANDIDATES = 24
MAX_SPEED_MPS, MAX_YAW_RATE = 8.0, 0.6
_POINTS_OF_PATH = 12
_TEXT_PX = 15


class DemoCamera(NamedTuple):
    """The camera, or what is assumed of it.

    Attributes:
        fov_deg: horizontal field of view.
        base_from_optical: (4, 4) how it is mounted.
        is_assumed: whether nothing tells it.
    """

    fov_deg: float
    base_from_optical: NDArray[np.float64]
    is_assumed: bool

    @classmethod
    def of_world(cls, seed: int) -> DemoCamera:
        """That of the synthetic world."""
        from dino_foresight_ros.synthetic import WorldConfig
        from dino_foresight_ros.synthetic.camera import mounted
        from dino_foresight_ros.synthetic.config import choose_conditions

        conditions = choose_conditions(WorldConfig(seed=seed))
        return cls(conditions.horizontal_fov_deg, mounted(conditions), False)

    @classmethod
    def assumed(cls, fov_deg: float | None) -> DemoCamera:
        """One at 1.4 m above the ground that looks straight on, 70 degrees wide."""
        from dino_foresight_ros.recordings.poses import mounting

        return cls(fov_deg or 70.0, mounting([0.0, 0.0, 1.4, 0.0, 0.0, 0.0]), True)


def can_imagine(bundle: Bundle) -> bool:
    """Whether a bundle can tell what is on a trajectory that a vehicle does not go."""
    depth = bundle.tasks.get(DEPTH)
    return (
        bundle.forecaster.takes_motion
        and bundle.forecaster.takes_any_instants
        and getattr(depth, "is_metric", False)
    )


def candidates_picture(
    bundle: Bundle, forecast: ComparedForecast, setting: Setting, camera: DemoCamera
) -> Picture | None:
    """The candidates of a moment by their risk; the views on the best one and on a refused one.

    The context is made of the frames that the forecast knew last and that came after it.

    Returns:
        (H, W, 3); None where too few frames came, or the bundle has no classes.
    """
    arrived = [step.arrived for step in forecast.steps if step.arrived is not None]
    frames = [scene for scene in (forecast.newest, *arrived) if scene.image is not None]
    if setting.palette is None or not frames:
        return None
    imagined = _imagined(bundle, frames, camera)
    if imagined is None:
        return None
    return _drawn(imagined, frames[-1], setting, setting.palette, camera)


class _Fan(NamedTuple):
    """Arcs, and what is imagined on them.

    Attributes:
        arcs: (K, 2) m/s and rad/s.
        found: of each.
        footprint: that is swept along them.
    """

    arcs: Arcs
    found: Imagined
    footprint: Footprint


def _imagined(bundle: Bundle, frames: Sequence[Scene], camera: DemoCamera) -> _Fan | None:
    """What a fan of arcs from the last frame on leads to; None where the frames fill no context."""
    from dino_foresight_ros.driving.maneuvers import ego_footprint
    from dino_foresight_ros.obstacles import ObstacleOptions
    from dino_foresight_ros.obstacles.arc_search import ArcLimits, fan
    from dino_foresight_ros.recordings.camera import CameraModel
    from dino_foresight_ros.recordings.camera_view import CameraView
    from dino_foresight_ros.runtime import Foresight
    from dino_foresight_ros.runtime.candidate import twist_motions
    from dino_foresight_ros.runtime.imagination import Imagination, answer_of
    from dino_foresight_ros.runtime.imagined import ImagineOptions, Mount

    engine = Foresight(bundle, horizons_s=HORIZONS_S)
    for scene in frames:
        assert scene.image is not None
        engine.update(scene.image, scene.stamp_ns)
    if engine.context() is None:
        return None
    image = frames[-1].image
    assert image is not None
    height, width = image.shape[:2]
    k = np.array(CameraModel.from_fov(width, height, camera.fov_deg).k).reshape(3, 3)
    mount = Mount(CameraView.pinhole(k, (height, width)), camera.base_from_optical)
    imagination, footprint = Imagination(engine), ego_footprint(0.0)
    options = ImagineOptions(footprint, ObstacleOptions.of_classes(imagination.class_names))
    arcs = fan(CANDIDATES, ArcLimits(MAX_SPEED_MPS, MAX_YAW_RATE))
    motions = np.stack([twist_motions((v, 0.0, w), 99.0, HORIZONS_S) for v, w in arcs])
    found = answer_of(
        imagination.imagine(motions, HORIZONS_S, {"": mount}, options, maps=True, points=True)
    )
    return _Fan(arcs, found, footprint)


def _drawn(
    fan: _Fan, newest: Scene, setting: Setting, palette: ClassPalette, camera: DemoCamera
) -> Picture:
    """The newest picture above the fan by its risk; beside them the best and a refused one."""
    from dino_foresight_ros.planar_motion import of_twist

    arcs, found, footprint = fan
    risks = [one.horizons[-1].probability_occupied for one in found.candidates]
    # Refused because of what it meets, if any is.
    refused = max(found.ranking[1:], key=lambda index: (round(risks[index], 2), index))
    shown = [found.candidates[index] for index in (found.ranking[0], refused)]
    trajectories = [
        ImaginedTrajectory(
            arc_name(arcs[one.index]),
            one.reason,
            HORIZONS_S,
            [horizon.probability_occupied for horizon in one.horizons],
            [horizon.scenes[""].segmentation for horizon in one.horizons],  # type: ignore[misc]
        )
        for one in shown
    ]
    views = imagined_columns(trajectories, palette, setting.trained)
    times_s = np.linspace(0.0, HORIZONS_S[-1], _POINTS_OF_PATH)
    points, image = shown[0].horizons[0].points, newest.image
    assert points is not None
    assert image is not None
    tile_height = round(TILE_WIDTH * image.shape[0] / image.shape[1])
    now = fit(image, (tile_height, TILE_WIDTH)).copy()
    draw_tag(now, (8, 8), f"now, {(newest.stamp_ns - setting.origin_ns) / 1e9:.1f} s", _TEXT_PX)
    above = seen_from_above(
        [of_twist(np.array([v, 0.0, w]), times_s)[:, :2] for v, w in arcs],
        risks,
        found.ranking,
        points.xyz[:, :2],
        palette.colorize(points.class_id),
        footprint.corners,
        (len(views) - tile_height - 8, TILE_WIDTH),
    )
    said = f"{CANDIDATES} trajectories of {HORIZONS_S[-1]:.1f} s: green free, red meets something"
    draw_tag(above, (8, 8), said, _TEXT_PX)
    if camera.is_assumed:
        assumed = f"assumed: camera 1.4 m up, level, {camera.fov_deg:.0f} deg"
        draw_tag(above, (8, len(above) - 2 * _TEXT_PX), assumed, _TEXT_PX)
    return beside([beneath([now, above]), views])
