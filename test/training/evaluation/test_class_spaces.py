"""Which classes of objects are scored where labels have others than the head."""

from __future__ import annotations

from dino_foresight_ros.model import InstancesTask
from dino_foresight_ros.recordings.recording import LabelSpace
from dino_foresight_ros.training.evaluation.class_spaces import common_objects

HEAD = InstancesTask(("road", "car", "person"), ((0, 0, 0),) * 3, things=(1, 2))


def labels(*names: str) -> LabelSpace:
    return LabelSpace(names, ((0, 0, 0),) * len(names), tuple(range(len(names))))


def test_objects_are_scored_in_the_classes_that_both_name_alike() -> None:
    space = common_objects(HEAD, labels("train", "car", "road"))
    assert space is not None
    assert space.names == {1: "car"}
    # Trains say nothing for or against what the head finds there.
    assert space.from_labels[[0, 1, 2, 255]].tolist() == [255, 1, 0, 255]


def test_labels_without_a_class_of_the_heads_objects_score_none() -> None:
    assert common_objects(HEAD, labels("zebra", "Car")) is None
    assert common_objects(HEAD, labels("road")) is None, "no object"
