"""Tasks, which decode a head's raw output, for the node, evaluation and training alike.

Each task turns raw output into named maps of a wanted size. Raw maps (B, K, h, w) are upsampled
first and decided afterwards, bicubic, as the reference evaluates. Raw queries (`QueryOutput`) are
decided by class first, so that only the masks of objects are upsampled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor
from torch.nn import functional

from dino_foresight_ros.classes import SKY_CLASSES, UNLABELLED
from dino_foresight_ros.errors import BundleError, UsageError
from dino_foresight_ros.model.config import to_plain
from dino_foresight_ros.model.instance_head import MASK_SCALE, QueryOutput
from dino_foresight_ros.outputs import (
    CONFIDENCE,
    DEPTH,
    DEPTH_KINDS,
    DETECTIONS,
    INSTANCES,
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


def best_class(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each pixel's logits, and the first class that has it.

    A CPU finds the largest class by class, over whole maps, in a fraction of the time that it takes
    to find its place as well.

    Args:
        logits: (B, K, H, W), K up to 255.

    Returns:
        (B, H, W) as the logits and (B, H, W) uint8; 255 where one is NaN.
    """
    logits = logits.contiguous()
    best = logits.amax(dim=1)
    count = logits.shape[1]
    order = torch.arange(count, 0, -1, dtype=torch.uint8, device=logits.device)[:, None, None]
    ids = count - ((logits == best[:, None]) * order).amax(dim=1)
    return best, torch.where(ids < count, ids, UNLABELLED)


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

    @property
    def sky(self) -> tuple[int, ...]:
        """Ids of the classes that have no depth."""
        return tuple(i for i, name in enumerate(self.class_names) if name.lower() in SKY_CLASSES)

    def decode(self, raw: Tensor, size: Size | None = None) -> dict[str, Tensor]:
        """Class ids (B, H, W) uint8 and their softmax probability (B, H, W) float32."""
        logits = upsample(raw, size).float().contiguous()
        best, ids = best_class(logits)
        confidence = (logits - best[:, None]).exp_().sum(dim=1).reciprocal_()
        return {SEGMENTATION: ids, CONFIDENCE: confidence}


_PIXELS_IN_CACHE = 2048
"""So many pixels' bins are read at once on a CPU: 512 kB of 64 bins in float32."""


@dataclass(frozen=True)
class DepthTask:
    """Depth as classification over bins.

    relative: `bins` classes whose argmax is a relative inverse depth, 0 (far) to bins - 1 (near),
    as the published head was trained. metric: log-spaced bins from `min_m` to `max_m`, read out
    as a quantile of the distribution over bins or as its expectation, in metres along the optical
    axis. The expectation of a distribution that is wide, or has one peak on an edge and one behind
    it, is farther than most of it. Metres are NaN where no depth can be had: beyond `max_m`, and
    in the sky and the like as far as the head has learned it.

    Attributes:
        kind: "relative" or "metric".
        bins: classes of depth.
        min_m, max_m: range of a metric head.
        validity: a metric head has one more channel, the last: above 0 where there is a depth
            within the range.
        quantile: a metric depth is the distance within which the surface lies with this
            probability; the expectation when None.
        focal: of the canonical camera, as `CameraView.focal` has it. A metric head then gives depth
            as that camera would see it, in which a size in pixels is a size in metres, and what it
            gives is multiplied by the focal length at hand over this one (Metric3D, Yin et al.
            2023, sec. 3.1). None: the head guesses the focal length from the picture.
    """

    name: ClassVar[str] = DEPTH
    kind: str = RELATIVE
    bins: int = 256
    min_m: float | None = None
    max_m: float | None = None
    validity: bool = False
    quantile: float | None = None
    focal: float | None = None

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
        if self.validity and not self.is_metric:
            raise BundleError("relative depth has no validity: its bin 0 is where nothing is known")
        if self.quantile is not None and not (self.is_metric and 0.0 < self.quantile < 1.0):
            raise BundleError(
                f"depth quantile is {self.quantile}; a metric head takes one above 0 and below 1"
            )
        if self.focal is not None and not (self.is_metric and 0.0 < self.focal < math.inf):
            raise BundleError(f"depth focal is {self.focal}; a metric head takes one above 0")

    @property
    def is_metric(self) -> bool:
        """Whether a value is metres."""
        return self.kind == METRIC

    @property
    def outputs(self) -> int:
        """Channels that the head must give."""
        return self.bins + self.validity

    @property
    def farthest_m(self) -> float:
        """From here on a metric depth is beyond the range: half a bin before its end."""
        assert self.min_m is not None
        assert self.max_m is not None
        return float(self.max_m * (self.min_m / self.max_m) ** (0.5 / (self.bins - 1)))

    def scale(self, focal: float | None) -> float:
        """What depth by `decode` is multiplied by, of a camera with this focal length, as
        `CameraView.focal` has it; 1 where it is not known, as if it were the canonical camera."""
        return 1.0 if self.focal is None or focal is None else focal / self.focal

    def centres(self, device: torch.device | None = None) -> Tensor:
        """(bins,) float32 metres of each metric bin, log-spaced, first min_m and last max_m."""
        assert self.min_m is not None
        assert self.max_m is not None
        ends = torch.tensor([self.min_m, self.max_m], dtype=torch.float64).log()
        return torch.linspace(float(ends[0]), float(ends[1]), self.bins, device=device).exp()

    def decode(self, raw: Tensor, size: Size | None = None) -> dict[str, Tensor]:
        """Depth (B, H, W) float32, metres, NaN unknown, or relative inverse depth.

        Metres of the canonical camera, where there is one: `scale` leads to the camera at hand.
        """
        if not self.is_metric:
            return {DEPTH: upsample(raw, size).argmax(dim=1).float()}
        if self.quantile is None:
            metres = self.metres(raw, size)
        else:
            metres = self.within(raw, self.quantile, size)
        unknown = metres >= self.farthest_m
        if self.validity:
            unknown |= upsample(raw[:, self.bins :], size)[:, 0] < 0
        return {DEPTH: metres.masked_fill(unknown, torch.nan)}

    def metres(self, raw: Tensor, size: Size | None = None) -> Tensor:
        """The expectation of a metric head everywhere, (B, H, W) float32, min_m to max_m."""
        # The expectation is a smooth map of its own: upsampling it costs 1/bins of upsampling
        # the raw output, and stays within the range after clamping.
        metres = self._probabilities(raw) @ self.centres(raw.device)
        metres = upsample(metres[:, None], size)[:, 0]
        return metres.clamp(self.min_m, self.max_m)

    def within(self, raw: Tensor, probability: float, size: Size | None = None) -> Tensor:
        """Metres within which a metric head has the surface, (B, H, W) float32, min_m to max_m.

        A bin's probability is spread evenly over its part of the logarithm of the distance.

        Args:
            raw: (B, outputs, h, w).
            probability: above 0 and below 1; 0.5 gives the median.
            size: (H, W) of the result; (h, w) when None.
        """
        assert self.min_m is not None
        assert self.max_m is not None
        batch, _, height, width = raw.shape
        # Bins last: that is how channels-last output lies in memory.
        pixels = raw[:, : self.bins].permute(0, 2, 3, 1).reshape(-1, self.bins)
        up_to = torch.ones(self.bins, self.bins, device=raw.device).triu_()
        passed = torch.empty(len(pixels), device=raw.device)
        block = _PIXELS_IN_CACHE if raw.device.type == "cpu" else len(pixels)
        for start in range(0, len(pixels), block):
            logits = pixels[start : start + block].to(torch.float32, copy=True)
            each = logits.sub_(logits.amax(dim=-1, keepdim=True)).exp_()
            # A product with a triangle of ones: several times as fast as a cumulative sum.
            left = each @ up_to
            left -= probability * left[:, -1:]
            # Of each bin, the fraction that is passed on the way to the probability.
            fraction = left.div_(each.clamp_(min=1e-12)).neg_().add_(1.0).clamp_(0.0, 1.0)
            torch.sum(fraction, dim=-1, out=passed[start : start + block])
        spacing = math.log(self.max_m / self.min_m) / (self.bins - 1)
        logs = passed.sub_(0.5).mul_(spacing).add_(math.log(self.min_m))
        metres = upsample(logs.view(batch, 1, height, width), size)[:, 0].exp()
        return metres.clamp(self.min_m, self.max_m)

    def _probabilities(self, raw: Tensor) -> Tensor:
        """Of the bins, (B, h, w, bins) float32."""
        # Bins last: that is how channels-last output lies in memory, and softmax is fast along it.
        return raw[:, : self.bins].permute(0, 2, 3, 1).float().softmax(dim=-1)


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


_OWN_SHARE = 0.8
"""Of a mask, which other objects must leave to it (Mask2Former's overlap threshold)."""
_UPSCALE = 8 // MASK_SCALE
"""From masks to the size that the other heads' maps have, patch grid x 8."""


@dataclass(frozen=True)
class InstancesTask:
    """Single objects: a class, a score and a mask per query.

    Attributes:
        class_names: names, index = class id; those of the segmentation that it was trained with.
        palette: (r, g, b) per class.
        things: ids of the classes whose objects are told apart.
        has_stuff: whether the head also knows the other classes, as one region each.
        min_score: least score of an object: the probability of its class times the mean
            probability of its mask's pixels.
    """

    name: ClassVar[str] = INSTANCES
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    things: tuple[int, ...]
    has_stuff: bool = False
    min_score: float = 0.3

    def __post_init__(self) -> None:
        known = SegmentationTask(self.class_names, self.palette)
        object.__setattr__(self, "class_names", known.class_names)
        object.__setattr__(self, "palette", known.palette)
        object.__setattr__(self, "things", tuple(self.things))
        if not self.things or any(not 0 <= i < len(self.class_names) for i in self.things):
            raise BundleError(
                f"instances of classes {list(self.things)}: give ids of 0 to "
                f"{len(self.class_names) - 1}, at least one"
            )
        if not 0.0 <= self.min_score < 1.0:
            raise BundleError(f"instances min_score is {self.min_score}; it must be 0 to below 1")

    @property
    def outputs(self) -> int:
        """Classes that the head must give, without "no object"."""
        return len(self.class_names)

    def decode(self, raw: QueryOutput, size: Size | None = None) -> dict[str, Tensor]:
        """Objects, none over another.

        Args:
            raw: of B pictures.
            size: (H, W) of the map; patch grid x 8 when None.

        Returns:
            instances: (B, H, W) int32, 1 + the query's number, 0 none.
            detections: (B, Q, 3) float32, id, class id and score by query; 0 where there is none.
        """
        whole = size or _map_size(raw)
        scores, classes = raw.classes.float().softmax(dim=-1)[..., :-1].max(dim=-1)
        is_thing = torch.zeros(self.outputs + 1, dtype=torch.bool, device=scores.device)
        is_thing[list(self.things)] = True
        chosen = (scores >= self.min_score) & is_thing[classes]
        pairs = [
            self._objects(scores[row], classes[row], raw.masks[row], chosen[row], whole)
            for row in range(len(raw))
        ]
        return {
            INSTANCES: torch.stack([ids for ids, _ in pairs]),
            DETECTIONS: torch.stack([found for _, found in pairs]),
        }

    def scored(self) -> InstancesTask:
        """The same with objects of low scores, as average precision wants them."""
        return replace(self, min_score=min(self.min_score, 0.05))

    def _objects(
        self, scores: Tensor, classes: Tensor, masks: Tensor, chosen: Tensor, size: Size
    ) -> tuple[Tensor, Tensor]:
        found = torch.zeros(len(scores), 3, device=scores.device)
        queries = chosen.nonzero()[:, 0]
        if not len(queries):
            return torch.zeros(size, dtype=torch.int32, device=scores.device), found
        inside = _resized(masks[queries].float(), size).sigmoid()
        certain = inside >= 0.5
        area = certain.flatten(1).count_nonzero(dim=1)
        quality = inside.where(certain, 0.0).flatten(1).sum(dim=1) / area.clamp(min=1)
        score = scores[queries] * quality
        weight = torch.where((area > 0) & (score >= self.min_score), score, 0.0)
        # Of masks over one another each pixel goes to the surest; whose mask is mostly another's
        # is no object, and what it held goes to the others.
        for _ in range(2):
            # On a CPU the maximum gives its places in a tenth of argmax's time.
            owner = (inside * weight[:, None, None]).max(dim=0).indices
            held = certain.gather(0, owner[None])[0] & (weight > 0)[owner]
            own = torch.bincount(owner[held], minlength=len(queries))
            is_lost = (own < _OWN_SHARE * area) & (weight > 0)
            if not is_lost.any():
                break
            weight = weight.masked_fill(is_lost, 0.0)
        held &= (weight > 0)[owner]
        ids = torch.where(held, queries[owner] + 1, 0).to(torch.int32)
        kept = queries[weight > 0]
        rows = (kept + 1, classes[kept], score[weight > 0])
        found[kept] = torch.stack([values.float() for values in rows], dim=1)
        return ids, found

    def semantic(self, raw: QueryOutput, size: Size | None = None) -> Tensor:
        """Class ids (B, H, W) uint8: of every pixel the class that all queries say together.

        Raises:
            UsageError: the head knows objects alone.
        """
        if raw.pixels is not None:
            return (
                upsample(raw.pixels.classes, size or _map_size(raw)).argmax(dim=1).to(torch.uint8)
            )
        self._check_stuff()
        shares = raw.classes.float().softmax(dim=-1)[..., :-1]
        whole = size or _map_size(raw)
        # Both are linear: of classes fewer maps are brought to their size than of queries.
        maps = torch.einsum("bqk,bqhw->bkhw", shares, raw.masks.float().sigmoid())
        return _resized(maps, whole).argmax(dim=1).to(torch.uint8)

    def panoptic(self, raw: QueryOutput, size: Size | None = None) -> dict[str, Tensor]:
        """`decode`, and beside it `segmentation` (B, H, W) uint8: of objects their class, elsewhere
        the likeliest class without objects.

        Raises:
            UsageError: the head knows objects alone.
        """
        found = self.decode(raw, size)
        ids = found[INSTANCES]
        if raw.pixels is not None:
            maps = raw.pixels.classes.float().softmax(dim=1)
        else:
            self._check_stuff()
            shares = raw.classes.float().softmax(dim=-1)[..., :-1]
            maps = torch.einsum("bqk,bqhw->bkhw", shares, raw.masks.float().sigmoid())
        maps = maps.index_fill(1, torch.tensor(self.things, device=maps.device), 0.0)
        stuff = _resized(maps, (ids.shape[1], ids.shape[2])).argmax(dim=1)
        of_query = found[DETECTIONS][..., 1].long()
        rows = (ids.flatten(1).long() - 1).clamp(min=0)
        things = of_query.gather(1, rows).reshape(ids.shape)
        return {**found, SEGMENTATION: torch.where(ids > 0, things, stuff).to(torch.uint8)}

    def _check_stuff(self) -> None:
        if not self.has_stuff:
            raise UsageError(
                "the head for instances knows objects alone; train it with --stuff true for "
                "semantic and panoptic maps"
            )


def _map_size(raw: QueryOutput) -> Size:
    """Of the other heads' maps, patch grid x 8."""
    return _UPSCALE * raw.shape[2], _UPSCALE * raw.shape[3]


def _resized(masks: Tensor, size: Size) -> Tensor:
    """(N, h, w) or (B, K, h, w) brought to a size, bilinear, as the library's masks are."""
    batch = masks if masks.ndim == 4 else masks[None]
    if tuple(batch.shape[-2:]) != tuple(size):
        batch = functional.interpolate(batch, size=size, mode="bilinear", align_corners=False)
    return batch if masks.ndim == 4 else batch[0]


Task = SegmentationTask | DepthTask | NormalsTask | InstancesTask
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
