"""The pictures of a finished run, for one camera and for several, described or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dino_foresight_ros.demo import results
from dino_foresight_ros.demo.pictures import Pictures, Setting
from dino_foresight_ros.demo.results import ResultFolder, write_pictures
from dino_foresight_ros.render import ClassPalette
from dino_foresight_ros.scene import ComparedForecast, ComparedStep, Scene

pytestmark = pytest.mark.slow

SETTING = Setting(ClassPalette(("road", "car"), ((128, 64, 128), (0, 0, 142))), True, 0, True)


def maps(value: int) -> dict[str, Any]:
    return {
        "segmentation": np.full((9, 16), value % 2, np.uint8),
        "depth": np.full((9, 16), 10.0 + value, np.float32),
        "features": np.full((2, 3, 4), value, np.float32),
    }


def forecast(index: int) -> ComparedForecast:
    def picture(value: int) -> np.ndarray:
        return np.full((36, 64, 3), value, np.uint8)

    steps = tuple(
        ComparedStep(
            Scene(index + k, step=k, horizon_s=0.2 * k, **maps(k)),
            Scene(index + k, image=picture(index + k)),
        )
        for k in (1, 2, 3)
    )
    return ComparedForecast(Scene(index * 100_000_000, image=picture(index)), steps, 5.0)


def numbers(cameras: list[str]) -> dict[str, Any]:
    counted = {
        "frames_in": 9, "forecasts_out": 5, "forecasts_per_s": 2.0, "latency_p50_ms": 5.0,
        "latency_p99_ms": 6.0, "image_size": [64, 36],
    }  # fmt: skip
    run = {
        **counted, "model": "m", "steps": 3, "frame_interval_s": 0.2, "device": "cpu",
        "dtype": "float32", "trained": True, "input": {"name": "drive"},
    }  # fmt: skip
    return {**run, "cameras": dict.fromkeys(cameras, counted)} if any(cameras) else run


def play(folder: ResultFolder, cameras: list[str]) -> Pictures:
    pictures = Pictures(folder.partial("forecast.mp4"), cameras)
    for index in range(5):
        for camera in cameras:
            pictures.add(camera, forecast(index), SETTING)
    pictures.finish_video()
    return pictures


class Knowing:
    """Says of every frame the same."""

    def of_camera(self, focal: float | None) -> Knowing:
        assert focal is None
        return self

    def describe(self, frame: Scene) -> Scene:
        return replace(frame, **maps(2))


@pytest.mark.parametrize("cameras", [[""], ["left"], ["left", "front", "right"]])
def test_each_camera_has_a_sheet_and_its_own_skill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cameras: list[str]
) -> None:
    monkeypatch.setattr(results, "load_oracle", lambda *words: Knowing())
    with ResultFolder(tmp_path) as folder:
        pictures = play(folder, cameras)
        skill = write_pictures(folder, pictures, SETTING, numbers(cameras), "bundle")
        folder.partial("metrics.json").write_text("{}")
        written = {path.name for path in folder.publish()}
    sheets = {f"contact_sheet{'_' * bool(name)}{name}.png" for name in cameras}
    several = {"mosaic.png"} if len(cameras) > 1 else set()
    assert written == sheets | several | {"skill.png", "forecast.mp4", "metrics.json"}
    # The second step was forecast exactly; now is as good, since nothing changes here.
    assert skill["feature_error"]["forecast"] == [1.0, 0.0, 1.0]
    assert skill["feature_error"]["copy_last"] == [0.0, 0.0, 0.0]
    assert skill["segmentation_agreement"]["forecast"] == [0.0, 1.0, 0.0]
    assert skill["moments"] == 5 * len(cameras)
    if len(cameras) > 1:
        assert set(skill["cameras"]) == set(cameras)
        assert all(own["moments"] == 5 for own in skill["cameras"].values())
    for name in sheets:
        assert cv2.imread(str(tmp_path / name)).shape[1] == 1920


def test_a_run_is_shown_also_where_the_model_cannot_be_loaded_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ResultFolder(tmp_path) as folder:
        pictures = play(folder, [""])
        skill = write_pictures(folder, pictures, SETTING, numbers([""]), "/no/such/bundle")
        assert folder.partial("contact_sheet.png").exists()
        assert folder.partial("skill.png").exists()
    assert skill["moments"] == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "/no/such/bundle is not a bundle" in line


def test_a_single_set_that_lacks_a_camera_is_shown_all_the_same(tmp_path: Path) -> None:
    pictures = Pictures(tmp_path / "forecast.mp4", ["left", "right", "dead"])
    for camera in ("left", "right"):
        pictures.add(camera, forecast(0), SETTING)
    assert not pictures.has_any
    pictures.flush(SETTING)
    assert pictures.has_any
    assert pictures.finish_video()["frames"] == 1
    pictures.write_mosaic(tmp_path / "mosaic.png")
    assert cv2.imread(str(tmp_path / "mosaic.png")) is not None


def test_a_camera_without_a_forecast_has_no_sheet_and_the_others_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "load_oracle", lambda *words: Knowing())
    with ResultFolder(tmp_path) as folder:
        pictures = Pictures(folder.partial("forecast.mp4"), ["left", "right", "dead"])
        for index in range(5):
            for camera in ("left", "right"):
                pictures.add(camera, replace(forecast(index)), SETTING)
        pictures.finish_video()
        cameras = ["left", "right", "dead"]
        skill = write_pictures(folder, pictures, SETTING, numbers(cameras), "bundle")
        assert folder.partial("contact_sheet_left.png").exists()
        assert folder.partial("mosaic.png").exists()
        assert not folder.partial("contact_sheet_dead.png").exists()
    assert set(skill["cameras"]) == {"left", "right"}
