"""bundle.yaml: the manifest of a bundle's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.shipped import MANIFEST, TINY, UNTRAINED_TINY

SCHEMA = 1
PRETRAINED = "timm"
"""Value of `encoder.weights` for an encoder whose weights timm fetches by name."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where PyYAML has it: ten times as fast where a file names many recordings."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read bundle.yaml.

    Raises:
        BundleError: no such folder or file, not YAML, or another schema.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST}; make one with 'foresight convert' "
            f"or use the word {TINY} or {UNTRAINED_TINY}"
        )
    try:
        manifest = load_yaml(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(manifest, dict):
        raise BundleError(f"{path} is not a mapping")
    if manifest.get("schema") != SCHEMA:
        raise BundleError(
            f"{path} has schema {manifest.get('schema')}, this version reads {SCHEMA}"
        )
    required = ("name", "frame_interval_s", "encoder", "pca", "forecaster")
    missing = [key for key in required if key not in manifest]
    if missing:
        raise BundleError(f"{path} lacks {', '.join(missing)}")
    return manifest


def load_yaml(text: str) -> Any:
    """As yaml.safe_load, by libyaml where there is it; YAMLError where the text is no YAML."""
    loader = _LOADER(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write bundle.yaml."""
    with (folder / MANIFEST).open("w") as file:
        yaml.safe_dump(manifest, file, sort_keys=False, width=100, default_flow_style=None)
