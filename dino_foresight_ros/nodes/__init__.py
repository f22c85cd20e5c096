"""The nodes, a folder each.

A middleware that is not installed ends the process when rclpy is imported; here it is said first.
"""

import os
import sys

from dino_foresight_ros.errors import UsageError
from dino_foresight_ros.ros.environment import check_middleware

try:
    check_middleware(os.environ)
except UsageError as error:
    name = os.path.basename(sys.argv[0])
    print(f"{'node' if name == '-m' else name or 'node'}: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
