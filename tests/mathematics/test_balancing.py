"""The balancing problems, their maps and their certificates against cvxpy and brute force."""

from __future__ import annotations

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import rbf_kernel

from dowhy_cina.mathematics.balancing import (
    DEFAULT_CONVENTION,
    Convention,
    alpha_from_values,
    apply,
    arms_imbalance,
    certify_target,
    combine,
    dual_objective,
    exact_intercept,
    gap_from_scores,
    gram_scores,
    imbalance,
    key_normaliser,
    lowest_imbalance,
    make_feasible,
    margin_scores,
    primal_objective,
    relative_duality_gap,
    scale_rows,
    target_objective,
    values_from_alpha,
    weights_from_alpha,
)
from dowhy_cina.mathematics.splitting import Splitting, dual_program, simplex_weights, target_program

N = 40
LAMBDA = torch.tensor([0.1, 1.0], dtype=torch.float64)
RIDGE = torch.tensor([0.01, 0.5], dtype=torch.float64)
STEP = torch.tensor([2.0, 2.0], dtype=torch.float64)


def balanced_features(features, normaliser, convention):
    """Features of the Gram that the layer balances: what is normalised over rows is divided by the normaliser."""
    return features if convention is Convention.QUERIES else scale_rows(features, 1 / normaliser)


def target_weights(features, arm, target, ridge, step, iterations):
    return simplex_weights(Splitting(target_program(features, arm, target, ridge), step).run(iterations), arm)


def double(values):
    return torch.as_tensor(np.asarray(values, dtype=np.float64))


def tables(seed=0, rows=N):
    """Two tables: Grams, features whose products they are, and signs with both arms present."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, rows, 3))
    treated = rng.random((2, rows)) < 1 / (1 + np.exp(-x[..., 0]))
    treated[:, 0], treated[:, 1] = True, False
    grams = np.stack([rbf_kernel(table, gamma=0.3) for table in x])
    values, vectors = np.linalg.eigh(grams)
    return grams, double(vectors * np.sqrt(values.clip(0))[:, None, :]), double(np.where(treated, 1.0, -1.0))


def hinge(scores, signs, intercept):
    return np.maximum(0, 1 - signs * (scores + intercept)).sum()


# The maps between values, alpha and weights


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(Convention))
def test_values_and_alpha_are_each_others_inverse(seed, convention):
    _, features, signs = tables(seed)
    alpha = double(np.random.default_rng(seed).random((2, N)))
    maps = signs, key_normaliser(features), LAMBDA, convention
    values = values_from_alpha(alpha, *maps)
    back = alpha_from_values(values, *maps)
    torch.testing.assert_close(back, alpha, atol=1e-12, rtol=0)
    torch.testing.assert_close(values_from_alpha(back, *maps), values, atol=1e-9, rtol=1e-12)


def test_default_convention_is_softmax_over_queries():
    _, features, signs = tables()
    alpha, normaliser = double(np.random.default_rng(0).random((2, N))), key_normaliser(features)
    assert DEFAULT_CONVENTION is Convention.QUERIES
    expected = signs * normaliser * alpha / LAMBDA[:, None]
    torch.testing.assert_close(values_from_alpha(alpha, signs, normaliser, LAMBDA), expected)


def layer_and_penalty(grams, values, convention, penalty):
    """The attention layer and Eq. 6's penalty written out for one convention, from the Gram alone."""
    h = grams.sum(1)
    if convention is Convention.QUERIES:
        scaled = values / h
        return np.einsum("bij,bj->bi", grams, scaled), penalty / 2 * np.einsum("bi,bij,bj->b", scaled, grams, scaled)
    scores = np.einsum("bij,bj->bi", grams, values) / h
    return scores, penalty / 2 * np.einsum("bi,bij,bj->b", values, grams, values)


@pytest.mark.parametrize("convention", Convention)
@pytest.mark.parametrize("values_of", Convention)
def test_each_convention_is_dual_to_its_own_values_only(convention, values_of):
    """Solve the dual of the balanced Gram, put the values into the layer: Eq. 6 meets the dual, or not when mixed."""
    grams, features, signs = tables()
    normaliser = key_normaliser(features)
    balanced = balanced_features(features, normaliser, convention)
    alpha = make_feasible(Splitting(dual_program(balanced, signs, LAMBDA), STEP).run(20_000), signs)
    dual = dual_objective(balanced, alpha, signs, LAMBDA).numpy()
    values = values_from_alpha(alpha, signs, normaliser, LAMBDA, values_of).numpy()
    scores, penalty = layer_and_penalty(grams, values, convention, LAMBDA.numpy())
    hinges = [min(hinge(f, w, b) for b in w - f) for f, w in zip(scores, signs.numpy(), strict=True)]
    gap = (penalty + np.array(hinges) - dual) / dual
    print(f"{convention.value} layer, {values_of.value} values: relative gap {gap.max():.1e}")
    if convention is values_of:
        assert (np.abs(gap) < 1e-4).all()
    else:
        assert (gap > 0.02).all()


def test_the_conventions_have_different_solutions():
    _, features, signs = tables()
    solutions = [
        Splitting(dual_program(balanced_features(features, key_normaliser(features), c), signs, LAMBDA), STEP).run(500)
        for c in Convention
    ]
    assert (solutions[0] - solutions[1]).abs().max() > 0.1


def test_normaliser_sums_the_gram_over_queries():
    grams, features, _ = tables()
    np.testing.assert_allclose(key_normaliser(features), grams.sum(1), atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 0.9))
def test_weights_sum_to_one_in_each_arm(seed, zeros):
    _, _, signs = tables(seed)
    rng = np.random.default_rng(seed)
    alpha = double(rng.random((2, N)) * (rng.random((2, N)) >= zeros))
    alpha[:, :2] = 0.5
    weights = weights_from_alpha(alpha, signs)
    for arm in (-1, 1):
        np.testing.assert_allclose((weights * (signs == arm)).sum(1), 1)
    assert ((weights > 0) == (alpha > 0)).all()


def test_an_arm_of_zeros_has_weights_of_zero():
    _, _, signs = tables()
    weights = weights_from_alpha((signs > 0).double(), signs)
    assert torch.equal(weights[signs < 0], torch.zeros_like(weights[signs < 0]))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 3))
def test_feasible_alpha(seed, spread):
    _, _, signs = tables(seed)
    inside = double(np.random.default_rng(seed).random((2, N)))
    alpha = inside * spread - float(spread > 1)  # beyond both bounds
    feasible = make_feasible(alpha, signs)
    assert ((feasible >= 0) & (feasible <= 1)).all()
    np.testing.assert_allclose((feasible * signs).sum(1), 0, atol=1e-12)
    torch.testing.assert_close(make_feasible(feasible, signs), feasible)
    scaled = make_feasible(inside, signs)
    torch.testing.assert_close(weights_from_alpha(scaled, signs), weights_from_alpha(inside, signs))


# Primal, dual and their gap


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 11), st.sampled_from([0, 1, 3]))
def test_intercept_is_the_best_of_all_breakpoints(seed, treated, decimals):
    """Ties included: with few decimals many breakpoints coincide."""
    rng = np.random.default_rng(seed)
    signs = np.where(np.arange(12) < treated, 1.0, -1.0)
    scores = np.round(rng.normal(size=12), decimals)
    ours = float(exact_intercept(double(scores)[None], double(signs)[None]))
    best = min(hinge(scores, signs, b) for b in signs - scores)
    np.testing.assert_allclose(hinge(scores, signs, ours), best, atol=1e-12)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_intercept_of_one_arm_has_no_loss(sign):
    scores, signs = double(np.random.default_rng(0).normal(size=(1, 12))), torch.full((1, 12), sign).double()
    assert hinge(scores.numpy(), signs.numpy(), float(exact_intercept(scores, signs))) < 1e-12


def test_objectives_by_hand():
    grams, features, signs = tables()
    alpha = double(np.random.default_rng(1).random((2, N)))
    primal, dual = (f(features, alpha, signs, LAMBDA) for f in (primal_objective, dual_objective))
    for table, penalty in enumerate(LAMBDA.tolist()):
        signed, w = (alpha * signs)[table].numpy(), signs[table].numpy()
        quadratic = signed @ grams[table] @ signed
        np.testing.assert_allclose(dual[table], alpha[table].sum() - quadratic / (2 * penalty))
        scores = grams[table] @ signed / penalty
        loss = min(hinge(scores, w, b) for b in w - scores)
        np.testing.assert_allclose(primal[table], quadratic / (2 * penalty) + loss)


def test_gram_and_features_have_the_same_scores():
    grams, features, signs = tables()
    alpha = make_feasible(double(np.random.default_rng(1).random((2, N))), signs)
    scores = gram_scores(double(grams), alpha, signs, LAMBDA)
    torch.testing.assert_close(scores, margin_scores(features, alpha, signs, LAMBDA), atol=1e-9, rtol=0)
    gap = relative_duality_gap(features, alpha, signs, LAMBDA)
    torch.testing.assert_close(gap_from_scores(scores, alpha, signs), gap, atol=1e-10, rtol=0)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.floats(-4, 2), st.floats(0.01, 5), st.floats(-2, 1))
def test_gap_is_never_negative(seed, log_lambda, spread, shift):
    _, features, signs = tables(seed)
    alpha = shift + spread * double(np.random.default_rng(seed).random((2, N)))
    gap = relative_duality_gap(features, alpha, signs, torch.full((2,), 10**log_lambda).double())
    assert (gap > -1e-9).all()
    assert torch.isfinite(gap).all()


def test_gap_bounds_the_distance_to_the_optimum():
    _, features, signs = tables()
    best = dual_objective(features, Splitting(dual_program(features, signs, LAMBDA), STEP).run(3000), signs, LAMBDA)
    rng = np.random.default_rng(3)
    for _ in range(20):
        alpha = make_feasible(double(rng.random((2, N))), signs)
        primal = primal_objective(features, alpha, signs, LAMBDA)
        gap = relative_duality_gap(features, alpha, signs, LAMBDA) * primal
        assert (best - dual_objective(features, alpha, signs, LAMBDA) <= gap + 1e-8).all()


# Balance to a target


def arm_and_target(seed=0, rows=N, weighted=False):
    """Features, the treated with sampling weights if asked for, and the mean features of all rows."""
    _, features, signs = tables(seed, rows)
    arm = (signs > 0).double()
    if weighted:
        arm = arm * double(np.random.default_rng(seed).choice([0.2, 1.0, 3.0], size=arm.shape))
    return features, arm, features.mean(1)


def test_target_objective_by_hand():
    features, arm, target = arm_and_target(weighted=True)
    weights = arm * double(np.random.default_rng(2).random((2, N)))
    ours = target_objective(features, weights, arm, target, RIDGE)
    for table, ridge in enumerate(RIDGE.tolist()):
        inside = arm[table].numpy() > 0
        a, r, phi = weights[table].numpy()[inside], arm[table].numpy()[inside], features[table].numpy()[inside]
        shift = a @ phi - target[table].numpy()
        np.testing.assert_allclose(ours[table], (shift @ shift + ridge * (a**2 / r).sum()) / 2)


def test_imbalance_is_attained_and_no_function_does_worse():
    features, arm, target = arm_and_target()
    weights = arm / arm.sum(1, keepdim=True)
    worst = imbalance(features, weights, target)
    direction = combine(features, weights) - target
    rng = np.random.default_rng(0)

    def shift(function):
        """Weighted mean of the arm minus mean of the target, of the function with these coefficients."""
        values = apply(features, function)
        return (weights * values).sum(1) - values.mean(1)

    unit = direction / torch.linalg.vector_norm(direction, dim=1, keepdim=True)
    torch.testing.assert_close(shift(unit), worst)
    for _ in range(50):
        other = double(rng.normal(size=unit.shape))
        other = other / torch.linalg.vector_norm(other, dim=1, keepdim=True)
        assert (shift(other).abs() <= worst + 1e-12).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.2, 4), st.booleans())
def test_target_gap_bounds_the_distance_to_the_optimum(seed, power, weighted):
    features, arm, target = arm_and_target(seed, weighted=weighted)
    best = target_weights(features, arm, target, RIDGE, 0.3 * RIDGE, 300)
    best = target_objective(features, best, arm, target, RIDGE)
    weights = arm * double(np.random.default_rng(seed).random((2, N)) ** power)
    weights = weights / weights.sum(1, keepdim=True)
    gap = certify_target(features, weights, arm, target, RIDGE).gap
    uniform = target_objective(features, arm / arm.sum(1, keepdim=True), arm, target, RIDGE)
    assert (gap >= 0).all()
    assert (target_objective(features, weights, arm, target, RIDGE) - best <= gap * uniform + 1e-7).all()


# What a gap leaves open


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_no_weights_below_the_box_balance_the_arms_better_than_the_bound(seed, iterations):
    """Against cvxpy: least imbalance with no weight above one over the sum of alpha."""
    _, features, signs = tables(seed, rows=16)
    alpha = make_feasible(Splitting(dual_program(features, signs, LAMBDA), STEP).run(iterations), signs)
    size, lowest = arms_imbalance(features, alpha, signs, LAMBDA)
    weights = weights_from_alpha(alpha, signs)
    torch.testing.assert_close(size, imbalance(features, weights * signs, torch.zeros_like(features[:, 0])))
    assert (lowest <= size).all()
    for table in range(2):
        phi, w, total = features[table].numpy(), signs[table].numpy(), float(alpha[table].sum()) / 2
        variable = cvxpy.Variable(16)
        arms = [cvxpy.sum(variable[w > 0]) == 1, cvxpy.sum(variable[w < 0]) == 1]
        box = [variable >= 0, variable <= 1 / total + 1e-9]
        least = cvxpy.Problem(cvxpy.Minimize(cvxpy.norm(phi.T @ cvxpy.multiply(w, variable))), arms + box)
        assert float(lowest[table]) <= least.solve(solver="CLARABEL") + 1e-5


def test_bounds_are_tight_at_the_solution():
    _, features, signs = tables()
    alpha = Splitting(dual_program(features, signs, LAMBDA), STEP).run(5000)
    size, lowest = arms_imbalance(features, alpha, signs, LAMBDA)
    torch.testing.assert_close(lowest, size, rtol=1e-3, atol=0)
    features, arm, target = arm_and_target()
    weights = target_weights(features, arm, target, RIDGE, 0.3 * RIDGE, 5000)
    found = certify_target(features, weights, arm, target, RIDGE)
    size, lowest = found.imbalance, found.lowest
    torch.testing.assert_close(lowest, size, rtol=1e-3, atol=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 5), st.booleans())
def test_no_weights_with_the_same_sample_size_come_closer_to_the_target(seed, iterations, weighted):
    features, arm, target = arm_and_target(seed, 16, weighted)
    weights = target_weights(features, arm, target, RIDGE, 0.3 * RIDGE, iterations)
    found = certify_target(features, weights, arm, target, RIDGE)
    size, lowest = found.imbalance, found.lowest
    assert (lowest <= size).all()
    for table in range(2):
        inside = arm[table].numpy() > 0
        phi, root = features[table].numpy()[inside], np.sqrt(arm[table].numpy()[inside])
        variable, ours = cvxpy.Variable(inside.sum(), nonneg=True), weights[table].numpy()[inside]
        spread = cvxpy.sum_squares(cvxpy.multiply(variable, 1 / root)) <= np.sum((ours / root) ** 2) + 1e-9
        distance = cvxpy.norm(phi.T @ variable - target[table].numpy())
        least = cvxpy.Problem(cvxpy.Minimize(distance), [cvxpy.sum(variable) == 1, spread])
        assert float(lowest[table]) <= least.solve(solver="CLARABEL") + 1e-5


def test_lowest_imbalance_is_zero_where_the_gap_leaves_everything_open():
    size, excess = double([3.0, 3.0, 3.0]), double([0.0, 2.5, 10.0])
    torch.testing.assert_close(lowest_imbalance(size, excess), double([3.0, 2.0, 0.0]))
