"""Names of bundles: `tiny` and `untrained-tiny`, which come with the package, and `hub:` addresses.

A text that is one of these names means what it names, also where a folder of that name lies in the
working directory: that one is `./tiny`. A `Path` always means a folder.
"""

from __future__ import annotations

import logging
from pathlib import Path

from dino_foresight_ros.model.hub import fetch_bundle
from dino_foresight_ros.shipped import MANIFEST, TINY, UNTRAINED_TINY, names_bundle, shipped_bundle

_log = logging.getLogger(__name__)


def find_bundle(name: str | Path) -> Path | None:
    """The folder of a bundle; None for untrained-tiny, which lies in none.

    Raises:
        BundleError: this installation came without `tiny`.
        UsageError, HubError: as `fetch_bundle`.
    """
    if isinstance(name, Path) or not names_bundle(name):
        return Path(name)
    if name.startswith("hub:"):
        return fetch_bundle(name)
    if (Path(name) / MANIFEST).is_file():
        _log.warning(f"{name} is the bundle that comes with the package; yours here is ./{name}")
    return None if name == UNTRAINED_TINY else shipped_bundle(TINY)
