"""What the forecast node's topics need to know of its model."""

from __future__ import annotations

from dataclasses import dataclass

from dino_foresight_ros.outputs import DEPTH


@dataclass(frozen=True)
class ModelInfo:
    """What the topics need to know of the model.

    Attributes:
        name: name of the bundle.
        outputs: what it can predict and the node may publish (names of `Scene` fields).
        class_names, palette: of the segmentation head; empty without one.
        depth_is_metric: whether depth is metres.
        depth_focal: as `DepthTask.focal`; None where depth needs no focal length.
        image_size: (height, width) that the encoder works at.
        only_predicted: outputs that the seen frame, step 0, does not have.
        samples: how many futures it draws.
        sample_outputs: what may be published of each of several.
    """

    name: str
    outputs: frozenset[str]
    class_names: tuple[str, ...] = ()
    palette: tuple[tuple[int, int, int], ...] = ()
    depth_is_metric: bool = False
    depth_focal: float | None = None
    image_size: tuple[int, int] = (0, 0)
    only_predicted: frozenset[str] = frozenset()
    samples: int = 1
    sample_outputs: frozenset[str] = frozenset()

    def describe_outputs(self) -> str:
        """The outputs as their topics are named; says so where depth is not metres."""
        relative = "depth_relative (no metres)"
        names = [
            relative if name == DEPTH and not self.depth_is_metric else name
            for name in sorted(self.outputs)
        ]
        return ", ".join(names) or "none"
