from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from dino_foresight_ros import shipped
from dino_foresight_ros.demo.options import DemoOptions, open_input
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings.bag_writer import create_bag


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"frames": 0},
        {"rate": 0.0},
        {"rate": float("nan")},
        {"fov_deg": 0.0, "input": Path("drive.mp4")},
        {"fov_deg": 180.0, "input": Path("drive.mp4")},
        {"fov_deg": 70.0},
        {"fov_deg": 70.0, "input": Path("bag"), "cameras": ("left",)},
        {"seed": -1},
        {"domain_id": 233},
        {"topic": "/camera/image_raw"},
        {"cameras": ("left",)},
        {"topic": "/left/image_raw", "cameras": ("left",), "input": Path("bag")},
    ],
    ids=lambda bad: next(iter(bad)),
)
def test_a_senseless_argument_is_named(bad: dict[str, object]) -> None:
    name = next(iter(bad))
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')}"):
        DemoOptions(out=Path("out"), **bad)  # type: ignore[arg-type]


def test_a_bundle_folder_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    assert DemoOptions(out=Path("out"), bundle="mine").chosen_bundle == str(tmp_path / "mine")
    # A name that is no folder is the forecast node's to understand.
    assert DemoOptions(out=Path("out"), bundle="hub:a/b").chosen_bundle == "hub:a/b"


def test_the_bundle_that_came_with_the_package_is_the_default_where_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "lib" / "package" / "shipped.py"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    options = DemoOptions(out=Path("out"))
    assert options.chosen_bundle == "untrained-tiny"
    folder = tmp_path / "share" / "dino_foresight_ros" / "assets" / "tiny"
    folder.mkdir(parents=True)
    (folder / "bundle.yaml").touch()
    assert options.chosen_bundle == "tiny"


def test_what_is_not_asked_for_is_left_to_the_node() -> None:
    options = DemoOptions(out=Path("out"), frames=1)
    parameters = options.forecast_parameters(open_input(options, print))
    assert set(parameters) == {"bundle", "outputs", "publish_features"}


def test_an_assumed_field_of_view_reaches_the_player(tmp_path: Path) -> None:
    for index in range(3):
        assert cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((24, 32, 3), np.uint8))
    for fov_deg in (None, 70.0):
        played = open_input(DemoOptions(Path("out"), tmp_path, fov_deg=fov_deg), print)
        assert played.parameters.get("fov_deg") == fov_deg
        assert played.facts["fov_deg"] == fov_deg


def test_rate_scales_the_synthetic_camera() -> None:
    options = DemoOptions(out=Path("out"), frames=7, rate=2.0, seed=5)
    played = open_input(options, print)
    assert (played.node, played.frame_count, played.kind) == (
        "synthetic_camera_node",
        7,
        "synthetic",
    )
    # As on a recording: the stamps stay, they come twice as fast.
    assert played.parameters["rate_hz"] == 10.0
    assert played.parameters["rate"] == 2.0
    assert played.parameters["seed"] == 5


def test_a_file_that_opens_but_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    with pytest.raises(InputError):
        open_input(DemoOptions(out=Path("out"), input=tmp_path), print)


def test_a_bag_with_several_cameras_asks_for_the_topic_option(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    image = np.zeros((20, 30, 3), np.uint8)
    with create_bag(bag, "mcap") as writer:
        for topic in ("/left/image_raw", "/right/image_raw"):
            writer.write_image(topic, image, 1_700_000_000_000_000_000, "camera")
    message = "--cameras, or one with --topic: /left/image_raw, /right/image_raw"
    with pytest.raises(InputError, match=message):
        open_input(DemoOptions(out=Path("out"), input=bag), print)
    chosen = DemoOptions(out=Path("out"), input=bag, topic="/right/image_raw")
    assert open_input(chosen, print).parameters["topic"] == "/right/image_raw"
    several = DemoOptions(out=Path("out"), input=bag, cameras=("right", "LEFT"), frames=1)
    played = open_input(several, print)
    assert played.parameters["topics"] == ["/right/image_raw", "/left/image_raw"]
    assert several.forecast_parameters(played) == {
        "bundle": several.chosen_bundle,
        "outputs": ["segmentation", "depth", "normals", "instances"],
        "publish_features": True,
        "cameras": ["right", "left"],
        "camera_topic": "/{camera}/image_raw",
        "image_transport": "raw",
    }
    assert (played.frame_bytes, played.frame_count) == (20 * 30 * 3, 2)


def test_a_camera_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    with create_bag(bag, "mcap") as writer:
        image = np.zeros((20, 30, 3), np.uint8)
        writer.write_image("/left/image_raw", image, 1_700_000_000_000_000_000, "camera")
    with pytest.raises(InputError, match=r"has no camera middle; its cameras: left$"):
        open_input(DemoOptions(out=Path("out"), input=bag, cameras=("left", "middle")), print)
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError, match="is not a rosbag2"):
        open_input(
            DemoOptions(out=Path("out"), input=tmp_path / "pictures", cameras=("left",)), print
        )
