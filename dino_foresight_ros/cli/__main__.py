"""Lets `python -m dino_foresight_ros.cli` start the command line."""

import sys

from dino_foresight_ros.cli.main import main

sys.exit(main())
