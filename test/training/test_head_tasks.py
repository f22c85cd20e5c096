"""How tasks are trained: every one is, from labels that recordings can have."""

from __future__ import annotations

import pytest
import torch
from micro_bundle import make_micro_bundle
from torch import Tensor
from training_data import synthetic

from dino_foresight_ros.model.tasks import TASKS, NormalsTask
from dino_foresight_ros.recordings import LABEL_KINDS, open_recordings
from dino_foresight_ros.training import head_tasks
from dino_foresight_ros.training.head_inputs import HeadInputs
from dino_foresight_ros.training.head_tasks import TRAINING, NormalsTraining, training_of
from dino_foresight_ros.training.head_training import HeadData, HeadTraining
from dino_foresight_ros.training.objective import Loss
from dino_foresight_ros.training.processes import alone
from dino_foresight_ros.training.recipe_base import resolve_recipe
from dino_foresight_ros.training.recipes import HeadRecipe


def test_every_task_is_trained_from_labels_that_there_are():
    assert set(TRAINING) == set(TASKS)
    assert {training.label for training in TRAINING.values()} <= set(LABEL_KINDS)


def test_a_head_may_learn_from_labels_of_another_kind(monkeypatch):
    class FromDepth(NormalsTraining):
        """Normals of a plane whose depth is known."""

        label = "depth"

        def loss(self, raw: Tensor, label: Tensor) -> Loss:
            return super().loss(raw, _towards_camera(label))

        def truth(self, label: Tensor) -> tuple[Tensor, bool]:
            return super().truth(_towards_camera(label))

    monkeypatch.setitem(head_tasks.TRAINING, "normals", FromDepth)
    bundle, recordings = make_micro_bundle(), open_recordings([synthetic("0", 3)])
    recipe = resolve_recipe(HeadRecipe, "linear", None, {"workers": 0})
    training = HeadTraining(
        HeadInputs(bundle.encoder, bundle.pca),
        HeadData(recordings, recordings),
        NormalsTask(),
        recipe,
        alone(),
    )
    label = training.samples[0]["label"]
    assert label.ndim == 2
    raw = torch.tensor([0.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(1, 3, *label.shape)
    loss = training.task_training.loss(raw, label[None])
    assert float(loss.value) == pytest.approx(0.0, abs=1e-6)
    assert float(loss.weight) > 0


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_task_s_training_knows_it(name: str):
    recordings = open_recordings([synthetic("0", 2)])
    task = TRAINING[name].make_task(recordings, resolve_recipe(HeadRecipe, "light"))
    assert task.name == name
    assert training_of(task).task is task


def _towards_camera(depth: Tensor) -> Tensor:
    normals = torch.tensor([0.0, 0.0, -1.0]).expand(*depth.shape, 3)
    return torch.where(torch.isfinite(depth)[..., None], normals, torch.nan)
