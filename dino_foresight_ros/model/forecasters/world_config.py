"""Shape of a world forecaster, as bundle.yaml states it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.config import from_plain, to_plain
from dino_foresight_ros.model.forecasters.motion_conditioning import MOTION_VALUES, MOTIONS
from dino_foresight_ros.model.forecasters.noise_conditioning import BLOCKS, FUTURES, NOISE_VALUES
from dino_foresight_ros.outputs import MAX_CONTEXT_FRAMES

QUERIES = ("learned", "noise")
PREDICTIONS = ("features", "residual")


@dataclass(frozen=True)
class WorldConfig:
    """Shape of a world forecaster.

    Attributes:
        channels: C, values per patch in and out.
        width: hidden size D.
        layers: number of blocks.
        heads: attention heads; divides `width`.
        rope: values of a head that rotate by time, column and row; even, together at most
            width / heads.
        context_frames: N_c, how many frames it forecasts from unless told otherwise, 1 to 16.
        max_context_age_s: how much older than the newest frame a context frame may be.
        context_spacing_s: least distance of the context frames that are chosen of a camera's; a
            fast camera's newest frames show hardly any motion. 0 takes them as they come.
        mlp_ratio: feed-forward width over `width`.
        query: what stands at every patch of an asked instant: one "learned" vector (DINO-world),
            or one vector of "noise" for each sample (DeltaWorld, arXiv 2604.04913).
        futures: how a learned query draws several: "none", or by noise in "blocks" after each
            block (`noise_conditioning`), beside the future that is expected.
        query_newest: whether a linear projection of the newest frame's features at that patch is
            added to it. A short training learns nothing without.
        noise_std: standard deviation of noise queries.
        predict: what the output layer gives: the "features" themselves (the paper's), or the
            "residual", their change since the newest context frame.
        feed_back_beyond_s: farther horizons are asked of predictions that are so many seconds
            apart and taken as context; every horizon is asked directly when None.
        hindcast: whether changes are predicted as far as those came true that were predicted of the
            context's own newest frame (`hindcast.believed_share`).
        motion: how the motion of the camera's base until the asked instant is taken: "none", by
            "blocks" after each block (DINO-world's actions), or by "film", one scale and shift
            for all patches.
        motion_scale: m forward, m to the left and rad to the left that are about as much as the
            training data moves until an asked instant; the network sees them as 1.
        motion_speeds: the fastest that the training data moves, m/s along, m/s across, rad/s;
            None where it is not known.
    """

    channels: int
    width: int = 768
    layers: int = 12
    heads: int = 12
    rope: tuple[int, int, int] = (20, 20, 20)
    context_frames: int = 4
    max_context_age_s: float = 4.0
    context_spacing_s: float = 0.0
    mlp_ratio: float = 4.0
    query: str = "learned"
    futures: str = "none"
    query_newest: bool = False
    noise_std: float = 0.02
    predict: str = "features"
    feed_back_beyond_s: float | None = None
    hindcast: bool = False
    motion: str = "none"
    motion_scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    motion_speeds: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rope", tuple(int(n) for n in self.rope))
        object.__setattr__(self, "motion_scale", tuple(float(x) for x in self.motion_scale))
        if self.motion_speeds is not None:
            object.__setattr__(self, "motion_speeds", tuple(float(x) for x in self.motion_speeds))
        for name in ("channels", "width", "layers", "heads", "context_frames"):
            if getattr(self, name) < 1:
                raise BundleError(f"forecaster {name} is {getattr(self, name)}; it must be >= 1")
        if self.context_frames > MAX_CONTEXT_FRAMES:
            raise BundleError(
                f"forecaster context_frames is {self.context_frames}; it must be 1 to "
                f"{MAX_CONTEXT_FRAMES}"
            )
        if self.width % self.heads:
            raise BundleError(
                f"forecaster width {self.width} does not split into {self.heads} heads"
            )
        if len(self.rope) != 3 or any(n < 0 or n % 2 for n in self.rope):
            raise BundleError(
                f"forecaster rope {list(self.rope)} must be three even numbers: values of a head "
                "that rotate by time, column and row"
            )
        if sum(self.rope) > self.head_width:
            raise BundleError(
                f"forecaster rope {list(self.rope)} rotates {sum(self.rope)} values of a head, "
                f"which has {self.head_width}"
            )
        for name, valid in (
            ("query", QUERIES),
            ("futures", FUTURES),
            ("predict", PREDICTIONS),
            ("motion", MOTIONS),
        ):
            if getattr(self, name) not in valid:
                raise BundleError(
                    f"forecaster {name} '{getattr(self, name)}' is unknown; valid: "
                    + ", ".join(valid)
                )
        if self.query == "noise" and self.futures == BLOCKS:
            raise BundleError(
                "forecaster futures 'blocks' needs query 'learned'; noise queries draw already"
            )
        if not 0 <= self.context_spacing_s < math.inf:
            raise BundleError(
                f"forecaster context_spacing_s is {self.context_spacing_s}; it must be 0 or more"
            )
        for name in ("motion_scale", "motion_speeds"):
            values = getattr(self, name)
            if values is not None and not (
                len(values) == MOTION_VALUES and all(0 < value < math.inf for value in values)
            ):
                raise BundleError(
                    f"forecaster {name} {list(values)} must be {MOTION_VALUES} positive numbers"
                )
        for name in ("max_context_age_s", "noise_std", "feed_back_beyond_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise BundleError(f"forecaster {name} is {value}; it must be positive")

    @property
    def head_width(self) -> int:
        """Values of a head."""
        return self.width // self.heads

    @property
    def noise_values(self) -> int:
        """Numbers of a future's noise; 0 for a forecaster that draws none."""
        if self.query == "noise":
            return self.width
        return NOISE_VALUES if self.futures == BLOCKS else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for YAML."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> WorldConfig:
        """Build from YAML values.

        Raises:
            BundleError: an unknown or missing key, or a value out of range.
        """
        return from_plain(cls, values, "forecaster")
