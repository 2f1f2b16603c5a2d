"""Exact solutions against scikit-learn and against each other, and every refusal."""

from __future__ import annotations

import cvxpy
import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC

from dowhy_cina.errors import InputError
from dowhy_cina.mathematics.balancing import relative_duality_gap
from dowhy_cina.mathematics.solvers import factorise, solve_dual, solve_dual_svc
from dowhy_cina.mathematics.splitting import DUAL_STEP, RELAXATION, Splitting, dual_program

LAMBDA = 0.1


def problem(rows, seed, columns=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    signs = np.where(rng.random(rows) < 1 / (1 + np.exp(-x[:, 0])), 1.0, -1.0)
    return rbf_kernel(x, gamma=0.3), signs


def svc_alpha(gram, signs):
    machine = SVC(C=1.0, kernel="precomputed", tol=1e-8).fit(gram / LAMBDA, signs)
    alpha = np.zeros(len(signs))
    alpha[machine.support_] = np.abs(machine.dual_coef_[0])
    return alpha, machine.intercept_[0]


def solve_one(gram, signs, penalty=LAMBDA, **options):
    as_batch = (torch.from_numpy(np.asarray(part, dtype=np.float64))[None] for part in (gram, signs, penalty))
    return solve_dual_svc(*as_batch, **options)


def test_one_table_is_the_support_vector_machine():
    gram, signs = problem(200, 0)
    found = solve_one(gram, signs)
    alpha, intercept = svc_alpha(gram, signs)
    assert found.converged
    assert float(found.gap) <= 1e-6
    print(f"largest difference of alpha {np.abs(found.alpha[0].numpy() - alpha).max():.1e}")
    assert found.alpha[0].numpy() == pytest.approx(alpha, abs=1e-4)
    assert float(found.intercept) == pytest.approx(intercept, abs=1e-3)


@pytest.mark.parametrize("penalty", [1e-3, 1e-2, 1.0])
@pytest.mark.parametrize("columns", [2, 10])
def test_gap_goes_below_what_single_precision_allows(penalty, columns):
    """The support vector machine alone ends at 1e-6 to 1e-5 when lambda is small."""
    gram, signs = problem(300, 1, columns)
    found = solve_one(gram, signs, penalty, tolerance=1e-7)
    features = factorise(torch.from_numpy(gram)[None])
    gap = relative_duality_gap(
        features, found.alpha, torch.from_numpy(signs)[None], torch.tensor([penalty], dtype=torch.float64)
    )
    print(f"gap {float(found.gap):.1e}, from features {float(gap):.1e}")
    assert found.converged
    assert float(gap) < 2e-7
    assert abs(float((found.alpha[0] * torch.from_numpy(signs)).sum())) < 1e-9


def test_objective_is_cvxpys_to_eight_digits():
    gram, signs = problem(40, 2)
    found = solve_one(gram, signs, tolerance=1e-9)
    features = np.linalg.cholesky(gram + 1e-12 * np.eye(40))
    variable = cvxpy.Variable(40)
    signed = cvxpy.multiply(variable, signs)
    objective = cvxpy.sum(variable) - cvxpy.sum_squares(features.T @ signed) / (2 * LAMBDA)
    dual = cvxpy.Problem(cvxpy.Maximize(objective), [variable >= 0, variable <= 1, signs @ variable == 0])
    expected = dual.solve(solver="CLARABEL", tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    alpha = found.alpha[0].numpy()
    ours = alpha.sum() - (alpha * signs) @ gram @ (alpha * signs) / (2 * LAMBDA)
    print(f"difference of the objectives {abs(ours - expected):.1e}")
    assert ours == pytest.approx(expected, abs=1e-8)


def test_closed_form_where_no_alpha_reaches_its_bound():
    """With a small lambda and every row a support vector the optimality conditions are one linear system."""
    gram = np.eye(6) + 0.1
    signs = np.array([1.0, -1, 1, -1, 1, -1])
    system = np.block([[gram / 0.5, np.ones((6, 1))], [np.ones((1, 6)), np.zeros((1, 1))]])
    *signed, intercept = np.linalg.solve(system, np.append(signs, 0))
    found = solve_one(gram, signs, 0.5, tolerance=1e-12)
    assert found.alpha[0].numpy() == pytest.approx(np.array(signed) * signs, abs=1e-9)
    assert (found.alpha < 1).all()
    assert float(found.intercept) == pytest.approx(intercept, abs=1e-9)


def test_rows_that_occur_twice():
    gram, signs = problem(60, 3)
    twice = np.tile(np.arange(60), 2)
    single = solve_one(gram, signs, LAMBDA)
    double = solve_one(gram[np.ix_(twice, twice)], signs[twice], 2 * LAMBDA, tolerance=1e-8)
    assert double.converged
    # Twice the rows at twice the penalty are the same function: alpha, half as much weight a row, does not change.
    summed = double.alpha[0, :60] + double.alpha[0, 60:]
    assert (summed / 2).numpy() == pytest.approx(single.alpha[0].numpy(), abs=1e-4)


def test_a_batch_with_padding_is_one_by_one():
    sizes, longest = (40, 90, 60), 90
    grams, signs = np.zeros((3, longest, longest)), np.zeros((3, longest))
    for k, size in enumerate(sizes):
        grams[k, :size, :size], signs[k, :size] = problem(size, k)
    penalties = torch.tensor([0.1, 1.0, 0.01], dtype=torch.float64)
    found = solve_dual_svc(torch.from_numpy(grams), torch.from_numpy(signs), penalties)
    assert found.converged
    for k, (size, penalty) in enumerate(zip(sizes, penalties.tolist(), strict=True)):
        alone = solve_one(grams[k, :size, :size], signs[k, :size], penalty)
        assert found.alpha[k, :size].numpy() == pytest.approx(alone.alpha[0].numpy(), abs=1e-9)
        assert float(found.intercept[k]) == pytest.approx(float(alone.intercept), abs=1e-9)
        assert bool((found.alpha[k, size:] == 0).all())


def test_a_machine_that_is_stopped_says_so(monkeypatch):
    monkeypatch.setattr("dowhy_cina.mathematics.solvers.MAX_PAIR_STEPS", 3)
    monkeypatch.setattr("dowhy_cina.mathematics.solvers.ACTIVE_SET_STEPS", 1)
    with pytest.warns(ConvergenceWarning):
        found = solve_one(*problem(200, 0))
    assert not found.converged
    assert float(found.gap) > 1e-6


def test_too_many_rows_name_the_landmark_route(monkeypatch):
    monkeypatch.setattr("dowhy_cina.mathematics.solvers.MAX_ROWS", 20)
    with pytest.raises(InputError, match="landmark"):
        solve_one(*problem(30, 0))


def test_batch_of_different_sizes_is_one_by_one():
    sizes, longest = (40, 90, 60), 90
    grams, signs = np.zeros((3, longest, longest)), np.zeros((3, longest))
    for k, size in enumerate(sizes):
        grams[k, :size, :size], signs[k, :size] = problem(size, k)
    features = factorise(torch.from_numpy(grams))
    features = features * torch.from_numpy(signs != 0)[..., None]
    found = solve_dual(features, torch.from_numpy(signs), torch.full((3,), LAMBDA, dtype=torch.float64), tolerance=1e-7)
    assert found.converged
    assert bool((found.gap <= 1e-7).all())
    for k, size in enumerate(sizes):
        alpha, intercept = svc_alpha(grams[k, :size, :size], signs[k, :size])
        assert found.alpha[k, :size].numpy() == pytest.approx(alpha, abs=2e-3)
        assert bool((found.alpha[k, size:] == 0).all())
        assert float(found.intercept[k]) == pytest.approx(intercept, abs=5e-3)


def test_a_table_that_is_there_does_not_move_on_with_its_batch():
    grams, signs = (np.stack(parts) for parts in zip(problem(60, 0), problem(60, 1), strict=True))
    features, w = factorise(torch.from_numpy(grams)), torch.from_numpy(signs)
    # The first table's problem is the easier one by far: it waits for the second.
    penalties, tolerance = torch.tensor([30.0, 0.01], dtype=torch.float64), 1e-3
    both = solve_dual(features, w, penalties, tolerance=tolerance)
    alone = [solve_dual(features[k : k + 1], w[k : k + 1], penalties[k : k + 1], tolerance=tolerance) for k in (0, 1)]
    assert both.converged
    assert alone[0].iterations < both.iterations == alone[1].iterations
    assert both.alpha[0].numpy() == pytest.approx(alone[0].alpha[0].numpy(), abs=1e-12)
    assert float(both.gap[0]) == pytest.approx(float(alone[0].gap), rel=1e-6)


def test_a_solver_is_continued():
    gram, signs = problem(150, 3)
    features, w = factorise(torch.from_numpy(gram)[None]), torch.from_numpy(signs)[None]
    lam = torch.tensor([LAMBDA], dtype=torch.float64)
    cold = solve_dual(features, w, lam, tolerance=1e-6)
    begun = Splitting(dual_program(features, w, lam), torch.full((1,), DUAL_STEP).double())
    begun.run(40, RELAXATION)
    continued = solve_dual(features, w, lam, tolerance=1e-6, solver=begun)
    assert continued.iterations < cold.iterations
    assert continued.alpha.numpy() == pytest.approx(cold.alpha.numpy(), abs=2e-3)


def test_a_solver_with_a_poor_step_is_continued_with_a_good_one():
    gram, signs = problem(150, 3)
    w, lam = torch.from_numpy(signs)[None], torch.tensor([LAMBDA], dtype=torch.float64)
    features = factorise(torch.from_numpy(gram)[None])
    begun = Splitting(dual_program(features, w, lam), torch.full((1,), 0.3).double())
    begun.run(100)
    before = relative_duality_gap(features, begun.solution, w, lam)
    other = begun.with_step(torch.full((1,), DUAL_STEP).double())
    assert torch.equal(other.solution, begun.solution)
    other.run(3)
    # Without the right multiplier it would begin anew, some twenty times as far off.
    assert float(relative_duality_gap(features, other.solution, w, lam)) < 1.5 * float(before)
    cold = solve_dual(features, w, lam, tolerance=1e-6)
    assert solve_dual(features, w, lam, tolerance=1e-6, solver=begun).iterations < cold.iterations


def test_rebalancing_the_step_saves_most_iterations(monkeypatch):
    gram, signs = problem(300, 4, 3)
    arguments = factorise(torch.from_numpy(gram)[None]), torch.from_numpy(signs)[None], torch.full((1,), 0.1).double()
    quick = solve_dual(*arguments, tolerance=1e-6)
    monkeypatch.setattr("dowhy_cina.mathematics.solvers.FIRST_REBALANCE", 10**9)
    slow = solve_dual(*arguments, tolerance=1e-6)
    assert quick.converged
    assert 2 * quick.iterations < slow.iterations


def test_a_limit_that_is_too_small_is_said():
    gram, signs = problem(150, 3)
    found = solve_dual(
        factorise(torch.from_numpy(gram)[None]),
        torch.from_numpy(signs)[None],
        torch.tensor([LAMBDA], dtype=torch.float64),
        tolerance=1e-9,
        max_iterations=7,
    )
    assert not found.converged
    assert found.iterations == 7
    assert float(found.gap) > 1e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k, w: (np.where(k > 0.9, np.nan, k), w, 0.1), "NaN"),
        (lambda k, w: (k + np.triu(np.ones_like(k), 1), w, 0.1), "symmetric"),
        (lambda k, w: (k - np.eye(len(k)), w, 0.1), "semi-definite"),
        (lambda k, w: (k[:, :-1], w, 0.1), "shape"),
        (lambda k, w: (k, w, 0.0), "regularisation"),
        (lambda k, w: (k, w, float("nan")), "regularisation"),
        (lambda k, w: (k, np.ones_like(w), 0.1), "0 control"),
        (lambda k, w: (k, -np.ones_like(w), 0.1), "0 treated"),
    ],
)
def test_refused(change, message):
    with pytest.raises(InputError, match=message):
        solve_one(*change(*problem(30, 0)))


@pytest.mark.parametrize("problem_of", ["NaN", "symmetric", "semi-definite"])
def test_factorise_refuses_the_same(problem_of):
    gram = torch.from_numpy(problem(30, 0)[0])[None]
    changes = {"NaN": gram * torch.nan, "symmetric": gram.triu(), "semi-definite": gram - 0.9 * torch.eye(30).double()}
    with pytest.raises(InputError, match=problem_of):
        factorise(changes[problem_of])


def test_a_batch_with_a_table_that_is_all_padding_is_refused():
    gram, signs = problem(30, 0)
    features = factorise(torch.from_numpy(np.stack([gram, gram])))
    with pytest.raises(InputError, match="table 1"):
        solve_dual(
            features,
            torch.from_numpy(np.stack([signs, 0 * signs])),
            torch.tensor([LAMBDA, LAMBDA], dtype=torch.float64),
        )
