"""The interface of forecasters, and that the engine and bundles know no more than it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle
from torch import Tensor, nn

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model import Bundle, FrameMemory, MaskedConfig, MaskedForecaster, Prediction
from dino_foresight_ros.model.forecasters import KINDS, Forecaster, build_forecaster
from dino_foresight_ros.runtime import Foresight

INTERVAL_S = 0.2


class LinearMotion(Forecaster):
    """Continues each patch's last change to any instant; remembers features at half their size."""

    kind = "linear"

    def __init__(self, channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self._channels, self._grid = channels, grid
        self.scale = nn.Parameter(torch.ones(()))

    @property
    def context_frames(self) -> int:
        return 3

    @property
    def channels(self) -> int:
        return self._channels

    @property
    def grid(self) -> tuple[int, int]:
        return self._grid

    def remember(self, z: Tensor, stamps_s: Tensor) -> FrameMemory:
        return z / 2, stamps_s.to(z.device)

    def stream(
        self,
        memories: FrameMemory,
        stamps_s: Tensor,
        ahead_s: Sequence[float],
        motion: Tensor | None = None,
        samples: int = 1,
        layers: Sequence[int] = (),
    ) -> Iterator[Prediction]:
        halves, times = memories
        slope = (halves[:, -1] - halves[:, -2]) / (times[:, -1] - times[:, -2])[
            :, None, None, None
        ].to(halves.dtype)
        frames = [2 * self.scale * (halves[:, -1] + slope * ahead) for ahead in ahead_s]
        yield Prediction(torch.stack(frames, dim=1)[:, None].expand(-1, samples, *[-1] * 4))

    def with_wrapped_core(self, wrap: Any) -> Forecaster:
        return self

    def to_dict(self) -> dict[str, Any]:
        return {"channels": self._channels, "grid": list(self._grid)}


def masked(**changes: object) -> MaskedForecaster:
    values = {"channels": 10, "grid": (4, 6), "width": 24, "layers": 2, "heads": 4} | changes
    torch.manual_seed(0)
    forecaster = MaskedForecaster(MaskedConfig(**values)).eval()
    torch.nn.init.normal_(forecaster.out.weight, std=0.2)
    forecaster.frame_interval_s = INTERVAL_S
    return forecaster


@pytest.mark.parametrize("masked_frames", [1, 3])
def test_horizons_that_are_asked_for_are_those_of_the_rollout(masked_frames: int):
    forecaster = masked(masked_frames=masked_frames)
    context = torch.randn(2, 4, 4, 6, 10)
    memories, stamps_s, _ = forecaster.evenly_spaced(context, 5)
    with torch.inference_mode():
        rolled = forecaster.rollout(context, 5)
        some = forecaster.forecast(memories, stamps_s, [0.2, 0.6, 1.0])
    assert some.shape == (2, 1, 3, 4, 6, 10)
    assert torch.equal(some[:, 0], rolled[:, [0, 2, 4]])


def test_frames_are_remembered_one_by_one_or_all_at_once():
    forecaster = masked()
    context, stamps_s = torch.randn(2, 4, 4, 6, 10), torch.arange(4.0).expand(2, -1)
    together = forecaster.remember(context, stamps_s)
    single = [forecaster.remember(context[:, i], stamps_s[:, i]) for i in range(4)]
    for whole, *parts in zip(together, *single, strict=True):
        assert torch.equal(whole, torch.stack(parts, dim=1))


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"ahead_s": [0.2, 0.3]}, "multiples of the frame interval: .* has 0.2, 0.4"),
        ({"ahead_s": [0.4, 0.2]}, "must rise, within 1 to 16 frame intervals"),
        ({"ahead_s": [0.0]}, "must rise, within 1 to 16"),
        ({"ahead_s": [3.4]}, "must rise, within 1 to 16"),
        ({"ahead_s": []}, "must rise"),
        ({"samples": 2}, "samples is 2; a forecaster of kind masked gives 1"),
        ({"motion": torch.zeros(2, 1, 3)}, "kind masked takes no motion"),
    ],
)
def test_what_the_masked_forecaster_cannot_answer_is_refused(question: dict, reason: str):
    forecaster = masked()
    memories, stamps_s, ahead_s = forecaster.evenly_spaced(torch.randn(2, 4, 4, 6, 10), 1)
    with pytest.raises(ValueError, match=reason):
        forecaster.forecast(memories, stamps_s, **{"ahead_s": ahead_s} | question)


def test_a_pass_is_predicted_only_when_it_is_asked_for():
    forecaster = masked()
    count = 0

    def tick(*_: object) -> None:
        nonlocal count
        count += 1

    forecaster.out.register_forward_hook(tick)
    parts = forecaster.stream(*forecaster.evenly_spaced(torch.randn(1, 4, 4, 6, 10), 3))
    for expected in (1, 2, 3):
        next(parts)
        assert count == expected


def test_a_kind_that_is_unknown_is_refused_with_the_valid_ones():
    with pytest.raises(
        BundleError, match="forecaster kind 'dream' is unknown; valid: masked, world"
    ):
        build_forecaster({"kind": "dream"})


@pytest.mark.slow
def test_another_kind_is_a_row_away_from_disk_and_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(
        KINDS, "linear", lambda values: LinearMotion(values["channels"], tuple(values["grid"]))
    )
    made = make_micro_bundle()
    bundle = replace(made, forecaster=LinearMotion(made.pca.channels, made.grid))
    bundle = Bundle.load(bundle.save(tmp_path / "linear"))
    assert isinstance(bundle.forecaster, LinearMotion)
    images = np.random.default_rng(0).integers(0, 255, (3, 60, 80, 3), dtype=np.uint8)
    engine = Foresight(bundle, steps=2, outputs={"features"})
    stamps_ns = [10**18 + i * 200_000_000 for i in range(3)]
    forecast = [engine.update(i, s) for i, s in zip(images, stamps_ns, strict=True)][-1]
    with torch.inference_mode():
        z = bundle.pca.transform(bundle.encoder(bundle.encoder.preprocess(images)))
    assert forecast is not None
    for step in (1, 2):
        expected = z[2] + step * (z[2] - z[1])
        found = forecast.steps[step - 1].features
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert bundle.forecaster.rollout(z[None], 2).shape == (1, 2, *z.shape[1:])
