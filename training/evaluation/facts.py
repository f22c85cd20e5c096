"""What a report says about the bundle and the data."""

from __future__ import annotations

from collections.abc import Mapping

from dino_foresight_ros.model import Bundle, DepthTask, SegmentationTask
from dino_foresight_ros.training.data import LABEL_KINDS, Recording
from dino_foresight_ros.training.evaluation.results import BundleFacts, DataFacts


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
        forecaster_trained=_has_trained_forecaster(bundle),
    )


def _has_trained_forecaster(bundle: Bundle) -> bool:
    """Whether no weights but the encoder's can be random; False where nothing tells.

    What is put together from trained parts says where each comes from.
    """
    if bundle.trained:
        return True
    match bundle.info:
        case {"provenance": {"forecaster": {"recipe": dict(recipe)}}}:
            return bool(recipe.get("trained", True))
    return False


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
