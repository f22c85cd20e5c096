"""A small training run on made-up numbers: imported by tests, and run as a program by them."""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.model.dpt import HeadConfig
from dino_foresight_ros.model.forecasters.masked import MaskedConfig, MaskedForecaster
from dino_foresight_ros.model.heads import build_head
from dino_foresight_ros.training.forecaster_objective import ForecasterObjective, ToFeatures
from dino_foresight_ros.training.head_losses import segmentation_loss
from dino_foresight_ros.training.head_training import HeadObjective
from dino_foresight_ros.training.loop import run_training
from dino_foresight_ros.training.objective import Evaluation, Loss, Objective
from dino_foresight_ros.training.processes import joined
from dino_foresight_ros.training.recipes import TrainingRecipe
from dino_foresight_ros.training.sampling import Samples


class ToySamples:
    """Random rows; those numbered in `broken` hold NaN.

    Reading takes `delay_s`; that of row `held` waits until there is a file.
    """

    def __init__(
        self,
        broken: tuple[int, ...] = (),
        delay_s: float = 0.0,
        held: int | None = None,
        until: Path | None = None,
    ) -> None:
        self.broken, self.delay_s, self.held, self.until = broken, delay_s, held, until

    def __getitem__(self, number: int) -> dict[str, Any]:
        time.sleep(self.delay_s)
        while number == self.held and self.until is not None and not self.until.exists():
            time.sleep(0.01)
        x = torch.randn(8, generator=torch.Generator().manual_seed(number))
        y = x.flip(0) * 2 + x.roll(1)
        terms = torch.arange(8) <= number % 8  # of the targets, these count: 1 to 8
        if number in self.broken:
            x = x * math.nan
        return {"x": x, "y": y, "terms": terms, "source": f"row {number}"}


class ToyObjective(Objective):
    def __init__(
        self, dropout: float = 0.0, seed: int = 0, batch_norm: bool = False, unused: bool = False
    ) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.model = nn.Sequential(
                nn.Linear(8, 16),
                *([nn.BatchNorm1d(16)] if batch_norm else []),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(16, 8),
            )
            if unused:
                self.model[0].unused = nn.Linear(3, 3)

    def forward(self, batch: dict[str, Any]) -> Loss:
        terms = batch["terms"]
        error = (self.model(batch["x"]) - batch["y"]).square()[terms]
        return Loss(error.mean(), terms.float().mean())


class HeadSamples:
    """Random features, and class ids that depend on them."""

    def __getitem__(self, number: int) -> dict[str, Any]:
        features = torch.randn(2, 3, 4 * 8, generator=torch.Generator().manual_seed(number))
        label = features[..., :3].argmax(-1).repeat_interleave(8, 0).repeat_interleave(8, 1)
        return {"compact": features, "label": label.byte(), "source": f"picture {number}"}


class ClipSamples:
    """Random features that drift by the same step from frame to frame."""

    def __getitem__(self, number: int) -> dict[str, Any]:
        first = torch.randn(1, 2, 3, 6, generator=torch.Generator().manual_seed(number))
        frames = first + torch.arange(5).reshape(5, 1, 1, 1) * torch.linspace(-0.5, 0.5, 6)
        return {"frames": frames, "source": f"clip {number}"}


class AsTheyAre(nn.Module):
    """Stands in for the frozen parts before a head."""

    def expand(self, compact: torch.Tensor) -> torch.Tensor:
        return compact


def product_parts(kind: str) -> tuple[Objective, Samples]:
    """The product's own objective of a small "dpt" head or "forecaster", with samples for it."""
    torch.manual_seed(0)
    if kind == "dpt":
        head = build_head(HeadConfig(3, "dpt", (8, 8, 8, 8), 8, batch_norm=False), 8, 4)
        for module in head.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # masks differ from process to process
        return HeadObjective(head, AsTheyAre(), segmentation_loss), HeadSamples()
    config = MaskedConfig(6, (2, 3), width=24, layers=2, heads=2, dropout=0.0)
    return ForecasterObjective(MaskedForecaster(config), ToFeatures()), ClipSamples()


def toy_recipe(steps: int | None = None, **changes: Any) -> TrainingRecipe:
    values: dict[str, Any] = {
        "steps": steps,
        "lr": 1e-3,
        "precision": "float32",
        "batch_size": 16,
        "evaluations": 4,
        "log_every": 1,
    }
    return TrainingRecipe(**{**values, **changes})


def toy_evaluation(model: nn.Module) -> Evaluation:
    samples = ToySamples()
    x = torch.stack([samples[10_000 + i]["x"] for i in range(32)])
    y = torch.stack([samples[10_000 + i]["y"] for i in range(32)])
    error = float((model(x) - y).square().mean())
    return Evaluation(-error, {"error": error}, f"error {error:.3f}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--hold", type=int, help="wait before this row for the file `go_on`")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--ema", type=float, default=0.0)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--strategy", default="ddp")
    parser.add_argument("--model", choices=("toy", "dpt", "forecaster"), default="toy")
    parser.add_argument("--unused", action="store_true", help="of the weights, some do nothing")
    parser.add_argument("--broken", type=int, nargs="*", default=[])
    parser.add_argument("--largest-file", type=int, help="bytes; larger writes fail")
    args = parser.parse_args()
    if args.largest_file is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (args.largest_file, args.largest_file))
    recipe = toy_recipe(
        args.steps, ema=args.ema, accumulate=args.accumulate, workers=args.workers,
        strategy=args.strategy, checkpoint_every_s=0.0,
    )  # fmt: skip
    objective: Objective = ToyObjective(args.dropout, unused=args.unused)
    samples: Samples = ToySamples(
        tuple(args.broken), args.delay, args.hold, args.folder.with_name("go_on")
    )
    if args.model != "toy":
        objective, samples = product_parts(args.model)
    try:
        with joined("cpu", strategy=args.strategy) as fabric:
            run_training(
                objective,
                samples,
                recipe,
                args.folder,
                fabric,
                evaluate=toy_evaluation if args.model == "toy" else None,
                resume=args.resume,
            )
    except ForesightError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
