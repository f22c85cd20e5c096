"""Files that come with the package: bundles by name, configuration. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from dino_foresight_ros.errors import BundleError

PACKAGE = "dino_foresight_ros"
MANIFEST = "bundle.yaml"
# What a bundle's folder may hold: weights, and what comes with them from a hub.
BUNDLE_FILES = (MANIFEST, "*.safetensors", "*.md", "LICENSE")
TINY = "tiny"
UNTRAINED_TINY = "untrained-tiny"


def names_bundle(text: str) -> bool:
    """Whether a text names a bundle without being the path of a folder."""
    return text in (TINY, UNTRAINED_TINY) or text.startswith("hub:")


def places(path: str) -> Iterator[Path]:
    """Where a file of the package may lie: in a checkout, then in each installation's share."""
    here = Path(__file__)
    # Links lead into the checkout, also from an environment that only links to it.
    yield here.resolve().parents[1] / path
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    for prefix in [*here.absolute().parents, *(Path(text) for text in prefixes if text)]:
        yield prefix / "share" / PACKAGE / path


def find_file(path: str) -> Path | None:
    """A file that came with the package, such as config/forecast.yaml; None where it did not."""
    return next((place for place in places(path) if place.is_file()), None)


def find_shipped(name: str) -> Path | None:
    """Folder of a bundle that came with the package; None where it did not."""
    manifest = find_file(f"assets/{name}/{MANIFEST}")
    return None if manifest is None else manifest.parent


def shipped_bundle(name: str) -> Path:
    """Folder of a bundle that came with the package.

    Raises:
        BundleError: this installation came without it.
    """
    folder = find_shipped(name)
    if folder is None:
        raise BundleError(
            f"the bundle '{name}' did not come with this installation (no share/{PACKAGE}/assets/"
            f"{name}); give a bundle's folder, hub:owner/name, or {UNTRAINED_TINY}"
        )
    return folder
