"""Labels of nuScenes' pictures from the lidar, against the world that the points were taken of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nuscenes_set import NuScenesSet

from dino_foresight_ros.classes import NUSCENES_CATEGORIES, NUSCENES_CLASSES
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import Recording, UnreadableFrame, open_recordings

WIDTH, HEIGHT, CELL = 160, 96, 4
CATEGORIES = ("noise", *NUSCENES_CATEGORIES)
CLASSES = [info.name for info in NUSCENES_CLASSES]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> NuScenesSet:
    """One scene of seven frames, two of them keyframes; the points are every third pixel."""
    made = NuScenesSet(tmp_path_factory.mktemp("nuscenes"), length=7, size=(WIDTH, HEIGHT))
    made.tables["category"] = [
        {"token": f"category-{name}", "name": name, "description": "", "index": index}
        for index, name in enumerate(CATEGORIES)
    ] + [row for row in made.tables["category"] if row["token"].startswith("cat-")]
    for number, row in enumerate(made.tables["category"]):
        row.setdefault("index", number)
    made.write()
    return made


def points(world: NuScenesSet, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and depths of the pixels that a sweep's points were taken of."""
    depth = world.frames["scene-0061"][index].depth
    rows, columns = np.mgrid[0:HEIGHT:3, 0:WIDTH:3]
    known = np.isfinite(depth[rows, columns]) & (depth[rows, columns] < 60)
    return rows[known], columns[known], depth[rows[known], columns[known]]


def nearest(world: NuScenesSet, index: int) -> dict[tuple[int, int], list[int]]:
    """Cell -> numbers of its nearest points: several where they are as near but for rounding."""
    found: dict[tuple[int, int], list[int]] = {}
    rows, columns, depth = points(world, index)
    for number, (row, column) in enumerate(zip(rows, columns, strict=True)):
        found.setdefault((int((row + 0.5) // CELL), int((column + 0.5) // CELL)), []).append(number)
    return {
        cell: [n for n in numbers if depth[n] < depth[numbers].min() * (1 + 1e-5)]
        for cell, numbers in found.items()
    }


def opened(world: NuScenesSet, options: str = "") -> Recording:
    return open_recordings([f"nuscenes:{world.root}{options}"])[0]


def write_labels(world: NuScenesSet, name: str, values: Mapping[int, np.ndarray]) -> list[Path]:
    """Write a table of labels of points, and the files that it names."""
    rows, files = [], []
    for index, content in values.items():
        end = "lidarseg.bin" if name == "lidarseg" else "panoptic.npz"
        file = world.root / name / "v1.0-mini" / f"{index}_{end}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if name == "lidarseg":
            content.astype(np.uint8).tofile(file)
        else:
            np.savez_compressed(file, data=content.astype(np.uint16))
        files.append(file)
        rows.append(
            {
                "token": f"{name}-{index}",
                "sample_data_token": f"scene-0061-LIDAR_TOP-{index}",
                "filename": str(file.relative_to(world.root)),
            }
        )
    (world.root / "v1.0-mini" / f"{name}.json").write_text(json.dumps(rows))
    return files


@pytest.fixture
def labelled(world: NuScenesSet) -> Any:
    """Random categories and objects for the points of both keyframes; removed afterwards."""
    rng = np.random.default_rng(0)
    counts = {index: len(points(world, index)[0]) for index in (0, 6)}
    ids = {index: rng.integers(0, len(CATEGORIES), count) for index, count in counts.items()}
    objects = {index: rng.integers(0, 4, count) for index, count in counts.items()}
    write_labels(world, "lidarseg", ids)
    panoptic = {index: 1000 * ids[index] + objects[index] for index in counts}
    write_labels(world, "panoptic", panoptic)
    yield ids, panoptic
    for name in ("lidarseg", "panoptic"):
        (world.root / "v1.0-mini" / f"{name}.json").unlink(missing_ok=True)


def test_depth_of_every_picture_is_that_of_the_nearest_points(world: NuScenesSet) -> None:
    recording = opened(world)
    assert recording.labelled("depth").tolist() == list(range(7))
    assert recording.depth_is_metric
    for index in (0, 4, 6):
        depth: Any = recording.read([index], ["depth"])[0].depth
        assert depth.shape == (HEIGHT // CELL, WIDTH // CELL)
        true = {cell: points(world, index)[2][n[0]] for cell, n in nearest(world, index).items()}
        cells = {(int(r), int(c)) for r, c in np.argwhere(np.isfinite(depth))}
        assert cells <= set(true)
        # Points that lie past something nearer are left out, and those nearer than a metre.
        assert len(cells) > 0.8 * len(true)
        apart = [abs(depth[cell] / true[cell] - 1) for cell in cells]
        assert max(apart) < 1e-3


def test_sweeps_are_as_the_pictures_are_wanted(world: NuScenesSet) -> None:
    keys = opened(world, "?sweeps=no")
    assert keys.labelled("depth").tolist() == [0, 1]
    assert opened(world, "?lidar=no").labelled("depth").size == 0
    assert opened(world).labelled("segmentation").size == 0
    assert opened(world).label_space is None


@pytest.mark.parametrize("source", ["lidarseg", "panoptic"])
def test_classes_are_those_of_the_nearest_points(
    world: NuScenesSet, labelled: Any, source: str
) -> None:
    ids, _ = labelled
    if source == "panoptic":
        (world.root / "v1.0-mini" / "lidarseg.json").unlink()
    recording = opened(world)
    # At keyframes alone: between them nobody labelled points.
    assert recording.labelled("segmentation").tolist() == [0, 6]
    assert recording.label_space is not None
    assert list(recording.label_space.class_names) == CLASSES
    for index in (0, 6):
        found: Any = recording.read([index], ["segmentation", "depth"])[0]
        true = nearest(world, index)
        known = np.isfinite(found.depth)
        assert (found.segmentation[~known] == 255).all()
        for row, column in np.argwhere(known):
            numbers = true[int(row), int(column)]
            names = {NUSCENES_CATEGORIES.get(CATEGORIES[ids[index][n]]) for n in numbers}
            expected = {255 if name is None else CLASSES.index(name) for name in names}
            assert found.segmentation[row, column] in expected


def test_objects_are_those_of_the_nearest_points(world: NuScenesSet, labelled: Any) -> None:
    _, panoptic = labelled
    recording = opened(world)
    assert recording.labelled("instances").tolist() == [0, 6]
    found: Any = recording.read([6], ["instances", "depth"])[0]
    true = nearest(world, 6)
    for row, column in np.argwhere(np.isfinite(found.depth)):
        values = panoptic[6][true[int(row), int(column)]]
        assert found.instances[row, column] in {v if v % 1000 else 0 for v in values}
    assert (found.instances[~np.isfinite(found.depth)] == 0).all()


def test_classes_of_the_world_can_be_had(world: NuScenesSet, labelled: Any) -> None:
    own, other = opened(world), opened(world, "?classes=world")
    assert other.label_space is not None
    names = other.label_space.class_names
    a: Any = own.read([0], ["segmentation"])[0].segmentation
    b: Any = other.read([0], ["segmentation"])[0].segmentation
    assert {names[i] for i in b[a == CLASSES.index("driveable_surface")]} == {"road"}
    assert {names[i] for i in b[a == CLASSES.index("motorcycle")]} == {"cyclist"}
    assert set(b[a == CLASSES.index("traffic_cone")]) == {255}


def test_labels_of_another_number_of_points_are_named(world: NuScenesSet, labelled: Any) -> None:
    (file,) = write_labels(world, "lidarseg", {6: np.zeros(5)})
    with pytest.raises(UnreadableFrame, match=r"labels of 5 points; .* has ") as error:
        opened(world).read([6], ["segmentation"])
    assert str(file) in str(error.value)
    (file,) = write_labels(world, "panoptic", {6: np.zeros(5)})
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(UnreadableFrame, match=r"no whole \.npz"):
        opened(world).read([6], ["instances"])


def test_tables_without_lidarsegs_categories_are_named(world: NuScenesSet, labelled: Any) -> None:
    path = world.root / "v1.0-mini" / "category.json"
    before = path.read_text()
    rows = json.loads(before)
    del rows[3]["index"]
    try:
        path.write_text(json.dumps(rows))
        with pytest.raises(InputError, match=r"category.json: row .* has no index; unpack"):
            opened(world)
    finally:
        path.write_text(before)
