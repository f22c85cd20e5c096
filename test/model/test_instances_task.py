from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle

from dino_foresight_ros.errors import BundleError, UsageError
from dino_foresight_ros.model import Bundle, InstanceHeadConfig, InstancesTask, build_head
from dino_foresight_ros.model.instance_head import QueryOutput
from dino_foresight_ros.runtime import Foresight

NAMES = ("road", "car", "person")
TASK = InstancesTask(NAMES, ((1, 2, 3), (4, 5, 6), (7, 8, 9)), things=(1, 2))


def queries(*found: tuple[int, float, np.ndarray], size: tuple[int, int] = (8, 12)) -> QueryOutput:
    """Queries of a class (3: no object), with its probability, and a mask of logits +-4."""
    classes = torch.full((1, len(found), 4), -20.0)
    masks = torch.full((1, len(found), *size), -4.0)
    for place, (class_id, probability, mask) in enumerate(found):
        classes[0, place, class_id] = float(np.log(probability))
        classes[0, place, 3 if class_id != 3 else 0] = float(np.log(max(1 - probability, 1e-9)))
        masks[0, place][torch.as_tensor(mask)] = 4.0
    return QueryOutput(classes, masks)


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((8, 12), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_each_object_keeps_its_querys_number_class_and_score() -> None:
    first, second = box(1, 1, 5, 4), box(2, 6, 7, 11)
    raw = queries((3, 0.9, box(0, 0, 8, 12)), (1, 0.9, first), (0, 0.9, box(6, 0, 8, 12)),
                  (2, 0.6, second))  # fmt: skip
    found = TASK.decode(raw, (8, 12))
    ids = found["instances"][0].numpy()
    assert found["instances"].dtype == torch.int32
    assert np.array_equal(ids == 2, first)
    assert np.array_equal(ids == 4, second)
    assert set(np.unique(ids)) == {0, 2, 4}, "no object and road are no things"
    quality = float(torch.sigmoid(torch.tensor(4.0)))
    expected = np.array([[0, 0, 0], [2, 1, 0.9 * quality], [0, 0, 0], [4, 2, 0.6 * quality]])
    np.testing.assert_allclose(found["detections"][0].numpy(), expected, atol=1e-6)


def test_an_unsure_object_is_left_out_and_a_picture_may_have_none() -> None:
    raw = queries((1, 0.25, box(1, 1, 5, 4)), (3, 0.99, box(2, 6, 7, 11)))
    for size in (None, (8, 12)):
        found = TASK.decode(raw, size)
        assert not found["instances"].any()
        assert not found["detections"].any()
    assert found["instances"].shape == (1, 8, 12)
    low = replace(TASK, min_score=0.2).decode(raw, (8, 12))
    assert np.array_equal(low["instances"][0].numpy() == 1, box(1, 1, 5, 4))


def test_of_two_queries_on_one_object_the_surer_one_stays() -> None:
    """The other keeps less than the overlap threshold of its mask, and what it held goes back."""
    car = box(1, 1, 7, 9)
    found = TASK.decode(queries((1, 0.6, box(1, 1, 7, 10)), (1, 0.9, car)), (8, 12))
    assert np.array_equal(found["instances"][0].numpy() == 2, car)
    assert found["detections"][0, 0].tolist() == [0, 0, 0]
    found = TASK.decode(queries((1, 0.9, box(1, 1, 3, 10)), (1, 0.6, box(2, 1, 8, 10))), (8, 12))
    assert set(np.unique(found["instances"])) == {0, 1, 2}, "little in common: two objects"


def test_the_map_has_the_size_of_the_other_heads() -> None:
    assert TASK.decode(queries((1, 0.9, box(1, 1, 5, 4))))["instances"].shape == (1, 16, 24)
    assert TASK.decode(queries((1, 0.9, box(1, 1, 5, 4))), (33, 40))["instances"].shape[1:] == (
        33,
        40,
    )


def test_semantic_and_panoptic_maps_come_of_a_head_that_knows_all_classes() -> None:
    car = box(1, 1, 5, 4)
    raw = queries((0, 0.95, ~car), (1, 0.9, car))
    with pytest.raises(UsageError, match="--stuff"):
        TASK.semantic(raw)
    with pytest.raises(UsageError, match="--stuff"):
        TASK.panoptic(raw)
    task = replace(TASK, has_stuff=True)
    expected = np.where(car, 1, 0)
    assert np.array_equal(task.semantic(raw, (8, 12))[0].numpy(), expected)
    whole = task.panoptic(raw, (8, 12))
    assert np.array_equal(whole["segmentation"][0].numpy(), expected)
    assert np.array_equal(whole["instances"][0].numpy() == 2, car)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"things": ()}, "at least one"),
        ({"things": (3,)}, "0 to 2"),
        ({"min_score": 1.0}, "below 1"),
        ({"palette": ((1, 2, 3),)}, "one colour per class"),
    ],
)
def test_meanings_that_make_no_sense_are_refused(values: dict, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        replace(TASK, **values)


def instances_bundle() -> Bundle:
    bundle = make_micro_bundle()
    known = bundle.tasks["segmentation"]
    task = InstancesTask(known.class_names, known.palette, known.moving, min_score=0.02)
    config = InstanceHeadConfig(
        task.outputs, channels=(8, 8, 8, 8), width=32, queries=1, encoder_layers=1,
        decoder_layers=2, attention_heads=4, feedforward=32,
    )  # fmt: skip
    heads = {**bundle.heads, "instances": build_head(config, 24, 4)}
    # Sure of a car each: what random weights never are.
    with torch.no_grad():
        heads["instances"].classify.bias[12] += 6.0
    return replace(bundle, heads=heads, tasks={**bundle.tasks, "instances": task})


@pytest.mark.slow
def test_a_forecast_has_the_objects_and_a_bundle_keeps_the_head(tmp_path: Path) -> None:
    bundle = instances_bundle()
    bundle.save(tmp_path / "b")
    loaded = Bundle.load(tmp_path / "b")
    assert loaded.tasks["instances"] == bundle.tasks["instances"]
    images = np.random.default_rng(0).integers(0, 255, (4, 56, 84, 3), dtype=np.uint8)
    forecasts = []
    for one in (bundle, loaded):
        engine = Foresight(one, steps=2, outputs={1: {"instances", "depth"}, 2: {"instances"}})
        for index, image in enumerate(images):
            forecast = engine.update(image, index * 200_000_000)
        forecasts.append(forecast)
    ours, theirs = forecasts
    assert ours is not None
    assert theirs is not None
    features = torch.as_tensor(engine_features(bundle, images))
    expected = bundle.tasks["instances"].decode(bundle.heads["instances"](features))
    for step, (scene, again) in enumerate(zip(ours.steps, theirs.steps, strict=True)):
        assert scene.instances is not None
        assert scene.instances.dtype == np.uint16
        assert scene.instances.shape == (32, 48)
        assert np.array_equal(scene.instances, again.instances)
        assert np.mean(scene.instances != expected["instances"][step].numpy()) < 0.01
        assert scene.detections == again.detections
        assert {one.id for one in scene.detections} == set(np.unique(scene.instances)) - {0}
        assert all(one.class_id == 12 for one in scene.detections)
    assert ours.steps[0].detections
    assert ours.steps[1].depth is None


def engine_features(bundle: Bundle, images: np.ndarray) -> torch.Tensor:
    """(2, h, w, L*D) features of the next two frames, computed plainly."""
    with torch.inference_mode():
        z = bundle.pca.transform(bundle.encoder(bundle.encoder.preprocess(images)))
        return bundle.pca.inverse(bundle.forecaster.rollout(z[None], 2)[0])


def test_a_head_of_other_classes_is_refused() -> None:
    bundle = instances_bundle()
    task = InstancesTask(NAMES, TASK.palette, TASK.things)
    with pytest.raises(BundleError, match="head 'instances' gives 14 channels, its task means 3"):
        replace(bundle, tasks={**bundle.tasks, "instances": task})


@pytest.mark.slow
def test_weights_of_another_bundles_head_are_refused(tmp_path: Path) -> None:
    bundle = instances_bundle()
    bundle.save(tmp_path / "b")
    wider = replace(bundle.heads["instances"].config, queries=2)
    other = replace(bundle, heads={**bundle.heads, "instances": build_head(wider, 24, 4)})
    other.save(tmp_path / "other")
    file = "head_instances.safetensors"
    (tmp_path / "b" / file).write_bytes((tmp_path / "other" / file).read_bytes())
    with pytest.raises(
        BundleError, match=r"head_instances: tensor .* shape \(2, 32\), .*\(1, 32\)"
    ) as error:
        Bundle.load(tmp_path / "b")
    assert "\n" not in str(error.value)
