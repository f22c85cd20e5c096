"""Counts and names damaged files; too many of them are an error."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable

from dino_foresight_ros.errors import InputError

MIN_BAD = 20
BAD_FRACTION = 0.01
_LISTED = 3
_log = logging.getLogger(__name__)


class BadFiles:
    """Counts frames or files that cannot be read, each once.

    The first of each reason is named, those after it are told of in counts: 10, 100, ...

    `limit` of them are put up with; one more raises InputError. Without a limit it is 20 or 1 % of
    `total`, whichever is more. Copies in worker processes count for themselves.

    Attributes:
        reasons: what was wrong, by name, in the order of discovery.
    """

    def __init__(
        self,
        total: int,
        limit: int | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> None:
        self.limit = max(MIN_BAD, int(BAD_FRACTION * total)) if limit is None else limit
        self.reasons: dict[str, str] = {}
        self._kinds: Counter[str] = Counter()
        self._untold: dict[str, str] = {}
        self._on_warning = on_warning

    def __len__(self) -> int:
        return len(self.reasons)

    def __getstate__(self) -> dict[str, object]:
        # A callback is seldom picklable; a worker process writes to the log instead.
        return {**self.__dict__, "_on_warning": None}

    def add(self, name: str, reason: str) -> None:
        """Note one that is left out.

        Raises:
            InputError: that is one too many.
        """
        if name in self.reasons:
            return
        self.reasons[name] = reason
        if len(self.reasons) > self.limit:
            raise InputError(
                f"more than {self.limit} files or frames cannot be read, such as "
                f"{self.summary()}; mend or remove them"
            )
        # Reasons that differ in the file and in numbers are of one kind.
        why = reason.rpartition("cannot be read: ")[2]
        kind = re.sub(r"\d+", "", why.replace(name, ""))
        text = reason if name in reason else f"{name}: {reason}"
        self._kinds[kind] += 1
        count = self._kinds[kind]
        if count == 1:
            text = f"left out: {text}"
        elif str(count).strip("0") == "1":
            text = f"left out so far: {count} for this reason, the last one {text}"
        else:
            self._untold[kind] = f"left out in all: {count} for this reason, the last one {text}"
            return
        self._untold.pop(kind, None)
        self._tell(text)

    def tell_totals(self) -> None:
        """Tell how many there were of each reason, where that was not told yet."""
        for text in self._untold.values():
            self._tell(text)
        self._untold.clear()

    def _tell(self, text: str) -> None:
        if self._on_warning is None:
            _log.warning(text)
        else:
            self._on_warning(text)

    def summary(self) -> str:
        """Name the first few."""
        first = list(self.reasons.items())[:_LISTED]
        return "; ".join(why if name in why else f"{name}: {why}" for name, why in first)
