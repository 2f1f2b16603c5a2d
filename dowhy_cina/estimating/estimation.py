"""From weights to effects: the augmented estimate of a batch of tables and what its error is made of.

Letters: B tables, N rows, D covariates, M features, K of an outcome regression's moment, n target rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dowhy_cina.estimating.targets import ARMS_OF, Target
from dowhy_cina.estimating.weighting import Weighting
from dowhy_cina.mathematics.balancing import Rows, Tables, combine, means_of
from dowhy_cina.mathematics.clusters import sums_by_cluster
from dowhy_cina.mathematics.means import MeansTarget
from dowhy_cina.mathematics.rows import RowFeatures
from dowhy_cina.model.fitting import FittedOutcome
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.outcome import Moment
from dowhy_cina.model.state import TableBatch, ZeroShot


@dataclass(frozen=True)
class Moments:
    """What an estimate needs of its target population.

    Attributes
    ----------
    balance : MeansTarget
        Mean features in the balancing layer, and means of the columns beside them.
    outcomes : tuple of Tensor, shape (B, K)
        Moments in the outcome regressions of the control and of the treated arm.
    effects, weights : Tensor, shape (B, n)
        Modelled effects of the target's rows, and the rows' weights, which sum to one.
    """

    balance: MeansTarget
    outcomes: tuple[Moment, Moment]
    effects: Float[Tensor, "B n"]
    weights: Float[Tensor, "B n"]


def moments_of(
    model: CinaModel, table: TableBatch, state: ZeroShot, target: Target, bandwidth: float | None = None
) -> Moments:
    """Moments of a target population.

    ``bandwidth`` is that of the kernel of the covariates alone in which an exact solution balances; by default it is
    the model's own.
    """
    if target.foreign is None:
        shares = _arm_shares(table, target)
        control, treated = (_outcome_moment(state.outcomes[arm], target, shares, arm) for arm in (0, 1))
        balance = _balance_target(model, table, state, target, shares)
        return Moments(balance, (control, treated), state.means[1] - state.means[0], target.weights)
    covariates = state.extended(target.foreign)
    rows = model.foreign_rows(state, covariates)
    weights = torch.full_like(rows.means[0], 1 / covariates.shape[1])
    control, treated = (
        fitted.regression.moment(own, weights) for fitted, own in zip(state.outcomes, rows.outcome_rows, strict=True)
    )
    keys = rows.balance_keys if bandwidth is None else covariates / bandwidth
    features = RowFeatures(state.balance_kernel, keys, None).mean(weights)
    columns = model.balance_columns(covariates, state.scores.coordinate(rows.propensity))
    balance = MeansTarget(features, combine(columns, weights), table.given)
    return Moments(balance, (control, treated), rows.means[1] - rows.means[0], weights)


def _arm_shares(table: TableBatch, target: Target) -> tuple[Tables, Tables] | None:
    """Weight of each row of the control and of the treated arm in a target of whole arms, by its sampling weight."""
    if target.name not in ARMS_OF:
        return None
    weights = target.weights * (1 - table.treatment), target.weights * table.treatment
    return weights[0].sum(1) / table.arm(0).sum(1), weights[1].sum(1) / table.arm(1).sum(1)


def _outcome_moment(fitted: FittedOutcome, target: Target, shares: tuple[Tables, Tables] | None, arm: int) -> Moment:
    """Moment of a population of the table's rows; by no pass where those of both arms tell it."""
    known = None if shares is None else fitted.moment_of_arms(shares[arm], shares[1 - arm])
    return fitted.moment(target.weights) if known is None else known


def _balance_target(
    model: CinaModel, table: TableBatch, state: ZeroShot, target: Target, shares: tuple[Tables, Tables] | None
) -> MeansTarget:
    """Means of a population of the table's rows; by no pass where those of both arms tell them."""
    if state.arm_moments is not None and shares is not None:
        mean, size = state.arm_moments.mean(shares), state.balance_kernel.landmarks.shape[1]
        return MeansTarget(mean[:, :size], mean[:, size:], table.given)
    columns = model.balance_columns(table.covariates, state.coordinate)
    return MeansTarget(combine(state.balance_features, target.weights), combine(columns, target.weights), table.given)


@dataclass(frozen=True)
class Effect:
    """Effects of a batch of tables, in sd of the outcome: ``value = plug_in + shrinkage * correction``, shape (B,)."""

    value: Tables
    plug_in: Tables
    correction: Tables
    shrinkage: Tables


def augmented(plug_in: Tables, correction: Tables, noise: Tables) -> Effect:
    """Effect by the outcome regressions plus the weighted residuals, shrunk by their own noise.

    The correction ``c = sum_i w_i W_i r_i`` removes the regression's bias at the price of the noise of few rows with
    large weights. It enters with the factor ``c^2 / (c^2 + se_c^2)``: whole where it is well beyond its standard error,
    hardly where it is within it. That is the empirical-Bayes estimate of the share of it that is no noise.

    Parameters
    ----------
    plug_in, correction, noise : Tensor, shape (B,)
        The regressions' effect in the target, c, and ``se_c^2 = sum_i (w_i e_i)^2`` with leave-one-out residuals e;
        with clusters the terms are summed in each before they are squared.
    """
    square = correction.square()
    shrinkage = square / (square + noise).clamp_min(torch.finfo(noise.dtype).tiny)
    return Effect(plug_in + shrinkage * correction, plug_in, correction, shrinkage)


def augmented_effect(table: TableBatch, state: ZeroShot, moments: Moments, weights: Rows) -> Effect:
    """:func:`augmented` of tables with these weights."""
    signed = weights * table.signs
    correction = (signed * state.residuals).sum(1)
    noise = sums_by_cluster(signed * state.loo_residuals, table.cluster).square().sum(1)
    return augmented((moments.weights * moments.effects).sum(1), correction, noise)


def weighted_effect(table: TableBatch, weights: Rows) -> Effect:
    """Difference of the weighted means."""
    value = (weights * table.signs * table.outcome).sum(1)
    return Effect(value, torch.zeros_like(value), value, torch.ones_like(value))


@dataclass(frozen=True)
class Contributions:
    """What the error of an estimate is made of.

    Attributes
    ----------
    arm_weights : tuple of Tensor, shape (B, N)
        How the mean outcome of the control and of the treated arm in the target weighs each row's outcome, were no
        prediction clipped. An arm weighs the other's rows where it borrows from it. Where no logarithm enters, an
        arm's own weights sum to one and those of the other's rows to zero.
    noise, scatter : Tensor, shape (B, N)
        Each row's noise, about its arm's weighted mean, and its contribution to the estimate's error.
    deviation : Tensor, shape (B, n)
        Contribution of each target row: its weight times its modelled effect about the mean.
    reached : tuple of Tensor of shape (B, K), or None
        Moment of each arm's weights in its outcome regression, where it is known.
    """

    arm_weights: tuple[Rows, Rows]
    noise: Rows
    scatter: Rows
    deviation: Float[Tensor, "B n"]
    reached: tuple[Moment | None, Moment | None] = (None, None)

    @property
    def outcome_weights(self) -> Rows:
        """How the estimate weighs each row's outcome."""
        return self.arm_weights[1] - self.arm_weights[0]


def augmented_contributions(
    table: TableBatch, state: ZeroShot, moments: Moments, weights: Rows, effect: Effect
) -> Contributions:
    """Contributions to the error of an augmented estimate."""
    (control, of_control), (treated, of_treated) = (
        arm_weights(table, state, moments, weights, effect.shrinkage, arm) for arm in (0, 1)
    )
    centred = state.loo_residuals - _arm_means(table, state.loo_residuals, weights)
    deviation = moments.weights * (moments.effects - effect.plug_in[:, None])
    scatter = (treated - control) * centred
    return Contributions((control, treated), centred, scatter, deviation, (of_control, of_treated))


def weighted_contributions(table: TableBatch, moments: Moments, weights: Rows) -> Contributions:
    """Contributions to the error of a difference of weighted means."""
    noise = table.outcome - _arm_means(table, table.outcome, weights)
    arms = weights * (1 - table.treatment), weights * table.treatment
    return Contributions(arms, noise, weights * table.signs * noise, torch.zeros_like(moments.weights))


def arm_weights(
    table: TableBatch, state: ZeroShot, moments: Moments, weights: Rows, shrinkage: Tables, arm: int
) -> tuple[Rows, Moment | None]:
    """Weight of each outcome in an arm's augmented mean: linear in them but for clipped predictions and logarithms.

    With the sampling weights r and the share s of the correction: ``a_i = s w_i + r_i response_i`` in the arm itself,
    see :meth:`~dowhy_cina.model.outcome.OutcomeRegression.response`. What it borrows weighs the other arm's rows, too:
    by what their regression says of the target, less what it says of the arm's rows. Beside them their moment in the
    arm's regression, where it is known without a further pass.
    """
    fitted, rows, others, share = state.outcomes[arm], table.arm(arm), table.arm(1 - arm), shrinkage[:, None]
    regression, sums, lent_sums = fitted.regression, *fitted.sums
    own, (target, lent_target) = weights * (rows > 0), regression.split(moments.outcomes[arm])
    reached = share * regression.own.moment(fitted.rows.own, own)
    response, effect = regression.response(target - reached, 1 - shrinkage)
    responses = rows * response.of(fitted.rows.own, rows)
    total, known = share * own + responses, None if sums is None else reached + sums.of_response(response)
    if effect is None:
        return total, known
    assert regression.borrowed is not None
    of_effect = rows * effect.of(fitted.rows.own.columns)
    parts = regression.borrowed.source.moments(fitted.rows.other, torch.stack([share * own, of_effect, responses], 1))
    direction = torch.cat([target - reached, lent_target - parts[:, 0]], 1)
    lent = regression.lent_response(direction, parts[:, 1])
    whole = None
    if known is not None and lent_sums is not None:
        whole = torch.cat([known, parts[:, 0] + parts[:, 2] + lent_sums.of_response(lent)], 1)
    return total + others * lent.of(fitted.rows.other, others), whole


def _arm_means(table: TableBatch, values: Rows, weights: Rows) -> Rows:
    """Weighted mean of each row's own arm."""
    arms = [(weights * rows * values).sum(1, keepdim=True) for rows in (1 - table.treatment, table.treatment)]
    return torch.where(table.treatment > 0, arms[1], arms[0])


def worst_case(table: TableBatch, state: ZeroShot, moments: Moments, weighting: Weighting) -> tuple[Tables, Tables]:
    """Worst-case shift per unit norm of each arm against the target, before and after weighting, summed over arms."""
    means = weighting.means
    if means is None:
        arms = table.arm(0), table.arm(1)
        pairs = [part for arm in arms for part in (weighting.weights * (arm > 0), arm / arm.sum(1, keepdim=True))]
        means = torch.stack(means_of(state.balance_features, torch.stack(pairs, 1)).chunk(2, 1), 1)
    after, before = torch.linalg.vector_norm(means - moments.balance.features[:, None, None], dim=3).sum(1).unbind(1)
    return before, after
