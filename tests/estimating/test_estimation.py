"""The estimate from a forward pass: its parts written out, and its weights as derivatives in every outcome."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dowhy_cina.calls.direct import analyse
from dowhy_cina.estimating.estimation import (
    arm_weights,
    augmented_contributions,
    augmented_effect,
    moments_of,
    weighted_contributions,
    weighted_effect,
    worst_case,
)
from dowhy_cina.estimating.pipeline import Estimation
from dowhy_cina.estimating.targets import Target
from dowhy_cina.estimating.weighting import Weighting, balance_arms
from dowhy_cina.mathematics.ridge import fit_ridge, gram_statistics
from dowhy_cina.mathematics.rows import Storage
from dowhy_cina.model import fitting
from dowhy_cina.model.links import LEAST_MEAN
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.outcome import combined
from dowhy_cina.model.state import TableBatch, each_tensor

N, D = 60, 3


def draw(tables=2, weighted=False, skewed=False, seed=507):
    """Confounded tables in standard units; half of the rows are landmarks. The second treated arm may be skewed."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tables, N, D))
    t = (rng.random((tables, N)) < 1 / (1 + np.exp(-x[..., 0]))).astype(float)
    y = np.sin(x[..., 0]) + 0.5 * t + 0.3 * rng.normal(size=(tables, N))
    if skewed:
        tail = np.exp(2.0 * x[1, :, 0] + 0.2 * rng.normal(size=N))
        y[1] = np.where(t[1] > 0, 0.5 * tail, y[1])
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


@pytest.fixture(params=["plain", "weighted", "skewed", "weighted skewed"])
def case(request, model):
    """A batch, what the model says of it, the moments of its average row, and balancing weights."""
    table = draw(weighted="weighted" in request.param, skewed="skewed" in request.param)
    with torch.no_grad():
        state = model(table)
        moments = moments_of(model, table, state, Target("ate", populations(table)["ate"]))
        weights = balance_arms(model, table, state, moments.balance).weights
    if "skewed" in request.param:
        assert float(sum(log.share[1] for log in state.outcomes[1].regression.own.logarithms)) > 0.5
    borrowed = [fitted.regression.borrowed for fitted in state.outcomes]
    assert float(borrowed[1].share.max()) > 0.7
    assert (borrowed[0] is None) == ("weighted" in request.param)
    assert tables_without_logarithm(state) == ([0] if "skewed" in request.param else [0, 1])
    return table, state, moments, weights


def tables_without_logarithm(state):
    """Places of the tables both of whose regressions are linear in the outcomes."""
    shares = [log.share for fitted in state.outcomes for log in fitted.regression.own.logarithms]
    return [b for b in range(2) if not any(share[b] for share in shares)]


# Moments


def test_moments_are_means_over_the_population(model, case):
    table, state, _, _ = case
    for population in populations(table).values():
        moments = moments_of(model, table, state, Target("rows", population))
        expected = (population[..., None] * state.balance_features).sum(1)
        torch.testing.assert_close(moments.balance.features, expected)
        for ours, fitted in zip(moments.outcomes, state.outcomes, strict=True):
            parts, asked = [], [(fitted.regression.own, fitted.rows.own)]
            if fitted.regression.borrowed is not None:
                asked.append((fitted.regression.borrowed.source, fitted.rows.other))
            for one, seen in asked:
                features = seen.kernel.kernel.features(seen.kernel.keys)
                parts += [features, seen.columns.values]
                for log in one.logarithms:
                    link, read = log.link, seen.columns.values if log.straight else features
                    slope = (link.sign * link.factor)[:, None] * log.logarithms(seen).exp()
                    parts += [slope[..., None], slope[..., None] * read]
            expected = (population[..., None] * torch.cat(parts, 2)).sum(1)
            torch.testing.assert_close(ours, expected, atol=1e-8, rtol=1e-9)
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


def predictions(fitted, rows, outcome, at):
    """What members say of the arm's rows and of others, refitted to ``outcome``, and the arm's mean.

    Penalties, and of a logarithm sign and shift, stay as they are; it moves with the outcomes as its slope says. Of the
    predictions of rows by the others, on which the factor of its way back rests, the part that leaving the row out
    makes stays too.
    """
    regression, (own, columns) = fitted.regression, (fitted.rows.kernel, fitted.rows.columns)
    level = (rows * outcome).sum(1, keepdim=True) / rows.sum(1, keepdim=True)
    kernel = fit_ridge(gram_statistics(own, outcome, rows), regression.kernel.fit.penalty)
    linear = fit_ridge(gram_statistics(columns, outcome, rows), regression.linear.fit.penalty)
    inside = [kernel.predict(own), linear.predict(columns)]
    outside = [kernel.predict(at.kernel), linear.predict(at.columns)]
    for log in regression.logarithms:
        own, link = log.features(fitted.rows), log.link
        sign, shift = link.sign[:, None], link.shift[:, None]
        before = torch.log(torch.where(rows > 0, sign * fitted.outcome + shift, 1))
        held = fit_ridge(gram_statistics(own, before, rows), log.fit.penalty)
        # About outcomes that are what the logarithm predicts, or not much less than their mean.
        mean = torch.maximum(sign * link.back(held.predict(own)) + shift, LEAST_MEAN * link.level[:, None])
        now = before + (outcome - fitted.outcome) * sign / mean
        fit = fit_ridge(gram_statistics(own, now, rows), log.fit.penalty)
        leverage = rows * held.leverage(own, torch.ones_like(rows))
        apart = before - (before - held.predict(own)) / (1 - leverage) - held.predict(own)
        grown = (rows * (fit.predict(own) + apart).exp()).sum(1, keepdim=True)
        factor = (rows * (sign * outcome + shift)).sum(1, keepdim=True) / grown
        inside.append(sign * (factor * fit.predict(own).exp() - shift))
        outside.append(sign * (factor * fit.predict(log.features(at)).exp() - shift))
    return inside, outside, level


def written_out(table, state, fitted_at, moments, weights, share, outcome):
    """The augmented estimate from fits to ``outcome`` that no range cuts; weights and all shares stay."""

    def own(arm):
        """What an arm's own regression says of the table's rows and of the target's."""
        fitted, rows = state.outcomes[arm], table.arm(arm)
        regression = fitted.regression.own
        known = SimpleNamespace(regression=regression, rows=fitted.rows.own, outcome=table.outcome)
        inside, outside, level = predictions(known, rows, outcome, fitted_at[arm].own)
        return [combined(level, parts, regression.shares) for parts in (inside, outside)]

    total, by_own = 0, (own(0), own(1))
    for arm, fitted in enumerate(state.outcomes):
        rows, borrowed = table.arm(arm), fitted.regression.borrowed
        inside, outside = by_own[arm]
        columns = fitted.rows.own.columns, fitted_at[arm].own.columns
        if borrowed is not None:
            left = gram_statistics(columns[0], outcome - by_own[1 - arm][0], rows)
            effect, kept = fit_ridge(left, borrowed.effect.penalty), borrowed.share[:, None]
            inside, outside = (
                mean + kept * (lent + effect.predict(at) - mean)
                for mean, lent, at in zip(by_own[arm], by_own[1 - arm], columns, strict=True)
            )
        plug_in = (moments.weights * outside).sum(1)
        total = total + (2 * arm - 1) * (plug_in + share * (weights * (rows > 0) * (outcome - inside)).sum(1))
    return total


@pytest.mark.parametrize("weighted", [False, True])
@torch.no_grad()
def test_what_the_weights_reach_is_known_where_features_are_streamed(model, weighted, monkeypatch):
    """By the sums that the fits tell, of what is borrowed too: the same as by passes over the rows."""
    monkeypatch.setattr("dowhy_cina.model.state.MOST_FILLED", 0.0)  # arms of long tables go one by one
    both = draw(weighted=weighted)
    table = each_tensor([both], lambda parts: parts[0][:1])
    table = dataclasses.replace(table, storage=Storage((), 7 * N))
    state, share = model(table), torch.full((1,), 0.4, dtype=torch.float64)
    moments = moments_of(model, table, state, Target("ate", table.rows / N))
    weights = balance_arms(model, table, state, moments.balance).weights
    assert any(fitted.regression.borrowed is not None for fitted in state.outcomes)
    for arm, fitted in enumerate(state.outcomes):
        torch.testing.assert_close(moments.outcomes[arm], fitted.moment(table.rows / N), atol=1e-10, rtol=1e-9)
        found, reached = arm_weights(table, state, moments, weights, share, arm)
        expected = fitted.moment(found * (table.arm(arm) > 0), found)
        torch.testing.assert_close(reached, expected, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize("target", ["ate", "att", "any", "foreign"])
@pytest.mark.parametrize("share", [0.0, 0.35, 1.0])
def test_weights_are_the_derivatives_in_every_outcome(model, case, target, share):
    """But for clipped predictions; by central differences, as logarithms are not linear in the outcomes."""
    table, state, _, weights = case
    fitted_at = [fitted.rows for fitted in state.outcomes]
    if target == "foreign":
        other = table.covariates[:, :9] * 0.5
        moments = moments_of(model, table, state, Target.elsewhere(other, table))
        fitted_at = model.foreign_rows(state, other).outcome_rows
    else:
        moments = moments_of(model, table, state, Target(target, populations(table)[target]))
    shares = torch.full((2,), share, dtype=torch.float64)
    (control, _), (treated, _) = (arm_weights(table, state, moments, weights, shares, arm) for arm in (0, 1))
    ours = treated - control
    linear = tables_without_logarithm(state)
    width = 0.5 if len(linear) == 2 else 1e-5
    for row in range(N):
        ends = []
        for step in (-width, width):
            moved = table.outcome.clone()
            moved[:, row] += step
            ends.append(written_out(table, state, fitted_at, moments, weights, shares, moved))
        torch.testing.assert_close(ours[:, row], (ends[1] - ends[0]) / (2 * width), atol=1e-7, rtol=0)
    for arm in (0, 1):
        total = (ours * (table.treatment == arm)).sum(1)[linear]
        torch.testing.assert_close(total, torch.full_like(total, 2.0 * arm - 1), atol=1e-8, rtol=0)


def test_weighted_outcomes_are_the_estimate_where_nothing_is_clipped(model, case, monkeypatch):
    table, state, _, weights = case
    monkeypatch.setattr(fitting, "allowed_range", lambda ends, _: (ends[0] - torch.inf, ends[1] + torch.inf))
    with torch.no_grad():
        free = model(table)
    for population in populations(table).values():
        moments = moments_of(model, table, free, Target("rows", population))
        found = augmented_effect(table, free, moments, weights)
        outcome_weights = augmented_contributions(table, free, moments, weights, found).outcome_weights
        linear = tables_without_logarithm(state)
        ours = (outcome_weights * table.outcome).sum(1)
        torch.testing.assert_close(ours[linear], found.value[linear], atol=1e-8, rtol=0)


@pytest.mark.parametrize("seed", [0, 5])
def test_the_least_outcome_of_a_logarithm_is_one_of_many(seed, monkeypatch):
    """Though the logarithm is a hundred times as steep there as a standard deviation away."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(250, D))
    t = (rng.random(250) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    analysis = analyse(x, t, np.exp(1.3 * (x[:, 0] + 0.4 * rng.normal(size=250))))
    table, state = analysis._table, analysis._state
    assert float(sum(log.share for log in state.outcomes[0].regression.own.logarithms)) > 0.5
    least = torch.where(table.treatment < 1, table.outcome, torch.inf).argmin()

    def weight():
        with torch.no_grad():
            found = Estimation(analysis._model, table, state, Target.named("ate", table, state)).contributions
        return float(found.outcome_weights[0, least].abs())

    bounded = weight()
    monkeypatch.setattr("dowhy_cina.model.links.LEAST_MEAN", 1e-9)
    assert bounded < min(0.25, weight() / 3)


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
    before, after = worst_case(table, state, moments, Weighting.given(weights))
    gram = (state.balance_features @ state.balance_features.transpose(1, 2)).numpy()
    for b in range(2):
        q, expected = moments.weights[b].numpy(), np.zeros(2)
        for arm in (0, 1):
            sampling = table.arm(arm)[b].numpy()
            for k, a in enumerate((sampling / sampling.sum(), weights[b].numpy() * (sampling > 0))):
                expected[k] += np.sqrt((a - q) @ gram[b] @ (a - q))
        np.testing.assert_allclose([float(before[b]), float(after[b])], expected, rtol=1e-6)
    assert (after < before).all()
