"""The viewer's layout: cameras as tabs; of each, pictures above, plots below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dino_foresight_ros.outputs import DEPTH, SEGMENTATION
from dino_foresight_ros.render.style import UNTRAINED_TAG
from dino_foresight_ros.view import rerun_sdk
from dino_foresight_ros.view.scene_log import TIMELINE

_MOST_COLUMNS = 4
_WINDOW_S = 60.0


@dataclass(frozen=True)
class ShownCamera:
    """What there is to show of one camera.

    Attributes:
        root: path of its entities.
        name: of the camera; empty for the only one.
        steps: (step, horizon in seconds) of each.
        has_segmentation, has_depth, has_points, has_skill: what comes.
        has_imagined: whether a planner's imagined views come.
        depth_is_metric: whether depth is metres.
        trained: whether the model is.
    """

    root: str = ""
    name: str = ""
    steps: tuple[tuple[int, float], ...] = ()
    has_segmentation: bool = False
    has_depth: bool = False
    has_points: bool = False
    has_skill: bool = False
    has_imagined: bool = False
    depth_is_metric: bool = False
    trained: bool = True


def blueprint(cameras: Sequence[ShownCamera]) -> Any:
    """The layout as a rerun Blueprint: panels beside the views are folded, time runs along."""
    rerun_sdk.load()
    import rerun.blueprint as rrb

    boards = [_board(rrb, shown) for shown in cameras]
    return rrb.Blueprint(
        boards[0] if len(boards) == 1 else rrb.Tabs(*boards, name="cameras"),
        rrb.BlueprintPanel(state="hidden"),
        rrb.SelectionPanel(state="hidden"),
        rrb.TimePanel(state="collapsed", timeline=TIMELINE, play_state="following"),
    )


def _board(rrb: Any, shown: ShownCamera) -> Any:
    steps = _chosen(shown.steps, _MOST_COLUMNS - 1)
    rows = []
    pictures = [_camera(rrb, shown)]
    if shown.has_segmentation:
        pictures += [_step(rrb, shown, step, SEGMENTATION) for step in steps]
    elif shown.has_depth:
        pictures += [_step(rrb, shown, step, DEPTH) for step in steps]
    rows.append(rrb.Horizontal(*pictures))
    about = _about(rrb, shown)
    if shown.has_segmentation and shown.has_depth:
        rows.append(rrb.Horizontal(about, *[_step(rrb, shown, s, DEPTH) for s in steps]))
        rows.append(_below(rrb, shown))
    else:
        rows.append(rrb.Horizontal(about, _below(rrb, shown), column_shares=[1, 3]))
    shares = [1.0] * (len(rows) - 1) + [1.25]
    board = rrb.Vertical(*rows, name=shown.name or "camera", row_shares=shares)
    if not shown.has_imagined:
        return board
    path = f"{shown.root}/imagined"
    name = f"{_untrained(shown)}imagined: the chosen way and a refused one"
    views = rrb.Spatial2DView(origin=path, contents=[f"+ {path}"], name=name)
    return rrb.Horizontal(board, views, name=shown.name or "camera", column_shares=[2, 1])


def _chosen(steps: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """At most so many of the steps: the first, the last, and some between."""
    if len(steps) <= most:
        return list(steps)
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def _camera(rrb: Any, shown: ShownCamera) -> Any:
    path = f"{shown.root}/world/camera"
    return rrb.Spatial2DView(origin=path, contents=[f"+ {path}"], name="camera, now")


def _step(rrb: Any, shown: ShownCamera, step: tuple[int, float], kind: str) -> Any:
    number, horizon_s = step
    what = kind
    if kind == DEPTH:
        what = "depth, metres" if shown.depth_is_metric else "relative inverse depth"
    path = f"{shown.root}/step_{number}/{kind}"
    name = f"{_untrained(shown)}t+{horizon_s:.2f} s: {what}"
    return rrb.Spatial2DView(origin=path, contents=[f"+ {path}/**"], name=name)


def _untrained(shown: ShownCamera) -> str:
    return "" if shown.trained else f"{UNTRAINED_TAG.upper()} "


def _about(rrb: Any, shown: ShownCamera) -> Any:
    text = rrb.TextDocumentView(origin=f"{shown.root}/about", name="about")
    if not shown.has_segmentation:
        return text
    legend = rrb.Spatial2DView(origin=f"{shown.root}/legend", name="classes")
    return rrb.Tabs(legend, text) if shown.trained else rrb.Vertical(text, legend)


def _below(rrb: Any, shown: ShownCamera) -> Any:
    views = []
    if shown.has_points:
        _, horizon_s = shown.steps[-1]
        views.append(
            rrb.Spatial3DView(
                origin=f"{shown.root}/world",
                name=f"{_untrained(shown)}t+{horizon_s:.2f} s: 3D points",
                eye_controls=rrb.EyeControls3D(
                    position=(-6.0, -7.0, -12.0), look_target=(0.0, 2.0, 16.0), eye_up=(0, -1, 0)
                ),
            )
        )
    views.append(_plot(rrb, shown, "latency, ms", ["latency_ms"]))
    views.append(
        rrb.Vertical(
            _plot(rrb, shown, "per second", ["rate/**"]),
            _plot(rrb, shown, "frames dropped", ["dropped"]),
        )
    )
    if shown.has_skill:
        name = f"{_untrained(shown)}skill over copy-last"
        views.append(_plot(rrb, shown, name, ["skill/**"]))
    shares = [1.5 if shown.has_points and place == 0 else 1.0 for place in range(len(views))]
    return rrb.Horizontal(*views, column_shares=shares)


def _plot(rrb: Any, shown: ShownCamera, name: str, entities: Sequence[str]) -> Any:
    import rerun as rr

    recent = rr.VisibleTimeRange(
        TIMELINE,
        start=rr.TimeRangeBoundary.cursor_relative(seconds=-_WINDOW_S),
        end=rr.TimeRangeBoundary.cursor_relative(),
    )
    return rrb.TimeSeriesView(
        origin=shown.root or "/",
        contents=[f"+ {shown.root}/{entity}" for entity in entities],
        name=name,
        plot_legend=rrb.PlotLegend(corner=rrb.Corner2D.LeftTop),
        time_ranges=[recent],
    )
