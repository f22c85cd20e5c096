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
import messages
import packages
import tools
import virtual_env
from layout import Layout
from progress import PreparationError, say, stage

STAGES = (
    ("installer (uv)", tools),
    ("virtual environment", virtual_env),
    ("Python packages (torch and ROS 2, about 6 GB)", packages),
    ("messages", messages),
)


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
            say("with_env: another preparation is at work; waiting for it")
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
        what = f"cannot create {layout.env}: {error.strerror}"
        if isinstance(error, PermissionError) and layout.env.exists():
            what = f"{layout.env} is {_owner(layout.env)}'s, not yours, and has to be prepared anew"
        raise PreparationError(
            f"{what}; set FORESIGHT_ENV_DIR to a folder that you can write"
        ) from error


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:  # a user of another machine or container
        return f"user {path.stat().st_uid}"


def prepare(layout: Layout) -> None:
    """Do the stages that are not ready; a stage that ran may leave a later one to be redone."""
    create_folder(layout)
    with locked(layout.env / "lock"):
        for number, (name, module) in enumerate(STAGES, start=1):
            if not module.is_ready(layout):
                with stage(number, len(STAGES), name):
                    module.run(layout)
        activation.write(layout)


def main() -> int:
    """Prepare; on failure say in one line what was wrong and what to do."""
    args = parse_arguments()
    layout = Layout(args.root, args.env_dir, args.use_sourced_ros)
    try:
        prepare(layout)
    except PreparationError as error:
        say(f"with_env: {error}")
        return 1
    except KeyboardInterrupt:
        say("with_env: interrupted; the next run continues from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
