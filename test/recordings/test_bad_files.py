"""Damaged files are named once per reason, and counted."""

from __future__ import annotations

import pytest

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import BadFiles, UnreadableFrame


def test_files_with_one_reason_are_told_of_in_counts() -> None:
    told: list[str] = []
    bad = BadFiles(1000, limit=500, on_warning=told.append)
    for index in range(250):
        for _ in range(2):
            error = UnreadableFrame(
                f"set {index % 3}/labels/{index}.png", index, "colours, not ids"
            )
            bad.add(f"{error.file}: frame {index}", str(error))
        if index == 120:
            bad.add("x.png", "x.png is empty")
    assert len(bad) == 251
    assert len(told) == 4
    assert told[0].startswith("left out: set 0/labels/0.png: frame 0 cannot be read: colours")
    assert told[1].startswith(
        "left out so far: 10 for this reason, the last one set 0/labels/9.png"
    )
    assert told[2].startswith("left out so far: 100 for this reason, the last one ")
    assert told[3] == "left out: x.png is empty"


def test_too_many_are_an_error_with_the_first() -> None:
    bad = BadFiles(10, limit=2, on_warning=lambda text: None)
    for index in range(2):
        bad.add(f"a/{index}.png", "cut")
    with pytest.raises(InputError, match=r"more than 2 .* such as a/0.png: cut; a/1.png: cut; a/2"):
        bad.add("a/2.png", "cut")
