"""Features on disk: what comes back, and what is refused."""

from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from micro_bundle import make_micro_bundle
from training_data import synthetic

from dino_foresight_ros.errors import ForesightError, InputError
from dino_foresight_ros.model import PCA, Bundle, Encoder
from dino_foresight_ros.recordings import BadFiles, Recording, UnreadableFrame, open_recordings
from dino_foresight_ros.training.encoder_loading import encoder_origin
from dino_foresight_ros.training.feature_plan import plan_store
from dino_foresight_ros.training.feature_store import FeatureStore
from dino_foresight_ros.training.feature_writer import remove_store, write_features, write_shard
from dino_foresight_ros.training.forecaster_data import ForecasterData, data_from_store
from dino_foresight_ros.training.pca_fit import pca_origin
from dino_foresight_ros.training.reading import pick_frames
from dino_foresight_ros.training.recipes import FeatureRecipe, ForecasterRecipe

FRAME_BYTES = 4 * 6 * 30 * 2


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return make_micro_bundle()


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    return open_recordings([synthetic("0-1", 7)])


def keep(
    bundle: Bundle,
    recordings: list[Recording],
    out: Path,
    raw: bool = False,
    bad: BadFiles | None = None,
    **recipe: object,
) -> int:
    """Encode into shards of three frames."""
    made = FeatureRecipe(
        **{"workers": 0, "batch": 2, "shard_mb": 3 * FRAME_BYTES / 2**20, **recipe}
    )
    pca = None if raw else (bundle.pca, pca_origin(bundle.pca, "micro"))
    plan = plan_store(recordings, bundle.encoder, pca, made, out)
    module = None if raw else bundle.pca
    return write_features(plan, bundle.encoder, module, made, BadFiles(100) if bad is None else bad)


@pytest.fixture(scope="module")
def written(bundle: Bundle, recordings: list[Recording], tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("features") / "store"
    assert keep(bundle, recordings, out) == 0
    return out


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "store"))


def expected(bundle: Bundle, recording: Recording, frames: list[int], raw: bool = False):
    images = np.stack([frame.image for frame in recording.read(frames)])
    with torch.inference_mode():
        features = bundle.encoder(bundle.encoder.preprocess(images))
        return features if raw else bundle.pca.transform(features)


def test_features_are_what_the_encoder_and_the_pca_give(
    bundle: Bundle, recordings: list[Recording], written: Path
):
    store = FeatureStore.open(written)
    assert len(list(written.glob("recordings/*/features-*.safetensors"))) == 6
    assert [r.name for r in store.recordings] == [r.name for r in recordings]
    for stored, recording in zip(store.recordings, recordings, strict=True):
        np.testing.assert_array_equal(stored.stamps_ns, recording.stamps_ns)
        order = [6, 0, 3, 3, 2]
        read = stored.read(order)
        assert read.dtype == torch.float16
        torch.testing.assert_close(
            read.float(), expected(bundle, recording, order), atol=5e-3, rtol=2e-3
        )


def test_raw_features_are_kept_without_a_pca(bundle: Bundle, recordings, tmp_path: Path):
    keep(bundle, recordings[:1], tmp_path / "raw", raw=True)
    store = FeatureStore.open(tmp_path / "raw")
    assert (store.info.kind, store.info.pca, store.info.channels) == ("raw", None, 96)
    read = store.recordings[0].read([5]).float()
    torch.testing.assert_close(
        read, expected(bundle, recordings[0], [5], raw=True), atol=5e-3, rtol=2e-3
    )


def test_a_recording_can_be_handed_to_another_process_and_reads_the_same(written: Path):
    stored = FeatureStore.open(written).recordings[0]
    before = stored.read([4, 1])
    copied = pickle.loads(pickle.dumps(stored))
    assert len(pickle.dumps(stored)) < 4096
    assert torch.equal(copied.read([4, 1]), before)


def test_what_is_read_may_be_written_to(written: Path):
    stored = FeatureStore.open(written).recordings[0]
    first = stored.read([0])
    stored.read([0]).zero_()
    assert torch.equal(stored.read([0]), first)


def test_a_frame_that_is_not_there_is_refused(written: Path):
    with pytest.raises(IndexError, match="frames 0 to 6, not"):
        FeatureStore.open(written).recordings[0].read([7])
    with pytest.raises(IndexError, match="frames 0 to 6, not"):
        FeatureStore.open(written).recordings[0].read([-1])


def test_the_same_content_given_twice_is_encoded_once(bundle: Bundle, recordings, tmp_path: Path):
    again = open_recordings([synthetic("0-1", 7)])
    again[0].name = "the same under another name"
    keep(bundle, [*recordings, *again], tmp_path / "store")
    assert len(FeatureStore.open(tmp_path / "store").recordings) == 2


def parts_of(*parts: str) -> list[Recording]:
    """Parts of one synthetic drive of ten frames, 0.2 s apart, and all of another drive."""
    drive = synthetic("0", 10) + "&interval=0.2"
    return open_recordings([*(f"{drive}&{part}" for part in parts), synthetic("1", 10)])


@pytest.mark.parametrize(
    ("parts", "pairs"),
    [
        (("part=0-0.5", "part=0.5-1"), []),
        (("part=0-0.7", "part=0.5-1"), [("part=0-0.7", "part=0.5-1", 0.2)]),
        (("part=0.5-1", "part=0-0.7"), [("part=0-0.7", "part=0.5-1", 0.2)]),
        (("start=0", "part=0.2-0.4"), [("start=0", "part=0.2-0.4", 0.2)]),
        (
            ("part=0-0.9", "part=0.1-0.3", "part=0.5-0.8", "part=0.9-1"),
            [("part=0-0.9", "part=0.1-0.3", 0.2), ("part=0-0.9", "part=0.5-0.8", 0.4)],
        ),
    ],
)
def test_parts_that_share_seconds_of_a_recording_are_named(
    bundle: Bundle, tmp_path: Path, parts: tuple[str, ...], pairs: list[tuple[str, str, float]]
):
    recordings = parts_of(*parts)
    names = dict(zip(parts, (recording.name for recording in recordings), strict=False))
    plan = plan_store(recordings, bundle.encoder, None, FeatureRecipe(), tmp_path / "store")
    assert [overlap[:2] for overlap in plan.overlaps] == [(names[a], names[b]) for a, b, _ in pairs]
    assert [overlap.shared_s for overlap in plan.overlaps] == pytest.approx([p[2] for p in pairs])
    warning = plan.warning()
    if not pairs:
        assert warning is None
        return
    assert warning is not None
    assert f"{names[pairs[0][0]]} and {names[pairs[0][1]]} share 0.2 s of one recording" in warning
    assert ("and 1 more such pairs" in warning) is (len(pairs) == 2)
    assert "\n" not in warning


@pytest.mark.slow
def test_a_part_that_overlaps_what_the_store_holds_is_named(bundle: Bundle, tmp_path: Path):
    out = tmp_path / "store"
    first, second = parts_of("part=0-0.7", "part=0.5-1")[:2]
    keep(bundle, [first], out)
    pca = (bundle.pca, pca_origin(bundle.pca, "micro"))
    again = plan_store([first], bundle.encoder, pca, FeatureRecipe(), out)
    assert again.overlaps == ()
    plan = plan_store([second], bundle.encoder, pca, FeatureRecipe(), out)
    assert [overlap[:2] for overlap in plan.overlaps] == [(first.name, second.name)]
    keep(bundle, [second], out)
    assert len(plan_store([first], bundle.encoder, pca, FeatureRecipe(), out).overlaps) == 1


@pytest.mark.parametrize(
    ("parts", "shared_s"),
    [
        (("part=0-0.5", "part=0.5-1"), None),
        (("part=0-0.7", "part=0.5-1"), 0.2),
        (("part=0.5-1", "part=0-0.7"), 0.2),
        (("part=0-0.6", "start=0"), 1.0),
    ],
)
def test_stores_of_parts_that_overlap_are_not_trained_and_validated_on(
    bundle: Bundle, tmp_path: Path, parts: tuple[str, str], shared_s: float | None
):
    drive = parts_of(*parts)[:2]
    # Other frames of the same seconds are still nearly the same pictures.
    keep(bundle, [drive[0]], tmp_path / "train", stride_s=0.4)
    keep(bundle, [drive[1]], tmp_path / "validation", stride_s=0.4)

    def open_both() -> ForecasterData:
        stores = tmp_path / "train", tmp_path / "validation"
        return data_from_store(*stores, 0.1, None, ForecasterRecipe(steps=1))

    if shared_s is None:
        assert [one.name for one in open_both().validation] == [drive[1].name]
        return
    with pytest.raises(InputError, match=f"share {shared_s:.1f} s of one recording:") as caught:
        open_both()
    assert all(recording.name in str(caught.value) for recording in drive)


@pytest.mark.slow
def test_a_further_recording_is_added_and_nothing_is_encoded_again(
    bundle: Bundle, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    frames = []
    forward = type(bundle.encoder).forward
    monkeypatch.setattr(
        type(bundle.encoder), "forward", lambda s, x: (frames.append(len(x)), forward(s, x))[1]
    )
    keep(bundle, open_recordings([synthetic("0-2", 7)]), folder)
    assert sum(frames) == 7
    assert len(FeatureStore.open(folder).recordings) == 3
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_how_often_a_recording_occurs_is_kept_and_may_change(
    bundle: Bundle, recordings, folder: Path
):
    assert {stored.times for stored in FeatureStore.open(folder).recordings} == {1}
    again = open_recordings([synthetic("0-0", 7) + "&times=5"])
    assert keep(bundle, again, folder) == 0
    assert {s.name: s.times for s in FeatureStore.open(folder).recordings}[again[0].name] == 5


def test_ranks_share_the_shards_and_the_store_is_whole_after_the_last(
    bundle: Bundle, recordings, written: Path, tmp_path: Path
):
    out = tmp_path / "store"
    left = [keep(bundle, recordings, out, rank=rank, world=3) for rank in (2, 0)]
    assert left == [4, 2]
    with pytest.raises(InputError, match=r"not finished: 2 of its shards are missing; run the"):
        FeatureStore.open(out)
    assert keep(bundle, recordings, out, rank=1, world=3) == 0
    for path in written.rglob("*.safetensors"):
        assert (out / path.relative_to(written)).read_bytes() == path.read_bytes()


def test_a_stride_takes_the_nearest_frames(bundle: Bundle, recordings, tmp_path: Path):
    keep(bundle, recordings[:1], tmp_path / "store", stride_s=0.25)
    stored = FeatureStore.open(tmp_path / "store").recordings[0]
    assert stored.frames.tolist() == [0, 2, 5]
    np.testing.assert_array_equal(stored.stamps_ns, recordings[0].stamps_ns[[0, 2, 5]])


def test_unreadable_frames_are_left_out_and_named(bundle: Bundle, tmp_path: Path):
    recording = open_recordings([synthetic("0", 7)])[0]
    whole = recording.read

    def read(indices, labels=()):
        if 4 in indices:
            raise UnreadableFrame("drive/0004.png", 4, "truncated")
        return whole(indices, labels)

    recording.read = read  # type: ignore[method-assign]
    named: list[str] = []
    keep(bundle, [recording], tmp_path / "store", bad=BadFiles(7, on_warning=named.append))
    stored = FeatureStore.open(tmp_path / "store").recordings[0]
    assert stored.frames.tolist() == [0, 1, 2, 3, 5, 6]
    assert len(named) == 1
    assert "drive/0004.png" in named[0]
    torch.testing.assert_close(
        stored.read([4]).float(), expected(bundle, recording, [5]), atol=5e-3, rtol=2e-3
    )


@pytest.mark.parametrize("what", ["encoder", "PCA"])
def test_another_encoder_or_pca_is_refused_with_both_names(
    bundle: Bundle, recordings, written: Path, what: str
):
    torch.manual_seed(1)
    other = make_micro_bundle()
    if what == "encoder":
        next(other.encoder.parameters()).add_(1.0)
    else:
        other.pca = PCA.from_arrays(
            bundle.pca.mean, bundle.pca.std * 2, bundle.pca.centre, bundle.pca.components
        )
    info = FeatureStore.open(written).info
    origins = encoder_origin(other.encoder), pca_origin(other.pca, "other")
    mine, theirs = (info.encoder, origins[0]) if what == "encoder" else (info.pca, origins[1])
    message = (
        f"made with the {what} .*{mine.fingerprint[:8]}.*, not with .*{theirs.fingerprint[:8]}"
    )
    with pytest.raises(InputError, match=message):
        info.check_made_with(written, *origins)
    with pytest.raises(InputError, match=message):
        keep(other, recordings, written)


def test_the_same_weights_in_half_precision_are_the_same_encoder(tmp_path: Path):
    from dino_foresight_ros.training.encoder_loading import load_encoder

    path = str(make_micro_bundle().save(tmp_path / "bundle"))
    full, half = (load_encoder(path, dtype=t) for t in (torch.float32, torch.bfloat16))
    assert encoder_origin(full) == encoder_origin(half)
    assert encoder_origin(load_encoder(path, (84, 84))) == encoder_origin(full)
    other_layers = load_encoder(path, layers=(0, 1, 2))
    assert encoder_origin(other_layers).fingerprint != encoder_origin(full).fingerprint


def test_another_image_size_is_refused_as_it_is_given_on_the_command_line(
    bundle: Bundle, recordings, written: Path
):
    size = tuple(14 + side for side in bundle.encoder.config.image_size)
    encoder = Encoder(replace(bundle.encoder.config, image_size=size), bundle.encoder.vit)
    pca = (bundle.pca, pca_origin(bundle.pca, "micro"))
    with pytest.raises(InputError, match=rf"with image_size \d+x\d+, not {size[0]}x{size[1]};"):
        plan_store(recordings, encoder, pca, FeatureRecipe(), written)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stride_s": 0.5}, r"was made with stride_s None, not 0.5; choose another --out"),
        ({"raw": True}, r"holds features of the PCA 'micro' .*, not raw features; choose another"),
    ],
)
def test_a_store_is_not_continued_with_other_settings(
    bundle: Bundle, recordings, written: Path, changes: dict, message: str
):
    with pytest.raises(InputError, match=message):
        keep(bundle, recordings, written, **changes)


def test_changed_content_under_the_same_name_is_refused(bundle: Bundle, written: Path):
    with pytest.raises(InputError, match=r"features of synthetic-0 as it was before it changed"):
        keep(bundle, open_recordings([synthetic("0", 5)]), written)


def test_a_folder_of_something_else_is_neither_written_to_nor_removed(
    bundle: Bundle, recordings, tmp_path: Path
):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and holds no features; choose another --out"):
        keep(bundle, recordings, tmp_path)
    with pytest.raises(ForesightError, match="holds no features, so --force does not remove it"):
        remove_store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_truncated_shard_is_named(folder: Path):
    path = sorted(folder.rglob("*.safetensors"))[1]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=f"{path.name} is damaged .*remove it and run"):
        FeatureStore.open(folder)


def test_a_disk_too_small_is_refused_before_anything_is_written(
    bundle: Bundle, recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(ForesightError, match=r"0.00 MB free, the features need 0.02 MB"):
        keep(bundle, recordings, tmp_path / "store")
    assert not list(tmp_path.iterdir())


def test_features_beyond_float16_are_refused(bundle: Bundle, recordings, tmp_path: Path):
    large = PCA.from_arrays(
        bundle.pca.mean, bundle.pca.std * 1e-6, bundle.pca.centre, bundle.pca.components
    )
    with pytest.raises(InputError, match="frames 0 to 2 do not fit into float16"):
        keep(replace(bundle, pca=large), recordings, tmp_path / "store")


def test_a_shard_that_another_process_writes_is_left_to_it(tmp_path: Path):
    import fcntl

    path = tmp_path / "features-00000.safetensors"
    with path.with_suffix(".part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        write_shard(path, {"features": torch.zeros(1)})
        assert not path.exists()
    write_shard(path, {"features": torch.zeros(1)})
    assert path.exists()
    assert not path.with_suffix(".part").exists()


def test_frames_nearest_to_the_stride_are_picked():
    rng = np.random.default_rng(0)
    stamps = np.cumsum(rng.integers(20, 90, 200)) * 1_000_000
    for stride_s in (0.01, 0.13, 0.5, 100.0):
        instants = np.arange(stamps[0], stamps[-1] + 1, round(stride_s * 1e9))
        nearest = {int(np.abs(stamps - instant).argmin()) for instant in instants}
        assert pick_frames(stamps, stride_s).tolist() == sorted(nearest)
    assert pick_frames(stamps[:1], 0.5).tolist() == [0]
