"""The weights of untrained-tiny, drawn once in the server of `forked`; each fork has its own."""

from __future__ import annotations

from dino_foresight_ros.model import untrained
from dino_foresight_ros.model.bundle_files import BundleParts

_draw = untrained.draw_parts
_drawn = [untrained.untrained_parts()]


def _parts(seed: int) -> BundleParts:
    """Those that were drawn, once; who asks again, or with another seed, gets others."""
    return _drawn.pop() if _drawn and seed == 0 else _draw(seed)


untrained.draw_parts = _parts
