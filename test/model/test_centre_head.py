from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model import HeadConfig, InstancesTask, build_head
from dino_foresight_ros.model.centre_head import OFFSET_SCALE, CentreHead, CentreHeadConfig
from dino_foresight_ros.model.dpt import DPTHead
from dino_foresight_ros.model.heads import fuse_batch_norm, head_config
from dino_foresight_ros.model.instance_head import PixelMaps, QueryOutput

TASK = InstancesTask(("road", "car", "person"), ((0, 0, 0),) * 3, things=(1, 2))
CONFIG = CentreHeadConfig(3, TASK.things, channels=(8, 8, 16, 16), width=16, queries=6)
TRUNK = HeadConfig(3, channels=(8, 8, 16, 16), width=16)
OBJECTS = (
    (1, slice(2, 10), slice(3, 13)),
    (2, slice(4, 14), slice(14, 17)),
    (1, slice(5, 9), slice(18, 23)),
)


def head(seed: int = 0) -> CentreHead:
    torch.manual_seed(seed)
    built = build_head(CONFIG, 8, 4)
    assert isinstance(built, CentreHead)
    return built.eval()


def maps_of(objects: tuple[tuple[int, slice, slice], ...]) -> tuple[PixelMaps, torch.Tensor]:
    """Maps that say the truth, (16, 24) pixels, and the ids 1, 2, ... of the objects."""
    ids, classes = torch.zeros(16, 24, dtype=torch.int32), torch.zeros(16, 24, dtype=torch.long)
    centres = torch.zeros(4, 16, 24)
    centres[:2] = -8.0
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    for number, (class_id, down, right) in enumerate(objects, start=1):
        y, x = (down.start + down.stop) // 2, (right.start + right.stop) // 2
        ids[down, right], classes[down, right] = number, class_id
        centres[class_id - 1, y, x] = 3.0
        centres[2, down, right] = (y - rows[down, right]) / OFFSET_SCALE
        centres[3, down, right] = (x - columns[down, right]) / OFFSET_SCALE
    logits = 20.0 * functional.one_hot(classes, 3).permute(2, 0, 1).float()
    return PixelMaps(logits[None], centres[None]), ids


def test_maps_that_say_the_truth_become_the_objects() -> None:
    maps, ids = maps_of(OBJECTS)
    raw = QueryOutput(*head().group(maps), pixels=maps)
    found = TASK.decode(raw, (16, 24))
    rows = {int(i): (int(c), s) for i, c, s in found["detections"][0].tolist() if i}
    assert len(rows) == 3
    for number, (class_id, down, right) in enumerate(OBJECTS, start=1):
        here = found["instances"][0][down, right].unique().tolist()
        assert len(here) == 1
        assert torch.equal(found["instances"][0] == here[0], ids == number)
        assert rows[here[0]][0] == class_id
        assert rows[here[0]][1] == pytest.approx(torch.tensor(3.0).sigmoid().item(), abs=0.02)


def test_objects_of_one_class_side_by_side_are_told_apart() -> None:
    """Their pixels touch; only the offsets say whose they are."""
    maps, ids = maps_of(((1, slice(2, 10), slice(3, 11)), (1, slice(2, 10), slice(11, 19))))
    found = TASK.decode(QueryOutput(*head().group(maps), pixels=maps), (16, 24))["instances"][0]
    pairs = set(zip(ids.flatten().tolist(), found.flatten().tolist(), strict=True))
    assert len(pairs) == 3


def test_pixels_that_point_nowhere_near_a_centre_belong_to_none() -> None:
    maps, _ = maps_of(OBJECTS[:1])
    maps.centres[:, 3] += 40 / OFFSET_SCALE
    found = TASK.decode(QueryOutput(*head().group(maps), pixels=maps), (16, 24))
    assert not found["instances"].any()
    assert not found["detections"].any()


def test_a_picture_without_objects_has_none() -> None:
    maps, _ = maps_of(())
    found = TASK.decode(QueryOutput(*head().group(maps), pixels=maps), (32, 48))
    assert not found["instances"].any()


@pytest.mark.parametrize(("share", "is_found"), [(0.45, True), (0.3, False)])
def test_an_object_has_the_pixels_that_are_rather_sure_of_their_class(
    share: float, is_found: bool
) -> None:
    maps, ids = maps_of(OBJECTS[:1])
    edge = (slice(2, 10), slice(3, 5))
    maps.classes[0][(slice(None), *edge)] = torch.tensor([1 - share, share, 1e-9]).log()[
        :, None, None
    ]
    found = TASK.decode(QueryOutput(*head().group(maps), pixels=maps), (16, 24))["instances"][0]
    assert (found[edge] > 0).all() == is_found
    assert (found > 0).sum() == (ids > 0).sum() - (0 if is_found else 16)


def test_of_more_objects_than_queries_the_surest_are_found() -> None:
    maps, ids = maps_of(OBJECTS)
    maps.centres[0, 0, 7, 20] = 1.0  # the third one's centre
    torch.manual_seed(0)
    few = build_head(replace(CONFIG, queries=2), 8, 4)
    assert isinstance(few, CentreHead)
    found = TASK.decode(QueryOutput(*few.group(maps), pixels=maps), (16, 24))
    assert found["detections"].shape == (1, 2, 3)
    assert (found["detections"][0, :, 2] > 0.9).all()
    is_found = found["instances"][0] > 0
    assert [bool(is_found[ids == number].all()) for number in (1, 2)] == [True, True]
    assert found["instances"][0].unique().tolist() == [0, 1, 2]


def test_what_is_left_of_the_queries_is_no_object() -> None:
    """All around the one centre it slopes away, so no other pixel is a peak."""
    maps, _ = maps_of(OBJECTS[:1])
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    maps.centres[0, 0] = 3.0 - 0.01 * ((rows - 6) ** 2 + (columns - 8) ** 2)
    classes, _ = head().group(maps)
    assert classes[0, 0, 1].exp().item() == pytest.approx(1 / (1 + math.exp(-3.0)), abs=1e-3)
    assert torch.equal(classes[0, 1:].argmax(dim=-1), torch.full((5,), 3))
    assert classes[0, 1:, :3].exp().max().item() == pytest.approx(1e-6)


def test_semantic_and_panoptic_maps_come_of_the_classes() -> None:
    maps, ids = maps_of(OBJECTS)
    raw = QueryOutput(*head().group(maps), pixels=maps)
    assert torch.equal(TASK.semantic(raw, (16, 24)), maps.classes.argmax(dim=1).to(torch.uint8))
    whole = TASK.panoptic(raw, (16, 24))["segmentation"][0]
    assert not whole[ids == 0].any()
    assert torch.equal(whole[ids == 2], torch.full_like(whole[ids == 2], 2))


def test_it_starts_from_a_head_for_segmentation_and_says_its_classes() -> None:
    """Without the finest level's refinement, what it says at the start is what that head's last
    layers say of the level before."""
    torch.manual_seed(1)
    trained, started = build_head(TRUNK, 8, 4).eval(), head()
    assert isinstance(trained, DPTHead)
    started.start_from(trained)
    features = torch.randn(2, 4, 6, 32)
    with torch.inference_mode():
        levels = [a(x) for a, x in zip(trained.adapts, trained.levels(features), strict=True)]
        sizes = [x.shape[-2:] for x in levels]
        path = trained.fusions[3](levels[3], None, sizes[2])
        path = trained.fusions[2](path, levels[2], sizes[1])
        path = trained.fusions[1](path, levels[1], sizes[0]) + levels[0]
        want = trained.output(path)
        got = started(features).pixels
    torch.testing.assert_close(got.classes, want)
    with pytest.raises(BundleError, match="another shape"):
        started.start_from(build_head(HeadConfig(3, channels=(8, 8, 16, 16), width=8), 8, 4))  # type: ignore[arg-type]


def test_folded_batch_norm_changes_nothing() -> None:
    plain, features = head(), torch.randn(1, 4, 6, 32)
    plain.train()(features)  # running means that are not 0
    plain.eval()
    with torch.inference_mode():
        want = plain(features)
        got = fuse_batch_norm(plain)(features)
    assert not [m for m in plain.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    torch.testing.assert_close(got.pixels, want.pixels, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got.masks, want.masks, rtol=1e-3, atol=1e-2)


def test_its_configuration_survives_yaml_and_is_checked() -> None:
    assert head_config(CONFIG.to_dict()) == CONFIG
    for bad in (
        {"things": [3]},
        {"things": []},
        {"queries": 0},
        {"channels": [8, 8]},
        {"kind": "x"},
    ):
        with pytest.raises(BundleError):
            CentreHeadConfig.from_dict({**CONFIG.to_dict(), **bad})
