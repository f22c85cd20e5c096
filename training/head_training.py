"""A head's training on frozen features: its data, its loss, and the part that comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional

from dino_foresight_ros.model.heads import Head
from dino_foresight_ros.model.tasks import DepthTask, InstancesTask, SegmentationTask, Task
from dino_foresight_ros.progress import Progress
from dino_foresight_ros.recordings import BadFiles, Recording
from dino_foresight_ros.spread import spread

from .checkpoint import RunState
from .data import (
    ClipAugmentation,
    ClipDataset,
    ImageDataset,
    common_label_space,
)
from .fabric_import import Fabric
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
    training_of,
)
from .head_validation import HeadValidation
from .loop import run_training
from .model_parts import TrainedHead, write_head
from .objective import Batch, Evaluation, Loss, Objective, RunResult
from .parts import Origin
from .recipes import HeadRecipe
from .sampling import Epochs
from .sources import Source, sources_of

_WEIGHED = 500
"""Pictures whose labels tell how often classes occur."""


@dataclass(frozen=True)
class HeadData:
    """What a head learns from.

    Attributes:
        train, validation: recordings.
        interval_s: seconds between the frames of a clip, where features are forecast.
        made_with: kind -> origin of the parts behind the features.
        earlier: what the head that this one starts from was trained on.
    """

    train: Sequence[Recording]
    validation: Sequence[Recording]
    interval_s: float | None = None
    made_with: Mapping[str, Origin] = field(default_factory=dict)
    earlier: tuple[Source, ...] = ()


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
            compact = self.inputs.compact(batch["images"], motion=batch.get("motion"))
        return self.loss(self.model(self.inputs.expand(compact)), batch["label"])


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
            names = self.task_training.task.class_names
            self.task_training.class_weights = self._class_weights(names)
        if isinstance(self.task_training, InstancesTraining):
            self.task_training.points = recipe.points
            self.task_training.least_pixels = recipe.least_pixels
        if isinstance(self.task_training, DepthTraining):
            self.task_training.levels = labels_are_levels([*data.train, *data.validation])
            self.task_training.complete = labels_are_complete(data.train)
            self.task_training.class_weights = self._weights_of_depth()
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
        kinds = (of_task.label, *of_task.beside_of(self.recipe))
        dataset: ImageDataset | ClipDataset
        if self.inputs.forecaster is None:
            dataset = ImageDataset(recordings, kinds, size, augmentation, seed, bad=self._bad)
        else:
            assert self.data.interval_s is not None
            dataset = ClipDataset(
                recordings,
                (self.data.interval_s,),
                self.inputs.forecaster.context_frames,
                max(self.inputs.steps),
                size,
                augmentation,
                seed,
                labels=kinds,
                bad=self._bad,
                on_warning=self.say,
            )
            dataset.gives_motion = self.inputs.forecaster.takes_motion
        classes = None
        if isinstance(self.task, SegmentationTask | InstancesTask):
            classes = len(self.task.class_names)
        focal = self.task.focal if isinstance(self.task, DepthTask) else None
        return LabelledImages(dataset, of_task.label, classes, label_size, of_task.together, focal)

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

    def _weights_of_depth(self) -> Tensor | None:
        """(256,) by class id; pixels without a class count as those of a usual one."""
        if self.recipe.class_weights == "none":
            return None
        space = common_label_space(self.data.train)
        assert space is not None  # the labels that were found have one
        found = self._class_weights(space.class_names)
        assert found is not None
        return functional.pad(found, (0, 256 - len(found)), value=1.0)

    def _class_weights(self, class_names: Sequence[str]) -> Tensor | None:
        """(K,) of the recipe's kind; None for equal ones."""
        if self.recipe.class_weights == "none":
            return None
        chosen = spread(len(self.images), _WEIGHED)
        counts = count_classes(self.images, chosen, self.recipe.workers)[: len(class_names)]
        never = [n for n, c in zip(class_names, counts.tolist(), strict=True) if not c]
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

        trained_on = sources_of(self.data.train, self.data.earlier)

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
        return f"{kind}, {', '.join(map(str, self.inputs.steps))} step(s) ahead"

    def score_on_true_features(self, model: Head) -> Evaluation | None:
        """Scores on the labelled frame's own features, for a head trained on forecasts of them."""
        if self.inputs.forecaster is None or self.inputs.reads.layers:
            return None
        dataset = self._kept(self.held_out, self.held_out_indices, "true features", oracle=True)
        return self._validate_on(dataset, oracle=True)(model.eval().to(self.fabric.device))
