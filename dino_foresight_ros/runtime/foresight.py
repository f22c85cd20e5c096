"""The engine: a frame goes in, a forecast comes out. Arrays and stamps, no ROS, no threads."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dino_foresight_ros.errors import ForesightError, InputError, UsageError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.dpt_head import fuse_batch_norm
from dino_foresight_ros.model.forecaster import MAX_STEPS, Forecaster, rollout
from dino_foresight_ros.runtime.acceleration import Accelerated
from dino_foresight_ros.runtime.feature_buffer import Arrival, ContextRule, FeatureBuffer
from dino_foresight_ros.runtime.forecast import Forecast, StepForecast
from dino_foresight_ros.runtime.memory import retry_out_of_memory

OUTPUTS = ("segmentation", "confidence", "depth", "normals", "features")
"""What a step can hold; `wanted` names some of these."""

HEAD_OF = {
    "segmentation": "segmentation",
    "confidence": "segmentation",
    "depth": "depth",
    "normals": "normals",
}

Wanted = frozenset[str] | Mapping[int, frozenset[str]]
"""Outputs wanted of every step, or of each step (counted from 1)."""


class CameraFrame(NamedTuple):
    """One camera's image and its stamp.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        stamp_ns: nanoseconds.
    """

    image: np.ndarray
    stamp_ns: int


class ModelOutputError(ForesightError):
    """The model gave NaN or infinity; nothing was forecast and the context was dropped."""

    drop_reason = "bad_output"


class Foresight:
    """Keeps each camera's context on the device and forecasts at every accepted frame.

    Only the new frame costs an encoder pass. Only wanted heads and steps are computed, and
    nothing crosses to the host but the finished maps.
    """

    def __init__(
        self,
        bundle: Bundle,
        steps: int = 3,
        wanted: Wanted | None = None,
        output_size: tuple[int, int] | None = None,
        rule: ContextRule | None = None,
        acceleration: str = "none",
    ) -> None:
        """Prepare.

        Args:
            bundle: the model; it stays as it is (heads are copied and their batch norm folded).
            steps: how many future frames, 1 to 16.
            wanted: outputs that `update` computes unless told otherwise; every head when None.
            output_size: (H, W) of the maps; patch grid x 8 when None.
            rule: how context frames are chosen; from the bundle's frame interval when None.
            acceleration: "none", "compile" or "cudagraphs"; compiled here, for one camera.

        Raises:
            UsageError: steps out of range, an unknown output, one that the bundle has no head
                for, or an acceleration that cannot be had (heads that read the forecaster's
                layers take none).
            ForesightError: compiling failed.
        """
        self.bundle = bundle
        self.output_size = output_size
        self.rule = rule or ContextRule.for_interval(bundle.context_frames, bundle.frame_interval_s)
        self.steps = steps
        self._wanted = self._check_wanted(self.available if wanted is None else wanted)
        self._buffers: dict[str, FeatureBuffer] = {}
        self.last_drop: str | None = None
        self.last_arrival: Arrival | None = None
        self._heads = {
            name: fuse_batch_norm(copy.deepcopy(head)).to(memory_format=torch.channels_last)
            for name, head in bundle.heads.items()
        }
        self.acceleration = acceleration
        self._layers = sorted({i for read in bundle.inputs.values() for i in read.layers})
        if self._layers and acceleration != "none":
            raise UsageError(
                f"acceleration '{acceleration}' does not fit this bundle, whose heads read the "
                "forecaster's layers; use none"
            )
        self._encode = Accelerated(bundle.encoder, acceleration)
        self._predict = Accelerated(bundle.forecaster.predict, acceleration)
        self._decoders = {n: Accelerated(head, acceleration) for n, head in self._heads.items()}
        if acceleration != "none":
            self._compile()

    @torch.inference_mode()
    def _compile(self) -> None:
        """Compile every part for one camera, so that no live frame pays for it."""
        bundle = self.bundle
        blank = np.zeros((*bundle.image_size, 3), np.uint8)
        z = bundle.pca.transform(self._encode.warm_up(self.preprocess(blank)))
        context = z[:, None].expand(-1, bundle.context_frames, -1, -1, -1).contiguous()
        features = bundle.pca.inverse(self._predict.warm_up(context)[:, 0])
        for decode in self._decoders.values():
            decode.warm_up(features)

    @property
    def steps(self) -> int:
        """Future frames per forecast; may be set between updates."""
        return self._steps

    @steps.setter
    def steps(self, value: int) -> None:
        if not 1 <= value <= MAX_STEPS:
            raise UsageError(f"steps is {value}; it must be 1 to {MAX_STEPS}")
        self._steps = int(value)

    @property
    def available(self) -> frozenset[str]:
        """Outputs that the bundle's heads can give, features aside."""
        return frozenset(name for name, head in HEAD_OF.items() if head in self.bundle.heads)

    def _check_wanted(self, wanted: Wanted) -> Wanted:
        sets = wanted.values() if isinstance(wanted, Mapping) else [wanted]
        valid = self.available | {"features"}
        unknown = sorted(set().union(*sets) - valid)
        if unknown:
            raise UsageError(f"unknown outputs {unknown}; this bundle gives {sorted(valid)}")
        if isinstance(wanted, Mapping) and min(wanted, default=1) < 1:
            raise UsageError(f"outputs are wanted of step {min(wanted)}; steps count from 1")
        return wanted

    def reset(self, camera: str | None = None) -> None:
        """Drop the context of one camera, or of all."""
        for name, buffer in self._buffers.items():
            if camera in (None, name):
                buffer.clear()

    @property
    def context_state(self) -> str:
        """Filling of the fullest camera's context, such as "2/4 frames"."""
        filled = max((buffer.filled() for buffer in self._buffers.values()), default=0)
        return f"{filled}/{self.rule.frames} frames"

    def update(
        self, image: np.ndarray, stamp_ns: int, wanted: Wanted | None = None, camera: str = ""
    ) -> Forecast | None:
        """Take a frame and forecast from it.

        Args:
            image: (H, W, 3) uint8 RGB, any size; it may change between frames.
            stamp_ns: the frame's stamp, nanoseconds.
            wanted: outputs to compute this time; the engine's own when None.
            camera: whose context this frame belongs to.

        Returns:
            The forecast, or None; then `last_drop` says why: "context_filling",
            "duplicate_stamp", "out_of_order", or "unwanted" (no output is wanted; the context
            is kept all the same).

        Raises:
            InputError: not such an image. The context stays as it was.
            ModelOutputError: the model gave NaN; the context is dropped.
            DeviceMemoryError: no memory, also after freeing what was unused.
        """
        return self.update_cameras({camera: CameraFrame(image, stamp_ns)}, wanted)[camera]

    @torch.inference_mode()
    def update_cameras(
        self, frames: Mapping[str, CameraFrame], wanted: Wanted | None = None
    ) -> dict[str, Forecast | None]:
        """Take a frame of each of several cameras and forecast them in one batch.

        A camera that is missing, or whose frame is not usable, does not stop the others. Images
        may differ in size.

        Returns:
            camera -> its forecast or None. `last_drop` tells of the last camera only.
        """
        started = time.perf_counter()
        wanted = self._wanted if wanted is None else self._check_wanted(wanted)
        for frame in frames.values():
            _check_image(frame.image)
        results: dict[str, Forecast | None] = dict.fromkeys(frames)
        fresh = [name for name, frame in frames.items() if self._accepts(name, frame.stamp_ns)]
        if not fresh:
            return results
        # Both may run twice: a buffer takes no frame twice.
        retry_out_of_memory(lambda: self._fill(fresh, frames))
        ready, contexts = self._contexts(fresh)
        if ready and not _anything(wanted):
            self.last_drop, ready = "unwanted", []
        if not ready:
            return results
        maps = retry_out_of_memory(lambda: self._decode(*self._rollout(contexts, wanted), wanted))
        for index, name in enumerate(ready):
            results[name] = self._assemble(name, index, maps, started)
        return results

    def _accepts(self, camera: str, stamp_ns: int) -> bool:
        buffer = self._buffers.get(camera)
        self.last_arrival = Arrival.APPEND if buffer is None else buffer.arrival(stamp_ns)
        self.last_drop = None if self.last_arrival.accepted else self.last_arrival.value
        return self.last_arrival.accepted

    def _fill(self, cameras: list[str], frames: Mapping[str, CameraFrame]) -> None:
        """Encode the new frames in one pass and put their PCA features into the buffers."""
        pixels = torch.cat([self.preprocess(frames[name].image) for name in cameras])
        features = self.bundle.pca.transform(self._encode(pixels))
        for name, z in zip(cameras, features, strict=True):
            self._buffer(name).push(frames[name].stamp_ns, z)

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

    def _contexts(self, cameras: list[str]) -> tuple[list[str], Tensor]:
        found = {name: self._buffers[name].context() for name in cameras}
        ready = {name: context for name, context in found.items() if context is not None}
        self.last_drop = None if ready else "context_filling"
        return list(ready), torch.stack(list(ready.values())) if ready else torch.empty(0)

    def _rollout(self, contexts: Tensor, wanted: Wanted) -> tuple[Tensor, dict[int, Tensor]]:
        """(B, N_c, h, w, C) -> (B, steps, h, w, C), no further than anybody wants.

        With it, layer -> (B, steps, h, w, D) of the forecaster's layers that heads read.
        """
        steps = self.steps
        if isinstance(wanted, Mapping):
            steps = min(steps, max(k for k, names in wanted.items() if names))
        if self._layers:
            assert isinstance(self.bundle.forecaster, Forecaster)
            return self.bundle.forecaster.rollout_with_layers(contexts, steps, self._layers)
        if self.acceleration == "none":
            return self.bundle.forecaster.rollout(contexts, steps), {}
        return rollout(self._predict, contexts, steps), {}

    def _decode(
        self, predicted: Tensor, hidden: Mapping[int, Tensor], wanted: Wanted
    ) -> list[dict[str, np.ndarray]]:
        """Run the wanted heads on the wanted steps and download: a dict of (B, ...) per step."""
        count = predicted.shape[1]
        names_of = [
            wanted.get(k + 1, frozenset()) if isinstance(wanted, Mapping) else wanted
            for k in range(count)
        ]
        steps: list[dict[str, Tensor]] = [{} for _ in range(count)]
        reconstructed = {
            k: self.bundle.pca.inverse(predicted[:, k])
            for k in range(count)
            if names_of[k] - {"features"}
        }
        finite = torch.isfinite(predicted).all()
        for head in sorted({HEAD_OF[n] for names in names_of for n in names if n in HEAD_OF}):
            for k, features in reconstructed.items():
                if any(HEAD_OF.get(name) == head for name in names_of[k]):
                    read = self.bundle.inputs.get(head)
                    if read is not None and (layers := read.layers):
                        features = torch.cat([hidden[i][:, k] for i in layers], dim=-1)
                    raw = self._decoders[head](features)
                    decoded = self.bundle.tasks[head].decode(raw, self.output_size)
                    finite = finite & _all_finite(decoded)
                    steps[k].update({n: t for n, t in decoded.items() if n in names_of[k]})
        for k, names in enumerate(names_of):
            if "features" in names:
                steps[k]["features"] = predicted[:, k].float()
        return self._download(steps, finite)

    def _download(
        self, steps: list[dict[str, Tensor]], finite: Tensor
    ) -> list[dict[str, np.ndarray]]:
        """Copy everything to the host: started together, waited for once."""
        if self.bundle.device.type == "cuda":
            host = [{n: _to_pinned(t) for n, t in step.items()} for step in steps]
            torch.cuda.current_stream(self.bundle.device).synchronize()
        else:
            host = steps
        if not bool(finite):
            self.reset()
            raise ModelOutputError(
                f"bundle {self.bundle.name} predicted NaN or infinity; the context was dropped. "
                "Half precision may be too narrow for these weights: try dtype float32"
            )
        return [{name: tensor.numpy() for name, tensor in step.items()} for step in host]

    def _assemble(
        self, camera: str, index: int, maps: list[dict[str, np.ndarray]], started: float
    ) -> Forecast:
        stamps = self._buffers[camera].context_stamps()
        assert stamps is not None
        steps = tuple(
            StepForecast(
                step=k,
                target_stamp_ns=stamps[-1] + k * self.rule.interval_ns,
                horizon_s=k * self.bundle.frame_interval_s,
                **{name: array[index] for name, array in step.items()},
            )
            for k, step in enumerate(maps, start=1)
        )
        return Forecast(
            stamp_ns=stamps[-1],
            context_stamps_ns=stamps,
            frame_interval_s=self.bundle.frame_interval_s,
            steps=steps,
            model_name=self.bundle.name,
            trained=self.bundle.trained,
            duration_s=time.perf_counter() - started,
        )


def _anything(wanted: Wanted) -> bool:
    return any(wanted.values()) if isinstance(wanted, Mapping) else bool(wanted)


def _all_finite(maps: Mapping[str, Tensor]) -> Tensor:
    """Whether no map holds NaN or infinity: a head may overflow in half precision."""
    floats = [torch.isfinite(t).all() for t in maps.values() if t.is_floating_point()]
    return torch.stack(floats).all()


def _to_pinned(tensor: Tensor) -> Tensor:
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def _check_image(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray):
        raise InputError(f"image is a {type(image).__name__}, expected (H, W, 3) uint8 RGB")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            f"image has shape {image.shape} and type {image.dtype}, expected (H, W, 3) uint8 RGB"
        )
    if 0 in image.shape:
        raise InputError(f"image is empty: shape {image.shape}")
