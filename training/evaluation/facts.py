"""What a report says about the bundle and the data, and whether the data may be used so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dino_foresight_ros.errors import InputError
from dino_foresight_ros.model import Bundle, DepthTask, SegmentationTask
from dino_foresight_ros.training.data import LABEL_KINDS, PartOfRecording, Recording
from dino_foresight_ros.training.evaluation.results import BundleFacts, DataFacts


def check_disjoint(fit: Sequence[Recording], scored: Sequence[Recording]) -> None:
    """Make sure that no frame is both fitted on and scored.

    Raises:
        InputError: names the recordings that share frames.
    """
    frames: dict[str, set[int]] = {}
    for recording in fit:
        frames.setdefault(_source(recording).fingerprint, set()).update(_indices(recording))
    for recording in scored:
        shared = frames.get(_source(recording).fingerprint, set()) & set(_indices(recording))
        if shared:
            raise InputError(
                f"{recording.name}: {len(shared)} of its frames would be fitted on and scored; "
                "keep them apart, such as with part=0-0.3 and part=0.3-1"
            )


def _source(recording: Recording) -> Recording:
    return recording.whole if isinstance(recording, PartOfRecording) else recording


def _indices(recording: Recording) -> range | list[int]:
    if isinstance(recording, PartOfRecording):
        return [int(index) for index in recording.indices]
    return range(len(recording))


def bundle_facts(bundle: Bundle) -> BundleFacts:
    """What the report says about a bundle."""
    segmentation, depth = bundle.tasks.get("segmentation"), bundle.tasks.get("depth")
    is_segmentation = isinstance(segmentation, SegmentationTask)
    return BundleFacts(
        name=bundle.name,
        trained=bundle.trained,
        encoder=bundle.encoder.config.model,
        layers=bundle.encoder.config.layers,
        image_size=bundle.image_size,
        grid=bundle.grid,
        channels=bundle.pca.channels,
        context_frames=bundle.context_frames,
        frame_interval_s=bundle.frame_interval_s,
        heads=tuple(bundle.heads),
        class_names=segmentation.class_names if is_segmentation else (),  # type: ignore[union-attr]
        palette=segmentation.palette if is_segmentation else (),  # type: ignore[union-attr]
        depth_is_metric=depth.is_metric if isinstance(depth, DepthTask) else True,
    )


def data_facts(recording: Recording) -> DataFacts:
    """What the report says about a recording."""
    labels: Mapping[str, int] = {
        kind: int(recording.labelled(kind).size)
        for kind in LABEL_KINDS
        if recording.labelled(kind).size
    }
    return DataFacts(
        recording.name, len(recording), recording.duration_s, recording.fingerprint, labels
    )
