"""The authors' files to a bundle and back; nothing lost, nothing guessed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.errors import BundleError, ForesightError, InputError
from dino_foresight_ros.model import PCA, Bundle, MaskedConfig, MaskedForecaster
from dino_foresight_ros.model.reference.conversion import convert_reference
from dino_foresight_ros.model.reference.export import export_reference, reference_state_dict
from dino_foresight_ros.model.reference.tensors import (
    forecaster_from_reference,
    forecaster_to_reference,
)
from dino_foresight_ros.model.weights import empty, load_strict, read_tensors, write_tensors

Convert = Callable[..., Bundle]


def load(path: Path) -> dict:
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, weights_only=True)


def edited(golden_dir: Path, tmp_path: Path, change, name: str = "dinof_tiny.ckpt") -> Path:
    content = load(golden_dir / name)
    change(content)
    path = tmp_path / name
    torch.save(content, path)
    return path


def test_shapes_are_read_off_the_files(reference_bundle: Bundle):
    bundle = reference_bundle
    assert bundle.image_size == (56, 84)
    assert bundle.encoder.config.layers == (0, 1, 2, 3)
    assert (bundle.forecaster.config.layers, bundle.forecaster.config.heads) == (2, 4)
    assert bundle.frame_interval_s == pytest.approx(0.18, abs=0.005)
    assert bundle.tasks["segmentation"].class_names[13] == "car"
    assert not bundle.tasks["depth"].is_metric
    assert isinstance(bundle.pca, PCA)
    assert 0 < float(bundle.pca.explained_variance_ratio.sum()) <= 1
    assert bundle.info["ignored_tensors"] == ["mask_token"]


def test_exported_files_have_the_reference_s_tensor_names_and_values(
    reference_bundle: Bundle, golden_dir: Path
):
    theirs = load(golden_dir / "dinof_tiny.ckpt")["state_dict"]
    ours = reference_state_dict(reference_bundle)
    assert ours.keys() == theirs.keys()
    # timm adds the class token's position to the token, and has no use for DINOv2's mask token.
    moved = {"dino_v2.cls_token", "dino_v2.pos_embed", "dino_v2.mask_token"}
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if name not in moved)
    total = [s["dino_v2.cls_token"] + s["dino_v2.pos_embed"][:, :1] for s in (ours, theirs)]
    assert torch.equal(*total)
    assert torch.equal(*[s["dino_v2.pos_embed"][:, 1:] for s in (ours, theirs)])


@pytest.mark.slow
def test_a_bundle_goes_to_the_authors_format_and_back_unchanged(
    reference_bundle: Bundle, tmp_path: Path
):
    out = tmp_path / "reference"
    export_reference(reference_bundle, out)
    heads = {name: out / f"head_{name}.ckpt" for name in reference_bundle.heads}
    back = convert_reference(out / "forecaster.ckpt", out / "pca.pth", None, heads, 3)
    for part in ("encoder", "pca", "forecaster"):
        a = getattr(reference_bundle, part).state_dict()
        b = getattr(back, part).state_dict()
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a), part
    for name, head in reference_bundle.heads.items():
        b = back.heads[name].state_dict()
        assert all(torch.equal(t, b[n]) for n, t in head.state_dict().items())


def test_a_forecaster_as_deep_as_the_base_survives_bit_for_bit(tmp_path: Path):
    config = MaskedConfig(channels=72, grid=(16, 32), width=72)
    shapes = empty(lambda: MaskedForecaster(config)).state_dict()
    generator = torch.Generator().manual_seed(0)
    tensors = {n: torch.rand(t.shape, generator=generator) for n, t in shapes.items()}
    write_tensors(tmp_path / "base.safetensors", tensors)
    reference = forecaster_to_reference(
        read_tensors(tmp_path / "base.safetensors"), config.layers, config.attention
    )
    assert "maskvit.transformer.layers.11.2.fn.net.3.weight" in reference
    back = empty(lambda: MaskedForecaster(config))
    load_strict(back, forecaster_from_reference(reference, 12, "factorised"), "forecaster")
    assert all(torch.equal(t, tensors[n]) for n, t in back.state_dict().items())


def test_a_missing_tensor_is_named(golden_dir: Path, tmp_path: Path, convert_golden: Convert):
    path = edited(golden_dir, tmp_path, lambda c: c["state_dict"].pop("embed.bias"))
    with pytest.raises(BundleError, match=r"embed\.bias .*is missing"):
        convert_golden(forecaster=path)


def test_a_left_over_tensor_is_named(golden_dir: Path, tmp_path: Path, convert_golden: Convert):
    def add(content: dict) -> None:
        content["state_dict"]["maskvit.surprise"] = torch.zeros(1)

    with pytest.raises(BundleError, match=r"maskvit\.surprise belongs to nothing"):
        convert_golden(forecaster=edited(golden_dir, tmp_path, add))


def test_a_pca_that_is_not_the_forecaster_s_is_refused(
    golden_dir: Path, tmp_path: Path, convert_golden: Convert
):
    def change(content: dict) -> None:
        content["state_dict"]["pca_mean"] += 1

    with pytest.raises(BundleError, match=r"PCA centre .*is not the one"):
        convert_golden(forecaster=edited(golden_dir, tmp_path, change))


@pytest.mark.parametrize(
    ("key", "value"),
    [("masking", "half_half"), ("use_first_last", True), ("feature_extractor", "sam")],
)
def test_an_unsupported_variant_is_refused_by_name(
    golden_dir: Path, tmp_path: Path, convert_golden: Convert, key: str, value: object
):
    def change(content: dict) -> None:
        setattr(content["hyper_parameters"]["args"], key, value)

    with pytest.raises(InputError, match=f"{key}={value!r}"):
        convert_golden(forecaster=edited(golden_dir, tmp_path, change))


@pytest.mark.parametrize(
    ("key", "value"),
    [("img_size", 56), ("img_size", (56,)), ("d_layers", None), ("heads", None), ("dropout", None)],
)
def test_an_argument_of_another_kind_is_refused(
    golden_dir: Path, tmp_path: Path, convert_golden: Convert, key: str, value: object
):
    def change(content: dict) -> None:
        setattr(content["hyper_parameters"]["args"], key, value)

    with pytest.raises(InputError, match=r"args has a value that does not fit"):
        convert_golden(forecaster=edited(golden_dir, tmp_path, change))


@pytest.mark.slow
@pytest.mark.parametrize("layers", [4, [3, 1, 0, 2]])
def test_layers_are_counted_and_ordered_as_the_reference_does(
    golden_dir: Path, tmp_path: Path, convert_golden: Convert, layers: object
):
    def change(content: dict) -> None:
        content["hyper_parameters"]["args"].d_layers = layers

    bundle = convert_golden(forecaster=edited(golden_dir, tmp_path, change))
    assert bundle.encoder.config.layers == (0, 1, 2, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_files_in_half_precision_make_a_float32_bundle(
    golden_dir: Path, tmp_path: Path, convert_golden: Convert, golden: dict, dtype: torch.dtype
):
    def change(content: dict) -> None:
        tensors = content["state_dict"]
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                tensors[name] = tensor.to(dtype)
        tensors.pop("maskvit.fc_out.bias", None)

    path = edited(golden_dir, tmp_path, change)
    head = edited(golden_dir, tmp_path, change, "head_depth_pca_tiny.ckpt")
    bundle = convert_golden(forecaster=path, heads={"depth": head})
    with torch.inference_mode():
        predicted = bundle.forecaster(golden["pca_features"][:, :4])
        assert bundle.heads["depth"](bundle.pca.inverse(predicted)).dtype == torch.float32


def test_a_model_trained_on_partly_masked_frames_predicts_the_last_one(
    golden_dir: Path, tmp_path: Path, convert_golden: Convert, golden: dict
):
    def change(content: dict) -> None:
        arguments = content["hyper_parameters"]["args"]
        arguments.train_mask_frames, arguments.train_mask_mode = 2, "arccos"

    bundle = convert_golden(forecaster=edited(golden_dir, tmp_path, change))
    with torch.inference_mode():
        predicted = bundle.forecaster(golden["pca_features"][:, :4])
    assert float((predicted - golden["predicted_pca"][:, 4]).abs().max()) < 1e-4


@pytest.mark.parametrize("model", [None, {"mean_": 1}, argparse.Namespace(mean_="x")])
def test_a_pca_file_with_something_else_in_it_is_refused(
    tmp_path: Path, convert_golden: Convert, model: object
):
    torch.save({"pca_model": model, "mean": 1.0, "std": 1.0}, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=r"odd\.pth"):
        convert_golden(pca=tmp_path / "odd.pth")


def test_the_pca_in_the_forecaster_s_file_suffices(convert_golden: Convert, golden: dict):
    bundle = convert_golden(pca=None)
    features = bundle.encoder(golden["frames"][0])
    assert float((bundle.pca.transform(features)[None] - golden["pca_features"]).abs().max()) < 1e-5


@pytest.mark.slow
def test_a_low_resolution_forecaster_with_large_images_slides(
    golden_dir: Path, tmp_path: Path, convert_golden: Convert, golden: dict
):
    def change(content: dict) -> None:
        arguments = content["hyper_parameters"]["args"]
        arguments.img_size, arguments.sliding_window_inference = (112, 168), True

    bundle = convert_golden(forecaster=edited(golden_dir, tmp_path, change))
    bundle.save(tmp_path / "sliding")
    loaded = Bundle.load(tmp_path / "sliding")
    with torch.inference_mode():
        predicted = loaded.forecaster(golden["highres_pca_features"][:, :4])
    assert float((predicted - golden["sliding_predicted_pca"][:, 4]).abs().max()) < 1e-4


@pytest.mark.parametrize("missing", ["encoder", "heads"])
def test_what_is_needed_is_asked_for(
    golden_dir: Path, tmp_path: Path, convert_golden: Convert, missing: str
):
    def drop_encoder(content: dict) -> None:
        tensors = content["state_dict"]
        for name in [n for n in tensors if n.startswith("dino_v2.")]:
            del tensors[name]

    if missing == "encoder":
        path = edited(golden_dir, tmp_path, drop_encoder)
        with pytest.raises(InputError, match="--encoder"):
            convert_golden(forecaster=path, encoder=None)
    else:
        with pytest.raises(ForesightError, match="--encoder-heads"):
            convert_golden(encoder_heads=None)


@pytest.mark.slow
def test_the_command_line_converts_and_refuses_to_overwrite(
    golden_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = [
        "convert",
        *("--forecaster", str(golden_dir / "dinof_tiny.ckpt")),
        *("--pca", str(golden_dir / "dinov2_pca_tiny.pth")),
        *("--encoder", str(golden_dir / "encoder_weights.safetensors")),
        *("--head", f"depth={golden_dir / 'head_depth_pca_tiny.ckpt'}"),
        *("--encoder-heads", "3", "--out", str(tmp_path / "b")),
    ]
    assert main(arguments) == 0
    assert "knowingly ignored 1 tensors: mask_token" in capsys.readouterr().out
    assert list(Bundle.load(tmp_path / "b").heads) == ["depth"]
    assert main(arguments) == 1
    captured = capsys.readouterr().err
    assert "exists" in captured
    assert captured.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--forecaster", "x"],
        ["--forecaster", "x", "--out", "y", "--head", "flow=z"],
        ["--out", "y"],
        ["--forecaster", "x", "--out", "y", "--encoder-heads", "0"],
        ["--forecaster", "x", "--out", "y", "--frame-interval", "-1"],
    ],
)
def test_bad_arguments_exit_with_2(arguments: list[str], tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["convert", *arguments])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
