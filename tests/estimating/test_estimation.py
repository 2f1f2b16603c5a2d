"""The estimate from a forward pass: its parts written out, and its weights as derivatives in every outcome."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dowhy_cina.estimating.estimation import (
    augmented_contributions,
    augmented_effect,
    moments_of,
    regression_weights,
    weighted_contributions,
    weighted_effect,
    worst_case,
)
from dowhy_cina.estimating.pipeline import Estimation
from dowhy_cina.estimating.targets import Target
from dowhy_cina.estimating.weighting import balance_arms
from dowhy_cina.mathematics.ridge import fit_ridge, gram_statistics
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.outcome import toward_mean
from dowhy_cina.model.state import TableBatch

N, D = 60, 3


def draw(tables=2, weighted=False, seed=0):
    """Confounded tables in standard units; half of the rows are landmarks."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tables, N, D))
    t = (rng.random((tables, N)) < 1 / (1 + np.exp(-x[..., 0]))).astype(float)
    y = np.sin(x[..., 0]) + 0.5 * t + 0.3 * rng.normal(size=(tables, N))
    marks = torch.stack([torch.from_numpy(rng.permutation(N)[: N // 2]) for _ in range(tables)])
    weights = torch.from_numpy(rng.choice([0.4, 1.0, 2.5], size=(tables, N))) if weighted else None
    if weighted:
        weights = weights / weights.mean(1, keepdim=True)
    return TableBatch(*map(torch.from_numpy, (x, t, y)), marks, torch.arange(N).expand(tables, N), weights)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        return CinaModel().double().eval()


def populations(table):
    """Weights of the rows in three populations."""
    rng = np.random.default_rng(9)
    rows = {"ate": table.rows, "att": table.arm(1), "any": torch.from_numpy(rng.random((2, N)))}
    return {name: values / values.sum(1, keepdim=True) for name, values in rows.items()}


@pytest.fixture(params=[False, True], ids=["plain", "weighted"])
def case(request, model):
    """A batch, what the model says of it, the moments of its average row, and balancing weights."""
    table = draw(weighted=request.param)
    with torch.no_grad():
        state = model(table)
        moments = moments_of(model, table, state, Target("ate", populations(table)["ate"]))
        weights = balance_arms(model, table, state, moments.balance).weights
    return table, state, moments, weights


def unclipped(state, table):
    """The state with the regressions' own predictions in the place of those cut to the arms' ranges."""
    regressions = [fitted.regression for fitted in state.outcomes]
    means = [
        one.unclipped(one.fit.predict(fitted.rows)) for one, fitted in zip(regressions, state.outcomes, strict=True)
    ]
    residuals = table.outcome - torch.where(table.treatment > 0, means[1], means[0])
    outcomes = [dataclasses.replace(fitted, means=mean) for fitted, mean in zip(state.outcomes, means, strict=True)]
    return dataclasses.replace(state, outcomes=tuple(outcomes), residuals=residuals)


# Moments


def test_moments_are_means_over_the_population(model, case):
    table, state, _, _ = case
    for population in populations(table).values():
        moments = moments_of(model, table, state, Target("rows", population))
        expected = (population[..., None] * state.balance_features).sum(1)
        torch.testing.assert_close(moments.balance.features, expected)
        for ours, fitted in zip(moments.outcomes, state.outcomes, strict=True):
            phi = fitted.rows.kernel.features(fitted.rows.keys)
            torch.testing.assert_close(ours, (population[..., None] * phi).sum(1), atol=1e-9, rtol=0)
        torch.testing.assert_close(moments.effects, state.means[1] - state.means[0])


def test_other_rows_count_the_same(model, case):
    table, state, _, _ = case
    rows = table.covariates[:, :7] + 0.1
    moments = moments_of(model, table, state, Target.elsewhere(rows, table))
    alone = [moments_of(model, table, state, Target.elsewhere(rows[:, k : k + 1], table)) for k in range(7)]
    assert moments.effects.shape == moments.weights.shape == (2, 7)
    torch.testing.assert_close(moments.balance.features, torch.stack([m.balance.features for m in alone]).mean(0))
    torch.testing.assert_close(moments.effects, torch.cat([m.effects for m in alone], 1))
    for arm in (0, 1):
        expected = torch.stack([m.outcomes[arm] for m in alone]).mean(0)
        torch.testing.assert_close(moments.outcomes[arm], expected)


# The augmented estimate


def test_correction_enters_as_far_as_it_is_beyond_its_noise(case):
    table, state, moments, weights = case
    found = augmented_effect(table, state, moments, weights)
    for b in range(2):
        w, q = weights[b].numpy(), moments.weights[b].numpy()
        sign = 2 * table.treatment[b].numpy() - 1
        plug_in = q @ (state.means[1] - state.means[0])[b].numpy()
        correction = (w * sign) @ state.residuals[b].numpy()
        variance = np.sum((w * state.loo_residuals[b].numpy()) ** 2)
        share = correction**2 / (correction**2 + variance)
        np.testing.assert_allclose(found.plug_in[b], plug_in)
        np.testing.assert_allclose(found.correction[b], correction)
        np.testing.assert_allclose(found.shrinkage[b], share)
        np.testing.assert_allclose(found.value[b], plug_in + share * correction)


def test_a_large_bias_is_corrected_and_noise_is_not(case):
    table, state, moments, weights = case
    off = dataclasses.replace(state, residuals=state.residuals + 100 * table.signs)
    assert (augmented_effect(table, off, moments, weights).shrinkage > 0.999).all()
    signed = weights * table.signs
    quiet = state.residuals - signed * ((signed * state.residuals).sum(1) / signed.square().sum(1))[:, None]
    found = augmented_effect(table, dataclasses.replace(state, residuals=quiet), moments, weights)
    assert (found.shrinkage < 1e-20).all()
    torch.testing.assert_close(found.value, found.plug_in)


def test_perfect_fits_need_no_correction(case):
    table, state, moments, weights = case
    zero = torch.zeros_like(state.residuals)
    perfect = dataclasses.replace(state, residuals=zero, loo_residuals=zero)
    found = augmented_effect(table, perfect, moments, weights)
    assert torch.equal(found.value, found.plug_in)
    assert not augmented_contributions(table, perfect, moments, weights, found).scatter.any()


def written_out(table, state, fitted_at, moments, weights, share, outcome):
    """The augmented estimate from fits to ``outcome`` that no range cuts; penalties, trust, weights and share stay."""
    total = 0
    for arm, fitted in enumerate(state.outcomes):
        rows = table.arm(arm)
        fit = fit_ridge(gram_statistics(fitted.rows, outcome, rows), fitted.regression.fit.penalty)
        trust = fitted.regression.trust
        residuals = outcome - toward_mean(fit, fit.predict(fitted.rows), trust)
        plug_in = (moments.weights * toward_mean(fit, fit.predict(fitted_at[arm]), trust)).sum(1)
        total = total + (2 * arm - 1) * (plug_in + share * (weights * (rows > 0) * residuals).sum(1))
    return total


@pytest.mark.parametrize("target", ["ate", "att", "any", "foreign"])
@pytest.mark.parametrize("share", [0.0, 0.35, 1.0])
def test_weights_are_the_derivatives_in_every_outcome(model, case, target, share):
    """The estimate is linear in the outcomes but for clipped predictions: a step of one is a derivative."""
    table, state, _, weights = case
    fitted_at = [fitted.rows for fitted in state.outcomes]
    if target == "foreign":
        other = table.covariates[:, :9] * 0.5
        moments = moments_of(model, table, state, Target.elsewhere(other, table))
        fitted_at = model.foreign_rows(state, other).outcome_rows
    else:
        moments = moments_of(model, table, state, Target(target, populations(table)[target]))
    shares = torch.full((2,), share, dtype=torch.float64)
    ours = regression_weights(table, state, moments, weights, shares)
    before = written_out(table, state, fitted_at, moments, weights, shares, table.outcome)
    for row in range(N):
        moved = table.outcome.clone()
        moved[:, row] += 1
        step = written_out(table, state, fitted_at, moments, weights, shares, moved) - before
        torch.testing.assert_close(ours[:, row], step, atol=1e-7, rtol=0)
    for arm in (0, 1):
        total = (ours * (table.treatment == arm)).sum(1)
        torch.testing.assert_close(total, torch.full((2,), 2.0 * arm - 1).double(), atol=1e-8, rtol=0)


def test_weighted_outcomes_are_the_estimate_where_nothing_is_clipped(model, case):
    table, state, _, weights = case
    free = unclipped(state, table)
    for population in populations(table).values():
        moments = moments_of(model, table, free, Target("rows", population))
        found = augmented_effect(table, free, moments, weights)
        outcome_weights = augmented_contributions(table, free, moments, weights, found).outcome_weights
        torch.testing.assert_close((outcome_weights * table.outcome).sum(1), found.value, atol=1e-8, rtol=0)


def test_contributions_by_hand(case):
    table, state, moments, weights = case
    effect = augmented_effect(table, state, moments, weights)
    found = augmented_contributions(table, state, moments, weights, effect)
    loo = state.loo_residuals
    for b in range(2):
        for arm in (0, 1):
            inside = table.treatment[b] == arm
            level = (weights[b] * loo[b])[inside].sum()
            expected = found.outcome_weights[b, inside] * (loo[b, inside] - level)
            torch.testing.assert_close(found.scatter[b, inside], expected)
    expected = moments.weights * (moments.effects - (moments.weights * moments.effects).sum(1, keepdim=True))
    torch.testing.assert_close(found.deviation, expected)


def test_batch_is_one_by_one(model, case):
    table, state, moments, _ = case
    together = Estimation(model, table, state, Target("rows", moments.weights))
    for b in range(2):
        part = slice(b, b + 1)
        values = {field.name: getattr(table, field.name) for field in dataclasses.fields(table)}
        tensors = {name: value[part] for name, value in values.items() if isinstance(value, torch.Tensor)}
        alone = dataclasses.replace(table, **tensors)
        with torch.no_grad():
            found = Estimation(model, alone, model(alone), Target("rows", moments.weights[part]))
            for name in ("value", "correction", "shrinkage"):
                ours = getattr(found.effect, name)
                torch.testing.assert_close(ours, getattr(together.effect, name)[part], atol=1e-8, rtol=0)
            for name in ("outcome_weights", "scatter", "deviation"):
                ours = getattr(found.contributions, name)
                torch.testing.assert_close(ours, getattr(together.contributions, name)[part], atol=1e-8, rtol=0)


# The weights alone


def test_weights_alone_are_the_difference_of_weighted_means(case):
    table, _, moments, weights = case
    effect, found = weighted_effect(table, weights), weighted_contributions(table, moments, weights)
    for b in range(2):
        treated = table.treatment[b].numpy() == 1
        y, w = table.outcome[b].numpy(), weights[b].numpy()
        one, zero = np.average(y[treated], weights=w[treated]), np.average(y[~treated], weights=w[~treated])
        np.testing.assert_allclose(effect.value[b], one - zero)
        expected = np.where(treated, w * (y - one), -w * (y - zero))
        np.testing.assert_allclose(found.scatter[b], expected, atol=1e-12)
    assert not found.deviation.any()
    torch.testing.assert_close((found.outcome_weights * table.outcome).sum(1), effect.value)
    level = dataclasses.replace(table, outcome=table.outcome + 7)
    torch.testing.assert_close(weighted_contributions(level, moments, weights).scatter, found.scatter)


# What the weights leave


def test_worst_case_by_the_gram(case):
    """``|sum a phi - sum q phi|^2 = (a - q)' kappa (a - q)`` arm by arm, and no function of unit norm shifts more."""
    table, state, moments, weights = case
    before, after = worst_case(table, state, moments, weights)
    gram = (state.balance_features @ state.balance_features.transpose(1, 2)).numpy()
    for b in range(2):
        q, expected = moments.weights[b].numpy(), np.zeros(2)
        for arm in (0, 1):
            sampling = table.arm(arm)[b].numpy()
            for k, a in enumerate((sampling / sampling.sum(), weights[b].numpy() * (sampling > 0))):
                expected[k] += np.sqrt((a - q) @ gram[b] @ (a - q))
        np.testing.assert_allclose([float(before[b]), float(after[b])], expected, rtol=1e-6)
    assert (after < before).all()
