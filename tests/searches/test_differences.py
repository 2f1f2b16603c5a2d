"""The search for differences of covariates that nearly agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import dowhy_cina
from dowhy_cina.searches.differences import MOST_COLUMNS, Differences, find_differences
from tests.model.laws import before_and_after


def searched(x, residual, cluster=None):
    x = torch.from_numpy((x - x.mean(0)) / x.std(0))
    codes = None if cluster is None else torch.from_numpy(cluster)
    return find_differences(x, torch.from_numpy(residual), torch.full_like(x[0], 1 / x.shape[1]), codes)


def thin(rng, rows=600, apart=0.1, sign=1):
    """Covariates of which the second one nearly agrees with the first, or with its opposite, and how they differ."""
    x, change = rng.normal(size=(rows, 4)), rng.normal(size=rows)
    x[:, 1] = sign * (x[:, 0] + apart * change)
    return x, change


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("function", [np.abs, np.sign, np.tanh])
def test_finds_what_is_there(function, sign):
    rng = np.random.default_rng(0)
    x, change = thin(rng, sign=sign)
    found = searched(x, function(change) + rng.normal(size=600))
    assert found.columns.tolist() == [[[0, 1]]]
    assert found.signs.tolist() == [[sign]]
    standard = torch.from_numpy((x - x.mean(0)) / x.std(0))[None]
    values = found.columns_of(standard)[0, :, 0].numpy()
    assert abs(values.mean()) < 1e-12
    assert values.std() == pytest.approx(1)
    assert abs(np.corrcoef(values, change)[0, 1]) > 0.99


@pytest.mark.parametrize("law", ["normal", "heavy", "smooth"])
def test_finds_nothing_where_nothing_is(law):
    """Of 300 tables of noise one in a hundred has a difference by chance; what is smooth in the covariates is none."""
    rng, found = np.random.default_rng(1), 0
    for _ in range(300):
        x, _ = thin(rng, 300, rng.choice([0.05, 0.2, 0.5]))
        noise = {
            "normal": rng.normal(size=300),
            "heavy": rng.standard_t(2, size=300),
            "smooth": 0.1 * x[:, 0] + rng.normal(size=300),
        }[law]
        found += searched(x, noise) is not None
    assert found <= 9


def test_covariates_that_are_apart_or_copies_are_passed_over():
    rng = np.random.default_rng(2)
    x, change = thin(rng, apart=1.5)
    assert searched(x, 3 * np.abs(change)) is None
    for apart in (0.0, 1e-7):
        x, change = thin(rng, apart=apart)
        assert searched(x, 3 * np.abs(change)) is None


def test_of_many_covariates_those_that_regressions_go_along_are_looked_at():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(400, MOST_COLUMNS + 40))
    change = rng.normal(size=400)
    x[:, -1] = x[:, -2] + 0.1 * change
    standard = torch.from_numpy((x - x.mean(0)) / x.std(0))
    residual, shares = torch.from_numpy(2 * np.abs(change)), torch.zeros(x.shape[1], dtype=torch.float64)
    assert find_differences(standard, residual, shares) is None
    shares[-2:] = 0.5
    found = find_differences(standard, residual, shares)
    assert found.columns.tolist() == [[[x.shape[1] - 2, x.shape[1] - 1]]]


def test_each_has_a_covariate_of_its_own():
    """Of three measurements two differences say all."""
    rng = np.random.default_rng(3)
    x, change = thin(rng)
    x[:, 2] = x[:, 0] - 0.1 * rng.normal(size=600)
    found = searched(x, np.abs(change) + np.abs(x[:, 2] - x[:, 0]) / 0.1 + rng.normal(size=600))
    assert found.count == 2
    assert len({frozenset(pair) for pair in found.columns[0].tolist()}) == 2


def test_what_clusters_have_in_common_is_no_difference():
    rng, found = np.random.default_rng(4), 0
    for _ in range(100):
        x, _ = thin(rng, 40)
        level, code = rng.normal(size=40), np.repeat(np.arange(40), 10)
        found += searched(x[code], level[code], code) is not None
    assert found <= 5


def test_places_follow_the_covariates():
    part = Differences(torch.tensor([[[0, 2]]]), torch.tensor([[1.0]]), torch.tensor([[0.1]]), torch.tensor([[0.5]]))
    x = torch.randn(1, 5, 3)
    places = torch.tensor([1, 2, 0])
    moved = torch.empty_like(x)
    moved[..., places] = x
    assert torch.equal(part.columns_of(x), part.reordered(places).columns_of(moved))


def test_is_told_in_the_covariates_own_words():
    x, t, y = before_and_after(0)
    names = ["before", "after", *"cdef"]
    result = dowhy_cina.estimate_effect(pd.DataFrame(x, columns=names), t, y)
    assert [set(text.split(" less ")) for text in result.differences] == [{"before", "after"}]
    assert "less" in result.summary()
    assert "differences" in result.to_dict()
    opposite = pd.DataFrame(x, columns=names).assign(after=-x[:, 1])
    other = dowhy_cina.estimate_effect(opposite, t, y)
    assert [set(text.split(" plus ")) for text in other.differences] == [{"before", "after"}]
    assert other.value == pytest.approx(result.value, abs=1e-6 * result.standard_error)
    assert other.standard_error == pytest.approx(result.standard_error, rel=1e-6)
    turned = dowhy_cina.estimate_effect(pd.DataFrame(x, columns=names)[names[::-1]].iloc[::-1], t[::-1], y[::-1])
    assert turned.value == result.value
