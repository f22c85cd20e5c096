"""Places spread evenly over a sequence."""

from __future__ import annotations


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` of the indices 0..count-1, evenly spread, first and last among them."""
    if count <= wanted:
        return list(range(count))
    if wanted == 1:
        return [0]
    return [round(i * (count - 1) / (wanted - 1)) for i in range(wanted)]
