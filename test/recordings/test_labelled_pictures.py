"""CamVid and Cityscapes: which frames have labels, and what their ids mean."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from dino_foresight_ros.classes import CITYSCAPES_TO_WORLD, CLASS_IDS, WORLD_CLASSES
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import UnreadableFrame, open_recordings
from dino_foresight_ros.recordings.cityscapes import PAPER_INTERVALS_S
from dino_foresight_ros.training.data import ClipDataset, ImageDataset

# CamVid's ids and what they are in the world: sky, building, pole, road, pavement, tree, sign,
# fence, car, pedestrian, bicyclist.
CAMVID_AS_WORLD = [9, 3, 5, 0, 2, 7, 6, 4, 12, 10, 11]


def test_camvid_names_tell_sequence_and_time(make_camvid: Callable[..., Path]) -> None:
    first, second = open_recordings([f"camvid:{make_camvid()}"])
    assert (first.name, second.name) == ("camvid-train-0001TP", "camvid-train-0006R0")
    assert first.stamps_ns.tolist() == [(223 + i) * 10**9 for i in range(6)]
    assert second.stamps_ns.tolist() == [(31 + i) * 10**9 for i in range(4)]


def test_camvid_ids_and_their_world_classes(
    make_camvid: Callable[..., Path], world_frames: list
) -> None:
    root = make_camvid()
    own = open_recordings([f"camvid:{root}"])[0]
    world = open_recordings([f"camvid:{root}?classes=world"])[0]
    stored = world_frames[1].segmentation % 12
    found = own.read([1], ["segmentation"])[0].segmentation
    assert np.array_equal(found, np.where(stored == 11, 255, stored))
    table = np.array([*CAMVID_AS_WORLD, 255])
    assert np.array_equal(world.read([1], ["segmentation"])[0].segmentation, table[stored])
    assert own.label_space is not None
    assert own.label_space.class_names[8] == "Car"
    assert own.label_space.moving == (8, 9, 10)
    assert world.label_space is not None
    assert world.label_space.class_names == tuple(info.name for info in WORLD_CLASSES)
    assert own.fingerprint != world.fingerprint


def test_camvid_and_the_world_train_one_head(make_camvid: Callable[..., Path]) -> None:
    recordings = open_recordings(
        [f"camvid:{make_camvid()}?classes=world&split=all", "synthetic:?frames=3&size=48x80"]
    )
    dataset = ImageDataset(recordings, "segmentation", (48, 80))
    assert len(dataset) == 6 + 4 + 3 + 3


def test_frames_without_labels_are_frames_all_the_same(make_camvid: Callable[..., Path]) -> None:
    root = make_camvid()
    labels = sorted((root / "train" / "labels").glob("0001TP*"))
    labels[2].unlink()
    recording = open_recordings([str(root)])[0]
    assert len(recording) == 6
    assert recording.labelled("segmentation").tolist() == [0, 1, 3, 4, 5]
    assert recording.read([2], ["segmentation"])[0].segmentation is None


def test_ids_outside_the_list_are_named_or_ignored_on_demand(
    make_camvid: Callable[..., Path],
) -> None:
    root = make_camvid()
    path = sorted((root / "train" / "labels").glob("0001TP*"))[2]
    ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    ids[0, :2] = 13, 77
    cv2.imwrite(str(path), ids)
    recording = open_recordings([str(root)])[0]
    with pytest.raises(InputError) as caught:
        recording.read([2], ["segmentation"])
    assert not isinstance(caught.value, UnreadableFrame)  # not one of a few bad files
    assert f"{path} holds class ids outside the list: 13, 77" in str(caught.value)
    assert "?unknown=ignore" in str(caught.value)
    assert "&unknown=ignore behind other options" in str(caught.value)
    recording.read([2])  # the picture is fine
    lenient = open_recordings([f"camvid:{root}?unknown=ignore"])[0]
    found = lenient.read([2], ["segmentation"])[0].segmentation
    assert found is not None
    assert found[0, :2].tolist() == [255, 255]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "not a whole label picture"),
        (lambda path: path.write_bytes(b""), "not a whole label picture"),
        (lambda path: cv2.imwrite(str(path), np.zeros((48, 80, 3), np.uint8)), "colours"),
        (lambda path: cv2.imwrite(str(path), np.zeros((48, 80), np.uint16)), "16 values"),
        (lambda path: cv2.imwrite(str(path), np.zeros((24, 40), np.uint8)), "the label is 40x24"),
    ],
)
def test_damaged_labels_are_named(
    damage: Callable[[Path], None], reason: str, make_camvid: Callable[..., Path]
) -> None:
    root = make_camvid()
    path = sorted((root / "train" / "labels").glob("0001TP*"))[1]
    damage(path)
    recording = open_recordings([str(root)])[0]
    with pytest.raises(UnreadableFrame, match=rf"{path}: frame 1 cannot be read: .*{reason}"):
        recording.read([1], ["segmentation"])


def test_strange_camvid_names_are_told(make_camvid: Callable[..., Path]) -> None:
    root = make_camvid()
    images = root / "train" / "images"
    first = sorted(images.iterdir())[0]
    shutil.copy(first, images / "holiday.jpg")
    shutil.copy(first, images / f"{first.stem}.png")
    warnings: list[str] = []
    assert len(open_recordings([str(root)], warnings.append)[0]) == 6
    assert "2 pictures left out" in warnings[0]


def test_labels_of_other_names_are_told_with_the_name_that_is_expected(
    make_camvid: Callable[..., Path], make_cityscapes: Callable[..., Path]
) -> None:
    labels = make_camvid() / "train" / "labels"
    files = sorted(labels.iterdir())
    stem = files[0].stem
    for file in files:
        file.rename(file.with_name(f"{file.stem}_L.png"))
    told: list[str] = []
    open_recordings([str(labels.parents[1])], told.append)
    assert told == [
        f"{labels}: none of its {len(files)} files is a label of a picture; expected is a name "
        f"such as {stem}.png, and there is {stem}_L.png"
    ]
    told.clear()
    root = make_cityscapes()
    for file in root.glob("gtFine/*/*/*"):
        file.rename(file.with_name(file.name.replace("_gtFine_label", "_gtCoarse_label")))
    open_recordings([str(root)], told.append)
    assert any("_gtFine_labelIds.png, and there is " in text for text in told)
    assert all("_gtCoarse_label" in text for text in told)


def test_the_real_camvid(shared_dir: Path) -> None:
    recordings = open_recordings([f"camvid:{shared_dir}/data/camvid?split=all&classes=world"])
    assert sum(len(recording) for recording in recordings) == 600
    for recording in recordings:
        assert len(recording.labelled("segmentation")) == len(recording)
        assert recording.size == (360, 480)
        frames = recording.read([0, len(recording) // 2], ["segmentation"])
        shares = [np.mean(frame.segmentation == CLASS_IDS["road"]) for frame in frames]
        assert all(0.08 < share < 0.6 for share in shares)


def test_snippets_of_cityscapes(make_cityscapes: Callable[..., Path]) -> None:
    root = make_cityscapes()
    found = open_recordings([f"cityscapes:{root}"])
    assert [recording.name for recording in found] == [
        "aachen_000000_000000",
        "aachen_000001_000000",
        "hanover_000000_000145",
        "hanover_000000_000362",
    ]
    for recording in found:
        assert len(recording) == 30
        assert np.diff(recording.stamps_ns) == pytest.approx(1e9 / 17, abs=1)
        assert recording.labelled("segmentation").tolist() == [19]
        assert recording.labelled("depth").tolist() == [19]
    assert [r.name for r in open_recordings([f"{root}?split=val"])] == ["lindau_000000_000000"]
    assert len(open_recordings([f"{root}?split=all"])) == 5


@pytest.mark.parametrize("train_ids", [False, True])
def test_cityscapes_ids_and_their_world_classes(
    train_ids: bool, make_cityscapes: Callable[..., Path], world_frames: list
) -> None:
    root = make_cityscapes(train_ids=train_ids)
    own = open_recordings([str(root)])[0]
    expected = (world_frames[19 % 12].segmentation % 19).astype(np.uint8)
    expected[0, 0] = 255
    found = own.read([19], ["segmentation"])[0].segmentation
    if not train_ids:  # 255 was written as label id 0, which is unlabelled
        assert found is not None
        assert found[0, 0] == 255
    assert np.array_equal(found, expected)
    world = open_recordings([f"{root}?classes=world"])[0]
    assert own.label_space is not None
    names = own.label_space.class_names
    to_world = {
        i: CLASS_IDS[CITYSCAPES_TO_WORLD[n][0]] for i, n in enumerate(names) if n != "train"
    }
    ids = world.read([19], ["segmentation"])[0].segmentation
    for index in np.unique(expected[expected != 255]):
        assert set(ids[expected == index]) == {to_world[int(index)]}


def test_cityscapes_depth_from_disparity(make_cityscapes: Callable[..., Path]) -> None:
    root = make_cityscapes()
    depth = open_recordings([str(root)])[0].read([19], ["depth"])[0].depth
    assert depth is not None
    assert np.isnan(depth[0]).all()
    assert depth[1:] == pytest.approx(2.0 * 10.0 / 4.0)  # baseline x focal length / 4 px
    assert not len(open_recordings([f"{root}?depth=no"])[0].labelled("depth"))
    for path in root.rglob("*_camera.json"):
        path.write_text(json.dumps({"intrinsic": {}}))
    warnings: list[str] = []
    assert not len(open_recordings([str(root)], warnings.append)[0].labelled("depth"))
    assert "4 disparities without a readable camera file give no depth" in warnings[0]


def test_cityscapes_camera_files_tell_the_camera(make_cityscapes: Callable[..., Path]) -> None:
    root = make_cityscapes()
    assert open_recordings([str(root)])[0].camera is None  # files with fx alone
    # As the data set's own, of pictures that were made smaller.
    shown = {"fx": 2262.52, "fy": 2265.3017905988554, "u0": 1096.98, "v0": 513.137}
    for path in root.rglob("*_camera.json"):
        path.write_text(json.dumps({"extrinsic": {"baseline": 0.209313}, "intrinsic": shown}))
    for path in root.rglob("*_leftImg8bit.png"):
        cv2.imwrite(str(path), np.zeros((64, 128, 3), np.uint8))
    one, other, *_, last = open_recordings([f"{root}?depth=no"])
    assert one.camera is not None
    # A point 10 m ahead and 1 m to the right is 226.252 px right of the centre in 2048.
    at_128 = one.camera.resized(64, 128)
    assert at_128.k[0] / 10 == pytest.approx(226.252 / 16)
    assert at_128.k[2] == pytest.approx((1096.98 + 0.5) / 16 - 0.5)
    assert one.focal == pytest.approx(np.sqrt(2262.52 * 2265.3018 / (2048 * 1024)))
    assert last.focal == one.focal
    next(root.rglob("camera/train/aachen/*_000000_*.json")).write_text("{")
    first, second, *_ = open_recordings([f"{root}?depth=no"])
    assert (first.camera, second.camera) == (None, one.camera)
    # Pixel stores keep the camera: of a recording without it they have other data.
    assert first.fingerprint != one.fingerprint
    assert second.fingerprint == other.fingerprint


def test_fields_of_cityscapes_camera_files_that_are_no_numbers_cost_nothing_else(
    make_cityscapes: Callable[..., Path],
) -> None:
    root = make_cityscapes()
    numbers = {"fx": 10.0, "fy": 10, "u0": 1024.0, "v0": 512.0}
    for path in root.rglob("*_camera.json"):
        extrinsic = {"baseline": 2.0, "note": "measured anew", "roll": None}
        path.write_text(json.dumps({"extrinsic": extrinsic, "intrinsic": numbers}))
    found = open_recordings([str(root)])[0]
    assert found.camera is not None
    assert found.camera.k[0] == 10.0
    for path in root.rglob("*_camera.json"):
        text = json.dumps({"extrinsic": {"baseline": 2.0}, "intrinsic": {**numbers, "fy": "?"}})
        path.write_text(text)
    found = open_recordings([str(root)])[0]
    assert found.camera is None
    depth = found.read([19], ["depth"])[0].depth
    assert depth is not None
    assert depth[1:] == pytest.approx(2.0 * 10.0 / 4.0)


def test_the_papers_clips_end_at_the_labelled_frame(make_cityscapes: Callable[..., Path]) -> None:
    recordings = open_recordings([f"cityscapes:{make_cityscapes()}"])
    dataset = ClipDataset(
        recordings, PAPER_INTERVALS_S[1:2], 4, 1, (24, 40), labels=["segmentation"]
    )
    assert len(dataset) == 4
    assert dataset[0]["source"] == "aachen_000000_000000 frames 7, 10, 13, 16, 19"


def test_single_pictures_where_there_are_no_sequences(
    make_cityscapes: Callable[..., Path],
) -> None:
    root = make_cityscapes()
    for path in (root / "leftImg8bit_sequence").rglob("*.png"):
        if int(path.name.split("_")[2]) % 10 != 9 or "000009" in path.name:
            path.unlink()
    (root / "leftImg8bit_sequence").rename(root / "leftImg8bit")
    shutil.rmtree(root / "leftImg8bit" / "train" / "hanover")
    found = open_recordings([str(root)])
    assert sum(len(recording.labelled("segmentation")) for recording in found) == 2


def test_a_folder_that_only_looks_like_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "leftImg8bit_sequence" / "train" / "aachen").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no pictures CITY_SEQUENCE_FRAME"):
        open_recordings([str(tmp_path)])
    for kind in ("camvid", "nuscenes"):
        with pytest.raises(InputError, match=r"layout: .* is missing"):
            open_recordings([f"{kind}:{tmp_path}"])
