"""A forecaster whose output is the change since the newest frame."""

from __future__ import annotations

import pytest
import torch

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model import Bundle, MaskedConfig, MaskedForecaster, Prediction
from dino_foresight_ros.model.reference.export import reference_state_dict


def residual(fresh: bool = False, **changes: object) -> MaskedForecaster:
    values = {"channels": 10, "grid": (4, 6), "width": 24, "layers": 2, "heads": 4} | changes
    torch.manual_seed(0)
    forecaster = MaskedForecaster(MaskedConfig(**values, predict="residual")).eval()
    if not fresh:
        torch.nn.init.normal_(forecaster.out.weight, std=0.2)
        torch.nn.init.normal_(forecaster.out.bias)
    return forecaster


def test_a_fresh_one_copies_the_newest_frame_at_every_step() -> None:
    context = torch.randn(2, 4, 4, 6, 10)
    with torch.inference_mode():
        rolled = residual(fresh=True).rollout(context, 5)

    assert torch.equal(rolled, context[:, -1:].expand_as(rolled))


@pytest.mark.parametrize("masked", [1, 3])
def test_it_adds_what_the_same_weights_predict_to_the_newest_frame(masked: int) -> None:
    forecaster = residual(masked_frames=masked)
    config = MaskedConfig.from_dict({**forecaster.config.to_dict(), "predict": "features"})
    plain = MaskedForecaster(config).eval()
    plain.load_state_dict(forecaster.state_dict())
    context = torch.randn(2, 4, 4, 6, 10)
    frames = torch.cat([context, torch.randn(2, masked, 4, 6, 10)], dim=1)
    mask = torch.zeros(frames.shape[:-1], dtype=torch.bool)
    mask[:, 4:] = True
    with torch.inference_mode():
        expected = context[:, 3:4] + plain.predict(context)
        torch.testing.assert_close(forecaster.predict(context), expected)
        trained = forecaster.reconstruct(frames, mask)[:, 4:]
    torch.testing.assert_close(trained, expected, atol=1e-5, rtol=1e-5)


def test_rollout_equals_feeding_predictions_back_by_hand() -> None:
    forecaster = residual()
    frames = list(torch.randn(4, 1, 4, 6, 10))
    context = torch.stack(frames, dim=1)
    with torch.inference_mode():
        rolled = forecaster.rollout(context, 6)
        asked = forecaster.evenly_spaced(context, 6)
        layered = Prediction.join(forecaster.stream(*asked, layers=[1])).z[:, 0]
        for step in range(6):
            frames.append(forecaster(torch.stack(frames[-4:], dim=1)))
            torch.testing.assert_close(rolled[:, step], frames[-1], atol=1e-5, rtol=1e-5)
    assert torch.equal(rolled, layered)


def test_the_reference_format_has_no_such_forecaster() -> None:
    bundle = Bundle.untrained()
    config = {**bundle.forecaster.config.to_dict(), "predict": "residual"}
    bundle.forecaster = MaskedForecaster(MaskedConfig.from_dict(config))
    with pytest.raises(BundleError, match="residual"):
        reference_state_dict(bundle)


def test_an_unknown_kind_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(BundleError, match="'change' is unknown; valid: features, residual"):
        MaskedConfig(channels=10, grid=(4, 6), predict="change")
