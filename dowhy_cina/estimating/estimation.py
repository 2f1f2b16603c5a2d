"""From a forward pass to effects: the augmented estimate of a batch of tables and what its error is made of.

Letters: B tables, N rows, D covariates, M features, n target rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.mathematics.balancing import combine, imbalance
from dowhy_cina.mathematics.kernels import RowFeatures
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import TableBatch, ZeroShot

Rows = Float[Tensor, "B N"]
Tables = Float[Tensor, " B"]


@dataclass(frozen=True)
class Moments:
    """What an estimate needs of its target population.

    Attributes
    ----------
    features : Tensor, shape (B, M)
        Mean features in the balancing layer.
    outcome_features : tuple of Tensor, shape (B, M)
        Mean features in the outcome kernels of the control and of the treated arm.
    effects, weights : Tensor, shape (B, n)
        Modelled effects of the target's rows, and the rows' weights, which sum to one.
    in_table : bool
        Whether the target's rows are those of the table, n = N.
    """

    features: Float[Tensor, "B M"]
    outcome_features: tuple[Float[Tensor, "B M"], Float[Tensor, "B M"]]
    effects: Float[Tensor, "B n"]
    weights: Float[Tensor, "B n"]
    in_table: bool


def moments_in_table(state: ZeroShot, weights: Rows) -> Moments:
    """Moments of a target made of the table's own rows."""
    control, treated = (features.mean(weights) for features in state.outcome_features)
    features = combine(state.balance_features, weights)
    return Moments(features, (control, treated), state.means[1] - state.means[0], weights, True)


def moments_of_rows(
    model: CinaModel,
    state: ZeroShot,
    covariates: Float[Tensor, "B n D"],
    balance_keys: Float[Tensor, "B n K"] | None = None,
) -> Moments:
    """Moments of a target made of other rows, each counting the same.

    ``balance_keys`` are the rows' keys in a balancing space that is not the model's own.
    """
    rows = model.foreign_rows(state, covariates)
    weights = torch.full_like(rows.means[0], 1 / covariates.shape[1])
    control, treated = (features.mean(weights) for features in rows.outcome_features)
    keys = rows.balance_keys if balance_keys is None else balance_keys
    features = RowFeatures(state.balance_kernel, keys, None).mean(weights)
    return Moments(features, (control, treated), rows.means[1] - rows.means[0], weights, False)


@dataclass(frozen=True)
class Estimates:
    """Effects of a batch of tables, in sd of the outcome.

    Attributes
    ----------
    value, plug_in, correction, shrinkage : Tensor, shape (B,)
        The effect is ``plug_in + shrinkage * correction``.
    outcome_weights : Tensor, shape (B, N)
        How the estimate weighs each row's outcome, were no prediction clipped: the treated sum to one, the controls to
        minus one.
    scatter : Tensor, shape (B, N)
        Contribution of each row's noise to the estimate's error.
    deviation : Tensor, shape (B, n)
        Contribution of each target row: its weight times its modelled effect about the mean.
    """

    value: Tables
    plug_in: Tables
    correction: Tables
    shrinkage: Tables
    outcome_weights: Rows
    scatter: Rows
    deviation: Float[Tensor, "B n"]


@dataclass(frozen=True)
class Corrected:
    """The parts of an augmented estimate, shape (B,): ``value = plug_in + shrinkage * correction``."""

    value: Tables
    plug_in: Tables
    correction: Tables
    shrinkage: Tables


def corrected(table: TableBatch, state: ZeroShot, moments: Moments, weights: Rows) -> Corrected:
    """Outcome regression plus the weighted residuals, shrunk by their own noise.

    The correction ``c = sum_i w_i W_i r_i`` removes the regression's bias at the price of the noise of few rows with
    large weights. It enters with the factor ``c^2 / (c^2 + se_c^2)``: whole where it is well beyond its standard error,
    hardly where it is within it. That is the empirical-Bayes estimate of the share of it that is no noise.
    """
    signed = weights * table.signs
    correction = (signed * state.residuals).sum(1)
    noise = (signed * state.loo_residuals).square().sum(1)
    square = correction.square()
    shrinkage = square / (square + noise).clamp_min(torch.finfo(noise.dtype).tiny)
    plug_in = (moments.weights * moments.effects).sum(1)
    return Corrected(plug_in + shrinkage * correction, plug_in, correction, shrinkage)


def augmented(table: TableBatch, state: ZeroShot, moments: Moments, weights: Rows) -> Estimates:
    """The estimate of :func:`corrected` and what its error is made of."""
    found = corrected(table, state, moments, weights)
    outcome_weights = regression_weights(table, state, moments, weights, found.shrinkage)
    centred = state.loo_residuals - _arm_means(table, state.loo_residuals, weights)
    return Estimates(
        found.value,
        found.plug_in,
        found.correction,
        found.shrinkage,
        outcome_weights,
        outcome_weights * centred,
        moments.weights * (moments.effects - found.plug_in[:, None]),
    )


def weights_alone(table: TableBatch, moments: Moments, weights: Rows) -> Estimates:
    """Difference of the weighted means."""
    signed = weights * table.signs
    value = (signed * table.outcome).sum(1)
    zero = torch.zeros_like(value)
    scatter = signed * (table.outcome - _arm_means(table, table.outcome, weights))
    return Estimates(value, zero, value, torch.ones_like(value), signed, scatter, torch.zeros_like(moments.weights))


def regression_weights(table: TableBatch, state: ZeroShot, moments: Moments, weights: Rows, shrinkage: Tables) -> Rows:
    """Weight of each outcome in the augmented estimate, which is linear in the outcomes but for clipped predictions.

    In arm t with the sampling weights r, ``a_i = s w_i + r_i [(1 - s) / n + (phi_i - centre)' (G + penalty)^-1 m]``
    with ``m = q' phi - s w' phi - (1 - s) centre``.
    """
    total = torch.zeros_like(weights)
    share = shrinkage[:, None]
    for arm, (model, features) in enumerate(zip(state.outcomes, state.outcome_features, strict=True)):
        rows = table.arm(arm)
        own = weights * (rows > 0)
        direction = moments.outcome_features[arm] - share * features.mean(own) - (1 - share) * model.fit.centre
        fitted = (1 - share) / model.fit.count[:, None] + model.fit.response_weights(direction, features)
        total = total + (2 * arm - 1) * (share * own + rows * fitted)
    return total


def _arm_means(table: TableBatch, values: Rows, weights: Rows) -> Rows:
    """Weighted mean of each row's own arm."""
    arms = [(weights * rows * values).sum(1, keepdim=True) for rows in (1 - table.treatment, table.treatment)]
    return torch.where(table.treatment > 0, arms[1], arms[0])


def worst_case(table: TableBatch, state: ZeroShot, moments: Moments, weights: Rows) -> tuple[Tables, Tables]:
    """Worst-case shift per unit norm of each arm against the target, before and after weighting, summed over arms."""
    before, after = torch.zeros_like(moments.features[:, 0]), torch.zeros_like(moments.features[:, 0])
    for arm in (table.arm(0), table.arm(1)):
        before = before + imbalance(state.balance_features, arm / arm.sum(1, keepdim=True), moments.features)
        after = after + imbalance(state.balance_features, weights * (arm > 0), moments.features)
    return before, after
