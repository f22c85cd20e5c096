"""Paths from parameters: what can be none is refused before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from dino_foresight_ros.ros.parameters import path_problem


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("a\0b", "'a\\x00b' holds a control character"),
        ("models\n/etc/passwd", "holds a control character"),
        ("a" * 256, "is longer than a path can be"),
        ("ab/" * 1400, "is longer than a path can be"),
        ("\N{EURO SIGN}" * 90, "is longer than a path can be"),
        ("~nobody_of_that_name/model", "there is no such home folder"),
    ],
)
def test_what_can_be_no_path_is_refused(path: str, reason: str) -> None:
    problem = path_problem(path)
    assert problem is not None
    assert reason in problem
    assert "\n" not in problem
    assert len(problem) < 160


@pytest.mark.parametrize(
    "path", ["untrained-tiny", "hub:owner/name", "~/model", "/a b/c", "../x", "a" * 255]
)
def test_any_other_path_may_be_tried(path: str, tmp_path: Path) -> None:
    assert path_problem(path) is None
    if "/" not in path and len(path) == 255:
        (tmp_path / path).touch()  # the longest name that the file system takes
