"""Parts of a bundle on disk: what each is, what it was made with, and how it was made.

A part is a folder with `part.yaml` and one safetensors file. Fingerprints tell parts apart by their
content, so that a forecaster trained on one PCA is never put behind another.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from dino_foresight_ros.errors import BundleError, ForesightError
from dino_foresight_ros.files import plain, write_whole
from dino_foresight_ros.model.manifest import load_yaml
from dino_foresight_ros.model.weights import add_to_digest, read_tensors, write_tensors
from dino_foresight_ros.version import __version__

from .sources import Source

SCHEMA = 1
MANIFEST = "part.yaml"
KINDS = ("encoder", "pca", "forecaster", "head")


@dataclass(frozen=True)
class Origin:
    """A part that something was made with.

    Attributes:
        name: what a person calls it.
        fingerprint: what tells it from every other, 16 hexadecimal digits.
    """

    name: str
    fingerprint: str

    def __str__(self) -> str:
        return f"'{self.name}' ({self.fingerprint[:8]})"


@dataclass(frozen=True)
class Part:
    """What part.yaml says.

    Attributes:
        kind: one of KINDS.
        name: of the part.
        fingerprint: of its configuration and weights.
        config: what the module is built from.
        made_with: kind -> the part that it was fitted or trained on.
        recipe: the resolved configuration of the run that made it.
        seed: of that run; None where nothing was drawn.
        scores: what was measured.
        frame_interval_s: seconds between the frames of its clips (forecasters).
        code_version: of this package.
        trained_on: the recordings, in the order of their use.
    """

    kind: str
    name: str
    fingerprint: str
    config: dict[str, Any]
    made_with: dict[str, Origin] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    frame_interval_s: float | None = None
    code_version: str = ""
    trained_on: tuple[Source, ...] = ()

    @property
    def origin(self) -> Origin:
        """How other parts name this one."""
        return Origin(self.name, self.fingerprint)

    def check_made_with(self, kind: str, given: Origin) -> None:
        """Refuse a part that this one was not made with.

        Raises:
            BundleError: with both names.
        """
        wanted = self.made_with.get(kind)
        if wanted is not None and wanted.fingerprint != given.fingerprint:
            raise BundleError(
                f"{self.kind} '{self.name}' was made with the {kind} {wanted}, not with {given}; "
                f"give that {kind}, or make the {self.kind} anew with this one"
            )


def fingerprint(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits that change with any configuration value and any weight."""
    digest = hashlib.sha256(json.dumps(plain(config), sort_keys=True).encode())
    add_to_digest(digest, tensors)
    return digest.hexdigest()[:16]


def write_part(
    folder: Path,
    kind: str,
    name: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    made_with: Mapping[str, Origin] | None = None,
    recipe: Mapping[str, Any] | None = None,
    seed: int | None = None,
    scores: Mapping[str, Any] | None = None,
    frame_interval_s: float | None = None,
    trained_on: Sequence[Source] = (),
) -> Part:
    """Write a part into a folder, which may hold other files (checkpoints, plots).

    A reader sees the part that was there before or this one, never half of each.

    Returns:
        What part.yaml says.

    Raises:
        ForesightError: the folder cannot be written.
    """
    part = Part(
        kind=kind,
        name=name,
        fingerprint=fingerprint(config, tensors),
        config=plain(config),
        made_with=dict(made_with or {}),
        recipe=plain(recipe or {}),
        seed=seed,
        scores=plain(scores or {}),
        frame_interval_s=frame_interval_s,
        code_version=code_version(),
        trained_on=tuple(trained_on),
    )
    weights = f"{kind}-{part.fingerprint}.safetensors"
    lines = [source.to_line() for source in part.trained_on]
    manifest = {"schema": SCHEMA, **asdict(part), "trained_on": lines, "weights": weights}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / f".{weights}", tensors)
        os.replace(folder / f".{weights}", folder / weights)
        text = yaml.safe_dump(manifest, sort_keys=False, width=100, default_flow_style=None)
        write_whole(folder / MANIFEST, text)
        for stale in folder.glob(f"{kind}-*.safetensors"):
            if stale.name != weights:
                stale.unlink()
    except (OSError, ValueError) as error:
        raise ForesightError(f"{folder} cannot be written: {error}") from error
    return part


def is_part(path: Path) -> bool:
    """Whether a folder holds a part."""
    return (path / MANIFEST).is_file()


def read_part(folder: Path, kind: str) -> tuple[Part, dict[str, Tensor]]:
    """Read a part of a kind.

    Raises:
        BundleError: no such part, a part of another kind, another schema, or a damaged one.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} is not a trained {kind}: it has no {MANIFEST}")
    try:
        values = load_yaml(path.read_text())
        schema, weights = values.pop("schema"), values.pop("weights")
        if schema != SCHEMA:
            raise BundleError(f"{path} has schema {schema}, this version reads {SCHEMA}")
        values["made_with"] = {k: Origin(**v) for k, v in values["made_with"].items()}
        values["trained_on"] = tuple(map(Source.from_line, values.get("trained_on") or ()))
        part = Part(**values)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{path} is damaged: {reason}") from error
    if part.kind != kind:
        raise BundleError(f"{folder} is a trained {part.kind}, where a {kind} is wanted")
    if not isinstance(weights, str) or Path(weights).name != weights:
        raise BundleError(f"{path}: weights must name a file in the folder, not {weights!r}")
    tensors = read_tensors(folder / weights)
    if fingerprint(part.config, tensors) != part.fingerprint:
        raise BundleError(f"{folder / weights} is not what {MANIFEST} describes; make it anew")
    return part, tensors


def code_version() -> str:
    """This package's version, and the commit where it runs from a checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return __version__
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return __version__
    return f"{__version__}+{done.stdout.strip()}"
