"""Sizes in words."""

from __future__ import annotations

import argparse

import pytest

from dino_foresight_ros.cli.train.arguments import image_size
from dino_foresight_ros.picture_size import parse_sides


def test_two_whole_numbers_above_zero_are_a_size() -> None:
    assert parse_sides("224x448") == (224, 448)
    for text in (
        "",
        "224",
        "0x5",
        "5x0",
        "-1x5",
        "2x3x4",
        " 2x3",
        "2X3",
        "2.0x3",
        "²x3",
        "123456x1",
    ):
        assert parse_sides(text) is None, text


def test_an_option_that_is_no_size_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="'²x3' is not HEIGHTxWIDTH"):
        image_size("²x3")
