"""Exact solutions against scikit-learn and against each other, and every refusal."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC

from dowhy_cina.balancing import Splitting, dual_program
from dowhy_cina.errors import InputError
from dowhy_cina.solvers import factorise, solve_dual, solve_dual_svc

LAMBDA = 0.1


def problem(rows, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    signs = np.where(rng.random(rows) < 1 / (1 + np.exp(-x[:, 0])), 1.0, -1.0)
    return rbf_kernel(x, gamma=0.3), signs


def svc_alpha(gram, signs):
    machine = SVC(C=1.0, kernel="precomputed", tol=1e-8).fit(gram / LAMBDA, signs)
    alpha = np.zeros(len(signs))
    alpha[machine.support_] = np.abs(machine.dual_coef_[0])
    return alpha, machine.intercept_[0]


def test_one_table_is_the_support_vector_machine():
    gram, signs = problem(200, 0)
    found = solve_dual_svc(gram, signs, LAMBDA)
    alpha, intercept = svc_alpha(gram, signs)
    assert found.converged
    assert float(found.gap) <= 1e-6
    assert found.alpha[0].numpy() == pytest.approx(alpha, abs=1e-3)
    assert float(found.intercept) == pytest.approx(intercept, abs=1e-3)


def test_batch_of_different_sizes_is_one_by_one():
    sizes, longest = (40, 90, 60), 90
    grams, signs = np.zeros((3, longest, longest)), np.zeros((3, longest))
    for k, size in enumerate(sizes):
        grams[k, :size, :size], signs[k, :size] = problem(size, k)
    features = factorise(torch.from_numpy(grams))
    features = features * torch.from_numpy(signs != 0)[..., None]
    found = solve_dual(features, torch.from_numpy(signs), torch.full((3,), LAMBDA).double(), tolerance=1e-7)
    assert found.converged
    assert bool((found.gap <= 1e-7).all())
    for k, size in enumerate(sizes):
        alpha, intercept = svc_alpha(grams[k, :size, :size], signs[k, :size])
        assert found.alpha[k, :size].numpy() == pytest.approx(alpha, abs=2e-3)
        assert bool((found.alpha[k, size:] == 0).all())
        assert float(found.intercept[k]) == pytest.approx(intercept, abs=5e-3)


def test_a_solver_is_continued():
    gram, signs = problem(150, 3)
    features, w = factorise(torch.from_numpy(gram)[None]), torch.from_numpy(signs)[None]
    lam = torch.tensor([LAMBDA]).double()
    cold = solve_dual(features, w, lam, tolerance=1e-6)
    begun = Splitting(dual_program(features, w, lam), torch.ones(1).double())
    begun.run(40)
    continued = solve_dual(features, w, lam, tolerance=1e-6, solver=begun)
    assert continued.iterations == cold.iterations - 40
    assert continued.alpha.numpy() == pytest.approx(cold.alpha.numpy(), abs=1e-9)


def test_a_limit_that_is_too_small_is_said():
    gram, signs = problem(150, 3)
    found = solve_dual(
        factorise(torch.from_numpy(gram)[None]),
        torch.from_numpy(signs)[None],
        torch.tensor([LAMBDA]).double(),
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
        solve_dual_svc(*change(*problem(30, 0)))


def test_a_batch_with_a_table_that_is_all_padding_is_refused():
    gram, signs = problem(30, 0)
    features = factorise(torch.from_numpy(np.stack([gram, gram])))
    with pytest.raises(InputError, match="table 1"):
        solve_dual(features, torch.from_numpy(np.stack([signs, 0 * signs])), torch.tensor([LAMBDA, LAMBDA]).double())
