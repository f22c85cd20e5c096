"""Scores a head's classes against labels that name classes otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import (
    CAMVID_TO_WORLD,
    CITYSCAPES_TO_WORLD,
    COMMA10K_TO_WORLD,
    UNLABELLED,
    WORLD_CLASSES,
)
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model import InstancesTask, SegmentationTask
from dino_foresight_ros.model.class_lists import cityscapes_segmentation
from dino_foresight_ros.recordings import LabelSpace

_CITYSCAPES = cityscapes_segmentation().class_names
TO_WORLD: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {info.name: (info.name,) for info in WORLD_CLASSES},
    CAMVID_TO_WORLD,
    COMMA10K_TO_WORLD,
    {name: CITYSCAPES_TO_WORLD.get(name, ()) for name in _CITYSCAPES},
)
"""Every known list of classes: name -> the world classes it covers, none where it has no match."""


@dataclass(frozen=True)
class ClassSpace:
    """The classes that are scored, and how both sides get there.

    Attributes:
        names, palette, moving: of the scored classes, position = id.
        from_head: (256,) uint8, the head's id -> scored id; 255 where it has none, which is
            scored as wrong wherever the label has one.
        from_labels: (256,) uint8, the label's id -> scored id; 255 is left out.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    moving: tuple[int, ...]
    from_head: NDArray[np.uint8]
    from_labels: NDArray[np.uint8]


def common_classes(head: SegmentationTask, labels: LabelSpace) -> ClassSpace:
    """Find the finest classes in which both can be scored.

    Both lists are laid onto the synthetic world's classes, through the mappings declared in
    `classes`; what overlaps is merged until no class of either side is cut in two. A merged class
    is named as by the side that has fewer classes in it.

    Raises:
        InputError: no mapping is declared for one of the lists; names both.
    """
    if head.class_names == labels.class_names:
        same = _table(range(len(labels.class_names)))
        return ClassSpace(labels.class_names, labels.palette, labels.moving, same, same)
    groups = _merge(_worlds(head, labels, 0), _worlds(head, labels, 1))
    sides = (head, labels)
    names, palette, moving = [], [], []
    tables = (np.full(256, UNLABELLED, np.uint8), np.full(256, UNLABELLED, np.uint8))
    for place, group in enumerate(groups):
        namer = 0 if len(group[0]) < len(group[1]) else 1
        first = group[namer][0]
        names.append(sides[namer].class_names[first])
        palette.append(sides[namer].palette[first])
        if first in sides[namer].moving:
            moving.append(place)
        for table, ids in zip(tables, group, strict=True):
            table[list(ids)] = place
    return ClassSpace(tuple(names), tuple(palette), tuple(moving), *tables)


def _worlds(head: SegmentationTask, labels: LabelSpace, side: int) -> list[frozenset[str]]:
    """The world classes that each class of a side covers."""
    names = (head, labels)[side].class_names
    for known in TO_WORLD:
        if set(names) <= known.keys():
            return [frozenset(known[name]) for name in names]
    raise InputError(
        "the head's classes and the labels' differ and no mapping between them is declared; "
        f"the head has {', '.join(head.class_names)}; the labels have "
        f"{', '.join(labels.class_names)}"
    )


@dataclass(frozen=True)
class ObjectSpace:
    """The classes whose objects are scored.

    Attributes:
        names: class id of the head -> name, of the scored classes alone.
        from_labels: (256,) uint8, the label's id -> the head's id; 255 where the head has no such
            class, which says nothing for or against a prediction.
    """

    names: Mapping[int, str]
    from_labels: NDArray[np.uint8]


def common_objects(head: InstancesTask, labels: LabelSpace) -> ObjectSpace | None:
    """Classes of objects that both name alike; None where there is none.

    Objects of merged classes would not be comparable, so names have to be the same.
    """
    ids = {name: place for place, name in enumerate(head.class_names)}
    table = np.full(256, UNLABELLED, np.uint8)
    for place, name in enumerate(labels.class_names):
        table[place] = ids.get(name, UNLABELLED)
    shared = {i: head.class_names[i] for i in head.things if i in table}
    return ObjectSpace(shared, table) if shared else None


_Group = tuple[list[int], list[int]]
"""Ids of the head and of the labels that are scored as one class."""


def _merge(heads: Sequence[frozenset[str]], labels: Sequence[frozenset[str]]) -> list[_Group]:
    """Groups of classes of both sides that overlap, directly or through others."""
    groups: list[tuple[set[str], _Group]] = []
    for side, worlds in enumerate((heads, labels)):
        for class_id, covered in enumerate(worlds):
            if not covered:
                continue
            touching = [group for group in groups if group[0] & covered]
            ids: _Group = ([], [])
            for _, (of_head, of_labels) in touching:
                ids[0].extend(of_head)
                ids[1].extend(of_labels)
            ids[side].append(class_id)
            names = set(covered).union(*(group[0] for group in touching))
            groups = [group for group in groups if group not in touching] + [(names, ids)]
    both = [(sorted(ids[0]), sorted(ids[1])) for _, ids in groups if ids[0] and ids[1]]
    return sorted(both, key=lambda ids: ids[1][0])


def _table(ids: range) -> NDArray[np.uint8]:
    table = np.full(256, UNLABELLED, np.uint8)
    table[: len(ids)] = list(ids)
    return table
