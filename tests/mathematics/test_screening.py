"""Target balancing over streamed rows against the same rows in memory, and how many passes it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dowhy_cina.mathematics import screening
from dowhy_cina.mathematics.balancing import JoinedFeatures
from dowhy_cina.mathematics.dual import ArmProblem, DualPoint
from dowhy_cina.mathematics.kernels import LandmarkKernel
from dowhy_cina.mathematics.means import balance_with_means
from dowhy_cina.mathematics.newton import ArmRows
from dowhy_cina.mathematics.rows import RowFeatures
from dowhy_cina.mathematics.screening import ArmMoments, CarryingRows, Reference, StreamedRows, Tries, rows_of_arm


def double(values):
    return torch.from_numpy(np.asarray(values, dtype=np.float64))


def draw(apart, ridge=1e-3, rows=600, weighted=False):
    """Problem of one arm with features kept, the same streamed, columns, and their goal; the target lies apart."""
    rng = np.random.default_rng(7)
    keys = double(rng.normal(size=(1, rows, 3)))
    kernel = LandmarkKernel(keys[:, :20], double([[0.3, 1.0, 0.7]]))
    arm = double(rng.uniform(0.3, 3, (1, rows)) if weighted else np.ones((1, rows)))
    goal = keys.mean(1) + apart
    target = kernel.features(keys[:, :200] + apart).mean(1)
    kept, streamed = RowFeatures.build(kernel, keys, True).together(), RowFeatures(kernel, keys, None, 20 * 70)
    return [ArmProblem(features, arm, target, double([ridge])) for features in (kept, streamed)], keys, goal


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("apart", "ridge", "idle"), [(0.02, 30.0, False), (0.4, 1e-3, True), (1.2, 1e-3, True)])
def test_streamed_rows_have_the_same_weights(apart, ridge, idle, weighted):
    (kept, streamed), columns, goal = draw(apart, ridge, weighted=weighted)
    (one, expected, _), (other, weights, _) = (balance_with_means(p, columns, goal) for p in (kept, streamed))
    assert bool((expected == 0).any()) == (idle or weighted)
    torch.testing.assert_close(weights, expected, atol=1e-8 * float(expected.max()), rtol=0)
    ours, theirs = other.certificate(weights), one.certificate(expected)
    torch.testing.assert_close(ours.imbalance, theirs.imbalance, rtol=1e-5, atol=1e-9)
    assert float(ours.gap) < 1e-7


def test_few_passes_over_all_rows(monkeypatch):
    """One for the moments, and one for each solution or reference."""
    problem, columns, goal = draw(0.02, 30.0)[0][1], *draw(0.02)[1:]
    passes = []
    for looked, name in ((DualPoint, "margins"), (JoinedFeatures, "times_several")):
        own = getattr(looked, name)
        monkeypatch.setattr(looked, name, lambda one, other, own=own: passes.append((one, other)) or own(one, other))
    balance_with_means(problem, columns, goal)
    rows = [next(part.columns.shape[1] for part in pair if isinstance(part, JoinedFeatures)) for pair in passes]
    assert 1 <= rows.count(600) <= 2


def test_a_row_that_ceases_unseen_is_found(monkeypatch):
    """However few rows are near, and where points are looked at row by row in the end."""
    (kept, streamed), columns, goal = draw(0.4)
    expected = balance_with_means(kept, columns, goal)[1]
    for share, most in ((0.0, 100), (0.01, 100), (0.01, 1)):
        monkeypatch.setattr(screening, "NEAR_SHARE", share)
        monkeypatch.setattr(screening, "MOST_REFERENCES", most)
        weights = balance_with_means(streamed, columns, goal)[1]
        torch.testing.assert_close(weights, expected, atol=1e-8 * float(expected.max()), rtol=0)


def test_near_rows_double_with_every_failure_and_only_failures_in_a_row_are_in_vain(monkeypatch):
    monkeypatch.setattr(screening, "MOST_REFERENCES", 3)
    tries, near = Tries(), []
    for holds in (False, False, True, False, False):
        assert tries.count(holds) == holds
        assert not tries.are_over
        near.append(tries.near_rows(1000, 20))
    assert near == [100, 200, 200, 400, 800]
    tries.count(False)
    assert tries.are_over
    assert (tries.near_rows(1000, 20), tries.near_rows(10**6, 20)) == (1000, screening.NEAR_ENTRIES // 20)


def test_a_reference_knows_what_rows_add_up_to():
    """Near ones may begin and cease to carry weight, far ones are as they were."""
    (kept, _), columns, _ = draw(0.4, weighted=True)
    features = JoinedFeatures(kept.features, columns, double([1.0]))
    rows = ArmRows(features, kept.arm)
    slope = 1e-4 * double(np.random.default_rng(0).normal(size=(1, 23)))
    point, other = (DualPoint(slope * size, double([1e-4])) for size in (1.0, 1.1))
    margins, moved = rows.margins(point), rows.margins(other)
    assert bool(((margins > 0) != (moved > 0)).any())
    places = (((margins > 0) != (moved > 0)) | (margins.abs() < 1e-5))[0].nonzero().T
    at = rows.evaluate(point)
    every = CarryingRows(point, at.sums.margins, at.sums.squares, at.curvature)
    near, arm = ArmRows(features.take(places), kept.arm.gather(1, places)), kept.arm.gather(1, places)
    found, expected = Reference.build(every, near, arm, margins.gather(1, places)).evaluate(other), rows.evaluate(other)
    for ours, theirs in ((found.sums, expected.sums), (found.curvature, expected.curvature)):
        for one, two in zip(vars(ours).values(), vars(theirs).values(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12 * float(two.abs().max()))


def test_sums_where_all_rows_carry_weight():
    (kept, _), columns, _ = draw(0.0, weighted=True)
    features = JoinedFeatures(kept.features, columns, double([1.0]))
    rows, start = ArmRows(features, kept.arm), DualPoint.start(kept.ridge, kept.arm.sum(1), 23)
    carrying = CarryingRows.all_at(start, rows.evaluate(start).curvature)
    point = DualPoint(1e-9 * double(np.random.default_rng(0).normal(size=(1, 23))), start.level * 1.01)
    for ours, theirs in zip(vars(carrying.sums(point)).values(), vars(rows.evaluate(point).sums).values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=0)


def test_moments_of_both_arms_are_those_of_any_population():
    (kept, streamed), columns, _ = draw(0.0, weighted=True)
    treated = (columns[..., 0] > 0.3).double()
    moments = ArmMoments(streamed.features, columns, (kept.arm * (1 - treated), kept.arm * treated))
    whole = torch.cat([kept.features, columns], 2)
    expected = ((2.0 + 3.0 * treated) * kept.arm)[:, None] @ whole
    torch.testing.assert_close(moments.mean((double([2.0]), double([5.0]))), expected[:, 0], rtol=1e-9, atol=1e-9)


def test_several_tables_and_rows_in_memory_are_looked_at_as_they_are():
    (kept, streamed), columns, _ = draw(0.0)
    amplitude = double([1.0])
    assert type(rows_of_arm(JoinedFeatures(kept.features, columns, amplitude), kept.arm)) is ArmRows
    assert type(rows_of_arm(JoinedFeatures(streamed.features, columns, amplitude), kept.arm)) is StreamedRows
    assert type(rows_of_arm(JoinedFeatures(streamed.features, columns, amplitude), 0 * kept.arm)) is ArmRows
