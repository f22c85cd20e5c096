"""A bundle's parts as ONNX files, each compared with torch where it is written.

What a part computes is what the engine asks of it: the encoder with its PCA, what the forecaster
remembers of a frame, its forecast, and each head behind the inverse PCA. Needs the packages onnx,
onnxscript and onnxruntime (the extra `onnx`).
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.model.bundle import Bundle
from dino_foresight_ros.model.centre_head import CentreHead
from dino_foresight_ros.model.forecasters import MaskedForecaster, WorldForecaster
from dino_foresight_ros.model.forecasters.hindcast import MAX_HINDCASTS, scaled_change
from dino_foresight_ros.model.forecasters.rotary import Rotation
from dino_foresight_ros.model.instance_head import PixelMaps, QueryOutput
from dino_foresight_ros.outputs import INSTANCES

OPSET = 20
TOLERANCE = 1e-4
"""Largest difference from torch in float32, as a share of the output's largest value."""
INDEX_FILE = "onnx.json"
_EXAMPLES, _TRIED = 2, (1, 3)  # batches that are traced, and that are compared


class Part(NamedTuple):
    """A function of tensors to export.

    Attributes:
        name: of its file.
        function: of a batch of each input.
        inputs: name -> shape without the batch.
        outputs: names.
        head: whose output it is, of a head.
    """

    name: str
    function: Callable[..., Any]
    inputs: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    head: nn.Module | None = None


class _Call(nn.Module):
    """A function of a bundle's modules, as the exporter takes it."""

    def __init__(self, modules: Sequence[nn.Module], function: Callable[..., Any]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)
        self.function = function

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tensors_of(self.function(*inputs))


def tensors_of(found: Any) -> tuple[Tensor, ...]:
    """The tensors of what a part gives, in the order of a graph's outputs."""
    if isinstance(found, QueryOutput):
        return found.classes, found.masks, *(found.pixels or ())
    return found if isinstance(found, tuple) else (found,)


def parts_of(bundle: Bundle, steps: int = 3) -> list[Part]:
    """What there is to export of a bundle.

    The masked forecaster gives the next frame of `context`; feed it back for those after it. The
    world one gives `steps` horizons at once: `past` and `ahead` are the angles of stamps and
    instants that `forecasters.rotary.rotation` computes from seconds in float64, which few runtimes
    have the cosine of. Where it takes motion, `motion` (steps, 3) is as `Forecaster.stream` takes
    it, unknown in a row with a NaN; with noise queries, `noise` (D) is normal numbers times the
    configuration's `noise_std`, a future each; of blocks of noise the expected future is exported.
    With `hindcast` it takes the context's features as `context`, else those of the newest frame as
    `newest`.

    Args:
        bundle: in float32 on the CPU.
        steps: horizons of the world forecaster.

    Raises:
        UsageError: a forecaster that cannot be exported.
    """
    (height, width), channels = bundle.grid, bundle.pca.channels
    frame = (height, width, channels)
    encoder, pca, forecaster = bundle.encoder, bundle.pca, bundle.forecaster
    found = [
        Part(
            "encoder",
            lambda frames: pca.transform(encoder(frames)),
            {"frames": (3, *bundle.image_size)},
            ("features",),
        )
    ]
    if isinstance(forecaster, WorldForecaster):
        found += _world_parts(forecaster, frame, steps)
    elif isinstance(forecaster, MaskedForecaster):
        context = (forecaster.context_frames, *frame)
        found.append(Part("forecast", _next_frame(forecaster), {"context": context}, ("next",)))
    else:
        raise UsageError(f"a forecaster of kind {forecaster.kind} cannot be exported to ONNX")
    for name, head in bundle.heads.items():
        if (read := bundle.inputs.get(name)) is not None and read.layers:
            continue  # it needs tokens of the forecaster's layers
        outputs: tuple[str, ...] = ("classes", "masks") if name == INSTANCES else (name,)
        if isinstance(head, CentreHead):
            outputs += ("pixel_classes", "pixel_centres")
        function = _head_function(bundle, head)
        found.append(Part(f"head_{name}", function, {"features": frame}, outputs, head))
    return found


def _next_frame(forecaster: MaskedForecaster) -> Callable[[Tensor], Tensor]:
    return lambda context: next(forecaster.passes(context))[0][:, 0]


def _head_function(bundle: Bundle, head: nn.Module) -> Callable[[Tensor], Any]:
    return lambda features: head(bundle.pca.inverse(features))


def _world_parts(
    forecaster: WorldForecaster, frame: tuple[int, int, int], steps: int
) -> list[Part]:
    height, width, _ = frame
    frames = forecaster.context_frames
    hindcasts = min(MAX_HINDCASTS, frames - 1) if forecaster.config.hindcast else 0
    hindcast = hindcasts > 0
    never = torch.zeros(1, dtype=torch.float64)
    memory = forecaster.remember(torch.zeros(1, *frame), never)[1:]
    names = [f"memory_{block}" for block in range(len(memory))]
    half = forecaster.config.rope[0] // 2

    def remember(features: Tensor) -> tuple[Tensor, ...]:
        return forecaster.remember(features, never)[1:]

    asked: dict[str, tuple[int, ...]] = {
        **{f"past_{wave}": (frames, half) for wave in ("cos", "sin")},
        **{f"ahead_{wave}": (steps, half) for wave in ("cos", "sin")},
    }
    if forecaster.takes_motion:
        asked["motion"] = (steps, 3)
    if forecaster.config.query == "noise":
        asked["noise"] = (forecaster.width,)

    def forecast(seen: Tensor, *given: Tensor) -> Tensor:
        named = dict(zip(asked, given, strict=False))
        kept = given[len(asked) :]
        newest = seen[:, -1:] if hindcast else seen[:, None]
        past, ahead = (
            Rotation(named[f"{axis}_cos"], named[f"{axis}_sin"]) for axis in ("past", "ahead")
        )
        motion, noise = (named[x][:, None] if x in named else None for x in ("motion", "noise"))
        space = forecaster.grid_angles(height, width, newest.device)
        *share, predicted = forecaster.run_blocks(
            seen[:, -1 - hindcasts :] if hindcast else newest,
            noise, motion, *past, *ahead, *space[0], *space[1], (), *kept,
        )  # fmt: skip
        found = predicted[:, 0].unflatten(2, (height, width))
        if share:
            found = scaled_change(newest, found[:, None], share[0])[:, 0]
        return found

    kept = {name: (frames, *one.shape[1:]) for name, one in zip(names, memory, strict=True)}
    seen = {"context": (frames, *frame)} if hindcast else {"newest": frame}
    return [
        Part("remember", remember, {"features": frame}, tuple(names)),
        Part("forecast", forecast, {**seen, **asked, **kept}, ("predicted",)),
    ]


def export_bundle(
    bundle: Bundle,
    folder: Path,
    steps: int = 3,
    only: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> dict[str, float]:
    """Write a file per part and `onnx.json`, which lists opset, shapes and differences.

    The batch is dynamic, everything else fixed. Each file is run in ONNX Runtime on batches that
    were not traced and compared with torch.

    Args:
        bundle: in float32 on the CPU.
        folder: to write into; it is made.
        steps: horizons of the world forecaster.
        only: names of parts; all of them when empty.
        say: is told of each part.

    Returns:
        Part -> largest difference as a share of the output's largest value.

    Raises:
        UsageError: a package is missing, or an unknown part.
        ForesightError: a part cannot be exported, or differs by more than `TOLERANCE`; nothing of
            that part stays.
    """
    parts = parts_of(bundle, steps)
    if unknown := sorted(set(only) - {part.name for part in parts}):
        raise UsageError(f"parts {unknown} are unknown; valid: {', '.join(p.name for p in parts)}")
    check_packages("exporting to ONNX")
    folder.mkdir(parents=True, exist_ok=True)
    modules = [bundle.encoder, bundle.pca, bundle.forecaster.part, *bundle.heads.values()]
    found: dict[str, float] = {}
    index: dict[str, Any] = {"bundle": bundle.name, "opset": OPSET, "parts": {}}
    for part in parts:
        if only and part.name not in only:
            continue
        path = folder / f"{part.name}.onnx"
        partial = path.with_suffix(".partial")
        try:
            found[part.name] = _export(part, modules, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        say(f"{path}: differs from torch by {found[part.name]:.1e} of its largest value")
        index["parts"][part.name] = {
            "file": path.name,
            "inputs": {name: ["batch", *shape] for name, shape in part.inputs.items()},
            "outputs": list(part.outputs),
            "difference": found[part.name],
        }
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return found


def check_packages(purpose: str) -> None:
    """Raises UsageError, which names the purpose, where a package of the extra is missing."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UsageError(
                f'{purpose} needs {package}: pip install "dino_foresight_ros[onnx]"'
            ) from error


def write_graph(
    name: str,
    function: Callable[..., Any],
    modules: Sequence[nn.Module],
    inputs: Mapping[str, Tensor],
    path: Path,
    outputs: Sequence[str] | None = None,
    dynamic_batch: bool = False,
) -> None:
    """Write a function of tensors as an ONNX file.

    Args:
        name: of the part, for messages.
        function: what is traced. Call it once before: a module that keeps what it computes must
            not keep the tracer's.
        modules: whose weights it uses.
        inputs: an example of each.
        path: of the file.
        outputs: their names; the exporter's own when None.
        dynamic_batch: whether the first dimension of every input may be of any size.

    Raises:
        ForesightError: it cannot be exported.
    """
    shapes = None
    if dynamic_batch:
        batch = torch.export.Dim("batch", min=1, max=4096)
        shapes = (tuple({0: batch} for _ in inputs),)
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                _Call(modules, function).eval(),
                tuple(inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=outputs,
                dynamic_shapes=shapes,
                verbose=False,
            )
            assert program is not None
            program.save(str(path))
    except Exception as error:
        line = " ".join(str(error).split())[:200]
        raise ForesightError(f"{name} cannot be exported to ONNX: {line}") from error


def difference(of: Any, found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """As `largest_difference`, of a graph's outputs from those of the function that it is made of.

    Which peaks a `CentreHead` takes, and in which order, turns with the last bit of its maps. So
    its maps are compared, and its queries, as probabilities, with what torch makes of the graph's
    own maps. Infinite where there are more or fewer outputs, as in a graph of another version.
    """
    if len(found) != len(expected):
        return math.inf
    if not isinstance(of, CentreHead):
        return largest_difference(found, expected)
    queries, maps = found[:2], found[2:]
    with torch.no_grad():
        wanted = of.group(PixelMaps(*map(torch.from_numpy, maps)))
    # In no order: of peaks that are as high as each other any may come first.
    of_queries = largest_difference(
        (np.sort(1 / (1 + np.exp(-x)), axis=1) for x in queries),
        (np.sort(x.sigmoid().numpy(), axis=1) for x in wanted),
    )
    return max(of_queries, largest_difference(maps, expected[2:]))


def largest_difference(found: Iterable[np.ndarray], expected: Iterable[np.ndarray]) -> float:
    """Of outputs from what they should be, as a share of each output's largest value; infinite
    where one is not finite."""
    worst = 0.0
    for ours, wanted in zip(found, expected, strict=True):
        scale = max(float(np.abs(wanted).max()), 1e-6)
        off = float(np.abs(ours - wanted).max()) / scale
        worst = max(worst, off) if math.isfinite(off) else math.inf
    return worst


def _export(part: Part, modules: Sequence[nn.Module], path: Path) -> float:
    import onnxruntime

    examples = dict(zip(part.inputs, _inputs(part, _EXAMPLES), strict=True))
    write_graph(part.name, part.function, modules, examples, path, part.outputs, True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for count in _TRIED:
        inputs = _inputs(part, count)
        with torch.no_grad():
            expected = [x.numpy() for x in tensors_of(part.function(*inputs))]
        given = {n: x.numpy() for n, x in zip(part.inputs, inputs, strict=True)}
        worst = max(worst, difference(part.head, session.run(None, given), expected))
    if not worst <= TOLERANCE:
        raise ForesightError(
            f"{part.name} as ONNX differs from torch by {worst:.1e} of its largest value, more "
            f"than {TOLERANCE:g}"
        )
    return worst


def _inputs(part: Part, count: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(count)
    return tuple(torch.randn(count, *shape, generator=generator) for shape in part.inputs.values())


@contextmanager
def _quiet() -> Any:
    """Without the exporter's remarks on operators that are not used."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
