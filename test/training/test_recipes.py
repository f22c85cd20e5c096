from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.model import MaskedConfig, MaskedForecaster
from dino_foresight_ros.model.weights import empty
from dino_foresight_ros.training.recipe_base import (
    Recipe,
    changed,
    make_recipe,
    resolve_recipe,
    saved_recipe,
)
from dino_foresight_ros.training.recipes import (
    EncoderRecipe,
    FeatureRecipe,
    ForecasterRecipe,
    HeadRecipe,
    PCARecipe,
    TrainingRecipe,
)


def test_later_sources_override_earlier_ones(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"lr": 0.5, "layers": 3}))
    recipe = resolve_recipe(ForecasterRecipe, "tiny-cpu", file, {"layers": "5"})

    tiny = resolve_recipe(ForecasterRecipe, "tiny-cpu", None, {})
    assert (recipe.layers, recipe.lr, recipe.width) == (5, 0.5, 192)
    assert (tiny.layers, tiny.lr) == (4, 0.002)
    assert recipe.beta == ForecasterRecipe(steps=1).beta == 0.1


def test_a_budget_replaces_an_earlier_budget_as_a_whole() -> None:
    assert resolve_recipe(ForecasterRecipe, "tiny-cpu", None, {}).minutes == 10
    by_steps = resolve_recipe(ForecasterRecipe, "tiny-cpu", None, {"steps": 7})
    assert (by_steps.steps, by_steps.minutes) == (7, None)
    both = resolve_recipe(ForecasterRecipe, "tiny-cpu", None, {"steps": 7, "minutes": 2})
    assert (both.steps, both.minutes) == (7, 2)
    assert changed(by_steps, {"minutes": "3"}).steps is None
    assert changed(by_steps, {"lr": "3"}).steps == 7


def test_the_paper_s_stages_are_what_the_paper_states() -> None:
    low, high = (
        resolve_recipe(ForecasterRecipe, f"paper-{stage}", None, {})
        for stage in ("lowres", "highres")
    )
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


@pytest.mark.parametrize(
    ("name", "millions"),
    # Width 1536 computes to 457 M where the paper rounds to 460 M.
    [("paper-lowres-small", 115), ("paper-lowres", 258), ("paper-lowres-large", 460)],
)
def test_sizes_of_the_scaling_study_have_the_paper_s_parameter_counts(
    name: str, millions: int
) -> None:
    recipe = resolve_recipe(ForecasterRecipe, name)
    shape = {one: getattr(recipe, one) for one in ("width", "layers", "heads")}
    config = MaskedConfig(channels=1152, grid=(16, 32), **shape)
    count = sum(p.numel() for p in empty(lambda: MaskedForecaster(config)).parameters())
    assert abs(count / 1e6 - millions) < 4
    base = resolve_recipe(ForecasterRecipe, "paper-lowres")
    assert {k for k, v in recipe.to_dict().items() if v != base.to_dict()[k]} <= {"width"}


@pytest.mark.parametrize("name", ["lowres", "highres"])
def test_stored_presets_are_the_paper_s_without_crops_and_flips(name: str) -> None:
    stored, paper = (
        resolve_recipe(ForecasterRecipe, f"{kind}-{name}") for kind in ("stored", "paper")
    )
    assert paper.changes_pictures
    assert not stored.changes_pictures
    assert replace(stored, crop_scale=0.5, horizontal_flip=0.5) == paper


def test_a_run_of_an_older_version_is_read_unless_it_used_what_is_gone() -> None:
    values = make_recipe(ForecasterRecipe, {"steps": 3}).to_dict()
    assert saved_recipe(ForecasterRecipe, {**values, "grid_flip": 0.0}).steps == 3
    with pytest.raises(UsageError, match=r"started with grid_flip 0\.5, which is gone"):
        saved_recipe(ForecasterRecipe, {**values, "grid_flip": 0.5})


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ForecasterRecipe, HeadRecipe])
def test_every_preset_resolves_and_reads_back_as_it_was(kind: type[Recipe]) -> None:
    assert kind.DEFAULT_PRESET in kind.preset_names()
    for name in kind.preset_names():
        recipe = resolve_recipe(kind, name)
        assert make_recipe(kind, yaml.safe_load(yaml.safe_dump(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ForecasterRecipe, {"minutes": 2, "heads": 3}),
        (HeadRecipe, {"minutes": 2, "channels": [8, 8, 8, 8], "batch_norm": False}),
        (EncoderRecipe, {"minutes": 2, "data": ["a", "b"], "image_size": [28, 56]}),
        (PCARecipe, {"channels": 12, "max_tokens": None}),
        (FeatureRecipe, {"stride_s": 0.5}),
    ],
)
def test_every_trainer_takes_a_file_and_refuses_what_it_does_not_know(
    tmp_path: Path, kind: type[Recipe], values: dict[str, object]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(values))
    recipe = resolve_recipe(kind, None, file)
    assert {name: recipe.to_dict()[name] for name in values} == values
    file.write_text("depht: 3\n")
    with pytest.raises(UsageError, match=r"mine.yaml: 'depht' is unknown; valid: "):
        resolve_recipe(kind, None, file)


def test_numbers_as_yaml_and_the_command_line_write_them_are_understood() -> None:
    values = {"lr": "6.4e-4", "steps": "1e1", "intervals_s": ("0.1", "0.2"), "clip": None}
    recipe = make_recipe(ForecasterRecipe, values)

    assert (recipe.lr, recipe.steps, recipe.intervals_s) == (6.4e-4, 10, (0.1, 0.2))
    assert recipe.clip is None
    assert make_recipe(ForecasterRecipe, recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"lr": "fast"}, "lr is 'fast'; it takes float"),
        ({"layers": 2.5}, "layers is 2.5; it takes int"),
        ({"layers": True}, "layers is True"),
        ({"lr": "nan"}, "lr is 'nan'"),
        ({"steps": None}, "needs a budget"),
        ({"intervals_s": [0.1, -1]}, "intervals_s is -1.0; it must be positive"),
        ({"intervals_s": []}, "intervals_s is empty"),
        ({"time_flip": 2}, "time_flip is 2"),
        ({"crop_scale": 0}, "crop_scale is 0"),
        ({"loss": 3}, "loss is 3"),
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        make_recipe(ForecasterRecipe, {"steps": 1, **values})


def test_unknown_names_are_refused_with_their_source_and_the_valid_ones(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("learning_rate: 1\n")
    with pytest.raises(UsageError, match=r"mine.yaml: 'learning_rate' is unknown; valid: steps,"):
        resolve_recipe(ForecasterRecipe, None, file, {})
    with pytest.raises(UsageError, match="preset 'huge' is unknown; valid: paper-highres"):
        resolve_recipe(ForecasterRecipe, "huge", None, {})
    for text in ("- 1\n", "a: [\n"):
        file.write_text(text)
        with pytest.raises(UsageError, match=r"mine.yaml is not"):
            resolve_recipe(ForecasterRecipe, None, file, {})
    with pytest.raises(UsageError, match="cannot be read"):
        resolve_recipe(ForecasterRecipe, None, tmp_path / "absent.yaml", {})


def test_cosine_over_steps_is_torch_s() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=0.3)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 37)
    recipe = TrainingRecipe(steps=37, lr=0.3)
    for step in range(37):
        assert recipe.learning_rate(recipe.used(step, 99.0)) == pytest.approx(
            optimiser.param_groups[0]["lr"]
        )
        optimiser.step()
        reference.step()
    assert recipe.learning_rate(1.0) == pytest.approx(0, abs=1e-12)


def test_the_budget_that_is_used_up_first_counts() -> None:
    recipe = TrainingRecipe(steps=100, minutes=2)
    assert recipe.used(10, 90) == 0.75
    assert recipe.used(80, 90) == 0.8
    assert recipe.used(101, 0) == 1.0


def test_warm_up_rises_to_the_highest_rate_and_never_stands_still() -> None:
    recipe = TrainingRecipe(steps=1, lr=1.0, warmup=0.2)
    rates = [recipe.learning_rate(used / 100) for used in range(101)]
    assert rates[0] > 0
    assert max(rates) == recipe.learning_rate(0.2) == 1.0
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    constant = TrainingRecipe(steps=1, lr=0.5, schedule="constant", warmup=0.1)
    assert constant.learning_rate(0.9) == 0.5


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"steps": 0},
        {"minutes": 0},
        {"minutes": float("inf")},
        {"steps": 1, "lr": 0},
        {"steps": 1, "schedule": "linear"},
        {"steps": 1, "warmup": 1},
        {"steps": 1, "betas": (0.9, 1.0)},
        {"steps": 1, "ema": 1},
        {"steps": 1, "accumulate": 0},
        {"steps": 1, "clip": 0},
    ],
)
def test_training_that_makes_no_sense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        TrainingRecipe(**values)
