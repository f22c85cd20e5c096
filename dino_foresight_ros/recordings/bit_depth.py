"""How many bits of 16-bit samples are in use: 10- and 12-bit cameras fill the lower ones only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

BIT_DEPTHS = (8, 10, 12, 14, 16)


class BitDepth:
    """The bit depth of one stream of 16-bit pictures, found from their samples.

    It is the least of 8, 10, 12, 14 and 16 bits that holds every sample so far. It never falls, so
    a dark picture is not stretched. Bits that a driver shifted up count from the lowest too: 12
    bits shifted by 4 are 16.

    Attributes:
        bits: 0 while every sample was 0.
        is_fixed: larger samples no longer change it; they are shown white.
    """

    def __init__(
        self,
        on_found: Callable[[str], object] | None = None,
        find: Callable[[], int] | None = None,
    ) -> None:
        """Prepare.

        Args:
            on_found: is told in one line what was found, and when it grows.
            find: looks through a recording that is read in any order, and returns the bits; called
                at the first 16-bit picture, and the depth is fixed by it, so that a frame's pixels
                do not depend on what was read before.
        """
        self.bits = 0
        self.is_fixed = False
        self._on_found, self._find = on_found, find
        self._said_clipped = False

    def __getstate__(self) -> dict[str, object]:
        # A callback is seldom picklable.
        return {**self.__dict__, "_on_found": None}

    def see(self, samples: NDArray[np.uint16]) -> None:
        """Take a picture's samples into account."""
        if self._find is not None:
            find, self._find = self._find, None
            self._grow(find())
            self.is_fixed = self.bits > 0
        needed = bits_used(samples)
        if not self.is_fixed:
            self._grow(needed)
        elif needed > self.bits and not self._said_clipped:
            self._said_clipped = True
            self._say(f"a 16-bit picture uses {needed} bits; it is white beyond {self.bits}")

    def _grow(self, bits: int) -> None:
        before = self.bits
        if bits > before:
            self.bits = bits
            change = f", no longer as {before}" if before else ""
            self._say(f"16-bit samples are taken as {bits} bits, the most in use so far{change}")

    def to_8_bits(self, samples: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Scale samples so that 2 ** bits becomes 256; rounded down, 255 at most."""
        self.see(samples)
        shift = (self.bits or 16) - 8
        reduced: NDArray[Any] = samples >> shift
        if self.is_fixed and self.bits < 16:
            reduced = np.minimum(reduced, 255)
        return reduced.astype(np.uint8)

    def _say(self, text: str) -> None:
        if self._on_found is not None:
            self._on_found(text)


def bits_used(samples: NDArray[np.uint16]) -> int:
    """The least bit depth that holds all samples; 0 where all are 0."""
    union = int(np.bitwise_or.reduce(samples, axis=None)) if samples.size else 0
    if not union:
        return 0
    return next(bits for bits in BIT_DEPTHS if bits >= union.bit_length())
