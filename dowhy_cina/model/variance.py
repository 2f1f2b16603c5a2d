"""The variance head: how much of what smoothing may have left counts as variance; fitted on simulated tables.

Letters: B tables, K parts.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

#: Squares that speak of smoothing bias, see :func:`dowhy_cina.estimating.variance.bias_parts`.
BIAS_PARTS = ("regression", "balance", "correction", "withheld", "clipped")
#: Rows of the smaller arm at which the weights apply as they are.
REFERENCE_ROWS = 150.0
#: Rows beyond which the weights grow no further: no calibration sample has a larger smaller arm.
LARGEST_ARM = 1500.0
#: Weights and growth of the parts before a calibration: those of a calibrated model, rounded.
START_WEIGHTS, START_GROWTH = (0.2, 0.4, 0.4, 3.0, 1.0), (-0.4, 0.2, 0.2, 0.7, 0.0)


class VarianceHead(nn.Module):
    """``variance = s * sampling + sum_k c_k (n / 150)^g_k part_k`` with n the rows of the smaller arm.

    A bias that is not learned does not shrink with the rows, while its signs do: hence the growth ``g``. The values are
    no part of a model's training: they are fitted after it, see :mod:`dowhy_cina.training.calibration`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_sampling = nn.Parameter(torch.zeros(()), requires_grad=False)
        self.log_weights = nn.Parameter(torch.tensor(START_WEIGHTS).log(), requires_grad=False)
        self.growth = nn.Parameter(torch.tensor(START_GROWTH), requires_grad=False)

    def forward(
        self, sampling: Float[Tensor, " B"], bias: Float[Tensor, "B K"], smaller_arm: Float[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Variance of the estimates, from that of sampling, the parts of the bias, and the rows of the smaller arm."""
        size = torch.log(smaller_arm.clamp_max(LARGEST_ARM) / REFERENCE_ROWS)[:, None]
        weights = torch.exp(self.log_weights + self.growth * size)
        total: Tensor = self.log_sampling.exp() * sampling + (weights * bias).sum(1)
        return total
