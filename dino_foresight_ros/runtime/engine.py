"""The engine: a frame goes in, a forecast comes out. Arrays and stamps, no ROS."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from dino_foresight_ros.detections import scene_fields
from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model import Bundle, Forecaster
from dino_foresight_ros.model.heads import Head
from dino_foresight_ros.model.tasks import DepthTask
from dino_foresight_ros.outputs import (
    DEPTH,
    MAX_STEPS,
    DropReason,
)
from dino_foresight_ros.planar_motion import Motion
from dino_foresight_ros.runtime.acceleration import Accelerator
from dino_foresight_ros.runtime.batch import Batch, Context, batches, seconds
from dino_foresight_ros.runtime.capabilities import Capabilities
from dino_foresight_ros.runtime.context import Arrival, ContextBuffer
from dino_foresight_ros.runtime.context_rules import ContextRule
from dino_foresight_ros.runtime.decoder import Decoder
from dino_foresight_ros.runtime.encoded import Encoded
from dino_foresight_ros.runtime.frame import (
    CameraFrame,
    CameraResult,
    Forecast,
    ModelOutputError,
    check_frame,
)
from dino_foresight_ros.runtime.identity import IdentityTracker
from dino_foresight_ros.runtime.out_of_memory import retry_out_of_memory
from dino_foresight_ros.runtime.request import OutputRequest, Outputs, OutputSize, is_whole
from dino_foresight_ros.runtime.rollout import CameraMaps, RolloutDecoder
from dino_foresight_ros.runtime.threads import Threads
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.stamps import NS_PER_S


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
        threads: int = 1,
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
            threads: how many share horizons and heads; more than one pays on a CPU with a model
                that is too small for `torch.set_num_threads` above 1.

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
        self.threads = Threads(threads)
        if threads > 1:
            self._forecaster = self._forecaster.with_threads(self.threads)
        self._decoder = Decoder(bundle, accelerator, self.threads)
        self._rollout = RolloutDecoder(
            self._forecaster, self._decoder, accelerator.needs_known_shapes
        )
        if accelerator.needs_known_shapes:
            for count in sorted({1, cameras}):
                self.warm_up(count)

    def warm_up(self, cameras: int = 1, request: OutputRequest | None = None) -> None:
        """Forecast blank frames of so many cameras, so that the first real one is not slow.

        An acceleration compiles for the shapes that it meets here.

        Args:
            cameras: how many.
            request: what to compute; the engine's own when None.

        Raises:
            ModelOutputError: the model gives NaN.
            DeviceMemoryError: no memory, also after freeing what was unused.
            ForesightError: compiling failed.
        """
        image = np.zeros((*self.bundle.image_size, 3), np.uint8)
        request = request or self._request
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
        """The heads as they run: batch norm folded in, and the PCA where a head begins linearly."""
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
        return None if buffer is None else Context.of(buffer, self._newest[camera])

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
        focal: float | None = None,
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
            focal: focal length of the camera, as `CameraModel.focal` and `CameraView.focal` have
                it, for a metric depth head that needs it; None where it is not known.

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
        if focal is not None:
            request = replace(request, focal=focal)
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
        return self.forecast(self.encode(frames))

    @torch.inference_mode()
    def encode(self, frames: Mapping[str, CameraFrame]) -> Encoded:
        """The first half of `update_cameras`: take frames into their contexts.

        Raises as that.
        """
        began = time.perf_counter()
        requests = {
            name: self._request
            if frame.request is None
            else self._capabilities.checked(frame.request, self.steps)
            for name, frame in frames.items()
        }
        results = {name: self._examine(name, frame) for name, frame in frames.items()}
        fresh = [n for n, r in results.items() if r.error is None and r.drop is None]
        if fresh:
            # May run twice: a buffer takes no frame twice.
            retry_out_of_memory(lambda: self._encode_frames(fresh, frames))
        wanted: dict[str, OutputRequest] = {}
        for name in fresh:
            request = requests[name].sized_for(frames[name].image.shape[:2])
            if self._buffers[name].context_stamps() is None:
                results[name] = results[name]._replace(drop=DropReason.CONTEXT_FILLING)
            elif request.is_empty:
                results[name] = results[name]._replace(drop=DropReason.UNWANTED)
            else:
                wanted[name] = request
        return Encoded(results, wanted, time.perf_counter() - began)

    @torch.inference_mode()
    def forecast(
        self, encoded: Encoded, beside: Callable[[], None] | None = None
    ) -> dict[str, CameraResult]:
        """The second half of `update_cameras`: forecast the frames that were encoded last.

        Args:
            encoded: by `encode`, since which no other frame of its cameras was encoded.
            beside: with several threads, is begun in one of them once features are predicted and
                heads are at work. It may encode the next frames. Before anything else is asked of
                the engine, `wait` for it.

        Returns:
            As `update_cameras`, and raises as that.
        """
        began = time.perf_counter() - encoded.spent_s
        results = dict(encoded.results)
        contexts: dict[str, Context] = {}
        for name in encoded.requests:
            context = self.context(name)
            if context is None:  # it gave NaN meanwhile, and was dropped
                results[name] = results[name]._replace(drop=DropReason.CONTEXT_FILLING)
            else:
                contexts[name] = context
        wanted = {name: encoded.requests[name] for name in contexts}
        made = batches(wanted, contexts, self.horizons_s, self.samples)
        for batch in made:
            last = beside if batch is made[-1] else None
            for name, outcome in self._forecast(batch, began, last).items():
                if isinstance(outcome, Forecast):
                    results[name] = results[name]._replace(forecast=outcome)
                else:
                    results[name] = results[name]._replace(error=outcome)
        return results

    def wait(self) -> None:
        """Wait for what `forecast` was given to do beside; raises what that raises."""
        self.threads.wait()

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

    def _encode_frames(self, cameras: list[str], frames: Mapping[str, CameraFrame]) -> None:
        """Encode new frames, in one pass or a pass each for threads to take, and remember them."""
        images = [frames[name].image for name in cameras]
        # Passes of one shape: another would be traced anew.
        pieces = [images] if self.threads.count == 1 else [[image] for image in images]
        z = torch.cat(self.threads.run([partial(self._features, piece) for piece in pieces]))
        stamps_ns = [int(frames[name].stamp_ns) for name in cameras]
        memory = self._forecaster.remember(z, seconds(stamps_ns))
        for i, (name, stamp_ns) in enumerate(zip(cameras, stamps_ns, strict=True)):
            buffer = self._buffers.setdefault(name, ContextBuffer(self.rule))
            buffer.push(stamp_ns, tuple(x[i] for x in memory))
            self._newest[name] = z[i]

    @torch.inference_mode()
    def features(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 RGB -> (h, w, C) PCA features on the device; no context knows of it."""
        return self._features([image])[0]

    def _features(self, images: Sequence[np.ndarray]) -> Tensor:
        """(B, h, w, C) of images of any sizes."""
        pixels = torch.cat([self.preprocess(image) for image in images])
        return self.bundle.pca.transform(self._encode(pixels))

    def preprocess(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, H', W') normalised on the device, by one upload of uint8."""
        return self.bundle.encoder.preprocess(np.ascontiguousarray(image)[None])

    def _forecast(
        self, batch: Batch, began: float, beside: Callable[[], None] | None
    ) -> dict[str, Forecast | ModelOutputError]:
        """A batch's forecasts; `began` is when work began, seconds of `time.perf_counter`."""
        found = retry_out_of_memory(lambda: self._rollout.maps(batch, beside))
        outcomes: dict[str, Forecast | ModelOutputError] = {}
        for name, maps, finite in zip(batch.requests, *found, strict=True):
            if finite:
                outcomes[name] = self._assemble(name, maps, batch, began)
                continue
            self.wait()  # what was encoded beside goes with the context
            self.reset(name)
            outcomes[name] = ModelOutputError(
                f"bundle {self.bundle.name} predicted NaN or infinity; the context was dropped. "
                "Half precision may be too narrow for these weights: try dtype float32"
            )
        return outcomes

    def _assemble(self, camera: str, maps: CameraMaps, batch: Batch, began: float) -> Forecast:
        stamps_ns, ahead_s = batch.contexts[camera].stamps_ns, batch.ahead_s
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
