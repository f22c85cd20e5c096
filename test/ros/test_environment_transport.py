"""Which transport profile a node takes."""

from __future__ import annotations

import os
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import pytest

from dino_foresight_ros.ros import environment

OURS = "FASTRTPS_DEFAULT_PROFILES_FILE"


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user who chose nothing, and room in shared memory."""
    for name in (
        *environment.PROFILES_VARIABLES,
        "FASTDDS_BUILTIN_TRANSPORTS",
        "RMW_IMPLEMENTATION",
    ):
        monkeypatch.setenv(name, "set, so that it is restored")
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**40))


def test_the_profile_of_the_package_is_taken_where_nothing_else_is_chosen(
    project_root: Path,
) -> None:
    assert environment.choose_transport()
    assert Path(os.environ[OURS]).samefile(project_root / "config" / "fastdds.xml")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (OURS, "/etc/own.xml"),
        ("FASTDDS_DEFAULT_PROFILES_FILE", "/etc/own.xml"),
        ("FASTDDS_BUILTIN_TRANSPORTS", "UDPv4"),
        ("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp"),
    ],
)
def test_what_the_user_chose_stays(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert not environment.choose_transport()
    assert os.environ[variable] == value
    assert os.environ.get(OURS) == (value if variable == OURS else None)


def test_a_profile_in_the_working_folder_stays_alone(tmp_path: Path) -> None:
    (tmp_path / "DEFAULT_FASTRTPS_PROFILES.xml").write_text("<profiles/>")
    assert not environment.choose_transport()


def test_a_container_with_little_shared_memory_is_not_filled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=64 << 20))
    assert not environment.choose_transport()


def test_the_profile_keeps_both_default_transports_and_widens_shared_memory(
    project_root: Path,
) -> None:
    tree = ElementTree.parse(project_root / "config" / "fastdds.xml")
    space = {"d": "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"}
    kinds = {
        str(d.findtext("d:transport_id", namespaces=space)): d
        for d in tree.iterfind(".//d:transport_descriptor", space)
    }
    assert {d.findtext("d:type", namespaces=space) for d in kinds.values()} == {"SHM", "UDPv4"}
    size = kinds["shared_memory"].findtext("d:segment_size", namespaces=space)
    assert int(size or 0) == 32 << 20
    used = [t.text for t in tree.iterfind(".//d:userTransports/d:transport_id", space)]
    assert sorted(used) == sorted(kinds)
