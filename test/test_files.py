"""Results on disk replace what the same command wrote, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.errors import ForesightError, InputError
from dino_foresight_ros.files import InUseError, check_apart, locked, whole_folder
from dino_foresight_ros.model.reference.export import REFERENCE_FILES
from dino_foresight_ros.shipped import BUNDLE_FILES
from dino_foresight_ros.training.fit_pca import PCA_FILES

OWN = ("report.json", "*.png")


def entries(path: Path) -> dict[str, str]:
    return {str(p.relative_to(path)): p.read_text() for p in path.rglob("*") if p.is_file()}


def write(target: Path, text: str) -> None:
    with whole_folder(target, OWN) as folder:
        (folder / "report.json").write_text(text)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_folder_before_stays_where_the_new_one_is_not_complete(
    tmp_path: Path, error: type[BaseException]
) -> None:
    write(tmp_path / "out", "old")

    def fail() -> None:
        with whole_folder(tmp_path / "out", OWN) as folder:
            (folder / "report.json").write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert entries(tmp_path) == {"out/report.json": "old"}
    write(tmp_path / "out", "new")
    assert entries(tmp_path) == {"out/report.json": "new"}


def test_the_folder_before_returns_where_the_new_one_cannot_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "out", "old")
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(ForesightError, match="No space"):
        write(tmp_path / "out", "new")
    assert entries(tmp_path) == {"out/report.json": "old"}


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path, "old")
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"also holds thesis\.tex and is not replaced"):
        write(tmp_path, "new")
    assert entries(tmp_path) == {"report.json": "old", "thesis.tex": "mine"}


def test_of_a_link_the_folder_that_it_names_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "disk", "old")
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    write(tmp_path / "out", "new")
    assert (tmp_path / "out").is_symlink()
    assert entries(tmp_path / "disk") == {"report.json": "new"}


def test_an_input_in_the_output_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for source in (out, out / "a" / "b.mp4", tmp_path / "x" / ".." / "out"):
        with pytest.raises(InputError, match="choose another --out"):
            check_apart(source, out)
    check_apart(tmp_path / "outer", out)
    check_apart(tmp_path, out)


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, "the first"):
        with pytest.raises(InUseError, match=r"^the first$"), locked(path, "the second"):
            pass
        assert path.read_text() == "the first"
    assert not path.exists()
    with locked(path, "the third"):
        # As where the holder removed the file between another's opening and locking it.
        os.replace(path, tmp_path / "old")
        with locked(path, "the fourth"):
            assert path.read_text() == "the fourth"


COMMANDS = {
    "assemble": (
        "bundle assemble --encoder tiny --pca tiny --forecaster tiny --name x", BUNDLE_FILES
    ),
    "untrained": ("bundle untrained-tiny", BUNDLE_FILES),
    "reference": ("convert --to-reference untrained-tiny", REFERENCE_FILES),
    "convert": ("convert --forecaster {out}/dinof.ckpt --pca {out}/dino.pth", BUNDLE_FILES),
    "pca": ("train pca --data {out} --encoder tiny --channels 32", PCA_FILES),
    "evaluate": ("evaluate --bundle tiny --data {out}", ("report.json",)),
    "fetch": ("fetch hub:somebody/something", BUNDLE_FILES),
    "features": ("train features --data {out} --encoder tiny --pca tiny", ("store.yaml",)),
    "from_video": ("bag from-video {out}/drive.mp4", ("metadata.yaml",)),
}  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_force_replaces_no_folder_with_the_input_or_other_files_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    command, own = COMMANDS[name]
    files = [*(pattern for pattern in own if "*" not in pattern), "drive.mp4", "dinof.ckpt"]
    for file in files:
        (tmp_path / file).write_text("mine")
    words = command.format(out=tmp_path).split()
    assert main([*words, "--out", str(tmp_path), "--force"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "is not replaced" in line
    assert entries(tmp_path) == dict.fromkeys(files, "mine")
