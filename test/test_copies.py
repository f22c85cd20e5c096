from __future__ import annotations

import torch
from copies import Copies

from dino_foresight_ros.model import untrained


def test_copies_of_a_model_are_equal_and_share_no_writing() -> None:
    made = untrained.untrained_parts(5)
    copies = Copies(made)
    one, other = copies.copy(), copies.copy()
    assert one["encoder"] is not other["encoder"]
    for name in ("encoder", "forecaster", "pca"):
        for copied in (one, other):
            expected, found = (p[name].state_dict() for p in (made, copied))
            assert list(found) == list(expected)
            assert all(torch.equal(found[key], expected[key]) for key in expected)
    parameters = dict(made["forecaster"].named_parameters())
    for key, value in one["forecaster"].named_parameters():
        assert value.requires_grad == parameters[key].requires_grad
        value.data.fill_(7.0)
    for copied in (other, copies.copy()):
        for key, value in copied["forecaster"].named_parameters():
            assert torch.equal(value, parameters[key])
