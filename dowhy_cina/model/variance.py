"""Variances of estimates as functions of what speaks of their errors, with coefficients that a calibration fits.

Letters: B tables, n rows, K parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

#: Squares that speak of smoothing bias, see :func:`dowhy_cina.estimating.variance.bias_parts`.
BIAS_PARTS = ("regression", "balance", "correction", "withheld", "clipped", "members", "adjustment")
#: Rows of the smaller arm at which the weights apply as they are.
REFERENCE_ROWS = 150.0
#: Rows beyond which the weights grow no further: no calibration sample has a larger smaller arm.
LARGEST_ARM = 1500.0
#: Weights of the parts, and powers of the rows and of the columns, before a calibration.
START_WEIGHTS = (0.04, 0.4, 0.4, 3.0, 1.0, 1.0, 0.03)
START_GROWTH = (-1.0, -0.1, 0.2, 0.7, 0.0, 0.0, -1.0)
START_COLUMNS = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
#: Columns at which the weights apply as they are, and bounds between which they change.
REFERENCE_COLUMNS, COLUMN_BOUNDS = 10.0, (2.0, 60.0)


class VarianceHead(nn.Module):
    """``variance = s * sampling + sum_k c_k (n / 150)^g_k (D / 10)^d_k part_k``: n rows of the smaller arm, D columns.

    A bias that is not learned does not shrink with the rows, while its signs do: hence the growth ``g``. The more
    columns there are, the less of what drives treatment and outcome can be learned: hence the powers ``d``. No weight
    changes beyond the rows and columns that a calibration has seen. The values are no part of a model's training: they
    are fitted after it, see :mod:`dowhy_cina.training.calibration`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_sampling = nn.Parameter(torch.zeros(()), requires_grad=False)
        # Logarithms by torch, on a device without storage, would import its compiler: a second, and 800 modules.
        weights = torch.tensor([math.log(weight) for weight in START_WEIGHTS])
        self.log_weights = nn.Parameter(weights, requires_grad=False)
        self.growth = nn.Parameter(torch.tensor(START_GROWTH), requires_grad=False)
        self.columns = nn.Parameter(torch.tensor(START_COLUMNS), requires_grad=False)

    def forward(
        self,
        sampling: Float[Tensor, " B"],
        bias: Float[Tensor, "B K"],
        smaller_arm: Float[Tensor, " B"],
        columns: Float[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        """Variance of the estimates: that of sampling, the parts of the bias, the rows of the smaller arm, columns."""
        size = torch.log(smaller_arm.clamp_max(LARGEST_ARM) / REFERENCE_ROWS)[:, None]
        width = torch.log(columns.clamp(*COLUMN_BOUNDS) / REFERENCE_COLUMNS)[:, None]
        weights = (self.log_weights + self.growth * size + self.columns * width).exp()
        total: Tensor = self.log_sampling.exp() * sampling + (weights * bias).sum(1)
        return total


@dataclass(frozen=True)
class RowError:
    """What one arm's regression says of its error at rows.

    Attributes
    ----------
    posterior : Tensor, shape (B, n)
        Variance of the regression function under the ridge's Gaussian process.
    seen : Tensor, shape (B, n)
        Share of it that is left where the landmarks span the kernel: the rest is what they cannot represent.
    evidence : Tensor, shape (B,)
        Share of the process's variance that the outcomes speak for; the rest is a prior's.
    departure : Tensor, shape (B, n)
        Squared difference of the prediction from the arm's mean, in units of the variance of the arm's fitted values
        and the seen part of the posterior variance together.
    moved : Tensor, shape (B, n)
        Squared distance by which the prediction was moved, towards the arm's mean and into its range, in posterior
        variances.
    """

    posterior: Float[Tensor, "B n"]
    seen: Float[Tensor, "B n"]
    evidence: Float[Tensor, " B"]
    departure: Float[Tensor, "B n"]
    moved: Float[Tensor, "B n"]


class ConditionalHead(nn.Module):
    """Variance of an arm's predicted mean outcome: the posterior one times a product of powers.

    ``posterior * exp(c_0) * evidence^c_1 * seen^c_2 * (1 + departure)^c_3 * (1 + moved)^c_4``. Without a calibration
    the coefficients are zero: the posterior variance of the Gaussian process as it is. They are the same for both arms,
    and like those of :class:`VarianceHead` they are fitted after a model's training, see
    :mod:`dowhy_cina.learning.training.conditional`.
    """

    #: Coefficients, in the order of the formula.
    TERMS: ClassVar[tuple[str, ...]] = ("level", "evidence", "seen", "departure", "moved")

    def __init__(self) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(torch.zeros(len(self.TERMS)), requires_grad=False)

    def forward(self, arms: tuple[RowError, RowError]) -> Float[Tensor, "B n"]:
        """Variance of the difference of both arms' predictions."""
        return self._of_arm(arms[0]) + self._of_arm(arms[1])

    def _of_arm(self, arm: RowError) -> Float[Tensor, "B n"]:
        level, evidence, seen, departure, moved = self.coefficients
        log = level + evidence * arm.evidence.log()[:, None] + seen * arm.seen.log()
        log = log + departure * arm.departure.log1p() + moved * arm.moved.log1p()
        variance: Tensor = arm.posterior * log.exp()
        return variance
