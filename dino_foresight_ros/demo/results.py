"""The pictures that a run of the demo leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dino_foresight_ros.demo.candidates import DemoCamera, can_imagine, candidates_picture
from dino_foresight_ros.demo.oracle import Oracle, describe_forecasts
from dino_foresight_ros.demo.pictures import Pictures, Setting, facts, write_sheet
from dino_foresight_ros.demo.result_folder import IMAGINED, MOSAIC, SHEET, SKILL, ResultFolder
from dino_foresight_ros.demo.skill_scorer import SkillScorer
from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.progress import warn
from dino_foresight_ros.render.png import write_png
from dino_foresight_ros.scene import ComparedForecast

# Of all cameras together, besides the forecasts on the sheets.
_ORACLE_LIMIT_S = 60.0


def sheet_of(camera: str) -> str:
    """File name of a camera's sheet; that of the only, unnamed one too."""
    return f"contact_sheet_{camera}.png" if camera else SHEET


def write_pictures(
    folder: ResultFolder,
    pictures: Pictures,
    setting: Setting,
    numbers: Mapping[str, Any],
    bundle: str,
    camera: DemoCamera | None = None,
    focals: Mapping[str, float | None] | None = None,
) -> dict[str, Any]:
    """Describe what was kept, write every picture but the video, and return the skill.

    Args:
        folder: where results go.
        pictures: what was kept.
        setting: what all pictures share.
        numbers: of the run, as metrics.json will have them.
        bundle: the model, as the forecast node was given it.
        camera: the only one, or what is assumed of it; without it nothing is imagined.
        focals: camera -> its focal length, as `CameraView.focal` has it, where that is known.

    Returns:
        The numbers of `SkillScorer`, and of each of several cameras those of its own.

    Raises:
        ForesightError: a picture cannot be written.
    """
    # Matplotlib takes a second to import, and the nodes are to start at once.
    from dino_foresight_ros.demo.skill_chart import write_skill_chart

    oracle = load_oracle(bundle, str(numbers["device"]), str(numbers["dtype"]))
    every, by_camera = SkillScorer(setting.model), {}
    cameras = numbers.get("cameras") or {"": {}}
    for name, own in cameras.items():
        forecasts, chosen = pictures.kept(name)
        if not forecasts:
            continue
        own_oracle = oracle and oracle.of_camera((focals or {}).get(name))
        described = _described(own_oracle, forecasts, chosen, _ORACLE_LIMIT_S / len(cameras))
        scorer = SkillScorer(setting.model)
        for forecast in described:
            scorer.add(forecast)
            every.add(forecast)
        by_camera[name] = scorer.numbers()
        shown = [described[place] for place in chosen]
        write_sheet(folder.partial(sheet_of(name)), shown, setting, {**numbers, **own}, name)
        if oracle is not None and camera is not None and len(cameras) == 1:
            _write_imagined(folder, oracle, shown, setting, camera)
    skill = every.numbers()
    title = f"Skill of the forecasts of {numbers['input']['name']}"
    moments = skill["moments"]
    means = "one moment" if moments == 1 else f"means over {moments} moments"
    lines = [*facts(numbers), f"{means} of this run"]
    write_skill_chart(folder.partial(SKILL), skill, title, lines, setting.trained)
    if len(cameras) > 1:
        pictures.write_mosaic(folder.partial(MOSAIC))
        skill["cameras"] = by_camera
    return skill


def _write_imagined(
    folder: ResultFolder,
    oracle: Oracle,
    forecasts: Sequence[ComparedForecast],
    setting: Setting,
    camera: DemoCamera,
) -> None:
    """Draw what would be seen on other ways, where the model takes motion."""
    if not can_imagine(oracle.bundle):
        return
    try:
        for forecast in forecasts[len(forecasts) // 2 :]:
            picture = candidates_picture(oracle.bundle, forecast, setting, camera)
            if picture is not None:
                write_png(folder.partial(IMAGINED), picture)
                return
    except (ForesightError, RuntimeError) as error:  # torch: no memory
        warn(f"nothing is imagined: {' '.join(str(error).split())}")


def load_oracle(bundle: str, device: str, dtype: str) -> Oracle | None:
    """The model once more; None where it cannot be had, which the user is told."""
    try:
        return Oracle.load(bundle, device, dtype)
    except (ForesightError, RuntimeError) as error:  # torch: no memory
        _warn_undescribed(error)
        return None


def _described(
    oracle: Oracle | None,
    forecasts: Sequence[ComparedForecast],
    chosen: Sequence[int],
    limit_s: float,
) -> list[ComparedForecast]:
    """The forecasts, described if that can be done: what was forecast is worth showing without."""
    if oracle is None:
        return list(forecasts)
    try:
        return describe_forecasts(oracle, forecasts, chosen, limit_s)
    except (ForesightError, RuntimeError) as error:
        _warn_undescribed(error)
        return list(forecasts)


def _warn_undescribed(error: Exception) -> None:
    text = " ".join(str(error).split())
    warn(f"forecasts are shown without what the model says of the frames that came: {text}")
