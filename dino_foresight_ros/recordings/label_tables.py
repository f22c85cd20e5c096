"""Label pictures, and tables that translate their numbers into class ids."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dino_foresight_ros.classes import (
    CLASS_IDS,
    MOVING_CLASS_IDS,
    UNLABELLED,
    WORLD_CLASSES,
)
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings.recording import LabelSpace, UnreadableFrame
from dino_foresight_ros.recordings.spec import Spec

WORLD_SPACE = LabelSpace(
    class_names=tuple(info.name for info in WORLD_CLASSES),
    palette=tuple(info.color for info in WORLD_CLASSES),
    moving=MOVING_CLASS_IDS,
)


Colour: TypeAlias = tuple[int, int, int]
"""(r, g, b), 0 to 255."""
_PACK = np.array([1 << 16, 1 << 8, 1], np.int32)


class LabelTable:
    """Translates the ids in label pictures to those of a label space.

    Ids outside the data set's list are an error, because they mean that the labels are of another
    kind than thought; with `ignore_unknown` they become 255 (unlabelled).
    """

    def __init__(
        self,
        space: LabelSpace,
        ids: Mapping[int, int],
        unlabelled: Sequence[int] = (),
        *,
        ignore_unknown: bool = False,
    ) -> None:
        """Take `ids`: stored id -> id of `space`; `unlabelled`: stored ids without a class."""
        self.space = space
        self._table = np.full(256, UNLABELLED, np.uint8)
        self._known = np.zeros(256, np.bool_)
        for stored, wanted in ids.items():
            self._table[stored] = wanted
        self._known[[*ids, *unlabelled, UNLABELLED]] = True
        self._ignore_unknown = ignore_unknown

    def __repr__(self) -> str:
        """What decides how ids are translated."""
        ids = {int(i): int(self._table[i]) for i in np.flatnonzero(self._known)}
        return f"<LabelTable {ids}>"

    def translate(self, stored: NDArray[np.uint8], file: Path) -> NDArray[np.uint8]:
        """Return the ids of the space, same shape.

        Raises:
            InputError: ids outside the list; names the file and the ids.
        """
        if not self._ignore_unknown:
            present = np.bincount(stored.reshape(-1), minlength=256) > 0
            unexpected = np.flatnonzero(present & ~self._known)
            if unexpected.size:
                raise _outside_the_list(file, "class ids", [str(value) for value in unexpected])
        return self._table[stored]

    def translate_colours(
        self, picture: NDArray[np.uint8], colours: Sequence[Colour], file: Path
    ) -> NDArray[np.uint8]:
        """Return the ids of the space (H, W) of a picture of colours (H, W, 3), red first.

        Args:
            picture: with nothing but the colours in it.
            colours: the colour of each stored id.
            file: which holds the picture.

        Raises:
            InputError: colours outside the list; names the file and the colours.
        """
        packed = picture.astype(np.int32) @ _PACK
        stored = np.full(packed.shape, UNLABELLED, np.uint8)
        for place, colour in enumerate(colours):
            stored[packed == np.dot(colour, _PACK)] = place
        if not self._ignore_unknown:
            unexpected = np.unique(packed[stored == UNLABELLED])
            if unexpected.size:
                raise _outside_the_list(file, "colours", [f"#{value:06x}" for value in unexpected])
        return self._table[stored]

    def to_world(self, names: Mapping[str, Sequence[str]], ignore_unknown: bool) -> LabelTable:
        """Return the table onto the classes of the synthetic world; classes without one: 255."""
        own = self.space.class_names
        world = {
            index: CLASS_IDS[names[name][0]] for index, name in enumerate(own) if name in names
        }
        ids = {
            int(stored): world.get(int(self._table[stored]), UNLABELLED)
            for stored in np.flatnonzero(self._known)
        }
        return LabelTable(WORLD_SPACE, ids, ignore_unknown=ignore_unknown)


def table_of(
    spec: Spec,
    space: LabelSpace,
    ids: Mapping[int, int],
    to_world: Mapping[str, Sequence[str]],
    unlabelled: Sequence[int] = (),
) -> LabelTable:
    """The table of a data set that its options `unknown` and `classes` ask for.

    Args:
        spec: with the options.
        space, ids, unlabelled: as `LabelTable` has them, of the data set's own classes.
        to_world: as `LabelTable.to_world` has it.

    Raises:
        UsageError: a bad option.
    """
    ignore = spec.choice("unknown", ("refuse", "ignore"), "refuse") == "ignore"
    table = LabelTable(space, ids, unlabelled, ignore_unknown=ignore)
    if spec.choice("classes", ("own", "world"), "own") == "world":
        return table.to_world(to_world, ignore)
    return table


def _outside_the_list(file: Path, what: str, values: Sequence[str]) -> InputError:
    return InputError(
        f"{file} holds {what} outside the list: {', '.join(values[:8])}; mend the labels, or take "
        "such pixels as unlabelled with the option unknown=ignore "
        "(DIR?unknown=ignore, or &unknown=ignore behind other options)"
    )


def read_label_picture(path: Path, index: int) -> NDArray[Any]:
    """Read a label picture (H, W), uint8 or uint16, palette indices as they are.

    Raises:
        UnreadableFrame: a damaged file, or one with colours instead of numbers.
    """
    found = _read(path, index)
    if found.ndim != 2:
        raise UnreadableFrame(str(path), index, "colours, not class ids; give the id pictures")
    return found


def read_vectors(path: Path, index: int) -> NDArray[np.uint8]:
    """Read a picture of vectors (H, W, 3) uint8, red first.

    Raises:
        UnreadableFrame: a damaged file, or one of other values.
    """
    found = _read(path, index)
    if found.ndim != 3 or found.shape[2] < 3 or found.dtype != np.uint8:
        raise UnreadableFrame(str(path), index, "no colours of 8 bits, which vectors are kept as")
    return found[..., :3]


def read_class_colours(
    path: Path, index: int, table: LabelTable, colours: Sequence[Colour]
) -> NDArray[np.uint8]:
    """Read a picture of classes as colours (H, W) and translate it; transparency does not count.

    Raises:
        UnreadableFrame: a damaged file, or one with numbers or other channels (CMYK, grey and
            alpha) instead of red, green and blue.
        InputError: colours outside the list.
    """
    found = _read(path, index, as_colours=True)
    if found.ndim != 3 or found.shape[2] != 3 or found.dtype != np.uint8:
        reason = "numbers or other channels, not colours of red, green and blue"
        raise UnreadableFrame(str(path), index, reason)
    return table.translate_colours(found, colours, path)


def _read(path: Path, index: int, as_colours: bool = False) -> NDArray[Any]:
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(path.read_bytes())) as picture:
            warnings.simplefilter("ignore")
            has_colours = as_colours and picture.mode in ("P", "PA", "RGBA")
            found = np.asarray(picture.convert("RGB") if has_colours else picture)
    except OSError as error:
        reason = error.strerror or "not a whole label picture"
        raise UnreadableFrame(str(path), index, reason) from error
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableFrame(str(path), index, "not a whole label picture") from error
    return found


def read_class_ids(path: Path, index: int, table: LabelTable) -> NDArray[np.uint8]:
    """Read a picture of class ids (H, W) and translate them; errors as in the two above."""
    stored = read_label_picture(path, index)
    if stored.dtype != np.uint8:
        raise UnreadableFrame(str(path), index, f"{stored.dtype} values, not 8-bit class ids")
    return table.translate(stored.astype(np.uint8, copy=False), path)
