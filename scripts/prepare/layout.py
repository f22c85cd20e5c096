"""Where the parts of a prepared environment lie, and the stamps of its finished stages."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "dino_foresight_ros"


@dataclass(frozen=True)
class Layout:
    """Paths of one environment of one checkout.

    root: the checkout. env: the environment's folder. sourced_ros: built on a ROS 2 installation
    whose setup file has been sourced, instead of on the wheels of the package index.
    """

    root: Path
    env: Path
    sourced_ros: bool

    @property
    def venv(self) -> Path:
        """The virtual environment, which with wheels is a ROS prefix too."""
        return self.env / "venv"

    @property
    def python(self) -> Path:
        """The virtual environment's interpreter."""
        return self.venv / "bin" / "python"

    @property
    def python_folder(self) -> str:
        """Such as "python3.11"; the interpreter that runs this is the environment's own base."""
        return f"python{sys.version_info[0]}.{sys.version_info[1]}"

    @property
    def site_packages(self) -> Path:
        """Where the virtual environment's packages lie."""
        return self.venv / "lib" / self.python_folder / "site-packages"

    @property
    def source(self) -> Path:
        """Links to the parts of the checkout that are built.

        CMake refuses to export targets that name folders inside the source folder, as NumPy's
        headers in an environment inside the checkout would be.
        """
        return self.env / "src" / PACKAGE

    @property
    def build(self) -> Path:
        """Colcon's build folder."""
        return self.env / "build"

    @property
    def install(self) -> Path:
        """Colcon's install folder, a merged ROS prefix."""
        return self.env / "install"

    @property
    def logs(self) -> Path:
        """Output of the tools of each stage."""
        return self.env / "logs"

    @property
    def stamps(self) -> Path:
        """One file per finished stage."""
        return self.env / "stamps"

    def is_stamped(self, stage: str, key: str) -> bool:
        """Tell whether ``stage`` was finished with this very key."""
        try:
            return (self.stamps / stage).read_text(encoding="utf-8") == key
        except OSError:
            return False

    def stamp(self, stage: str, key: str) -> None:
        """Record that ``stage`` is finished."""
        write_atomically(self.stamps / stage, key)

    def unstamp(self, *stages: str) -> None:
        """Forget that stages were finished."""
        for stage in stages:
            (self.stamps / stage).unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a new file and rename it into place.

    Never in place: uv's files are hard links into its cache.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def digest(*parts: str | bytes) -> str:
    """Hash texts and file contents to one key."""
    value = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        value.update(len(data).to_bytes(8, "big"))
        value.update(data)
    return value.hexdigest()


def clean_environment() -> dict[str, str]:
    """Return this process's variables without those that would lead to another environment."""
    unwanted = {"VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "CONDA_PREFIX", "LD_LIBRARY_PATH"}
    unwanted |= {"AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH", "ROS_DISTRO"}
    return {name: value for name, value in os.environ.items() if name not in unwanted}
