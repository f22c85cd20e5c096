"""The parts of scripts/prepare, each on its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

PREPARE = Path(__file__).resolve().parents[2] / "scripts" / "prepare"


@pytest.fixture(scope="module")
def prepare() -> Iterator[SimpleNamespace]:
    """Return the modules of scripts/prepare, which import one another by their short names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PREPARE))
        import pip_settings
        import progress
        import tools
        import wheels

        yield SimpleNamespace(
            pip_settings=pip_settings, progress=progress, tools=tools, wheels=wheels
        )


@pytest.fixture(scope="module")
def main_module() -> Any:
    """scripts/prepare/__main__.py, under a name of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PREPARE))
        spec = importlib.util.spec_from_file_location("prepare_main", PREPARE / "__main__.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("is_known", [True, False])
def test_an_environment_of_another_user_is_named_as_theirs(
    main_module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    def refuse(*words: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    def owner(path: Path) -> str:
        if not is_known:
            raise KeyError(path)
        return "alice"

    monkeypatch.setattr(Path, "owner", owner)
    monkeypatch.setattr(Path, "touch", refuse)
    name = "alice" if is_known else f"user {os.getuid()}"
    folder = tmp_path / ".env"
    layout = SimpleNamespace(env=folder, logs=folder / "logs", stamps=folder / "stamps")
    words = f"{folder} is {name}'s, not yours, .*; set FORESIGHT_ENV_DIR to a folder that you can"
    with pytest.raises(Exception, match=words) as caught:
        main_module.create_folder(layout)
    assert type(caught.value).__name__ == "PreparationError"


def install(site_packages: Path, name: str, files: dict[str, str]) -> None:
    """Lay out a distribution with a RECORD, as the wheel format describes it."""
    information = site_packages / f"{name}-1.2.dist-info"
    information.mkdir(parents=True)
    rows = []
    for file, text in files.items():
        path = site_packages / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        rows.append(f'"{file}",sha256=x,{len(text)}')
    (information / "RECORD").write_text("\n".join([*rows, f"{information.name}/RECORD,,"]))


def test_whole_distribution_is_not_damaged(prepare: SimpleNamespace, tmp_path: Path) -> None:
    install(tmp_path, "whole", {"whole/__init__.py": "x = 1", "odd, name.txt": ""})
    assert prepare.wheels.find_damaged(tmp_path) == set()


@pytest.mark.parametrize("damage", ["missing file", "cut short", "no record"])
def test_damaged_distribution_is_found_and_forgotten(
    prepare: SimpleNamespace, tmp_path: Path, damage: str
) -> None:
    install(tmp_path, "whole", {"whole.py": "x = 1"})
    install(tmp_path, "broken", {"broken/a.py": "x = 1", "broken/b.py": "y = 2"})
    if damage == "missing file":
        (tmp_path / "broken" / "b.py").unlink()
    elif damage == "cut short":
        (tmp_path / "broken" / "b.py").write_text("y")
    else:
        (tmp_path / "broken-1.2.dist-info" / "RECORD").unlink()
    damaged = prepare.wheels.find_damaged(tmp_path)
    assert damaged == {"broken"}
    prepare.wheels.forget(tmp_path, damaged)
    assert [path.name for path in tmp_path.glob("*.dist-info")] == ["whole-1.2.dist-info"]


def test_relocation_leaves_the_hard_link_in_the_cache_alone(
    prepare: SimpleNamespace, tmp_path: Path
) -> None:
    built_at = "/opt/python/cp312-cp312"
    text = (
        f'INCLUDES "{built_at}/include/python3.12;'
        f'{built_at}/lib/python3.12/site-packages/numpy/_core/include"\n'
    )
    cached = tmp_path / "cached.cmake"
    cached.write_text(text)
    exported = tmp_path / "venv" / "share" / "std_msgs" / "cmake" / "export.cmake"
    exported.parent.mkdir(parents=True)
    os.link(cached, exported)
    site_packages = tmp_path / "my venv" / "site-packages"
    prepare.wheels.relocate(tmp_path / "venv", site_packages)
    include = sysconfig.get_path("include")
    expected = f'INCLUDES "{include};{site_packages}/numpy/_core/include"\n'
    assert exported.read_text() == expected
    assert cached.read_text() == text


def test_pip_files_rank_below_variables_and_uv_variables_above(
    prepare: SimpleNamespace, tmp_path: Path
) -> None:
    user = tmp_path / ".config" / "pip" / "pip.conf"
    user.parent.mkdir(parents=True)
    user.write_text("[global]\nextra-index-url =\n  https://a.example\n  https://b.example\n"
                    "trusted-host = a.example\n[install]\nno-index = yes\n")  # fmt: skip
    environ = {
        "HOME": str(tmp_path),
        "XDG_CONFIG_DIRS": str(tmp_path / "none"),
        "PIP_TRUSTED_HOST": "c.example",
        "PIP_INDEX_URL": "https://d.example/simple",
        "UV_DEFAULT_INDEX": "https://e.example/simple",
    }
    found = prepare.pip_settings.uv_environment(environ)
    assert found["UV_INDEX"] == "https://a.example https://b.example"
    assert found["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert found["UV_INSECURE_HOST"] == "c.example"
    assert found["UV_NO_INDEX"] == "1"
    assert found["UV_DEFAULT_INDEX"] == "https://e.example/simple"


def test_unreadable_pip_file_is_passed_over(prepare: SimpleNamespace, tmp_path: Path) -> None:
    broken = tmp_path / "pip.conf"
    broken.write_text("no section\n")
    read = prepare.pip_settings.read_pip_settings
    environ = {"HOME": str(tmp_path), "PIP_INDEX_URL": "https://a.example/simple"}
    settings = read(environ | {"PIP_CONFIG_FILE": str(broken)})
    assert settings == read(environ) | {"config-file": str(broken)}
    assert settings["index-url"] == "https://a.example/simple"


def test_full_disk_is_said_before_anything_is_fetched(
    prepare: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=3.2e9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(prepare.progress.PreparationError, match=r"needs 7 GB.*has 3\.2 GB free"):
        prepare.tools.check_disk(tmp_path, 7e9)
    usage.free = 7.1e9
    prepare.tools.check_disk(tmp_path, 7e9)


def test_networkx_in_an_installers_words_is_no_network_error(prepare: SimpleNamespace) -> None:
    error = prepare.progress.ToolError("failed (log: x)", "networkx==3.6\nerror: no such wheel")
    assert str(prepare.tools.explain(error)) == "failed (log: x): error: no such wheel"
