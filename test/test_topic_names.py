"""Conventions for names of topics."""

from __future__ import annotations

import pytest

from dino_foresight_ros.topic_names import is_rectified


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("/camera/image_rect", True),
        ("/camera/image_rect_color/compressed", True),
        ("image_rect", True),
        ("/camera/image_raw", False),
        ("/rectangle/image_raw/compressed", False),
    ],
)
def test_topics_tell_whether_their_pictures_are_rectified(topic: str, said: bool) -> None:
    assert is_rectified(topic) is said
