"""scripts/with_env on a small checkout with stand-ins for uv, colcon and the compilers."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Stages = Callable[[str], list[str]]
LATER_STAGES = ["virtual environment", "Python packages", "messages"]


def kill_midway(checkout: Any, what: str) -> None:
    """Kill with_env and all it started, while the stand-in of a stage is halfway."""
    process = checkout.start("true", FAKE_HANG=what)
    hangs = Path(f"{checkout.env['FAKE_LOG']}.hangs")
    deadline = time.monotonic() + 240
    while not hangs.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert hangs.exists()
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_first_run_prepares_and_passes_words_output_and_exit_code_on(
    checkout: Any, done_stages: Stages
) -> None:
    del checkout.env["HOME"]  # as of a system's service
    run = checkout.run("sh", "-c", 'printf "%s|" "$@"; exit 7', "sh", "two words", "")
    assert run.returncode == 7
    assert run.stdout == "two words||"
    assert done_stages(run.stderr) == LATER_STAGES
    assert "unbound" not in run.stderr


@pytest.mark.process
def test_second_run_does_nothing_but_the_command(prepared: Any) -> None:
    prepared.calls()
    run = prepared.run("true")
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert prepared.calls() == []


@pytest.mark.process
def test_edited_python_does_nothing_and_a_new_file_is_linked(
    prepared: Any, done_stages: Stages
) -> None:
    package = prepared.root / "dino_foresight_ros"
    (package / "__init__.py").write_text("value = 1\n")
    assert prepared.run("true").stderr == ""
    (package / "new.py").write_text("")
    assert done_stages(prepared.run("true").stderr) == ["messages"]
    run = prepared.run("python", "-c", "import dino_foresight_ros.new as n; print(n.__file__)")
    assert "/install/" in run.stdout


@pytest.mark.process
@pytest.mark.parametrize("comes", [True, False])
def test_a_file_that_comes_or_goes_while_messages_are_built_costs_no_build(
    prepared: Any, comes: bool
) -> None:
    inside, outside = prepared.root / "dino_foresight_ros" / "late.py", prepared.home / "late.py"
    move = (outside, inside) if comes else (inside, outside)
    move[0].touch()
    kept = prepared.env_dir / "build" / "kept"
    kept.touch()
    with (prepared.root / "msg" / "Forecast.msg").open("a") as file:
        file.write("\n")
    prepared.calls()
    code = "import importlib.util as u; print(u.find_spec('dino_foresight_ros.late') is not None)"
    run = prepared.run("python", "-c", code, FAKE_MOVE=":".join(map(str, move)))
    assert (run.returncode, run.stdout) == (0, f"{comes}\n"), run.stderr
    assert kept.exists()
    assert [call["call"] for call in prepared.calls()] == [["colcon"], ["colcon"]]
    assert prepared.run("true").stderr == ""


@pytest.mark.process
def test_bytecode_that_may_not_lie_beside_sources_is_kept_in_the_environment(prepared: Any) -> None:
    show = "import dino_foresight_ros; print(dino_foresight_ros.__cached__)"
    run = prepared.run("python", "-c", show, PYTHONDONTWRITEBYTECODE="1")
    place = Path(run.stdout.strip())
    assert place.is_relative_to(prepared.env_dir)
    assert place.is_file()
    own = prepared.run("python", "-c", show, PYTHONDONTWRITEBYTECODE="1", PYTHONPYCACHEPREFIX="/x")
    assert own.stdout.startswith("/x/")


@pytest.mark.parametrize(
    ("name", "redone"),
    [
        ("msg/Forecast.msg", ["messages"]),
        ("scripts/requirements.txt", ["Python packages", "messages"]),
    ],
)
@pytest.mark.process
def test_changed_source_redoes_its_stage(
    prepared: Any, done_stages: Stages, name: str, redone: list[str]
) -> None:
    with (prepared.root / name).open("a") as file:
        file.write("\n")
    assert done_stages(prepared.run("true").stderr) == redone
    assert prepared.run("true").stderr == ""


@pytest.mark.parametrize("what", ["packages", "messages"])
def test_preparation_killed_midway_is_completed_by_the_next_run(
    checkout: Any, done_stages: Stages, what: str
) -> None:
    kill_midway(checkout, what)
    run = checkout.run("python", "-c", "import cv2, colcon, dino_foresight_ros.msg._forecast")
    assert run.returncode == 0, run.stderr
    assert done_stages(run.stderr)[-1] == "messages"
    assert checkout.run("true").stderr == ""


@pytest.mark.parametrize(
    "damage",
    [
        "venv",
        "venv/lib/python3*/site-packages/cv2",
        "install/lib/dino_foresight_ros/foresight",
        "environment.sh",
    ],
)
@pytest.mark.process
def test_damaged_environment_repairs_itself(prepared: Any, damage: str) -> None:
    (path,) = prepared.env_dir.glob(damage)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    code = "import cv2, timm, dino_foresight_ros.msg._forecast"
    run = prepared.run("sh", "-c", f"python -c '{code}' && test -e \"$(command -v foresight)\"")
    assert run.returncode == 0, run.stderr
    assert prepared.run("true").stderr == ""


def test_two_first_runs_at_once_prepare_once(checkout: Any) -> None:
    processes = [checkout.start("python", "-c", "import cv2; print(1)") for _ in range(2)]
    outputs = [process.communicate(timeout=240) for process in processes]
    assert [out for out, _ in outputs] == ["1\n", "1\n"]
    assert sum("another preparation is at work" in err for _, err in outputs) == 1
    assert [call["call"][0] for call in checkout.calls()] == ["venv", "pip", "colcon"]


def test_moved_checkout_is_prepared_afresh(checkout: Any, done_stages: Stages) -> None:
    checkout.run("true")
    old = checkout.root
    checkout.root = old.with_name("elsewhere")
    old.rename(checkout.root)
    run = checkout.run("python", "-c", "import sys, cv2; print(sys.prefix)")
    assert done_stages(run.stderr) == LATER_STAGES
    assert run.stdout.strip() == str(checkout.env_dir / "venv")


def test_inner_with_env_keeps_the_environment_of_the_outer(checkout: Any) -> None:
    inner = str(checkout.root / "scripts" / "with_env")
    run = checkout.run(inner, "sh", "-c", "echo $FORESIGHT_ENV $AMENT_PREFIX_PATH")
    expected = f"{checkout.env_dir} {checkout.env_dir}/install:{checkout.env_dir}/venv\n"
    assert run.stdout == expected
    assert run.stderr.count("[4/4] messages: done") == 1


def test_environment_folder_can_be_chosen(checkout: Any, tmp_path: Path) -> None:
    chosen = tmp_path / "chosen here"
    run = checkout.run("sh", "-c", "echo $VIRTUAL_ENV", FORESIGHT_ENV_DIR=str(chosen))
    assert run.stdout == f"{chosen / 'venv'}\n"
    assert not checkout.env_dir.exists()


def test_no_command_is_a_usage_error(checkout: Any) -> None:
    run = checkout.run()
    assert run.returncode == 2
    assert run.stderr.startswith("usage: scripts/with_env CMD")


@pytest.mark.parametrize(
    ("program", "debian"),
    [("c++", "build-essential"), ("cmake", "cmake")],
)
def test_missing_build_tool_is_named_with_its_package(
    checkout: Any, program: str, debian: str
) -> None:
    (checkout.tools / program).unlink()
    run = checkout.run("true")
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == (
        f"with_env: building the ROS messages needs {program}: sudo apt install {debian}"
    )
    assert checkout.calls() == []


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ("3.14 version /usr/bin/python3.14", "needs Python 3.10 to 3.13 (python3 is 3.14"),
        ("3.12 headers /usr/bin/python3.12", "sudo apt install python3.12-dev"),
        (None, "needs Python 3.10 to 3.13 (none found)"),
    ],
)
def test_unusable_python_is_explained_in_one_line(
    checkout: Any, reply: str | None, message: str
) -> None:
    python = checkout.tools / "python3"
    python.unlink()
    if reply:
        python.write_text(f"#!/bin/sh\necho '{reply}'\n")
        python.chmod(0o755)
    run = checkout.run("true")
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1
    assert message in run.stderr


@pytest.mark.parametrize(
    ("python", "message"),
    [("sh", "has to be a Python 3.10 to 3.13 (sh does not run)"), ("/no", "/no does not run")],
)
def test_chosen_python_that_is_none_is_an_error(checkout: Any, python: str, message: str) -> None:
    run = checkout.run("true", FORESIGHT_PYTHON=python)
    assert (run.returncode, len(run.stderr.splitlines())) == (1, 1)
    assert message in run.stderr


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("error: x\n  cause: dns error", "package index was not reached"),
        ("error: No space left on device", "the disk is full"),
        ("error: No solution found\n  cause: no version of six==99", "no version of six==99"),
    ],
)
def test_failing_installer_is_one_line_with_its_log(
    checkout: Any, failure: str, message: str
) -> None:
    run = checkout.run("true", FAKE_FAILURE=failure)
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert last.startswith("with_env: ")
    assert message in last
    assert f"(log: {checkout.env_dir}/logs/" in last
    assert "Traceback" not in run.stderr


def test_pip_settings_reach_uv(checkout: Any, tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://one.example/simple\nfind-links = /w1 /w2\n")
    checkout.run("true", PIP_CONFIG_FILE=str(config), PIP_INDEX_URL="https://two.example/simple")
    env = checkout.calls()[-2]["env"]
    assert env["UV_DEFAULT_INDEX"] == "https://two.example/simple"
    assert env["UV_FIND_LINKS"] == "/w1,/w2"


def sourced(tmp_path: Path) -> dict[str, str]:
    """Return the variables of a sourced ROS 2 installation with nothing but an rclpy."""
    python = tmp_path / "ros" / "python"
    for name in ("rclpy", "cv2", "numpy", "sensor_msgs", "sensor_msgs/msg"):
        (python / name).mkdir(parents=True)
        (python / name / "__init__.py").write_text("")
    prefix = str(tmp_path / "ros")
    return {"ROS_DISTRO": "jazzy", "AMENT_PREFIX_PATH": prefix, "PYTHONPATH": str(python)}


def test_sourced_ros_is_used_instead_of_wheels(checkout: Any, tmp_path: Path) -> None:
    ros = sourced(tmp_path)
    run = checkout.run("sh", "-c", "echo $AMENT_PREFIX_PATH; python -c 'import rclpy'", **ros)
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"{checkout.env_dir}/install:{tmp_path}/ros\n"
    (install,) = [call for call in checkout.calls() if "requirements" in call]
    names = [line.split("==")[0] for line in install["requirements"].splitlines()]
    assert "torch" in names
    assert not [name for name in names if name.startswith("ros-")]
    # A sourced cv_bridge is compiled against its own NumPy.
    assert not {"numpy", "opencv-python-headless"} & set(names)
    settings = (checkout.env_dir / "venv" / "pyvenv.cfg").read_text()
    assert "include-system-site-packages = true" in settings
    inner = str(checkout.root / "scripts" / "with_env")
    again = checkout.run(inner, "sh", "-c", "echo $FORESIGHT_ENV_ROS_PREFIX", **ros)
    assert (again.stdout, again.stderr) == (f"{tmp_path}/ros\n", "")


def test_sourced_ros_of_another_python_falls_back_to_wheels(checkout: Any, tmp_path: Path) -> None:
    ros = sourced(tmp_path)
    shutil.rmtree(Path(ros["PYTHONPATH"], "rclpy"))
    run = checkout.run("sh", "-c", "echo $AMENT_PREFIX_PATH", **ros)
    assert "no python3 here imports rclpy" in run.stderr
    assert run.stdout == f"{checkout.env_dir}/install:{checkout.env_dir}/venv\n"
    inner = str(checkout.root / "scripts" / "with_env")
    assert checkout.run(inner, "true", **ros).stderr == ""
