"""Pseudo-labels: what a bundle's heads see in the pictures of a recording, as its labels."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from dino_foresight_ros.errors import BundleError, UsageError
from dino_foresight_ros.model.bundle import Bundle
from dino_foresight_ros.model.tasks import DepthTask, SegmentationTask
from dino_foresight_ros.outputs import SEGMENTATION
from dino_foresight_ros.recordings import Frame, LabelSpace, Recording

from .head_tasks import TRAINING
from .parts import Origin, fingerprint


class Teacher:
    """The heads of a bundle that can label a picture by itself.

    The forecaster plays no part: heads read the picture's own features, through the PCA and back,
    as they do of the newest frame (step 0).

    Attributes:
        origin: name and fingerprint of the bundle's encoder, PCA and heads.
        tasks: heads whose labels can be taught.
        left_out: task -> why its labels cannot.
        label_space: the segmentation's classes; None without one.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Take the bundle's heads.

        Raises:
            UsageError: its weights are random.
            BundleError: it has no head that labels pictures.
        """
        if not bundle.trained:
            raise UsageError(
                f"bundle {bundle.name} is untrained: labels by its heads mean nothing; "
                "give a trained one, such as tiny"
            )
        self.left_out: dict[str, str] = {}
        for name, task in bundle.tasks.items():
            reads = bundle.inputs.get(name)
            if reads is not None and reads.layers:
                self.left_out[name] = "its head reads the forecaster's layers"
            elif isinstance(task, DepthTask) and not task.is_metric:
                self.left_out[name] = "its depth is not in metres"
            elif name not in TRAINING:
                self.left_out[name] = "no training is known for it"
        self.tasks = tuple(name for name in bundle.tasks if name not in self.left_out)
        if not self.tasks:
            why = "; ".join(f"{name}: {text}" for name, text in self.left_out.items())
            raise BundleError(
                f"bundle {bundle.name} has no head that labels pictures ({why or 'no heads'})"
            )
        segmentation: Any = bundle.tasks.get(SEGMENTATION)
        self.label_space: LabelSpace | None = None
        if SEGMENTATION in self.tasks and isinstance(segmentation, SegmentationTask):
            self.label_space = LabelSpace(
                segmentation.class_names, segmentation.palette, segmentation.moving
            )
        self._bundle = bundle
        modules: dict[str, torch.nn.Module] = {"encoder": bundle.encoder, "pca": bundle.pca}
        modules |= {f"head_{name}": bundle.heads[name] for name in self.tasks}
        tensors = {
            f"{part}.{name}": tensor
            for part, module in modules.items()
            for name, tensor in module.state_dict().items()
        }
        config = {"tasks": list(self.tasks), "image_size": list(bundle.image_size)}
        self.origin = Origin(bundle.name, fingerprint(config, tensors))

    def labels(self, focal: float | None) -> frozenset[str]:
        """The kinds of label that it gives of a camera with this focal length, as
        `CameraView.focal` has it; depth may need to know it."""
        return frozenset(
            TRAINING[name].label
            for name in self.tasks
            if not self._needs_focal(name) or focal is not None
        )

    def identity(self, focal: float | None) -> str:
        """What its labels of a camera with this focal length depend on."""
        if any(map(self._needs_focal, self.tasks)):
            return f"{self.origin.fingerprint} {focal}"
        return self.origin.fingerprint

    def _needs_focal(self, name: str) -> bool:
        task = self._bundle.tasks[name]
        return isinstance(task, DepthTask) and task.focal is not None

    @torch.inference_mode()
    def label(
        self,
        image: np.ndarray,
        kinds: Collection[str],
        size: tuple[int, int],
        focal: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Label a picture.

        Args:
            image: (H, W, 3) uint8 RGB.
            kinds: of label that are wanted.
            size: (height, width) of the labels.
            focal: of the camera, as `CameraView.focal` has it; None where it is not known.

        Returns:
            kind -> (height, width) uint8 class ids, float32 metres, or (height, width, 3) float32
            normals in the optical frame.
        """
        bundle = self._bundle
        pixels = bundle.encoder.preprocess(np.ascontiguousarray(image)[None])
        features = bundle.pca.inverse(bundle.pca.transform(bundle.encoder(pixels)))
        found: dict[str, np.ndarray] = {}
        for name in self.tasks:
            kind = TRAINING[name].label
            if kind in kinds:
                task = bundle.tasks[name]
                labels = task.decode(bundle.heads[name](features), size)[kind][0]
                if isinstance(task, DepthTask):
                    labels = labels * task.scale(focal)
                found[kind] = labels.cpu().numpy()
        return found


def load_teacher(bundle: str, device: str = "auto") -> Teacher:
    """Load the bundle whose heads make labels.

    Args:
        bundle: as `Bundle.load` takes it.
        device: where it runs; "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        UsageError, BundleError: as `Teacher`; there is no such bundle.
    """
    return Teacher(Bundle.load(bundle, device))


class PseudoLabelled(Recording):
    """A recording with a teacher's labels on every picture, in place of its own."""

    def __init__(self, whole: Recording, teacher: Teacher, size: tuple[int, int]) -> None:
        """Wrap a recording.

        Args:
            whole: whose pictures are labelled.
            teacher: makes the labels.
            size: (height, width) of the labels.
        """
        every = np.arange(len(whole))
        super().__init__(
            whole.name,
            whole.stamps_ns,
            whole.size,
            label_space=teacher.label_space,
            labelled=dict.fromkeys(teacher.labels(whole.focal), every),
        )
        self.times, self.camera = whole.times, whole.camera
        self.labelled_by = str(teacher.origin)
        self._whole, self._teacher, self._size = whole, teacher, size

    def _read(self, index: int, labels: Collection[str]) -> Frame:
        frame = self._whole.read([index])[0]
        found: dict[str, Any] = self._teacher.label(
            frame.image, labels, self._size, self._whole.focal
        )
        return replace(frame, index=index, **found)

    def _fingerprint_parts(self) -> Iterable[str]:
        yield self._whole.fingerprint
        yield self._teacher.identity(self._whole.focal)
        yield str(self._size)

    def frame_file(self, index: int) -> str:
        """Return the file of a frame, as it is named in messages."""
        return self._whole.frame_file(index)
