"""Closed-form kernel ridge regression in feature space: penalty by generalised cross-validation, leave-one-out errors.

Letters: B tables, N rows, M features. Row weights are 0/1 masks (one arm) or frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.kernels import LandmarkKernel

#: Candidate penalties of the generalised cross-validation, for kernels with a diagonal near one.
PENALTY_GRID: tuple[float, ...] = tuple(10 ** (k / 4) for k in range(-12, 17))
#: Factor of the degrees of freedom in the generalised cross-validation score; above one it guards against overfitting.
GCV_FACTOR = 1.4


@dataclass(frozen=True)
class GramStatistics:
    """Weighted sums over rows from which every ridge fit follows: all that a pass over the table has to leave behind.

    Attributes
    ----------
    count : Tensor, shape (B,)
        Sum of the row weights.
    mean_features : Tensor, shape (B, M)
    mean_response, total : Tensor, shape (B,)
        Mean of the response, and its sum of squares about that mean.
    gram, cross : Tensor, shape (B, M, M) and (B, M)
        Centred second moments of the features, and of the features with the response.
    """

    count: Float[Tensor, " B"]
    mean_features: Float[Tensor, "B M"]
    mean_response: Float[Tensor, " B"]
    gram: Float[Tensor, "B M M"]
    cross: Float[Tensor, "B M"]
    total: Float[Tensor, " B"]


def gram_statistics(
    kernel: LandmarkKernel,
    keys: Float[Tensor, "B N D"],
    response: Float[Tensor, "B N"],
    rows: Float[Tensor, "B N"],
) -> GramStatistics:
    """Centred second moments of the features and of the response over the weighted rows, streamed in blocks.

    The response is centred first, so that its level costs no digits.

    Parameters
    ----------
    kernel : LandmarkKernel
    keys : Tensor, shape (B, N, D)
    response, rows : Tensor, shape (B, N)
        Response and weight of each row; every table needs a positive total weight.
    """
    count = rows.sum(1)
    mean_response = (rows * response).sum(1) / count
    centred = rows * (response - mean_response[:, None])
    tables, size = kernel.landmarks.shape[:2]
    gram, cross, sums = keys.new_zeros(tables, size, size), keys.new_zeros(tables, size), keys.new_zeros(tables, size)
    for block, features in kernel.blocks(keys):
        weighted = features * rows[:, block, None]
        gram = gram + weighted.transpose(-1, -2) @ features
        cross = cross + torch.einsum("bnm,bn->bm", features, centred[:, block])
        sums = sums + weighted.sum(1)
    mean_features = sums / count[:, None]
    gram = gram - count[:, None, None] * mean_features[:, :, None] * mean_features[:, None, :]
    total = (centred * (response - mean_response[:, None])).sum(1)
    return GramStatistics(count, mean_features, mean_response, gram, cross, total)


@torch.no_grad()
def gcv_penalty(statistics: GramStatistics, factor: float = GCV_FACTOR) -> Float[Tensor, " B"]:
    """Penalty of :data:`PENALTY_GRID` that minimises ``n RSS / (n - factor * df)^2``, from one eigendecomposition.

    ``df`` counts the intercept.

    References
    ----------
    Craven and Wahba (1979), Smoothing noisy data with spline functions; Kim and Gu (2004) for the factor 1.4.
    """
    values, vectors = torch.linalg.eigh(statistics.gram)
    values = values.clamp_min(0)[:, None, :]
    squares = torch.einsum("bmk,bm->bk", vectors, statistics.cross).square()[:, None, :]
    grid: Tensor = values.new_tensor(PENALTY_GRID)
    shrunk = values + grid[None, :, None]
    rss = statistics.total[:, None] - 2 * (squares / shrunk).sum(-1) + (squares * values / shrunk**2).sum(-1)
    freedom = 1 + (values / shrunk).sum(-1)
    count = statistics.count[:, None]
    score = count * rss.clamp_min(1e-12) / (count - factor * freedom).clamp_min(1e-3) ** 2
    return grid[score.argmin(1)]


@dataclass(frozen=True)
class RidgeFit:
    """A ridge regression with a free intercept: ``intercept + (phi(x) - centre) . coefficients``."""

    intercept: Float[Tensor, " B"]
    centre: Float[Tensor, "B M"]
    coefficients: Float[Tensor, "B M"]
    count: Float[Tensor, " B"]
    penalty: Float[Tensor, " B"]
    factor: Float[Tensor, "B M M"]
    degrees_of_freedom: Float[Tensor, " B"]

    def predict(self, kernel: LandmarkKernel, keys: Float[Tensor, "B N D"]) -> Float[Tensor, "B N"]:
        """Fitted values at any keys."""
        offset = self.intercept - (self.centre * self.coefficients).sum(1)
        parts = [torch.einsum("bnm,bm->bn", block, self.coefficients) for _, block in kernel.blocks(keys)]
        return offset[:, None] + torch.cat(parts, 1)

    def predict_with_leverage(
        self, kernel: LandmarkKernel, keys: Float[Tensor, "B N D"]
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
        """Fitted values and each row's leverage (the derivative of its fitted value in its own response)."""
        fitted, leverage = [], []
        for _, block in kernel.blocks(keys):
            centred = block - self.centre[:, None, :]
            fitted.append(self.intercept[:, None] + torch.einsum("bnm,bm->bn", centred, self.coefficients))
            half = torch.linalg.solve_triangular(self.factor, centred.transpose(-1, -2), upper=False)
            leverage.append(1 / self.count[:, None] + half.square().sum(1))
        return torch.cat(fitted, 1), torch.cat(leverage, 1)


def fit_ridge(statistics: GramStatistics, penalty: Float[Tensor, " B"]) -> RidgeFit:
    """Minimise ``sum rows (y - f)^2 + penalty |coefficients|^2`` with a free intercept.

    Parameters
    ----------
    statistics : GramStatistics
    penalty : Tensor, shape (B,)
        Positive.
    """
    size = statistics.gram.shape[-1]
    eye = torch.eye(size, dtype=statistics.gram.dtype, device=statistics.gram.device)
    factor = torch.linalg.cholesky(statistics.gram + (penalty[:, None, None] + 1e-9) * eye)
    coefficients = torch.cholesky_solve(statistics.cross[..., None], factor)[..., 0]
    freedom = 1 + size - penalty * torch.cholesky_inverse(factor).diagonal(dim1=-2, dim2=-1).sum(-1)
    return RidgeFit(
        statistics.mean_response,
        statistics.mean_features,
        coefficients,
        statistics.count,
        penalty,
        factor,
        freedom,
    )


def leave_one_out_residuals(
    response: Float[Tensor, "B N"], fitted: Float[Tensor, "B N"], leverage: Float[Tensor, "B N"]
) -> Float[Tensor, "B N"]:
    """``(y - f) / (1 - leverage)``: the error of each row's prediction by the fit to all the others.

    Exact for rows of weight one, with the penalty and the landmarks held fixed; meaningless for rows outside the fit.
    """
    return (response - fitted) / (1 - leverage).clamp_min(1e-3)
