"""From remembered frames to finished maps: predicts a batch of cameras and decodes what is wanted.

A small model gains nothing from splitting each operation over CPU cores: handing its pieces out
takes longer than computing them. Two whole jobs beside each other do use two cores. So a step can
be decoded in a second thread while the next one is predicted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dino_foresight_ros.model import Forecaster, FrameMemory, Prediction
from dino_foresight_ros.outputs import HEAD_OF
from dino_foresight_ros.runtime.decoder import DecodedOutput, Decoder, FrameRequest, download
from dino_foresight_ros.runtime.request import OutputRequest

Maps = dict[int, dict[str, np.ndarray]]
"""One camera's outputs by step and name."""


class _Chunk(NamedTuple):
    """Frames of successive steps, decoded together.

    Attributes:
        step: the first one; 0 for the newest frames.
        z: (B, m, h, w, C).
        hidden: layer -> (B, m, h, w, D).
    """

    step: int
    z: Tensor
    hidden: Mapping[int, Tensor] = {}

    @property
    def last(self) -> int:
        return self.step + self.z.shape[1] - 1


class _Decoded(NamedTuple):
    """What came of a chunk.

    Attributes:
        outputs: of frames, which are numbered as in `places`.
        places: (camera, step) of each frame.
        finite: cameras, and whether what was computed of each is finite, (n,) bool.
    """

    outputs: list[DecodedOutput]
    places: list[tuple[int, int]]
    finite: list[tuple[Sequence[int], Tensor]]


class RolloutDecoder:
    """Predicts step after step and decodes each as soon as it is there."""

    def __init__(
        self,
        forecaster: Forecaster,
        decoder: Decoder,
        single_steps: bool = False,
        overlap: bool = False,
    ) -> None:
        """Put together.

        Args:
            forecaster: predicts.
            decoder: decodes.
            single_steps: give the decoder one step at a time, as compiled heads need it; several
                at a time otherwise, as many as do not swell memory.
            overlap: decode in a second thread while the next step is predicted.
        """
        self._forecaster, self._decoder = forecaster, decoder
        self._single_steps = single_steps or overlap
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decoding") if overlap else None

    def run(
        self,
        memories: FrameMemory,
        stamps_s: Tensor,
        newest: Tensor,
        requests: Sequence[OutputRequest],
        ahead_s: Sequence[float],
    ) -> tuple[list[Maps], list[bool]]:
        """Forecast B cameras.

        Args:
            memories: (B, N_c, ...) of their context frames.
            stamps_s: (B, N_c) float64 on the CPU, when those were taken.
            newest: (B, h, w, C) features of the newest ones.
            requests: what is wanted of each camera, with a size in pixels or None.
            ahead_s: horizons of step 1, 2, ..., seconds.

        Returns:
            For each camera its maps, and whether all that was predicted and decoded is finite.
        """
        chunks = self._chunks(memories, stamps_s, newest, requests, ahead_s)
        if self._thread is None:
            decoded = [self._decode(chunk, requests) for chunk in chunks]
        else:
            decoded = self._decode_beside(self._thread, chunks, requests, len(ahead_s))
        return _collect(decoded, len(requests))

    def _chunks(
        self,
        memories: FrameMemory,
        stamps_s: Tensor,
        newest: Tensor,
        requests: Sequence[OutputRequest],
        ahead_s: Sequence[float],
    ) -> Iterator[_Chunk]:
        if any(request.of_step(0) for request in requests):
            yield _Chunk(0, newest[:, None])
        if not ahead_s:
            return
        parts = self._forecaster.stream(memories, stamps_s, ahead_s, layers=self._decoder.layers)
        most = 1 if self._single_steps else self._decoder.frames_per_pass // len(requests)
        step = 1
        for part in _regrouped(parts, most):
            z, hidden = part.z[:, 0], {i: tokens[:, 0] for i, tokens in part.hidden.items()}
            yield _Chunk(step, z, hidden)
            step += z.shape[1]

    def _decode(
        self,
        chunk: _Chunk,
        requests: Sequence[OutputRequest],
        without: Collection[str] = (),
    ) -> _Decoded:
        """Decode a chunk; `without` names outputs to leave out."""
        places: list[tuple[int, int]] = []
        wanted: list[FrameRequest] = []
        for step in range(chunk.step, chunk.last + 1):
            for row, request in enumerate(requests):
                assert request.size != "input"
                if names := request.of_step(step) - frozenset(without):
                    places.append((row, step))
                    wanted.append(dict.fromkeys(names, request.size))
        outputs: list[DecodedOutput] = []
        if places:
            index = [row for row, _ in places], [step - chunk.step for _, step in places]
            hidden = {layer: tokens[index] for layer, tokens in chunk.hidden.items()}
            outputs = self._decoder.decode(chunk.z[index], wanted, hidden)
        finite: list[tuple[Sequence[int], Tensor]] = [(range(len(requests)), _is_finite(chunk.z))]
        for output in outputs:
            if output.values.is_floating_point():  # a head may overflow in half precision
                cameras = [places[frame][0] for frame in output.frames]
                finite.append((cameras, _is_finite(output.values)))
        return _Decoded(outputs, places, finite)

    def _decode_beside(
        self,
        thread: ThreadPoolExecutor,
        chunks: Iterator[_Chunk],
        requests: Sequence[OutputRequest],
        steps: int,
    ) -> list[_Decoded]:
        """Decode chunks in another thread, while this one predicts those that follow."""
        decode = torch.inference_mode()(self._decode)
        jobs: list[Future[_Decoded]] = []
        decoded: list[_Decoded] = []
        try:
            for chunk in chunks:
                is_last = chunk.last == steps
                ours, theirs = _shared_out(chunk, requests) if is_last else (frozenset(), ())
                jobs.append(thread.submit(decode, chunk, requests, ours))
                if is_last:  # nothing is left to predict: both threads decode
                    decoded.append(self._decode(chunk, requests, theirs))
            return [*(job.result() for job in jobs), *decoded]
        except BaseException:
            for job in jobs:  # what failed may be tried again: nothing of it may run on
                job.cancel()
            wait(jobs)
            raise


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


def _shared_out(
    chunk: _Chunk, requests: Sequence[OutputRequest]
) -> tuple[frozenset[str], frozenset[str]]:
    """The outputs that are wanted of a chunk, in two halves by head."""
    steps = range(chunk.step, chunk.last + 1)
    names = frozenset().union(*(request.of_step(step) for request in requests for step in steps))
    heads = sorted({HEAD_OF[name] for name in names if name in HEAD_OF})
    ours = frozenset(name for name in names if HEAD_OF.get(name) in heads[::2])
    return ours, names - ours


def _is_finite(x: Tensor) -> Tensor:
    """(n, ...) -> (n,) bool."""
    return torch.isfinite(x).flatten(1).all(dim=1)


def _collect(decoded: Sequence[_Decoded], cameras: int) -> tuple[list[Maps], list[bool]]:
    """Bring everything to the host, sorted by camera, step and output."""
    arrays = iter(download([output for one in decoded for output in one.outputs]))
    maps: list[Maps] = [{} for _ in range(cameras)]
    finite = [True] * cameras
    for one in decoded:
        for rows, checks in one.finite:
            for row, is_finite in zip(rows, checks.tolist(), strict=True):
                finite[row] &= is_finite
        for output in one.outputs:
            for frame, array in zip(output.frames, next(arrays), strict=True):
                camera, step = one.places[frame]
                maps[camera].setdefault(step, {})[output.name] = array
    return maps, finite
