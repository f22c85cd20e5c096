"""What heads are trained on: the right features with the right labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle
from training_data import PaintedDrive, synthetic

from dino_foresight_ros.errors import BundleError, InputError, UsageError
from dino_foresight_ros.model import Bundle, HeadInput
from dino_foresight_ros.planar_motion import compose
from dino_foresight_ros.recordings import LabelSpace, Recording, open_recordings
from dino_foresight_ros.training.data import ImageDataset
from dino_foresight_ros.training.encoder_loading import encoder_origin
from dino_foresight_ros.training.head_inputs import HeadInputs
from dino_foresight_ros.training.head_losses import metric_depth_loss
from dino_foresight_ros.training.head_samples import KeptFeatures, LabelledImages, keep_features
from dino_foresight_ros.training.head_setup import make_model, make_task, start_from
from dino_foresight_ros.training.head_training import HeadData, HeadObjective, HeadTraining
from dino_foresight_ros.training.model_parts import load_head
from dino_foresight_ros.training.parts import Origin
from dino_foresight_ros.training.processes import alone
from dino_foresight_ros.training.recipe_base import resolve_recipe
from dino_foresight_ros.training.recipes import HeadRecipe
from dino_foresight_ros.training.sources import Source, sources_of

CPU = alone()
GONE = Source("gone", "0f", "elsewhere", 0, 1)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_micro_bundle()


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return open_recordings([synthetic("0", 7)])


def prepare(bundle: Bundle, recordings: list[Recording], task: str = "depth", **flags: object):
    recipe = resolve_recipe(
        HeadRecipe, "linear", None, {"steps": 2, "workers": 0, "bins": 16, **flags}
    )
    inputs = HeadInputs(bundle.encoder, bundle.pca)
    meaning = make_task(task, recordings, recipe)
    return HeadTraining(inputs, HeadData(recordings, recordings), meaning, recipe, CPU)


def pictures(recordings: list[Recording], frames: list[int]) -> torch.Tensor:
    images = np.stack([frame.image for frame in recordings[0].read(frames)])
    return torch.from_numpy(images)


def test_a_head_reads_features_that_went_through_the_pca_and_back(bundle: Bundle, recordings):
    inputs = HeadInputs(bundle.encoder, bundle.pca)
    images = pictures(recordings, [1, 4])
    with torch.inference_mode():
        z = bundle.pca.transform(bundle.encoder(bundle.encoder.preprocess(images)))
        expected = bundle.pca.inverse(z)
    torch.testing.assert_close(inputs.expand(inputs.compact(images)), expected)
    assert (inputs.embed_dim, inputs.layers, inputs.kept_channels) == (24, 4, 30)


@pytest.mark.parametrize("steps", [1, 3])
def test_forecast_features_come_from_the_context_alone(bundle: Bundle, recordings, steps: int):
    inputs = HeadInputs(bundle.encoder, bundle.pca, bundle.forecaster, steps=[steps])
    clip = pictures(recordings, list(range(4 + steps)))[None]
    with torch.inference_mode():
        z = bundle.pca.transform(bundle.encoder(bundle.encoder.preprocess(clip[0])))
        predicted = bundle.forecaster.rollout(z[None, :4], steps)[:, -1]
    torch.testing.assert_close(inputs.compact(clip), predicted)
    torch.testing.assert_close(inputs.compact(clip, oracle=True), z[None, -1])
    reads = HeadInput("forecaster_layers", (0, 1))
    layered = HeadInputs(bundle.encoder, bundle.pca, bundle.forecaster, reads, [steps])
    assert layered.expand(layered.compact(clip)).shape == (1, 4, 6, 48)
    assert (layered.embed_dim, layered.layers, layered.kept_channels) == (24, 2, 48)


def test_the_pictures_of_a_batch_take_turns_in_how_far_they_are_forecast(
    bundle: Bundle, recordings
):
    steps = (0, 1, 3)
    mixed = HeadInputs(bundle.encoder, bundle.pca, bundle.forecaster, steps=steps)
    clips = torch.stack([pictures(recordings, range(7)).roll(i, 0) for i in range(5)])
    found = mixed.compact(clips)
    for row, clip in enumerate(clips):
        count = steps[row % 3]
        if count == 0:
            expected = HeadInputs(bundle.encoder, bundle.pca).compact(clip[-1:])
        else:
            alone = HeadInputs(bundle.encoder, bundle.pca, bundle.forecaster, steps=[count])
            expected = alone.compact(clip[None, 3 - count :])
        torch.testing.assert_close(found[row : row + 1], expected)
    torch.testing.assert_close(mixed.compact(clips[:1]), found[:1])  # fewer pictures than turns


@pytest.mark.slow
def test_a_forecaster_that_takes_motion_is_told_that_of_the_clip(recordings):
    bundle = Bundle.load("tiny", dtype=torch.float32)
    inputs = HeadInputs(bundle.encoder, bundle.pca, bundle.forecaster, steps=[0, 2])
    clips = pictures(recordings, range(6)).tile(2, 1, 1, 1, 1)
    motion = torch.tensor([1.0, 0.0, 0.02]).expand(2, 5, 3)
    z = inputs.compact(clips[0][:, None], oracle=True)[None]
    asked = bundle.forecaster.evenly_spaced(z[:, :4], 2)
    turned = compose(motion[0, 0], motion[0, 0])
    for told, expected in ((motion, turned), (None, None), (motion * torch.nan, None)):
        since = None if expected is None else torch.tensor([[[*motion[0, 0]], [*expected]]])
        by_hand = bundle.forecaster.forecast(*asked, since)[0, 0, -1]
        found = inputs.compact(clips, motion=told)
        torch.testing.assert_close(found[1], by_hand, atol=2e-3, rtol=1e-3)
        torch.testing.assert_close(found[0], z[0, -1])


def test_pixels_of_rare_classes_weigh_more_in_depth(bundle: Bundle, recordings):
    training = prepare(bundle, recordings, class_weights="inverse-sqrt")
    weights = training.task_training.class_weights
    assert weights is not None
    item = training.samples[3]
    metres, ids = item["label"].unbind(dim=-1)
    plain = prepare(bundle, recordings).samples[3]["label"]
    torch.testing.assert_close(metres, plain, equal_nan=True)
    shown = {int(i): int((ids == i).sum()) for i in ids.unique()}
    assert weights[min(shown, key=shown.__getitem__)] > weights[max(shown, key=shown.__getitem__)]
    model = make_model(training.inputs, training.task, training.recipe)
    raw = model(training.inputs.expand(item["compact"][None])).detach()
    expected = metric_depth_loss(raw, plain[None], training.task, True, weights[ids.long()][None])
    found = training.task_training.loss(raw, item["label"][None])
    torch.testing.assert_close(found.value, expected.value)
    assert training.validation(model.eval()).values["known"] > 0
    with pytest.raises(UsageError, match="class_weights of depth are for --depth metric"):
        prepare(bundle, recordings, class_weights="inverse-sqrt", depth="relative")


def test_frozen_parts_stay_frozen_and_in_evaluation_mode(bundle: Bundle):
    inputs = HeadInputs(bundle.encoder, bundle.pca, bundle.forecaster)
    inputs.train()
    assert not any(module.training for module in inputs.modules())
    assert not any(p.requires_grad for p in inputs.parameters())


def test_kept_features_give_the_loss_of_encoding_in_every_step(bundle: Bundle, recordings):
    training = prepare(bundle, recordings)
    assert isinstance(training.samples, KeptFeatures)
    model = make_model(training.inputs, training.task, training.recipe)
    objective = HeadObjective(model, training.inputs, lambda raw, label: (raw, label))
    kept, seen = training.samples[3], training.images[3]
    assert kept["source"] == seen["source"] == "synthetic-0 frame 3"
    a_raw, a_label = objective({"compact": kept["compact"][None], "label": kept["label"][None]})
    b_raw, b_label = objective({"images": seen["images"][None], "label": seen["label"][None]})
    torch.testing.assert_close(a_raw, b_raw, atol=2e-2, rtol=1e-2)
    torch.testing.assert_close(a_label, b_label, equal_nan=True)
    assert tuple(a_label.shape[1:]) == tuple(a_raw.shape[2:]) == (32, 48)


def test_augmented_pictures_and_those_beyond_the_cache_are_encoded_in_every_step(
    bundle: Bundle, recordings
):
    assert isinstance(prepare(bundle, recordings, horizontal_flip=0.5).samples, LabelledImages)
    assert isinstance(prepare(bundle, recordings, cache_gb=1e-9).samples, LabelledImages)


def test_labels_stay_those_of_their_picture(bundle: Bundle, recordings):
    training = prepare(bundle, recordings, "normals", loss_size="image")
    for index in (0, 5):
        frame = recordings[0].read([index], ["normals"])[0]
        label = training.samples[index]["label"]
        np.testing.assert_allclose(label, frame.normals, atol=1e-3)


def test_a_class_id_outside_the_list_is_named(bundle: Bundle, recordings):
    dataset = ImageDataset(recordings, "segmentation", (56, 84))
    images = LabelledImages(dataset, "segmentation", classes=3)
    with pytest.raises(
        InputError, match=r"synthetic-0 frame 0: class id \d+ is not in the list of 3"
    ):
        keep_features(images, HeadInputs(bundle.encoder, bundle.pca), [0, 1], 0, CPU.device)


def test_frames_without_labels_are_counted_and_left_out(bundle: Bundle):
    recording = PaintedDrive(0, 7, (56, 84), without_depth=(0, 2, 3, 5))
    said: list[str] = []
    recipe = resolve_recipe(HeadRecipe, "linear", None, {"steps": 2, "workers": 0, "bins": 16})
    task = make_task("depth", [recording], recipe)
    inputs = HeadInputs(bundle.encoder, bundle.pca)
    training = HeadTraining(
        inputs, HeadData([recording], [recording]), task, recipe, CPU, said.append
    )
    assert said[0].startswith("depth: 3 pictures to train on (3 of 7 frames have labels; 4 without")
    assert training.samples[1]["source"] == "painted-0 frame 4"


def test_segmentation_takes_its_classes_from_the_recordings(recordings):
    task = make_task("segmentation", recordings, resolve_recipe(HeadRecipe, "light"))
    assert task.class_names[0] == "road"
    bare = open_recordings([synthetic("1", 2)])[0]
    bare.label_space = None
    with pytest.raises(InputError, match="no segmentation labels in synthetic-1"):
        make_task("segmentation", [bare], resolve_recipe(HeadRecipe, "light"))
    bare.label_space = LabelSpace(("other",), ((0, 0, 0),), ())
    with pytest.raises(InputError, match="have different classes"):
        make_task("segmentation", [*recordings, bare], resolve_recipe(HeadRecipe, "light"))


def test_parts_that_do_not_fit_are_refused(bundle: Bundle):
    other = make_micro_bundle()
    other.forecaster.resize_grid(8, 12)
    with pytest.raises(BundleError, match=r"patch grid of \(8, 12\).* and the encoder \(4, 6\)"):
        HeadInputs(bundle.encoder, bundle.pca, other.forecaster)
    with pytest.raises(BundleError, match="forecaster layer 7 does not exist; it has 2"):
        HeadInputs(
            bundle.encoder, bundle.pca, bundle.forecaster, HeadInput("forecaster_layers", (7,))
        )


@pytest.mark.slow
def test_a_head_learns(bundle: Bundle, recordings, tmp_path: Path):
    training = prepare(
        bundle, recordings, "normals", steps=60, batch_size=7, lr=3e-2, evaluations=2
    )
    model = make_model(training.inputs, training.task, training.recipe)
    before = training.validation(model.eval())
    result = training.run(model.train(), tmp_path / "run", "normals")
    assert result.best is not None
    assert result.best.score > before.score + 5


@pytest.mark.slow
def test_a_head_for_instances_starts_from_one_for_segmentation_and_learns(
    bundle: Bundle, recordings, tmp_path: Path
):
    """The whole way: started, trained on kept features, written, and read again."""
    bundle.save(tmp_path / "micro")
    shape = {"kind": "centres", "channels": (8, 8, 8, 8), "width": 8, "loss_size": "output"}
    # A loss is enough here: in pictures this small few objects are large enough to score.
    training = prepare(
        bundle, recordings, "instances", steps=30, batch_size=7, lr=1e-2, queries=5, **shape
    )
    model = make_model(training.inputs, training.task, training.recipe)
    origin = encoder_origin(bundle.encoder)
    start_from(
        model, training.task, training.inputs.reads, str(tmp_path / "micro"), {"encoder": origin}
    )
    trained = bundle.heads["segmentation"].state_dict()
    assert torch.equal(model.state_dict()["adapts.1.weight"], trained["adapts.1.weight"])
    batch = {name: torch.stack([training.samples[i][name] for i in range(7)])
             for name in ("compact", "label")}  # fmt: skip
    objective = HeadObjective(model, training.inputs, training.task_training.loss)
    before = float(objective(batch).value.detach())
    training.validation = None  # type: ignore[assignment]
    training.data = replace(training.data, earlier=(GONE,))
    training.run(model.train(), tmp_path / "run", "instances")
    assert float(objective(batch).value.detach()) < 0.7 * before
    (read, task, _), part = load_head(tmp_path / "run")
    assert task == training.task
    assert part.config["head"]["kind"] == "centres"
    features = training.inputs.expand(batch["compact"])
    with torch.inference_mode():
        torch.testing.assert_close(read(features).masks, model.eval()(features).masks)
    again = make_model(training.inputs, training.task, training.recipe)
    earlier = start_from(again, task, training.inputs.reads, str(tmp_path / "run"), {})
    assert earlier == (GONE, *sources_of(recordings))
    assert torch.equal(
        again.state_dict()["centres.0.weight"], read.state_dict()["centres.0.weight"]
    )


@pytest.mark.slow
def test_a_start_that_does_not_fit_is_refused(bundle: Bundle, recordings, tmp_path: Path):
    bundle.save(tmp_path / "micro")
    start, reads = str(tmp_path / "micro"), HeadInput()
    training = prepare(
        bundle, recordings, "segmentation", kind="dpt", channels=(8, 8, 8, 8), width=4
    )
    model = make_model(training.inputs, training.task, training.recipe)
    with pytest.raises(BundleError, match=r"head .*micro"):
        start_from(model, training.task, reads, start, {})
    other = replace(training.task, class_names=("a", *training.task.class_names[1:]))
    with pytest.raises(BundleError, match="other classes"):
        start_from(model, other, reads, start, {})
    with pytest.raises(BundleError, match="encoder"):
        start_from(model, training.task, reads, start, {"encoder": Origin("other", "0123")})
    with pytest.raises(BundleError, match="forecaster_layers"):
        start_from(model, training.task, HeadInput("forecaster_layers", (0,)), start, {})
    with pytest.raises(UsageError, match="kind centres is for task instances"):
        make_model(training.inputs, training.task, replace(training.recipe, kind="centres"))
