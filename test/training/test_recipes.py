from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.training.recipes import ForecasterRecipe, preset_names, resolve_recipe


def test_later_sources_override_earlier_ones(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"lr": 0.5, "layers": 3}))
    recipe = resolve_recipe("tiny-cpu", file, {"layers": "5"})

    tiny = resolve_recipe("tiny-cpu", None, {})
    assert (recipe.layers, recipe.lr, recipe.width) == (5, 0.5, 192)
    assert (tiny.layers, tiny.lr) == (4, 0.002)
    assert recipe.beta == ForecasterRecipe(steps=1).beta == 0.1


def test_a_budget_replaces_an_earlier_budget_as_a_whole() -> None:
    assert resolve_recipe("tiny-cpu", None, {}).minutes == 10
    by_steps = resolve_recipe("tiny-cpu", None, {"steps": 7})
    assert (by_steps.steps, by_steps.minutes) == (7, None)
    both = resolve_recipe("tiny-cpu", None, {"steps": 7, "minutes": 2})
    assert (both.steps, both.minutes) == (7, 2)
    assert by_steps.changed({"minutes": "3"}).steps is None
    assert by_steps.changed({"lr": "3"}).steps == 7


def test_the_paper_s_stages_are_what_the_paper_states() -> None:
    low, high = (resolve_recipe(f"paper-{stage}", None, {}) for stage in ("lowres", "highres"))
    for recipe in (low, high):
        assert (recipe.width, recipe.layers, recipe.heads, recipe.dropout) == (1152, 12, 8, 0.1)
        assert (recipe.batch_size, recipe.loss, recipe.beta) == (64, "smooth_l1", 0.1)
        assert (recipe.clip, recipe.warmup, recipe.schedule) == (1.0, 0.0, "cosine")
        assert (recipe.mask_schedule, recipe.weight_decay, recipe.predict) == (
            "full",
            0,
            "features",
        )
        # 2, 3 and 4 frames of 17 Hz
        assert recipe.intervals_s == pytest.approx([2 / 17, 3 / 17, 4 / 17], abs=5e-4)
        assert (recipe.crop_scale, recipe.horizontal_flip) == (0.5, 0.5)
    assert (low.lr, high.lr) == (6.4e-4, 8e-5)
    # One clip of each of the 2975 sequences per epoch.
    assert low.steps == 800 * (2975 // 64)
    assert high.steps == 20 * (2975 // 64)


def test_every_preset_resolves() -> None:
    assert {"paper-lowres", "paper-highres", "small", "tiny-cpu"} <= set(preset_names())
    for name in preset_names():
        resolve_recipe(name, None, {})


def test_numbers_as_yaml_and_the_command_line_write_them_are_understood() -> None:
    recipe = ForecasterRecipe(lr="6.4e-4", steps="10", intervals_s="0.1,0.2", clip=None)

    assert (recipe.lr, recipe.steps, recipe.intervals_s) == (6.4e-4, 10, (0.1, 0.2))
    assert recipe.clip is None
    assert ForecasterRecipe(**recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"lr": "fast"}, "lr is 'fast'; it takes float"),
        ({"layers": 2.5}, "layers is 2.5; it takes int"),
        ({"layers": True}, "layers is True"),
        ({"lr": "nan"}, "lr is 'nan'"),
        ({"steps": None}, "needs a budget"),
        ({"intervals_s": [0.1, -1]}, "interval -1.0 s"),
        ({"intervals_s": []}, "intervals_s is empty"),
        ({"time_flip": 2}, "time_flip is 2"),
        ({"crop_scale": 0}, "crop_scale is 0"),
        ({"loss": 3}, "loss is 3"),
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        ForecasterRecipe(**{"steps": 1, **values})


def test_unknown_names_are_refused_with_their_source_and_the_valid_ones(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("learning_rate: 1\n")
    with pytest.raises(UsageError, match=r"mine.yaml: 'learning_rate' is unknown; valid: width,"):
        resolve_recipe(None, file, {})
    with pytest.raises(UsageError, match="preset 'huge' is unknown; valid: paper-highres"):
        resolve_recipe("huge", None, {})
    for text in ("- 1\n", "a: [\n"):
        file.write_text(text)
        with pytest.raises(UsageError, match=r"mine.yaml is not"):
            resolve_recipe(None, file, {})
    with pytest.raises(UsageError, match="cannot be read"):
        resolve_recipe(None, tmp_path / "absent.yaml", {})
