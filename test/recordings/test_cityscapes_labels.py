"""Cityscapes' labels beyond classes and disparity: normals, pseudo-depth, objects."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_data_sets import HEIGHT, WIDTH, write_ids, write_picture

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings import (
    LABEL_KINDS,
    Recording,
    UnreadableFrame,
    open_recordings,
)
from dino_foresight_ros.recordings.pixels import write_pixels

STEM = "aachen_000000_000019"


@pytest.fixture
def cityscapes(make_cityscapes: Callable[..., Path]) -> Path:
    """The layout with what a model said of one frame, and its objects."""
    root = make_cityscapes()
    ids = np.full((HEIGHT, WIDTH), 7, np.uint16)  # road
    ids[3:5, 7:9] = 26001
    ids[3:5, 30:40] = 26002
    ids[10:12] = 11  # a building without number
    write_ids(root / "gtFine" / "train" / "aachen" / f"{STEM}_gtFine_instanceIds.png", ids)
    levels = np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1))
    write_ids(root / "pseudo_depth" / "train" / "aachen" / f"{STEM}_depth.png", levels)
    write_picture(root / "normals" / "train" / "aachen" / f"{STEM}_normals.png", normals()[0])
    return root


def normals() -> tuple[np.ndarray, np.ndarray]:
    """Colours of the layout, and the vectors that they stand for."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(HEIGHT, WIDTH, 3))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    colours = np.round((vectors + 1) / 2 * 255).astype(np.uint8)
    colours[0] = 0  # unknown
    vectors[0] = np.nan
    return colours, vectors


def first(root: Path, options: str = "") -> Recording:
    return open_recordings([f"cityscapes:{root}{options}"])[0]


def test_normals_are_unit_vectors_in_the_optical_frame(cityscapes: Path) -> None:
    recording = first(cityscapes)
    assert recording.labelled("normals").tolist() == [19]
    (frame,) = recording.read([19], ["normals"])
    assert frame.normals is not None
    true = normals()[1]
    assert np.isnan(frame.normals[0]).all()
    # 8 bits: half a step of 2 / 255 in each of three directions.
    assert np.abs(frame.normals[1:] - true[1:]).max() < 0.008
    assert np.linalg.norm(frame.normals[1:], axis=-1) == pytest.approx(1, abs=1e-6)
    turned = first(cityscapes, "?normals_axes=opengl").read([19], ["normals"])[0].normals
    assert turned is not None
    assert np.array_equal(turned[1:], frame.normals[1:] * np.array([1, -1, -1], np.float32))
    assert first(cityscapes, "?normals=no").labelled("normals").size == 0
    with pytest.raises(UsageError, match="normals_axes=up is wrong; give one of optical, opengl"):
        first(cityscapes, "?normals_axes=up")


def test_pseudo_depth_is_inverse_depth_without_a_scale(cityscapes: Path) -> None:
    assert first(cityscapes).depth_is_metric
    recording = first(cityscapes, "?depth=pseudo")
    assert not recording.depth_is_metric
    (frame,) = recording.read([19], ["depth"])
    assert frame.depth is not None
    assert not frame.depth_is_metric
    assert not frame.labels.depth_is_metric
    assert np.isnan(frame.depth[:, 0]).all()
    assert np.array_equal(frame.depth[:, 1:], np.tile(np.arange(1.0, WIDTH), (HEIGHT, 1)))


def test_pseudo_depth_that_nobody_made_is_named(make_cityscapes: Callable[..., Path]) -> None:
    root = make_cityscapes()
    with pytest.raises(InputError, match="pseudo_depth/train holds no CITY_SEQUENCE_FRAME_depth"):
        first(root, "?depth=pseudo")


def test_objects_have_their_ids_and_all_else_none(cityscapes: Path) -> None:
    recording = first(cityscapes)
    assert recording.labelled("instances").tolist() == [19]
    (frame,) = recording.read([19], ["instances"])
    assert frame.instances is not None
    assert frame.instances.dtype == np.uint16
    expected = np.zeros((HEIGHT, WIDTH), np.uint16)
    expected[3:5, 7:9], expected[3:5, 30:40] = 26001, 26002
    assert np.array_equal(frame.instances, expected)


def test_labels_go_through_parts_pickles_and_pixel_stores(cityscapes: Path, tmp_path: Path) -> None:
    options = "?depth=pseudo&part=0.5-1"
    part = first(cityscapes, options)
    assert not part.depth_is_metric
    write_pixels(part, part.size, LABEL_KINDS, tmp_path / "store")
    (kept,) = open_recordings([f"pixels:{tmp_path / 'store'}"])
    assert not kept.depth_is_metric
    (place,) = part.labelled("instances")
    want: Any = part.read([place], LABEL_KINDS)[0]
    for other in (kept, pickle.loads(pickle.dumps(part))):
        got: Any = other.read([place], LABEL_KINDS)[0]
        assert not got.depth_is_metric
        assert np.array_equal(got.instances, want.instances)
        assert np.array_equal(got.depth, want.depth, equal_nan=True)
        assert np.nanmax(np.abs(got.normals - want.normals)) < 0.01


@pytest.mark.parametrize(
    ("file", "kind", "content", "text"),
    [
        ("normals/{}_normals.png", "normals", np.zeros((9, 9, 3)), "the label is 9x9, the picture"),
        ("normals/{}_normals.png", "normals", np.zeros((9, 9)), "no colours of 8 bits"),
        ("pseudo_depth/{}_depth.png", "depth", np.zeros((9, 9)), "the label is 9x9, the picture"),
        ("pseudo_depth/{}_depth.png", "depth", np.zeros((9, 9), np.uint16), "not 8 bits of"),
        ("gtFine/{}_gtFine_instanceIds.png", "instances", np.ones((9, 9)), "the label is 9x9"),
    ],
)
def test_file_of_another_kind_or_size_is_named(
    cityscapes: Path, file: str, kind: str, content: np.ndarray, text: str
) -> None:
    folder, name = file.split("/")
    path = cityscapes / folder / "train" / "aachen" / name.format(STEM)
    write_ids(path, content if content.dtype == np.uint16 else content.astype(np.uint8))
    with pytest.raises(UnreadableFrame, match=text) as error:
        first(cityscapes, "?depth=pseudo").read([19], [kind])
    assert str(path) in str(error.value)


def test_fingerprint_follows_how_labels_are_read(cityscapes: Path) -> None:
    prints = {
        first(cityscapes, options).fingerprint
        for options in ("", "?depth=pseudo", "?depth=no", "?normals_axes=opengl", "?normals=no")
    }
    assert len(prints) == 5
