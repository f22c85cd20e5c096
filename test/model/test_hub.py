"""Bundles and files of a model hub, against a hub on loopback."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from hub_server import HubServer, read_folder, serving, use_hub

from dino_foresight_ros.errors import BundleError, UsageError
from dino_foresight_ros.model import Bundle
from dino_foresight_ros.model import hub as hub_module
from dino_foresight_ros.model.hub import HubError, HubRepo, fetch_bundle, fetch_files
from dino_foresight_ros.model.manifest import SCHEMA

REPO = "acme/tiny"
ADDRESS = f"hub:{REPO}"
PARTS = ["encoder", "forecaster", "head_depth", "head_normals", "head_segmentation", "pca"]
WEIGHTS = [f"{part}.safetensors" for part in PARTS]
LARGE = bytes(range(256)) * 96_000
"""24.6 MB: huggingface_hub writes what it receives in pieces of 10 MiB."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with serving() as server:
        use_hub(monkeypatch, server.url, tmp_path)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield server


@pytest.fixture
def tiny_hub(hub: HubServer) -> HubServer:
    """A hub with a repository that looks like a bundle."""
    part = {name: {"weights": f"{name}.safetensors"} for name in PARTS}
    heads = {name.removeprefix("head_"): part.pop(name) for name in PARTS if "head" in name}
    manifest = {"schema": SCHEMA, "name": "tiny", "frame_interval_s": 0.2, **part, "heads": heads}
    hub.repos[REPO] = {name: name.encode() for name in WEIGHTS}
    hub.repos[REPO]["bundle.yaml"] = yaml.safe_dump(manifest).encode()
    return hub


def fetch_one(name: str = "large.safetensors") -> Path:
    return fetch_files(HubRepo(REPO), [name]) / name


def cache_files(home: Path) -> list[Path]:
    return [p for p in home.glob("hub/models--*/*/**/*") if p.is_file() and p.parent.name != "refs"]


@pytest.mark.slow
def test_bundle_of_a_hub_equals_the_local_one(hub: HubServer, tmp_path: Path):
    local = Bundle.untrained(seed=3)
    hub.repos[REPO] = read_folder(local.save(tmp_path / "local"))
    found = Bundle.load(ADDRESS)
    assert (found.name, found.tasks, found.info) == (local.name, local.tasks, local.info)
    for part in ("encoder", "pca", "forecaster"):
        ours, theirs = getattr(found, part).state_dict(), getattr(local, part).state_dict()
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    for name, head in local.heads.items():
        torch.testing.assert_close(
            found.heads[name].state_dict(), head.state_dict(), rtol=0, atol=0
        )


def test_only_what_the_manifest_names_is_downloaded(tiny_hub: HubServer, tmp_path: Path):
    extra = {"model.pkl": b"pickle", "pytorch_model.bin": b"pickle", "other.safetensors": b"x"}
    tiny_hub.repos[REPO] |= extra
    folder = fetch_bundle(ADDRESS)
    assert sorted(tiny_hub.asked("GET")) == ["bundle.yaml", *WEIGHTS]
    assert sorted(p.name for p in folder.iterdir()) == ["bundle.yaml", *WEIGHTS]


@pytest.mark.parametrize("weights", ["forecaster.ckpt", "../forecaster.safetensors", 3])
def test_weights_that_are_not_safetensors_are_refused_unasked(tiny_hub: HubServer, weights: object):
    manifest = tiny_hub.repos[REPO]["bundle.yaml"].replace(
        b"forecaster.safetensors", str(weights).encode()
    )
    tiny_hub.repos[REPO] |= {"bundle.yaml": manifest, str(weights): b"pickle"}
    with pytest.raises(BundleError, match="only safetensors"):
        fetch_bundle(ADDRESS)
    assert tiny_hub.asked("GET") == ["bundle.yaml"]


def test_repository_without_a_bundle_is_named(hub: HubServer):
    hub.repos[REPO] = {"README.md": b"nothing here"}
    with pytest.raises(HubError, match=r"bundle\.yaml of acme/tiny: .* no such file"):
        fetch_bundle(ADDRESS)


def test_cached_files_are_not_downloaded_again(tiny_hub: HubServer):
    first = fetch_bundle(ADDRESS)
    tiny_hub.requests.clear()
    assert fetch_bundle(ADDRESS) == first
    assert tiny_hub.asked("GET") == []


def test_cached_commit_asks_nothing(tiny_hub: HubServer):
    address = f"{ADDRESS}@{tiny_hub.commit(REPO)}"
    fetch_bundle(address)
    tiny_hub.requests.clear()
    fetch_bundle(address)
    assert tiny_hub.requests == []


def test_new_revision_is_downloaded(tiny_hub: HubServer):
    before = fetch_bundle(ADDRESS)
    manifest = tiny_hub.repos[REPO]["bundle.yaml"]
    tiny_hub.repos[REPO]["bundle.yaml"] = manifest + b"\n# edited\n"
    after = fetch_bundle(ADDRESS)
    assert after != before
    assert (after / "bundle.yaml").read_bytes().endswith(b"# edited\n")


def test_revision_names_which_content_is_meant(tiny_hub: HubServer):
    manifest = tiny_hub.repos[REPO]["bundle.yaml"]
    weights = dict.fromkeys(WEIGHTS, b"old")
    tiny_hub.repos[f"{REPO}@v1"] = {"bundle.yaml": manifest, **weights}
    assert read_folder(fetch_bundle(f"{ADDRESS}@v1")) == tiny_hub.repos[f"{REPO}@v1"]
    assert read_folder(fetch_bundle(ADDRESS)) == tiny_hub.repos[REPO]


@pytest.mark.parametrize("offline", [False, True], ids=["unreachable", "offline"])
def test_cache_serves_without_network(
    tiny_hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
):
    online = fetch_bundle(ADDRESS)
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path, offline)
    assert fetch_bundle(ADDRESS) == online


@pytest.mark.parametrize(("offline", "reason"), [(False, "asking http"), (True, "HF_HUB_OFFLINE")])
def test_without_network_and_cache_the_error_says_what_to_do_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool, reason: str
):
    use_hub(monkeypatch, "http://127.0.0.1:9", tmp_path, offline)
    with pytest.raises(HubError) as caught:
        Bundle.load(ADDRESS)
    text = str(caught.value)
    assert reason in text
    assert "by hand: put bundle.yaml and the .safetensors files of" in text
    assert f"https://huggingface.co/{REPO}" in text
    assert "\n" not in text


@pytest.mark.slow
def test_cut_connection_goes_on_with_a_range(hub: HubServer):
    hub.repos[REPO] = {"large.safetensors": LARGE}
    cuts = [15_000_000]

    def cut_once(name: str) -> None:
        hub.cut_after = {name: cuts.pop()} if cuts else {}

    hub.on_get = cut_once
    assert fetch_one().read_bytes() == LARGE
    assert hub.starts("large.safetensors") == [0, 10 << 20]


def test_files_of_an_interrupted_download_are_kept_for_the_next_run(hub: HubServer):
    names = ["one.safetensors", "two.safetensors"]
    hub.repos[REPO] = {name: name.encode() * 100 for name in names}
    hub.cut_after = {"two.safetensors": 0}
    with pytest.raises(HubError, match="cannot get"):
        fetch_files(HubRepo(REPO), names)
    hub.requests.clear()
    hub.cut_after = {}
    folder = fetch_files(HubRepo(REPO), names)
    assert read_folder(folder) == hub.repos[REPO]
    assert hub.asked("GET") == ["two.safetensors"]


def test_content_of_another_size_is_refused(hub: HubServer, tmp_path: Path):
    hub.repos[REPO] = {"large.safetensors": b"right" * 1000}
    hub.instead = {"large.safetensors": b"right" * 900}
    with pytest.raises(HubError, match="cannot get"):
        fetch_one()
    assert [p for p in cache_files(tmp_path) if p.suffix == ".safetensors"] == []


def test_token_stays_with_the_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.repos[REPO] = {"large.safetensors": b"right" * 1000}
    fetch_one()
    assert all(r.has_token != r.from_cdn for r in hub.requests)
    assert any(r.from_cdn for r in hub.requests)


def test_gated_repository_says_how_to_get_in(tiny_hub: HubServer):
    tiny_hub.gated = {REPO}
    with pytest.raises(HubError, match=r"gated; accept its terms .* 'hf auth login'"):
        fetch_bundle(ADDRESS)


def test_unknown_repository_and_revision_are_named(tiny_hub: HubServer):
    with pytest.raises(HubError, match=r"acme/huge: .* no such repository"):
        fetch_bundle("hub:acme/huge")
    with pytest.raises(HubError, match="no such revision v2"):
        fetch_bundle(f"{ADDRESS}@v2")


def test_page_that_is_no_hub_is_recognised(hub: HubServer):
    hub.is_hub = False
    with pytest.raises(HubError, match="does not answer as a model hub"):
        fetch_bundle(ADDRESS)


def test_disk_that_fills_up_is_named(hub: HubServer, monkeypatch: pytest.MonkeyPatch):
    def fill(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    hub.repos[REPO] = {"large.safetensors": b"right" * 1000}
    monkeypatch.setattr(hub_module, "snapshot_download", fill)
    with pytest.raises(HubError, match=r"the disk of .*hub is full; set HF_HOME"):
        fetch_one()


@pytest.mark.parametrize("address", ["hub:", "hub:tiny", "hub:a/b/c", "hub:a/b@", "a/b"])
def test_malformed_address_is_refused(address: str):
    with pytest.raises(UsageError, match="write hub:owner/name"):
        fetch_bundle(address)
