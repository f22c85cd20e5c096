"""What the demo makes of a finished run: judged moments, sheets, the chart, the mosaic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dino_foresight_ros.demo.folder import MOSAIC, SKILL, ResultFolder, sheet_of
from dino_foresight_ros.demo.judge import Judge, judge_moments
from dino_foresight_ros.demo.pictures import Pictures, Setting, facts, write_sheet
from dino_foresight_ros.demo.skill import SkillScorer
from dino_foresight_ros.demo.skill_chart import write_skill_chart
from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.progress import warn
from dino_foresight_ros.scene import ComparedForecast

# Of all cameras together, besides the moments on the sheets.
_JUDGE_LIMIT_S = 60.0


def write_pictures(
    folder: ResultFolder,
    pictures: Pictures,
    setting: Setting,
    numbers: Mapping[str, Any],
    bundle: str,
) -> dict[str, Any]:
    """Judge what was kept, write every picture but the video, and return the skill.

    Args:
        folder: where results go.
        pictures: what was kept.
        setting: what all pictures share.
        numbers: of the run, as metrics.json will have them.
        bundle: the model, as the forecast node was given it.

    Returns:
        The numbers of `SkillScorer`, and of each of several cameras those of its own.

    Raises:
        ForesightError: a picture cannot be written.
    """
    judge = _load_judge(bundle, str(numbers["device"]), str(numbers["dtype"]))
    every, by_camera = SkillScorer(setting.model), {}
    cameras = numbers.get("cameras") or {"": {}}
    for camera, own in cameras.items():
        moments, chosen = pictures.kept(camera)
        if not moments:
            continue
        judged = _judged(judge, moments, chosen, _JUDGE_LIMIT_S / len(cameras))
        scorer = SkillScorer(setting.model)
        for moment in judged:
            scorer.add(moment)
            every.add(moment)
        by_camera[camera] = scorer.numbers()
        shown = [judged[place] for place in chosen]
        path = folder.partial(sheet_of(camera))
        write_sheet(path, shown, setting, {**numbers, **own}, camera)
    skill = every.numbers()
    title = f"Skill of the forecasts of {numbers['input']['name']}"
    lines = [*facts(numbers), f"means over {skill['moments']} moments of this run"]
    write_skill_chart(folder.partial(SKILL), skill, title, lines, setting.trained)
    if len(cameras) > 1:
        pictures.write_mosaic(folder.partial(MOSAIC))
        skill["cameras"] = by_camera
    return skill


def _load_judge(bundle: str, device: str, dtype: str) -> Judge | None:
    """The model once more; None where it cannot be had, which the user is told."""
    try:
        return Judge.load(bundle, device, dtype)
    except (ForesightError, RuntimeError) as error:  # torch: no memory
        _warn_unjudged(error)
        return None


def _judged(
    judge: Judge | None, moments: Sequence[ComparedForecast], chosen: Sequence[int], limit_s: float
) -> list[ComparedForecast]:
    """The moments, judged if that can be done: what was forecast is worth showing without."""
    if judge is None:
        return list(moments)
    try:
        return judge_moments(judge, moments, chosen, limit_s)
    except (ForesightError, RuntimeError) as error:
        _warn_unjudged(error)
        return list(moments)


def _warn_unjudged(error: Exception) -> None:
    text = " ".join(str(error).split())
    warn(f"forecasts are shown without what the model says of the frames that came: {text}")
