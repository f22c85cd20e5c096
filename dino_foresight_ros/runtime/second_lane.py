"""Decoding a predicted frame while the next one is predicted, in a second thread.

A small model gains nothing from splitting each operation over CPU cores: handing its pieces out
takes longer than computing them. Two whole jobs beside each other do use two cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import torch
from torch import Tensor

from dino_foresight_ros.outputs import HEAD_OF
from dino_foresight_ros.runtime.decoder import Decoder, Maps, Wish

Decoded = tuple[list[Maps], list[bool]]


class SecondLane:
    """Runs a decoder's heads beside the forecaster."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="second-lane")

    def decode(
        self, passes: Iterator[Tensor], newest: Tensor, wishes: Sequence[Wish]
    ) -> tuple[list[dict[str, Any]], list[Maps], list[bool]]:
        """Decode frames as they are predicted.

        Args:
            passes: (B, m, h, w, C) PCA features of the next frames; computed as they are asked for.
            newest: (B, h, w, C) of the newest context frames.
            wishes: for each of the B cameras.

        Returns:
            For each camera its outputs of the newest frame, its maps, and whether all was finite;
            as `Decoder.decode_seen` and `Decoder.decode` give.
        """
        jobs: list[Future[Any]] = []
        try:
            first = self._start(jobs, self._decoder.decode_seen, newest, wishes)
            parts: list[tuple[int, Future[Decoded] | Decoded]] = []
            step, steps = 0, len(wishes[0].names)
            for predicted in passes:
                own = [w._replace(names=w.names[step : step + predicted.shape[1]]) for w in wishes]
                is_last = step + predicted.shape[1] == steps
                ours, theirs = _shared_out(own) if is_last else ([], own)
                parts.append((step, self._start(jobs, self._decoder.decode, predicted, {}, theirs)))
                if is_last:  # nothing is left to predict: both threads decode
                    parts.append((step, self._decoder.decode(predicted, {}, ours)))
                step += predicted.shape[1]
            maps: list[Maps] = [[{} for _ in wish.names] for wish in wishes]
            seen, finite = first.result()
            for step, part in parts:
                decoded, sound = part.result() if isinstance(part, Future) else part
                finite = [a and b for a, b in zip(finite, sound, strict=True)]
                for mine, more in zip(maps, decoded, strict=True):
                    for k, values in enumerate(more, start=step):
                        mine[k] |= values
            return seen, maps, finite
        except BaseException:
            for job in jobs:  # what failed may be tried again: nothing of it may run on
                job.cancel()
            wait(jobs)
            raise

    def _start(self, jobs: list[Future[Any]], work: Any, *arguments: Any) -> Future[Any]:
        jobs.append(self._thread.submit(torch.inference_mode()(work), *arguments))
        return jobs[-1]


def _shared_out(wishes: Sequence[Wish]) -> tuple[list[Wish], list[Wish]]:
    """The same wishes in two halves, by head."""
    wanted = {name for wish in wishes for names in wish.names for name in names}
    heads = sorted({HEAD_OF[name] for name in wanted if name in HEAD_OF})
    half = {name for name, head in HEAD_OF.items() if head in heads[::2]}

    def part(keep: bool) -> list[Wish]:
        return [
            w._replace(
                names=[frozenset(n for n in names if (n in half) == keep) for names in w.names]
            )
            for w in wishes
        ]

    return part(True), part(False)
