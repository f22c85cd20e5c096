from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.training.compare import preset_names, read_comparison
from dino_foresight_ros.training.compare.settings import recipe_of, start_of
from dino_foresight_ros.training.recipe_base import resolve_recipe
from dino_foresight_ros.training.recipes import HeadRecipe

BASE = {
    "data": {"train": "synthetic:?seeds=0", "test": "synthetic:?seeds=9"},
    "encoder": {"name": "tiny", "layers": [3]},
    "forecaster": {"preset": "tiny-cpu", "steps": 2},
    "axes": {"pca.channels": [8, 4]},
}


def write(folder: Path, file: str = "small.yaml", **changes: object) -> str:
    """Write BASE with other values; those that are None are left out."""
    values = {key: value for key, value in {**BASE, **changes}.items() if value is not None}
    path = folder / file
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return str(path)


def chosen(text: str) -> list[dict[str, str]]:
    return [dict(variant.chosen) for variant in read_comparison(text).variants]


def test_one_axis_is_varied_at_a_time_from_the_first_values(tmp_path: Path) -> None:
    axes = {"pca.channels": [8, 4, 2], "forecaster.loss": ["mse", "l1"]}
    file = write(tmp_path, axes=axes)
    first = {"pca.channels": "8", "forecaster.loss": "mse"}
    assert chosen(file) == [
        first,
        {**first, "pca.channels": "4"},
        {**first, "pca.channels": "2"},
        {**first, "forecaster.loss": "l1"},
    ]
    grid = chosen(write(tmp_path, axes=axes, combine="grid"))
    assert [(one["pca.channels"], one["forecaster.loss"]) for one in grid] == [
        (size, loss) for size in ("8", "4", "2") for loss in ("mse", "l1")
    ]


def test_a_named_value_stands_for_several_settings(tmp_path: Path) -> None:
    sizes = {
        "small": {"forecaster": {"width": 96}, "forecaster.layers": 2},
        "large": {"forecaster.width": 192},
    }
    small, large = read_comparison(write(tmp_path, axes={"size": sizes})).variants
    assert small.name == "size small"
    assert (small.settings["forecaster.width"], small.settings["forecaster.layers"]) == (96, 2)
    assert (large.settings["forecaster.width"], "forecaster.layers" in large.settings) == (
        192,
        False,
    )
    # The others stay as they are given.
    assert small.settings["forecaster.steps"] == large.settings["forecaster.steps"] == 2


def test_file_stands_on_another(tmp_path: Path) -> None:
    write(tmp_path, "below.yaml", axes=None)
    above = tmp_path / "above.yaml"
    above.write_text("like: below.yaml\nforecaster: {steps: 5}\naxes: {pca.channels: [8]}\n")
    settings = read_comparison(str(above)).baseline.settings
    assert (settings["forecaster.steps"], settings["forecaster.preset"]) == (5, "tiny-cpu")


def test_earlier_training_differs_in_what_start_names_alone(tmp_path: Path) -> None:
    file = write(tmp_path, start={"encoder": {"image_size": "56x84"}, "forecaster": {"steps": 7}})
    settings = read_comparison(file).baseline.settings
    earlier = start_of(settings)
    assert earlier is not None
    assert earlier["encoder.image_size"] == (56, 84)
    assert (earlier["forecaster.steps"], settings["forecaster.steps"]) == (7, 2)
    assert start_of(earlier) is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"axes": {"pca.chanels": [8]}}, "no axis 'pca.chanels'; the nearest: pca.channels"),
        ({"axes": {"conditioning": ["a"]}}, "no axis 'conditioning'; it begins with one of data."),
        ({"axes": {"size": {"s": {"heads.x": 1}}}}, "size s: there is no setting 'heads.x'"),
        ({"axes": None}, "it has no axes"),
        ({"axes": {"pca.channels": 8}}, "takes a list of values"),
        ({"axes": {"pca.channels": [8, 8]}}, "has a value twice"),
        ({"axes": {"pca.channels": [8, 0]}}, "pca.channels 0: channels is 0; it must be >= 1"),
        ({"axes": {"forecaster.loss": ["huber"]}}, "loss 'huber' is unknown"),
        ({"encoder": {"layers": [1]}}, "encoder.name is missing"),
        ({"heads": {"tasks": ["edges"]}}, "head 'edges' is unknown; valid: segmentation"),
        ({"seeds": [0, 0]}, "seeds is [0, 0]"),
        ({"seeds": ["a"]}, "seeds is ['a']"),
        ({"combine": "all"}, "combine is 'all'"),
        ({"evaluation": {"gaps": [1]}}, "evaluation has no 'gaps'"),
        ({"encoder": {"name": "tiny", "image_size": "56"}}, "it takes HxW"),
        ({"name": "../up"}, "no name for a folder"),
        ({"like": "none.yaml"}, "none.yaml, which it is like, is neither"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_done(
    tmp_path: Path, changes: dict[str, object], text: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(text)) as error:
        read_comparison(write(tmp_path, **changes))
    assert "\n" not in str(error.value)


def test_command_ends_with_two_for_an_unknown_axis_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, axes={"forecaster.atention": ["full"]})
    assert main(["compare", file, "--out", str(tmp_path / "out")]) == 2
    assert "forecaster.attention" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["compare", "no-such", "--out", str(tmp_path / "out")]) == 2
    assert "these are" in capsys.readouterr().err


@pytest.mark.slow
def test_every_comparison_of_the_package_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--list"]) == 0
    listed = capsys.readouterr().out
    assert [line.partition(":")[0] for line in listed.splitlines()] == preset_names()


def test_heads_have_the_presets_of_their_tasks(tmp_path: Path) -> None:
    heads = {"tasks": ["instances", "segmentation"], "preset": "light"}
    (settings, _) = (one.settings for one in read_comparison(write(tmp_path, heads=heads)).variants)
    found = {task: recipe_of(settings, "heads", HeadRecipe, task) for task in heads["tasks"]}
    assert found["instances"] == resolve_recipe(HeadRecipe, "light", variant="instances")
    assert found["segmentation"] == resolve_recipe(HeadRecipe, "light")
    assert found["instances"].queries != found["segmentation"].queries
