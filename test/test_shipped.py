"""Bundles that come with the package are found by name wherever it is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dino_foresight_ros import shipped
from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.shipped import find_shipped, names_bundle, shipped_bundle


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Bundle.untrained(7).save(tmp_path_factory.mktemp("bundles") / "seed7")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the package's Python seems to lie: installed below `tmp_path`, without any bundle."""
    folder = tmp_path / "prefix" / "lib" / "python3.12" / "site-packages" / "dino_foresight_ros"
    folder.mkdir(parents=True)
    monkeypatch.setattr(shipped, "__file__", str(folder / "shipped.py"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    monkeypatch.chdir(tmp_path)
    return folder


def put(bundle: Path, folder: Path) -> Path:
    folder.parent.mkdir(parents=True)
    return Path(shutil.copytree(bundle, folder))


def test_bundle_lies_in_the_share_folder_of_its_installation(
    site: Path, tmp_path: Path, written: Path
) -> None:
    folder = put(written, tmp_path / "prefix/share/dino_foresight_ros/assets/tiny")
    assert find_shipped("tiny") == folder
    assert Bundle.load("tiny").info["seed"] == 7


def test_bundle_lies_in_the_share_folder_of_a_sourced_workspace(
    site: Path, tmp_path: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(written, tmp_path / "workspace/share/dino_foresight_ros/assets/tiny")
    assert find_shipped("tiny") is None
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/opt/ros/jazzy:{tmp_path / 'workspace'}")
    assert find_shipped("tiny") == folder


def test_bundle_lies_in_the_checkout_that_an_environment_links_to(
    site: Path, tmp_path: Path, written: Path
) -> None:
    source = tmp_path / "checkout" / "dino_foresight_ros" / "shipped.py"
    source.parent.mkdir(parents=True)
    source.touch()
    (site / "shipped.py").symlink_to(source)
    folder = put(written, tmp_path / "checkout/assets/tiny")
    assert find_shipped("tiny") == folder


def test_a_folder_without_a_manifest_is_no_bundle(site: Path, tmp_path: Path) -> None:
    (tmp_path / "prefix/share/dino_foresight_ros/assets/tiny").mkdir(parents=True)
    assert find_shipped("tiny") is None


def test_an_installation_without_the_bundle_says_so_in_one_line(site: Path) -> None:
    with pytest.raises(BundleError, match=r"'tiny' did not come .* or untrained-tiny$") as caught:
        Bundle.load("tiny")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(BundleError, match="'other' did not come"):
        shipped_bundle("other")


@pytest.mark.slow
def test_a_folder_of_that_name_in_the_working_directory_is_named_by_its_path(
    site: Path, tmp_path: Path, written: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BundleError, match="did not come with this installation"):
        Bundle.load("tiny")
    (tmp_path / "tiny").symlink_to(written)
    with pytest.raises(BundleError, match="did not come with this installation"):
        Bundle.load("tiny")
    assert "yours here is ./tiny" in caplog.text
    assert Bundle.load("./tiny").info["seed"] == 7
    assert Bundle.load(Path("tiny")).info["seed"] == 7


@pytest.mark.parametrize("text", ["tiny", "untrained-tiny", "hub:owner/name"])
def test_names_are_told_from_folders(text: str) -> None:
    assert names_bundle(text)
    assert not names_bundle(f"./{text}")
