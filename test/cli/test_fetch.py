"""`foresight fetch` against a hub on loopback that serves tiny files in the authors' formats."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hub_server import HubServer, read_folder, serving, use_hub

from dino_foresight_ros.cli.main import main
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model.reference.conversion import convert_reference

REPOSITORY = "Sta8is/DINO-Foresight"
GOLDEN = {
    "dinof_lowres.ckpt": "dinof_tiny.ckpt",
    "dinof_highres.ckpt": "dinof_tiny_window2.ckpt",
    "dinov2_pca_448_l[2_5_8_11]_1152.pth": "dinov2_pca_tiny.pth",
    "head_segm_pca1152.ckpt": "head_segm_pca_tiny.ckpt",
    "head_depth_pca1152.ckpt": "head_depth_pca_tiny.ckpt",
    "head_normals_pca1152.ckpt": "head_normals_pca_tiny.ckpt",
}
"""Published name -> the tiny file that is served under it."""
FETCH = ["fetch", "dino-foresight", "--encoder-heads", "3", "--out"]
WINDOWS = {"lowres": 1, "highres": 2}


@pytest.fixture(scope="session")
def published(golden_dir: Path) -> dict[str, bytes]:
    return {name: (golden_dir / tiny).read_bytes() for name, tiny in GOLDEN.items()}


@pytest.fixture
def hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: dict[str, bytes]
) -> Iterator[HubServer]:
    with serving() as server:
        server.repos[REPOSITORY] = dict(published)
        use_hub(monkeypatch, server.url, tmp_path)
        monkeypatch.chdir(tmp_path)
        yield server


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The command's error, which must be one line."""
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("foresight: ")] == lines[-1:]
    assert "Traceback" not in "".join(lines)
    return lines[-1]


@pytest.mark.long  # it imports torch; the others run in this process
@pytest.mark.process
def test_a_new_process_fetches_and_converts_what_the_environment_names(
    golden_dir: Path, published: dict[str, bytes], tmp_path: Path
):
    with serving() as server:
        server.repos[REPOSITORY] = dict(published)
        environment = os.environ | {
            "HF_ENDPOINT": server.url,
            "HF_HOME": str(tmp_path / "home"),
            "NO_PROXY": "127.0.0.1,localhost",
            "TQDM_POSITION": "-1",  # progress, though this is no terminal
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        environment.pop("HF_HUB_CACHE", None)
        command = [sys.executable, "-m", "dino_foresight_ros.cli.main", *FETCH, "out"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    total = sum(map(len, published.values())) / 1e6
    assert done.stdout.startswith(f"{REPOSITORY}: 6 files, {total:.3g} MB; {total:.3g} MB to down")
    assert "100%" in done.stderr
    assert sorted(server.asked("GET")) == sorted(published)
    assert (tmp_path / "home" / "hub").is_dir()
    for variant, window in WINDOWS.items():
        bundle = Bundle.load(tmp_path / "out" / f"dino-foresight-{variant}")
        expected = convert_reference(
            golden_dir / GOLDEN[f"dinof_{variant}.ckpt"],
            golden_dir / "dinov2_pca_tiny.pth",
            encoder_heads=3,
        )
        assert bundle.name == f"dino-foresight-{variant}"
        assert bundle.forecaster.config.window == window
        assert sorted(bundle.heads) == ["depth", "normals", "segmentation"]
        assert bundle.tasks["segmentation"].outputs == 19
        torch.testing.assert_close(
            bundle.forecaster.state_dict(), expected.forecaster.state_dict(), rtol=0, atol=0
        )


@pytest.mark.slow
def test_one_variant_fetches_only_its_files_and_goes_to_the_default_folder(
    hub: HubServer,
    tmp_path: Path,
    golden_dir: Path,
    published: dict[str, bytes],
    capsys: pytest.CaptureFixture[str],
):
    assert main([*FETCH[:-1], "--variant", "highres"]) == 0
    wanted = set(GOLDEN) - {"dinof_lowres.ckpt"}
    assert sorted(set(hub.asked("GET"))) == sorted(wanted)
    total = sum(len(published[name]) for name in wanted) / 1e6
    said = capsys.readouterr().out
    assert said.startswith(f"{REPOSITORY}: 5 files, {total:.3g} MB; {total:.3g} MB to download")
    (folder,) = (tmp_path / "bundles").iterdir()
    assert folder.name == "dino-foresight-highres"
    expected = convert_reference(
        golden_dir / GOLDEN["dinof_highres.ckpt"],
        golden_dir / "dinov2_pca_tiny.pth",
        encoder_heads=3,
    )
    torch.testing.assert_close(
        Bundle.load(folder).forecaster.state_dict(),
        expected.forecaster.state_dict(),
        rtol=0,
        atol=0,
    )


@pytest.mark.slow
def test_offline_mode_converts_what_the_cache_holds(
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    assert main([*FETCH, "first", "--variant", "lowres"]) == 0
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path, offline=True)
    capsys.readouterr()
    assert main([*FETCH, "second", "--variant", "lowres"]) == 0
    first, second = (
        read_folder(tmp_path / n / "dino-foresight-lowres") for n in ("first", "second")
    )
    assert first == second


@pytest.mark.slow
def test_offline_mode_with_a_part_missing_says_which(
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    assert main([*FETCH, "first", "--variant", "lowres"]) == 0
    use_hub(monkeypatch, hub.url, tmp_path, offline=True)
    hub.requests.clear()
    assert main([*FETCH, "second"]) == 1
    assert "cannot get Sta8is/DINO-Foresight: offline mode is on" in one_line(capsys)
    assert hub.requests == []
    assert not (tmp_path / "second").exists()


@pytest.mark.slow
def test_existing_bundle_is_replaced_only_by_force(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    existing = tmp_path / "out" / "dino-foresight-lowres"
    existing.mkdir(parents=True)
    (existing / "head_old.safetensors").touch()
    (existing / "mine").touch()
    assert main([*FETCH, "out"]) == 1
    assert "dino-foresight-lowres exists" in one_line(capsys)
    assert main([*FETCH, "out", "--variant", "lowres", "--force"]) == 1
    assert "also holds mine and is not replaced" in one_line(capsys)
    assert hub.requests == []
    (existing / "mine").unlink()
    assert main([*FETCH, "out", "--variant", "lowres", "--force"]) == 0
    assert not (existing / "head_old.safetensors").exists()
    assert Bundle.load(existing).name == "dino-foresight-lowres"


@pytest.mark.slow
def test_unreachable_hub_prints_commands_that_work_on_files_fetched_by_hand(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    published: dict[str, bytes],
    capsys: pytest.CaptureFixture[str],
):
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main([*FETCH, "out"]) == 1
    line = one_line(capsys)
    assert all(name in line for name in published)
    assert f"https://huggingface.co/{REPOSITORY}" in line

    (tmp_path / "FILES").mkdir()
    for name, content in published.items():
        (tmp_path / "FILES" / name).write_bytes(content)
    for command in line.partition(" and run: ")[2].split(" && "):
        words = shlex.split(command)
        assert words[:2] == ["foresight", "convert"]
        assert main(words[1:]) == 0
    for variant, window in WINDOWS.items():
        bundle = Bundle.load(tmp_path / "out" / f"dino-foresight-{variant}")
        assert bundle.forecaster.config.window == window
        assert sorted(bundle.heads) == ["depth", "normals", "segmentation"]


@pytest.mark.parametrize("trouble", ["gated", "repository gone", "file gone"])
def test_what_the_hub_refuses_is_one_line_with_the_way_by_hand(
    hub: HubServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    published: dict[str, bytes],
    trouble: str,
):
    name = "head_depth_pca1152.ckpt"
    if trouble == "gated":
        hub.gated = {REPOSITORY}
    elif trouble == "repository gone":
        hub.repos.clear()
    else:
        del hub.repos[REPOSITORY][name]
    assert main([*FETCH, "out"]) == 1
    line = one_line(capsys)
    reason = {
        "gated": "is gated",
        "repository gone": "no such repository",
        "file gone": f"{name} of {REPOSITORY}: the repository has no such file",
    }[trouble]
    assert reason in line
    assert "; by hand: put dinof_lowres.ckpt, " in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_disk_full_while_writing_leaves_nothing_that_looks_whole(
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def fill(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dino_foresight_ros.model.bundle_files.write_tensors", fill)
    assert main([*FETCH, "out", "--variant", "lowres"]) == 1
    assert "cannot be written: [Errno 28] No space left" in one_line(capsys)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_bundle_repository_is_copied_without_its_pickles(hub: HubServer, tmp_path: Path):
    local = Bundle.untrained().save(tmp_path / "local")
    (local / "README.md").write_text("a model card")
    wanted = read_folder(local)
    hub.repos["acme/tiny"] = wanted | {"model.pkl": b"pickle", "training.ckpt": b"pickle"}
    assert main(["fetch", "hub:acme/tiny"]) == 0
    assert read_folder(tmp_path / "bundles" / "tiny") == wanted
    assert sorted(set(hub.asked("GET"))) == sorted(wanted)
    assert not any(path.is_symlink() for path in (tmp_path / "bundles" / "tiny").iterdir())


@pytest.mark.slow
def test_copy_replaces_a_folder_only_by_force(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    local = Bundle.untrained().save(tmp_path / "local")
    hub.repos["acme/tiny"] = read_folder(local)
    (tmp_path / "mine").mkdir()
    command = ["fetch", "hub:acme/tiny", "--out", "mine"]
    assert main(command) == 1
    assert "mine exists" in one_line(capsys)
    assert main([*command, "--force"]) == 0
    shutil.rmtree(tmp_path / "hub")
    assert read_folder(tmp_path / "mine") == read_folder(local)


@pytest.mark.parametrize(
    "words",
    [
        ["dino-world"],
        ["hub:tiny"],
        ["hub:acme/tiny", "--variant", "lowres"],
        ["hub:acme/tiny", "--encoder-heads", "3"],
        ["dino-foresight", "--encoder-heads", "0"],
    ],
)
def test_bad_arguments_exit_with_2_unasked(
    hub: HubServer, capsys: pytest.CaptureFixture[str], words: list[str]
):
    assert main(["fetch", *words]) == 2
    one_line(capsys)
    assert hub.requests == []
