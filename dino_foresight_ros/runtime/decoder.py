"""Decoding features into maps with a bundle's heads: live, in evaluation and in the demo alike."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.dpt import DPTHead
from dino_foresight_ros.model.heads import LinearHead, fold_pca, fuse_batch_norm
from dino_foresight_ros.model.instance_head import QueryOutput
from dino_foresight_ros.model.pca import PCA
from dino_foresight_ros.model.pyramid import Pyramid
from dino_foresight_ros.model.tasks import DepthTask, SegmentationTask, best_class, upsample
from dino_foresight_ros.outputs import BESIDE, DEPTH, FEATURES, HEAD_OF, SEGMENTATION, SPREAD
from dino_foresight_ros.runtime.acceleration import Accelerator
from dino_foresight_ros.runtime.threads import Threads

TOKENS_PER_PASS = 4096
"""Patches that go through a head at once: 18 frames of 11 x 20, 2 of the paper's 32 x 64."""
_FRAMES_PER_THREAD = 6
"""Convolutions of fewer frames at once are slower per frame on a CPU."""
MAX_VALUES = 2**26
"""Values of a head's output that are brought to a map's size at once: 256 MB of float32."""

Size = tuple[int, int]
P = TypeVar("P", Tensor, QueryOutput)
FrameRequest = Mapping[str, Size | None]
"""Name of a wanted output of one frame -> (height, width) of its map; patch grid x 8 when None."""


def layers_read(bundle: Bundle, head: str) -> tuple[int, ...]:
    """The forecaster's layers that a head reads; none for one that reads features.

    Such a head sees what the forecaster thinks of the frame it predicts, so it says nothing of a
    frame that came.
    """
    read = bundle.inputs.get(head)
    return () if read is None else tuple(read.layers)


class DecodedOutput(NamedTuple):
    """One output of some frames.

    Attributes:
        name: of the output.
        frames: which frames, as they were numbered when they were given.
        values: (M, ...) for those M frames, on the model's device: ids (M, H, W) uint8, depth or
            confidence (M, H, W) float32, normals (M, H, W, 3) float32, features (M, h, w, C)
            float32, ids of objects (M, H, W) int32 and beside them (M, Q, 3) float32 as
            `InstancesTask.decode` gives them.
        finite: (M,) bool, whether the model gave finite numbers; where it did, NaN in the values
            is what is not known, such as depth in the sky.
    """

    name: str
    frames: list[int]
    values: Tensor
    finite: Tensor


class _Raw(NamedTuple):
    """What a head gave: of which frames, and (M, K, h, w)."""

    frames: list[int]
    values: Tensor | QueryOutput

    @property
    def finite(self) -> Tensor:
        """(M,) bool."""
        if isinstance(self.values, QueryOutput):
            return all_finite(self.values.classes) & all_finite(self.values.masks)
        return all_finite(self.values)


class _Piece(NamedTuple):
    """What came of one head: its output, and the maps that were read from it."""

    raw: _Raw
    outputs: list[DecodedOutput]

    def classes(self, frames: list[int], size: Size) -> Tensor:
        """(M, H, W) uint8 of a segmentation head: as they were read, or read now."""
        for output in self.outputs:
            is_size = tuple(output.values.shape[1:]) == size
            if output.name == SEGMENTATION and output.frames == frames and is_size:
                return output.values
        assert isinstance(self.raw.values, Tensor)
        rows = [self.raw.frames.index(frame) for frame in frames]
        return best_class(upsample(_pick(self.raw.values, rows), size))[1]


class Decoder:
    """A bundle's heads, ready for speed: copies with their batch norm folded, channels last.

    Metric depth is NaN where the segmentation head, if there is one, sees sky.
    """

    def __init__(
        self,
        bundle: Bundle,
        accelerator: Accelerator | None = None,
        threads: Threads | None = None,
    ) -> None:
        """Copy the heads; the accelerator compiles them, the threads share them out."""
        self._threads = threads or Threads()
        self.heads = {
            name: fuse_batch_norm(copy.deepcopy(head)).to(memory_format=torch.channels_last)
            for name, head in bundle.heads.items()
        }
        self._bundle = bundle
        self._reads_z = frozenset(
            name
            for name, head in self.heads.items()
            if isinstance(head, Pyramid)
            and isinstance(bundle.pca, PCA)
            and not layers_read(bundle, name)
        )
        for name in self._reads_z:
            fold_pca(self.heads[name], cast(PCA, bundle.pca))
        wrap = (accelerator or Accelerator()).wrap
        self._run = {name: wrap(head) for name, head in self.heads.items()}
        classes, depth = bundle.tasks.get(SEGMENTATION), bundle.tasks.get(DEPTH)
        self._sky: tuple[int, ...] = ()
        if isinstance(classes, SegmentationTask) and isinstance(depth, DepthTask):
            self._sky = classes.sky if depth.is_metric else ()

    @property
    def layers(self) -> list[int]:
        """The forecaster's layers that heads read, rising."""
        return sorted({i for head in self.heads for i in layers_read(self._bundle, head)})

    @property
    def masks_sky(self) -> bool:
        """Whether depth needs the segmentation head too."""
        return bool(self._sky)

    @property
    def frames_per_pass(self) -> int:
        """How many frames to give at once, so that memory does not swell."""
        height, width = self._bundle.grid
        return max(1, TOKENS_PER_PASS // (height * width))

    def decode(
        self,
        z: Tensor | None,
        requests: Sequence[FrameRequest],
        hidden: Mapping[int, Tensor] | None = None,
        spread: Tensor | None = None,
        stride: int = 1,
        beside: Callable[[], None] | None = None,
        focals: Sequence[float | None] | None = None,
    ) -> list[DecodedOutput]:
        """Run the heads that are needed.

        Args:
            z: (M, h, w, C) PCA features of M frames; None where only heads that read the
                forecaster's layers are asked.
            requests: what is wanted of each.
            hidden: layer -> (M, h, w, D), the frames' tokens in the forecaster's layers that heads
                read. None for frames that were not predicted: heads that read them are skipped.
            spread: (M, h, w) float32, how far futures differ; brought to the size that is wanted.
            stride: compute only every so many-th pixel of each row and column of patch grid x 8,
                one of `model.dpt.STRIDES`: half and more of a head's work is in its last layers.
                Heads for instances are run as ever.
            beside: as `Threads.run` takes it; may be left out where no head is to run.
            focals: focal length of each frame's camera, as `CameraView.focal` has it, which metric
                depth may need; None where it is not known.

        Returns:
            What was asked for, in as many pieces as were computed at once.
        """
        # Of few frames, threads take a head each.
        spans = self._threads.spans(len(requests), _FRAMES_PER_THREAD)
        if len(spans) > 1:
            some = [partial(self._decode_span, *(z, requests, hidden, spread, stride, focals), span)
                    for span in spans]  # fmt: skip
            return list(chain(*self._threads.run(some, beside)))
        found: list[DecodedOutput] = []
        frames = [i for i, request in enumerate(requests) if FEATURES in request]
        if frames and z is not None:
            values = _pick(z, frames).float()
            found.append(DecodedOutput(FEATURES, frames, values, all_finite(values)))
        if spread is not None:
            found += _decode_spread(spread, requests)
        frames_of = self._frames_of(requests, z, hidden)
        pieces = {
            head: partial(self._piece, head, frames_of[head], x, stride, requests)
            for head, x in self._inputs(frames_of, z, hidden).items()
        }
        # The head for depth takes longest, so it begins.
        heads = sorted(pieces, key=lambda head: head != DEPTH)
        made = self._threads.run([pieces[head] for head in heads], beside if heads else None)
        done = dict(zip(heads, made, strict=True))
        for head in pieces:
            outputs = done[head].outputs
            if head == DEPTH and focals is not None:
                outputs = [self._at_focal(output, focals) for output in outputs]
            if head == DEPTH and self._sky and SEGMENTATION in done:
                outputs = [self._without_sky(output, done[SEGMENTATION]) for output in outputs]
            found += outputs
        return found

    def _frames_of(
        self,
        requests: Sequence[FrameRequest],
        z: Tensor | None,
        hidden: Mapping[int, Tensor] | None,
    ) -> dict[str, list[int]]:
        """Which frames each head is run on; heads of none are left out."""
        frames_of = {
            head: [i for i, request in enumerate(requests) if head in _heads(request)]
            for head in self.heads
        }
        is_readable = bool(hidden) if layers_read(self._bundle, SEGMENTATION) else z is not None
        if self._sky and is_readable:
            # What the sky is, whoever asks for its classes: it has no depth.
            also = {*frames_of[SEGMENTATION], *frames_of[DEPTH]}
            frames_of[SEGMENTATION] = sorted(also)
        return {head: frames for head, frames in frames_of.items() if frames}

    def _inputs(
        self,
        frames_of: Mapping[str, list[int]],
        z: Tensor | None,
        hidden: Mapping[int, Tensor] | None,
    ) -> dict[str, Tensor]:
        """What each head reads of its frames."""
        found: dict[str, Tensor] = {}
        plain = [head for head in frames_of if head not in self._reads_z]
        plain = [head for head in plain if not layers_read(self._bundle, head)]
        reconstructed = sorted({i for head in plain for i in frames_of[head]})
        features = None
        if reconstructed:
            assert z is not None
            features = self._bundle.pca.inverse(_pick(z, reconstructed))
        for head, frames in frames_of.items():
            layers = layers_read(self._bundle, head)
            if layers:
                assert hidden
                found[head] = torch.cat([_pick(hidden[i], frames) for i in layers], dim=-1)
            elif head in self._reads_z:
                assert z is not None
                found[head] = _pick(z, frames)
            else:
                assert features is not None
                found[head] = _pick(features, [reconstructed.index(i) for i in frames])
        return found

    def _decode_span(
        self,
        z: Tensor | None,
        requests: Sequence[FrameRequest],
        hidden: Mapping[int, Tensor] | None,
        spread: Tensor | None,
        stride: int,
        focals: Sequence[float | None] | None,
        span: slice,
    ) -> list[DecodedOutput]:
        """As `decode`, of some of the frames."""
        found = self.decode(
            None if z is None else z[span],
            requests[span],
            None if hidden is None else {layer: tokens[span] for layer, tokens in hidden.items()},
            None if spread is None else spread[span],
            stride,
            focals=None if focals is None else focals[span],
        )
        return [one._replace(frames=[span.start + i for i in one.frames]) for one in found]

    @torch.inference_mode()
    def maps(
        self,
        sizes: Mapping[str, Size],
        z: Tensor | None = None,
        hidden: Mapping[int, Tensor] | None = None,
        focal: float | None = None,
    ) -> dict[str, Tensor]:
        """What heads say of every frame, each at a size of its own, on the device.

        Args:
            sizes: head -> (H, W) of its maps.
            z: (M, h, w, C) PCA features; without them, heads that read features are left out.
            hidden: layer -> (M, h, w, D); without it, heads that read layers are left out.
            focal: of the camera of all frames; as `decode` takes them.

        Returns:
            Head -> maps: ids (M, H, W), depth (M, H, W) or normals (M, H, W, 3); and what comes
            beside them, by its name.
        """
        request = {
            head: size
            for head, size in sizes.items()
            if (hidden if layers_read(self._bundle, head) else z is not None)
        }
        if not request:
            return {}
        count = len(next(iter((hidden or {}).values())) if z is None else z)
        pieces = self.decode(z, [request] * count, hidden, focals=[focal] * count)
        names = [*request, *(BESIDE[head] for head in request if head in BESIDE)]
        return {
            name: torch.cat([piece.values for piece in pieces if piece.name == name])
            for name in names
        }

    def _run_head(self, head: str, x: Tensor, stride: int) -> Tensor | QueryOutput:
        module = self.heads[head]
        if stride > 1 and isinstance(module, DPTHead | LinearHead):
            return module(x, stride)  # compiled is the usual stride alone
        return self._run[head](x)

    def _piece(
        self, head: str, frames: list[int], x: Tensor, stride: int, requests: Sequence[FrameRequest]
    ) -> _Piece:
        """Run one head on some frames and read its output."""
        raw = _Raw(frames, self._run_head(head, x, stride))
        return _Piece(raw, list(self._read(head, raw, requests)))

    def _read(
        self, head: str, raw: _Raw, requests: Sequence[FrameRequest]
    ) -> Iterator[DecodedOutput]:
        values = cast(Any, raw.values)  # each task decodes what its own head gives
        task, finite = self._bundle.tasks[head], raw.finite
        wants = [_wanted(head, requests[i]) for i in raw.frames]
        for size in dict.fromkeys(size for want in wants for size in want.values()):
            rows = [row for row, want in enumerate(wants) if size in want.values()]
            for some in _split(rows, values.shape[1], size or (values.shape[2], values.shape[3])):
                for name, maps in task.decode(_pick(values, some), size).items():
                    asked = [k for k, row in enumerate(some) if wants[row].get(name, ()) == size]
                    if asked:
                        members = [raw.frames[some[k]] for k in asked]
                        is_finite = finite[[some[k] for k in asked]]
                        yield DecodedOutput(name, members, _pick(maps, asked), is_finite)

    def _at_focal(self, depth: DecodedOutput, focals: Sequence[float | None]) -> DecodedOutput:
        """Depth of the canonical camera as depth of the frames' own cameras."""
        task = self._bundle.tasks[DEPTH]
        if not isinstance(task, DepthTask) or task.focal is None:
            return depth
        scales = torch.tensor([task.scale(focals[frame]) for frame in depth.frames])
        scales = scales.to(depth.values.device)[:, None, None]
        return depth._replace(values=depth.values * scales)

    def _without_sky(self, depth: DecodedOutput, segmentation: _Piece) -> DecodedOutput:
        """Depth that is NaN where the segmentation head sees sky."""
        classes = segmentation.classes(depth.frames, (depth.values.shape[1], depth.values.shape[2]))
        sky = classes == self._sky[0]
        for other in self._sky[1:]:
            sky |= classes == other
        return depth._replace(values=depth.values.masked_fill(sky, torch.nan))


def _decode_spread(spread: Tensor, requests: Sequence[FrameRequest]) -> Iterator[DecodedOutput]:
    wanted = {i: request[SPREAD] for i, request in enumerate(requests) if SPREAD in request}
    for size in dict.fromkeys(wanted.values()):
        frames = [i for i in wanted if wanted[i] == size]
        height, width = spread.shape[1:]
        whole = size or (8 * height, 8 * width)
        picked = _pick(spread, frames)[:, None]
        values = functional.interpolate(picked, whole, mode="bilinear")[:, 0]
        yield DecodedOutput(SPREAD, frames, values, all_finite(picked))


def download(outputs: Sequence[DecodedOutput]) -> list[np.ndarray]:
    """Copy the values to the host: all copies are started together and waited for once."""
    on_gpu = [output.values for output in outputs if output.values.is_cuda]
    host = [_to_pinned(o.values) if o.values.is_cuda else o.values for o in outputs]
    if on_gpu:
        torch.cuda.current_stream(on_gpu[0].device).synchronize()
    return [values.numpy() for values in host]


def all_finite(x: Tensor) -> Tensor:
    """(M, ...) -> (M,) bool; by the sum, which takes one pass over the values as they lie."""
    return x.sum(dim=tuple(range(1, x.ndim)), dtype=torch.float32).isfinite()


def _to_pinned(tensor: Tensor) -> Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def _wanted(head: str, request: FrameRequest) -> dict[str, Size | None]:
    """What is wanted of a head, and what comes beside it."""
    asked = {name: size for name, size in request.items() if HEAD_OF.get(name) == head}
    return {**asked, **{BESIDE[name]: size for name, size in asked.items() if name in BESIDE}}


def _heads(request: FrameRequest) -> set[str]:
    return {HEAD_OF[name] for name in request if name in HEAD_OF}


def _split(rows: list[int], channels: int, size: Size) -> Iterator[list[int]]:
    most = max(1, MAX_VALUES // (channels * size[0] * size[1]))
    for start in range(0, len(rows), most):
        yield rows[start : start + most]


def _pick(x: P, rows: Sequence[int]) -> P:
    """x[rows] without a copy where that is all of x."""
    return x if len(rows) == len(x) else x[list(rows)]  # type: ignore[return-value]
