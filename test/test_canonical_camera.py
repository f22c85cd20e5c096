"""Metric depth of a canonical camera is read at the focal length of the camera at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle
from training_data import synthetic

from dino_foresight_ros.demo.oracle import Oracle
from dino_foresight_ros.errors import BundleError, InputError, UsageError
from dino_foresight_ros.model import Bundle, DepthTask
from dino_foresight_ros.recordings import CameraModel, open_recordings
from dino_foresight_ros.recordings.camera import horizontal_fov_deg
from dino_foresight_ros.recordings.camera_view import CameraView, focal_of
from dino_foresight_ros.runtime import CameraFrame, Foresight
from dino_foresight_ros.runtime.decoder import Decoder
from dino_foresight_ros.runtime.request import OutputRequest
from dino_foresight_ros.runtime.threads import Threads
from dino_foresight_ros.scene import Scene
from dino_foresight_ros.training.data import ClipDataset, ImageDataset
from dino_foresight_ros.training.data.augmentation import ClipAugmentation, View, view_focal
from dino_foresight_ros.training.evaluation import EvaluationConfig, evaluate
from dino_foresight_ros.training.head_samples import LabelledImages
from dino_foresight_ros.training.pseudo_labels import PseudoLabelled, Teacher

CANONICAL = 0.8
STEP_NS = 200_000_000


def with_canonical_camera(focal: float | None = CANONICAL) -> Bundle:
    """The micro bundle; its weights are the same, whatever the focal length."""
    bundle = make_micro_bundle()
    task = bundle.tasks["depth"]
    assert isinstance(task, DepthTask)
    return replace(bundle, tasks={**bundle.tasks, "depth": replace(task, focal=focal)})


def test_the_focal_length_stays_where_pictures_are_resized_or_stretched():
    camera = CameraModel.from_fov(640, 360, 70.0)
    assert camera.focal == pytest.approx(320 / np.tan(np.radians(35.0)) / np.sqrt(640 * 360))
    for other in (camera.resized(180, 320), camera.resized(154, 280), camera.resized(360, 360)):
        assert other.focal == pytest.approx(camera.focal)
        assert CameraView.of(other).focal == pytest.approx(camera.focal)
    assert horizontal_fov_deg(camera.focal, (360, 640)) == pytest.approx(70.0)


def test_what_is_twice_as_far_looks_the_same_at_twice_the_focal_length():
    """Why depth over focal length is what a picture tells: sizes in pixels are the same."""
    near, far = (CameraView.of(CameraModel.from_fov(200, 100, fov)) for fov in (90.0, 53.1301))
    assert far.focal == pytest.approx(2 * near.focal, rel=1e-4)
    points = np.array([[1.0, 0.5, 4.0], [-1.0, 0.2, 4.0]])
    there = points * (1, 1, 2)
    np.testing.assert_allclose(near.project(points)[0], far.project(there)[0], atol=1e-4)


def test_depth_follows_the_focal_length_of_each_camera():
    bundle = with_canonical_camera()
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    focals = {"assumed": None, "canonical": CANONICAL, "wide": 0.4, "long": 1.6}
    for threads in (1, 2):
        engine = Foresight(bundle, steps=2, threads=threads)
        for i in range(4):
            results = engine.update_cameras(
                {
                    name: CameraFrame(
                        image, i * STEP_NS, OutputRequest(frozenset({"depth", "normals"}), focal=f)
                    )
                    for name, f in focals.items()
                }
            )
        depth = {name: result.forecast.steps[1].depth for name, result in results.items()}
        np.testing.assert_array_equal(depth["assumed"], depth["canonical"])
        np.testing.assert_allclose(depth["wide"], 0.5 * depth["canonical"], rtol=1e-5)
        np.testing.assert_allclose(depth["long"], 2.0 * depth["canonical"], rtol=1e-5)
        normals = [result.forecast.steps[1].normals for result in results.values()]
        np.testing.assert_allclose(normals[0], normals[2], atol=1e-5)


def test_a_head_without_a_canonical_camera_takes_no_notice():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    plain, told = (Foresight(with_canonical_camera(None), steps=1) for _ in range(2))
    for i in range(4):
        one, other = plain.update(image, i * STEP_NS), told.update(image, i * STEP_NS, focal=0.3)
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one.steps[0].depth, other.steps[0].depth)


@torch.inference_mode()
def test_frames_of_a_span_of_threads_keep_their_own_focal_lengths():
    bundle = with_canonical_camera()
    z = torch.randn(1, *bundle.grid, bundle.pca.channels).expand(24, -1, -1, -1)
    focals = [0.1 * (i + 1) for i in range(24)]
    depth = torch.empty(24)
    for piece in Decoder(bundle, threads=Threads(2)).decode(
        z, [{"depth": None}] * 24, focals=focals
    ):
        depth[piece.frames] = piece.values[:, 10, 10]
    torch.testing.assert_close(depth / depth[7], torch.tensor(focals) / 0.8)


def test_it_is_kept_with_the_bundle_and_refused_where_it_means_nothing(tmp_path: Path):
    folder = with_canonical_camera().save(tmp_path / "bundle")
    assert Bundle.load(folder).tasks["depth"].focal == CANONICAL
    assert Bundle.load(make_micro_bundle().save(tmp_path / "old")).tasks["depth"].focal is None
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(BundleError, match="depth focal is"):
            DepthTask("metric", 16, 1.0, 80.0, focal=wrong)
        with pytest.raises(UsageError, match="focal is"):
            OutputRequest(frozenset(), focal=wrong)
    with pytest.raises(BundleError, match="a metric head takes one"):
        DepthTask("relative", focal=0.8)


def test_a_crop_is_the_picture_of_a_camera_with_a_longer_focal_length():
    """The intrinsics of the window that is cut out, by hand."""
    camera = CameraModel.from_fov(200, 100, 75.0)
    fx, _, cx, _, fy, cy, *last = camera.k
    window = CameraModel(120, 60, (fx, 0.0, cx - 30, 0.0, fy, cy - 10, *last))
    assert view_focal(camera.focal, View(0.1, 0.15, 0.6)) == pytest.approx(window.focal)
    assert np.isnan(view_focal(None, View()))


@pytest.mark.slow
@pytest.mark.parametrize("clips", [False, True])
def test_labels_become_the_canonical_camera_s_also_where_they_are_cropped(clips: bool):
    recordings = open_recordings([synthetic("3-4", 6)])
    crops = ClipAugmentation(crop_scale=(0.5, 0.9))

    def dataset() -> ClipDataset | ImageDataset:
        size = recordings[0].size
        if clips:
            return ClipDataset(recordings, [0.2], 2, 1, size, crops, 1, labels=("depth",))
        return ImageDataset(recordings, "depth", size, crops, 1)

    plain, scaled = (LabelledImages(dataset(), "depth", focal=focal) for focal in (None, CANONICAL))
    ratios = set()
    for i in range(len(plain)):
        metres, canonical = plain[i]["label"], scaled[i]["label"]
        known = metres.isfinite()
        assert bool(known.any())
        ratio = (canonical / metres)[known]
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-5, atol=0)
        name = plain[i]["source"].split(" frame")[0]
        focal = next(r for r in recordings if r.name == name).focal
        assert focal is not None
        # A crop of half to nine tenths has 1.1 to 2 times the focal length.
        assert 0.5 <= float(ratio[0]) * focal / CANONICAL <= 0.9
        ratios.add(round(float(ratio[0]), 4))
    assert len(ratios) > 3


def test_data_of_an_unknown_camera_is_refused():
    recordings = open_recordings([synthetic("3", 3)])
    recordings[0].camera = None
    images = ImageDataset(recordings, "depth", recordings[0].size)
    LabelledImages(images, "depth")
    with pytest.raises(InputError, match=r"intrinsics, not known of synthetic-3.*--focal none"):
        LabelledImages(images, "depth", focal=CANONICAL)


def test_an_uncalibrated_camera_is_an_unknown_one():
    """As a bag's camera_info of zeros: its pictures can be read and trained on all the same."""
    recording = open_recordings([synthetic("3", 3)])[0]
    height, width = recording.size
    good = CameraModel.from_fov(width, height, 70.0)
    recording.camera = good.resized(2 * height, 2 * width)
    assert recording.focal == pytest.approx(good.focal)
    broken = [
        CameraModel(0, 0, (0.0,) * 9),
        CameraModel(width, height, (0.0,) * 9),
        CameraModel(width, height, (-50.0, *good.k[1:])),
        CameraModel(width, height, (float("nan"), *good.k[1:])),
        good.resized(height, 2 * width),  # of pictures of another shape
    ]
    for camera in broken:
        recording.camera = camera
        assert recording.focal is None
        assert np.isnan(ImageDataset([recording], "depth", recording.size)[0]["focal"])


@pytest.mark.parametrize("rectified", [False, True])
def test_camera_info_gives_it_whatever_the_lens_bends(rectified: bool):
    """A window and K or P; lens models that cannot be undone have a focal length too."""
    roi = SimpleNamespace(x_offset=40, y_offset=10, width=120, height=60)
    info = SimpleNamespace(
        k=[150.0, 0, 99.5, 0, 150.0, 49.5, 0, 0, 1],
        p=[120.0, 0, 99.5, 0, 0, 130.0, 49.5, 0, 0, 0, 1, 0],
        r=[1.0, 0, 0, 0, 1, 0, 0, 0, 1],
        d=[0.1] * 7,
        distortion_model="a lens of its own",
        width=200,
        height=100,
        roi=roi,
    )
    fx, fy = (120.0, 130.0) if rectified else (150.0, 150.0)
    wanted = np.sqrt(fx * fy / (120 * 60))
    assert focal_of(info, rectified, "camera_info") == pytest.approx(wanted)
    info.p = [0.0] * 12
    assert focal_of(info, True, "camera_info") == pytest.approx(150 / np.sqrt(120 * 60))
    info.k = [0.0] * 9
    with pytest.raises(InputError, match="no focal length"):
        focal_of(info, False, "camera_info")


@pytest.mark.slow
def test_evaluation_reads_depth_at_the_focal_length_of_the_recording():
    """What counts is the camera's focal length over the canonical one, in every table."""
    config = EvaluationConfig(
        horizons=(1,), gaps_s=(), label_horizons=(1,), max_clips=2, max_label_clips=2,
        fitted=False, resamples=10,
    )  # fmt: skip

    def depth_errors(canonical: float, focal: float) -> list[float]:
        (recording,) = open_recordings([f"{synthetic('3', 12)}&interval=0.1"])
        height, width = recording.size
        k = focal * np.sqrt(width * height)
        recording.camera = CameraModel(
            width, height, (k, 0.0, width / 2, 0.0, k, height / 2, 0.0, 0.0, 1.0)
        )
        report = evaluate(with_canonical_camera(canonical), [recording], config).to_dict()
        return [v for key, v in numbers_of(report) if key == "abs_rel"]

    plain = depth_errors(0.8, 0.8)
    assert len(plain) >= 4  # stills, and copy-last, forecast and oracle
    assert depth_errors(0.5, 0.5) == pytest.approx(plain)
    for other, one in zip(depth_errors(0.8, 1.6), plain, strict=True):
        assert other != pytest.approx(one, rel=1e-2)
    assert depth_errors(0.4, 0.8) == pytest.approx(depth_errors(0.8, 1.6))


def test_what_the_demo_says_of_a_frame_that_came_is_of_its_camera():
    bundle = with_canonical_camera()
    oracle = Oracle(bundle, Decoder(bundle))
    scene = Scene(0, image=np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    told = oracle.of_camera(2 * CANONICAL).describe(scene).depth
    plain = oracle.describe(scene).depth
    assert told is not None
    assert plain is not None
    np.testing.assert_allclose(told, 2 * plain, rtol=1e-5)


def test_pseudo_labels_are_metres_of_the_recording_s_camera_or_none():
    teacher = Teacher(replace(with_canonical_camera(), trained=True))
    image = np.random.default_rng(0).integers(0, 256, (56, 84, 3), np.uint8)
    near, far = (
        teacher.label(image, {"depth"}, (28, 42), focal=f)["depth"] for f in (0.4, CANONICAL)
    )
    np.testing.assert_allclose(far, 2 * near, rtol=1e-5)
    (recording,) = open_recordings([synthetic("3", 3)])
    assert len(PseudoLabelled(recording, teacher, (28, 42)).labelled("depth")) == 3
    recording.camera = None
    unknown = PseudoLabelled(recording, teacher, (28, 42))
    assert not len(unknown.labelled("depth"))
    assert len(unknown.labelled("normals")) == 3


@pytest.mark.parametrize(("canonical", "told_apart"), [(CANONICAL, True), (None, False)])
def test_stores_of_pseudo_labels_of_other_cameras_are_told_apart(
    canonical: float | None, told_apart: bool
):
    teacher = Teacher(replace(with_canonical_camera(canonical), trained=True))

    def fingerprint(fov_deg: float | None) -> str:
        (recording,) = open_recordings([synthetic("3", 3)])
        height, width = recording.size
        recording.camera = None if fov_deg is None else CameraModel.from_fov(width, height, fov_deg)
        return PseudoLabelled(recording, teacher, (28, 42)).fingerprint

    found = [fingerprint(fov) for fov in (60.0, 90.0, None, 60.0)]
    assert len(set(found)) == (3 if told_apart else 1)
    assert found[0] == found[3]


def test_a_teacher_that_needs_no_focal_length_is_known_by_its_weights_alone():
    # Stores that were made before focal lengths counted are still of the same data.
    plain = Teacher(replace(with_canonical_camera(None), trained=True))
    assert plain.identity(0.7) == plain.identity(None) == plain.origin.fingerprint
    canonical = Teacher(replace(with_canonical_camera(), trained=True))
    assert canonical.identity(0.7) != canonical.origin.fingerprint


def numbers_of(value: object, key: str = "") -> Iterator[tuple[str, float]]:
    """All numbers of nested values, each with the nearest key."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from numbers_of(one, str(name))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from numbers_of(one, key)
    elif isinstance(value, int | float):
        yield key, float(value)
