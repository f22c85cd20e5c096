"""Tables in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

NONE = "-"
"""What stands for a number that there is not."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [" | ".join(header), " | ".join([":--", *["--:"] * (len(header) - 1)])]
    lines += [" | ".join(row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def number(value: float, form: str, unit: str = "") -> str:
    """A cell, such as "1.50 s" or "37 %"; `NONE` where the value is NaN."""
    if math.isnan(value):
        return NONE
    text = format(int(value) if form == "d" else value, form).replace("%", " %")
    return f"{text} {unit}" if unit else text
