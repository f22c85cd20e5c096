"""The stage that builds this package's messages and links its Python, with colcon."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import packages
import wheels
from layout import PACKAGE, Layout, clean_environment, digest
from progress import PreparationError, ToolError, run_logged

LINKED_FOLDERS = (PACKAGE, "training", "benchmark", "launch", "config", "assets", "scripts")


def linked_files(root: Path, *folders: str) -> list[str]:
    """Return the files that the install folder links to, relative to the checkout."""
    return sorted(
        os.fspath(path.relative_to(root))
        for folder in folders
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


def interfaces(layout: Layout) -> list[Path]:
    """Return the message and service definitions."""
    return sorted((layout.root / "msg").glob("*.msg")) + sorted((layout.root / "srv").glob("*.srv"))


def key(layout: Layout) -> str:
    """Return what the build depends on: links keep contents live, so names are enough for them."""
    sources = [layout.root / "package.xml", layout.root / "CMakeLists.txt"]
    sources += interfaces(layout)
    contents = [path.name.encode() + b"\n" + path.read_bytes() for path in sources]
    ros_prefix = os.environ.get("FORESIGHT_ENV_ROS_PREFIX", "") if layout.sourced_ros else ""
    names = "\n".join(linked_files(layout.root, *LINKED_FOLDERS))
    return digest(packages.key(layout), ros_prefix, names, *contents)


def build_environment(layout: Layout) -> dict[str, str]:
    """Return the environment to run colcon in."""
    if layout.sourced_ros:
        env = dict(os.environ)
    else:
        env = clean_environment()
        env.update(wheels.library_variables(layout.venv, layout.site_packages))
        env["AMENT_PREFIX_PATH"] = env["CMAKE_PREFIX_PATH"] = os.fspath(layout.venv)
    env["VIRTUAL_ENV"] = os.fspath(layout.venv)
    env["PATH"] = os.pathsep.join([os.fspath(layout.venv / "bin"), env.get("PATH", os.defpath)])
    return env


def installed_package(layout: Layout) -> Path:
    """Return where the package's Python files and the messages lie."""
    return layout.install / "lib" / layout.python_folder / "site-packages" / PACKAGE


def expected_files(layout: Layout) -> set[Path]:
    """Return what a build installs: the messages, the Python files and the executables."""
    package = installed_package(layout)
    expected = {package / "msg" / "__init__.py", layout.install / "lib" / PACKAGE / "foresight"}
    expected |= {package.parent / name for name in linked_files(layout.root, PACKAGE)}
    share = layout.install / "share" / PACKAGE
    return expected | {share / p.parent.name / f"{p.stem}.idl" for p in interfaces(layout)}


def is_installed(layout: Layout, files: set[Path]) -> bool:
    """Tell whether the messages' libraries and these files can be reached."""
    libraries = installed_package(layout).glob("*typesupport_c*.so")
    return any(path.exists() for path in libraries) and all(path.exists() for path in files)


def link_sources(layout: Layout) -> None:
    """Link the parts of the checkout that are built into the folder that colcon sees."""
    shutil.rmtree(layout.source, ignore_errors=True)
    layout.source.mkdir(parents=True)
    for name in ("package.xml", "CMakeLists.txt", "msg", "srv", *LINKED_FOLDERS):
        if (layout.root / name).exists():
            (layout.source / name).symlink_to(layout.root / name)


def run_colcon(layout: Layout) -> None:
    """Build and install the package with symbolic links to its Python files."""
    command: list[str | Path] = [
        layout.python,
        "-m",
        "colcon",
        "--log-base",
        layout.logs / "colcon",
        "build",
    ]
    command += ["--paths", layout.source, "--packages-select", PACKAGE]
    command += ["--build-base", layout.build, "--install-base", layout.install]
    command += ["--merge-install", "--symlink-install", "--cmake-args", "-DBUILD_TESTING=OFF"]
    command += [f"-DPython3_EXECUTABLE={layout.python}", f"-DPYTHON_EXECUTABLE={layout.python}"]
    run_logged(
        command,
        layout.logs / "messages.log",
        "building the messages failed",
        build_environment(layout),
        layout.env,
    )
    for path in layout.install.rglob("*"):  # colcon leaves the links to files that are gone
        if path.is_symlink() and not path.exists():
            path.unlink()


def is_ready(layout: Layout) -> bool:
    """Tell whether nothing that the build depends on has changed since it was done."""
    is_done = layout.is_stamped("messages", key(layout))
    return is_done and is_installed(layout, expected_files(layout))


def run(layout: Layout) -> None:
    """Build; and once more if files came or went meanwhile, which takes seconds."""
    build(layout)
    if not is_ready(layout):
        build(layout)


def build(layout: Layout) -> None:
    """Build on top of what is there; if that fails, from nothing."""
    wanted, files = key(layout), expected_files(layout)
    layout.unstamp("messages")
    link_sources(layout)
    incremental = layout.build.exists()
    try:
        run_colcon(layout)
    except ToolError as error:
        if not incremental:
            raise build_error(error) from error
        # What an interrupted or an older build left behind may be the reason.
        shutil.rmtree(layout.build, ignore_errors=True)
        shutil.rmtree(layout.install, ignore_errors=True)
        try:
            run_colcon(layout)
        except ToolError as second:
            raise build_error(second) from second
    # What came or went while colcon ran may be missing: the stamp's key does not know it either.
    if not is_installed(layout, files & expected_files(layout)):
        shutil.rmtree(layout.build, ignore_errors=True)
        raise PreparationError(f"the build left nothing in {layout.install} (log: {layout.logs})")
    layout.stamp("messages", wanted)


def build_error(error: ToolError) -> PreparationError:
    """Name the first error line of the build."""
    lines = [line.strip() for line in error.output.splitlines()]
    reason = next((line for line in lines if "error" in line.lower()), "")
    return PreparationError(f"{error}{': ' if reason else ''}{reason}")
