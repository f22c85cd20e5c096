"""Lets `python -m dino_foresight_ros.cli` start the command line."""

import sys

from dino_foresight_ros.cli.main import main

if __name__ == "__main__":  # a spawned worker imports this file
    sys.exit(main())
