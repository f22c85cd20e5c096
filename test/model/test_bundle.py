"""A model on disk: whole or refused, with the part and the tensor named."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from micro_bundle import make_micro_bundle
from safetensors.torch import load_file, save_file

from dino_foresight_ros.errors import BundleError, ForesightError, UsageError
from dino_foresight_ros.model import (
    Bundle,
    DepthTask,
    Encoder,
    EncoderConfig,
    HeadConfig,
    IdentityPCA,
    MaskedConfig,
    MaskedForecaster,
    NormalsTask,
    build_head,
    untrained,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Bundle.untrained().save(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_micro_bundle().save(tmp_path_factory.mktemp("bundles") / "micro")


@pytest.fixture
def folder(micro: Path, tmp_path: Path) -> Path:
    """One that a test may damage."""
    return Path(shutil.copytree(micro, tmp_path / "micro"))


def edit_manifest(folder: Path, change) -> None:
    path = folder / "bundle.yaml"
    manifest = yaml.safe_load(path.read_text())
    change(manifest)
    path.write_text(yaml.safe_dump(manifest))


def test_what_is_saved_is_what_is_loaded(written: Path):
    original, loaded = Bundle.untrained(), Bundle.load(written)
    for part in ("encoder", "pca", "forecaster"):
        expected, got = (getattr(b, part).state_dict() for b in (original, loaded))
        assert expected.keys() == got.keys()
        assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert loaded.tasks == original.tasks
    assert not loaded.trained
    assert loaded.info["seed"] == 0


def test_loading_draws_no_weights(written: Path):
    state = torch.get_rng_state()
    loaded = Bundle.load(written)
    assert torch.equal(torch.get_rng_state(), state)
    for part in (loaded.encoder, loaded.pca, loaded.forecaster, *loaded.heads.values()):
        assert not any(t.is_meta for t in (*part.parameters(), *part.buffers()))


@pytest.mark.slow
def test_half_precision_on_disk_rounds_each_weight_once(written: Path, tmp_path: Path):
    original = Bundle.untrained()
    half = original.save(tmp_path / "half", dtype=torch.float16)
    loaded = Bundle.load(half)
    for part in ("encoder", "forecaster"):
        expected, got = (getattr(b, part).state_dict() for b in (original, loaded))
        assert all(got[name].dtype == torch.float32 for name in got)
        assert all(torch.equal(expected[name].half().float(), got[name]) for name in expected)
    assert torch.equal(loaded.pca.std, original.pca.std)
    sizes = [sum(p.stat().st_size for p in f.glob("*.safetensors")) for f in (half, written)]
    assert sizes[0] < 0.55 * sizes[1]


def test_a_weight_that_half_precision_cannot_hold_is_named(tmp_path: Path):
    bundle = make_micro_bundle()
    next(bundle.forecaster.parameters()).view(-1)[0] = 1e6
    with pytest.raises(BundleError, match=r"forecaster tensor \S+ does not fit into torch.float16"):
        bundle.save(tmp_path / "half", dtype=torch.float16)
    assert not (tmp_path / "half").exists()


def test_the_word_untrained_tiny_loads_the_same_bundle(written: Path):
    a, b = Bundle.load(written), Bundle.load("untrained-tiny")
    assert torch.equal(a.forecaster.embed.weight, b.forecaster.embed.weight)


@pytest.mark.parametrize("name", ["written", "untrained-tiny"])
def test_without_heads_the_other_parts_are_the_same(written: Path, name: str):
    path = written if name == "written" else name
    whole, bare = Bundle.load(path), Bundle.load(path, has_heads=False)
    assert whole.heads
    assert (bare.heads, bare.tasks, bare.inputs) == ({}, {}, {})
    for part in ("encoder", "forecaster"):
        found, expected = (getattr(b, part).state_dict() for b in (bare, whole))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_heads_that_are_left_out_of_the_untrained_bundle_are_not_drawn(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(untrained, "build_head", lambda *_: pytest.fail("a head was drawn"))
    assert Bundle.load("untrained-tiny", has_heads=False).heads == {}


@pytest.mark.slow
def test_seeds_differ_and_the_caller_s_random_state_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = Bundle.untrained(1), Bundle.untrained(2)
    assert torch.equal(torch.rand(1), expected)
    assert not torch.equal(first.forecaster.embed.weight, second.forecaster.embed.weight)


def test_no_pickle_is_in_a_bundle(written: Path):
    assert {path.suffix for path in written.iterdir()} == {".yaml", ".safetensors"}


def test_an_existing_folder_is_not_overwritten_unasked(folder: Path):
    with pytest.raises(BundleError, match="exists"):
        make_micro_bundle().save(folder)
    make_micro_bundle().save(folder, overwrite=True)


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("dino_foresight_ros.model.bundle_files.write_tensors", fail)
    with pytest.raises(ForesightError, match="cannot be written: disk full"):
        make_micro_bundle().save(tmp_path / "micro")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path):
    with pytest.raises(BundleError, match=r"no bundle.yaml.*foresight convert"):
        Bundle.load(tmp_path)


def test_a_truncated_file_is_named(folder: Path):
    path = folder / "forecaster.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BundleError, match=r"forecaster\.safetensors is not a whole"):
        Bundle.load(folder)


@pytest.mark.parametrize("part", ["encoder", "pca", "forecaster", "head_depth"])
def test_a_missing_tensor_is_named(folder: Path, part: str):
    path = folder / f"{part}.safetensors"
    tensors = load_file(str(path))
    name = sorted(tensors)[0]
    del tensors[name]
    save_file(tensors, str(path))
    with pytest.raises(BundleError, match=f"{part}: tensor {name} .* is missing"):
        Bundle.load(folder)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder: Path):
    path = folder / "head_normals.safetensors"
    tensors = load_file(str(path))
    assert tensors["output.4.weight"].shape == (3, 8, 1, 1)
    tensors["output.4.weight"] = torch.zeros(5, 8, 1, 1)
    save_file(tensors, str(path))
    with pytest.raises(
        BundleError, match=r"output\.4\.weight has shape \(5, 8, 1, 1\).*\(3, 8, 1, 1\)"
    ):
        Bundle.load(folder)


def test_a_left_over_tensor_is_named(folder: Path):
    path = folder / "forecaster.safetensors"
    save_file({**load_file(str(path)), "extra": torch.zeros(2)}, str(path))
    with pytest.raises(BundleError, match=r"extra \(2,\) belongs to nothing"):
        Bundle.load(folder)


def test_nan_weights_are_refused(folder: Path):
    path = folder / "pca.safetensors"
    tensors = load_file(str(path))
    tensors["mean"][3] = float("nan")
    save_file(tensors, str(path))
    with pytest.raises(BundleError, match="mean holds NaN"):
        Bundle.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema=99), "schema 99"),
        (lambda m: m.pop("pca"), "lacks pca"),
        (lambda m: m.update(frame_interval_s=0), "frame_interval_s"),
        (lambda m: m["encoder"].update(image_size=[127, 224]), "multiple of the patch size"),
        (lambda m: m["encoder"].update(image_size=[140, 224]), "patch grid"),
        (lambda m: m["encoder"].update(layers=[0, 1, 2, 4]), "layer 4 does not exist"),
        (lambda m: m["encoder"].update(model="vit_none"), "no model 'vit_none'"),
        (lambda m: m.update(frame_interval_s=float("inf")), "frame_interval_s"),
        (lambda m: m.update(heads=[1]), "does not fit"),
        (lambda m: m["encoder"].update(model=3), "does not fit"),
        (lambda m: m["encoder"].update(patch_size=0), "does not fit"),
        (lambda m: m["encoder"].update(native_image_size=[1]), "does not fit"),
        (lambda m: m["encoder"].update(layers=[-1, 1, 2, 3]), "counted from 0"),
        (lambda m: m["encoder"].update(std=[1, 1]), "three numbers"),
        (lambda m: m["encoder"].update(std=[1, 1, 0]), "std positive"),
        (lambda m: m["forecaster"].update(mlp_ratio=-1), "does not fit"),
        (lambda m: m["forecaster"].update(weights="../x.safetensors"), "file in the bundle"),
        (lambda m: m["forecaster"].update(colour=1), "unknown keys"),
        (lambda m: m["heads"]["depth"]["task"].update(bins=32), "gives 16 channels"),
        (lambda m: m["pca"].update(kind="ica"), "pca, identity"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(folder: Path, change, message: str):
    edit_manifest(folder, change)
    with pytest.raises(BundleError, match=message):
        Bundle.load(folder)


def test_a_manifest_that_is_no_yaml_is_refused(folder: Path):
    (folder / "bundle.yaml").write_text("a: [")
    with pytest.raises(BundleError, match="not YAML"):
        Bundle.load(folder)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_forecast_stays_near_full_precision(written: Path, dtype: torch.dtype):
    images = torch.randint(0, 256, (4, 90, 160, 3), dtype=torch.uint8)
    with torch.inference_mode():
        outputs = []
        for bundle in (Bundle.load(written), Bundle.load(written, dtype=dtype)):
            z = bundle.pca.transform(bundle.encoder(bundle.encoder.preprocess(images)))
            outputs.append(bundle.pca.inverse(bundle.forecaster(z[None])).float())
    full, half = outputs
    assert float((half - full).norm() / full.norm()) < 2e-2


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_full_precision_on_real_frames(
    written: Path, shared_dir: Path, dtype: torch.dtype
):
    video = cv2.VideoCapture(str(shared_dir / "data" / "highway.mp4"))
    frames = [cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB) for _ in range(20)][::5]
    images = torch.from_numpy(np.stack(frames))
    with torch.inference_mode():
        outputs = []
        for bundle in (Bundle.load(written), Bundle.load(written, dtype=dtype)):
            features = bundle.encoder(bundle.encoder.preprocess(images))
            z = bundle.pca.transform(features)
            forecast = bundle.pca.inverse(bundle.forecaster(z[None]))
            raw = [head(forecast) for head in bundle.heads.values()]
            outputs.append([t.float() for t in (features, z, forecast, *raw)])
    for full, half in zip(*outputs, strict=True):
        assert float((half - full).norm() / full.norm()) < 2e-2


def test_files_can_be_read_by_every_user(written: Path):
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in written.iterdir())


def test_single_layer_features_without_pca_and_linear_heads_survive_the_disk(tmp_path: Path):
    """The paper's ablations: one layer, no PCA; and DINO-world's linear heads."""
    torch.manual_seed(0)
    encoder = Encoder(
        EncoderConfig(
            model="vit_small_patch14_reg4_dinov2",
            image_size=(56, 84),
            layers=(3,),
            native_image_size=(56, 84),
            overrides={"embed_dim": 24, "depth": 4, "num_heads": 3},
        )
    )
    forecaster = MaskedForecaster(
        MaskedConfig(channels=24, grid=(4, 6), width=24, layers=1, heads=2)
    )
    heads = {
        "normals": build_head(HeadConfig(3, kind="linear"), 24, layers=1),
        "depth": build_head(HeadConfig(256, channels=(8, 8, 8, 8), width=8), 24, layers=1),
    }
    tasks = {"normals": NormalsTask(), "depth": DepthTask()}
    bundle = Bundle("ablation", encoder, IdentityPCA(24), forecaster, heads, tasks, 0.2)
    bundle.save(tmp_path / "ablation")
    loaded = Bundle.load(tmp_path / "ablation")
    features = torch.randn(2, 4, 6, 24)
    assert torch.equal(loaded.pca.inverse(features), features)
    for name, outputs in (("normals", 3), ("depth", 256)):
        raw = loaded.heads[name](features)
        assert raw.shape == (2, outputs, 32, 48)
        assert torch.equal(raw, heads[name](features))


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_by_name(device: str):
    with pytest.raises(UsageError, match=f"device '{device}'"):
        Bundle.load("untrained-tiny", device=device)
