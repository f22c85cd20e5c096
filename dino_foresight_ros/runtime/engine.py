"""The engine: a frame goes in, a forecast comes out. Arrays and stamps, no ROS, no threads."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dino_foresight_ros.detections import scene_fields
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model import Bundle, Forecaster, FrameMemory
from dino_foresight_ros.model.heads import Head
from dino_foresight_ros.model.tasks import DepthTask
from dino_foresight_ros.outputs import (
    DEPTH,
    MAX_STEPS,
    DropReason,
)
from dino_foresight_ros.planar_motion import Motion
from dino_foresight_ros.runtime.acceleration import Accelerator
from dino_foresight_ros.runtime.capabilities import Capabilities
from dino_foresight_ros.runtime.context import Arrival, ContextBuffer
from dino_foresight_ros.runtime.context_rules import ContextRule
from dino_foresight_ros.runtime.decoder import Decoder
from dino_foresight_ros.runtime.frame import (
    CameraFrame,
    CameraResult,
    Forecast,
    ModelOutputError,
    check_frame,
)
from dino_foresight_ros.runtime.identity import IdentityTracker
from dino_foresight_ros.runtime.out_of_memory import retry_out_of_memory
from dino_foresight_ros.runtime.predicted import Batch, Predicted
from dino_foresight_ros.runtime.request import OutputRequest, Outputs, OutputSize, is_whole
from dino_foresight_ros.runtime.rollout import CameraMaps, Chunk, RolloutDecoder
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.stamps import NS_PER_S


class Context(NamedTuple):
    """What one camera's forecasts are made from, as it is now; later frames do not change it.

    Attributes:
        stamps_ns: of the context frames, oldest first.
        memories: (1, N_c, ...) of them.
        stamps_s: (1, N_c) float64, seconds from the newest.
        newest: (1, h, w, C) features of the newest.
    """

    stamps_ns: tuple[int, ...]
    memories: FrameMemory
    stamps_s: Tensor
    newest: Tensor


class Foresight:
    """Keeps each camera's context on the device and forecasts at every accepted frame.

    Only the new frame costs an encoder pass. Only wanted heads and steps are computed, and
    nothing crosses to the host but the finished maps.
    """

    def __init__(
        self,
        bundle: Bundle,
        steps: int = 3,
        outputs: Outputs | None = None,
        output_size: OutputSize = None,
        rule: ContextRule | None = None,
        acceleration: str = "none",
        cameras: int = 1,
        horizons_s: Sequence[float] | None = None,
        samples: int = 1,
        execution_provider: str = "auto",
    ) -> None:
        """Prepare.

        Args:
            bundle: the model; it stays as it is (heads are copied and their batch norm folded).
            steps: the most future frames per forecast, 1 to 16; as many as there are horizons where
                those are given.
            outputs: what is computed of a frame without a request; every head's when None.
            output_size: of their maps, (H, W), or "input" for that of each frame; patch grid x 8
                when None.
            rule: how context frames are chosen; as the bundle's forecaster needs them when None.
            acceleration: "none", "trace", "compile", "cudagraphs" or "onnxruntime"; compiled here,
                for one camera and for all of them at once, and by `warm_up`. Traced by `warm_up`,
                and whatever comes again and again.
            cameras: how many cameras one batch will hold.
            horizons_s: how far ahead each step lies, rising, seconds up to 10; multiples of the
                bundle's frame interval when None.
            samples: how many futures to draw of a frame without a request of its own; their mean is
                decoded.
            execution_provider: of onnxruntime: auto, cpu, cuda, openvino or tensorrt.

        Raises:
            UsageError: steps, horizons or output size out of range, horizons that the forecaster
                cannot answer, more samples than it draws, an unknown output, one that the bundle
                has no head for, or an acceleration that cannot be had.
            ForesightError: compiling failed.
        """
        if not is_whole(steps) or not 1 <= steps <= MAX_STEPS:
            raise UsageError(f"steps is {steps!r}; it must be a whole number from 1 to {MAX_STEPS}")
        if acceleration == "onnxruntime" and bundle.dtype == torch.bfloat16:
            raise UsageError("acceleration 'onnxruntime' takes no bfloat16; use dtype float32")
        self._accelerator = accelerator = Accelerator(acceleration, execution_provider)
        self.bundle = bundle
        self._capabilities = Capabilities(bundle)
        self.rule = rule or ContextRule.of(bundle.forecaster)
        interval_s = bundle.frame_interval_s
        self.horizons_s = (
            tuple(step * interval_s for step in range(1, steps + 1))
            if horizons_s is None
            else self._capabilities.checked_horizons(horizons_s)
        )
        self.steps = len(self.horizons_s)
        self.last_drop: DropReason | None = None
        self.samples = samples
        wanted = self.available if outputs is None else outputs
        request = OutputRequest(wanted, output_size, samples=samples)
        self._request = self._capabilities.checked(request, self.steps)
        self._buffers: dict[str, ContextBuffer] = {}
        self._newest: dict[str, Tensor] = {}
        self._identities: dict[str, IdentityTracker] = {}
        self._encode = accelerator.wrap(bundle.encoder)
        self._forecaster = bundle.forecaster.for_forecasts()
        if accelerator.is_on:
            self._forecaster = self._forecaster.with_wrapped_core(accelerator.wrap)
        self._decoder = Decoder(bundle, accelerator)
        self._rollout = RolloutDecoder(
            self._forecaster, self._decoder, accelerator.needs_known_shapes
        )
        self._spoiled: set[str] = set()
        if accelerator.needs_known_shapes:
            for count in sorted({1, cameras}):
                self.warm_up(count)

    def warm_up(self, cameras: int = 1, request: OutputRequest | None = None) -> None:
        """Forecast blank frames of so many cameras, so that the first real one is not slow.

        An acceleration compiles for the shapes that it meets here.

        Args:
            cameras: how many.
            request: what to compute; all outputs of the first step when None.

        Raises:
            ModelOutputError: the model gives NaN.
            DeviceMemoryError: no memory, also after freeing what was unused.
            ForesightError: compiling failed.
        """
        image = np.zeros((*self.bundle.image_size, 3), np.uint8)
        request = request or OutputRequest({1: self.available})
        names = [f"blank {i}" for i in range(cameras)]
        for index in range(self.rule.frames + 1):  # a CUDA graph is recorded in the second run
            frame = CameraFrame(image, index * self.rule.usual_spacing_ns, request)
            # Traced is what all frames but the first ones need: a whole context.
            is_whole_context = index == self.rule.frames
            accelerator = self._accelerator
            compiles = accelerator.needs_known_shapes or (accelerator.is_on and is_whole_context)
            with accelerator.warming_up() if compiles else nullcontext():
                results = self.update_cameras(dict.fromkeys(names, frame))
            for result in results.values():
                if result.error is not None:
                    raise result.error
        for name in names:
            del self._buffers[name], self._newest[name]
            self._identities.pop(name, None)

    @property
    def heads(self) -> Mapping[str, Head]:
        """The heads as they run: the bundle's, with their batch norm folded."""
        return self._decoder.heads

    @property
    def available(self) -> frozenset[str]:
        """Outputs that the bundle can give, features aside."""
        return self._capabilities.outputs

    @property
    def available_of_step_0(self) -> frozenset[str]:
        """Those of them that step 0 has too: heads on the forecaster's layers need a prediction."""
        return self._capabilities.outputs_of_step_0

    def reset(self, camera: str | None = None) -> None:
        """Drop the context of one camera, or of all."""
        for name, buffer in self._buffers.items():
            if camera in (None, name):
                buffer.clear()
                if name in self._identities:
                    self._identities[name].reset()

    def needed(self, camera: str, newest_ns: int, waiting_ns: Sequence[int]) -> list[int]:
        """Choose the frames to encode before a camera's newest one, for its context.

        Args:
            camera: whose frames these are.
            newest_ns: stamp of the frame that is to be forecast next.
            waiting_ns: stamps of older frames that could be encoded.

        Returns:
            Indices into `waiting_ns`, by rising stamp: frames that fill holes of the newest
            frame's context, or would leave holes in later ones.
        """
        buffer = self._buffers.get(camera)
        held_ns = () if buffer is None else buffer.stamps_ns
        return self.rule.needed(newest_ns, waiting_ns, held_ns)

    def context_of(self, camera: str) -> str:
        """Filling of a camera's context, such as "2/4 frames"."""
        buffer = self._buffers.get(camera)
        return f"{0 if buffer is None else buffer.filled()}/{self.rule.frames} frames"

    @property
    def forecaster(self) -> Forecaster:
        """The bundle's, accelerated as the engine is."""
        return self._forecaster

    @property
    def decoder(self) -> Decoder:
        """The heads as they run."""
        return self._decoder

    @torch.inference_mode()
    def context(self, camera: str = "") -> Context | None:
        """A copy of a camera's context; None while it fills."""
        buffer = self._buffers.get(camera)
        memories = None if buffer is None else buffer.context()
        if buffer is None or memories is None:
            return None
        stamps_ns = buffer.context_stamps() or ()
        stamps_s = _before_newest(stamps_ns)[None]
        newest = self._newest[camera][None]
        return Context(stamps_ns, tuple(m[None] for m in memories), stamps_s, newest)

    @property
    def memory_bytes(self) -> int:
        """Bytes that all contexts take on the device."""
        return sum(buffer.memory_bytes for buffer in self._buffers.values())

    @property
    def context_state(self) -> str:
        """Filling of the fullest camera's context, such as "2/4 frames"."""
        return max(map(self.context_of, self._buffers or [""]), key=lambda s: int(s.split("/")[0]))

    def update(
        self,
        image: np.ndarray,
        stamp_ns: int,
        outputs: Outputs | None = None,
        camera: str = "",
        ahead_s: Sequence[float] | None = None,
        motion: Motion | None = None,
    ) -> Forecast | None:
        """Take a frame and forecast from it.

        Args:
            image: (H, W, 3) uint8 RGB, any size; it may change between frames.
            stamp_ns: the frame's stamp, nanoseconds.
            outputs: what to compute this time; the engine's own when None.
            camera: whose context this frame belongs to.
            ahead_s: how far ahead each step lies this time, rising, seconds; the engine's own when
                None.
            motion: (S, 3) of the base until each step, metres forward and to the left, radians to
                the left (REP-103), for a forecaster that takes it; None where it is not known.

        Returns:
            The forecast, or None; then `last_drop` says why: context_filling, duplicate_stamp,
            out_of_order, or unwanted (no output is requested; the context is kept all the same).

        Raises:
            UsageError: outputs or horizons that cannot be had.
            InputError: not such an image. The context stays as it was.
            ModelOutputError: the model gave NaN; the context is dropped.
            DeviceMemoryError: no memory, also after freeing what was unused.
        """
        request = self._request if outputs is None else replace(self._request, outputs=outputs)
        if ahead_s is not None:
            request = replace(request, ahead_s=tuple(ahead_s))
        if motion is not None:
            rows = tuple((float(x), float(y), float(turn)) for x, y, turn in motion)
            request = replace(request, motion=rows)
        result = self.update_cameras({camera: CameraFrame(image, stamp_ns, request)})[camera]
        self.last_drop = result.drop
        if result.error is not None:
            raise result.error
        return result.forecast

    @torch.inference_mode()
    def update_cameras(self, frames: Mapping[str, CameraFrame]) -> dict[str, CameraResult]:
        """Take a frame of each of several cameras and forecast them in one batch.

        A camera that is missing, or whose frame is not usable, does not stop the others, and its
        own context stays as it was. Images may differ in size.

        Returns:
            camera -> what became of its frame.

        Raises:
            UsageError: outputs or horizons are requested that cannot be had.
            DeviceMemoryError: no memory, also after freeing what was unused.
        """
        results = self.decode(self._take(frames))
        self._forget_spoiled()
        return results

    @torch.inference_mode()
    def predict(self, frames: Mapping[str, CameraFrame]) -> Predicted:
        """The first half of `update_cameras`, which differs from it in that features are predicted
        and not decoded.

        `decode` does the rest, in any one thread; meanwhile later frames may be predicted here. A
        context that `decode` finds to give NaN is dropped at the next call. Raises as
        `update_cameras`.
        """
        self._forget_spoiled()
        began = time.perf_counter()
        taken = self._take(frames)
        batches = [batch.predicted() for batch in taken.batches]
        return taken._replace(batches=batches, spent_s=time.perf_counter() - began)

    @torch.inference_mode()
    def decode(self, predicted: Predicted) -> dict[str, CameraResult]:
        """The second half of `update_cameras`; returns and raises as that.

        Two calls must not overlap, nor one and `reset`.
        """
        began = time.perf_counter() - predicted.spent_s
        results = dict(predicted.results)
        for batch in predicted.batches:
            for name, outcome in self._decode(batch, began).items():
                if isinstance(outcome, Forecast):
                    results[name] = results[name]._replace(forecast=outcome)
                else:
                    results[name] = results[name]._replace(error=outcome)
        return results

    def _forget_spoiled(self) -> None:
        """Drop contexts of which `decode`, maybe in another thread, found that they give NaN."""
        while self._spoiled:
            self._buffers[self._spoiled.pop()].clear()

    def _take(self, frames: Mapping[str, CameraFrame]) -> Predicted:
        """Encode frames into their contexts and put together what is to be forecast."""
        began = time.perf_counter()
        requests = {
            name: self._request
            if frame.request is None
            else self._capabilities.checked(frame.request, self.steps)
            for name, frame in frames.items()
        }
        results = {name: self._examine(name, frame) for name, frame in frames.items()}
        fresh = [n for n, r in results.items() if r.error is None and r.drop is None]
        if not fresh:
            return Predicted(results, [], 0.0)
        # May run twice: a buffer takes no frame twice.
        newest = retry_out_of_memory(lambda: self._encode_frames(fresh, frames))
        groups: dict[tuple[int, tuple[float, ...], int], dict[str, OutputRequest]] = {}
        for name in fresh:
            request = requests[name].sized_for(frames[name].image.shape[:2])
            context_ns = self._buffers[name].context_stamps()
            if context_ns is None:
                results[name] = results[name]._replace(drop=DropReason.CONTEXT_FILLING)
            elif request.is_empty:
                results[name] = results[name]._replace(drop=DropReason.UNWANTED)
            else:
                horizons_s = self.horizons_s if request.ahead_s is None else request.ahead_s
                ahead_s = horizons_s[: request.last_step(len(horizons_s))]
                samples = request.samples or self.samples
                groups.setdefault((len(context_ns), ahead_s, samples), {})[name] = request
        batches = [
            self._batch(group, torch.stack([newest[name] for name in group]), ahead_s, samples)
            for (_, ahead_s, samples), group in groups.items()
        ]
        return Predicted(results, batches, time.perf_counter() - began)

    def _examine(self, camera: str, frame: CameraFrame) -> CameraResult:
        """Whether a frame is of use, before anything is done with it."""
        try:
            check_frame(frame)
        except InputError as error:
            return CameraResult(error=error)
        buffer = self._buffers.get(camera)
        arrival = Arrival.APPEND if buffer is None else buffer.arrival(frame.stamp_ns)
        drop = None if arrival.accepted else DropReason(arrival.value)
        return CameraResult(drop=drop, arrival=arrival)

    def _encode_frames(
        self, cameras: list[str], frames: Mapping[str, CameraFrame]
    ) -> dict[str, Tensor]:
        """Encode new frames in one pass and remember them; camera -> (h, w, C) PCA features."""
        pixels = torch.cat([self.preprocess(frames[name].image) for name in cameras])
        z = self.bundle.pca.transform(self._encode(pixels))
        stamps_ns = [int(frames[name].stamp_ns) for name in cameras]
        memory = self._forecaster.remember(z, _seconds(stamps_ns))
        for i, (name, stamp_ns) in enumerate(zip(cameras, stamps_ns, strict=True)):
            buffer = self._buffers.setdefault(name, ContextBuffer(self.rule))
            buffer.push(stamp_ns, tuple(x[i] for x in memory))
            self._newest[name] = z[i]
        return dict(zip(cameras, z, strict=True))

    @torch.inference_mode()
    def features(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 RGB -> (h, w, C) PCA features on the device; no context knows of it."""
        return self.bundle.pca.transform(self._encode(self.preprocess(image)))[0]

    def preprocess(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, H', W') normalised on the device, by one upload of uint8."""
        return self.bundle.encoder.preprocess(np.ascontiguousarray(image)[None])

    def _batch(
        self,
        requests: Mapping[str, OutputRequest],
        newest: Tensor,
        ahead_s: tuple[float, ...],
        samples: int,
    ) -> Batch:
        """Cameras of which the same horizons and samples are wanted.

        Args:
            requests: camera -> what is wanted of it.
            newest: (B, h, w, C) features of their newest frames.
            ahead_s: horizons of step 1, 2, ..., seconds.
            samples: how many futures to draw.
        """
        buffers = [self._buffers[name] for name in requests]
        stamps_ns = [buffer.context_stamps() or () for buffer in buffers]
        wanted = list(requests.values())

        def predict() -> Iterator[Chunk]:
            contexts = [context for b in buffers if (context := b.context()) is not None]
            memories = tuple(torch.stack(parts) for parts in zip(*contexts, strict=True))
            stamps_s = torch.stack([_before_newest(stamps) for stamps in stamps_ns])
            motion = _motion(wanted, len(ahead_s))
            return self._rollout.predict(
                memories, stamps_s, newest, wanted, ahead_s, samples, motion
            )

        return Batch(dict(requests), dict(zip(requests, stamps_ns, strict=True)), ahead_s, predict)

    def _decode(self, batch: Batch, began: float) -> dict[str, Forecast | ModelOutputError]:
        """A batch's forecasts; `began` is when work began, seconds of `time.perf_counter`."""
        wanted = list(batch.requests.values())
        found = retry_out_of_memory(lambda: self._rollout.decode(batch.chunks(), wanted))
        outcomes: dict[str, Forecast | ModelOutputError] = {}
        for name, maps, finite in zip(batch.requests, *found, strict=True):
            if finite:
                outcomes[name] = self._assemble(name, maps, batch, began)
                continue
            self._spoiled.add(name)
            if name in self._identities:
                self._identities[name].reset()
            outcomes[name] = ModelOutputError(
                f"bundle {self.bundle.name} predicted NaN or infinity; the context was dropped. "
                "Half precision may be too narrow for these weights: try dtype float32"
            )
        return outcomes

    def _assemble(self, camera: str, maps: CameraMaps, batch: Batch, began: float) -> Forecast:
        stamps_ns, ahead_s = batch.stamps_ns[camera], batch.ahead_s
        depth = self.bundle.tasks.get(DEPTH)
        is_metric = isinstance(depth, DepthTask) and depth.is_metric

        def scene(step: int, future: int = 0) -> Scene:
            horizon_s = ahead_s[step - 1] if step else 0.0
            return Scene(
                stamps_ns[-1] + round(horizon_s * NS_PER_S),
                step=step,
                horizon_s=horizon_s,
                depth_is_metric=is_metric,
                samples=tuple(scene(step, other) for other in sorted(maps) if other and not future),
                **scene_fields(maps.get(future, {}).get(step, {})),
            )

        first = 0 if 0 in maps.get(0, {}) else 1
        scenes = tuple(scene(step) for step in range(first, len(ahead_s) + 1))
        if any(one.instances is not None for one in scenes):
            identity = self._identities.setdefault(camera, IdentityTracker())
            scenes = identity.update(stamps_ns[-1], scenes)
        return Forecast(
            stamp_ns=stamps_ns[-1],
            context_stamps_ns=stamps_ns,
            frame_interval_s=self.bundle.frame_interval_s,
            steps=scenes[1 - first :],
            model_name=self.bundle.name,
            trained=self.bundle.trained,
            duration_s=time.perf_counter() - began,
            step_0=None if first else scenes[0],
        )


def _motion(requests: Sequence[OutputRequest], steps: int) -> Tensor | None:
    """(B, S, 3) with NaN where it is not known; None where no request knows it."""
    if all(request.motion is None for request in requests):
        return None
    motion = torch.full((len(requests), steps, 3), math.nan, dtype=torch.float64)
    for row, request in zip(motion, requests, strict=True):
        known = (request.motion or ())[:steps]  # of another camera more steps may be wanted
        row[: len(known)] = torch.tensor(known, dtype=torch.float64).reshape(-1, 3)
    return motion


def _before_newest(stamps_ns: Sequence[int]) -> Tensor:
    """Stamps as float64 seconds from the last one, exact however large they are."""
    return _seconds([stamp_ns - stamps_ns[-1] for stamp_ns in stamps_ns])


def _seconds(stamps_ns: Sequence[int]) -> Tensor:
    """Stamps as float64 seconds."""
    return torch.tensor(stamps_ns, dtype=torch.float64) / NS_PER_S
