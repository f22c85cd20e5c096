"""What a head's training begins with: its task, and the head, fresh or with trained weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from dino_foresight_ros.errors import BundleError, UsageError
from dino_foresight_ros.model.centre_head import CentreHead, CentreHeadConfig
from dino_foresight_ros.model.dpt import DPTHead, HeadConfig
from dino_foresight_ros.model.heads import AnyHeadConfig, Head, HeadInput, build_head
from dino_foresight_ros.model.instance_head import InstanceHeadConfig
from dino_foresight_ros.model.tasks import InstancesTask, Task
from dino_foresight_ros.model.weights import load_strict
from dino_foresight_ros.outputs import SEGMENTATION
from dino_foresight_ros.recordings import Recording

from .head_inputs import HeadInputs
from .head_tasks import training_class
from .model_parts import load_head
from .parts import Origin
from .recipes import HeadRecipe
from .sources import Source


def make_task(name: str, recordings: Sequence[Recording], recipe: HeadRecipe) -> Task:
    """What the head's output will mean.

    Raises:
        InputError: the recordings have no class list, or several.
    """
    task: Task = training_class(name).make_task(recordings, recipe)
    return task


def make_model(inputs: HeadInputs, task: Task, recipe: HeadRecipe) -> Head:
    """A head with fresh weights of the recipe's seed."""
    config = _head_config(task, recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return build_head(config, inputs.embed_dim, inputs.layers)


def start_from(
    model: Head, task: Task, reads: HeadInput, start: str, made_with: Mapping[str, Origin]
) -> tuple[Source, ...]:
    """Give a head the weights of a trained one of its shape, in place.

    A head that finds objects by their centres also starts from a head for segmentation.

    Returns:
        What the trained one was trained on.

    Raises:
        BundleError: the head there reads something else, knows other classes, or has another shape.
    """
    of_task = SEGMENTATION if isinstance(model, CentreHead) else task.name
    try:
        trained, part = load_head(start, task.name)
    except BundleError:
        if of_task == task.name:
            raise
        trained, part = load_head(start, of_task)
    for kind, origin in made_with.items():
        part.check_made_with(kind, origin)
    if trained.reads != reads:
        raise BundleError(f"{start} reads {trained.reads.kind}, this run {reads.kind}")
    names = getattr(trained.task, "class_names", None)
    if names != getattr(task, "class_names", None):
        raise BundleError(f"{start} knows other classes than the labels at hand")
    if isinstance(model, CentreHead) and isinstance(trained.head, DPTHead):
        model.start_from(trained.head)
    else:
        load_strict(model, trained.head.state_dict(), f"head {start}")
    return tuple(part.trained_on)


def _head_config(task: Task, recipe: HeadRecipe) -> AnyHeadConfig:
    if isinstance(task, InstancesTask):
        if recipe.kind == "centres":
            return CentreHeadConfig(
                outputs=task.outputs,
                things=task.things,
                channels=recipe.channels,
                width=recipe.width,
                batch_norm=recipe.batch_norm,
                queries=recipe.queries,
            )
        if recipe.kind != "dpt":
            raise UsageError(
                f"kind {recipe.kind} gives maps; task instances takes kind dpt, whose first stage "
                "it stands on (presets light, tiny, paper), or centres"
            )
        return InstanceHeadConfig(
            outputs=task.outputs,
            channels=recipe.channels,
            width=recipe.width,
            queries=recipe.queries,
            encoder_layers=recipe.encoder_layers,
            decoder_layers=recipe.decoder_layers,
            attention_heads=recipe.attention_heads,
            feedforward=recipe.feedforward,
        )
    if recipe.kind == "centres":
        raise UsageError(f"kind centres is for task instances, not {task.name}")
    return HeadConfig(
        outputs=task.outputs,
        kind=recipe.kind,
        channels=recipe.channels,
        width=recipe.width,
        batch_norm=recipe.batch_norm,
    )
