"""The dual of target balancing: what rows add up to, factors of features, and where it meets the primal."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dowhy_cina.mathematics import newton
from dowhy_cina.mathematics.balancing import take_rows, target_objective
from dowhy_cina.mathematics.dual import ArmProblem, Curvature, DualPoint, Sums
from dowhy_cina.mathematics.newton import ArmRows, Dual, balance_to_target, simplex, solve_dual_of_target

N, M = 40, 6


def double(values):
    return torch.as_tensor(np.asarray(values, dtype=np.float64))


def draw(weighted=False):
    """Arms of half the rows, with sampling weights if asked for, to be balanced to the mean of all rows."""
    rng = np.random.default_rng(0)
    features = double(rng.normal(size=(2, N, M)))
    arm = double(rng.random((2, N)) < 1 / (1 + np.exp(-features[..., 0].numpy())))
    if weighted:
        arm = arm * double(rng.choice([0.2, 1.0, 3.0], size=arm.shape))
    arm[:, 0] = 1.0
    return ArmProblem(features, arm, features.mean(1), double([0.01, 0.5]))


def evaluated(point, problem):
    return ArmRows(problem.features, problem.arm).evaluate(point)


def uniform_point(dual):
    return DualPoint.start(dual.ridge, dual.count, dual.target.shape[1])


@pytest.mark.parametrize("level", [0.2, 0.02])
def test_sums_of_parts_are_those_of_the_whole(level):
    """And those of the definition, whether most rows carry weight or few do."""
    problem = draw(weighted=True)
    rng = np.random.default_rng(1)
    point = DualPoint(double(0.1 * rng.normal(size=(2, M))), double([level, level / 2]))
    parts = [
        evaluated(point, dataclasses.replace(problem, features=problem.features[:, rows], arm=problem.arm[:, rows]))
        for rows in (slice(0, 7), slice(7, 8), slice(8, N))
    ]
    whole = evaluated(point, problem)
    margins = point.level[:, None] - torch.einsum("bnm,bm->bn", problem.features, point.slope)
    carrying = problem.arm * (margins > 0)
    assert carrying.any()
    assert not (carrying > 0)[problem.arm > 0].all()
    shares = carrying * margins
    sums = Sums(shares.sum(1), (shares * margins).sum(1), torch.einsum("bn,bnm->bm", shares, problem.features))
    carried = torch.einsum("bn,bnm->bm", carrying, problem.features)
    gram = torch.einsum("bn,bnm,bnk->bmk", carrying, problem.features, problem.features)
    for kind, expected in (("sums", sums), ("curvature", Curvature(carrying.sum(1), carried, gram))):
        added = getattr(parts[0], kind) + getattr(parts[1], kind) + getattr(parts[2], kind)
        assert isinstance(added, type(expected))
        for name, value in vars(expected).items():
            for found in (added, getattr(whole, kind)):
                torch.testing.assert_close(getattr(found, name), value, atol=1e-12, rtol=1e-12, msg=name)


@torch.no_grad()
def test_curvature_is_the_same_after_others():
    """From the rows whose part changed since the last time."""
    problem = draw(weighted=True)
    rng, rows = np.random.default_rng(3), ArmRows(problem.features, problem.arm)
    for level in (0.3, 0.28, 0.28, 0.1, 0.11, -9.0, 0.2, 0.21):
        point = DualPoint(double(0.05 * rng.normal(size=(2, M))), double([level, level / 2]))
        found, fresh = rows.evaluate(point).curvature, evaluated(point, problem).curvature
        for name, value in vars(fresh).items():
            torch.testing.assert_close(getattr(found, name), value, atol=1e-12, rtol=1e-12, msg=name)


@torch.no_grad()
def test_only_rows_whose_part_changed_are_read_again(monkeypatch):
    problem = draw()
    problem = dataclasses.replace(problem, arm=torch.ones_like(problem.arm))
    rows = ArmRows(problem.features, problem.arm)
    slope = torch.zeros_like(problem.target)
    everything = rows.evaluate(DualPoint(slope, double([1.0, 1.0]))).curvature
    taken = []
    monkeypatch.setattr(newton, "take_rows", lambda features, index: taken.append(index) or take_rows(features, index))
    margins = -torch.einsum("bnm,m->bn", problem.features, torch.ones(M, dtype=torch.float64))
    level = -margins.kthvalue(3, dim=1).values
    found = rows.evaluate(DualPoint(torch.ones_like(slope), level)).curvature
    assert [index.shape[1] for index in taken] == [0, 3]
    assert torch.equal(everything.carrying - found.carrying, double([3, 3]))


def test_scaled_points_have_the_weights_of_a_scaled_ridge():
    problem = draw(weighted=True)
    point = DualPoint(double(0.1 * np.random.default_rng(1).normal(size=(2, M))), double([0.2, 0.1]))
    factor = double([3.0, 0.2])
    scaled = evaluated(point, problem).times(factor)
    again = evaluated(scaled.point, problem)
    for kind in ("sums", "curvature"):
        for name, value in vars(getattr(again, kind)).items():
            torch.testing.assert_close(getattr(getattr(scaled, kind), name), value, atol=1e-12, rtol=1e-12, msg=name)
    weights = scaled.point.weights(dataclasses.replace(problem, ridge=problem.ridge * factor))
    torch.testing.assert_close(weights, point.weights(problem), atol=1e-12, rtol=1e-12)
    assert torch.equal(scaled.sums.effective_size, scaled.where(double([1, 1]) > 0, again).sums.effective_size)


def test_tables_of_two_points_side_by_side():
    problem = draw(weighted=True)
    one, two = (
        evaluated(DualPoint(torch.full((2, M), slope, dtype=torch.float64), double([0.2, 0.1])), problem)
        for slope in (0.01, -0.02)
    )
    both = one.where(torch.tensor([True, False]), two)
    for kind in ("point", "sums", "curvature"):
        for name, value in vars(getattr(both, kind)).items():
            expected = [getattr(getattr(at, kind), name)[table] for table, at in enumerate((one, two))]
            assert torch.equal(value, torch.stack(expected)), name


def test_factors_are_those_of_the_features():
    """A factor of zero leaves a feature out."""
    problem = draw(weighted=True)
    scale = double([[0.0, 1.0, 2.0, 0.5, 0.0, 3.0], [1.0, 1.0, 0.1, 0.0, 4.0, 1.0]])
    dual = dataclasses.replace(Dual.of_problem(problem), scale=scale)
    rows = ArmRows(problem.features, problem.arm)
    found, _ = solve_dual_of_target(dual, rows.evaluate, rows.evaluate(uniform_point(dual)))
    scaled = dataclasses.replace(problem, features=problem.features * scale[:, None], target=problem.target * scale)
    torch.testing.assert_close(
        simplex(found.point.weights(problem), problem.arm), balance_to_target(scaled)[0], atol=1e-10, rtol=0
    )
    assert not found.point.slope[scale == 0].any()
    torch.testing.assert_close(dual.scaled(found.point).slope * scale, found.point.slope)


def test_gradient_of_the_dual_is_finite_differences():
    problem = draw(weighted=True)
    scale = double(np.random.default_rng(2).random((2, M)) + 0.5)
    dual = dataclasses.replace(Dual.of_problem(problem), scale=scale)
    point = double(np.random.default_rng(1).normal(size=(2, M + 1)) * 0.1 + 0.1).requires_grad_()
    found = evaluated(dual.moved(DualPoint(torch.zeros_like(scale), torch.zeros_like(dual.ridge)), point), problem)
    (derivative,) = torch.autograd.grad(dual.value(found.point, found.sums).sum(), point)
    torch.testing.assert_close(derivative, dual.gradient(found), atol=1e-10, rtol=1e-10)


def test_the_dual_meets_the_primal():
    problem = draw(weighted=True)
    dual, rows = Dual.of_problem(problem), ArmRows(problem.features, problem.arm)
    found, _ = solve_dual_of_target(dual, rows.evaluate, rows.evaluate(uniform_point(dual)))
    weights = balance_to_target(problem)[0]
    primal = target_objective(problem.features, weights, problem.arm, problem.target, problem.ridge)
    torch.testing.assert_close(primal, -dual.value(found.point, found.sums), atol=1e-10, rtol=1e-10)
    shift = torch.einsum("bn,bnm->bm", weights, problem.features) - problem.target
    torch.testing.assert_close(found.point.slope, shift, atol=1e-9, rtol=0)
    torch.testing.assert_close(found.point.weights(problem), weights, atol=1e-9, rtol=0)
    size = 1 / (weights.square() / problem.arm.clamp_min(1e-300)).sum(1)
    torch.testing.assert_close(found.sums.effective_size, size, atol=0, rtol=1e-9)
