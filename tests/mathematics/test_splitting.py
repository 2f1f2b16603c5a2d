"""The batched solver of both balancing problems against scikit-learn's SVC, cvxpy and linear systems."""

from __future__ import annotations

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC

from dowhy_cina.mathematics.balancing import (
    certify_target,
    dual_objective,
    imbalance,
    make_feasible,
    primal_objective,
    relative_duality_gap,
    target_objective,
    weights_from_alpha,
)
from dowhy_cina.mathematics.splitting import (
    DUAL_STEP,
    GRADIENT_ITERATIONS,
    RELAXATION,
    Splitting,
    dual_program,
    simplex_weights,
    target_program,
)

N = 40
LAMBDA = torch.tensor([0.1, 1.0], dtype=torch.float64)
RIDGE = torch.tensor([0.01, 0.5], dtype=torch.float64)
STEP = torch.full((2,), DUAL_STEP, dtype=torch.float64)


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


def arm_and_target(seed=0, weighted=False):
    """Features, the treated with sampling weights if asked for, and the mean features of all rows."""
    _, features, signs = tables(seed)
    arm = (signs > 0).double()
    if weighted:
        arm = arm * double(
            np.random.default_rng(seed).choice([0.0, 0.2, 1.0, 3.0], p=[0.1, 0.3, 0.3, 0.3], size=(2, N))
        )
        arm[:, 0] = 1.0
    return features, arm, features.mean(1)


def target_weights(features, arm, target, ridge, step, iterations):
    return simplex_weights(Splitting(target_program(features, arm, target, ridge), step).run(iterations), arm)


# Solutions


def test_dual_solution_is_the_support_vector_machines():
    grams, features, signs = tables()
    alpha = Splitting(dual_program(features, signs, LAMBDA), STEP).run(3000)
    assert (relative_duality_gap(features, alpha, signs, LAMBDA) < 1e-5).all()
    for table, penalty in enumerate(LAMBDA.tolist()):
        machine = SVC(kernel="precomputed", C=1 / penalty, tol=1e-9).fit(grams[table], signs[table].numpy())
        theirs = np.zeros(N)
        theirs[machine.support_] = np.abs(machine.dual_coef_[0]) * penalty
        np.testing.assert_allclose(alpha[table], theirs, atol=1e-4)
        ours = dual_objective(features, alpha, signs, LAMBDA)[table]
        other = dual_objective(features, double(theirs)[None].expand(2, N), signs, LAMBDA)[table]
        np.testing.assert_allclose(ours, other, rtol=1e-5)


def test_dual_value_is_cvxpys():
    _, features, signs = tables(rows=20)
    alpha = make_feasible(Splitting(dual_program(features, signs, LAMBDA), STEP).run(5000), signs)
    ours = dual_objective(features, alpha, signs, LAMBDA)
    for table, penalty in enumerate(LAMBDA.tolist()):
        phi, w = features[table].numpy(), signs[table].numpy()
        variable = cvxpy.Variable(20)
        signed = cvxpy.multiply(variable, w)
        objective = cvxpy.sum(variable) - cvxpy.sum_squares(phi.T @ signed) / (2 * penalty)
        problem = cvxpy.Problem(cvxpy.Maximize(objective), [variable >= 0, variable <= 1, w @ variable == 0])
        assert float(ours[table]) == pytest.approx(problem.solve(solver="CLARABEL"), abs=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_target_weights_are_cvxpys(weighted):
    features, arm, target = arm_and_target(weighted=weighted)
    weights = target_weights(features, arm, target, RIDGE, 0.3 * RIDGE, 5000)
    np.testing.assert_allclose(weights.sum(1), 1)
    assert (weights >= 0).all()
    assert (weights[arm == 0] == 0).all()
    assert (certify_target(features, weights, arm, target, RIDGE).gap < 1e-5).all()
    for table, ridge in enumerate(RIDGE.tolist()):
        inside = arm[table].numpy() > 0
        phi, sampling = features[table].numpy()[inside], arm[table].numpy()[inside]
        variable = cvxpy.Variable(inside.sum(), nonneg=True)
        spread = cvxpy.sum_squares(cvxpy.multiply(variable, 1 / np.sqrt(sampling)))
        objective = cvxpy.sum_squares(phi.T @ variable - target[table].numpy()) + ridge * spread
        problem = cvxpy.Problem(cvxpy.Minimize(objective / 2), [cvxpy.sum(variable) == 1])
        expected = problem.solve(solver="CLARABEL")
        ours = float(target_objective(features, weights, arm, target, RIDGE)[table])
        assert ours == pytest.approx(expected, abs=1e-6)
        np.testing.assert_allclose(weights[table].numpy()[inside], variable.value, atol=1e-4)


def test_simplex_solution_of_the_dual_below_its_box():
    """While no alpha reaches one the normalised dual balances arm to arm: the best pair of points of the two hulls."""
    _, features, signs = tables(rows=20)
    wide = torch.full((2,), 1e-3).double()
    alpha = Splitting(dual_program(features, signs, wide), torch.full((2,), 200.0).double()).run(20_000)
    assert (alpha < 1).all()
    weights = weights_from_alpha(alpha, signs)
    for table in range(2):
        phi, w = features[table].numpy(), signs[table].numpy()
        variable = cvxpy.Variable(20)
        distance = cvxpy.sum_squares(phi.T @ cvxpy.multiply(w, variable))
        arms = [cvxpy.sum(variable[w > 0]) == 1, cvxpy.sum(variable[w < 0]) == 1, variable >= 0]
        expected = cvxpy.Problem(cvxpy.Minimize(distance), arms).solve(solver="CLARABEL")
        ours = imbalance(features, weights * signs, torch.zeros_like(features[:, 0]))[table] ** 2
        assert float(ours) == pytest.approx(expected, abs=1e-5)


# Sampling weights of a target problem


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 30))
def test_a_row_is_two_copies_with_half_the_weight(seed, iterations):
    """In every iteration, not only at the solution."""
    features, arm, target = arm_and_target(seed, weighted=True)
    copies = torch.from_numpy(np.random.default_rng(seed).permutation(N)[: N // 3])
    more = torch.cat([features, features[:, copies]], 1)
    halved = arm.clone()
    halved[:, copies] /= 2
    both = torch.cat([halved, halved[:, copies]], 1)
    single = target_weights(features, arm, target, RIDGE, 0.3 * RIDGE, iterations)
    double_ = target_weights(more, both, target, RIDGE, 0.3 * RIDGE, iterations)
    torch.testing.assert_close(double_[:, N:], double_[:, copies], atol=1e-9, rtol=0)
    joined = double_[:, :N].clone()
    joined[:, copies] *= 2
    torch.testing.assert_close(joined, single, atol=1e-8, rtol=0)
    for value in (target_objective, lambda *problem: certify_target(*problem).gap):
        torch.testing.assert_close(
            value(more, double_, both, target, RIDGE), value(features, single, arm, target, RIDGE), atol=1e-8, rtol=1e-6
        )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_row_order_changes_nothing(seed, iterations):
    features, arm, target = arm_and_target(seed, weighted=True)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(N))
    single = target_weights(features, arm, target, RIDGE, 0.3 * RIDGE, iterations)
    other = target_weights(features[:, order], arm[:, order], target, RIDGE, 0.3 * RIDGE, iterations)
    torch.testing.assert_close(other, single[:, order], atol=1e-9, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_rows_of_one_weight_are_rows_without(seed, weight):
    """The level of the weights is that of the ridge's unit, so that a ridge as many times as large undoes it."""
    features, arm, target = arm_and_target(seed)
    single = target_weights(features, arm, target, RIDGE, 0.3 * RIDGE, 300)
    other = target_weights(features, weight * arm, target, weight * RIDGE, 0.3 * weight * RIDGE, 300)
    torch.testing.assert_close(other, single, atol=1e-8, rtol=0)


# Iterations


def test_both_factorisations_are_one_iteration():
    """More features than rows take the Gram of the rows, fewer that of the features."""
    _, features, signs = tables()
    few = features[..., -N // 2 :]
    many = torch.cat([few, torch.zeros(2, N, N).double()], 2)
    runs = [Splitting(dual_program(part, signs, LAMBDA), STEP).run(50) for part in (few, many)]
    torch.testing.assert_close(*runs, atol=1e-9, rtol=0)


def test_relaxation_saves_iterations():
    _, features, signs = tables()
    gaps = [
        relative_duality_gap(features, Splitting(dual_program(features, signs, LAMBDA), STEP).run(60, r), signs, LAMBDA)
        for r in (1.0, RELAXATION)
    ]
    assert (gaps[1] < 0.7 * gaps[0]).all()


def test_step_changes_speed_not_solution():
    features, arm, target = arm_and_target()
    slow, fast = (target_weights(features, arm, target, RIDGE, c * RIDGE, 5000) for c in (0.1, 1.0))
    torch.testing.assert_close(slow, fast, atol=1e-6, rtol=0)


def test_first_iteration_is_the_clipped_least_squares_solution():
    features, arm, target = arm_and_target()
    program = target_program(features, arm, target, RIDGE)
    # The splitting holds the first step near zero; as the step vanishes it lets go.
    solution = Splitting(program, torch.full((2,), 1e-9).double()).run(1)
    for table in range(2):
        rows = arm[table].numpy() > 0
        phi = features[table].numpy()[rows]
        system = np.block(
            [
                [phi @ phi.T + float(RIDGE[table]) * np.eye(len(phi)), np.ones((len(phi), 1))],
                [np.ones((1, len(phi))), np.zeros((1, 1))],
            ]
        )
        right = np.append(program.linear[table].numpy()[rows], float(program.level[table]))
        np.testing.assert_allclose(solution[table][rows], np.linalg.solve(system, right)[:-1].clip(0), atol=1e-5)


def test_gradient_of_few_iterations_is_finite_differences():
    features, arm, target = arm_and_target()

    def value(ridge):
        weights = target_weights(features, arm, target, ridge, torch.ones(2).double(), GRADIENT_ITERATIONS)
        return (weights * features[..., -1]).sum()

    assert torch.autograd.gradcheck(value, RIDGE.clone().requires_grad_(), atol=1e-6)


def test_uniform_where_nothing_is_left():
    features, arm, target = arm_and_target()
    torch.testing.assert_close(target_weights(features, arm, target, RIDGE, RIDGE, 0), arm / arm.sum(1, keepdim=True))


def test_batch_is_one_by_one():
    _, features, signs = tables()
    together = Splitting(dual_program(features, signs, LAMBDA), STEP).run(50)
    for table in range(2):
        part = slice(table, table + 1)
        alone = Splitting(dual_program(features[part], signs[part], LAMBDA[part]), STEP[part]).run(50)
        torch.testing.assert_close(alone, together[part], atol=1e-10, rtol=0)


def test_runs_add_up():
    _, features, signs = tables()
    splitting = Splitting(dual_program(features, signs, LAMBDA), STEP)
    splitting.run(20)
    torch.testing.assert_close(splitting.run(30), Splitting(dual_program(features, signs, LAMBDA), STEP).run(50))


def test_padding_changes_nothing():
    """Rows of sign 0 and any features fill a table up to the size of its batch."""
    _, features, signs = tables()
    alpha = double(np.random.default_rng(0).random((2, N)))
    padded, more, filled = (
        torch.cat([part, filler], 1)
        for part, filler in ((features, features[:, :5]), (signs, 0 * signs[:, :5]), (alpha, 1 + alpha[:, :5]))
    )
    for objective in (primal_objective, dual_objective, relative_duality_gap):
        expected = objective(features, make_feasible(alpha, signs), signs, LAMBDA)
        torch.testing.assert_close(objective(padded, make_feasible(filled, more), more, LAMBDA), expected)
    weights = weights_from_alpha(filled, more)
    torch.testing.assert_close(weights[:, :N], weights_from_alpha(alpha, signs))
    assert not weights[:, N:].any()
    solution = Splitting(dual_program(padded, more, LAMBDA), STEP).run(50)
    torch.testing.assert_close(solution[:, :N], Splitting(dual_program(features, signs, LAMBDA), STEP).run(50))
    assert not solution[:, N:].any()
