"""The part of the report's page about depth against lidar."""

from __future__ import annotations

from collections.abc import Sequence

from dino_foresight_ros.render.markdown import NONE, table
from dino_foresight_ros.training.evaluation.lidar.scaling import AFFINE, AS_IT_IS, CAMERA_HEIGHT
from dino_foresight_ros.training.evaluation.lidar.truth import LidarFacts
from dino_foresight_ros.training.evaluation.results import LidarReport, LidarResult, ScaleFacts
from dino_foresight_ros.training.evaluation.tables import ORDER, lead_text, predictor_title

_HEADER = ("target", "predictor", "AbsRel", "RMSE m", "delta1", "known", "frames", "points")


def lidar_section(report: LidarReport | None) -> list[str]:
    """Paragraphs; none without lidar."""
    if report is None:
        return []
    height, width = report.cells
    parts = [
        "## Depth against lidar",
        f"Depth along the optical axis in metres, {report.min_m:g} to {report.max_m:g} m, at the "
        f"nearest point of each of {width}x{height} cells (the head's own pixels); means over "
        "frames. The oracle is the head on the true future frame's features.",
        "\n".join(f"- {_source(one)}" for one in report.sources),
    ]
    scales = {one.method: one for one in report.scales}
    for method in dict.fromkeys([*(r.scaling for r in report.results), *scales]):
        results = [r for r in report.results if r.scaling == method]
        parts.append(f"### {_heading(method)}")
        if method in scales:
            parts.append(scale_text(scales[method]))
        if results:
            parts.append(table(_HEADER, [row for one in results for row in _rows(one)]))
    return parts


def _heading(method: str) -> str:
    return "Metric depth as it is" if method == AS_IT_IS else f"Depth put to scale: {method}"


def scale_text(scale: ScaleFacts) -> str:
    """Where the scale came from and what it was."""
    where = {
        CAMERA_HEIGHT: f"the road seen in it lies {scale.camera_height_m} m below the camera",
        AFFINE: "least squares of scale and shift in inverse depth over its lidar points",
    }.get(scale.method, "median of true over predicted depth over its lidar points")
    text = f"Found per clip on the newest frame of the context: {where}. "
    if scale.median is None:
        text += f"None of {scale.left_out} clips has one."
        return text
    text += f"Scale {scale.median:.4g} (10th to 90th percentile {scale.low:.4g} to {scale.high:.4g}"
    text += f"; median shift {scale.shift:.3g} per m" if scale.shift is not None else ""
    text += f"), {scale.clips} clips"
    return text + (
        f"; {scale.left_out} clips have none and are left out." if scale.left_out else "."
    )


def _rows(result: LidarResult) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for name in ORDER:
        scores = result.rows.get(name)
        if scores is not None:
            rows.append(
                (
                    lead_text(result.lead),
                    predictor_title(name),
                    f"{scores.abs_rel:.3f}",
                    f"{scores.rmse:.2f}",
                    f"{scores.delta1:.3f}",
                    f"{scores.known:.3f}",
                    str(result.frames),
                    str(result.points),
                )
            )
    return rows


def _source(one: LidarFacts) -> str:
    text = (
        f"{one.recording}: {one.pictures} pictures with points of {one.points_topic} "
        f"({one.points_frame} to {one.fixed_frame} to {one.camera_frame}, {one.camera}), "
        f"{1000 * one.mean_apart_s:.0f} ms apart on average, {100 * one.hidden:.1f} % of the cells "
        "left out as hidden"
    )
    if not one.moves:
        text += "; the camera does not move in that frame, so the drive's motion is not undone"
    without = ", ".join(f"{count} with {why}" for why, count in one.without.items()) or NONE
    return text + (f"; left out: {without}" if one.without else "")
