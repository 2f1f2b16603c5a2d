"""Variances against sums written out, scipy's t test, and the parts of the bias against refits and Grams."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from dowhy_cina.estimating.estimation import Contributions
from dowhy_cina.estimating.pipeline import Estimation
from dowhy_cina.estimating.targets import Target
from dowhy_cina.estimating.variance import (
    degrees_of_freedom,
    noise_of_arm,
    sampling_variance,
    t_inference,
    unseen_variance,
)
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import TableBatch
from dowhy_cina.model.variance import BIAS_PARTS


def contributions(rows=30, target=30, tables=2, seed=0):
    """Contributions of rows and of target rows; the weights of the outcomes do not matter here."""
    rng = np.random.default_rng(seed)
    scatter, deviation = (torch.from_numpy(rng.normal(size=(tables, n))) for n in (rows, target))
    return Contributions((torch.zeros_like(scatter),) * 2, scatter, scatter, deviation)


def clusters(count, rows=30, tables=2, seed=1):
    labels = np.random.default_rng(seed).integers(0, count, size=(tables, rows))
    labels[:, :count] = np.arange(count)
    return torch.from_numpy(labels)


# Sampling variance


def test_rows_by_hand():
    found = contributions()
    ours = sampling_variance(found, True, None)
    for b in range(2):
        expected = sum((float(s) + float(d)) ** 2 for s, d in zip(found.scatter[b], found.deviation[b], strict=True))
        np.testing.assert_allclose(ours[b], expected)


def test_target_rows_from_elsewhere_are_an_independent_sample():
    found = contributions(target=11)
    expected = found.scatter.numpy() ** 2
    expected = expected.sum(1) + (found.deviation.numpy() ** 2).sum(1)
    np.testing.assert_allclose(sampling_variance(found, False, None), expected)


@pytest.mark.parametrize("in_table", [True, False])
def test_clusters_by_hand(in_table):
    found, labels = contributions(target=30 if in_table else 11), clusters(5)
    ours = sampling_variance(found, in_table, labels)
    for b in range(2):
        rows = found.scatter[b] + found.deviation[b] if in_table else found.scatter[b]
        sums = [float(rows[labels[b] == k].sum()) for k in range(5)]
        outside = 0.0 if in_table else float(found.deviation[b].square().sum())
        np.testing.assert_allclose(ours[b], sum(s**2 for s in sums) + outside)


def test_every_row_its_own_cluster_is_no_cluster():
    found = contributions()
    own = torch.arange(30).expand(2, 30)
    plain = sampling_variance(found, True, None)
    torch.testing.assert_close(sampling_variance(found, True, own), plain)


# Degrees of freedom


def test_degrees_of_freedom_are_the_effective_rows_less_one():
    even = torch.ones(1, 50, dtype=torch.float64)
    assert float(degrees_of_freedom(even, None)) == pytest.approx(49)
    few = torch.cat([even[:, :10], 0 * even], 1)
    assert float(degrees_of_freedom(few, None)) == pytest.approx(9)
    scatter = contributions().scatter
    for b in range(2):
        squares = scatter[b].numpy() ** 2
        expected = min(3 * squares.sum() ** 2 / (squares**2).sum(), 30) - 1
        np.testing.assert_allclose(degrees_of_freedom(scatter, None)[b], expected)


def test_degrees_of_freedom_of_normal_noise_are_those_of_its_variance():
    """A sum of n squares of normal variables of two variances: Satterthwaite's number for the known variances."""
    rng = np.random.default_rng(0)
    sd = np.repeat([1.0, 3.0], [400, 100])
    scatter = torch.from_numpy(rng.normal(size=(400, 500)) * sd)
    known = np.square(np.square(sd).sum()) / np.sum(sd**4)
    assert np.median(degrees_of_freedom(scatter, None).numpy()) == pytest.approx(known, rel=0.05)


def test_degrees_of_freedom_of_clusters():
    scatter, labels = contributions().scatter, clusters(6)
    for b in range(2):
        squares = np.array([float(scatter[b][labels[b] == k].sum()) ** 2 for k in range(6)])
        expected = max(2, min(3 * squares.sum() ** 2 / (squares**2).sum(), 6) - 1)
        np.testing.assert_allclose(degrees_of_freedom(scatter, labels)[b], expected)


def test_degrees_of_freedom_have_a_floor():
    one = torch.tensor([[5.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    assert degrees_of_freedom(one, None).tolist() == [2.0, 2.0]


# Interval and p-value


def test_interval_and_p_value_are_the_t_tests():
    sample = np.random.default_rng(0).normal(0.4, 1, size=9)
    for level in (0.9, 0.95, 0.99):
        interval, p = t_inference(sample.mean(), sample.std(ddof=1) / 3, 8, level)
        theirs = stats.ttest_1samp(sample, 0)
        assert p == pytest.approx(theirs.pvalue)
        assert interval == pytest.approx(tuple(theirs.confidence_interval(level)))


@settings(max_examples=300, deadline=None)
@given(
    st.floats(-10, 10),
    st.floats(1e-3, 10),
    st.floats(2, 1e6),
    st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_p_value_is_small_exactly_when_the_interval_excludes_zero(value, error, freedom, level):
    (low, high), p = t_inference(value, error, freedom, level)
    assert low <= value <= high
    assert 0 <= p <= 1
    if abs(p - (1 - level)) > 1e-9:
        assert (p < 1 - level) == (low > 0 or high < 0)


def test_no_error_at_all():
    assert t_inference(0.0, 0.0, 10, 0.95) == ((0.0, 0.0), 1.0)
    assert t_inference(2.0, 0.0, 10, 0.95) == ((2.0, 2.0), 0.0)


# What smoothing may have left


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(13)
    x = rng.normal(size=(2, 70, 2))
    t = (rng.random((2, 70)) < 1 / (1 + np.exp(-x[..., 0]))).astype(float)
    y = np.sin(x[..., 0]) + 0.5 * t + 0.3 * rng.normal(size=(2, 70))
    weights = torch.from_numpy(rng.choice([0.5, 1.5], size=(2, 70)))
    every = torch.arange(70).expand(2, 70)
    table = TableBatch(*map(torch.from_numpy, (x, t, y)), every, every, weights / weights.mean(1, keepdim=True))
    with torch.random.fork_rng(), torch.no_grad():
        model = CinaModel().double().eval()
        state = model(table)
        found = Estimation(model, table, state, Target.named("ate", table, state))
        parts = dict(zip(BIAS_PARTS, found.bias.T, strict=True))
    return table, state, found, parts


def test_smaller_arm(case):
    table, found = case[0], case[2]
    treated = table.treatment.sum(1).tolist()
    assert found.smaller_arm.tolist() == [min(count, 70 - count) for count in treated]


def square(difference, features):
    """Squared imbalance of a difference of weights."""
    return difference @ (features @ features.T) @ difference


def test_imbalance_of_the_outcome_weights_by_grams(case):
    """Own members miss what an arm's own rows miss, what is borrowed and the balancing layer what all rows do."""
    table, state, found, parts = case
    regression, balance, lent_shares, lines = np.zeros(2), np.zeros(2), [], []
    for arm in (0, 1):
        fitted, inside = state.outcomes[arm], (table.treatment == arm).double()
        borrowed = fitted.regression.borrowed
        weights, target = found.contributions.arm_weights[arm], found.moments.weights
        own, everywhere = (target - weights * inside).numpy(), (target - weights).numpy()
        for b in range(2):
            x, psi = table.covariates[b].numpy(), state.balance_features[b].numpy()
            missed = []
            for one, rows, d in (
                (fitted.regression.own, fitted.rows.own, own[b]),
                (state.outcomes[1 - arm].regression.own, fitted.rows.other, everywhere[b]),
            ):
                assert not one.logarithms
                phi = rows.kernel.kernel.features(rows.kernel.keys)[b].numpy()
                straight = float(one.linear.share[b] / (one.kernel.share[b] + one.linear.share[b]))
                lines.append(straight)
                by_kernel = float(one.kernel.fit.signal_variance[b]) * square(d, phi)
                by_line = float(one.linear.fit.signal_variance[b]) * square(d, x)
                missed.append((1 - straight) * by_kernel + straight * by_line)
            lent_shares.append(0.0 if borrowed is None else float(borrowed.share[b]))
            if borrowed is not None:
                effect = float(borrowed.effect.signal_variance[b]) * square(own[b], x)
                missed[0] += lent_shares[-1] * (missed[1] + effect - missed[0])
            regression[b] += missed[0]
            sampling = table.arm(arm)[b].numpy()
            unexplained = np.average(state.loo_residuals[b].numpy() ** 2, weights=sampling)
            balance[b] += unexplained * square(everywhere[b], psi) / float(state.balance_kernel.diagonal[b])
    assert max(lent_shares) > 0.1
    assert any(0.01 < straight < 0.99 for straight in lines)
    np.testing.assert_allclose(parts["regression"], regression, rtol=1e-5)
    np.testing.assert_allclose(parts["balance"], balance, rtol=1e-5)


def test_what_members_disagree_on(case):
    """Variance between what the kernel's member, the linear one and the borrowed say of the target, of both arms."""
    _, state, found, parts = case
    expected = torch.zeros(2).double()
    for fitted in state.outcomes:
        own, borrowed, q = fitted.regression.own, fitted.regression.borrowed, found.moments.weights
        said = [*own.parts(fitted.rows.own)]
        shares = [member.share / (own.kernel.share + own.linear.share) for member in (own.kernel, own.linear)]
        if borrowed is not None:
            said.append(borrowed.unclipped(fitted.rows))
            shares = [*((1 - borrowed.share) * share for share in shares), borrowed.share]
        means = torch.stack([(q * one).sum(1) for one in said])
        parted = torch.stack(shares)
        expected += (parted * (means - (parted * means).sum(0)).square()).sum(0)
    torch.testing.assert_close(parts["members"], expected, rtol=1e-8, atol=1e-12)
    assert (expected > 0).any()


def test_parts_of_the_correction(case):
    found, parts = case[2].effect, case[3]
    share = found.shrinkage
    torch.testing.assert_close(parts["correction"], (share * found.correction).square())
    torch.testing.assert_close(parts["withheld"], ((1 - share) * found.correction).square())


@pytest.mark.parametrize("freedom", [2.0, 3.3895518988005398, 50.0])
def test_an_interval_of_a_level_near_zero_is_the_value(freedom):
    (low, high), _ = t_inference(-30.5, 28.4, freedom, 1e-320)
    assert low == high == -30.5


# Noise that an arm is too small to show


def arms_noise(*residuals, rows=None):
    """Noise of arms with these residuals, and their sums of sampling weights."""
    values = [torch.as_tensor(np.asarray(own, dtype=np.float64)[None]) for own in residuals]
    weights = [torch.ones_like(own) if rows is None else torch.full_like(own, rows) for own in values]
    return [noise_of_arm(*pair) for pair in zip(values, weights, strict=True)], [own.sum(1) for own in weights]


def test_an_arm_without_noise_has_the_other_arms():
    spread = [torch.full((1,), 0.01, dtype=torch.float64), torch.full((1,), 0.2, dtype=torch.float64)]
    noise, counts = arms_noise([1.0, -1.0, 2.0, -2.0], [0.0, 1e-11, 0.0])
    np.testing.assert_allclose(unseen_variance(noise, counts, spread), 0.2 * 2.5)
    noise, counts = arms_noise([0.0] * 4, [1.0, -1.0])
    np.testing.assert_allclose(unseen_variance(noise, counts, spread), 0.01)


def test_noise_of_many_rows_is_the_arms_own_and_that_of_one_row_a_quarter_anothers():
    spread = [torch.ones(1, dtype=torch.float64)] * 2
    normal = np.random.default_rng(0).normal(size=200)
    noise, counts = arms_noise(2 * normal, normal)
    assert float(unseen_variance(noise, counts, spread)) < 0.02 * float(noise[0][0] / 200)
    one = [1.0] + [0.0] * 49
    noise, counts = arms_noise(normal, one)
    # Three effective rows, and one of the other arm's.
    np.testing.assert_allclose(unseen_variance(noise, counts, spread), (np.mean(normal**2) - 1 / 50) / 4)


def test_halved_rows_show_as_much_noise():
    residuals = [0.3, -0.4, 0.0, 0.1], [1.5, -0.2, 0.9, 2.0]
    spread = [torch.ones(1, dtype=torch.float64)] * 2
    once = unseen_variance(*arms_noise(*residuals), spread)
    twice = unseen_variance(*arms_noise(*(own * 2 for own in residuals), rows=0.5), spread)
    assert float(once) > 0
    torch.testing.assert_close(twice, once, rtol=1e-12, atol=0)
