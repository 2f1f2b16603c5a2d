"""Target balancing by Newton steps against cvxpy and the operator splitting, from easy tables to degenerate ones."""

from __future__ import annotations

from dataclasses import replace

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dowhy_cina.mathematics.balancing import certify_target, scale_rows, target_objective
from dowhy_cina.mathematics.dual import ArmProblem, DualPoint
from dowhy_cina.mathematics.kernels import LandmarkKernel
from dowhy_cina.mathematics.newton import MOST_STEPS, ArmRows, Dual, balance_to_target, simplex, solve_dual_of_target
from dowhy_cina.mathematics.rows import RowFeatures
from dowhy_cina.mathematics.splitting import QuadraticProgram, Splitting

N, M = 40, 6
RIDGE = torch.tensor([0.01, 0.5], dtype=torch.float64)


def double(values):
    return torch.as_tensor(np.asarray(values, dtype=np.float64))


def draw(seed=0, rows=N, scale=1.0, weighted=False, tables=2):
    """Arms of half the rows, with sampling weights if asked for, to be balanced to the mean of all rows."""
    rng = np.random.default_rng(seed)
    features = double(scale * rng.normal(size=(tables, rows, M)))
    arm = double(rng.random((tables, rows)) < 1 / (1 + np.exp(-features[..., 0].numpy() / scale)))
    if weighted:
        arm = arm * double(rng.choice([0.2, 1.0, 3.0], size=arm.shape))
    arm[:, 0] = 1.0
    return ArmProblem(features, arm, features.mean(1), RIDGE[:tables])


def weights_of(problem):
    return balance_to_target(problem)[0]


def evaluated(point, problem):
    return ArmRows(problem.features, problem.arm).evaluate(point)


def uniform_point(dual):
    return DualPoint.start(dual.ridge, dual.count, dual.target.shape[1])


def gap_of(problem, weights):
    return certify_target(problem.features, weights, problem.arm, problem.target, problem.ridge).gap


def solved(problem, gap=1e-8):
    """Weights that hold what is promised of them: on the simplex, on the arm alone, with a small gap."""
    weights = weights_of(problem)
    assert torch.isfinite(weights).all()
    assert (weights >= 0).all()
    assert not weights[problem.arm == 0].any()
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-12)
    assert (gap_of(problem, weights) <= gap).all()
    return weights


# Other solvers


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_weights_are_cvxpys(weighted, apart):
    problem = draw(weighted=weighted)
    problem = replace(problem, target=problem.target + apart)
    weights = solved(problem)
    ours = target_objective(problem.features, weights, problem.arm, problem.target, problem.ridge)
    for table, ridge in enumerate(RIDGE.tolist()):
        inside = problem.arm[table].numpy() > 0
        phi, sampling = problem.features[table].numpy()[inside], problem.arm[table].numpy()[inside]
        variable = cvxpy.Variable(inside.sum(), nonneg=True)
        spread = cvxpy.sum_squares(cvxpy.multiply(variable, 1 / np.sqrt(sampling)))
        objective = cvxpy.sum_squares(phi.T @ variable - problem.target[table].numpy()) + ridge * spread
        expected = cvxpy.Problem(cvxpy.Minimize(objective / 2), [cvxpy.sum(variable) == 1]).solve(solver="CLARABEL")
        assert float(ours[table]) == pytest.approx(expected, abs=1e-7)
        assert float(ours[table]) <= expected + 1e-9
        np.testing.assert_allclose(weights[table].numpy()[inside], variable.value, atol=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("apart", [0.0, 0.3])
def test_weights_are_those_of_the_operator_splitting(weighted, apart):
    problem = draw(weighted=weighted)
    problem = replace(problem, target=problem.target + apart)
    count, root = problem.arm.sum(1), problem.arm.sqrt()
    scaled = scale_rows(problem.features, root)
    linear = torch.einsum("bnm,bm,b->bn", scaled, problem.target, count)
    mask = (problem.arm > 0).double()
    program = QuadraticProgram(scaled, RIDGE, linear, root, count, float("inf"), mask)
    found = Splitting(program, 0.3 * RIDGE).run(20_000) * root
    torch.testing.assert_close(solved(problem), found / found.sum(1, keepdim=True), atol=1e-7, rtol=0)


# Easy and hard tables


def many_rows(problem):
    return replace(problem, arm=torch.ones_like(problem.arm))


def first_rows(count):
    def change(problem):
        arm = torch.zeros_like(problem.arm)
        arm[:, :count] = problem.arm[:, :1]
        return replace(problem, arm=arm)

    return change


def equal_rows(problem):
    return replace(problem, features=problem.features[:, :1].expand_as(problem.features).contiguous())


def duplicated_rows(problem):
    return replace(problem, features=problem.features[:, : N // 4].repeat(1, 4, 1))


def no_features(problem):
    return replace(problem, features=torch.zeros_like(problem.features), target=torch.zeros_like(problem.target))


CASES = {
    "all rows": many_rows,
    "rare arm": first_rows(3),
    "one row": first_rows(1),
    "equal rows": equal_rows,
    "duplicated rows": duplicated_rows,
    "no features": no_features,
    "outside": lambda problem: replace(problem, target=problem.target + 2),
    "far outside": lambda problem: replace(problem, target=problem.target + 100),
    "as it is": lambda problem: problem,
}


@pytest.mark.parametrize("ridge", [1e-4, 0.1, 10, 1e4])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_every_table_is_solved(case, weighted, ridge):
    problem = CASES[case](draw(1, weighted=weighted))
    problem = replace(problem, ridge=torch.full_like(RIDGE, ridge))
    weights = solved(problem)
    if case == "one row":
        torch.testing.assert_close(weights, (problem.arm > 0).double())
    if case in ("equal rows", "no features"):
        torch.testing.assert_close(weights, problem.arm / problem.arm.sum(1, keepdim=True), atol=1e-7, rtol=0)


def test_duplicated_rows_share_their_weight():
    problem = duplicated_rows(many_rows(draw(1)))
    copies = solved(problem).reshape(2, 4, -1)
    torch.testing.assert_close(copies, copies[:, :1].expand_as(copies), atol=1e-12, rtol=0)


@pytest.mark.parametrize("ridge", [1e-2, 1.0])
@pytest.mark.parametrize("distance", [2.0, 4.0])
def test_few_rows_of_many_carry_the_weight(ridge, distance):
    """A population away from a long table, on whose edge it has a handful of neighbours."""
    rng = np.random.default_rng(0)
    keys = double(rng.normal(size=(1, 20_000, 5)))
    kernel = LandmarkKernel(keys[:, :24], double([[0.3, 1.0, 0.7]]))
    target = kernel.features(keys[:, :50] + distance).mean(1)
    arm = torch.ones_like(keys[..., 0])
    weights = solved(ArmProblem(kernel.features(keys), arm, target, double([ridge])))
    assert (weights > 0).sum() < 500


def test_steps_end_where_the_table_is_solved():
    """Few of the steps that are allowed, so that a table that takes them all is one that failed."""
    for problem in (draw(), replace(draw(), target=draw().target + 2), first_rows(3)(draw())):
        calls = []

        def evaluate(point, problem=problem, calls=calls):
            calls.append(point)
            return evaluated(point, problem)

        dual = Dual.of_problem(problem)
        found, steps = solve_dual_of_target(dual, evaluate, evaluate(uniform_point(dual)))
        assert steps < len(calls)
        assert dual.gradient(evaluated(found.point, problem)).abs().max() <= 1e-10
        assert len(calls) < MOST_STEPS / 2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(-4, 4), st.floats(0, 3), st.integers(1, N))
def test_weights_are_finite_and_on_the_simplex(seed, log_scale, log_ridge, apart, rows):
    # Beyond, rounding may stop a step short: kernels' features are of the size of one, and ridges above a hundredth.
    assume(2 * log_scale - log_ridge <= 7)
    problem = draw(seed, rows, 10**log_scale, weighted=True)
    direction = double(np.random.default_rng(seed).normal(size=(2, M)))
    target = problem.target + apart * 10**log_scale * direction
    ridge = torch.full_like(RIDGE, 10**log_ridge)
    # Rounding is of the size of the features' Gram, which the ridge divides.
    solved(replace(problem, target=target, ridge=ridge), gap=1e-9 + 1e-12 * 100**log_scale / 10**log_ridge)


# What changes nothing


def test_batch_is_one_by_one():
    """Tables of every difficulty: none moves on because another one does."""
    problems = [replace(case(draw(2, weighted=True)), ridge=RIDGE) for case in CASES.values()]
    given = [name for name, value in vars(problems[0]).items() if value is not None]
    joined = {name: torch.cat([getattr(problem, name) for problem in problems]) for name in given}
    together = solved(ArmProblem(**joined))
    for table in range(len(together)):
        alone = solved(ArmProblem(**{name: value[[table]] for name, value in joined.items()}))
        torch.testing.assert_close(alone, together[[table]], atol=1e-9, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_a_row_is_two_copies_with_half_the_weight(seed):
    problem = draw(seed, weighted=True)
    copies = torch.from_numpy(np.random.default_rng(seed).permutation(N)[: N // 3])
    halved = problem.arm.clone()
    halved[:, copies] /= 2
    more = torch.cat([problem.features, problem.features[:, copies]], 1)
    both = torch.cat([halved, halved[:, copies]], 1)
    single, parts = solved(problem), solved(replace(problem, features=more, arm=both))
    torch.testing.assert_close(parts[:, N:], parts[:, copies], atol=1e-9, rtol=0)
    joined = parts[:, :N].clone()
    joined[:, copies] *= 2
    torch.testing.assert_close(joined, single, atol=1e-9, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_row_order_changes_nothing(seed):
    problem = draw(seed, weighted=True)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(N))
    turned = replace(problem, features=problem.features[:, order], arm=problem.arm[:, order])
    torch.testing.assert_close(solved(turned), solved(problem)[:, order], atol=1e-9, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.01, 100))
def test_rows_of_one_weight_are_rows_without(seed, weight):
    """The level of the weights is that of the ridge's unit, so that a ridge as many times as large undoes it."""
    problem = draw(seed)
    other = replace(problem, arm=weight * problem.arm, ridge=weight * problem.ridge)
    torch.testing.assert_close(solved(other), solved(problem), atol=1e-9, rtol=0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_a_turn_and_a_shift_of_the_features_change_nothing(seed):
    """On the simplex a shift moves both means alike."""
    problem = draw(seed, weighted=True)
    rng = np.random.default_rng(seed)
    turn, shift = double(np.linalg.qr(rng.normal(size=(M, M)))[0]), double(rng.normal(size=M))
    other = replace(problem, features=problem.features @ turn + shift, target=problem.target @ turn + shift)
    torch.testing.assert_close(solved(other), solved(problem), atol=1e-8, rtol=0)


def test_rows_outside_the_arm_may_be_anything():
    problem = draw(weighted=True)
    features = torch.where((problem.arm > 0)[..., None], problem.features, 1e3)
    torch.testing.assert_close(solved(replace(problem, features=features)), solved(problem), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kept", ["features", "kernels", "nothing"])
def test_blocks_of_rows_are_the_tensor_of_features(kept):
    rng = np.random.default_rng(0)
    keys = double(rng.normal(size=(2, 60, 3)))
    kernel = LandmarkKernel(keys[:, :12], double(np.tile([0.3, 1.0, 0.7], (2, 1))))
    arm = double(rng.choice([0.0, 0.5, 1.0], size=(2, 60)))
    whole = ArmProblem(kernel.features(keys), arm, kernel.features(keys + 0.5).mean(1), RIDGE)
    rows = RowFeatures.build(kernel, keys, kept != "nothing", block_entries=2 * 12 * 7, whiten=kept == "features")
    torch.testing.assert_close(solved(replace(whole, features=rows)), solved(whole), atol=1e-10, rtol=0)


# Gradients


def test_gradients_are_finite_differences():
    """In ridge, target and features, where some rows carry weight and some do not."""
    problem = replace(draw(3, rows=12, weighted=True), ridge=double([0.3, 0.8]))
    problem = replace(problem, target=problem.target + 0.3)
    weights = solved(problem)
    assert 0 < int((weights[problem.arm > 0] == 0).sum()) < int((problem.arm > 0).sum())
    mix = double(np.random.default_rng(0).normal(size=(2, 12)))

    def value(features, target, ridge):
        return (mix * weights_of(ArmProblem(features, problem.arm, target, ridge))).sum(1)

    given_ = [part.clone().requires_grad_() for part in (problem.features, problem.target, problem.ridge)]
    assert torch.autograd.gradcheck(value, given_, eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_finite(case):
    problem = CASES[case](draw(weighted=True))
    features, target, ridge = (p.clone().requires_grad_() for p in (problem.features, problem.target, problem.ridge))
    weights = weights_of(ArmProblem(features, problem.arm, target, ridge))
    torch.testing.assert_close(weights.detach(), solved(problem), atol=1e-9, rtol=0)
    (weights * double(np.random.default_rng(0).normal(size=weights.shape))).sum().backward()
    for part in (features, target, ridge):
        assert torch.isfinite(part.grad).all()


# Uniform weights


@pytest.mark.parametrize("weighted", [False, True])
def test_an_endless_ridge_leaves_the_sampling_weights(weighted):
    problem = draw(weighted=weighted)
    weights = solved(replace(problem, ridge=torch.full_like(RIDGE, 1e12)))
    torch.testing.assert_close(weights, problem.arm / problem.arm.sum(1, keepdim=True), atol=1e-9, rtol=0)


def test_uniform_where_nothing_is_left():
    arm = draw(weighted=True).arm
    torch.testing.assert_close(simplex(torch.zeros_like(arm), arm), arm / arm.sum(1, keepdim=True))
    torch.testing.assert_close(simplex(3 * arm**2, arm), arm**2 / (arm**2).sum(1, keepdim=True))
