from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from dino_foresight_ros.training.compare import Comparison, compare, read_comparison
from dino_foresight_ros.training.compare.runs import RunScores
from dino_foresight_ros.training.compare.scores import RecordingScores, VariantFacts

FACTS = VariantFacts(forecaster_parameters=1_000_000, channels=8, variance_kept=0.9)
SCENES = [f"scene-{number}" for number in range(12)]


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    path = tmp_path / "small.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "data": {"train": "synthetic:?seeds=0", "test": "synthetic:?seeds=9"},
                "encoder": {"name": "tiny"},
                "forecaster": {"preset": "tiny-cpu", "steps": 2},
                "seeds": [0, 1, 2],
                "axes": {"pca.channels": [8, 4]},
                "evaluation": {"horizons": [1, 3]},
            }
        )
    )
    return read_comparison(str(path))


def scores(skill: float, miou: float | None = None) -> RecordingScores:
    found: RecordingScores = {"forecast": {"skill_1": skill}}
    if miou is not None:
        found["forecast"]["miou_3"] = miou
        found |= {"copy_last": {"miou_3": miou - 10}, "oracle": {"miou_3": miou + 10}}
    return found


def test_differences_are_paired_over_scenes_and_averaged_over_seeds(comparison: Comparison) -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 30, len(SCENES))  # what scenes have in common drowns the difference
    values = {
        (variant, seed): hard + 5 * variant + rng.normal(0, 1, len(SCENES))
        for variant in (0, 1)
        for seed in comparison.seeds
    }
    runs = [
        RunScores(
            comparison.variants[variant],
            seed,
            FACTS,
            {scene: scores(float(v)) for scene, v in zip(SCENES, row, strict=True)},
            {scene: number for number, scene in enumerate(SCENES)},
        )
        for (variant, seed), row in values.items()
    ]
    first, second = compare(comparison, runs)
    assert first.difference is None
    assert (first.metric.name, first.step) == ("skill", 1)
    assert first.value == pytest.approx(np.mean([values[0, s] for s in comparison.seeds]))
    apart = second.difference
    assert apart is not None
    by_seed = [np.mean(values[1, s] - values[0, s]) for s in comparison.seeds]
    assert apart.by_seed == pytest.approx(by_seed)
    assert apart.mean == pytest.approx(np.mean(by_seed))
    assert apart.scenes == len(SCENES)
    # Student's t of the paired differences, which the spread of the scenes themselves would drown.
    pairs = np.mean([values[1, s] - values[0, s] for s in comparison.seeds], axis=0)
    half = 2.201 * pairs.std(ddof=1) / np.sqrt(len(pairs))  # t of 11 degrees of freedom
    assert apart.low is not None
    assert apart.high is not None
    assert (apart.high - apart.low) / 2 == pytest.approx(half, rel=0.2)
    assert apart.low < apart.mean < apart.high


def test_cameras_of_a_scene_count_as_one(comparison: Comparison) -> None:
    base, other = comparison.variants
    cameras = [f"scene-{scene}-CAM_{camera}" for scene in range(4) for camera in range(6)]
    scenes = {name: int(name.split("-")[1]) for name in cameras}
    rng = np.random.default_rng(0)
    runs = [
        RunScores(
            variant, seed, FACTS, {n: scores(float(rng.normal(up, 1))) for n in cameras}, scenes
        )
        for variant, up in ((base, 0), (other, 5))
        for seed in comparison.seeds
    ]
    apart = compare(comparison, runs)[1].difference
    assert apart is not None
    # Four scenes are too few to say how much scenes differ, whatever the number of cameras.
    assert (apart.scenes, apart.low, apart.high) == (4, None, None)


def test_scenes_that_only_one_variant_has_are_not_compared(comparison: Comparison) -> None:
    base, other = comparison.variants
    scenes = {"a": 0, "b": 1, "c": 2}
    first = {"a": scores(1.0, 40.0), "b": scores(2.0), "c": scores(90.0)}
    second = {"a": scores(2.0, 43.0), "b": scores(5.0)}
    runs = [
        RunScores(variant, seed, FACTS, found, scenes)
        for variant, found in ((base, first), (other, second))
        for seed in comparison.seeds
    ]
    rows = {(row.variant.name, row.metric.name): row for row in compare(comparison, runs)}
    skill = rows[other.name, "skill"].difference
    assert skill is not None
    assert (skill.mean, skill.scenes) == (2.0, 2)
    miou = rows[other.name, "miou"]
    assert miou.difference is not None
    assert (miou.difference.mean, miou.difference.scenes) == (3.0, 1)
    assert (miou.value, miou.copy_last, miou.oracle) == (43.0, 33.0, 53.0)
    assert rows[other.name, "skill"].oracle is None
