"""Predicts the near future of a camera stream in the features of a vision foundation model."""

from __future__ import annotations

from pkgutil import extend_path

from .version import __version__

# The generated messages (dino_foresight_ros.msg) lie in another folder than this file when the
# package runs from its source tree or from pip: look for subpackages in every folder of sys.path.
__path__ = extend_path(__path__, __name__)

__all__ = ["__version__"]
