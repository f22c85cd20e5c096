"""The small model of the runtime's tests."""

from __future__ import annotations

import pytest
from micro_bundle import make_micro_bundle

from dino_foresight_ros.model import Bundle


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    return make_micro_bundle()


@pytest.fixture
def fresh_bundle() -> Bundle:
    """One that a test may damage."""
    return make_micro_bundle()
