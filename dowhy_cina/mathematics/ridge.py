"""Closed-form kernel ridge regression in feature space: penalty by generalised cross-validation, leave-one-out errors.

Letters: B tables, N rows, M features. Row weights are 0/1 masks (one arm) or frequencies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dowhy_cina._caching import cached_property
from dowhy_cina.mathematics.columns import RegressionFeatures
from dowhy_cina.mathematics.dense import gram_of, lower_factor, solve_by_factor, times_lower, with_diagonal
from dowhy_cina.mathematics.passes import Places, sum_blocks, with_weight
from dowhy_cina.mathematics.resolvent import resolvent_sums
from dowhy_cina.mathematics.rows import RowFeatures
from dowhy_cina.mathematics.scaling import Array

#: Candidate penalties of the generalised cross-validation, for kernels with a diagonal near one.
PENALTY_GRID: tuple[float, ...] = tuple(10 ** (k / 4) for k in range(-12, 17))
_GRID = np.array(PENALTY_GRID)
#: Factor of the degrees of freedom in the generalised cross-validation score; above one it guards against overfitting.
GCV_FACTOR = 1.4
#: Share of the rows that the degrees of freedom, times that factor, have to leave of a candidate: a fit that
#: interpolates has neither residuals nor leave-one-out errors that could tell what it is worth.
LEAST_LEFT = 0.1
#: Added to the squares from which the variance of a fit's process comes, and one to their number.
PRIOR_SQUARES = 0.5
#: What a fit leaves of the response's squares is never taken for less.
LEAST_UNEXPLAINED = 1e-12
#: Penalty where features do not vary: rows that are all alike say nothing of a function of them, which may then vary as
#: much as the noise.
UNLEARNED = 1.0
#: Added to every penalty, so that normal equations have a factor.
SMALLEST_PENALTY = 1e-9
#: Features whose spread is no more than this share of their squares vary by rounding alone: not at all.
ROUNDING = 1e-12


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

    @cached_property
    def varies(self) -> Bool[Tensor, " B"]:
        """Whether the features vary over the rows by more than rounding does."""
        spread = self.gram.diagonal(dim1=-2, dim2=-1).sum(-1)
        squares: Tensor = torch.linalg.vecdot(self.mean_features, self.mean_features)
        return spread > ROUNDING * self.count * squares

    def of_constant(self, level: float) -> GramStatistics:
        """Statistics of the same rows with a response that is the same for all of them."""
        none = torch.zeros_like(self.total)
        return replace(self, mean_response=none + level, cross=torch.zeros_like(self.cross), total=none)

    def __add__(self, other: GramStatistics) -> GramStatistics:
        """Join the statistics of two sets of rows."""
        count = self.count + other.count
        share = other.count / count
        apart = other.mean_features - self.mean_features
        response = other.mean_response - self.mean_response
        between = (self.count * share)[:, None] * apart
        return GramStatistics(
            count,
            self.mean_features + share[:, None] * apart,
            self.mean_response + share * response,
            self.gram + other.gram + between[:, :, None] * apart[:, None, :],
            self.cross + other.cross + between * response[:, None],
            self.total + other.total + self.count * share * response.square(),
        )


def gram_statistics(
    features: RegressionFeatures, response: Float[Tensor, "B N"], rows: Float[Tensor, "B N"]
) -> GramStatistics:
    """Centred second moments of the features and of the response over the weighted rows, streamed in blocks.

    The response is centred first, so that its level costs no digits.

    Parameters
    ----------
    features : RowFeatures or ColumnFeatures
    response, rows : Tensor, shape (B, N)
        Response and weight of each row; every table needs a positive total weight.
    """
    count = rows.sum(1)
    mean_response = (rows * response).sum(1) / count
    centred = rows * (response - mean_response[:, None])

    beside, all_alike = torch.stack([centred, rows], 1), bool((rows == 1).all())

    def moments(strip: slice, own: RegressionFeatures) -> Float[Tensor, "B k M"]:
        """Second moments, and below them those with the response and the sums."""
        weights, sides, parts = rows[:, strip], beside[:, :, strip], []
        for part, block in own.blocks(weights):
            scaled = block if all_alike else block * weights[:, part, None].sqrt()
            parts.append(torch.cat([gram_of(scaled), torch.bmm(sides[:, :, part], block)], 1))
        return sum_blocks(parts)

    sums = sum_blocks(features.in_strips(moments))
    cross, total_features = sums[:, -2], sums[:, -1]
    mean_features = total_features / count[:, None]
    gram = torch.baddbmm(sums[:, :-2], total_features[..., None], mean_features[:, None], alpha=-1)
    total = (centred * (response - mean_response[:, None])).sum(1)
    return GramStatistics(count, mean_features, mean_response, gram, cross, total)


@dataclass(frozen=True)
class Gcv:
    """Penalty by generalised cross-validation, and what the ridge regression with it comes to.

    Attributes
    ----------
    penalty, degrees_of_freedom, explained, score : Tensor, shape (B,)
        Degrees of freedom without the intercept; share of the response's squares that the fit explains; the criterion.
    """

    penalty: Float[Tensor, " B"]
    degrees_of_freedom: Float[Tensor, " B"]
    explained: Float[Tensor, " B"]
    score: Float[Tensor, " B"]


def inverse_share_left(used: Array, of: Array | int) -> Array:
    """``of / (of - used)`` for penalties in ascending order; infinite where no more than :data:`LEAST_LEFT` is left.

    The largest penalty, which uses the least, is finite in any case: it is the choice where there is no other.
    """
    left: Array = 1 - used / of
    inverse = np.where(left > LEAST_LEFT, 1 / np.maximum(left, LEAST_LEFT), np.inf)
    inverse[:, -1] = 1 / np.maximum(left[:, -1], LEAST_LEFT)
    return inverse


def best_penalty(score: Array, freedom: Array, explained: Array, statistics: GramStatistics) -> Gcv:
    """The one of :data:`PENALTY_GRID` with the smallest score; :data:`UNLEARNED` where features do not vary.

    There all penalties that count fit the same, and rounding would choose among them. Scores, degrees of freedom and
    explained squares are those of every penalty, of shape (B, S).
    """
    even, tables = PENALTY_GRID.index(UNLEARNED), np.arange(len(score))
    told = statistics.varies.cpu().numpy() | np.isinf(score[:, even])
    best = np.where(told, score.argmin(1), even)
    share = explained[tables, best] / np.maximum(statistics.total.cpu().numpy(), LEAST_UNEXPLAINED)
    parts = np.stack([_GRID[best], freedom[tables, best], share, score[tables, best]])
    return Gcv(*torch.from_numpy(parts).to(statistics.gram).unbind())


@torch.no_grad()
def generalised_cross_validation(statistics: GramStatistics, factor: float = GCV_FACTOR) -> Gcv:
    """Penalty of :data:`PENALTY_GRID` that minimises ``n RSS / (n - factor * df)^2``.

    ``df`` counts the intercept. Penalties that leave no more than :data:`LEAST_LEFT` of n do not count, unless none
    leaves more: then it is the largest. Where features do not vary it is :data:`UNLEARNED`.

    References
    ----------
    Craven and Wahba (1979), Smoothing noisy data with spline functions; Kim and Gu (2004) for the factor 1.4.
    """
    sums = resolvent_sums(statistics.gram, statistics.cross, PENALTY_GRID)
    explained = sums.linear + _GRID * sums.square
    freedom = statistics.gram.shape[-1] - _GRID * sums.trace
    count, total = (part.cpu().numpy()[:, None] for part in (statistics.count, statistics.total))
    rss = np.maximum(total - explained, LEAST_UNEXPLAINED)
    score = rss / count * np.square(inverse_share_left(factor * (1 + freedom), count))
    return best_penalty(score, freedom, explained, statistics)


@dataclass(frozen=True)
class RidgeFit:
    """A ridge regression with a free intercept: ``intercept + (phi(x) - centre) . coefficients``.

    ``signal_variance`` scales the kernel to the Gaussian process under which the data are most likely at this penalty.
    """

    intercept: Float[Tensor, " B"]
    centre: Float[Tensor, "B M"]
    coefficients: Float[Tensor, "B M"]
    count: Float[Tensor, " B"]
    penalty: Float[Tensor, " B"]
    factor: Float[Tensor, "B M M"]
    signal_variance: Float[Tensor, " B"]

    def predict(self, features: RegressionFeatures) -> Float[Tensor, "B N"]:
        """Fitted values of any rows."""
        return self.offset + features.times(self.coefficients)

    @property
    def offset(self) -> Float[Tensor, "B 1"]:
        """Fitted value of a row whose features are all zero."""
        return (self.intercept - (self.centre * self.coefficients).sum(1))[:, None]

    def leverage(self, features: RegressionFeatures, rows: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        """Derivative of each row's fitted value in its own response, for rows with these weights; zero outside."""
        centre = torch.linalg.solve_triangular(self.factor, self.centre[..., None], upper=False)
        total = torch.zeros_like(rows)
        for part, half in features.solved_blocks(self.factor):
            # In place where nobody looks back: fresh memory would cost more than the arithmetic.
            squares = (half - centre).square() if torch.is_grad_enabled() else half.sub_(centre).square_()
            total[:, part] = squares.sum(1) + 1 / self.count[:, None]
        return rows * total

    def predictions(
        self, features: RegressionFeatures, rows: Float[Tensor, "B N"]
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
        """:meth:`predict` and :meth:`leverage` of the same rows; by one pass where their features are streamed."""
        if isinstance(features, RowFeatures) and features.is_streamed:
            return self.streamed_predictions(features, rows)[:2]
        return self.predict(features), self.leverage(features, rows)

    def streamed_predictions(
        self,
        features: RowFeatures,
        rows: Float[Tensor, "B N"],
        beside: Sequence[tuple[Float[Tensor, "B N"], Float[Tensor, "B N L"]]] = (),
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"], list[Float[Tensor, "B J M"]]]:
        """:meth:`predictions`, and for weights and columns sums of one and these times the features, by one pass."""
        dual, solving = features.dual(self.coefficients[:, None]), features.solving(self.factor)
        centre = torch.linalg.solve_triangular(self.factor, self.centre[..., None], upper=False).mT
        fitted, leverage = torch.empty_like(rows), torch.zeros_like(rows)

        def work(strip: slice, own: RowFeatures) -> list[Float[Tensor, "B J M"]]:
            sums: list[list[Tensor]] = [[] for _ in beside]
            for part in own.slices():
                kernels = own.kernel.similarities(own.keys[:, part])
                fitted[:, strip][:, part] = (dual @ kernels.mT)[:, 0]
                places, chosen = _with_weight(rows[:, strip], part, kernels)
                half = times_lower(chosen, solving).sub_(centre)
                leverage[:, strip][:, places] = half.square_().sum(2) + 1 / self.count[:, None]
                for found, (weights, columns) in zip(sums, beside, strict=True):
                    places, chosen = _with_weight(weights[:, strip], part, kernels)
                    inside = weights[:, strip][:, places, None]
                    values = torch.cat([inside, inside * columns[:, strip][:, places]], 2)
                    found.append(values.mT @ chosen)
            return [sum_blocks(found) for found in sums]

        strips = features.in_strips(work)
        sums = [features.kernel.whitened(sum_blocks(parts)) for parts in zip(*strips, strict=True)]
        return self.offset + fitted, rows * leverage, sums

    @property
    def second_moments(self) -> Float[Tensor, "B M M"]:
        """Weighted sum of the features times the features, about zero."""
        gram = self.factor @ self.factor.mT + self.count[:, None, None] * self.centre[:, :, None] * self.centre[:, None]
        gram.diagonal(dim1=1, dim2=2).sub_((self.penalty + SMALLEST_PENALTY)[:, None])
        return gram

    @property
    def fitted_variance(self) -> Float[Tensor, " B"]:
        """Variance of the fitted values over the weighted rows."""
        squares = (self.factor.transpose(-1, -2) @ self.coefficients[..., None])[..., 0].square().sum(1)
        ridge = self.penalty * self.coefficients.square().sum(1)
        return ((squares - ridge) / self.count).clamp_min(0)

    @property
    def evidence(self) -> Float[Tensor, " B"]:
        """Share of ``signal_variance`` that the responses speak for, at least a millionth; the rest was added to it."""
        return (1 - PRIOR_SQUARES / ((self.count + 1) * self.signal_variance)).clamp_min(1e-6)

    def solve(self, direction: Float[Tensor, "B M"]) -> Float[Tensor, "B M"]:
        """``(G + penalty)^-1 direction``: how a contrast of the coefficients weighs responses, by their features."""
        return solve_by_factor(self.factor, direction)


def _with_weight(
    weights: Float[Tensor, "B N"], part: slice, block: Float[Tensor, "B n M"]
) -> tuple[Places, Float[Tensor, "B m M"]]:
    """Places of a block's rows that have a weight, see :func:`with_weight`, and what belongs to them."""
    places = with_weight(weights[:, None], part)
    return places, block if isinstance(places, slice) else block[:, places - part.start]


def ridge_coefficients(
    statistics: GramStatistics, penalty: Float[Tensor, " B"]
) -> tuple[Float[Tensor, "B M"], Float[Tensor, "B M M"]]:
    """Coefficients of the ridge regression, zero where features do not vary, and the factor of its normal equations."""
    factor = lower_factor(with_diagonal(statistics.gram.clone(), penalty + SMALLEST_PENALTY))
    cross = torch.where(statistics.varies[:, None], statistics.cross, 0)
    return solve_by_factor(factor, cross), factor


def fit_ridge(statistics: GramStatistics, penalty: Float[Tensor, " B"]) -> RidgeFit:
    """Minimise ``sum rows (y - f)^2 + penalty |coefficients|^2`` with a free intercept.

    Parameters
    ----------
    statistics : GramStatistics
    penalty : Tensor, shape (B,)
        Positive.
    """
    coefficients, factor = ridge_coefficients(statistics, penalty)
    # y' (K + penalty)^-1 y / n, slightly raised: an arm whose outcome is constant may still hide a function.
    quadratic = (statistics.total - (statistics.cross * coefficients).sum(1)).clamp_min(0) / penalty
    return RidgeFit(
        statistics.mean_response,
        statistics.mean_features,
        coefficients,
        statistics.count,
        penalty,
        factor,
        (quadratic + PRIOR_SQUARES) / (statistics.count + 1),
    )


def cross_validated_fit(statistics: GramStatistics, multiplier: Float[Tensor, " B"]) -> RidgeFit:
    """Ridge regression with a multiple of the penalty that generalised cross-validation chooses."""
    return fit_ridge(statistics, generalised_cross_validation(statistics).penalty * multiplier)


def cross_validated_ridge(
    features: RegressionFeatures,
    response: Float[Tensor, "B N"],
    rows: Float[Tensor, "B N"],
    multiplier: Float[Tensor, " B"],
) -> RidgeFit:
    """:func:`cross_validated_fit` of weighted rows.

    With sampling weights the penalty comes from the unweighted rows, times Kish's design effect: weighted, a heavy row
    would look like several that agree, and cross-validation would let the fit run after it.
    """
    statistics = gram_statistics(features, response, rows)
    inside = (rows > 0).to(rows.dtype)
    if torch.equal(inside, rows):
        return cross_validated_fit(statistics, multiplier)
    penalty = generalised_cross_validation(gram_statistics(features, response, inside)).penalty
    design_effect = rows.square().sum(1) / rows.sum(1)
    return fit_ridge(statistics, penalty * design_effect * multiplier)


def leave_one_out_residuals(
    response: Float[Tensor, "B N"],
    fitted: Float[Tensor, "B N"],
    leverage: Float[Tensor, "B N"],
) -> Float[Tensor, "B N"]:
    """``(y - f) / (1 - leverage)``: the error of each row's prediction by the fit to all the others.

    Exact with the penalty and the landmarks held fixed; for rows outside the fit, plain errors.
    """
    return (response - fitted) / (1 - leverage).clamp_min(1e-3)
