"""`foresight evaluate --bag`: a scene in nuScenes' format, from its tables to the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lidar_bag import LidarBag
from micro_bundle import make_micro_bundle
from nuscenes_set import NuScenesSet

from dino_foresight_ros.cli.main import main

TOPIC = "/cam_front/image_rect/compressed"
QUICK = ["--gaps", "--no-fit", "--horizons", "1-2"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_micro_bundle().save(tmp_path_factory.mktemp("bundle") / "micro"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = NuScenesSet(tmp_path_factory.mktemp("nuscenes"), length=13, lidar_late_us=20_000)
    out = tmp_path_factory.mktemp("bags") / "scene-0061"
    options = ["--scene", "scene-0061", "--out", str(out), "--lidar"]
    assert main(["bag", "from-nuscenes", "--dataroot", str(made.write()), *options]) == 0
    return out


@pytest.mark.slow
def test_a_nuscenes_scene_is_scored_at_every_horizon(
    bundle: str, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    arguments = ["--bag", str(scene), "--topic", TOPIC, "--scale", "camera-height"]
    arguments += ["--camera-height", "1.5", "--out", str(out)]
    assert main(["evaluate", "--bundle", bundle, *QUICK, *arguments]) == 0

    printed = capsys.readouterr().out
    assert "1 step, 0.20 s (measured 0.167 s): depth as it is: AbsRel" in printed
    assert "scale, camera-height: " in printed
    lidar = json.loads((out / "report.json").read_text())["lidar"]
    as_it_is = [r for r in lidar["results"] if r["scaling"] == "as it is"]
    assert [r["lead"]["step"] for r in as_it_is] == [1, 2]
    for result in as_it_is:
        assert set(result["rows"]) == {"forecast", "copy_last", "oracle"}
        assert result["points"] > 300 * result["frames"] > 0
    (source,) = lidar["sources"]
    assert (source["camera_frame"], source["points_frame"]) == ("cam_front", "lidar_top")
    assert source["mean_apart_s"] == pytest.approx(0.02, abs=1e-5)
    assert lidar["scales"][0]["camera_height_m"] == 1.5
    assert lidar["cells"] == [32, 48]
    assert "## Depth against lidar" in (out / "report.md").read_text()


@pytest.fixture(scope="module")
def lidar_bag(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(LidarBag().write(tmp_path_factory.mktemp("lidar") / "bag"))


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--data", "x", "--points", "/lidar"], 2, "--points goes with --bag DIR"),
        (["--data", "x", "--rectified", "no"], 2, "--rectified goes with --bag DIR"),
        ([], 2, "nothing to score is named; give --data SPEC or --bag DIR"),
        (["--bag", "BAG", "--horizons", "none", "--gaps", "0.2"], 2, "is scored by horizon"),
        (
            ["--bag", "BAG"],
            1,
            "no points on /lidar_top; its sensor_msgs/msg/PointCloud2 topics: /l",
        ),
        (["--bag", "BAG", "--points", "/lidar", "--camera-info", "/x"], 1, "/cam/camera_info"),
        (["--bag", "BAG", "--points", "/lidar", "--topic", "/y"], 1, "has no image topic /y"),
        (["--bag", "BAG", "--points", "/lidar", "--scale", "mode"], 2, "scale 'mode' is unknown"),
        (["--bag", "BAG", "--points", "/lidar", "--depth-range", "5", "2"], 2, "5 to 2 m"),
        (["--bag", "BAG", "--points", "/lidar", "--fixed-frame", "moon"], 1, "the frame 'moon'"),
        (["--bag", "/no/such/bag"], 1, "/no/such/bag"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, text: str, bundle: str, lidar_bag: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = [lidar_bag if one == "BAG" else one for one in arguments]
    out = tmp_path / "report"
    arguments = ["evaluate", "--bundle", bundle, *QUICK, *arguments, "--out", str(out)]
    assert main(arguments) == code
    lines = [li for li in capsys.readouterr().err.splitlines() if li.startswith("foresight: ")]
    lines = [line for line in lines if "warning" not in line]
    assert len(lines) == 1
    assert text in lines[0]
    assert not out.exists()
