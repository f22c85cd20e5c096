from __future__ import annotations

import pytest

from dino_foresight_ros.spread import spread


@pytest.mark.parametrize(("count", "wanted"), [(0, 3), (2, 4), (10, 1), (100, 7)])
def test_spread_indices_are_distinct_and_in_order(count: int, wanted: int) -> None:
    indices = spread(count, wanted)
    assert len(indices) == min(count, wanted)
    assert indices == sorted(set(indices))
    assert all(0 <= i < count for i in indices)
