"""Sizes of pictures as words of options and parameters."""

from __future__ import annotations

import re


def parse_sides(text: str) -> tuple[int, int] | None:
    """Both numbers of "224x448", in their order; None of another text, or where one is 0."""
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    sides = None if match is None else (int(match[1]), int(match[2]))
    return sides if sides and all(sides) else None
