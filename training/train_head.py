"""Train a head on frozen features, by a recipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from dino_foresight_ros.errors import BundleError, UsageError
from dino_foresight_ros.model.centre_head import CentreHead, CentreHeadConfig
from dino_foresight_ros.model.dpt import DPTHead, HeadConfig
from dino_foresight_ros.model.heads import AnyHeadConfig, Head, HeadInput, build_head
from dino_foresight_ros.model.instance_head import InstanceHeadConfig
from dino_foresight_ros.model.pca import PCA, IdentityPCA
from dino_foresight_ros.model.tasks import InstancesTask, SegmentationTask, Task
from dino_foresight_ros.model.weights import load_strict
from dino_foresight_ros.outputs import MAX_STEPS, SEGMENTATION
from dino_foresight_ros.progress import Progress
from dino_foresight_ros.recordings import BadFiles, Recording, open_recordings
from dino_foresight_ros.spread import spread

from .checkpoint import RunState
from .data import (
    ClipAugmentation,
    ClipDataset,
    ImageDataset,
    check_disjoint,
    split_recordings,
)
from .encoder_loading import encoder_origin, load_encoder, open_encoder
from .head_inputs import HeadInputs
from .head_losses import class_weights
from .head_samples import (
    KeptFeatures,
    LabelledImages,
    count_classes,
    keep_features,
    kept_bytes,
    output_size,
)
from .head_tasks import (
    DepthTraining,
    InstancesTraining,
    SegmentationTraining,
    labels_are_complete,
    labels_are_levels,
    training_class,
    training_of,
)
from .head_validation import HeadValidation
from .loop import run_training
from .model_parts import TrainedHead, load_forecaster, load_head, load_pca, write_head
from .objective import Batch, Evaluation, Loss, Objective, RunResult
from .parts import Origin
from .pca_fit import pca_origin
from .processes import agree, joined
from .recipes import VALIDATION_SHARE, HeadRecipe
from .run_folder import RunPlan, plan_run, write_config
from .sampling import Epochs
from .sources import sources_of

_WEIGHED = 500
"""Pictures whose labels tell how often classes occur."""


@dataclass(frozen=True)
class HeadData:
    """What a head learns from.

    Attributes:
        train, validation: recordings.
        interval_s: seconds between the frames of a clip, where features are forecast.
        made_with: kind -> origin of the parts behind the features.
    """

    train: Sequence[Recording]
    validation: Sequence[Recording]
    interval_s: float | None = None
    made_with: Mapping[str, Origin] = field(default_factory=dict)


class HeadObjective(Objective):
    """A head's loss on the labelled pixels."""

    def __init__(
        self, model: Head, inputs: HeadInputs, loss: Callable[[Tensor, Tensor], Loss]
    ) -> None:
        super().__init__()
        self.model, self.inputs, self.loss = model, inputs, loss

    def forward(self, batch: Batch) -> Loss:
        """Loss of a batch of pictures, or of kept features."""
        compact = batch.get("compact")
        if compact is None:
            compact = self.inputs.compact(batch["images"])
        return self.loss(self.model(self.inputs.expand(compact)), batch["label"])


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
) -> None:
    """Give a head the weights of a trained one of its shape, in place.

    A head that finds objects by their centres also starts from a head for segmentation.

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


class HeadTraining:
    """Everything that a run needs, prepared."""

    def __init__(
        self,
        inputs: HeadInputs,
        data: HeadData,
        task: Task,
        recipe: HeadRecipe,
        fabric: Fabric,
        say: Callable[[str], None] = lambda text: None,
        bad: BadFiles | None = None,
    ) -> None:
        """Find the labelled pictures; where none is ever changed, encode them now.

        Raises:
            InputError: no labelled picture, class ids outside the list, or no clip.
        """
        self.inputs = inputs.to(fabric.device)
        self.data, self.task, self.recipe, self.say = data, task, recipe, say
        self.task_training = training_of(task)
        self.fabric = fabric
        self._bad = BadFiles(sum(map(len, data.train)), on_warning=say) if bad is None else bad
        thinned = output_size(inputs) if recipe.loss_size == "output" else None
        augmentation = ClipAugmentation(
            crop_scale=(recipe.crop_scale, 1.0), horizontal_flip=recipe.horizontal_flip
        )
        self.images = self._open(data.train, augmentation, thinned)
        held_out = self._open(data.validation, ClipAugmentation(), None)
        self.held_out = held_out
        self.held_out_indices = spread(len(held_out), recipe.validation_images)
        say(self._counts())
        if isinstance(self.task_training, SegmentationTraining):
            self.task_training.class_weights = self._class_weights(self.task_training.task)
        if isinstance(self.task_training, InstancesTraining):
            self.task_training.points = recipe.points
            self.task_training.least_pixels = recipe.least_pixels
        if isinstance(self.task_training, DepthTraining):
            self.task_training.levels = labels_are_levels([*data.train, *data.validation])
            self.task_training.complete = labels_are_complete(data.train)
        self.samples = self._samples()
        self.validation = self._validation()

    def _open(
        self,
        recordings: Sequence[Recording],
        augmentation: ClipAugmentation,
        label_size: tuple[int, int] | None,
    ) -> LabelledImages:
        size = self.inputs.encoder.config.image_size
        of_task, seed = type(self.task_training), self.recipe.seed
        kinds = (of_task.label, *of_task.beside)
        dataset: ImageDataset | ClipDataset
        if self.inputs.forecaster is None:
            dataset = ImageDataset(recordings, kinds, size, augmentation, seed, bad=self._bad)
        else:
            assert self.data.interval_s is not None
            dataset = ClipDataset(
                recordings,
                (self.data.interval_s,),
                self.inputs.forecaster.context_frames,
                self.inputs.steps,
                size,
                augmentation,
                seed,
                labels=kinds,
                bad=self._bad,
                on_warning=self.say,
            )
        classes = None
        if isinstance(self.task, SegmentationTask | InstancesTask):
            classes = len(self.task.class_names)
        return LabelledImages(dataset, of_task.label, classes, label_size, of_task.together)

    def _counts(self) -> str:
        frames = sum(map(len, self.data.train))
        labelled = sum(len(r.labelled(self.task_training.label)) for r in self.data.train)
        what = "clips" if self.inputs.forecaster is not None else "pictures"
        missing = f"; {frames - labelled:,} without are left out" if labelled < frames else ""
        return (
            f"{self.task.name}: {len(self.images):,} {what} to train on ({labelled:,} of "
            f"{frames:,} frames have labels{missing}), {len(self.held_out_indices):,} held out"
            + (f"; {self.labels}" if self.labels else "")
        )

    @property
    def labels(self) -> str:
        """Who made the labels, in words; empty where they are the data's own."""
        makers = {r.labelled_by for r in self.data.train if r.labelled_by}
        return f"pseudo-labels by bundle {', '.join(sorted(makers))}" if makers else ""

    def _class_weights(self, task: SegmentationTask) -> Tensor | None:
        if self.recipe.class_weights == "none":
            return None
        chosen = spread(len(self.images), _WEIGHED)
        counts = count_classes(self.images, chosen, self.recipe.workers)
        never = [n for n, c in zip(task.class_names, counts.tolist(), strict=True) if not c]
        if never:
            self.say(f"never seen in {len(chosen)} pictures, weight 0: {', '.join(never)}")
        return class_weights(counts, self.recipe.class_weights)

    def _samples(self) -> LabelledImages | KeptFeatures:
        if self.recipe.is_augmented:
            return self.images
        return self._kept(self.images, range(len(self.images)), "encoding", oracle=False)

    def _validation(self) -> HeadValidation:
        dataset = self._kept(self.held_out, self.held_out_indices, "held out", oracle=False)
        return self._validate_on(dataset, oracle=False)

    def _validate_on(self, dataset: LabelledImages | KeptFeatures, oracle: bool) -> HeadValidation:
        is_kept = isinstance(dataset, KeptFeatures)
        indices = range(len(dataset)) if is_kept else self.held_out_indices
        device, workers = self.fabric.device, self.recipe.workers
        return HeadValidation(
            self.inputs, dataset, indices, self.task_training, device, workers, oracle
        )

    def _kept(
        self, images: LabelledImages, indices: Sequence[int], name: str, oracle: bool
    ) -> LabelledImages | KeptFeatures:
        """Features kept in memory where they fit, else the pictures themselves."""
        needed = kept_bytes(images, self.inputs, len(indices))
        if needed > self.recipe.cache_gb * 1e9:
            self.say(
                f"{name}: features of {len(indices):,} pictures take {needed / 1e9:.1f} GB, more "
                f"than cache_gb {self.recipe.cache_gb:g}: they are encoded again and again"
            )
            return images
        if not self.fabric.is_global_zero:
            return keep_features(
                images, self.inputs, indices, self.recipe.workers, self.fabric.device,
                oracle=oracle,
            )  # fmt: skip
        with Progress(name, "picture") as progress:
            return keep_features(
                images, self.inputs, indices, self.recipe.workers, self.fabric.device,
                progress.show, oracle,
            )  # fmt: skip

    def run(self, model: Head, folder: Path, name: str, resume: bool = False) -> RunResult:
        """Train; the best head becomes the part in the folder.

        Raises:
            ForesightError: as `run_training`.
        """
        recipe = self.recipe
        # Features in memory are there at once.
        workers = 0 if isinstance(self.samples, KeptFeatures) else recipe.workers
        trained = TrainedHead(model, self.task, self.inputs.reads)

        trained_on = sources_of(self.data.train)

        def publish(
            weights: Mapping[str, Tensor], state: RunState, evaluation: Evaluation | None
        ) -> None:
            scores: dict[str, Any] = {"step": state.step, "features": self.features}
            if self.labels:
                scores["labels"] = self.labels
            if evaluation is not None:
                scores |= {"validation": dict(evaluation.values)}
            write_head(
                folder,
                name,
                trained,
                self.inputs.embed_dim,
                self.inputs.layers,
                weights,
                made_with=self.data.made_with,
                recipe=recipe.to_dict(),
                seed=recipe.seed,
                scores=scores,
                frame_interval_s=self.data.interval_s,
                trained_on=trained_on,
            )

        return run_training(
            HeadObjective(model, self.inputs, self.task_training.loss),
            Epochs(self.samples, recipe.seed),
            replace(recipe, workers=workers),
            folder,
            self.fabric,
            evaluate=self.validation,
            publish=publish,
            resume=resume,
            name=f"{self.task.name} head",
        )

    @property
    def features(self) -> str:
        """What the head was trained on, in words."""
        if self.inputs.forecaster is None:
            return "reconstructed features of the picture itself"
        kind = "layers of the forecaster" if self.inputs.reads.layers else "forecast features"
        return f"{kind}, {self.inputs.steps} step(s) ahead"

    def score_on_true_features(self, model: Head) -> Evaluation | None:
        """Scores on the labelled frame's own features, for a head trained on forecasts of them."""
        if self.inputs.forecaster is None or self.inputs.reads.layers:
            return None
        dataset = self._kept(self.held_out, self.held_out_indices, "true features", oracle=True)
        return self._validate_on(dataset, oracle=True)(model.eval().to(self.fabric.device))


INPUTS: dict[str, Any] = {
    "task": None, "data": None, "validation": None, "validation_share": VALIDATION_SHARE,
    "encoder": None, "image_size": None, "layers": None, "dtype": "auto", "pca": None,
    "forecaster": None, "forecaster_layers": None, "steps_ahead": 1, "interval": None,
    "start": None,
}  # fmt: skip
"""What a run is made from -> default."""


def plan_head(
    folder: Path, inputs: Mapping[str, Any], flags: Mapping[str, Any], **choices: Any
) -> RunPlan[HeadRecipe]:
    """Put a run together; arguments as of `run_folder.plan_run`, with `INPUTS`.

    Raises:
        ForesightError: as there; inputs that do not belong together.
    """
    if not choices.get("resume"):
        missing = [name for name in ("task", "data", "encoder") if inputs.get(name) is None]
        if missing:
            raise UsageError(f"give --{missing[0]}, or --resume to go on with a run")
    task = inputs.get("task")
    plan = plan_run(HeadRecipe, folder, inputs, flags, defaults=INPUTS, variant=task, **choices)
    found = plan.inputs
    for name in ("forecaster_layers", "interval"):
        if found[name] is not None and found["forecaster"] is None:
            raise UsageError(f"--{name.replace('_', '-')} needs --forecaster")
    if found["steps_ahead"] != 1 and found["forecaster"] is None:
        raise UsageError("--steps-ahead needs --forecaster")
    if not 1 <= found["steps_ahead"] <= MAX_STEPS:
        raise UsageError(f"--steps-ahead is {found['steps_ahead']}; it must be 1 to {MAX_STEPS}")
    if found["interval"] is not None and not found["interval"] > 0:
        raise UsageError(f"--interval is {found['interval']}; it must be positive")
    return plan


def run_head(plan: RunPlan[HeadRecipe], device: str = "auto", name: str | None = None) -> None:
    """Do a whole run: open data and parts, train, and tell what came out.

    Args:
        plan: from `plan_head`.
        device: "auto", "cpu", "cuda" or "cuda:N".
        name: of the head; the folder's, or what the run that is gone on with calls it.

    Raises:
        ForesightError: as `run_training`; data or parts that do not fit.
    """
    recipe, folder = plan.recipe, plan.folder
    name = name or str((plan.saved or {}).get("name", folder.name))
    with joined(device, recipe.precision, recipe.strategy) as fabric:

        def say(text: str) -> None:
            if fabric.is_global_zero:
                print(text, file=sys.stderr, flush=True)

        inputs, data = agree(fabric, lambda: _open(plan, fabric.device, say))
        task = agree(fabric, lambda: make_task(plan.inputs["task"], data.train, recipe))
        model = agree(fabric, lambda: make_model(inputs, task, recipe))
        if (start := plan.inputs["start"]) is not None and not plan.resumes:
            agree(fabric, lambda: start_from(model, task, inputs.reads, start, data.made_with))
        training = agree(fabric, lambda: HeadTraining(inputs, data, task, recipe, fabric, say))
        resume = plan.resumes
        config = {
            "kind": "head", "name": name, "inputs": plan.inputs, "recipe": recipe.to_dict()
        }  # fmt: skip
        agree(fabric, lambda: write_config(folder, config) if fabric.is_global_zero else None)
        result = training.run(model, folder, name, resume)
        if fabric.is_global_zero:
            _report(folder, training, result)


def _open(
    plan: RunPlan[HeadRecipe], device: torch.device, say: Callable[[str], None]
) -> tuple[HeadInputs, HeadData]:
    """Open data and parts, and check that these were made with one another."""
    inputs = plan.inputs
    size, layers, reads_layers = (
        None if inputs[name] is None else tuple(inputs[name])
        for name in ("image_size", "layers", "forecaster_layers")
    )
    recordings = open_recordings(inputs["data"], say)
    forecaster, forecaster_part = None, None
    if inputs["forecaster"] is not None:
        forecaster, forecaster_part = load_forecaster(inputs["forecaster"])
        if (
            size is None and forecaster.grid is not None
        ):  # the one that gives the forecaster's patch grid
            patch = load_encoder(inputs["encoder"]).config.patch_size
            size = tuple(side * patch for side in forecaster.grid)
    encoder = open_encoder(inputs["encoder"], size, layers, device, inputs["dtype"])
    made_with = {"encoder": encoder_origin(encoder)}
    pca: PCA | IdentityPCA = IdentityPCA(encoder.feature_size)
    made_with["pca"] = pca_origin(pca, "")
    if inputs["pca"] is not None:
        pca, part = load_pca(inputs["pca"])
        part.check_made_with("encoder", made_with["encoder"])
        made_with["pca"] = part.origin
    interval_s = inputs["interval"]
    if forecaster_part is not None:
        for kind in ("encoder", "pca"):
            forecaster_part.check_made_with(kind, made_with[kind])
        made_with["forecaster"] = forecaster_part.origin
        interval_s = interval_s or forecaster_part.frame_interval_s
        if interval_s is None:
            raise UsageError(
                f"{inputs['forecaster']} does not state its frame interval; give --interval"
            )
    reads = HeadInput()
    if reads_layers is not None:
        reads = HeadInput("forecaster_layers", reads_layers)
    read = HeadInputs(encoder, pca, forecaster, reads, inputs["steps_ahead"])
    if inputs["validation"] is not None:
        train, held_out = recordings, open_recordings(inputs["validation"], say)
        check_disjoint(train, held_out, "trained on and validated on")
    else:
        gap_s = head_gap_s(read.steps, interval_s)
        share = inputs["validation_share"]
        train, held_out = split_recordings(recordings, share, plan.recipe.seed, gap_s)
    return read, HeadData(train, held_out, interval_s, made_with)


def head_gap_s(steps: int = 1, interval_s: float | None = None) -> float:
    """Seconds between what a head is trained on and what it is validated on: a clip and more."""
    return (steps + 4) * (interval_s or 0.4)


def _report(folder: Path, training: HeadTraining, result: RunResult) -> None:
    best = "no evaluation in this part of the run"
    if result.best is not None:
        best = f"best {result.best.summary} after step {result.best_step}"
    print(
        f"{folder}: {training.task.name} head, {result.steps} steps in "
        f"{result.elapsed_s / 60:.1f} min; on {training.features}: {best}"
    )
    true = training.score_on_true_features(load_head(folder)[0].head)
    if true is not None:
        print(f"the same head on the labelled picture's own features: {true.summary}")
