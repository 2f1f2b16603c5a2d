"""Balancing with means beside a kernel: against cvxpy, the bound on concentration, streamed features, gradients."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cvxpy
import numpy as np
import pytest
import torch

from dowhy_cina.mathematics.balancing import JoinedFeatures, apply, combine, features_gram, scale_rows, take_rows
from dowhy_cina.mathematics.concentration import least_size
from dowhy_cina.mathematics.dual import ArmProblem
from dowhy_cina.mathematics.kernels import LandmarkKernel
from dowhy_cina.mathematics.means import KEPT_SIZE, LEAST_STRESS, MATCHED, MISSED, STRESS, balance_with_means
from dowhy_cina.mathematics.newton import ArmRows, balance_to_target
from dowhy_cina.mathematics.rows import RowFeatures

N, M, L = 80, 6, 3


def double(values):
    return torch.as_tensor(np.asarray(values, dtype=np.float64))


def draw(seed=0, apart=0.5, tables=2, ridge=0.05, sampling=False):
    """Arms of half the rows, whose columns lie away from the target's means."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(tables, N, L))
    features = np.sin(columns @ rng.normal(size=(L, M))) / np.sqrt(M)
    arm = double(rng.random((tables, N)) < 0.5)
    arm[:, 0] = 1.0
    if sampling:
        arm = arm * double(rng.choice([0.3, 1.0, 2.0], size=arm.shape))
    problem = ArmProblem(double(features), arm, double(features).mean(1) + 0.05, double(np.full(tables, ridge)))
    return problem, double(columns), double(columns).mean(1) + apart


def size(weights, arm):
    return 1 / (weights.square() / arm.clamp_min(1e-300)).sum(1)


@pytest.mark.parametrize("sampling", [False, True])
def test_weights_are_cvxpys_where_there_is_room(sampling):
    problem, columns, goal = draw(apart=0.05, sampling=sampling)
    joined, weights, _ = balance_with_means(problem, columns, goal)
    torch.testing.assert_close(joined.features.amplitude, (STRESS * problem.ridge).sqrt())
    for table in range(2):
        inside = problem.arm[table].numpy() > 0
        phi, z = problem.features[table].numpy()[inside], columns[table].numpy()[inside]
        r, ridge = problem.arm[table].numpy()[inside], float(problem.ridge[table])
        variable = cvxpy.Variable(inside.sum(), nonneg=True)
        objective = (
            cvxpy.sum_squares(phi.T @ variable - problem.target[table].numpy())
            + STRESS * ridge * cvxpy.sum_squares(z.T @ variable - goal[table].numpy())
            + ridge * cvxpy.sum_squares(variable / np.sqrt(r))
        )
        cvxpy.Problem(cvxpy.Minimize(objective), [cvxpy.sum(variable) == 1]).solve(
            solver="CLARABEL", tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12
        )
        np.testing.assert_allclose(weights[table].numpy()[inside], variable.value, atol=2e-6)


def test_columns_have_their_share_where_the_kernel_would_take_all():
    """At its bound the kernel's balance leaves as many rows as the columns may take."""
    problem, columns, goal = draw(apart=0.4, ridge=1e-3)
    far = ArmProblem(problem.features, problem.arm, problem.target + 0.4, problem.ridge)
    joined, weights, _ = balance_with_means(far, columns, goal)
    alone = balance_to_target(ArmProblem(far.features, far.arm, far.target, joined.ridge))[0]
    least = double([least_size(float(rows)) for rows in far.arm.sum(1)])
    np.testing.assert_allclose(size(alone, far.arm), least / KEPT_SIZE, rtol=1e-4)
    before, after = ((combine(columns, each) - goal).norm(dim=1) for each in (alone, weights))
    assert (after < before / 2).all()


def test_means_come_closer_than_by_the_kernel_alone():
    problem, columns, goal = draw(apart=0.3)
    alone = balance_to_target(problem)[0]
    weights = balance_with_means(problem, columns, goal)[1]
    before, after = ((combine(columns, each) - goal).norm(dim=1) for each in (alone, weights))
    assert (after < before / 2).all()


def test_weights_keep_their_share_of_the_effective_size():
    """Far from the target the stress falls until the weights are worth as many rows as they must be."""
    problem, columns, goal = draw(apart=2.0)
    near = draw(apart=0.1)[2]
    goal[0] = near[0]
    alone = size(balance_to_target(problem)[0], problem.arm)
    joined, weights, _ = balance_with_means(problem, columns, goal)
    stress = joined.features.amplitude.square() / problem.ridge
    assert float(stress[0]) == pytest.approx(STRESS)
    assert LEAST_STRESS <= float(stress[1]) < STRESS
    kept = size(weights, problem.arm) / alone
    assert kept[0] > KEPT_SIZE
    assert float(kept[1]) == pytest.approx(KEPT_SIZE, rel=1e-4)
    missed = (combine(columns, weights) - goal)[1].norm()
    assert missed < (combine(columns, balance_to_target(problem)[0]) - goal)[1].norm()


def test_the_ridge_rises_until_weights_are_worth_enough():
    """A small ridge and a far target: the kernel's balance alone would rest on a handful of rows."""
    problem, columns, goal = draw(apart=1.0, ridge=1e-3)
    far = ArmProblem(problem.features, problem.arm, problem.target + 0.4, problem.ridge)
    count = problem.arm.sum(1)
    floor = [least_size(float(rows)) for rows in count]
    assert (size(balance_to_target(far)[0], far.arm) < double(floor) / 1.5).all()
    joined, weights, _ = balance_with_means(far, columns, goal)
    assert (joined.ridge > 2 * far.ridge).all()
    np.testing.assert_allclose(size(weights, far.arm), floor, rtol=1e-4)


@pytest.mark.parametrize("ridge", [1e-3, 0.3])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_bounds_are_met_on_tables_of_every_distance(ridge, shift):
    """To four digits, but for tables whose least stress already takes the kernel's weights below the bound."""
    tables = 24
    problem, columns, goal = draw(tables=tables, ridge=ridge)
    goal = columns.mean(1) + torch.linspace(0, 2.5, tables, dtype=torch.float64)[:, None]
    problem = ArmProblem(problem.features, problem.arm, problem.target + shift, problem.ridge)
    joined, weights, _ = balance_with_means(problem, columns, goal)
    alone = ArmProblem(problem.features, problem.arm, problem.target, joined.ridge)
    kernel, found = (size(each, problem.arm) for each in (balance_to_target(alone)[0], weights))
    least = double([least_size(float(rows)) for rows in problem.arm.sum(1)])
    raised = joined.ridge > 1.001 * problem.ridge
    room = torch.minimum(least / KEPT_SIZE, problem.arm.sum(1) / 2)
    np.testing.assert_allclose(kernel[raised], room[raised], rtol=1e-5)
    floor = torch.maximum(least, KEPT_SIZE * kernel)
    stress = joined.features.amplitude.square() / joined.ridge
    full, last = stress > 0.999 * STRESS, stress < 1.001 * LEAST_STRESS
    between = ~full & ~last
    assert (found[full] >= floor[full] * (1 - 1e-5)).all()
    assert (found[last] >= floor[last] * (1 - 1e-2)).all()
    assert int(between.sum()) > 0
    np.testing.assert_allclose(found[between], floor[between], rtol=2e-5)
    assert (joined.certificate(weights).gap < 1e-9).all()


def test_the_search_takes_few_passes(monkeypatch):
    """Each is one over the rows; where both bounds bind, a ridge or stress that is tried takes two or three."""
    calls, evaluate = [], ArmRows.evaluate
    monkeypatch.setattr(ArmRows, "evaluate", lambda rows, point: calls.append(1) or evaluate(rows, point))
    problem, columns, goal = draw(tables=1, apart=1.0, ridge=0.02)
    balance_with_means(problem, columns, columns.mean(1))
    assert len(calls) <= 8
    calls.clear()
    far = ArmProblem(problem.features, problem.arm, problem.target + 0.4, problem.ridge)
    joined = balance_with_means(far, columns, goal)[0]
    assert (joined.ridge > far.ridge).all()
    assert len(calls) <= 40


def test_nothing_jumps_where_a_bound_begins_to_bind():
    """Weights move by as little as the target does, on a path from a near target to a far one."""
    problem, columns, goal = draw(tables=1)
    steps = np.linspace(0.0, 2.5, 251)
    found = [balance_with_means(problem, columns, goal + apart)[1] for apart in steps]
    jumps = [float((two - one).abs().sum()) for one, two in itertools.pairwise(found)]
    assert max(jumps) < 0.06


def test_effective_size_with_copies():
    """Rows that are cut in two of half the sampling weight carry what one carried."""
    problem, columns, goal = draw(apart=2.0)
    twice = ArmProblem(problem.features.repeat(1, 2, 1), problem.arm.repeat(1, 2) / 2, problem.target, problem.ridge)
    weights = balance_with_means(problem, columns, goal)[1]
    halves = balance_with_means(twice, columns.repeat(1, 2, 1), goal)[1]
    torch.testing.assert_close(halves[:, :N] + halves[:, N:], weights, atol=1e-10, rtol=0)


def test_a_table_does_not_depend_on_its_company():
    problem, columns, goal = draw(apart=2.0, tables=3)
    goal[1] = columns[1].mean(0)
    together = balance_with_means(problem, columns, goal)[1]
    for b in range(3):
        part = ArmProblem(*(part[[b]] for part in vars(problem).values() if part is not None))
        alone = balance_with_means(part, columns[[b]], goal[[b]])[1]
        torch.testing.assert_close(alone, together[[b]], atol=1e-10, rtol=0)


def draw_beside(apart, beyond):
    """Columns of which weights can match the given ones, and one without overlap that pulls them away."""
    problem, columns, goal = draw(apart=apart, tables=3, ridge=1.0)
    score = (columns.sum(2) / 2 > 1).to(columns.dtype)[..., None]
    reached = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)[:, None]
    goals = torch.cat([torch.where(reached > 0, goal, goal + 4), goal.new_full((3, 1), beyond)], 1)
    return problem, torch.cat([columns, score], 2), goals


def left_by(weights, columns, goal):
    return (combine(columns, weights) - goal)[:, :L].abs().amax(1)


def test_given_columns_come_first_where_not_all_can_be_matched():
    """They are matched, no closer than that, at the price of the other column; where they are, nothing changes."""
    problem, columns, goal = draw_beside(0.6, 2.0)
    uniform = problem.arm / problem.arm.sum(1, keepdim=True)
    goal[1], problem.target[1] = combine(columns, uniform)[1], combine(problem.features, uniform)[1]
    plain = balance_with_means(problem, columns, goal)[1]
    joined, weights, solution = balance_with_means(problem, columns, goal, given=L)
    before, after = left_by(plain, columns, goal), left_by(weights, columns, goal)
    assert before[1] < MISSED < before[0] < before[2]
    assert MATCHED / 1.5 < after[0] <= MATCHED * 1.0001
    least = double([least_size(float(rows)) for rows in problem.arm.sum(1)])
    assert (size(weights, problem.arm) > 0.999 * least).all()
    # What cannot be matched is as it would be, too.
    torch.testing.assert_close(weights[1:], plain[1:], atol=1e-12, rtol=0)
    assert (joined.certificate(weights).gap < 1e-9).all()
    torch.testing.assert_close(solution.certificate.gap, joined.certificate(weights).gap, atol=1e-9, rtol=0)


def test_given_columns_do_not_take_weights_below_the_least_size():
    """To match them a handful of rows would have to carry all: then they are not matched."""
    problem, columns, goal = draw_beside(1.6, 2.0)
    plain, weights = (balance_with_means(problem, columns, goal, given=given)[1] for given in (0, L))
    assert (left_by(plain, columns, goal) > MISSED).all()
    torch.testing.assert_close(weights, plain, atol=1e-12, rtol=0)


def test_given_columns_come_first_in_streamed_rows_copies_and_a_table_alone():
    problem, columns, goal = draw_beside(0.6, 2.0)
    kernel = LandmarkKernel(columns[:, :20], double(np.full((3, 3), 0.4)))
    whole = RowFeatures.build(kernel, columns, True)
    target = whole.kept.mean(1)
    kept = ArmProblem(whole.kept, problem.arm, target, problem.ridge)
    expected = balance_with_means(kept, columns, goal, given=L)[1]
    assert float((expected - balance_with_means(kept, columns, goal)[1])[0].abs().sum()) > 0.01
    streamed = replace(kept, features=RowFeatures(kernel, columns, None, block_entries=20 * 2 * 7))
    torch.testing.assert_close(balance_with_means(streamed, columns, goal, given=L)[1], expected, atol=1e-9, rtol=0)
    alone = ArmProblem(whole.kept[[0]], problem.arm[[0]], target[[0]], problem.ridge[[0]])
    one = balance_with_means(alone, columns[[0]], goal[[0]], given=L)[1]
    torch.testing.assert_close(one, expected[[0]], atol=1e-10, rtol=0)
    twice = ArmProblem(whole.kept.repeat(1, 2, 1), problem.arm.repeat(1, 2) / 2, target, problem.ridge)
    halves = balance_with_means(twice, columns.repeat(1, 2, 1), goal, given=L)[1]
    torch.testing.assert_close(halves[:, :N] + halves[:, N:], expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_few_rows_and_more_columns_than_rows(rows):
    problem, columns, goal = draw(apart=1.0)
    arm = torch.zeros_like(problem.arm)
    arm[:, :rows] = 1
    few = ArmProblem(problem.features, arm, problem.target, problem.ridge)
    wide = torch.cat([columns, columns.square(), columns**3, torch.ones_like(columns)], 2)
    goals = torch.cat([goal, goal, goal, torch.ones_like(goal)], 1)
    weights = balance_with_means(few, wide, goals)[1]
    assert torch.isfinite(weights).all()
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1)
    assert not weights[:, rows:].any()


def test_streamed_features_give_the_same():
    problem, columns, goal = draw(apart=0.5)
    kernel = LandmarkKernel(columns[:, :20], double(np.full((2, 3), 0.4)))
    whole = RowFeatures.build(kernel, columns, True)
    target = whole.kept.mean(1)
    streamed = RowFeatures(kernel, columns, None, block_entries=20 * 2 * 7)
    found = [
        balance_with_means(ArmProblem(features, problem.arm, target, problem.ridge), columns, goal)[1]
        for features in (whole.kept, streamed)
    ]
    torch.testing.assert_close(found[0], found[1], atol=1e-9, rtol=0)


@pytest.mark.parametrize("streamed", [False, True])
def test_joined_features_are_those_side_by_side(streamed):
    problem, columns, _ = draw()
    kernel = LandmarkKernel(columns[:, :M], double(np.full((2, 3), 0.4)))
    rows = RowFeatures(kernel, columns, None, block_entries=2 * M * 7)
    features = rows if streamed else problem.features
    amplitude = double([0.3, 2.0])
    joined = JoinedFeatures(features, columns, amplitude)
    first = rows.together() if streamed else features
    plain = torch.cat([first, amplitude[:, None, None] * columns], 2)
    direction, weights = double(np.random.default_rng(1).normal(size=(2, M + L))), problem.arm + 0.5
    index = torch.tensor([[3, 1, 70], [0, 0, 5]])
    for ours, theirs in ((joined, plain), (take_rows(joined, index), take_rows(plain, index))):
        part = weights[:, : theirs.shape[1]]
        close = {"atol": 1e-10, "rtol": 1e-10}
        torch.testing.assert_close(combine(ours, part), combine(theirs, part), **close)
        torch.testing.assert_close(apply(ours, direction), apply(theirs, direction), **close)
        torch.testing.assert_close(features_gram(ours), features_gram(theirs), **close)
        torch.testing.assert_close(
            combine(scale_rows(ours, part), part), combine(scale_rows(theirs, part), part), **close
        )


def test_gradients_are_finite_differences():
    """Where no bound binds; where one does, the ridge's factor and the stress are taken as given."""
    problem, columns, goal = draw(apart=0.05)
    outcome = double(np.random.default_rng(2).normal(size=(2, N)))

    def value(ridge, features):
        moved = ArmProblem(features, problem.arm, problem.target, ridge)
        return (balance_with_means(moved, columns, goal)[1] * outcome).sum()

    ridge, features = problem.ridge.clone().requires_grad_(), problem.features.clone().requires_grad_()
    slopes = torch.autograd.grad(value(ridge, features), [ridge, features])
    with torch.no_grad():
        for part, slope in zip((ridge, features), slopes, strict=True):
            for place in [0] if part is ridge else [(0, 0, 0), (1, 7, 2)]:
                step = torch.zeros_like(part)
                step[place] = 1e-6
                ends = [
                    value(*(each + sign * step if each is part else each for each in (ridge, features)))
                    for sign in (1, -1)
                ]
                assert float((ends[0] - ends[1]) / 2e-6) == pytest.approx(float(slope[place]), rel=1e-3, abs=1e-7)
