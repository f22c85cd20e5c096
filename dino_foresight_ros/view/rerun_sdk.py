"""Loads the rerun SDK, which is installed only where somebody looks."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from dino_foresight_ros.errors import ForesightError

_HINT = "pip install 'rerun-sdk>=0.39'"


def load() -> Any:
    """The rerun module.

    Raises:
        ForesightError: it is not installed, or does not import.
    """
    try:
        return importlib.import_module("rerun")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "rerun":
            raise ForesightError(f"the viewer needs the rerun SDK: {_HINT}") from error
        text = " ".join(str(error).split())
        raise ForesightError(f"the rerun SDK does not import ({text}): {_HINT}") from error


def viewer_program() -> Path:
    """The program that serves data and viewer; it comes with the SDK.

    Raises:
        ForesightError: it is not there.
    """
    load()
    try:
        package = importlib.import_module("rerun_cli")
    except ImportError as error:
        raise ForesightError(f"the rerun SDK came without its viewer: {_HINT}") from error
    program = Path(str(package.__file__)).parent / "rerun"
    if not program.is_file():
        raise ForesightError(f"the rerun SDK came without its viewer ({program}): {_HINT}")
    return program
