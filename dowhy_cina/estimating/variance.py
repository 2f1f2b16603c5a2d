"""Variance of an estimate: sampling noise, and what smoothing may have left as bias, which a variance head weighs.

Letters: B tables, N rows, M features, K parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy import special
from torch import Tensor

from dowhy_cina.estimating.estimation import Contributions, Effect, Moments
from dowhy_cina.mathematics.balancing import Rows, Tables, means_of
from dowhy_cina.mathematics.clusters import sums_by_cluster
from dowhy_cina.mathematics.concentration import effective_number
from dowhy_cina.model.outcome import Moment
from dowhy_cina.model.sharing import ArmRegression
from dowhy_cina.model.state import TableBatch, ZeroShot

#: Squared residual, in variances of the outcome, that is no more than rounding.
ROUNDING = 1e-20


def sampling_variance(contributions: Contributions, in_table: bool, cluster: Int[Tensor, "B N"] | None) -> Tables:
    """Sum of squared contributions to the error, of rows or of whole clusters.

    Target rows from outside the table are taken as a sample of their population, independent of the table.
    """
    rows = contributions.scatter + contributions.deviation if in_table else contributions.scatter
    total = sums_by_cluster(rows, cluster).square().sum(1)
    return total if in_table else total + contributions.deviation.square().sum(1)


def noise_of_arm(noise: Rows, rows: Rows) -> tuple[Tables, Tables]:
    """Sums of the squared noise of an arm's rows and of its square, by sampling weights; without rounding."""
    squares = noise.square()
    squares = torch.where(squares > ROUNDING, squares, 0)
    return (rows * squares).sum(1), (rows * squares.square()).sum(1)


def unseen_variance(
    noise: Sequence[tuple[Tables, Tables]], counts: Sequence[Tables], spread: Sequence[Tables]
) -> Tables:
    """What is added to the variance by sampling for noise that an arm is too small to show.

    An arm of which no row has an event shows none, and one of a few events little. So its variance is the mean of its
    own and of the other arm's, with as many degrees of freedom as there are effective rows that carry its own, and one
    for the other arm's: as a conjugate prior would have it. It never makes the variance smaller.

    Parameters
    ----------
    noise : two of :func:`noise_of_arm`
    counts, spread : two of Tensor, shape (B,)
        Sum of the arm's sampling weights, and of the squares of its outcomes' weights in the estimate.
    """
    own = [squares / count for (squares, _), count in zip(noise, counts, strict=True)]
    added = torch.zeros_like(own[0])
    for arm in (0, 1):
        shown = effective_number(*noise[arm])
        added = added + spread[arm] * (own[1 - arm] - own[arm]).clamp_min(0) / (1 + shown)
    return added


def unseen_in(table: TableBatch, contributions: Contributions) -> Tables:
    """:func:`unseen_variance` of tables in memory."""
    arms = table.arm(0), table.arm(1)
    noise = [noise_of_arm(contributions.noise, rows) for rows in arms]
    spread = [
        sums_by_cluster(weights * (rows > 0), table.cluster).square().sum(1)
        for weights, rows in zip(contributions.arm_weights, arms, strict=True)
    ]
    return unseen_variance(noise, [rows.sum(1) for rows in arms], spread)


def degrees_of_freedom(scatter: Rows, cluster: Int[Tensor, "B N"] | None) -> Tables:
    """Effective number of rows, or of clusters, that carry the noise, less one and at least two."""
    squares = sums_by_cluster(scatter, cluster).square()
    units = (squares > 0).sum(1).to(squares.dtype)
    return freedom_from_sums(squares.sum(1), squares.square().sum(1), units)


def freedom_from_sums(squares: Tables, fourth: Tables, units: Tables) -> Tables:
    """:func:`degrees_of_freedom` from sums of second and fourth powers of so many contributions."""
    return (torch.minimum(effective_number(squares, fourth), units) - 1).clamp_min(2)


def t_inference(value: float, standard_error: float, freedom: float, level: float) -> tuple[tuple[float, float], float]:
    """Interval and two-sided p-value by Student's t; they agree on whether zero is excluded."""
    # Not below zero, where rounding takes the median.
    half = max(-float(special.stdtrit(freedom, (1 - level) / 2)), 0.0) * standard_error
    if standard_error == 0:
        return (value, value), float(value == 0)
    return (value - half, value + half), float(2 * special.stdtr(freedom, -abs(value) / standard_error))


@dataclass(frozen=True)
class Reached:
    """What the weights of outcomes in one arm's mean reach, as sums over rows.

    Attributes
    ----------
    outcome : Tensor, shape (B, K)
        Moment in the arm's outcome regression, of its own rows, and where it borrows of all rows in the source.
    balance : Tensor, shape (B, M)
        Features in the balancing layer, of all rows.
    unexplained : Tensor, shape (B,)
        Mean squared leave-one-out residual, by sampling weights.
    """

    outcome: Moment
    balance: Float[Tensor, "B M"]
    unexplained: Tables


def reached_by(table: TableBatch, state: ZeroShot, contributions: Contributions) -> tuple[Reached, Reached]:
    """Sums of both arms of tables in memory."""
    arms, balance = [], means_of(state.balance_features, torch.stack(contributions.arm_weights, 1))
    for arm, (fitted, weights) in enumerate(zip(state.outcomes, contributions.arm_weights, strict=True)):
        rows = table.arm(arm)
        unexplained = (rows * state.loo_residuals.square()).sum(1) / rows.sum(1)
        known = contributions.reached[arm]
        outcome = fitted.moment(weights * (rows > 0), weights) if known is None else known
        arms.append(Reached(outcome, balance[:, arm], unexplained))
    return arms[0], arms[1]


def bias_parts(
    regressions: tuple[ArmRegression, ArmRegression],
    diagonal: Tables,
    moments: Moments,
    effect: Effect,
    reached: tuple[Reached, Reached],
) -> Float[Tensor, "B K"]:
    """Squares that speak of bias that smoothing left, one for each of :data:`~dowhy_cina.model.variance.BIAS_PARTS`.

    - ``regression``: what the outcome weights miss of the target in the outcome regressions; summed over arms.
    - ``balance``: their squared imbalance in the balancing layer's kernel, whose diagonal is given, times the variance
      that the regression leaves.
    - ``correction``, ``withheld``: squared part of the weighted residuals that entered, and that was shrunk away.
    - ``clipped``: squared difference that keeping predictions within the range of each regression makes.
    - ``members``: variance between what the members of the regressions say of the target; summed over arms.
    - ``adjustment``: squared difference between the estimate and that of the arms' means, times the share of the
      outcome's variance that the regressions leave: what is left to adjust is about as large as what was adjusted where
      the confounding is learned by half, and there is nothing left to adjust where the outcome is explained.
    """
    regression, balance, members = (torch.zeros_like(effect.value) for _ in range(3))
    for arm, (outcome, sums) in enumerate(zip(regressions, reached, strict=True)):
        regression = regression + outcome.missed(moments.outcomes[arm], sums.outcome)
        members = members + outcome.disagreement(moments.outcomes[arm])
        missing = (moments.balance.features - sums.balance).square().sum(1)
        balance = balance + sums.unexplained * missing / diagonal
    entered = effect.shrinkage * effect.correction
    withheld = effect.correction - entered
    control, treated = (outcome.mean(moment) for outcome, moment in zip(regressions, moments.outcomes, strict=True))
    clipped = treated - control - effect.plug_in
    adjusted = effect.value - (regressions[1].intercept - regressions[0].intercept)[:, 0]
    unexplained = ((reached[0].unexplained + reached[1].unexplained) / 2).clamp_max(1)
    squares = [part.square() for part in (entered, withheld, clipped)]
    return torch.stack([regression, balance, *squares, members, unexplained * adjusted.square()], 1)
