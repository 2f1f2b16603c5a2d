"""Steps: found where they are and nowhere else, the same whichever way a table is turned, and on every route."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from dowhy_cina.searches.pursuit import LEAST_ROWS, student_gains
from dowhy_cina.searches.steps import (
    MEDIAN,
    MOST_STEPS,
    QUANTILES,
    ROWS_OF_A_STEP,
    Steps,
    _distinct,
    _thresholds,
    find_steps,
)
from tests.model.laws import jumps


def searched(x, t, y, **options):
    """Steps in what the arms' lines leave of outcomes."""
    shares = options.pop("shares", np.ones(x.shape[1]))

    def smoothed(values):
        fitted = np.empty(len(x))
        for arm in (0, 1):
            basis = np.column_stack([np.ones(len(x)), x])[t == arm]
            fitted[t == arm] = basis @ np.linalg.lstsq(basis, values[t == arm], rcond=None)[0]
        return fitted

    return find_steps(x, t.astype(float), y - smoothed(y.astype(float)), shares, smoothed, **options)


def as_functions(steps, x):
    """Values of steps, whatever their order."""
    values = steps.columns_of(torch.from_numpy(x)[None])[0].numpy()
    return values[:, np.lexsort(np.abs(values[:3]).round(6))]


def test_finds_what_is_there():
    x, t, y = jumps(0)
    steps = searched(x, t, y)
    assert {(0, -1), (1, 2)} <= {tuple(pair) for pair in steps.columns[0].tolist()}
    assert steps.count <= MOST_STEPS
    place = steps.columns[0].tolist().index([0, -1])
    assert 0.3 < float(steps.lower[0, place, 0]) < 0.9
    values = as_functions(steps, x)
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(values.std(0), 1, atol=1e-12)


def test_long_tables_may_have_more():
    """Each of ten covariates jumps at a place of its own, twice."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4096, 10))
    t, drive = rng.integers(0, 2, 4096), (np.abs(x) > np.linspace(0.5, 1.4, 10)).sum(1)
    steps = searched(x, t, drive + rng.normal(size=4096))
    assert set(steps.columns[0, :, 0].tolist()) == set(range(10))
    assert MOST_STEPS < 16 <= steps.count <= 4096 // ROWS_OF_A_STEP
    few = searched(x[:900], t[:900], 3 * drive[:900] + rng.normal(size=900))
    assert few.count <= MOST_STEPS


def test_finds_nothing_where_nothing_is():
    """Of 300 tables of noise, a few have a step by chance; heavy tails and rare outcomes give no more."""
    laws = {
        "normal": lambda rng: rng.normal(size=300),
        "heavy": lambda rng: rng.standard_t(2, size=300),
        "rare": lambda rng: (rng.random(300) < 0.05).astype(float),
    }
    for place, law in enumerate(laws.values()):
        found = 0
        for seed in range(100):
            rng = np.random.default_rng([place, seed])
            found += searched(rng.normal(size=(300, 8)), rng.integers(0, 2, 300), law(rng)) is not None
        assert found <= 12


def test_by_hand():
    columns = torch.tensor([[[0, -1], [1, 0]]])
    lower, upper = torch.tensor([[[0.5, 0.5], [0.0, 0.5]]]).double(), torch.tensor([[[0.5, 0.5], [1.0, 0.5]]]).double()
    steps = Steps(columns, lower, upper, torch.tensor([[0.2, 0.0]]).double(), torch.tensor([[2.0, -1.0]]).double())
    x = torch.tensor([[[0.6, 2.0], [0.4, 0.5], [0.4, -1.0]]]).double()
    expected = [[0.4, -1.0], [-0.6, 0.0], [-0.6, -1.0]]
    torch.testing.assert_close(steps.columns_of(x)[0], torch.tensor(expected).double())
    assert steps.reordered(torch.tensor([1, 0])).columns.tolist() == [[[1, -1], [0, 1]]]


def test_is_the_same_when_columns_are_negated_or_put_in_another_order():
    x, t, y = jumps(1)
    found = as_functions(searched(x, t, y), x)
    signs = np.array([-1.0, 1, -1, -1, 1, -1])
    np.testing.assert_allclose(np.abs(as_functions(searched(x * signs, t, y), x * signs)), np.abs(found), atol=1e-9)
    order = [3, 1, 5, 0, 2, 4]
    np.testing.assert_allclose(np.abs(as_functions(searched(x[:, order], t, y), x[:, order])), np.abs(found), atol=1e-9)
    swapped = as_functions(searched(x, 1 - t, -y), x)
    np.testing.assert_allclose(np.abs(swapped), np.abs(found), atol=1e-9)


def test_repeated_rows_that_belong_together_change_nothing():
    x, t, y = jumps(2, 301)
    pair = np.repeat(np.arange(301), 2)
    once, again = searched(x, t, y), searched(x[pair], t[pair], y[pair], cluster=pair)
    for name in ("columns", "lower", "upper", "centre", "unit"):
        torch.testing.assert_close(getattr(again, name), getattr(once, name), rtol=1e-9, atol=1e-9)
    jitter = 1e-6 * np.random.default_rng(0).normal(size=(602, 6))
    almost = searched(x[pair] + jitter, t[pair], y[pair], cluster=pair)
    torch.testing.assert_close(almost.columns, once.columns)
    torch.testing.assert_close(almost.lower, once.lower, rtol=0, atol=1e-5)


def test_a_step_has_rows_on_both_sides():
    rng = np.random.default_rng(0)
    x = np.column_stack([(rng.random(400) < (LEAST_ROWS - 5) / 400).astype(float), np.zeros(400)])
    assert searched(x, rng.integers(0, 2, 400), 50 * x[:, 0] + rng.normal(size=400)) is None


def test_covariates_without_a_threshold_are_passed_over():
    """The first twelve are of a few rows each; the last one has a step, and there is no pair."""
    rng = np.random.default_rng(1)
    x = np.zeros((400, 14))
    x[np.arange(13), np.arange(13)] = 1
    x[:, 13] = rng.normal(size=400)
    shares = np.arange(14, 0, -1.0)
    steps = searched(x, rng.integers(0, 2, 400), 3 * (x[:, 13] > 0.3) + rng.normal(size=400), shares=shares)
    assert {tuple(pair) for pair in steps.columns[0].tolist()} == {(13, -1)}


def nearest(column, least, share):
    """Thresholds of one share, from its definition: between values, where the share of the rows below is nearest."""
    values, counts = np.unique(column, return_counts=True)
    below = np.cumsum(counts)[:-1] / len(column)
    if not len(below):
        return []
    apart = np.abs(below - share)
    own = np.flatnonzero(apart <= apart.min() + 1e-9)
    pair = (own[0], own[-1])
    if min(below[pair[0]], 1 - below[pair[1]]) * len(column) < least:
        return []
    return [tuple((values[place] + values[place + 1]) / 2 for place in pair)]


def test_thresholds_are_those_of_their_definition():
    rng = np.random.default_rng(0)
    for rows in (2, 7, 64, 150):
        columns = [rng.normal(size=rows), rng.integers(0, 2, rows), rng.integers(0, 6, rows), np.ones(rows)]
        table = np.array(columns, dtype=np.float64)
        for least in (1, rows / 10):
            kept, pairs = _thresholds(np.sort(table), least, QUANTILES)
            for column, own, found, chosen in zip(table, pairs, kept, _distinct(kept, pairs), strict=True):
                expected = sorted({pair for share in QUANTILES for pair in nearest(column, least, share)})
                assert [tuple(pair) for pair in own[chosen]] == expected
                median = [tuple(own[MEDIAN])] if found[MEDIAN] else []
                assert median == nearest(column, least, QUANTILES[MEDIAN])


def in_clusters(rng, clusters, rows):
    """Clusters of rows, a covariate of rows and one of whole clusters, and noise of both."""
    code = np.repeat(np.arange(clusters), rows)
    x = np.column_stack([rng.normal(size=len(code)), rng.normal(size=clusters)[code]])
    return code, x, rng.normal(size=len(code)), rng.normal(size=clusters)[code]


@pytest.mark.parametrize("clusters", [12, 30])
def test_steps_inside_few_clusters_are_found(clusters):
    rng = np.random.default_rng(5)
    code, x, noise, _ = in_clusters(rng, clusters, 40)
    t = rng.integers(0, 2, len(code))
    steps = searched(x, t, 1.2 * (x[:, 0] > 0.5) + noise, cluster=code)
    assert steps.columns[0].tolist() == [[0, -1]]


def test_steps_between_few_clusters_are_not():
    """What thirty clusters have in common is no step of their covariate, however large it is."""
    rng, found = np.random.default_rng(6), 0
    for _ in range(60):
        code, x, noise, level = in_clusters(rng, 30, 20)
        found += searched(x, rng.integers(0, 2, len(code)), noise + 2 * level, cluster=code) is not None
    assert found <= 2


def test_scores_of_few_terms_are_normal():
    rng = np.random.default_rng(7)
    terms = rng.normal(size=(20_000, 12))
    shares = terms.sum(1) ** 2 / (terms**2).sum(1)
    for share in (0.9, 0.99, 0.999):
        expected = stats.chi2.ppf(share, 1)
        assert np.quantile(student_gains(shares, 12), share) == pytest.approx(expected, rel=0.1)
