"""From remembered frames to finished maps: predicts a batch of cameras, and decodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dino_foresight_ros.model import Forecaster, Prediction
from dino_foresight_ros.outputs import CONFIDENCE, SEGMENTATION, SPREAD
from dino_foresight_ros.runtime.batch import Batch
from dino_foresight_ros.runtime.decoder import (
    DecodedOutput,
    Decoder,
    FrameRequest,
    all_finite,
    download,
)
from dino_foresight_ros.runtime.request import OutputRequest

Maps = dict[int, dict[str, np.ndarray]]
"""One future's outputs by step and name."""
CameraMaps = dict[int, Maps]
"""One camera's outputs by future: 0 the mean of several or the only one, 1, 2, ... each of them."""


class Chunk(NamedTuple):
    """Predicted frames of successive steps, decoded together.

    Attributes:
        step: the first one; 0 for the newest frames.
        z: (B, K, m, h, w, C): the mean of several futures, and then each of them; where there is
            one future, K is 1.
        hidden: layer -> (B, K, m, h, w, D).
    """

    step: int
    z: Tensor
    hidden: Mapping[int, Tensor] = {}

    @classmethod
    def of(cls, step: int, part: Prediction) -> Chunk:
        """With the mean of the futures before them."""
        hidden = {layer: _with_mean(tokens) for layer, tokens in part.hidden.items()}
        return cls(step, _with_mean(part.z), hidden)

    @property
    def last(self) -> int:
        return self.step + self.z.shape[2] - 1

    @property
    def futures(self) -> int:
        """How many futures are there beside their mean; 0 where there is one."""
        return self.z.shape[1] - 1

    def spread(self) -> Tensor:
        """(B, m, h, w) float32, standard deviation over futures, root mean square over channels."""
        futures = self.z[:, 1:].float()
        return futures.var(dim=1, correction=0).mean(dim=-1).sqrt()


class _Decoded(NamedTuple):
    """What came of a chunk.

    Attributes:
        outputs: of frames, which are numbered as in `places`.
        places: (camera, step, future) of each frame; future 0 is their mean.
        finite: cameras, and whether what was computed of each is finite, (n,) bool.
    """

    outputs: list[DecodedOutput]
    places: list[tuple[int, int, int]]
    finite: list[tuple[Sequence[int], Tensor]]


class RolloutDecoder:
    """Predicts step after step and decodes each as soon as it is there."""

    def __init__(
        self,
        forecaster: Forecaster,
        decoder: Decoder,
        single_steps: bool = False,
    ) -> None:
        """Put together.

        Args:
            forecaster: predicts.
            decoder: decodes.
            single_steps: give the decoder one step at a time, as compiled heads need it; several
                at a time otherwise, as many as do not swell memory.
        """
        self._forecaster, self._decoder = forecaster, decoder
        self._single_steps = single_steps

    def predict(self, batch: Batch) -> Iterator[Chunk]:
        """Forecast a batch's cameras, each chunk as it is asked for."""
        if any(request.of_step(0) for request in batch.requests.values()):
            yield Chunk(0, batch.newest[:, None, None])
        if not batch.ahead_s:
            return
        parts = self._forecaster.stream(
            batch.memories,
            batch.stamps_s,
            batch.ahead_s,
            batch.motion,
            batch.samples,
            self._decoder.layers,
        )
        most = 1 if self._single_steps else self._decoder.frames_per_pass // len(batch.requests)
        step = 1
        for part in _regrouped(parts, most):
            yield Chunk.of(step, part)
            step += part.z.shape[2]

    def maps(
        self, batch: Batch, beside: Callable[[], None] | None = None
    ) -> tuple[list[CameraMaps], list[bool]]:
        """Forecast a batch's cameras and decode what is wanted of each.

        Args:
            batch: what is wanted, and from what.
            beside: as `Decoder.decode` takes it; called once all is predicted.

        Returns:
            For each camera its maps by future, of which 0 is their mean, and whether all that was
            predicted and decoded is finite.
        """
        requests, chunks = list(batch.requests.values()), self.predict(batch)
        decoded = [
            self._decode(chunk, requests, beside if chunk.last >= len(batch.ahead_s) else None)
            for chunk in chunks
        ]
        return _collect(decoded, requests)

    def _decode(
        self, chunk: Chunk, requests: Sequence[OutputRequest], beside: Callable[[], None] | None
    ) -> _Decoded:
        places: list[tuple[int, int, int]] = []
        wanted: list[FrameRequest] = []
        for step in range(chunk.step, chunk.last + 1):
            for row, request in enumerate(requests):
                assert request.size != "input"
                for future in range(chunk.futures + 1):
                    names = _names(request, step, future, chunk.futures)
                    if names:
                        places.append((row, step, future))
                        wanted.append(dict.fromkeys(names, request.size))
        outputs: list[DecodedOutput] = []
        if places:
            rows, steps, futures = (list(numbers) for numbers in zip(*places, strict=True))
            index = rows, futures, [step - chunk.step for step in steps]
            hidden = {layer: tokens[index] for layer, tokens in chunk.hidden.items()}
            is_asked = any(SPREAD in names for names in wanted)
            spread = chunk.spread()[rows, index[2]] if chunk.futures and is_asked else None
            z = chunk.z[index]
            focals = [requests[row].focal for row in rows]
            outputs = self._decoder.decode(z, wanted, hidden, spread, beside=beside, focals=focals)
        finite: list[tuple[Sequence[int], Tensor]] = [(range(len(requests)), all_finite(chunk.z))]
        for output in outputs:
            # A head may overflow in half precision.
            finite.append(([places[frame][0] for frame in output.frames], output.finite))
        return _Decoded(outputs, places, finite)


def _with_mean(x: Tensor) -> Tensor:
    """(B, samples, ...) -> (B, 1 + samples, ...) with the mean first; one sample as it is."""
    return x if x.shape[1] == 1 else torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)


def _names(request: OutputRequest, step: int, future: int, futures: int) -> frozenset[str]:
    """The outputs to compute of a future of a step; 0 is the mean of several, or the only one."""
    names = request.of_step(step)
    if not futures:
        return names
    agreement = frozenset({SEGMENTATION}) if CONFIDENCE in names else frozenset()
    if future == 0:
        return names - {CONFIDENCE} | agreement
    return (request.sample_outputs | agreement) if names else frozenset()


def _regrouped(parts: Iterator[Prediction], most: int) -> Iterator[Prediction]:
    """The same predictions, at most so many steps at a time (one at least)."""
    group: list[Prediction] = []
    for part in parts:
        for k in range(part.z.shape[2]):
            hidden = {layer: tokens[:, :, k : k + 1] for layer, tokens in part.hidden.items()}
            group.append(Prediction(part.z[:, :, k : k + 1], hidden))
            if len(group) >= most:
                yield Prediction.join(group)
                group = []
    if group:
        yield Prediction.join(group)


def _collect(
    decoded: Sequence[_Decoded], requests: Sequence[OutputRequest]
) -> tuple[list[CameraMaps], list[bool]]:
    """Bring everything to the host, sorted by camera, future, step and output."""
    arrays = iter(download([output for one in decoded for output in one.outputs]))
    maps: list[CameraMaps] = [{} for _ in requests]
    finite = [True] * len(requests)
    for one in decoded:
        for rows, checks in one.finite:
            for row, is_finite in zip(rows, checks.tolist(), strict=True):
                finite[row] &= is_finite
        for output in one.outputs:
            for frame, array in zip(output.frames, next(arrays), strict=True):
                camera, step, future = one.places[frame]
                maps[camera].setdefault(future, {}).setdefault(step, {})[output.name] = array
    for of_camera, request in zip(maps, requests, strict=True):
        _compare_futures(of_camera, request)
    return maps, finite


def _compare_futures(maps: CameraMaps, request: OutputRequest) -> None:
    """Several futures' confidence: the fraction of them that agree with the mean's class.

    What was computed for that alone is dropped.
    """
    futures = [future for future in maps if future]
    for step, of_mean in maps.get(0, {}).items():
        names = request.of_step(step)
        if futures and CONFIDENCE in names:
            classes = [maps[f][step][SEGMENTATION] for f in futures if step in maps[f]]
            agree = np.zeros(of_mean[SEGMENTATION].shape, np.float32)
            for one in classes:
                agree += one == of_mean[SEGMENTATION]
            of_mean[CONFIDENCE] = agree / np.float32(len(classes))
            if SEGMENTATION not in names:
                del of_mean[SEGMENTATION]
        if SEGMENTATION not in request.sample_outputs:
            for future in futures:
                maps[future].get(step, {}).pop(SEGMENTATION, None)
