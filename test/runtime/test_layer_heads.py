"""A head that reads the forecaster's layers: on disk and live."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model import Bundle, HeadInput, build_head
from dino_foresight_ros.runtime import Foresight


def with_layer_head(bundle: Bundle, layers: tuple[int, ...]) -> Bundle:
    torch.manual_seed(1)
    head = bundle.heads["depth"].config
    read = HeadInput("forecaster_layers", layers)
    made = build_head(replace(head, kind="linear"), bundle.forecaster.config.width, len(layers))
    return replace(bundle, heads={**bundle.heads, "depth": made}, inputs={"depth": read})


@pytest.fixture
def layered(fresh_bundle: Bundle) -> Bundle:
    return with_layer_head(fresh_bundle, (0, 1))


def test_it_survives_the_disk_and_other_heads_say_nothing(layered: Bundle, tmp_path: Path):
    loaded = Bundle.load(layered.save(tmp_path / "bundle"))
    assert loaded.inputs == {"depth": HeadInput("forecaster_layers", (0, 1))}
    manifest = yaml.safe_load((tmp_path / "bundle" / "bundle.yaml").read_text())
    assert [name for name, head in manifest["heads"].items() if "input" in head] == ["depth"]
    for a, b in zip(
        layered.heads["depth"].parameters(), loaded.heads["depth"].parameters(), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("how", [{}, {"acceleration": "compile"}])
def test_live_it_gets_the_predicted_frame_s_tokens_of_each_step(
    layered: Bundle, monkeypatch: pytest.MonkeyPatch, how: dict
):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (4, 60, 80, 3), dtype=np.uint8)
    engine = Foresight(layered, steps=2, **how)
    interval_ns = round(layered.frame_interval_s * 1e9)
    forecast = None
    for index, image in enumerate(images):
        forecast = engine.update(image, index * interval_ns)
    assert forecast is not None
    with torch.inference_mode():
        features = layered.encoder(layered.encoder.preprocess(images))
        context = layered.pca.transform(features)[None]
        tokens: list[torch.Tensor] = []
        for block in layered.forecaster.blocks[:2]:
            block.register_forward_hook(lambda m, i, out: tokens.append(out[:, -1]))
        predicted = layered.forecaster.rollout(context, 2)
        for step in range(2):
            read = torch.cat(tokens[2 * step : 2 * step + 2], dim=-1)
            depth = layered.tasks["depth"].decode(layered.heads["depth"](read))["depth"]
            np.testing.assert_allclose(forecast.steps[step].depth, depth[0], rtol=1e-4)
            normals = layered.heads["normals"](layered.pca.inverse(predicted[:, step]))
            expected = layered.tasks["normals"].decode(normals)["normals"]
            np.testing.assert_allclose(forecast.steps[step].normals, expected[0], atol=1e-4)


def test_a_layer_that_the_forecaster_lacks_is_refused(fresh_bundle: Bundle):
    with pytest.raises(BundleError, match="head 'depth' reads forecaster layer 9; it has"):
        with_layer_head(fresh_bundle, (0, 9))


@pytest.mark.parametrize(
    ("kind", "layers", "message"),
    [
        ("pixels", (), "head input 'pixels' is unknown; valid: pca_inverse, forecaster_layers"),
        ("forecaster_layers", (), "forecaster_layers needs layers"),
        ("pca_inverse", (1,), "pca_inverse has none"),
        ("forecaster_layers", (2, 1), "must rise"),
    ],
)
def test_an_input_that_makes_no_sense_is_refused(kind: str, layers: tuple, message: str):
    with pytest.raises(BundleError, match=message):
        HeadInput(kind, layers)
