"""The `foresight` command.

Each subcommand is a module of `dino_foresight_ros.cli` with two functions:
`add_parser(subparsers)`, which returns its parser, and `run(args) -> int`. A module is imported
to build its parser, so it keeps heavy imports (torch, rclpy) inside `run`.

Exit codes: 0 success, 2 bad arguments, 1 failure; a failure is one line on stderr.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from dino_foresight_ros.cli import COMMANDS
from dino_foresight_ros.errors import ForesightError
from dino_foresight_ros.version import __version__


def build_parser() -> argparse.ArgumentParser:
    """Build the parser with every subcommand's own parser in it."""
    parser = argparse.ArgumentParser(
        prog="foresight", description="Forecast what a camera will see next, with DINO-Foresight."
    )
    parser.add_argument("--version", action="version", version=f"foresight {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show the traceback of a failure")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"dino_foresight_ros.cli.{name}")
        module.add_parser(subparsers).set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args))
    except ForesightError as error:
        if args.traceback:
            raise
        print(f"foresight: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("foresight: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
