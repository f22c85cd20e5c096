"""comma10k: masks of colours, the split by names, and one recording per picture."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dino_foresight_ros.classes import CLASS_IDS
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import Recording, UnreadableFrame, open_recordings
from dino_foresight_ros.training.data import ImageDataset
from dino_foresight_ros.training.data.split import scene_numbers, split_recordings

NAMES = ("road", "lane markings", "undrivable", "movable", "own car")


def segmentation(recording: Recording) -> np.ndarray:
    found = recording.read([0], ["segmentation"])[0].segmentation
    assert found is not None
    return found


def first_mask(root: Path) -> Path:
    return sorted((root / "masks").iterdir())[0]


def test_colours_are_classes_and_their_world_classes(
    make_comma10k: Callable[..., Path], world_frames: list
) -> None:
    root = make_comma10k()
    own = open_recordings([f"comma10k:{root}"])[1]
    world = open_recordings([f"comma10k:{root}?classes=world"])[1]
    stored = world_frames[1].segmentation % 5
    assert np.array_equal(segmentation(own), stored)
    table = np.array([CLASS_IDS["road"], CLASS_IDS["road_marking"], 255, CLASS_IDS["car"], 255])
    assert np.array_equal(segmentation(world), table[stored])
    assert own.label_space is not None
    assert own.label_space.class_names == NAMES
    assert own.label_space.moving == (3,)
    assert own.label_space.palette[3] == (0, 255, 102)
    assert own.fingerprint != world.fingerprint


def test_names_that_end_in_9_are_for_validation(make_comma10k: Callable[..., Path]) -> None:
    root = make_comma10k()

    def numbers(options: str = "", measures: bool = False) -> list[str]:
        found = open_recordings([f"comma10k:{root}{options}"], measures=measures)
        return [one.name.removeprefix("comma10k-")[:7].rpartition("_")[0] for one in found]

    val = ["0003", "0008"]
    train = [f"{i:04d}" for i in range(10) if i not in (3, 8)] + ["00000", "00000"]
    assert numbers() == numbers("?split=train") == train
    assert numbers(measures=True) == numbers("?split=val") == val
    assert sorted(numbers("?split=all")) == sorted(train + val)
    for name in ("0003", "0008"):
        for path in root.glob(f"*/{name}_*"):
            path.unlink()
    assert numbers(measures=True) == train  # all there is
    with pytest.raises(InputError, match="no pictures of split=val; the names of val end in 9"):
        numbers("?split=val")


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_masks_with_a_palette_or_transparency_are_read(
    mode: str, make_comma10k: Callable[..., Path], world_frames: list
) -> None:
    root = make_comma10k()
    picture = Image.open(first_mask(root))
    if mode == "P":
        picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=8).save(first_mask(root))
    else:
        picture.convert("RGBA").save(first_mask(root))
    assert Image.open(first_mask(root)).mode == mode
    recording = open_recordings([str(root)])[0]
    assert np.array_equal(segmentation(recording), world_frames[0].segmentation % 5)


def test_colours_outside_the_list_are_named_or_ignored_on_demand(
    make_comma10k: Callable[..., Path],
) -> None:
    root = make_comma10k()
    mask = np.array(Image.open(first_mask(root)))
    mask[0, :2] = (0x40, 0x20, 0x21), (255, 255, 255)
    Image.fromarray(mask).save(first_mask(root))
    recording = open_recordings([str(root)])[0]
    with pytest.raises(InputError) as caught:
        segmentation(recording)
    assert not isinstance(caught.value, UnreadableFrame)  # not one of a few bad files
    expected = f"{first_mask(root)} holds colours outside the list: #402021, #ffffff"
    assert expected in str(caught.value)
    for options in ("?unknown=ignore", "?unknown=ignore&classes=world"):
        lenient = open_recordings([f"comma10k:{root}{options}"])[0]
        assert segmentation(lenient)[0, :2].tolist() == [255, 255]


@pytest.mark.parametrize(("mode", "kind"), [("L", "PNG"), ("LA", "PNG"), ("CMYK", "TIFF")])
def test_masks_of_numbers_or_other_channels_are_refused(
    mode: str, kind: str, make_comma10k: Callable[..., Path]
) -> None:
    root = make_comma10k()
    Image.new(mode, (80, 48)).save(first_mask(root), kind)
    assert Image.open(first_mask(root)).mode == mode
    with pytest.raises(UnreadableFrame, match="numbers or other channels, not colours"):
        segmentation(open_recordings([str(root)])[0])


@pytest.mark.parametrize("pictures", ["imgs", "images"])
def test_a_folder_is_known_by_its_layout_and_names(
    pictures: str, make_comma10k: Callable[..., Path]
) -> None:
    root = make_comma10k(pictures=pictures)
    assert len(open_recordings([str(root)])) == 10
    for number, path in enumerate(sorted(root.glob("*/*.png"))):
        path.rename(path.with_name(f"holiday{number}.png"))
    assert {type(one).__name__ for one in open_recordings([str(root)])} == {"FolderRecording"}
    told: list[str] = []
    named = open_recordings([f"comma10k:{root}?split=all"], told.append)
    assert not any(one.labelled("segmentation").size for one in named)
    assert "is a label of a picture" in told[0]


def test_imgs_and_images_at_once_are_one_set(make_comma10k: Callable[..., Path]) -> None:
    root = make_comma10k()
    shutil.copytree(root / "imgs", root / "images")
    recordings = open_recordings([f"{root}?split=all"])
    assert len(recordings) == len({one.name for one in recordings}) == 12


@pytest.mark.parametrize("masks", ["masks", "masks2"])
def test_masks_of_no_picture_are_told_of_the_folder_that_holds_them(
    masks: str, make_comma10k: Callable[..., Path]
) -> None:
    root = make_comma10k()
    for path in (root / masks).iterdir():
        path.rename(path.with_name(f"mask_{path.name}"))
    told: list[str] = []
    open_recordings([f"{root}?split=all"], told.append)
    first = min(path.name for path in (root / masks.replace("masks", "imgs")).iterdir())
    (line,) = told
    assert line.startswith(f"{root / masks}: none of its ")
    assert f"such as {first}, and there is mask_" in line


def test_another_layout_and_damaged_pictures_are_told(
    tmp_path: Path, make_comma10k: Callable[..., Path]
) -> None:
    with pytest.raises(InputError, match=r"has not comma10k's layout: .*/imgs .* is missing"):
        open_recordings([f"comma10k:{tmp_path}"])
    root = make_comma10k()
    picture = sorted((root / "imgs").iterdir())[0]
    picture.write_bytes(b"no picture")
    told: list[str] = []
    assert len(open_recordings([str(root)], told.append)) == 9
    assert any(f"{picture} is no picture that can be read" in text for text in told)


def test_pictures_are_split_by_moment(make_comma10k: Callable[..., Path]) -> None:
    recordings = open_recordings([f"{make_comma10k()}?split=all"])
    assert len(recordings) == 12
    assert all(len(one) == 1 and one.stamps_ns.tolist() == [0] for one in recordings)
    numbers = scene_numbers(recordings)
    assert len(set(numbers)) == 11
    assert numbers[10] == numbers[11]  # two cameras saw it
    assert [one.labelled("segmentation").size for one in recordings] == [1] * 11 + [0]
    train, validation = split_recordings(recordings, 0.05, seed=0)
    assert len(train) + len(validation) == 12
    assert len(validation) in (1, 2)


def test_comma10k_and_the_world_train_one_head(make_comma10k: Callable[..., Path]) -> None:
    recordings = open_recordings(
        [f"comma10k:{make_comma10k()}?classes=world", "synthetic:?frames=3&size=48x80"]
    )
    assert len(ImageDataset(recordings, "segmentation", (48, 80))) == 9 + 3


def test_the_real_comma10k(shared_dir: Path) -> None:
    recordings = open_recordings([f"{shared_dir}/data/comma10k?split=all"])
    assert len(recordings) == 11
    assert [one.split for one in recordings].count("val") == 2
    for recording in recordings:
        assert recording.size == (874, 1164)
        shares = np.bincount(segmentation(recording).ravel(), minlength=256) / (874 * 1164)
        assert shares[:5].sum() == pytest.approx(1)
        assert 0.1 < shares[0] < 0.3  # road
        assert 0.2 < shares[4] < 0.35  # the own car's bonnet
