"""COCO's and YouTube-VIS' json: pictures and videos with the outlines of single objects.

    coco:DIR/annotations/instances_NAME.json     pictures in DIR/NAME or DIR/images/NAME
    youtube-vis:DIR/NAME.json                    pictures in DIR/NAME/JPEGImages
    youtube-vis:DIR/NAME/instances.json          pictures in DIR/NAME/JPEGImages

The option `pictures` names another folder. The pictures of one size in a COCO file are a recording,
as recordings have one size; they lie an hour apart, so that no clip is cut of unrelated pictures.
Each video of YouTube-VIS is a recording, and an object has one id through it. Crowds have a class
and no id. Pixels without an object are of a class of their own, the last one, so that a head learns
where objects end; with `classes=world`, which has no such class, they are unlabelled.
"""

from __future__ import annotations

import colorsys
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dino_foresight_ros.classes import CITYSCAPES_TO_WORLD, CLASS_IDS, UNLABELLED
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.outputs import INSTANCES, SEGMENTATION
from dino_foresight_ros.recordings.coco_masks import Outline, mask_of, parse_outline
from dino_foresight_ros.recordings.file_identity import files_identity
from dino_foresight_ros.recordings.folder import PictureRecording
from dino_foresight_ros.recordings.label_tables import WORLD_SPACE
from dino_foresight_ros.recordings.recording import LabelSpace, Recording, UnreadableFrame
from dino_foresight_ros.recordings.spec import Spec
from dino_foresight_ros.stamps import NS_PER_S

COCO, YOUTUBE_VIS = "coco", "youtube-vis"
YOUTUBE_VIS_RATE_HZ = 6.0
"""Every fifth frame of 30 Hz is labelled, and those are the pictures it comes with."""
PICTURE_DISTANCE_S = 3600
TO_WORLD: dict[str, str] = {
    **{name: names[0] for name, names in CITYSCAPES_TO_WORLD.items()},
    "stop sign": "sign",
    "sedan": "car",
    "motorbike": "cyclist",
}
"""Category, in lower case -> class of the synthetic world; other categories have none."""
BACKGROUND = "background"
"""Class of the pixels without an object."""
MAX_ID = int(np.iinfo(np.uint16).max)


@dataclass(frozen=True)
class ObjectOutline:
    """One object of one picture: `id` 0 for a crowd, `area` for the order of drawing."""

    id: int
    class_id: int
    area: float
    outline: Outline


class OutlinedPictures(PictureRecording):
    """One picture per frame, with outlines of objects that are drawn when labels are asked for."""

    def __init__(
        self,
        source: Path,
        root: Path,
        pictures: list[Path],
        name: str,
        stamps_ns: NDArray[np.int64],
        size: tuple[int, int],
        space: LabelSpace,
        objects: list[list[ObjectOutline]] | None,
    ) -> None:
        """Take the json (`source`), the folder and names of pictures, and the objects of each."""
        labelled = np.arange(len(pictures) if objects is not None else 0)
        super().__init__(
            root,
            pictures,
            name,
            stamps_ns,
            size,
            label_space=space,
            labelled={SEGMENTATION: labelled, INSTANCES: labelled},
            apply_orientation=False,
        )
        self.source = source
        self._objects = objects
        last = len(space.class_names) - 1
        self._elsewhere = last if space.class_names[last] == BACKGROUND else UNLABELLED

    def _labels(self, index: int, kinds: Collection[str]) -> dict[str, Any]:
        wanted = [kind for kind in (SEGMENTATION, INSTANCES) if kind in kinds]
        if self._objects is None or not wanted:
            return {}
        found: dict[str, Any] = {
            SEGMENTATION: np.full(self.size, self._elsewhere, np.uint8),
            INSTANCES: np.zeros(self.size, np.uint16),
        }
        # Where objects overlap the smaller one, which is mostly in front, stays whole.
        for one in sorted(self._objects[index], key=lambda one: (one.id > 0, -one.area, one.id)):
            try:
                mask = mask_of(one.outline, self.size)
            except ValueError as error:
                reason = f"object {one.id} in {self.source}: {error}"
                raise UnreadableFrame(str(self.pictures[index]), index, reason) from error
            found[SEGMENTATION][mask] = one.class_id
            found[INSTANCES][mask] = one.id
        return {kind: found[kind] for kind in wanted}

    def _fingerprint_parts(self) -> Iterable[str]:
        yield from super()._fingerprint_parts()
        yield repr(self.label_space)
        yield from files_identity([self.source], self.source.parent)


def open_coco(spec: Spec, on_warning: Callable[[str], None]) -> list[Recording]:
    """Open the pictures of a COCO json, a recording per size of picture.

    Raises:
        InputError: a json of another kind, unknown categories or pictures, none of them there.
    """
    file = _File(spec, ("images", "annotations", "categories"))
    name = spec.path.stem.removeprefix("instances_")
    parent = spec.path.parent
    root = _folder(spec, [parent.parent / name, parent.parent / "images" / name, parent / name])
    objects: dict[Any, list[ObjectOutline]] = defaultdict(list)
    images = file.by_id("images")
    for annotation in file.annotations():
        key = _id(annotation, "image_id")
        if key not in images:
            raise file.error(annotation, f"its image_id {key} is not among the images")
        number = 0 if annotation.get("iscrowd") else len(objects[key]) + 1
        objects[key] += file.object_of(annotation, annotation.get("segmentation"), number)
    sizes: dict[tuple[int, int], list[tuple[int, Any, Path]]] = defaultdict(list)
    there = _Missing(root)
    for place, (key, image) in enumerate(images.items()):
        path = root / file.text(image, "file_name")
        if there.is_there(path):
            sizes[file.size(image)].append((place, key, path))
    there.tell(on_warning)
    return [
        OutlinedPictures(
            spec.path,
            root,
            [path for _, _, path in some],
            f"{name}-{size[1]}x{size[0]}",
            np.array([place for place, _, _ in some], np.int64) * PICTURE_DISTANCE_S * NS_PER_S,
            size,
            file.space,
            [objects[key] for _, key, _ in some],
        )
        for size, some in sorted(sizes.items())
    ]


def open_youtube_vis(spec: Spec, on_warning: Callable[[str], None]) -> list[Recording]:
    """Open the videos of a YouTube-VIS json; without annotations they have no labels.

    Raises:
        InputError: a json of another kind, unknown categories or videos, no picture there.
    """
    file = _File(spec, ("videos", "categories"))
    rate_hz = spec.number("rate", YOUTUBE_VIS_RATE_HZ)
    assert rate_hz is not None
    parent = spec.path.parent
    root = _folder(spec, [parent / spec.path.stem / "JPEGImages", parent / "JPEGImages"])
    videos = file.by_id("videos")
    lengths = {key: len(file.names(video)) for key, video in videos.items()}
    objects: dict[Any, list[list[ObjectOutline]]] = {
        key: [[] for _ in range(length)] for key, length in lengths.items()
    }
    counts: dict[Any, int] = defaultdict(int)
    for annotation in file.annotations():
        key = _id(annotation, "video_id")
        if key is None or key not in objects:
            raise file.error(annotation, f"its video_id {key} is not among the videos")
        outlines = annotation.get("segmentations")
        if not isinstance(outlines, list) or len(outlines) != lengths[key]:
            raise file.error(annotation, f"its segmentations are not {lengths[key]}, one a frame")
        if not annotation.get("iscrowd"):
            counts[key] += 1
        number = 0 if annotation.get("iscrowd") else counts[key]
        for place, outline in enumerate(outlines):
            if outline is not None:
                objects[key][place] += file.object_of(annotation, outline, number, place)
    found: list[Recording] = []
    there = _Missing(root)
    for key, video in videos.items():
        pictures = [root / name for name in file.names(video)]
        places = [place for place, path in enumerate(pictures) if there.is_there(path)]
        if not places:
            continue
        some = [pictures[place] for place in places]
        stamps_ns = np.round(np.array(places) * (NS_PER_S / rate_hz)).astype(np.int64)
        of_frames = [objects[key][place] for place in places] if file.has_annotations else None
        name = f"{spec.path.stem}-{some[0].parent.name}"
        size = file.size(video)
        found.append(
            OutlinedPictures(spec.path, root, some, name, stamps_ns, size, file.space, of_frames)
        )
    there.tell(on_warning)
    return found


class _Missing:
    """Counts the pictures that are there and those that are not."""

    def __init__(self, root: Path) -> None:
        self._root, self._count, self._missing = root, 0, list[Path]()

    def is_there(self, path: Path) -> bool:
        self._count += 1
        if not path.is_file():
            self._missing.append(path)
            return False
        return True

    def tell(self, on_warning: Callable[[str], None]) -> None:
        """Raise InputError where all are missing."""
        if self._count == 0:
            raise InputError(f"{self._root}: the json names no pictures")
        if not self._missing:
            return
        line = f"{len(self._missing)} of {self._count} pictures are missing, such as "
        line += str(self._missing[0])
        if len(self._missing) == self._count:
            raise InputError(f"{line}; name their folder with the option pictures=DIR")
        on_warning(f"{line}; they are left out")


def _folder(spec: Spec, usual: list[Path]) -> Path:
    """Where the pictures lie: the option, or the first usual place that exists."""
    if "pictures" in spec.options:
        folder = Path(spec.options["pictures"]).expanduser()
        if not folder.is_dir():
            raise spec.error("pictures", "the folder that file_name of the json starts from")
        return folder
    return next((folder for folder in usual if folder.is_dir()), spec.path.parent)


class _File:
    """A json as it was read, with checks of what is taken from it."""

    def __init__(self, spec: Spec, tables: tuple[str, ...]) -> None:
        self.path = spec.path
        if spec.path.is_dir():
            raise InputError(f"{spec.path} is a folder; give the json, such as {spec.kind}:FILE")
        try:
            content = json.loads(spec.path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{spec.path} is no json that can be read: {error}") from error
        kind = _kind(content)
        if kind != spec.kind:
            other = f"; it looks like {kind}:{spec.path}" if kind else ""
            raise InputError(f"{spec.path} is no {spec.kind} json: it has no {tables[0]}{other}")
        self._content = content
        for table in tables:
            self._table(table)
        self.has_annotations = content.get("annotations") is not None
        is_world = spec.choice("classes", ("own", "world"), "own") == "world"
        self.space, self._classes = self._read_classes(is_world)

    def error(self, row: dict[str, Any], reason: str) -> InputError:
        """One line on an entry of the json."""
        return InputError(f"{self.path}: annotation {row.get('id')}: {reason}")

    def _table(self, name: str) -> list[dict[str, Any]]:
        table = self._content.get(name)
        if not isinstance(table, list) or not all(isinstance(row, dict) for row in table):
            raise InputError(f"{self.path}: {name} is missing or no list of objects")
        return table

    def by_id(self, name: str) -> dict[int, dict[str, Any]]:
        """Rows of a table by their ids, in rising order."""
        found: dict[int, dict[str, Any]] = {}
        for row in self._table(name):
            key = _id(row, "id")
            if key is None or key in found:
                raise InputError(f"{self.path}: {name} have the id {key} twice, or no whole number")
            found[key] = row
        return dict(sorted(found.items()))

    def annotations(self) -> list[dict[str, Any]]:
        """In the order of their ids, so that numbers do not depend on the order in the file."""
        return list(self.by_id("annotations").values()) if self.has_annotations else []

    def text(self, row: dict[str, Any], key: str) -> str:
        """A field that is a text."""
        return self._texts([row.get(key)], key)[0]

    def names(self, video: dict[str, Any]) -> list[str]:
        """Names of a video's pictures."""
        names = video.get("file_names")
        return self._texts(names if isinstance(names, list) else [None], "file_names")

    def _texts(self, values: list[Any], key: str) -> list[str]:
        if not all(isinstance(value, str) and value for value in values):
            raise InputError(f"{self.path}: an entry without {key}")
        return values

    def size(self, row: dict[str, Any]) -> tuple[int, int]:
        """(height, width)."""
        height, width = row.get("height"), row.get("width")
        if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
            return height, width
        raise InputError(f"{self.path}: entry {row.get('id')} has no height and width in pixels")

    def _read_classes(self, is_world: bool) -> tuple[LabelSpace, dict[Any, int]]:
        rows = self.by_id("categories")
        names = [self.text(row, "name") for row in rows.values()]
        if is_world:
            world = (TO_WORLD.get(name.lower()) for name in names)
            ids = [UNLABELLED if name is None else CLASS_IDS[name] for name in world]
            return WORLD_SPACE, dict(zip(rows, ids, strict=True))
        if not 0 < len(names) < UNLABELLED - 1:
            raise InputError(f"{self.path}: {len(names)} categories; 1 to {UNLABELLED - 2} can be")
        palette = (*_palette(len(names)), (0, 0, 0))
        space = LabelSpace((*names, BACKGROUND), palette, tuple(range(len(names))))
        return space, {key: index for index, key in enumerate(rows)}

    def object_of(
        self, annotation: dict[str, Any], stored: Any, number: int, place: int = 0
    ) -> list[ObjectOutline]:
        """The object of an annotation in one picture; none where its class has no counterpart."""
        category = _id(annotation, "category_id")
        if category not in self._classes:
            known = ", ".join(str(key) for key in list(self._classes)[:8])
            raise self.error(annotation, f"category_id {category} is unknown; known are {known}")
        if number > MAX_ID:
            raise self.error(annotation, f"more than {MAX_ID} objects in one picture")
        try:
            outline = parse_outline(stored)
        except ValueError as error:
            raise self.error(annotation, str(error)) from error
        if self._classes[category] == UNLABELLED:
            return []
        areas = annotation.get("areas", annotation.get("area"))
        area = areas[place] if isinstance(areas, list) and place < len(areas) else areas
        known_area = float(area) if isinstance(area, (int, float)) else 0.0
        return [ObjectOutline(number, self._classes[category], known_area, outline)]


def _id(row: dict[str, Any], key: str) -> int | None:
    value = row.get(key)
    return value if isinstance(value, int) else None


def _kind(content: Any) -> str:
    if not isinstance(content, dict):
        return ""
    return YOUTUBE_VIS if "videos" in content else COCO if "images" in content else ""


def _palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """Colours far apart for neighbours: hues by the golden ratio."""
    colours = (colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.75, 0.95) for index in range(count))
    return tuple((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colours)
