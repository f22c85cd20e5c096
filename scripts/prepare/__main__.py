"""Prepares the environment that scripts/with_env runs commands in.

Every stage checks what it finds and does only what is missing, so a preparation that was
interrupted, or an environment that was damaged, is completed by running it again. Standard library
only; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import activation
import checks
import messages
import packages
from layout import Layout
from progress import PreparationError, Progress


def parse_arguments() -> argparse.Namespace:
    """Parse the command line that scripts/with_env gives."""
    parser = argparse.ArgumentParser(prog="scripts/prepare", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the checkout")
    parser.add_argument("--env-dir", type=Path, required=True, help="where the environment lies")
    parser.add_argument(
        "--use-sourced-ros",
        action="store_true",
        help="build on the ROS 2 installation that is sourced, instead of on wheels",
    )
    return parser.parse_args()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; children inherit it, so that an orphan keeps it too."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("with_env: waiting for another preparation to finish", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        os.set_inheritable(file.fileno(), True)
        yield


def create_folder(layout: Layout) -> None:
    """Create the environment's folder, which colcon and backup tools skip."""
    try:
        layout.logs.mkdir(parents=True, exist_ok=True)
        layout.stamps.mkdir(exist_ok=True)
        (layout.env / "COLCON_IGNORE").touch()
    except OSError as error:
        raise PreparationError(
            f"cannot create {layout.env}: {error.strerror}; set FORESIGHT_ENV_DIR to a folder "
            "that can be written"
        ) from error


def prepare(layout: Layout) -> None:
    """Bring the environment up to date."""
    create_folder(layout)
    with locked(layout.env / "lock"):
        progress = Progress(total=4)
        with progress.stage("tools"):
            checks.check_tools()
            uv = packages.find_uv(layout)
        with progress.stage("virtual environment"):
            packages.ensure_venv(layout, uv)
        with progress.stage("Python packages (torch, ROS 2; about 6 GB)", "Python packages"):
            packages.ensure_packages(layout, uv)
        with progress.stage("messages"):
            messages.ensure_built(layout)
        activation.write(layout)


def main() -> int:
    """Prepare; on failure say in one line what was wrong and what to do."""
    args = parse_arguments()
    layout = Layout(args.root, args.env_dir, args.use_sourced_ros)
    try:
        prepare(layout)
    except PreparationError as error:
        print(f"with_env: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("with_env: interrupted; the next run continues from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
