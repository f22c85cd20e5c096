"""Forecast depth against lidar, with heads whose depth is the world's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lidar_bag import CAMERA_PLACE, CLOUDS, SIZE, K, LidarBag, map_from
from nuscenes_set import NuScenesSet

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model import DepthTask
from dino_foresight_ros.recordings import open_recordings
from dino_foresight_ros.training.evaluation import EvaluationConfig, Report, evaluate
from dino_foresight_ros.training.evaluation.lidar.bag_clouds import LidarOptions
from dino_foresight_ros.training.evaluation.lidar.scaling import ScaleChoice
from dino_foresight_ros.training.evaluation.lidar.scorer import LidarDepth
from dino_foresight_ros.training.evaluation.report import markdown

pytestmark = pytest.mark.slow

Maker = Callable[..., Any]
LENGTH = 14
GRID = (6, 10)
"""Patches: the head gives as many cells as the pictures have pixels."""
CONFIG = EvaluationConfig(horizons=(1, 2), gaps_s=(), max_clips=None, fitted=False)
METRIC = DepthTask(kind="metric", bins=256, min_m=1.0, max_m=80.0)
TOPIC = "/cam_front/image_rect/compressed"


class NumberEncoder:
    """Pictures -> the number of the frame they are, everywhere."""

    config = SimpleNamespace(model="number", layers=(0,))

    def __init__(self, images: list[np.ndarray]) -> None:
        self._images = np.stack(images).astype(np.float32)

    def preprocess(self, images: np.ndarray) -> torch.Tensor:
        off = [np.abs(self._images - one).mean(axis=(1, 2, 3)).argmin() for one in images]
        return torch.tensor(off, dtype=torch.float32)

    def __call__(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers[:, None, None, None].expand(-1, *GRID, 4)


class DepthHead(torch.nn.Module):
    """Knows the depth (N, H, W) of every frame; a relative one says unit(frame) / depth."""

    def __init__(self, depths: np.ndarray, task: DepthTask, unit: Callable[[int], float]) -> None:
        super().__init__()
        self.depths, self.task, self.unit = depths, task, unit

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        depths, task = self.depths, self.task
        numbers = features[:, 0, 0, 0].round().int().clamp(0, len(depths) - 1).tolist()
        raw = torch.zeros(len(numbers), task.bins, *depths.shape[1:])
        for row, number in enumerate(numbers):
            depth = torch.as_tensor(depths[number]).nan_to_num(nan=1e6)
            if task.is_metric:
                bins = (depth[..., None] / task.centres()).log().abs().argmin(-1)
            else:
                bins = (self.unit(number) / depth).round().long().clamp(0, task.bins - 1)
            raw[row].scatter_(0, bins[None], 50.0)
        return raw


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[NuScenesSet, Path]:
    """A drive whose lidar looks from the roof, 30 ms after the camera."""
    made = NuScenesSet(
        tmp_path_factory.mktemp("nuscenes"), length=LENGTH, lidar_late_us=30_000
    )  # fmt: skip
    made.write()
    out = tmp_path_factory.mktemp("bags") / "drive"
    options = ["--scene", "scene-0061", "--out", str(out), "--lidar", "--cameras", "CAM_FRONT"]
    assert main(["bag", "from-nuscenes", "--dataroot", str(made.root), *options]) == 0
    return made, out


@pytest.fixture
def score(data: tuple[NuScenesSet, Path], toy_bundle: Maker) -> Callable[..., Report]:
    made, bag = data
    frames = made.frames["scene-0061"]
    depths = np.stack([frame.depth for frame in frames]).astype(np.float64)

    def run(
        task: DepthTask,
        choice: ScaleChoice,
        unit: Callable[[int], float] = lambda number: 500.0,
        blind: int | None = None,
    ) -> Report:
        known = depths.copy()
        if blind is not None:
            known[blind] = (
                np.nan
            )  # beyond the head's range everywhere, as a head that sees sky alone
        head = DepthHead(known, task, unit)
        bundle = toy_bundle(1.0, grid=GRID, heads={"depth": head}, frame_interval_s=2 / 12)
        bundle.encoder = NumberEncoder([frame.image for frame in frames])
        bundle.tasks = {"depth": task}
        recordings = open_recordings([str(bag)])
        lidar = LidarDepth(
            bundle, recordings, LidarOptions(), choice, lambda text: pytest.fail(text)
        )
        return evaluate(bundle, recordings, CONFIG, lidar=lidar)

    return run


def test_the_worlds_own_depth_agrees_with_the_lidar(score: Callable[..., Report]) -> None:
    report = score(METRIC, ScaleChoice())
    assert report.lidar is not None
    assert [(r.lead.step, r.scaling) for r in report.lidar.results] == [
        (1, "as it is"),
        (2, "as it is"),
    ]
    for result in report.lidar.results:
        rows = result.rows
        assert rows["oracle"].delta1 > 0.95
        assert rows["oracle"].abs_rel < 0.05
        # This forecaster knows the future; the last frame's depth is that of another instant.
        assert rows["forecast"] == rows["oracle"]
        assert rows["copy_last"].delta1 < rows["oracle"].delta1 - 0.02
        assert result.points > 1000 * result.frames
        assert result.lead.measured_s == pytest.approx(result.lead.step * 2 / 12, abs=1e-4)
    assert report.lidar.scales == ()
    (source,) = report.lidar.sources
    assert source.mean_apart_s == pytest.approx(0.03, abs=1e-6)
    assert source.hidden > 0


def test_relative_depth_is_put_to_the_scale_of_the_past(score: Callable[..., Report]) -> None:
    """Frames from 9 on are in twice the unit: who looked at the future would not be off."""
    report = score(DepthTask(bins=1000), ScaleChoice(), lambda n: 500.0 if n < 9 else 1000.0)
    assert report.lidar is not None
    (scale,) = report.lidar.scales
    assert scale.method == "median"
    # The newest frames are 6 to 9. Where the target alone is in the other unit, depth is halved.
    want = np.percentile([500, 500, 500, 1000], [10, 50, 90])
    assert (scale.low, scale.median, scale.high) == pytest.approx(want, rel=0.04)
    first, second = report.lidar.results
    assert first.rows["copy_last"].delta1 > 0.8
    for result, changed, clips in ((first, 2, 4), (second, 3, 4)):
        assert result.frames == clips
        share = 1 - changed / clips
        assert result.rows["oracle"].delta1 == pytest.approx(share, abs=0.08)
        assert result.rows["forecast"] == result.rows["oracle"]


def test_a_frame_for_which_a_head_gives_no_depth_is_left_out_for_all(
    score: Callable[..., Report],
) -> None:
    reports = [score(METRIC, ScaleChoice(), blind=frame) for frame in (None, 10)]
    assert [any("2 frames are left out" in n for n in r.notes) for r in reports] == [False, True]
    whole, without = (report.lidar for report in reports)
    assert whole is not None
    assert without is not None
    for before, after in zip(whole.results, without.results, strict=True):
        # It is the target of one of the clips, and the newest frame of none.
        assert after.frames == before.frames - 1
        assert after.points < before.points
        assert all(0.8 < row.delta1 <= 1 and row.known > 0.5 for row in after.rows.values())


@pytest.mark.parametrize("method", ["median", "affine"])
def test_relative_depth_in_its_scale_is_as_good_as_metric(
    score: Callable[..., Report], method: str
) -> None:
    report = score(DepthTask(bins=1000), ScaleChoice(method))
    assert report.lidar is not None
    for result in report.lidar.results:
        assert result.scaling == method
        assert result.rows["oracle"].delta1 > 0.93
    (scale,) = report.lidar.scales
    assert scale.median == pytest.approx(500, rel=0.1)
    assert (scale.clips, scale.left_out) == (4, 0)


def test_metric_depth_is_scored_as_it_is_and_scaled(score: Callable[..., Report]) -> None:
    report = score(METRIC, ScaleChoice("median"))
    assert report.lidar is not None
    assert {r.scaling for r in report.lidar.results} == {"as it is", "median"}
    assert report.lidar.scales[0].median == pytest.approx(1, abs=0.02)
    page = markdown(report, [])
    assert "## Depth against lidar" in page
    assert "### Metric depth as it is" in page
    assert "### Depth put to scale: median" in page
    assert "lidar_top to map to cam_front" in page


class ConstantHead(torch.nn.Module):
    """Everything lies in the same bin of depth."""

    def __init__(self, task: DepthTask, bin_: int) -> None:
        super().__init__()
        self.task, self.bin = task, bin_

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        raw = torch.zeros(len(features), self.task.bins, 4 * GRID[0], 4 * GRID[1])
        raw[:, self.bin] = 50.0
        return raw


@pytest.mark.parametrize("canonical", [0.5, 1.0, 2.0])
def test_a_head_of_a_canonical_camera_is_scored_in_metres_of_the_camera_that_looked(
    canonical: float, toy_bundle: Maker, tmp_path: Path
) -> None:
    """Points whose places are known, each projected by hand; a head that says 20 m of them all."""
    width, height = SIZE
    bag = LidarBag(picture_s=[0.0, 0.1, 0.2, 0.3, 0.4])
    drive = bag.write(tmp_path / "bag")
    task = DepthTask(kind="metric", bins=256, min_m=1.0, max_m=80.0, focal=canonical)
    at = int((task.centres() - 20.0).abs().argmin())
    head = ConstantHead(task, at)
    bundle = toy_bundle(1.0, grid=GRID, heads={"depth": head}, frame_interval_s=0.1)
    bundle.tasks = {"depth": task}
    recordings = open_recordings([str(drive)])
    options = LidarOptions(points=CLOUDS, occlusion_deg=0)
    lidar = LidarDepth(bundle, recordings, options, ScaleChoice(), lambda text: None)
    config = replace(CONFIG, horizons=(1,))
    report = evaluate(bundle, recordings, config, lidar=lidar).lidar
    assert report is not None
    (result,) = report.results

    # The one target of four frames of context is the last picture.
    camera_from_map = np.linalg.inv(map_from(CAMERA_PLACE, 0.4))
    rows, columns = lidar.cells
    nearest = np.full(lidar.cells, np.inf)
    for point in bag.points:
        x, y, z = (camera_from_map @ [*point, 1.0])[:3]
        if z >= 1:
            column = int((K[0] * x / z + K[2] + 0.5) / width * columns // 1)
            row = int((K[4] * y / z + K[5] + 0.5) / height * rows // 1)
            if 0 <= column < columns and 0 <= row < rows:
                nearest[row, column] = min(nearest[row, column], z)
    true_m = nearest[nearest <= 80]
    said_m = float(task.centres()[at]) * (np.sqrt(K[0] * K[4] / (width * height)) / canonical)
    assert (result.frames, result.points) == (1, len(true_m))
    for scores in result.rows.values():
        assert scores.abs_rel == pytest.approx(np.mean(np.abs(said_m - true_m) / true_m), rel=1e-3)
        assert scores.rmse == pytest.approx(np.sqrt(np.mean((said_m - true_m) ** 2)), rel=1e-3)
        factor = np.maximum(said_m / true_m, true_m / said_m)
        assert scores.delta1 == pytest.approx(np.mean(factor < 1.25), abs=0.011)
        assert scores.known == 1.0


def test_a_bundle_without_depth_is_refused(toy_bundle: Maker) -> None:
    with pytest.raises(InputError, match="toy has no depth head"):
        LidarDepth(toy_bundle(), [], LidarOptions(), ScaleChoice(), lambda text: None)


def test_no_lidar_at_any_clip_is_one_error(toy_bundle: Maker, tmp_path: Path) -> None:
    bag = LidarBag(cloud_s=[0.0]).write(tmp_path / "bag")
    bundle = toy_bundle(1.0, heads={"depth": torch.nn.Identity()}, frame_interval_s=0.1)
    bundle.tasks = {"depth": METRIC}
    recordings = open_recordings([str(bag)])
    lidar = LidarDepth(
        bundle, recordings, LidarOptions(points=CLOUDS), ScaleChoice(), lambda text: None
    )
    with pytest.raises(InputError, match="no clip by horizon has lidar"):
        evaluate(bundle, recordings, CONFIG, lidar=lidar)
