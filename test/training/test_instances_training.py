from __future__ import annotations

import numpy as np
import pytest
import torch
from labelled_objects import TASK, check_that_it_learns, label
from torch.nn import functional

from dino_foresight_ros.model import InstanceHeadConfig, InstancesTask, build_head
from dino_foresight_ros.model.instance_head import QueryOutput
from dino_foresight_ros.training.instances_loss import (
    instances_loss,
    objects_of,
    unpack_instances,
)

pytest.importorskip("transformers", reason="the extra `instances` is not installed")

TWO = label([(7, 1, np.s_[2:9, 3:11]), (65535, 2, np.s_[4:14, 15:20])])


def test_ids_and_classes_survive_packing() -> None:
    ids, classes = unpack_instances(TWO)
    assert set(ids.unique().tolist()) == {0, 7, 65535}
    assert set(classes.unique().tolist()) == {0, 1, 2}


def test_an_object_is_of_the_class_of_most_of_its_pixels() -> None:
    mixed = TWO.clone()
    mixed[2:4, 3:11] = 7 * 256 + 2
    mixed[0, 0] = 9 * 256 + 0  # of no class of objects
    masks, classes = objects_of(mixed, TASK)
    assert classes.tolist() == [1, 2]
    assert torch.equal(masks[0], unpack_instances(mixed)[0] == 7)
    assert torch.equal(masks[1], unpack_instances(mixed)[0] == 65535)
    assert objects_of(mixed, TASK, least_pixels=51)[1].tolist() == [1]
    with_stuff = InstancesTask(TASK.class_names, TASK.palette, TASK.things, has_stuff=True)
    masks, classes = objects_of(mixed, with_stuff)
    assert classes.tolist() == [1, 2, 0]
    assert torch.equal(masks[2], unpack_instances(mixed)[1] == 0)


def loss_of(raw: QueryOutput) -> float:
    torch.manual_seed(5)
    return float(instances_loss(raw, TWO[None], TASK, 5000).value)


def test_classes_are_judged_by_the_best_assignment() -> None:
    """Against cross-entropy after a matching over all pixels by the paper's costs. The same pixels
    are drawn each time, so that what the masks add is the same and falls out of the difference."""
    from scipy.optimize import linear_sum_assignment

    torch.manual_seed(1)
    masks, classes = objects_of(TWO, TASK)
    inside = torch.stack([masks[1], ~masks[0], masks[0], torch.zeros_like(masks[0])])
    logits = torch.where(inside, 5.0, -5.0)[None].float()
    flat, true = logits[0].flatten(1), masks.flatten(1).float()
    bce = torch.stack([
        torch.stack([functional.binary_cross_entropy_with_logits(q, t) for t in true])
        for q in flat
    ])  # fmt: skip
    p = flat.sigmoid()
    dice = 1 - (2 * p @ true.T + 1) / (p.sum(1)[:, None] + true.sum(1) + 1)

    def class_part(of_queries: torch.Tensor) -> float:
        cost = 2.0 * -of_queries.softmax(-1)[:, classes] + 5.0 * bce + 5.0 * dice
        queries, objects = linear_sum_assignment(cost)
        assert sorted(queries.tolist()) == [0, 2]
        target = torch.full((4,), 3)
        target[torch.as_tensor(queries)] = classes[torch.as_tensor(objects)]
        weight = torch.tensor([1.0, 1.0, 1.0, 0.1])
        return 2.0 * float(functional.cross_entropy(of_queries, target, weight=weight))

    one, other = torch.randn(2, 4, 4)
    found = loss_of(QueryOutput(one[None], logits)) - loss_of(QueryOutput(other[None], logits))
    assert found == pytest.approx(class_part(one) - class_part(other), abs=1e-4)


def test_on_all_pixels_it_is_what_the_library_says_of_them() -> None:
    """The library's own terms, of pairs that no matching can miss, in two layers."""
    from transformers.models.mask2former import modeling_mask2former as library

    torch.manual_seed(2)
    masks, kinds = objects_of(TWO, TASK)
    true = masks.flatten(1).float()
    queries = torch.stack([masks[1], torch.zeros_like(masks[0]), masks[0]]).float()
    layers = [
        (torch.randn(1, 3, 4), 4 * (2 * queries - 1)[None] + torch.randn(1, 3, 16, 24))
        for _ in range(2)
    ]
    want = 0.0
    for classes, logits in layers:
        pairs = logits[0, [2, 0]].flatten(1)
        asked = torch.tensor([kinds[1], 3, kinds[0]])
        weight = torch.tensor([1.0, 1.0, 1.0, 0.1])
        want += 5.0 * float(library.sigmoid_cross_entropy_loss(pairs, true, 2))
        want += 5.0 * float(library.dice_loss(pairs, true, 2))
        want += 2.0 * float(functional.cross_entropy(classes[0], asked, weight=weight))
    raw = QueryOutput(*layers[0], tuple(layers[1:]))
    found = float(instances_loss(raw, TWO[None], TASK, 16 * 24).value)
    assert found == pytest.approx(want, rel=1e-5)
    drawn = float(instances_loss(raw, TWO[None], TASK, 16 * 24 - 1).value)
    assert drawn != pytest.approx(want, rel=1e-5)


def test_pixels_that_nobody_labelled_teach_no_mask() -> None:
    """As of lidar, whose points are few, or of what a data set leaves open."""
    torch.manual_seed(3)
    sparse = TWO.clone()
    sparse[:, ::3] = 255
    raw = QueryOutput(torch.randn(1, 3, 4), torch.randn(1, 3, 16, 24))
    other = raw.masks.clone()
    other[..., ::3] = 9.0
    loss = instances_loss(raw, sparse[None], TASK, 384).value
    assert float(
        instances_loss(QueryOutput(raw.classes, other), sparse[None], TASK, 384).value
    ) == (pytest.approx(float(loss)))
    # A mask pixel that is labelled in part is inside as far as its labelled part is.
    half = QueryOutput(raw.classes, torch.randn(1, 3, 8, 12))
    thinned = TWO.clone()
    thinned[::2] = 255
    whole = TWO[1::2].repeat_interleave(2, dim=0)
    losses = [float(instances_loss(half, one[None], TASK, 384).value) for one in (thinned, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_worse_masks_and_earlier_layers_add_to_the_loss() -> None:
    torch.manual_seed(1)
    masks, _ = objects_of(TWO, TASK)
    classes = torch.randn(1, 2, 4)
    good = torch.where(masks, 5.0, -5.0)[None].float()
    shifted = good.roll(2, dims=-1)
    best = loss_of(QueryOutput(classes, good))
    worse = loss_of(QueryOutput(classes, shifted))
    assert worse > best + 0.5
    deep = loss_of(QueryOutput(classes, good, ((classes, shifted),)))
    assert deep == pytest.approx(best + worse, rel=0.05)


def test_pictures_without_objects_and_with_more_than_queries_have_a_loss() -> None:
    empty = label([])
    crowd = label([(n + 1, 1, np.s_[n : n + 1, 2:20]) for n in range(6)])
    torch.manual_seed(0)
    raw = QueryOutput(
        torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 16, 24, requires_grad=True),
        ((torch.randn(2, 3, 4), torch.randn(2, 3, 16, 24)),),
    )  # fmt: skip
    for batch in (torch.stack([empty, crowd]), torch.stack([empty, empty])):
        loss = instances_loss(raw, batch, TASK, 64).value
        assert torch.isfinite(loss)
        loss.backward()
    assert raw.classes.grad is not None
    assert torch.isfinite(raw.masks.grad).all()


@pytest.mark.slow
def test_a_head_learns_two_objects() -> None:
    torch.manual_seed(0)
    config = InstanceHeadConfig(
        3, channels=(16, 16, 16, 16), width=32, queries=5, encoder_layers=1, decoder_layers=2,
        attention_heads=4, feedforward=32,
    )  # fmt: skip
    head = build_head(config, 8, 4)
    check_that_it_learns(
        head, lambda raw: instances_loss(raw, TWO[None], TASK, 128).value, TWO, rate=2e-3
    )
