"""What a command line gives where each of its options is used."""

from __future__ import annotations

import argparse
import re

_OPTION = re.compile(r"\[(--[a-z-]+)(?: (\{[^}]+\}|[A-Z]+))?")


def options_of(parser: argparse.ArgumentParser, *words: str) -> set[str]:
    """Names under which options and these words are found when all of them are given."""
    given = [*words]
    for option, value in _OPTION.findall(parser.format_usage()):
        given.append(option)
        if value:
            given.append(value.strip("{}").split(",")[0] if value.startswith("{") else "1")
    return set(vars(parser.parse_args(given)))
