from __future__ import annotations

import pytest
import torch

from dino_foresight_ros.model import Bundle, HeadConfig, HeadInput, Prediction, build_head
from dino_foresight_ros.runtime.decoder import Decoder, layers_read
from dino_foresight_ros.runtime.threads import Threads
from dino_foresight_ros.training.evaluation.predictors import roll_out

pytestmark = pytest.mark.slow

SIZE = (30, 50)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The untrained bundle; its depth head reads the forecaster's layers."""
    bundle = Bundle.load("untrained-tiny")
    config = HeadConfig(outputs=64, channels=(8, 8, 8, 8), width=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bundle.heads["depth"] = build_head(config, bundle.forecaster.config.width, 4).eval()
    bundle.inputs["depth"] = HeadInput("forecaster_layers", (0, 1, 2, 3))
    return bundle


@pytest.fixture(scope="module")
def context(bundle: Bundle) -> torch.Tensor:
    shape = (2, 4, *bundle.grid, bundle.pca.channels)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_maps_are_those_of_head_and_task(bundle: Bundle, context: torch.Tensor) -> None:
    z = context[:, -1]
    sizes = dict.fromkeys(bundle.heads, SIZE)
    maps = Decoder(bundle).maps(sizes, z)

    raw = bundle.heads["segmentation"](bundle.pca.inverse(z))
    want = bundle.tasks["segmentation"].decode(raw, SIZE)["segmentation"]
    # Folding the batch norm changes a value by rounding alone, so a class where two are as likely.
    assert (maps["segmentation"] == want).float().mean() > 0.999
    assert maps["normals"].shape == (2, *SIZE, 3)
    # It has nothing to read here.
    assert "depth" not in maps


@torch.inference_mode()
def test_layer_heads_read_the_step_that_they_are_of(bundle: Bundle, context: torch.Tensor) -> None:
    assert layers_read(bundle, "depth") == (0, 1, 2, 3)
    assert layers_read(bundle, "normals") == ()
    z, hidden = roll_out(bundle, context, (1, 3))
    torch.testing.assert_close(z, bundle.forecaster.rollout(context, 3)[:, [0, 2]])
    decoder = Decoder(bundle)
    asked = bundle.forecaster.evenly_spaced(context, 3)
    whole = Prediction.join(bundle.forecaster.stream(*asked, layers=(0, 1, 2, 3)))
    tokens = {layer: values[:, 0] for layer, values in whole.hidden.items()}
    for position, step in ((0, 1), (1, 3)):
        at_step = {layer: one[:, position] for layer, one in hidden.items()}
        depth = decoder.maps({"depth": SIZE}, hidden=at_step)["depth"]
        read = torch.cat([tokens[layer][:, step - 1] for layer in range(4)], dim=-1)
        want = bundle.tasks["depth"].decode(bundle.heads["depth"](read), SIZE)["depth"]
        torch.testing.assert_close(depth, want)


@torch.inference_mode()
@pytest.mark.parametrize("count", [2, 3])
def test_threads_that_share_frames_or_heads_change_nothing(bundle: Bundle, count: int) -> None:
    generator = torch.Generator().manual_seed(2)
    wanted = {"segmentation": SIZE, "confidence": SIZE, "normals": None, "features": None}
    for frames in (2, 19):
        z = torch.randn(frames, *bundle.grid, bundle.pca.channels, generator=generator)
        spread = torch.rand(frames, *bundle.grid, generator=generator)
        requests = [wanted if i % 3 else {"normals": SIZE, "spread": SIZE} for i in range(frames)]

        def decode(decoder: Decoder) -> dict[tuple[str, int], torch.Tensor]:
            return {
                (piece.name, frame): values
                for piece in decoder.decode(z, requests, None, spread)  # noqa: B023
                for frame, values in zip(piece.frames, piece.values, strict=True)
            }

        expected = decode(Decoder(bundle))
        found = decode(Decoder(bundle, threads=Threads(count)))
        assert found.keys() == expected.keys()
        assert len(found) == sum(map(len, requests))
        for key, values in found.items():
            # The order of sums in a convolution depends on how many frames it has.
            torch.testing.assert_close(values, expected[key], rtol=1e-3, atol=1e-3)
