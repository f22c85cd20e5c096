"""Pixel stores: what is read from one is what the recording gave."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.errors import InputError
from dino_foresight_ros.recordings import LABEL_KINDS, PartOfRecording, open_recordings
from dino_foresight_ros.recordings import pixels as pixels_module
from dino_foresight_ros.recordings.camera_view import CameraView
from dino_foresight_ros.recordings.pixels import bytes_needed, open_pixels, write_pixels
from dino_foresight_ros.recordings.recording import Frame, Recording

pytestmark = pytest.mark.slow

SPEC = "synthetic:?seeds=3-4&frames=7&interval=0.1&size=45x80"
SIZE = (45, 80)


class SparseLabels(Recording):
    """Frames of a recording, of which only some have labels."""

    def __init__(self, whole: Recording, labelled: dict[str, list[int]]) -> None:
        super().__init__(
            whole.name,
            whole.stamps_ns,
            whole.size,
            label_space=whole.label_space,
            labelled={kind: np.array(rows) for kind, rows in labelled.items()},
        )
        self.whole = whole

    def _read(self, index, labels) -> Frame:
        kinds = [kind for kind in labels if index in self.labelled(kind)]
        return self.whole.read([index], kinds)[0]

    def _fingerprint_parts(self):
        yield self.whole.fingerprint


@pytest.fixture
def short_shards(monkeypatch):
    monkeypatch.setattr(pixels_module, "SHARD_FRAMES", 3)


@pytest.mark.usefixtures("short_shards")
def test_frames_and_labels_are_those_of_the_recording(tmp_path: Path):
    (recording, _) = open_recordings([SPEC])
    write_pixels(recording, SIZE, LABEL_KINDS, tmp_path)
    (kept,) = open_pixels(tmp_path)
    assert kept.name == recording.name
    assert kept.size == SIZE
    assert kept.label_space == recording.label_space
    np.testing.assert_array_equal(kept.stamps_ns, recording.stamps_ns)
    order = [6, 0, 3, 2, 5]
    for got, want in zip(
        kept.read(order, LABEL_KINDS), recording.read(order, LABEL_KINDS), strict=True
    ):
        np.testing.assert_array_equal(got.image, want.image)
        np.testing.assert_array_equal(got.segmentation, want.segmentation)
        np.testing.assert_allclose(got.depth, want.depth, rtol=1e-3)
        known = np.isfinite(want.normals).all(-1)
        np.testing.assert_array_equal(np.isfinite(got.normals).all(-1), known)
        cosine = (got.normals * want.normals).sum(-1)[known]
        assert np.degrees(np.arccos(np.clip(cosine.min(), -1, 1))) < 0.7


def test_the_camera_is_that_of_the_pictures_at_their_new_size(tmp_path: Path):
    (recording, _) = open_recordings([SPEC])
    write_pixels(recording, (30, 64), (), tmp_path)
    (kept,) = open_pixels(tmp_path)
    assert recording.camera is not None
    assert kept.camera is not None
    assert (kept.camera.height, kept.camera.width) == (30, 64)
    was, now = (
        CameraView.of(camera).pixel_rays((30, 64)) for camera in (recording.camera, kept.camera)
    )
    np.testing.assert_allclose(now, was, atol=1e-6)


@pytest.mark.usefixtures("short_shards")
def test_sparse_labels_stay_with_their_frames(tmp_path: Path):
    (whole, _) = open_recordings([SPEC])
    sparse = SparseLabels(whole, {"segmentation": [1, 3, 5, 6], "depth": [4]})
    write_pixels(sparse, SIZE, LABEL_KINDS, tmp_path)
    (kept,) = open_pixels(tmp_path)
    assert kept.labelled("segmentation").tolist() == [1, 3, 5, 6]
    assert kept.labelled("depth").tolist() == [4]
    assert kept.labelled("normals").tolist() == []
    truth = whole.read(range(7), LABEL_KINDS)
    for index, frame in enumerate(kept.read(range(7), LABEL_KINDS)):
        if index in (1, 3, 5, 6):
            np.testing.assert_array_equal(frame.segmentation, truth[index].segmentation)
        else:
            assert frame.segmentation is None
        assert (frame.depth is None) == (index != 4)
        assert frame.normals is None


@pytest.mark.usefixtures("short_shards")
def test_an_interrupted_store_goes_on(tmp_path: Path):
    (recording, _) = open_recordings([SPEC])
    folder = write_pixels(recording, SIZE, LABEL_KINDS, tmp_path)
    (folder / pixels_module.MANIFEST).unlink()
    (folder / "frames-00001.safetensors").unlink()
    untouched = (folder / "frames-00000.safetensors").stat().st_mtime_ns
    with pytest.raises(InputError, match="no pixel store"):
        open_pixels(tmp_path)
    write_pixels(recording, SIZE, LABEL_KINDS, tmp_path)
    assert (folder / "frames-00000.safetensors").stat().st_mtime_ns == untouched
    assert len(open_pixels(tmp_path)[0]) == 7


def test_the_announced_size_is_what_the_files_hold(tmp_path: Path):
    recordings = open_recordings([SPEC])
    for recording in recordings:
        write_pixels(recording, (30, 50), LABEL_KINDS, tmp_path)
    real = sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors"))
    assert bytes_needed(recordings, (30, 50), LABEL_KINDS) == pytest.approx(real, rel=0.03)


def test_a_damaged_shard_is_named(tmp_path: Path):
    (recording, _) = open_recordings([SPEC])
    folder = write_pixels(recording, SIZE, LABEL_KINDS, tmp_path)
    shard = folder / "frames-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(InputError, match=f"{folder.name} is damaged.*make it anew"):
        open_pixels(tmp_path)


def test_recordings_of_a_store_go_to_worker_processes(tmp_path: Path):
    (recording, _) = open_recordings([SPEC])
    write_pixels(recording, SIZE, LABEL_KINDS, tmp_path)
    (kept,) = open_pixels(tmp_path)
    part = PartOfRecording(kept, np.array([2, 4]), "part")
    part.read([0])  # opened files must not travel
    again = pickle.loads(pickle.dumps(part))
    np.testing.assert_array_equal(again.read([1])[0].image, kept.read([4])[0].image)


def test_the_command_writes_what_the_spec_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "store"
    arguments = ["train", "pixels", "--data", SPEC, "--image-size", "45x80", "--out", str(out)]
    assert main(arguments) == 0
    assert main([*arguments, "--jobs", "2"]) == 0  # again: everything is there
    assert "2 recordings, 14 frames" in capsys.readouterr().out
    kept = open_recordings([f"pixels:{out}"])
    assert [len(recording) for recording in kept] == [7, 7]


@pytest.mark.parametrize("size", ["80", "0x45", "80x", "axb"])
def test_a_bad_size_is_refused(tmp_path: Path, size: str, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "store"
    with pytest.raises(SystemExit) as ended:
        main(["train", "pixels", "--data", SPEC, "--image-size", size, "--out", str(out)])
    assert ended.value.code == 2
    assert "HEIGHTxWIDTH" in capsys.readouterr().err
    assert not out.exists()
