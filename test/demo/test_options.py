from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dino_foresight_ros.demo.options import DemoOptions, open_input
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.media.bag_writer import create_bag


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"frames": 0},
        {"rate": 0.0},
        {"rate": float("nan")},
        {"seed": -1},
        {"domain_id": 233},
        {"topic": "/camera/image_raw"},
    ],
    ids=lambda bad: next(iter(bad)),
)
def test_a_senseless_argument_is_named(bad: dict[str, object]) -> None:
    (name,) = bad
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')}"):
        DemoOptions(out=Path("out"), **bad)  # type: ignore[arg-type]


def test_a_bundle_folder_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    parameters = DemoOptions(out=Path("out"), bundle="mine").forecast_parameters()
    assert parameters["bundle"] == str(tmp_path / "mine")
    # A name that is no folder is the forecast node's to understand.
    word = DemoOptions(out=Path("out"), bundle="untrained-tiny").forecast_parameters()
    assert word["bundle"] == "untrained-tiny"


def test_what_is_not_asked_for_is_left_to_the_node() -> None:
    assert set(DemoOptions(out=Path("out")).forecast_parameters()) == {"outputs"}


def test_rate_scales_the_synthetic_camera() -> None:
    options = DemoOptions(out=Path("out"), frames=7, rate=2.0, seed=5)
    played = open_input(options, print)
    assert (played.node, played.frame_count, played.kind) == (
        "synthetic_camera_node",
        7,
        "synthetic",
    )
    assert played.parameters["rate_hz"] == 20.0
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
    with pytest.raises(InputError, match="--topic: /left/image_raw, /right/image_raw"):
        open_input(DemoOptions(out=Path("out"), input=bag), print)
    chosen = DemoOptions(out=Path("out"), input=bag, topic="/right/image_raw")
    assert open_input(chosen, print).parameters["topic"] == "/right/image_raw"
