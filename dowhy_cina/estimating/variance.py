"""Variance of an estimate: sampling noise, and what smoothing may have left as bias, which a variance head weighs.

Letters: B tables, N rows, M features, K parts.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from scipy import stats
from torch import Tensor

from dowhy_cina.estimating.estimation import Estimates, Moments
from dowhy_cina.mathematics.balancing import combine
from dowhy_cina.model.state import OutcomeModel, TableBatch, ZeroShot

Rows = Float[Tensor, "B N"]
Tables = Float[Tensor, " B"]


def sampling_variance(estimates: Estimates, in_table: bool, cluster: Int[Tensor, "B N"] | None) -> Tables:
    """Sum of squared contributions to the error, of rows or of whole clusters.

    Target rows from outside the table are taken as a sample of their population, independent of the table.
    """
    contributions = estimates.scatter
    if in_table:
        contributions = contributions + estimates.deviation
    if cluster is not None:
        count = int(cluster.max()) + 1
        sums = contributions.new_zeros(contributions.shape[0], count).scatter_add_(1, cluster, contributions)
        total = sums.square().sum(1) * count / (count - 1)
    else:
        total = contributions.square().sum(1)
    return total if in_table else total + estimates.deviation.square().sum(1)


def degrees_of_freedom(scatter: Rows, cluster: Int[Tensor, "B N"] | None) -> Tables:
    """Effective number of rows, or of clusters, behind the noise, less one and at least two."""
    squares = scatter.square()
    if cluster is not None:
        count = int(cluster.max()) + 1
        squares = squares.new_zeros(squares.shape[0], count).scatter_add_(1, cluster, scatter).square()
    effective = squares.sum(1).square() / squares.square().sum(1).clamp_min(torch.finfo(squares.dtype).tiny)
    return (effective - 1).clamp_min(2)


def smaller_arm(table: TableBatch) -> Tables:
    """Rows of the smaller arm."""
    treated = table.treatment.sum(1)
    return torch.minimum(treated, table.treatment.shape[1] - treated)


def t_inference(value: float, standard_error: float, freedom: float, level: float) -> tuple[tuple[float, float], float]:
    """Interval and two-sided p-value by Student's t; they agree on whether zero is excluded."""
    half = float(stats.t.ppf(0.5 + level / 2, freedom)) * standard_error
    if standard_error == 0:
        return (value, value), float(value == 0)
    return (value - half, value + half), float(2 * stats.t.sf(abs(value) / standard_error, freedom))


def bias_parts(table: TableBatch, state: ZeroShot, moments: Moments, estimates: Estimates) -> Float[Tensor, "B K"]:
    """Squares that speak of bias that smoothing left, one for each of :data:`~dowhy_cina.model.variance.BIAS_PARTS`.

    - ``regression``: squared imbalance of the outcome weights in the outcome kernels, times the function's variance
      under the ridge's Gaussian process; summed over arms.
    - ``balance``: the same in the balancing layer's kernel, times the variance that the regression leaves.
    - ``correction``, ``withheld``: squared part of the weighted residuals that entered, and that was shrunk away.
    - ``clipped``: squared difference that keeping predictions within each arm's fitted range makes.
    """
    regression, balance = torch.zeros_like(estimates.value), torch.zeros_like(estimates.value)
    for arm, (model, features) in enumerate(zip(state.outcomes, state.outcome_features, strict=True)):
        rows, fit = table.arm(arm), model.fit
        own = (2 * arm - 1) * estimates.outcome_weights * (rows > 0)
        missing = moments.outcome_features[arm] - features.mean(own)
        regression = regression + fit.signal_variance * missing.square().sum(1)
        unexplained = (rows * state.loo_residuals.square()).sum(1) / fit.count
        missing = moments.features - combine(state.balance_features, own)
        balance = balance + unexplained * missing.square().sum(1) / state.balance_kernel.diagonal
    entered = estimates.shrinkage * estimates.correction
    withheld = estimates.correction - entered
    clipped = unclipped(state.outcomes, moments) - estimates.plug_in
    return torch.stack([regression, balance, entered.square(), withheld.square(), clipped.square()], 1)


def unclipped(outcomes: tuple[OutcomeModel, OutcomeModel], moments: Moments) -> Tables:
    """Effect by the outcome regressions alone, were no prediction kept within its arm's fitted range."""
    control, treated = (
        model.fit.intercept + ((features - model.fit.centre) * model.fit.coefficients).sum(1)
        for model, features in zip(outcomes, moments.outcome_features, strict=True)
    )
    return treated - control
