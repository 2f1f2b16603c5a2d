"""The regression of an arm: which members are kept, how far it extrapolates, what it leaves out, where nothing varies.

Letters: N rows, D covariates.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import dowhy_cina
from dowhy_cina.mathematics.clusters import Clusters
from dowhy_cina.mathematics.kernels import LandmarkKernel
from dowhy_cina.mathematics.ridge import fit_ridge, gram_statistics
from dowhy_cina.mathematics.rows import Storage
from dowhy_cina.model.fitting import MARGIN, allowed_range, fit_own
from dowhy_cina.model.shares import likeness, member_shares, with_share
from dowhy_cina.model.sharing import ArmRegression, SharedRows
from dowhy_cina.model.spaces import OutcomeSpace

N, D = 120, 3
ONE = torch.ones(1, dtype=torch.float64)


def fit(x, y, arm=None, cluster=None):
    """Fit of tables (B, N, D) of which the arm's rows, all by default, are given by sampling weights."""
    columns, outcome = torch.from_numpy(np.atleast_3d(x)), torch.from_numpy(y)
    tables, rows, width = columns.shape
    keys, ones = columns / width**0.5, torch.ones(tables, dtype=torch.float64)
    kernel = LandmarkKernel(keys[:, : min(rows, 40)], torch.tensor([[0.1, 1.0, 3.0]]).double().expand(tables, 3))
    space = OutcomeSpace(ones[:, None].expand(tables, width) / width**0.5, 0 * ones[:, None], kernel)
    weights = torch.ones_like(outcome) if arm is None else torch.from_numpy(arm)
    clusters = None if cluster is None else Clusters.of(torch.from_numpy(cluster)[None])
    weights = weights if clusters is None else weights * clusters.share
    found = fit_own(space, keys, columns, outcome, weights, weights, ones, Storage(), "control", clusters)
    regression, rows = found.regression, found.data.rows
    return SimpleNamespace(
        regression=regression,
        rows=rows,
        means=regression.clip(found.fitted),
        loo_residuals=outcome - found.clean,
        moment=lambda weights: regression.moment(rows, weights),
    )


def kept(found):
    """Shares of the members of the first table; zero for logarithms that there are not."""
    shares = [float(share[0]) for share in found.regression.shares]
    return shares if len(shares) == 4 else [*shares, 0.0, 0.0]


def draw(seed, rows=N, noise=1.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(1, rows, D)), noise * rng.normal(size=(1, rows)), rng


def standard(y):
    return (y - y.mean()) / y.std()


# Which members are kept


@pytest.mark.parametrize("seed", range(4))
def test_pure_noise_keeps_hardly_anything_and_nothing_on_the_median(seed):
    trust = []
    for draw_of in range(25):
        x, y, _ = draw(100 * seed + draw_of)
        for outcome in (y, standard(np.exp(y))):
            found = fit(x, outcome)
            trust.append(float(found.regression.trust))
            assert sum(kept(found)) == pytest.approx(trust[-1])
            if not trust[-1]:
                np.testing.assert_allclose(found.means, outcome.mean(), atol=1e-12)
    assert np.median(trust) == 0
    assert np.mean(trust) < 0.06


def test_a_line_is_the_linear_members_and_a_wave_the_kernels():
    x, noise, _ = draw(0, 300, 0.3)
    line, wave = kept(fit(x, x[..., 0] + noise)), kept(fit(x, np.sin(2.5 * x[..., 0]) + noise))
    assert line[1] > 0.7
    assert wave[0] > 0.7


@pytest.mark.parametrize("sign", [1, -1])
def test_a_logarithm_predicts_log_normal_outcomes_better(sign):
    """Than the kernel's member alone: the mean outcomes of new rows, and outcomes left out; mirrored ones alike."""
    errors, left, shares = [], [], []
    for seed in range(30):
        x, noise, _ = draw(seed, 600, 0.3)
        level = 1.4 * (x[..., 0] + 0.5 * np.sin(2 * x[..., 1]))
        y, truth = sign * np.exp(level + noise), sign * np.exp(level + 0.3**2 / 2)
        arm = (np.arange(600) < 300)[None] * 1.0
        found = fit(x, y, arm)
        shares.append(sum(kept(found)[2:]))
        kernel = found.regression.kernel.fit
        ours, plain = (
            mean[0, 300:].numpy() - truth[0, 300:] for mean in (found.means, kernel.predict(found.rows.kernel))
        )
        errors.append(np.mean(ours**2) / np.mean(plain**2))
        alone = (y - outcomes_left_out(kernel, found.rows.kernel, y, arm))[0, :300]
        left.append(float(found.loo_residuals[0, :300].square().mean()) / np.mean(alone**2))
    assert np.median(shares) > 0.7
    assert np.median(errors) < 0.65
    assert np.median(left) < 0.8


@pytest.mark.parametrize("steepness", [1.0, 1.5, 2.5])
def test_a_line_in_the_logarithm_goes_on(steepness):
    """Its zero is found among the distances from the least outcome, and it holds beyond the arm's rows."""
    x, noise, _ = draw(12, 500, 0.05)
    truth, arm = np.exp(steepness * (x @ [0.6, -0.4, 0.3])), (x[..., 0] < 1) * 1.0
    y = truth * np.exp(noise) - 7
    truth = truth - 7
    found = fit(x, y, arm)
    beyond = arm[0] == 0
    kernel = found.regression.kernel.fit.predict(found.rows.kernel).numpy()
    assert kept(found)[3] > 0.5
    error, plain = (np.abs(values[0, beyond] - truth[0, beyond]).mean() for values in (found.means.numpy(), kernel))
    assert error < 0.3 * plain


def outcomes_left_out(fit, features, y, arm):
    """Predictions of the arm's rows by the others in closed form."""
    fitted = fit.predict(features).numpy()
    leverage = fit.leverage(features, torch.from_numpy(arm)).numpy()
    return y - (y - fitted) / (1 - leverage)


def test_a_symmetric_or_a_binary_outcome_has_no_logarithm():
    x, noise, rng = draw(1)
    rare = (rng.random((1, N)) < 0.07) * 1.0
    for y in (noise, x[..., 0] + noise, rare, 1 - rare):
        assert not fit(x, y).regression.logarithms


def test_shares_sum_to_at_most_one():
    for seed in range(30):
        x, noise, rng = draw(seed, 40)
        y = np.exp(rng.uniform(0, 2) * x[..., 0] + noise) if seed % 2 else rng.uniform(0, 3) * x[..., 0] + noise
        shares = fit(x, standard(y)).regression.shares
        assert all(0 <= float(share) <= 1 for share in shares)
        assert float(sum(shares)) <= 1 + 1e-12
    assert [float(s) for s in with_share([0.6 * ONE, 0.4 * ONE], 0.25 * ONE)] == pytest.approx([0.45, 0.3, 0.25])


def test_members_that_say_nothing_new_take_nothing():
    """The same prediction twice leaves all with the first; one that is the outcome takes all; trust multiplies both."""
    _, y, rng = draw(2)
    offered = torch.from_numpy(0.8 * y + 0.3 * rng.normal(size=y.shape))
    outcome, mean, arm = torch.from_numpy(y), torch.zeros(1, 1).double(), torch.ones(1, N).double()
    first, second = member_shares(outcome, mean, [offered, offered], (arm, arm), [])
    assert float(second) == 0
    assert float(first) > 0.9
    assert [float(s) for s in member_shares(outcome, mean, [offered, outcome], (arm, arm), [])] == [0, 1]
    assert [float(s) for s in member_shares(outcome, mean, [-outcome, -outcome], (arm, arm), [])] == [0, 0]


def test_a_member_has_to_serve_rows_like_the_other_arms_too():
    """A line that fits the bulk of an arm, but not the tenth that the other arm resembles."""
    _, y, _ = draw(3)
    outcome, mean, arm = torch.from_numpy(y), torch.zeros(1, 1).double(), torch.ones(1, N).double()
    few = (torch.arange(N) < N // 10)[None].double()
    line = torch.where(few > 0, -outcome, outcome)
    assert float(member_shares(outcome, mean, [0 * outcome, line], (arm, arm), [])[1]) > 0.5
    assert float(member_shares(outcome, mean, [0 * outcome, line], (arm, few), [])[1]) == 0


def test_rows_stand_for_the_other_arm_by_their_odds():
    arm, chance = torch.tensor([[2.0, 1.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.8, 0.3, 1.4]])
    torch.testing.assert_close(likeness(arm, chance, 0), torch.tensor([[2.0, 4.0, 0.0, 49.0]]), rtol=1e-5, atol=0)
    torch.testing.assert_close(likeness(arm, chance, 1), torch.tensor([[2.0, 0.25, 0.0, 1 / 49]]), rtol=1e-5, atol=0)


# Units, order and batches


@pytest.mark.parametrize(("unit", "origin"), [(1e3, 5e4), (1e-3, -2.0), (-1.0, 3.0)])
@pytest.mark.parametrize("skewed", [False, True])
def test_units_and_origin(skewed, unit, origin):
    x, noise, _ = draw(7, 400, 0.4)
    y = standard(np.exp(1.3 * x[..., 0] + noise) if skewed else x[..., 0] + noise)
    one, other = fit(x, y), fit(x, unit * y + origin)
    assert (sum(kept(one)[2:]) > 0.3) == skewed
    np.testing.assert_allclose(kept(other), kept(one), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(other.means, unit * one.means + origin, rtol=1e-7, atol=1e-6 * abs(unit))
    np.testing.assert_allclose(other.loo_residuals, unit * one.loo_residuals, rtol=1e-5, atol=1e-6 * abs(unit))


def test_only_some_tables_of_a_batch_have_a_logarithm():
    x, noise, _ = draw(4, 400, 0.4)
    skewed = standard(np.exp(1.3 * x[..., 0] + noise))
    tables = [standard(x[..., 0] + noise), skewed, standard(noise), np.zeros((1, 400))]
    together = fit(np.concatenate([x] * 4), np.concatenate(tables))
    logarithms = sum(together.regression.shares[2:])
    assert [bool(share > 0) for share in logarithms] == [False, True, False, False]
    for b, y in enumerate(tables):
        alone = fit(x, y)
        assert (not alone.regression.logarithms) == (b != 1)
        for name in ("means", "loo_residuals"):
            torch.testing.assert_close(getattr(together, name)[b], getattr(alone, name)[0], atol=1e-10, rtol=0)
        weights = torch.full((4, 400), 1 / 400, dtype=torch.float64)
        mean = together.regression.mean(together.moment(weights))[b]
        torch.testing.assert_close(mean, alone.regression.mean(alone.moment(weights[:1]))[0])


# Where there is little to fit


@pytest.mark.parametrize("outcome", ["constant", "almost constant", "binary", "outlier", "two values"])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, N])
def test_numbers_are_finite_and_predictions_in_range(outcome, rows):
    """An arm of a table whose other outcomes vary by one."""
    x, noise, _ = draw(5)
    arm = (np.arange(N) < rows)[None] * 1.0
    own = {
        "constant": np.full((1, N), 0.7),
        "almost constant": 0.7 + 1e-7 * np.exp(noise),
        "binary": (noise > 1) * 1.0,
        "outlier": np.where(np.arange(N) == 0, 1e4, noise),
        "two values": np.where(np.arange(N) % 2, 0.1, -3.0)[None],
    }[outcome]
    found = fit(x, np.where(arm > 0, own, noise), arm)
    weights = torch.full((1, N), 1 / N, dtype=torch.float64)
    moment = found.moment(weights)
    regression = found.regression
    said = ArmRegression(regression, None).error_at(SharedRows(found.rows, found.rows))
    response = regression.response(moment - 0.4 * found.moment(torch.from_numpy(arm / arm.sum())), 0.6 * ONE)
    values = [found.means, found.loo_residuals, moment, regression.mean(moment), *vars(said).values()]
    values.append(response.of(found.rows))
    assert all(torch.isfinite(value).all() for value in values)
    seen = own[arm > 0]
    if outcome == "constant":
        np.testing.assert_allclose(found.means, 0.7)
        np.testing.assert_allclose(found.loo_residuals[0, :rows], 0, atol=1e-12)
    if outcome == "outlier" and rows == N:
        assert float(found.means.max()) < seen.max()


# The range


def test_margin_of_the_range():
    ends = ONE[None], 3 * ONE[None]
    for unexplained, margin in ((1.0, 0.0), (7.0, 0.0), (0.5, MARGIN * 2), (0.1, MARGIN * 18), (0.0, MARGIN * 2e12)):
        lower, upper = allowed_range(ends, unexplained * ONE)
        np.testing.assert_allclose([float(lower), float(upper)], [1 - margin, 3 + margin], rtol=1e-9)


@pytest.mark.parametrize("sampling", [False, True])
def test_the_range_is_that_of_the_fitted_values_of_the_arms_own_rows_and_a_margin(sampling):
    """Rows without a sampling weight are in no arm; far rows of the other arm are clipped."""
    tables = [draw(seed) for seed in (11, 12)]
    x, noise = (np.concatenate([table[part] for table in tables]) for part in (0, 1))
    rows = (x[..., 0] < 0.3) * (tables[0][2].choice([0.0, 0.5, 2.0], (2, N)) if sampling else 1.0)
    y = np.sin(x[..., 0]) + x[..., 1] + noise
    found, clipped = fit(x, y, rows), 0
    fitted = found.regression.combined(found.regression.parts(found.rows)).numpy()
    for one in range(2):
        own, left = fitted[one][rows[one] > 0], found.loo_residuals[one].numpy()
        total = np.average((y[one] - np.average(y[one], weights=rows[one])) ** 2, weights=rows[one])
        unexplained = min(1.0, np.average(left**2, weights=rows[one]) / total)
        margin = MARGIN * (1 / unexplained - 1) * np.ptp(own)
        lower, upper = own.min() - margin, own.max() + margin
        np.testing.assert_allclose(found.regression.lower[one], lower, rtol=1e-9)
        np.testing.assert_allclose(found.regression.upper[one], upper, rtol=1e-9)
        np.testing.assert_allclose(found.means[one], fitted[one].clip(lower, upper), atol=1e-12)
        assert margin > 0
        clipped += int((fitted[one] > upper).sum())
    assert clipped > 0


@pytest.mark.parametrize("landmarks", [20, 128])
def test_a_line_without_noise_goes_on_where_there_is_no_overlap(landmarks):
    """As in ``dowhy.datasets.linear_dataset``: treatment depends steeply on what the outcome is a line of."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(400, 4))
        t = (rng.random(400) < 1 / (1 + np.exp(-8 * x[:, 0] - 4 * x[:, 1]))).astype(int)
        y = 10 * t + x @ [3.0, 2.0, 0.5, 1.0]
        for target in ("ate", "att", "atc"):
            found = dowhy_cina.estimate_effect(x, t, y, target_units=target, landmarks=landmarks)
            assert found.value == pytest.approx(10, abs=1e-2)


# Leaving clusters out


@pytest.mark.parametrize("size", [4, 30])
def test_the_logarithm_leaves_clusters_out(size):
    """What it says of a cluster is what a refit without the cluster says, back by the factor of all."""
    x, noise, rng = draw(6, noise=0.5)
    y = np.exp(1.2 * x[..., 0] + 0.5 * np.sin(x[..., 1]) + noise)
    arm = (rng.random((1, N)) < 0.7) * rng.choice([0.5, 2.0], (1, N))
    labels = rng.permutation(np.arange(N) // size)
    found = fit(x, y, arm, labels)
    logs, outcome = found.regression.logarithms, torch.from_numpy(y)
    weights = torch.from_numpy(arm) * len(np.unique(labels)) / N
    assert float(sum(log.share for log in logs)) > 0.3
    clean = [torch.zeros_like(outcome) for _ in range(4)]
    members = [found.regression.kernel, found.regression.linear, *logs]
    responses = [outcome, outcome, *(log.link.forward(outcome, weights) for log in logs)]
    features = [found.rows.kernel, found.rows.columns, *(log.features(found.rows) for log in logs)]
    for label in np.unique(labels):
        rest, own = weights * torch.from_numpy(labels != label), torch.from_numpy(labels == label)
        for target, values, read, member in zip(clean, responses, features, members, strict=True):
            refit = fit_ridge(gram_statistics(read, values, rest), member.fit.penalty)
            target[0, own] = refit.predict(read)[0, own]
    for place, log in enumerate(logs, 2):
        grown = (weights * clean[place].exp()).sum(1) / weights.sum(1)
        torch.testing.assert_close(log.link.factor, log.link.level / grown, rtol=1e-6, atol=0)
        clean[place] = log.link.back(clean[place])
    mean = torch.stack(
        [
            (weights * outcome * torch.from_numpy(labels != label)).sum()
            / (weights * torch.from_numpy(labels != label)).sum()
            for label in labels
        ]
    )[None]
    expected = mean + sum(
        share[:, None] * (part - mean) for share, part in zip(found.regression.shares, clean, strict=True)
    )
    torch.testing.assert_close(found.loo_residuals, outcome - expected, rtol=1e-5, atol=1e-6)
