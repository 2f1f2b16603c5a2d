"""Logarithms of skewed outcomes: their choice, their way back, and derivatives against finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from dowhy_cina.model.links import BEYOND, DISTANCES, KEPT_SKEWNESS, LEAST_MEAN, LEAST_SKEWNESS, LogLink, Powers

N = 200
FIELDS = ("used", "sign", "shift", "highest", "level")


def tensor(*rows):
    return torch.from_numpy(np.stack([np.asarray(row, dtype=float) for row in rows]))


def tail(seed):
    """Skewed outcomes."""
    return np.exp(np.random.default_rng(seed).normal(size=N))


def chosen(outcome, arm=None):
    """The link of outcomes (B, N), or None."""
    arm = torch.ones_like(outcome) if arm is None else arm
    before = Powers.of(outcome, arm)
    inside = arm > 0
    lower, upper = outcome.masked_fill(~inside, torch.inf).amin(1), outcome.masked_fill(~inside, -torch.inf).amax(1)
    links = LogLink.candidates(before, (lower, upper))
    return LogLink.least_skewed(links, before, [Powers.of(link.forward(outcome, arm), arm) for link in links])


def scaled(link, fitted):
    """The link whose predictions are right on the average."""
    return link.scaled(link.grown(fitted).mean(1))


# Powers


@pytest.mark.parametrize("weighted", [False, True])
def test_moments_are_scipys(weighted):
    y = tail(1)
    times = np.random.default_rng(2).integers(0, 4, N) if weighted else np.ones(N, dtype=int)
    powers, repeated = Powers.of(tensor(y), tensor(times)), np.repeat(y, times)
    np.testing.assert_allclose(powers.count, len(repeated))
    np.testing.assert_allclose(powers.mean, repeated.mean())
    np.testing.assert_allclose(powers.variance, repeated.var())
    np.testing.assert_allclose(powers.skewness, stats.skew(repeated))
    torch.testing.assert_close(Powers.of(tensor(y), 0.3 * tensor(times)).skewness, powers.skewness)


@pytest.mark.parametrize(("level", "unit"), [(0.0, 1.0), (3.0, 1e-5), (-300.0, 1.0)])
@pytest.mark.parametrize("cuts", [[50], [0, 10, 10, 199], [200]])
def test_powers_of_parts_add_up(level, unit, cuts):
    """Empty parts as well, and where the mean is far from zero in units of the standard deviation."""
    y, weights = level + unit * tail(1), np.random.default_rng(3).choice([0.0, 0.5, 2.0], N)
    whole = Powers.of(tensor(y), tensor(weights))
    parts = [Powers.of(tensor(a), tensor(b)) for a, b in zip(np.split(y, cuts), np.split(weights, cuts), strict=True)]
    for name, value in vars(sum(parts[1:], parts[0])).items():
        np.testing.assert_allclose(value, getattr(whole, name), rtol=1e-7)
    np.testing.assert_allclose(whole.skewness, Powers.of(tensor(unit * tail(1)), tensor(weights)).skewness, rtol=1e-7)


def test_what_does_not_vary_has_no_skewness():
    for y in (np.full(N, 7.3), np.zeros(N), 2 + 1e-9 * tail(0)):
        assert float(Powers.of(tensor(y), torch.ones(1, N).double()).skewness) == 0


# The choice


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("sign", [1, -1])
def test_distance_whose_logarithms_are_the_least_skewed(sign, distance):
    """A normal variable's exponential whose least value is this many sd above zero."""
    z = stats.norm.ppf((np.arange(N) + 0.5) / N)

    def ratio(spread):
        y = np.exp(spread * z)
        return y.min() / y.std()

    spreads = np.linspace(0.3, 2.5, 2000)
    spread = spreads[np.argmin([abs(np.log(ratio(s) / distance)) for s in spreads])]
    y = np.exp(spread * z)
    link = chosen(tensor(sign * (y - 40)))
    assert link.used.all()
    assert float(link.sign) == sign
    left = [abs(stats.skew(np.log(y - y.min() + d * y.std()))) for d in DISTANCES]
    assert np.argmin(left) == DISTANCES.index(distance)
    np.testing.assert_allclose(link.shift, distance * y.std() - (y - 40).min(), rtol=1e-9)
    np.testing.assert_allclose(link.forward(tensor(sign * (y - 40)), torch.ones(1, N))[0], spread * z, atol=0.02)
    np.testing.assert_allclose(link.level, y.mean() + float(link.shift) - 40, rtol=1e-9)


def test_none_for_what_a_logarithm_does_not_help():
    rng = np.random.default_rng(4)
    binary = (np.arange(N) < 8) * 1.0
    assert stats.skew(binary) > 4
    for y in (rng.normal(size=N), rng.uniform(size=N), binary, 1 - binary, np.full(N, 2.0), [0.0, 1.0], [3.0]):
        assert chosen(tensor(y)) is None


def test_thresholds(monkeypatch):
    y = tail(5)
    before = stats.skew(y)
    assert before > LEAST_SKEWNESS
    assert chosen(tensor(y)) is not None
    monkeypatch.setattr("dowhy_cina.model.links.LEAST_SKEWNESS", before * 1.001)
    assert chosen(tensor(y)) is None
    monkeypatch.setattr("dowhy_cina.model.links.LEAST_SKEWNESS", before * 0.999)
    link = chosen(tensor(y))
    kept = abs(stats.skew(link.forward(tensor(y), torch.ones(1, N))[0].numpy())) / before
    assert kept < KEPT_SKEWNESS
    monkeypatch.setattr("dowhy_cina.model.links.KEPT_SKEWNESS", kept * 0.999)
    assert chosen(tensor(y)) is None


def test_tables_of_a_batch_choose_by_themselves():
    rng = np.random.default_rng(6)
    tables = [tail(0), rng.normal(size=N), -tail(7), (np.arange(N) < 5) * 1.0]
    together = chosen(tensor(*tables))
    assert together.used.tolist() == [True, False, True, False]
    for place in (0, 2):
        alone = chosen(tensor(tables[place]))
        for name in FIELDS:
            torch.testing.assert_close(getattr(together, name)[place], getattr(alone, name)[0])
    assert all(torch.isfinite(value).all() for value in vars(together).values())


def test_rows_of_the_other_arm_do_not_enter():
    y, rng = tail(8), np.random.default_rng(9)
    arm = (rng.random(N) < 0.5) * rng.uniform(0.5, 2, N)
    one = chosen(tensor(y), tensor(arm))
    other = chosen(tensor(np.where(arm > 0, y, 1e9)), tensor(arm))
    for name in FIELDS:
        torch.testing.assert_close(getattr(other, name), getattr(one, name))
    for link in (one, other):
        assert not link.forward(tensor(y), tensor(arm))[0, torch.from_numpy(arm <= 0)].any()


# The way back


@pytest.mark.parametrize(("unit", "origin"), [(1, 0), (1e3, 5e4), (-0.02, 7)])
def test_predictions_have_the_units_and_the_origin_of_outcomes(unit, origin):
    """Mirrored outcomes are predicted by the mirror image."""
    y, noise = tail(10), np.random.default_rng(11).normal(size=N)
    found = []
    for values in (y, unit * y + origin):
        link, outcome = chosen(tensor(values)), tensor(values)
        logs = link.forward(outcome, torch.ones(1, N))
        about = logs.mean() + 0.7 * (logs - logs.mean()) + tensor(0.1 * noise)
        link = scaled(link, about)
        found.append((link.back(about), link.slope(about), link.forward_slope(about)))
    torch.testing.assert_close(found[1][0], unit * found[0][0] + origin, rtol=1e-7, atol=1e-7 * abs(unit))
    torch.testing.assert_close(found[1][1], unit * found[0][1], rtol=1e-7, atol=0)
    torch.testing.assert_close(found[1][2] * unit, found[0][2], rtol=1e-7, atol=0)


@pytest.mark.parametrize("sign", [1, -1])
def test_right_on_the_average_and_bounded(sign):
    outcome = tensor(sign * tail(12))
    link = chosen(outcome)
    fitted = 0.5 * link.forward(outcome, torch.ones(1, N))
    link = scaled(link, fitted)
    torch.testing.assert_close(link.back(fitted).mean(1), outcome.mean(1))
    far = link.back(torch.full((1, 2), 900.0).double())
    bound = (link.sign * outcome[0] + link.shift).max() * np.exp(BEYOND)
    torch.testing.assert_close(link.sign * far[0], (link.factor * bound - link.shift).expand(2))


@pytest.mark.parametrize("sign", [1, -1])
def test_derivatives(sign):
    outcome, ones, step = tensor(sign * tail(13)), torch.ones(1, N).double(), 1e-6
    link = replace(chosen(outcome), factor=torch.tensor([1.3], dtype=torch.float64))
    fitted = link.forward(outcome, ones)
    numeric = (link.back(fitted + step) - link.back(fitted - step)) / (2 * step)
    torch.testing.assert_close(link.slope(fitted), numeric, rtol=1e-7, atol=1e-8)
    means, unit = link.back(fitted), 1e-5 * link.level
    numeric = (link.forward(means + unit, ones) - link.forward(means - unit, ones)) / (2 * unit)
    inside = link.sign * means + link.shift > LEAST_MEAN * link.level
    assert 0 < int(inside.sum()) < N
    torch.testing.assert_close(link.forward_slope(fitted)[inside], numeric[inside], rtol=1e-6, atol=0)
    bound = link.sign / (LEAST_MEAN * link.level)
    torch.testing.assert_close(link.forward_slope(fitted)[~inside], bound.expand(int((~inside).sum())))
