"""COCO's and YouTube-VIS' json as recordings, on tiny data in their layouts."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_data_sets import write_picture

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.recordings import Frame, Recording, UnreadableFrame, open_recordings
from dino_foresight_ros.recordings import coco as coco_module
from dino_foresight_ros.recordings.coco_masks import decode_runs, fill_runs, mask_of, parse_outline

SIZE = (12, 16)
CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}, {"id": 1, "name": "person"}]


def box(x: int, y: int, width: int, height: int) -> list[list[int]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def inside(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + height, x : x + width] = True
    return mask


def picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    write_picture(path, np.full((*size, 3), 90, np.uint8))


def annotation(number: int, image: int, category: int, outline: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": outline,
        "area": 1.0,
        "iscrowd": 0,
        **more,
    }


def coco_json() -> dict[str, Any]:
    """Two pictures of one size, one of another; a box, runs, a crowd, an overlap."""
    row = {"height": SIZE[0], "width": SIZE[1]}
    # Down the columns: 3 columns outside, the 4th inside, the rest outside.
    crowd = {"size": list(SIZE), "counts": [36, 12, 144]}
    return {
        "images": [
            {"id": 7, "file_name": "b.png", **row},
            {"id": 5, "file_name": "a.png", **row},
            {"id": 9, "file_name": "c.png", "height": 8, "width": 10},
        ],
        "annotations": [
            annotation(30, 5, 3, box(5, 2, 8, 6), area=48.0),
            annotation(20, 5, 1, box(6, 4, 2, 5), area=10.0),
            annotation(40, 5, 1, crowd, iscrowd=1, area=12.0),
            annotation(50, 5, 18, box(14, 0, 2, 2), area=4.0),
        ],
        "categories": CATEGORIES,
    }


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        picture(tmp_path / "val2017" / f"{name}.png")
    picture(tmp_path / "val2017" / "c.png", (8, 10))
    return write(tmp_path / "annotations" / "instances_val2017.json", coco_json())


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def read(recording: Recording, index: int = 0) -> Frame:
    return recording.read([index], ["segmentation", "instances"])[0]


def test_objects_of_coco_have_classes_and_ids(coco: Path) -> None:
    small, large = open_recordings([f"coco:{coco}"])
    assert (small.name, small.size) == ("val2017-10x8", (8, 10))
    assert (large.name, large.size) == ("val2017-16x12", SIZE)
    assert large.label_space is not None
    assert large.label_space.class_names == ("person", "car", "dog", "background")
    assert large.label_space.moving == (0, 1, 2)
    assert large.labelled("instances").tolist() == large.labelled("segmentation").tolist() == [0, 1]
    assert np.diff(large.stamps_ns).min() >= 3600 * 10**9
    frame = read(pickle.loads(pickle.dumps(large)))
    ids, classes = np.zeros(SIZE, np.uint16), np.full(SIZE, 3, np.uint8)
    classes[:, 3] = 0  # the crowd
    ids[inside(5, 2, 8, 6)], classes[inside(5, 2, 8, 6)] = 2, 1
    ids[inside(6, 4, 2, 5)], classes[inside(6, 4, 2, 5)] = 1, 0
    ids[inside(14, 0, 2, 2)], classes[inside(14, 0, 2, 2)] = 4, 2
    assert np.array_equal(frame.segmentation, classes)
    assert np.array_equal(frame.instances, ids)
    assert frame.instances is not None
    assert frame.instances.dtype == np.uint16
    empty = read(large, 1)
    assert empty.instances is not None
    assert empty.segmentation is not None
    assert not empty.instances.any()
    assert (empty.segmentation == 3).all(), "known to hold no object"


def test_world_classes_leave_out_what_has_none(coco: Path) -> None:
    recording = open_recordings([f"coco:{coco}?classes=world"])[1]
    assert recording.label_space is not None
    names = recording.label_space.class_names
    frame = read(recording)
    assert frame.segmentation is not None
    assert frame.instances is not None
    assert {names[i] for i in np.unique(frame.segmentation) if i != 255} == {"car", "pedestrian"}
    assert frame.instances[0, 15] == 0
    with pytest.raises(UsageError, match="classes=all is wrong; give one of own, world"):
        open_recordings([f"coco:{coco}?classes=all"])


def vis_json() -> dict[str, Any]:
    names = [f"cafe/{i:05d}.png" for i in (0, 5, 10)]
    row = {"height": SIZE[0], "width": SIZE[1], "length": 3}
    outlines = [box(x, 3, 3, 3) for x in (1, 3, 5)]
    fixed = {"size": list(SIZE), "counts": [0, 12, 180]}
    objects = [(8, 3, [None, *outlines[1:]]), (6, 1, [fixed, None, fixed])]
    return {
        "videos": [{"id": 1, "file_names": names, **row}],
        "annotations": [
            {"id": i, "video_id": 1, "category_id": c, "segmentations": s, "areas": [4, None, 4]}
            for i, c, s in objects
        ],
        "categories": CATEGORIES,
    }


@pytest.fixture
def youtube_vis(tmp_path: Path) -> Path:
    for name in vis_json()["videos"][0]["file_names"]:
        picture(tmp_path / "train" / "JPEGImages" / name)
    return write(tmp_path / "train.json", vis_json())


def test_objects_of_a_video_keep_their_ids(youtube_vis: Path) -> None:
    (recording,) = open_recordings([f"youtube-vis:{youtube_vis}"])
    assert recording.name == "train-cafe"
    assert recording.stamps_ns.tolist() == [0, 166_666_667, 333_333_333]
    for index, x in enumerate((None, 3, 5)):
        expected = np.zeros(SIZE, np.uint16)
        if index != 1:
            expected[:, 0] = 1
        if x is not None:
            expected[inside(x, 3, 3, 3)] = 2
        assert np.array_equal(read(recording, index).instances, expected)
    (slow,) = open_recordings([f"youtube-vis:{youtube_vis}?rate=2"])
    assert slow.stamps_ns.tolist() == [0, 500_000_000, 1_000_000_000]


def test_videos_without_annotations_have_no_labels(youtube_vis: Path) -> None:
    content = vis_json()
    del content["annotations"]
    (recording,) = open_recordings([f"youtube-vis:{write(youtube_vis, content)}"])
    assert recording.labelled("instances").size == 0
    assert read(recording).instances is None


def test_missing_pictures_are_told(coco: Path, tmp_path: Path) -> None:
    (tmp_path / "val2017" / "a.png").unlink()
    warnings: list[str] = []
    found = open_recordings([f"coco:{coco}"], warnings.append)
    assert [len(one) for one in found] == [1, 1]
    assert len(warnings) == 1
    assert "1 of 3 pictures are missing, such as" in warnings[0]
    with pytest.raises(InputError, match=r"3 of 3 pictures are missing.*pictures=DIR"):
        open_recordings([f"coco:{coco}?pictures={coco.parent}"])
    with pytest.raises(UsageError, match="pictures=nowhere is wrong; give the folder"):
        open_recordings([f"coco:{coco}?pictures=nowhere"])


def test_more_objects_than_ids_are_refused(coco: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An id has 16 bits; a picture of 65536 objects would be slow to make."""
    monkeypatch.setattr(coco_module, "MAX_ID", 1)
    with pytest.raises(InputError, match=r"annotation \d+: more than 1 objects in one picture"):
        open_recordings([f"coco:{coco}"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 4}, "annotation 30: category_id 4 is unknown; known are 1, 3, 18"),
        ({"image_id": [5]}, "annotation 30: its image_id None is not among the images"),
        ({"segmentation": None}, "annotation 30: its segmentation is neither"),
        ({"segmentation": [[1, 2, 3]]}, "annotation 30: a polygon is not x, y of at least three"),
        ({"segmentation": {"counts": "1"}}, "annotation 30: its run lengths have no size"),
        ({"id": 20}, "annotations have the id 20 twice"),
    ],
)
def test_a_bad_annotation_is_named(coco: Path, change: dict[str, Any], message: str) -> None:
    content = coco_json()
    content["annotations"][0].update(change)
    with pytest.raises(InputError, match=message) as error:
        open_recordings([f"coco:{write(coco, content)}"])
    assert "\n" not in str(error.value)


def test_a_json_of_another_kind_is_refused(coco: Path, youtube_vis: Path) -> None:
    with pytest.raises(InputError, match="it has no images; it looks like youtube-vis:"):
        open_recordings([f"coco:{youtube_vis}"])
    with pytest.raises(InputError, match="it has no videos; it looks like coco:"):
        open_recordings([f"youtube-vis:{coco}"])
    with pytest.raises(InputError, match="is a folder; give the json"):
        open_recordings([f"coco:{coco.parent}"])
    coco.write_text("{")
    with pytest.raises(InputError, match="is no json that can be read"):
        open_recordings([f"coco:{coco}"])


def test_runs_that_do_not_fill_the_picture_name_it(coco: Path) -> None:
    content = coco_json()
    content["annotations"][0]["segmentation"] = {"size": list(SIZE), "counts": [4]}
    recording = open_recordings([f"coco:{write(coco, content)}"])[1]
    with pytest.raises(UnreadableFrame, match=r"a\.png.*run lengths do not fill 16x12"):
        read(recording)


def compressed(runs: list[int]) -> str:
    """COCO's text, written from its description: bits of two's complement, five at a time."""
    text = ""
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        groups = 1
        while not -(1 << (5 * groups - 1)) <= value < 1 << (5 * groups - 1):
            groups += 1
        bits = format(value % (1 << 5 * groups), f"0{5 * groups}b")
        parts = [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)][::-1]
        text += "".join(chr(48 + part + 32 * (i < groups - 1)) for i, part in enumerate(parts))
    return text


def test_compressed_runs() -> None:
    # By hand: 6 -> '6'; 1 -> '1'; 40 = 01000 + 1 * 32 -> 'X1'; 4, 3 more than 1 -> '3';
    # 38, 2 less than 40 -> 30 with the sign -> 'N'.
    assert decode_runs("61X13N").tolist() == [6, 1, 40, 4, 38]
    # As pycocotools 2.0.11 encodes a disc and two boxes.
    rows, columns = np.mgrid[:100, :120]
    disc = (rows - 50) ** 2 + (columns - 60) ** 2 < 9
    assert np.array_equal(fill_runs(decode_runs("hf55o20000000d`5"), disc.shape), disc)
    boxes = inside(5, 2, 8, 6) | inside(1, 9, 1, 1)
    assert np.array_equal(fill_runs(decode_runs("e01X15nN0000000000000R1"), SIZE), boxes)
    rng = np.random.default_rng(0)
    for _ in range(30):
        runs = rng.integers(0, 10 ** rng.integers(1, 7), 12).tolist()
        assert decode_runs(compressed(runs)).tolist() == runs
    for text, message in (("X", "middle of a number"), ("1 ", "no character"), ("N", "impossible")):
        with pytest.raises(ValueError, match=message):
            decode_runs(text)
    with pytest.raises(ValueError, match="do not fill"):
        fill_runs([-1, 5], (2, 2))


def test_polygons_hold_the_pixels_whose_centres_lie_inside() -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        points = rng.uniform(-4, 20, (5, 2))
        mask = mask_of(parse_outline([points.reshape(-1).tolist()]), SIZE)
        for y, x in np.ndindex(SIZE):
            angles = np.array([complex(*(p - (x + 0.5, y + 0.5))) for p in points])
            # Times around the centre; an odd number is inside.
            turns = np.angle(np.roll(angles, -1) / angles).sum() / (2 * np.pi)
            assert mask[y, x] == (round(turns) % 2 == 1)
    two = mask_of(parse_outline([*box(0, 0, 4, 4), *box(2, 2, 4, 4)]), SIZE)
    assert np.array_equal(two, inside(0, 0, 4, 4) | inside(2, 2, 4, 4))
