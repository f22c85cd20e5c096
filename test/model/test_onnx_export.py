"""Parts as ONNX files: what torch computes, on batches that were not traced, and clear refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle
from optional import NEEDS_ONNX

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.errors import ForesightError, UsageError
from dino_foresight_ros.model import HeadConfig, InstancesTask, build_head, onnx_export
from dino_foresight_ros.model.centre_head import CentreHead, CentreHeadConfig
from dino_foresight_ros.model.forecasters import WorldConfig, WorldForecaster
from dino_foresight_ros.model.forecasters.rotary import rotation
from dino_foresight_ros.model.instance_head import InstanceHeadConfig, PixelMaps
from dino_foresight_ros.model.onnx_export import difference, export_bundle

pytestmark = NEEDS_ONNX


def session_of(path: str) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path)


@pytest.mark.long
def test_the_forecaster_gives_torchs_numbers_for_any_batch(tmp_path: Path) -> None:
    bundle = make_micro_bundle()
    said: list[str] = []
    found = export_bundle(bundle, tmp_path / "out", only=["forecast"], say=said.append)
    assert 0.0 <= found["forecast"] <= 1e-4
    assert "forecast.onnx" in said[0]
    index = json.loads((tmp_path / "out" / "onnx.json").read_text())
    part = index["parts"]["forecast"]
    assert (index["opset"], part["inputs"]) == (20, {"context": ["batch", 4, 4, 6, 30]})
    session = session_of(str(tmp_path / "out" / part["file"]))
    context = torch.randn(5, 4, 4, 6, 30)
    (ours,) = session.run(None, {"context": context.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(ours, bundle.forecaster(context).numpy(), atol=1e-4)


@pytest.mark.slow
def test_a_part_that_differs_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differing(part: object, modules: object, path: Path) -> float:
        path.write_text("half")
        raise ForesightError("forecast as ONNX differs")

    monkeypatch.setattr(onnx_export, "_export", differing)
    with pytest.raises(ForesightError, match="differs"):
        export_bundle(make_micro_bundle(), tmp_path / "out", only=["forecast"])
    assert list((tmp_path / "out").iterdir()) == []


def test_unknown_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"parts \['wheels'\] are unknown; valid: encoder, fore"):
        export_bundle(make_micro_bundle(), tmp_path / "out", only=["wheels"])
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept").write_text("")
    assert main(["export", "untrained-tiny", "--out", str(tmp_path)]) == 2
    assert "has files; use --force" in capsys.readouterr().err
    assert main(["export", "untrained-tiny", "--out", str(tmp_path / "kept")]) == 2
    assert main(["export", "untrained-tiny", "--out", str(tmp_path / "o"), "--steps", "0"]) == 2


def centre_head() -> CentreHead:
    torch.manual_seed(0)
    config = CentreHeadConfig(3, (1, 2), channels=(8, 8, 8, 8), width=8, queries=3)
    head = build_head(config, 24, layers=4)
    assert isinstance(head, CentreHead)
    return head.eval()


def queries_of(head: CentreHead, maps: PixelMaps) -> list[np.ndarray]:
    return [x.numpy() for x in (*head.group(maps), *maps)]


def four_peaks() -> PixelMaps:
    """Two as high as each other but for rounding, of which one is the last query."""
    centres = torch.zeros(1, 4, 16, 24)
    centres[:, :2] = -8.0
    for height, row, column in ((3.0, 3, 3), (2.5, 12, 5), (2.0, 4, 20), (2.0 + 1e-6, 12, 18)):
        centres[0, 0, row, column] = height
    return PixelMaps(torch.randn(1, 3, 16, 24), centres)


@torch.no_grad()
def test_queries_whose_order_is_a_matter_of_rounding_do_not_differ() -> None:
    head, maps = centre_head(), four_peaks()
    expected = queries_of(head, maps)
    maps.centres[0, 0, 4, 20] += 2e-6
    found = queries_of(head, maps)
    assert np.abs(found[1] - expected[1]).max() > 1.0  # another object's mask
    assert difference(head, found, expected) < 1e-5


@torch.no_grad()
def test_queries_of_equal_peaks_may_come_in_any_order() -> None:
    head = centre_head()
    expected = queries_of(head, four_peaks())
    found = [np.ascontiguousarray(x[:, ::-1]) for x in expected[:2]] + expected[2:]
    assert difference(head, found, expected) < 1e-5


def test_a_graph_that_gives_nan_or_infinity_differs_as_much_as_can_be() -> None:
    good = np.ones((2, 3), np.float32)
    for bad in (np.nan, np.inf):
        wrong = good.copy()
        wrong[1, 2] = bad
        assert difference(None, [wrong, good], [good, good]) == np.inf
        assert difference(None, [good, wrong], [good, good]) == np.inf


@torch.no_grad()
@pytest.mark.parametrize("which", range(4))
def test_queries_and_maps_that_really_differ_are_told(which: int) -> None:
    head = centre_head()
    expected = queries_of(head, four_peaks())
    found = [x.copy() for x in expected]
    found[which].flat[np.abs(found[which]).argmin()] += 0.1
    assert difference(head, found, expected) > 1e-3


@pytest.mark.long
@pytest.mark.parametrize("kind", ["dpt", "linear", "centres", "mask2former"])
def test_heads_of_every_kind_give_torchs_numbers(tmp_path: Path, kind: str) -> None:
    """The file of a head of each kind is written, so its comparison found no difference."""
    bundle = make_micro_bundle()
    shape: dict[str, Any] = {"channels": (8, 8, 8, 8), "width": 8}
    name, task = "segmentation", bundle.tasks["segmentation"]
    if kind in ("dpt", "linear"):
        config: Any = HeadConfig(task.outputs, kind=kind, **shape)
    else:
        names = ("road", "car", "person")
        name, task = "instances", InstancesTask(names, ((0, 0, 0),) * 3, things=(1, 2))
        config = CentreHeadConfig(3, task.things, queries=5, **shape)
    if kind == "mask2former":
        pytest.importorskip("transformers")
        config = InstanceHeadConfig(
            3, channels=(8, 8, 8, 8), width=32, queries=5, encoder_layers=1, decoder_layers=3,
            attention_heads=2, feedforward=32,
        )  # fmt: skip
    torch.manual_seed(0)
    head = build_head(config, 24, layers=4).eval().requires_grad_(False)
    bundle = replace(bundle, heads={name: head}, tasks={name: task})
    found = export_bundle(bundle, tmp_path / "out", only=[f"head_{name}"])
    assert 0.0 < found[f"head_{name}"] <= 1e-4
    outputs = session_of(str(tmp_path / "out" / f"head_{name}.onnx")).get_outputs()
    expected = {
        "centres": ["classes", "masks", "pixel_classes", "pixel_centres"],
        "mask2former": ["classes", "masks"],
    }
    assert [x.name for x in outputs] == expected.get(kind, [name])


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hindcast": True},
        {"motion": "blocks", "hindcast": True},
        {"query": "noise"},
        {"futures": "blocks", "hindcast": True},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_the_world_forecaster_gives_torchs_numbers(tmp_path: Path, options: dict[str, object]):
    """Everything that tiny's has: motion, a row of which is unknown, and the hindcast."""
    bundle = make_micro_bundle()
    config = WorldConfig(bundle.pca.channels, 24, 2, 2, (4, 4, 2), query_newest=True, **options)
    torch.manual_seed(0)
    forecaster = WorldForecaster(config).eval().requires_grad_(False)
    for parameter in forecaster.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    bundle = replace(bundle, forecaster=forecaster)
    found = export_bundle(bundle, tmp_path / "out", steps=2, only=["remember", "forecast"])
    assert max(found.values()) <= 1e-4
    frames, ahead_s = forecaster.context_frames, [0.2, 0.7]
    z = torch.randn(1, frames, *bundle.grid, bundle.pca.channels)
    stamps_s = 1_790_000_000.0 + 0.2 * torch.arange(frames, dtype=torch.float64)[None]
    memories = forecaster.remember(z, stamps_s)
    since_s = stamps_s - (stamps_s[:, -1:] / 10).floor() * 10
    given = {"context" if config.hindcast else "newest": z if config.hindcast else z[:, -1]}
    for name, times in (("past", since_s), ("ahead", since_s[:, -1:] + torch.tensor([ahead_s]))):
        angles = rotation(times, config.rope[0])
        given |= {f"{name}_cos": angles.cos, f"{name}_sin": angles.sin}
    given |= {f"memory_{block}": memory for block, memory in enumerate(memories[1:])}
    motion = torch.tensor([[[1.0, 0.1, 0.05], [float("nan"), 0.0, 0.0]]])
    if config.motion != "none":
        given["motion"] = motion
    if config.query == "noise":
        given["noise"] = forecaster.draw_noise(1, generator=torch.Generator().manual_seed(0))
    session = session_of(str(tmp_path / "out" / "forecast.onnx"))
    (ours,) = session.run(None, {name: x.numpy() for name, x in given.items()})
    told = motion if forecaster.takes_motion else None
    expected = forecaster.forecast(memories, stamps_s, ahead_s, told)[:, 0]
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-4)
