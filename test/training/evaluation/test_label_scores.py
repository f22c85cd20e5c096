from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dino_foresight_ros.classes import CAMVID_TO_WORLD, CLASS_IDS, WORLD_CLASSES
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model import DepthTask, SegmentationTask
from dino_foresight_ros.model.class_lists import cityscapes_segmentation, world_segmentation
from dino_foresight_ros.recordings import LabelSpace
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.training.evaluation.class_spaces import ClassSpace, common_classes
from dino_foresight_ros.training.evaluation.label_scores import (
    CLOSED_METRICS,
    LabelScorer,
    closed_fraction,
    past_scale,
)

MIOU, _, DELTA1, ABS_REL, ANGLE, _ = CLOSED_METRICS


def space(task: SegmentationTask) -> LabelSpace:
    return LabelSpace(task.class_names, task.palette, task.moving)


def camvid() -> LabelSpace:
    names = tuple(CAMVID_TO_WORLD)
    return LabelSpace(names, tuple((i, i, i) for i in range(len(names))), (8, 9, 10))


def test_share_of_the_gap_is_the_place_between_both_ends() -> None:
    assert closed_fraction("forecast", MIOU, 0.71, 0.55, 0.77).share == pytest.approx(0.16 / 0.22)
    assert closed_fraction("forecast", MIOU, 0.50, 0.55, 0.77).share == pytest.approx(-0.05 / 0.22)
    # Lower is better.
    assert closed_fraction("forecast", ABS_REL, 0.15, 0.2, 0.1).share == pytest.approx(0.5)
    assert closed_fraction("forecast", ANGLE, 25.0, 30.0, 20.0).share == pytest.approx(0.5)


def test_a_frame_without_any_predicted_depth_counts_as_unknown_alone() -> None:
    task = DepthTask("metric", 16, 1.0, 80.0, validity=True)
    scorer = LabelScorer(SimpleNamespace(tasks={"depth": task}), None)
    for clip, predicted in enumerate((np.nan, 10.0)):
        labels = Scene(clip, depth=np.full((2, 3), 10.0, np.float32), depth_is_metric=True)
        scorer.update({"depth": torch.full((2, 3), predicted)}, labels, clip)
    depth = scorer.row("forecast").depth
    assert depth is not None
    assert (depth.known, depth.delta1, depth.abs_rel) == (0.5, 1.0, 0.0)
    assert scorer.clips("depth") == [1]


@pytest.mark.parametrize(
    ("metric", "copy_last", "oracle", "reason"),
    [
        (MIOU, 0.5, 0.5, "no better than"),
        (MIOU, 0.5, 0.4, "no better than"),
        (MIOU, 0.5, 0.5099, "by 0.0099 only"),
        (ABS_REL, 0.1, 0.2, "no better than"),
        (ANGLE, 20.0, 19.6, "by 0.4 only"),
    ],
)
def test_share_of_no_gap_is_undefined(
    metric: object, copy_last: float, oracle: float, reason: str
) -> None:
    closed = closed_fraction("forecast", metric, 0.45, copy_last, oracle)  # type: ignore[arg-type]
    assert closed.share is None
    assert closed.reason is not None
    assert reason in closed.reason


def scored_as(classes: ClassSpace, table: np.ndarray, class_id: int) -> str | None:
    place = int(table[class_id])
    return None if place == 255 else classes.names[place]


def test_same_classes_are_scored_as_they_are() -> None:
    world = world_segmentation()
    classes = common_classes(world, space(world))
    assert classes.names == world.class_names
    assert classes.moving == world.moving
    np.testing.assert_array_equal(classes.from_head[:14], np.arange(14))
    assert set(classes.from_labels[14:].tolist()) == {255}


def test_world_head_is_scored_in_camvids_classes() -> None:
    world = world_segmentation()
    classes = common_classes(world, camvid())
    assert set(classes.names) == set(CAMVID_TO_WORLD)
    for name, covers in CAMVID_TO_WORLD.items():
        label = camvid().class_names.index(name)
        assert scored_as(classes, classes.from_labels, label) == name
        for world_name in covers:
            assert scored_as(classes, classes.from_head, CLASS_IDS[world_name]) == name
    assert {classes.names[i] for i in classes.moving} == {"Car", "Pedestrian", "Bicyclist"}


def test_world_head_is_scored_in_comma10ks_classes() -> None:
    names = ("road", "lane markings", "undrivable", "movable", "own car")
    labels = LabelSpace(names, ((0, 0, 0),) * 5, (3,))
    classes = common_classes(world_segmentation(), labels)
    wanted = {"road": "road", "road_marking": "lane markings"} | dict.fromkeys(
        ("car", "truck", "pedestrian", "cyclist"), "movable"
    )
    for world_name, class_id in CLASS_IDS.items():
        name = wanted.get(world_name, "undrivable")
        assert scored_as(classes, classes.from_head, class_id) == name
        assert scored_as(classes, classes.from_labels, names.index(name)) == name
    assert classes.from_labels[names.index("own car")] == 255


def test_camvid_head_is_scored_on_the_world() -> None:
    head = SegmentationTask(camvid().class_names, camvid().palette, camvid().moving)
    classes = common_classes(head, space(world_segmentation()))
    for index, info in enumerate(WORLD_CLASSES):
        want = next(name for name, covers in CAMVID_TO_WORLD.items() if info.name in covers)
        of_head = classes.from_head[head.class_names.index(want)]
        assert classes.from_labels[index] == of_head != 255


def test_world_head_is_scored_on_cityscapes_where_both_agree() -> None:
    world, cityscapes = world_segmentation(), cityscapes_segmentation()
    classes = common_classes(world, space(cityscapes))
    ids = {name: i for i, name in enumerate(cityscapes.class_names)}

    def of_label(name: str) -> str | None:
        return scored_as(classes, classes.from_labels, ids[name])

    # Neither list is finer than the other: roads merge the head's classes, cyclists the labels'.
    assert of_label("road") == "road"
    assert scored_as(classes, classes.from_head, CLASS_IDS["road_marking"]) == "road"
    assert of_label("rider") == of_label("bicycle") == of_label("motorcycle") == "cyclist"
    assert of_label("wall") == of_label("fence") == "fence"
    assert of_label("train") is None
    assert {classes.names[i] for i in classes.moving} >= {"cyclist", "truck"}


def test_camvid_head_is_scored_on_cityscapes_through_the_world() -> None:
    head = SegmentationTask(camvid().class_names, camvid().palette, camvid().moving)
    cityscapes = cityscapes_segmentation()
    classes = common_classes(head, space(cityscapes))
    ids = {name: i for i, name in enumerate(cityscapes.class_names)}
    assert {scored_as(classes, classes.from_labels, ids[n]) for n in ("car", "truck", "bus")} == {
        "Car"
    }


def test_unknown_classes_are_refused_with_both_lists() -> None:
    strange = LabelSpace(("moon", "star"), ((0, 0, 0), (1, 1, 1)), ())
    with pytest.raises(InputError, match=r"the head has road, .*; the labels have moon, star"):
        common_classes(world_segmentation(), strange)


def test_relative_depth_is_put_to_the_scale_of_a_past_frame() -> None:
    generator = torch.Generator().manual_seed(0)
    metres = (torch.rand(12, 16, generator=generator) * 40 + 2).double().numpy()
    past = metres.copy()
    past[0] = np.nan
    scale = past_scale(300 / past + 17, past)
    assert scale is not None
    later = np.minimum(metres[::-1] * 1.5, np.nanmax(past))
    np.testing.assert_allclose(scale.metres(300 / later + 17), later, rtol=1e-6)


def test_scale_and_shift_are_the_least_squares_fit() -> None:
    rng = np.random.default_rng(0)
    metres = rng.uniform(2, 22, (10, 10))
    relative = 200 / metres + 10 * rng.normal(size=(10, 10))
    slope, offset = np.polyfit(relative.ravel(), 1 / metres.ravel(), 1)
    scale = past_scale(relative, metres)
    assert scale is not None
    inverse = np.maximum(slope * relative + offset, 1 / metres.max())
    np.testing.assert_allclose(scale.metres(relative), 1 / inverse, rtol=1e-6)


def test_near_and_far_swapped_have_no_scale() -> None:
    metres = np.linspace(2, 40, 100).reshape(10, 10)
    assert past_scale(255 - 300 / metres, metres) is None
    assert past_scale(np.full((10, 10), 7.0), metres) is None
