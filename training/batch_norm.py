"""Batch norm over the samples of all processes; PyTorch's own SyncBatchNorm needs a GPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SharedBatchNorm(nn.BatchNorm2d):
    """Normalises by the mean and variance of the processes' samples together while training."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        if not self.training:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            wide = x.float()
            ones = wide.new_full((1,), x.numel() / x.shape[1])
            sums = all_reduce(torch.cat([wide.sum((0, 2, 3)), ones]))
            count = sums[-1]
            mean = sums[:-1] / count
            centred = wide - mean[:, None, None]
            variance = all_reduce(centred.square().sum((0, 2, 3))) / count
            self._remember(mean.detach(), variance.detach() * count / (count - 1))
            scale = self.weight * torch.rsqrt(variance + self.eps)
            return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def share_batch_norms(model: nn.Module) -> None:
    """Let every batch norm of a model share its statistics; weights and their names stay."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm
