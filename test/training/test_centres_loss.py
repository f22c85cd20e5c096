from __future__ import annotations

import numpy as np
import pytest
import torch
from labelled_objects import TASK, check_that_it_learns, label
from torch.nn import functional

from dino_foresight_ros.model import build_head
from dino_foresight_ros.model.centre_head import OFFSET_SCALE, CentreHeadConfig
from dino_foresight_ros.model.instance_head import PixelMaps
from dino_foresight_ros.training.centres_loss import centre_targets, centres_loss
from dino_foresight_ros.training.instances_loss import unpack_instances

TWO = label([(7, 1, np.s_[2:10, 2:12]), (65535, 2, np.s_[4:14, 14:20])])


def truth(one: torch.Tensor, certain: float = 8.0) -> PixelMaps:
    made = centre_targets(one, TASK, (16, 24))
    _, classes = unpack_instances(one)
    logits = certain * functional.one_hot(classes.long(), 3).permute(2, 0, 1).float()
    heat = torch.where(made.is_centre, certain, -certain)
    return PixelMaps(logits[None], torch.cat([heat, made.offsets])[None])


def test_targets_against_a_loop_over_objects_and_pixels() -> None:
    made = centre_targets(TWO, TASK, (8, 12))
    ids, _ = unpack_instances(TWO)
    for number, channel in ((7, 0), (65535, 1)):
        mask = (ids == number).numpy()
        rows, columns = np.nonzero(mask)
        y, x = round(rows.mean() / 2 - 0.25), round(columns.mean() / 2 - 0.25)
        assert made.is_centre[channel].nonzero().tolist() == [[y, x]]
        assert made.heat[channel, y, x] == 1
        for r in range(8):
            for c in range(12):
                if mask[2 * r : 2 * r + 2, 2 * c : 2 * c + 2].all():
                    want = [(y - r) / OFFSET_SCALE, (x - c) / OFFSET_SCALE]
                    assert made.offsets[:, r, c].tolist() == pytest.approx(want, abs=1e-5)
                    area = mask.sum() / 4
                    assert float(made.weight[r, c]) == pytest.approx(area**-0.5, rel=1e-5)
    assert not made.weight[0].any()
    assert made.valid.all()


def test_nothing_is_asked_of_small_objects() -> None:
    with_sliver = label([(7, 1, np.s_[2:10, 2:12]), (9, 2, np.s_[12:14, 20:22])])
    made = centre_targets(with_sliver, TASK, (16, 24), least_pixels=5)
    assert made.is_centre.sum() == 1
    assert (~made.valid).sum() == 4
    assert not made.weight[12:14, 20:22].any()
    empty = centre_targets(label([]), TASK, (16, 24), least_pixels=5)
    assert empty.valid.all()
    assert not empty.is_centre.any()


def test_nothing_is_asked_where_nobody_labelled_anything() -> None:
    sparse = TWO.clone()
    sparse[:, ::3] = 255
    maps = truth(TWO)
    moved = maps.centres.clone()
    moved[..., ::3] += 5.0
    classes = maps.classes.roll(1, dims=1)
    changed = torch.where(torch.arange(24) % 3 == 0, classes, maps.classes)
    loss = float(centres_loss(maps, sparse[None], TASK).value)
    other = float(centres_loss(PixelMaps(changed, moved), sparse[None], TASK).value)
    assert other == pytest.approx(loss)
    # The centre is that of the labelled pixels, and its targets are where they were.
    made = centre_targets(sparse, TASK, (16, 24))
    assert not made.valid[:, ::3].any()
    assert made.valid[:, 1::3].all()


def test_the_truth_costs_least_and_each_fault_costs_more() -> None:
    maps = truth(TWO)
    best = float(centres_loss(maps, TWO[None], TASK).value)
    assert best < 0.01
    moved = maps.centres.clone()
    moved[:, :2] = moved[:, :2].roll(4, dims=-1)
    pointing = maps.centres.clone()
    pointing[:, 2] += 1.0
    for worse in (
        PixelMaps(maps.classes.roll(2, dims=-1), maps.centres),
        PixelMaps(maps.classes, moved),
        PixelMaps(maps.classes, pointing),
    ):
        assert float(centres_loss(worse, TWO[None], TASK).value) > best + 0.5
    assert float(centres_loss(PixelMaps(maps.classes, pointing), TWO[None], TASK).value) == (
        pytest.approx(best + 1.0, abs=1e-3)
    )


def test_pictures_without_objects_have_a_loss() -> None:
    raw = PixelMaps(
        torch.randn(2, 3, 8, 12, requires_grad=True), torch.randn(2, 4, 8, 12, requires_grad=True)
    )
    loss = centres_loss(raw, torch.stack([label([]), label([])]), TASK).value
    loss.backward()
    assert torch.isfinite(loss)
    assert raw.centres.grad is not None
    assert not raw.centres.grad[:, 2:].any()


@pytest.mark.slow
def test_a_head_learns_two_objects() -> None:
    torch.manual_seed(0)
    config = CentreHeadConfig(3, TASK.things, channels=(16, 16, 16, 16), width=32, queries=5)
    head = build_head(config, 8, 4)
    check_that_it_learns(
        head, lambda raw: centres_loss(raw.pixels, TWO[None], TASK).value, TWO, rate=3e-3
    )
