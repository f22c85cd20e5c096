"""Tasks, which decode a head's raw output, for the node, evaluation and training alike.

Each task turns (B, K, h, w) raw output into named maps of a wanted size. Raw output is upsampled
first and decided afterwards, bicubic, as the reference evaluates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor
from torch.nn import functional

from dino_foresight_ros.classes import UNLABELLED
from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.config import to_plain
from dino_foresight_ros.outputs import (
    CONFIDENCE,
    DEPTH,
    DEPTH_KINDS,
    METRIC,
    NORMALS,
    RELATIVE,
    SEGMENTATION,
)
from dino_foresight_ros.plugins import installed_heads, resolve

Size = tuple[int, int]


def upsample(raw: Tensor, size: Size | None) -> Tensor:
    """(B, K, h, w) -> (B, K, *size), bicubic; unchanged when size is None or already right."""
    if size is None or tuple(raw.shape[-2:]) == tuple(size):
        return raw
    return functional.interpolate(raw, size=size, mode="bicubic", align_corners=False)


@dataclass(frozen=True)
class SegmentationTask:
    """Semantic segmentation by softmax over classes.

    Attributes:
        class_names: names, index = class id.
        palette: (r, g, b) per class.
        moving: ids of moving objects (Cityscapes: 11 to 18).
    """

    name: ClassVar[str] = SEGMENTATION
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    moving: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "palette", tuple(tuple(map(int, c)) for c in self.palette))
        object.__setattr__(self, "moving", tuple(self.moving))
        if len(self.class_names) != len(self.palette) or not self.class_names:
            raise BundleError(
                f"segmentation has {len(self.class_names)} class names and "
                f"{len(self.palette)} colours; it needs one colour per class"
            )
        if len(self.class_names) > UNLABELLED:
            raise BundleError(f"segmentation has {len(self.class_names)} classes; at most 255")
        if any(not 0 <= value <= 255 for colour in self.palette for value in colour):
            raise BundleError("segmentation palette has values outside 0 to 255")
        if any(not 0 <= i < len(self.class_names) for i in self.moving):
            raise BundleError(f"segmentation moving ids {list(self.moving)} are not all classes")

    @property
    def outputs(self) -> int:
        """Channels that the head must give."""
        return len(self.class_names)

    def decode(self, raw: Tensor, size: Size | None = None) -> dict[str, Tensor]:
        """Class ids (B, H, W) uint8 and their softmax probability (B, H, W) float32."""
        logits = upsample(raw, size).float()
        best, ids = logits.max(dim=1)
        confidence = (best - logits.logsumexp(dim=1)).exp()
        return {SEGMENTATION: ids.to(torch.uint8), CONFIDENCE: confidence}


@dataclass(frozen=True)
class DepthTask:
    """Depth as classification over bins.

    relative: `bins` classes whose argmax is a relative inverse depth, 0 (far) to bins - 1 (near),
    as the published head was trained. metric: log-spaced bins from `min_m` to `max_m`, read out
    as the expectation, in metres along the optical axis.
    """

    name: ClassVar[str] = DEPTH
    kind: str = RELATIVE
    bins: int = 256
    min_m: float | None = None
    max_m: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in DEPTH_KINDS:
            raise BundleError(
                f"depth kind '{self.kind}' is unknown; valid: {', '.join(DEPTH_KINDS)}"
            )
        if self.bins < 2:
            raise BundleError(f"depth bins is {self.bins}; it must be >= 2")
        if self.is_metric and not (
            self.min_m is not None and self.max_m is not None and 0 < self.min_m < self.max_m
        ):
            raise BundleError(
                f"metric depth needs 0 < min_m < max_m, not min_m {self.min_m}, max_m {self.max_m}"
            )

    @property
    def is_metric(self) -> bool:
        """Whether a value is metres."""
        return self.kind == METRIC

    @property
    def outputs(self) -> int:
        """Channels that the head must give."""
        return self.bins

    def centres(self, device: torch.device | None = None) -> Tensor:
        """(bins,) float32 metres of each metric bin, log-spaced, first min_m and last max_m."""
        assert self.min_m is not None
        assert self.max_m is not None
        ends = torch.tensor([self.min_m, self.max_m], dtype=torch.float64).log()
        return torch.linspace(float(ends[0]), float(ends[1]), self.bins, device=device).exp()

    def decode(self, raw: Tensor, size: Size | None = None) -> dict[str, Tensor]:
        """Depth (B, H, W) float32, metres or relative inverse depth."""
        if not self.is_metric:
            return {DEPTH: upsample(raw, size).argmax(dim=1).float()}
        # The expectation is a smooth map of its own: upsampling it costs 1/bins of upsampling
        # the raw output, and stays within the range after clamping.
        # Bins last: that is how channels-last output lies in memory, and softmax is fast along it.
        probabilities = raw.permute(0, 2, 3, 1).float().softmax(dim=-1)
        metres = probabilities @ self.centres(raw.device)
        metres = upsample(metres[:, None], size)[:, 0]
        return {DEPTH: metres.clamp(self.min_m, self.max_m)}


@dataclass(frozen=True)
class NormalsTask:
    """Unit surface normals in the camera's optical frame (x right, y down, z forward)."""

    name: ClassVar[str] = NORMALS

    @property
    def outputs(self) -> int:
        """Channels that the head must give."""
        return 3

    def decode(self, raw: Tensor, size: Size | None = None) -> dict[str, Tensor]:
        """Unit normals (B, H, W, 3) float32."""
        normals = functional.normalize(upsample(raw, size).float(), dim=1)
        return {NORMALS: normals.permute(0, 2, 3, 1)}


Task = SegmentationTask | DepthTask | NormalsTask
TASKS: dict[str, type[Task]] = {task.name: task for task in get_args(Task)}
"""Those of this package; `task_class` knows the others too."""


def task_class(name: str) -> type[Any]:
    """The class of a task, of this package or of another one.

    Raises:
        BundleError: there is none.
    """
    if name in TASKS:
        return TASKS[name]
    plugin = installed_heads().get(name)
    if plugin is None:
        valid = ", ".join(dict.fromkeys([*TASKS, *installed_heads()]))
        raise BundleError(
            f"head '{name}' is unknown; valid: {valid}; another one comes with its package"
        )
    try:
        found: type[Any] = resolve(plugin.task)
    except (ImportError, AttributeError, ValueError) as error:
        raise BundleError(f"head '{name}': its task cannot be loaded: {error}") from error
    return found


def task_to_dict(task: Task) -> dict[str, Any]:
    """Plain values for YAML."""
    return {key: value for key, value in to_plain(task).items() if value is not None}


def task_from_dict(name: str, values: dict[str, Any]) -> Task:
    """Build a task by name.

    Raises:
        BundleError: an unknown task, or values that do not fit it.
    """
    kind = task_class(name)
    try:
        task: Task = kind(**values)
    except TypeError as error:
        raise BundleError(f"head '{name}': {error}") from error
    return task
