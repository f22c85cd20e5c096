"""The engine: a frame goes in, a forecast comes out. Arrays and stamps, no ROS, no threads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dino_foresight_ros.errors import InputError, UsageError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.forecasters import Prediction
from dino_foresight_ros.model.heads import Head
from dino_foresight_ros.model.tasks import DepthTask
from dino_foresight_ros.outputs import (
    DEPTH,
    FEATURES,
    MAX_STEPS,
    outputs_of_heads,
    outputs_of_step_0,
)
from dino_foresight_ros.runtime.acceleration import Accelerator
from dino_foresight_ros.runtime.camera_frame import (
    CameraFrame,
    CameraResult,
    ModelOutputError,
    check_frame,
)
from dino_foresight_ros.runtime.context import Arrival, ContextRule, FeatureBuffer
from dino_foresight_ros.runtime.decoder import Decoder, Maps, Wish
from dino_foresight_ros.runtime.forecast import Forecast
from dino_foresight_ros.runtime.memory import retry_out_of_memory
from dino_foresight_ros.runtime.request import OutputRequest, Outputs, OutputSize, is_whole
from dino_foresight_ros.runtime.second_lane import SecondLane
from dino_foresight_ros.scene import Scene


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
        second_lane: bool = False,
    ) -> None:
        """Prepare.

        Args:
            bundle: the model; it stays as it is (heads are copied and their batch norm folded).
            steps: how many future frames, 1 to 16.
            outputs: what is computed of a frame without a request; every head's when None.
            output_size: of their maps, (H, W), or "input" for that of each frame; patch grid x 8
                when None.
            rule: how context frames are chosen; from the bundle's frame interval when None.
            acceleration: "none", "compile" or "cudagraphs"; compiled here, for one camera and for
                all of them at once.
            cameras: how many cameras one batch will hold.
            second_lane: decode each step in a second thread while the next is predicted; pays on a
                CPU with a model too small for `torch.set_num_threads` above 1.

        Raises:
            UsageError: steps or output size out of range, an unknown output, one that the bundle
                has no head for, or an acceleration or a second lane that cannot be had (heads that
                read the forecaster's layers take none, and no model takes both).
            ForesightError: compiling failed.
        """
        self.bundle = bundle
        self.rule = rule or ContextRule.for_interval(bundle.context_frames, bundle.frame_interval_s)
        if not is_whole(steps) or not 1 <= steps <= MAX_STEPS:
            raise UsageError(f"steps is {steps!r}; it must be a whole number from 1 to {MAX_STEPS}")
        self.steps = int(steps)
        """Most future frames per forecast."""
        self._request = self._checked(
            OutputRequest(self.available if outputs is None else outputs, output_size)
        )
        self._buffers: dict[str, FeatureBuffer] = {}
        self.last_drop: str | None = None
        self.last_arrival: Arrival | None = None
        self._layers = sorted({i for read in bundle.inputs.values() for i in read.layers})
        if second_lane and (self._layers or acceleration != "none"):
            raise UsageError(
                "a second lane takes neither acceleration nor heads on the forecaster's layers"
            )
        self._accelerator = Accelerator(acceleration)
        self._encode = self._accelerator.wrap(bundle.encoder)
        self._forecaster = bundle.forecaster
        if self._accelerator.is_on:
            self._forecaster = bundle.forecaster.with_wrapped_core(self._accelerator.wrap)
        self._decoder = Decoder(bundle, self._accelerator)
        self._second_lane = SecondLane(self._decoder) if second_lane else None
        if self._accelerator.is_on:
            with self._accelerator.warming_up():
                for count in sorted({1, cameras}):
                    self._warm_up(count)

    def _warm_up(self, count: int) -> None:
        """Forecast blank frames of so many cameras."""
        image = np.zeros((*self.bundle.image_size, 3), np.uint8)
        request = OutputRequest({1: self.available})
        names = [f"blank {i}" for i in range(count)]
        for index in range(self.rule.frames + 1):  # a CUDA graph is recorded in the second run
            frame = CameraFrame(image, index * self.rule.interval_ns, request)
            for result in self.update_cameras(dict.fromkeys(names, frame)).values():
                if result.error is not None:
                    raise result.error
        for name in names:
            del self._buffers[name]

    @property
    def _heads(self) -> dict[str, Head]:
        return self._decoder.heads

    @property
    def available(self) -> frozenset[str]:
        """Outputs that the bundle's heads can give, features aside."""
        return outputs_of_heads(self.bundle.heads)

    @property
    def available_of_seen(self) -> frozenset[str]:
        """Those of them that step 0 has too: heads on the forecaster's layers need a prediction."""
        layered = {name for name, read in self.bundle.inputs.items() if read.layers}
        return outputs_of_step_0(self.available, layered)

    def _checked(self, request: OutputRequest) -> OutputRequest:
        features = {FEATURES}
        request.check(self.available | features, self.available_of_seen | features, self.steps)
        return request

    def reset(self, camera: str | None = None) -> None:
        """Drop the context of one camera, or of all."""
        for name, buffer in self._buffers.items():
            if camera in (None, name):
                buffer.clear()

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
    def context_state(self) -> str:
        """Filling of the fullest camera's context, such as "2/4 frames"."""
        return max(map(self.context_of, self._buffers or [""]), key=lambda s: int(s.split("/")[0]))

    def update(
        self, image: np.ndarray, stamp_ns: int, outputs: Outputs | None = None, camera: str = ""
    ) -> Forecast | None:
        """Take a frame and forecast from it.

        Args:
            image: (H, W, 3) uint8 RGB, any size; it may change between frames.
            stamp_ns: the frame's stamp, nanoseconds.
            outputs: what to compute this time; the engine's own when None.
            camera: whose context this frame belongs to.

        Returns:
            The forecast, or None; then `last_drop` says why: "context_filling",
            "duplicate_stamp", "out_of_order", or "unwanted" (no output is requested; the context
            is kept all the same).

        Raises:
            InputError: not such an image. The context stays as it was.
            ModelOutputError: the model gave NaN; the context is dropped.
            DeviceMemoryError: no memory, also after freeing what was unused.
        """
        request = None if outputs is None else replace(self._request, outputs=outputs)
        result = self.update_cameras({camera: CameraFrame(image, stamp_ns, request)})[camera]
        self.last_drop, self.last_arrival = result.drop, result.arrival
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
            UsageError: outputs are requested that do not exist.
            DeviceMemoryError: no memory, also after freeing what was unused.
        """
        started = time.perf_counter()
        requests = {
            name: self._request if frame.request is None else self._checked(frame.request)
            for name, frame in frames.items()
        }
        results = {name: self._examine(name, frame) for name, frame in frames.items()}
        fresh = [n for n, r in results.items() if r.error is None and r.drop is None]
        if fresh:
            # May run twice: a buffer takes no frame twice.
            retry_out_of_memory(lambda: self._fill(fresh, frames))
        by_steps: dict[int, dict[str, Wish]] = {}
        for name in fresh:
            request = requests[name].sized_for(frames[name].image.shape[:2])
            names = [request.of_step(k + 1) for k in range(request.last_step(self.steps))]
            if self._buffers[name].context_stamps() is None:
                results[name] = results[name]._replace(drop="context_filling")
            elif request.is_empty:
                results[name] = results[name]._replace(drop="unwanted")
            else:
                assert request.size != "input"
                wish = Wish(names, request.size, request.of_step(0))
                by_steps.setdefault(len(names), {})[name] = wish
        for wishes in by_steps.values():
            for name, outcome in self._forecast(wishes, started).items():
                if isinstance(outcome, Forecast):
                    results[name] = results[name]._replace(forecast=outcome)
                else:
                    results[name] = results[name]._replace(error=outcome)
        return results

    def _examine(self, camera: str, frame: CameraFrame) -> CameraResult:
        """Whether a frame is of use, before anything is done with it."""
        try:
            check_frame(frame)
        except InputError as error:
            return CameraResult(error=error)
        buffer = self._buffers.get(camera)
        arrival = Arrival.APPEND if buffer is None else buffer.arrival(frame.stamp_ns)
        return CameraResult(drop=None if arrival.accepted else arrival.value, arrival=arrival)

    def _fill(self, cameras: list[str], frames: Mapping[str, CameraFrame]) -> None:
        """Encode the new frames in one pass and put their PCA features into the buffers."""
        pixels = torch.cat([self.preprocess(frames[name].image) for name in cameras])
        features = self.bundle.pca.transform(self._encode(pixels))
        for name, z in zip(cameras, features, strict=True):
            self._buffer(name).push(int(frames[name].stamp_ns), z)

    def preprocess(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 -> (1, 3, H', W') normalised on the device, by one upload of uint8."""
        return self.bundle.encoder.preprocess(np.ascontiguousarray(image)[None])

    def _buffer(self, camera: str) -> FeatureBuffer:
        if camera not in self._buffers:
            self._buffers[camera] = FeatureBuffer(
                self.rule,
                (*self.bundle.grid, self.bundle.pca.channels),
                self.bundle.device,
                self.bundle.dtype,
            )
        return self._buffers[camera]

    def _forecast(
        self, wishes: Mapping[str, Wish], started: float
    ) -> dict[str, Forecast | ModelOutputError]:
        """Forecast cameras, of which equally many steps are wanted, in one batch."""
        wished = list(wishes.values())

        def work() -> tuple[list[dict[str, np.ndarray]], list[Maps], list[bool]]:
            found = [context for n in wishes if (context := self._buffers[n].context()) is not None]
            contexts, steps = torch.stack(found), len(wished[0].names)
            if self._second_lane is not None and steps:
                passes = self._passes(contexts, steps)
                return self._second_lane.decode(passes, contexts[:, -1], wished)
            predicted, hidden = self._rollout(contexts, steps)
            seen, sound = self._decoder.decode_seen(contexts[:, -1], wished)
            maps, finite = self._decoder.decode(predicted, hidden, wished)
            return seen, maps, [a and b for a, b in zip(sound, finite, strict=True)]

        outcomes: dict[str, Forecast | ModelOutputError] = {}
        for name, seen, maps, finite in zip(wishes, *retry_out_of_memory(work), strict=True):
            if finite:
                outcomes[name] = self._assemble(name, seen, maps, started)
                continue
            self.reset(name)
            outcomes[name] = ModelOutputError(
                f"bundle {self.bundle.name} predicted NaN or infinity; the context was dropped. "
                "Half precision may be too narrow for these weights: try dtype float32"
            )
        return outcomes

    def _rollout(self, contexts: Tensor, steps: int) -> tuple[Tensor, dict[int, Tensor]]:
        """(B, N_c, h, w, C) -> (B, steps, h, w, C).

        With it, layer -> (B, steps, h, w, D) of the forecaster's layers that heads read.
        """
        if steps == 0:  # only the newest frame itself is wanted
            return contexts[:, :0], {}
        asked = self._forecaster.evenly_spaced(contexts, steps)
        whole = Prediction.join(self._forecaster.stream(*asked, layers=self._layers))
        return whole.z[:, 0], {i: tokens[:, 0] for i, tokens in whole.hidden.items()}

    def _passes(self, contexts: Tensor, steps: int) -> Iterator[Tensor]:
        """The rollout pass by pass."""
        asked = self._forecaster.evenly_spaced(contexts, steps)
        return (part.z[:, 0] for part in self._forecaster.stream(*asked))

    def _assemble(
        self, camera: str, seen: dict[str, np.ndarray], maps: Maps, started: float
    ) -> Forecast:
        stamps = self._buffers[camera].context_stamps()
        assert stamps is not None

        depth = self.bundle.tasks.get(DEPTH)
        is_metric = isinstance(depth, DepthTask) and depth.is_metric

        def step(k: int, values: dict[str, Any]) -> Scene:
            return Scene(
                stamps[-1] + k * self.rule.interval_ns,
                step=k,
                horizon_s=k * self.bundle.frame_interval_s,
                depth_is_metric=is_metric,
                **values,
            )

        return Forecast(
            stamp_ns=stamps[-1],
            context_stamps_ns=stamps,
            frame_interval_s=self.bundle.frame_interval_s,
            steps=tuple(step(k, values) for k, values in enumerate(maps, start=1)),
            model_name=self.bundle.name,
            trained=self.bundle.trained,
            duration_s=time.perf_counter() - started,
            seen=step(0, seen) if seen else None,
        )
