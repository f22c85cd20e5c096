"""Which encoder a word means, and whether its weights are random."""

from __future__ import annotations

from pathlib import Path

import pytest
from micro_bundle import make_micro_bundle

from dino_foresight_ros.training.encoder_loading import encoder_origin, is_trained, load_encoder


@pytest.mark.parametrize("trained", [True, False])
def test_encoder_of_a_bundle_is_as_trained_as_the_bundle_says(tmp_path: Path, trained: bool):
    bundle = make_micro_bundle()
    bundle.trained = trained
    folder = str(bundle.save(tmp_path / "bundle"))
    assert is_trained(load_encoder(folder)) is trained
    # Also where another size or other layers make another module of it.
    assert is_trained(load_encoder(folder, (84, 84), (0, 1, 2))) is trained


def test_encoder_of_untrained_tiny_is_not_trained():
    assert not is_trained(load_encoder("untrained-tiny"))


def test_the_shipped_encoder_is_known_by_the_fingerprint_that_parts_made_before_name():
    assert encoder_origin(load_encoder("tiny")).fingerprint == "62982b76d6e6ab2a"
