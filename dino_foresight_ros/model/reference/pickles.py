"""Reads the authors' pickled files, running nothing but an allow-list.

Only `foresight convert` comes here. A pickle can call any function that it names; this reader
refuses a file that names anything beyond argparse.Namespace, array rebuilding and scikit-learn's
PCA (which is read as plain attributes; scikit-learn itself is not needed).
"""

from __future__ import annotations

import _codecs
import argparse
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dino_foresight_ros.errors import InputError


class PcaAttributes:
    """What a pickled sklearn.decomposition.PCA holds: `components_`, `mean_` and so on."""


_RECONSTRUCT = np.ones(1).__reduce__()[0]
_SCALAR = np.float64(0).__reduce__()[0]

ALLOWED: list[Any] = [
    argparse.Namespace,
    (PcaAttributes, "sklearn.decomposition._pca.PCA"),
    (PcaAttributes, "sklearn.decomposition.pca.PCA"),
    # NumPy 2 moved these; files of either version are read.
    *((_RECONSTRUCT, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    (_codecs.encode, "_codecs.encode"),
    np.ndarray,
    np.dtype,
    *(type(np.dtype(code)) for code in ("f2", "f4", "f8", "i4", "i8", "u1", "?")),
]


def _names_allowed() -> set[str]:
    return {
        entry[1] if isinstance(entry, tuple) else f"{entry.__module__}.{entry.__qualname__}"
        for entry in ALLOWED
    }


def read_pickle(path: Path) -> dict[str, Any]:
    """Read a file that torch.save wrote; tensors stay mapped to the file, not in memory.

    Raises:
        InputError: no such file, not such a file, cut short, or one that would run something
            that is not on the allow-list (named).
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the path of a downloaded checkpoint")
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except (OSError, ValueError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise InputError(
            f"{path} is not a whole PyTorch checkpoint ({str(error).splitlines()[0]}); "
            "download it again"
        ) from error
    refused = sorted(set(foreign) - _names_allowed())
    if refused:
        raise InputError(
            f"{path} is refused: reading it would run {', '.join(refused)}, "
            "which no DINO-Foresight file needs"
        )
    try:
        with torch.serialization.safe_globals(ALLOWED):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        # torch's text advises to switch this protection off; only its last part says what is odd.
        reason = str(error).split("WeightsUnpickler error: ")[-1].strip().splitlines()[0]
        raise InputError(
            f"{path} is refused: it holds what no DINO-Foresight file needs ({reason})"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, TypeError, LookupError) as error:
        raise InputError(
            f"{path} cannot be read ({str(error).splitlines()[0]}); download it again"
        ) from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, expected a dictionary")
    return content
