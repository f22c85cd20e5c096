"""The live engine stage by stage, and against the plain way in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from dino_foresight_ros.model import FrameMemory
from dino_foresight_ros.model.devices import resolve_device, resolve_dtype
from dino_foresight_ros.outputs import BY_NAME, DEPTH, SEGMENTATION, outputs_of_heads
from dino_foresight_ros.runtime import ContextBuffer, Foresight

from .measure import (
    Timing,
    clock,
    count_flops,
    machine,
    matmul_rate,
    peak_mb,
    wait,
)
from .plain import FRAMES, PlainWay
from .sizes import build

try:
    from std_msgs.msg import Header

    from dino_foresight_ros.ros.images import image_to_msg
except ImportError:  # without ROS there are no messages to fill
    image_to_msg = None  # type: ignore[assignment]

CAMERA = (540, 960)
"""(H, W) of the camera's images."""
COMPUTE = ("encode", "forecast")
"""Stages that are matrix products in the main."""


@dataclass(frozen=True)
class Case:
    """What is measured.

    Attributes:
        size: a key of `sizes.SIZES`.
        device, dtype: as the node's parameters.
        steps: forecast steps.
        outputs: heads that run.
        seconds: how long each part is repeated, seconds.
        plain: whether the plain way runs too, in float32 on the same device.
    """

    size: str
    device: str = "cpu"
    dtype: str = "float32"
    steps: int = 1
    outputs: tuple[str, ...] = (SEGMENTATION, DEPTH)
    seconds: float = 10.0
    plain: bool = True


@dataclass
class Result:
    """What came out; `asdict` of it is the JSON."""

    case: Case
    machine: dict[str, Any]
    stages: dict[str, Timing] = field(default_factory=dict)
    gflop: dict[str, float] = field(default_factory=dict)
    share_of_matmul: dict[str, float] = field(default_factory=dict)
    matmul_gflops: float = 0.0
    update: Timing | None = None
    overhead_percent: float = 0.0
    frames_per_s: float = 0.0
    plain: Timing | None = None
    speedup: float | None = None
    peak_mb: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def images(count: int, seed: int = 0) -> list[np.ndarray]:
    """Noise frames of a camera; the work does not depend on what they show."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*CAMERA, 3), dtype=np.uint8) for _ in range(count)]


class Stages:
    """One engine taken apart: each stage runs by itself on what the one before it left."""

    def __init__(self, engine: Foresight, case: Case) -> None:
        self.engine, self.case, self.bundle = engine, case, engine.bundle
        self.image = images(1)[0]
        self.buffer = ContextBuffer(engine.rule)
        self.context: FrameMemory = ()
        self.pixels = self.features = self.z = torch.empty(0)
        self.predicted = torch.empty(0)
        self.maps: dict[str, torch.Tensor] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self.stamp = 10**18

    def all(self) -> dict[str, Callable[[], object]]:
        """Stage name -> work, in the order they run."""
        heads = {f"head {n}": (lambda n=n: self._head(n)) for n in self.case.outputs}
        return {
            "preprocess": self._preprocess,
            "encode": self._encode,
            "pca": self._pca,
            "buffer": self._buffer,
            "forecast": self._forecast,
            **heads,
            "download": self._download,
            **({"message": self._message} if image_to_msg is not None else {}),
        }

    def _preprocess(self) -> None:
        self.pixels = self.engine.preprocess(self.image)

    def _encode(self) -> None:
        self.features = self.bundle.encoder(self.pixels)

    def _pca(self) -> None:
        self.z = self.bundle.pca.transform(self.features)

    def _buffer(self) -> None:
        self.stamp += round(self.bundle.frame_interval_s * 1e9)
        stamps_s = torch.tensor([self.stamp / 1e9], dtype=torch.float64)
        memory = self.bundle.forecaster.remember(self.z, stamps_s)
        self.buffer.push(self.stamp, tuple(x[0] for x in memory))
        context = self.buffer.context()
        if context is None:  # fills in the first rounds
            frames = self.bundle.context_frames
            context = tuple(x.expand(frames, *x.shape[1:]) for x in memory)
        self.context = tuple(x[None] for x in context)

    def _forecast(self) -> None:
        interval_s, frames = self.bundle.frame_interval_s, self.bundle.context_frames
        stamps_s = interval_s * torch.arange(1 - frames, 1, dtype=torch.float64)[None]
        ahead_s = [interval_s * step for step in range(1, self.case.steps + 1)]
        forecaster = self.bundle.forecaster
        self.predicted = forecaster.forecast(self.context, stamps_s, ahead_s)[:, 0]

    def _head(self, name: str) -> None:
        for z in self.predicted[0].split(1):
            for output in self.engine.decoder.decode(z, [{name: None}]):
                self.maps[output.name] = output.values

    def _download(self) -> None:
        self.arrays = {name: tensor.cpu().numpy()[0] for name, tensor in self.maps.items()}

    def _message(self) -> None:
        for name, array in self.arrays.items():
            image_to_msg(array, BY_NAME[name].encoding or "", Header())


@torch.inference_mode()
def run(case: Case) -> Result:
    """Measure one case. Alternates the engine with the plain way, then times the stages."""
    device = resolve_device(case.device)
    dtype = resolve_dtype(case.dtype, device)
    bundle = build(case.size).to(device, dtype)
    engine = Foresight(bundle, steps=case.steps, outputs=outputs_of_heads(case.outputs))
    result = Result(case, machine(device))
    plain = PlainWay(build(case.size).to(device), case.steps, case.outputs) if case.plain else None
    _alternate(engine, plain, case, result)
    _time_stages(Stages(engine, case), case, device, dtype, result)
    result.peak_mb = peak_mb(device)
    return result


def _alternate(engine: Foresight, plain: PlainWay | None, case: Case, result: Result) -> None:
    """Engine update, plain forecast, engine update, ...: both see the same machine."""
    device = engine.bundle.device
    clip = images(FRAMES)
    step_ns = round(engine.bundle.frame_interval_s * 1e9)
    stamp = 10**18
    for image in clip:  # fills the context, and warms up
        stamp += step_ns
        engine.update(image, stamp)
    if plain is not None:
        plain(clip)
    ours: list[float] = []
    theirs: list[float] = []
    until = time.perf_counter() + case.seconds
    while time.perf_counter() < until or len(ours) < 5:
        stamp += step_ns
        ours.append(clock(lambda: engine.update(clip[0], stamp), device))  # noqa: B023
        if plain is not None:
            theirs.append(clock(lambda: plain(clip), device))
    result.update = Timing.of(ours)
    result.frames_per_s = len(ours) / sum(ours)
    if theirs:
        result.plain = Timing.of(theirs)
        result.speedup = result.plain.p50_ms / result.update.p50_ms


def _time_stages(
    stages: Stages, case: Case, device: torch.device, dtype: torch.dtype, result: Result
) -> None:
    """Interleave update and the stages one by one, so that a noisy moment hits all alike."""
    work = stages.all()
    for stage in work.values():
        stage()
    times: dict[str, list[float]] = {name: [] for name in work}
    whole: list[float] = []
    rates: list[float] = []
    stamp = 2 * 10**18
    step_ns = round(stages.bundle.frame_interval_s * 1e9)
    until = time.perf_counter() + case.seconds
    while time.perf_counter() < until or len(whole) < 8:
        stamp += step_ns
        whole.append(clock(lambda: stages.engine.update(stages.image, stamp), device))  # noqa: B023
        for name, stage in work.items():
            times[name].append(clock(stage, device))
        if len(whole) % 8 == 1:
            rates.append(matmul_rate(device, dtype, repeats=3))
    wait(device)
    result.stages = {name: Timing.of(seconds) for name, seconds in times.items()}
    total = sum(t.p50_ms for name, t in result.stages.items() if name != "message")
    result.overhead_percent = 100 * (Timing.of(whole[4:]).p50_ms / total - 1)
    result.matmul_gflops = float(np.median(rates)) / 1e9
    for name in (n for n in work if n in COMPUTE or n.startswith("head")):
        result.gflop[name] = count_flops(work[name]) / 1e9
        rate = result.gflop[name] / (result.stages[name].p50_ms / 1e3)
        result.share_of_matmul[name] = rate / result.matmul_gflops
