"""Names of a DINO-world predictor's tensors in its public reimplementation, and ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from dino_foresight_ros.errors import BundleError
from dino_foresight_ros.model.forecasters import WorldConfig

HEAD_WIDTH = 64
"""Values of an attention head where nothing else is said."""
ROPE = (20, 20, 20)
"""Of them, those that rotate by time, column and row."""

_QUERY = "q_embed.weight"
_TOP = {"predictor.norm": "norm", "predictor.head": "out"}
_BLOCK = {
    "norm1": "norm_query",
    "attention.q_proj": "attend.q",
    "attention.kv_proj": "attend.kv",
    "attention.out_proj": "attend.out",
    "norm2": "norm_mlp",
    "mlp.up_proj": "mlp.expand",
    "mlp.down_proj": "mlp.contract",
}
_SCALES = {"layer_scale1.lambda1": "scale_attend", "layer_scale2.lambda1": "scale_mlp"}
_BLOCK_NAME = re.compile(r"predictor\.blocks\.(\d+)\.(.+)")


def is_world(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file holds such a predictor."""
    return any(_BLOCK_NAME.fullmatch(name) for name in tensors)


def world_from_reference(
    tensors: Mapping[str, Tensor],
    heads: int | None = None,
    rope: tuple[int, int, int] = ROPE,
) -> tuple[WorldConfig, dict[str, Tensor]]:
    """The predictor's shape, and its tensors by our names.

    Args:
        tensors: all tensors of a file.
        heads: of attention; of 64 values each when None.
        rope: values of a head that rotate by time, column and row.

    Raises:
        BundleError: a tensor that is unknown or missing, or sizes that do not fit one another.
    """
    ours = {}
    for name, tensor in tensors.items():
        if name == _QUERY:
            ours["query"] = tensor.reshape(-1)
        else:
            ours[_our_name(name)] = tensor
    layers = 1 + max((int(n.split(".")[1]) for n in ours if n.startswith("blocks.")), default=-1)
    for name in ("out.weight", "blocks.0.mlp.expand.weight"):
        if name not in ours or ours[name].ndim != 2:
            raise BundleError(f"the world predictor lacks the tensor {name}, or it is no matrix")
    channels, width = ours["out.weight"].shape
    if heads is None:
        if width % HEAD_WIDTH:
            raise BundleError(
                f"the world predictor's width {width} does not split into heads of {HEAD_WIDTH}; "
                "give --predictor-heads"
            )
        heads = width // HEAD_WIDTH
    config = WorldConfig(
        channels=channels,
        width=width,
        layers=layers,
        heads=heads,
        rope=rope,
        mlp_ratio=ours["blocks.0.mlp.expand.weight"].shape[0] / width,
        query="learned" if "query" in ours else "noise",
    )
    return config, ours


def _our_name(theirs: str) -> str:
    for prefix, ours in _TOP.items():
        if theirs.rpartition(".")[0] == prefix:
            return f"{ours}.{theirs.rpartition('.')[2]}"
    if match := _BLOCK_NAME.fullmatch(theirs):
        index, name = match.groups()
        if name in _SCALES:
            return f"blocks.{index}.{_SCALES[name]}"
        part, _, kind = name.rpartition(".")
        if part in _BLOCK:
            return f"blocks.{index}.{_BLOCK[part]}.{kind}"
    raise BundleError(f"tensor {theirs} is unknown to the world predictor")
