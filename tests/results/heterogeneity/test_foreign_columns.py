"""Columns of foreign or mixed types, and of nearly equal and very large numbers, to group and project effects by."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.results.heterogeneity import best_linear_projection, effect_curve, group_effects, group_labels
from dowhy_cina.results.heterogeneity.scores import in_size, select_modifiers

N = 40
SCORES = np.random.default_rng(0).normal(size=N)
X = pd.DataFrame({"a": np.random.default_rng(1).normal(size=N)})


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([1, "1"], ["1", "'1'"]),
        (1 + 1e-12 * np.arange(2), ["1.0", "1.000000000001"]),
        (1 + 2.3e-16 * np.arange(2), ["1.0", "1.0000000000000002"]),
        ([1e300, 1.0000001e300], ["1e+300", "1.0000001e+300"]),
        (["missing", None], ["missing", "(missing)"]),
        ([pd.NaT, 2], ["2", "missing"]),
        ([True, "True"], ["True", "'True'"]),
    ],
)
def test_levels_have_names_that_differ(values, names):
    column = pd.Series(list(values) * (N // 2))
    labels = group_labels(pd.DataFrame({"m": column}))
    assert set(labels.cat.categories) == set(names)
    assert list(group_effects(SCORES, labels).table["rows"]) == [N // 2, N // 2]


@pytest.mark.parametrize("unit", [1e-320, 2.3e-16, 1e-6, 1.0, 1e15, 1e305])
def test_ranges_have_names_that_differ(unit):
    values = np.arange(N) * unit + (1 if unit == 2.3e-16 else 0)
    labels = group_labels(pd.DataFrame({"m": values}))
    names = list(labels.cat.categories)
    assert len(names) == len(set(names)) == 4
    assert labels.value_counts().min() >= N // 4 - 1
    assert max(map(len, names)) < 60


def test_more_bins_than_rows_are_a_group_for_each_row():
    labels = group_labels(pd.DataFrame({"m": np.arange(N)}), bins=10**12)
    assert labels.cat.categories.tolist() == [str(k) for k in range(N)]


@pytest.mark.parametrize("bins", ["4", 2.5, float("nan"), True, None])
def test_bins_are_whole_numbers(bins):
    with pytest.raises(InputTypeError, match="number of bins must be a whole number"):
        group_labels(X, bins)


@pytest.mark.parametrize(
    ("column", "error"),
    [
        ([[1]] * N, InputTypeError),
        ([{}] * N, InputTypeError),
        (np.ones(N) * 1j, InputTypeError),
        ([np.inf, *range(N - 1)], InputError),
        ([np.inf, 1] * (N // 2), InputError),
    ],
)
def test_columns_that_make_no_groups(column, error):
    with pytest.raises(error, match="group by"):
        group_labels(pd.DataFrame({"m": column}))


@pytest.mark.parametrize("groups", [[[1], [2, 3]] * (N // 2), [{}] * N])
def test_labels_that_are_none(groups):
    with pytest.raises(InputTypeError, match="label for each row"):
        group_effects(SCORES, groups)


@pytest.mark.parametrize("by", [scipy.sparse.csr_matrix(np.ones((N, 1))), [["a"]], {}, [{}]])
def test_names_that_are_none(by):
    with pytest.raises((InputTypeError, InputError), match="expected"):
        select_modifiers(X, by)


def test_values_in_two_dimensions_are_columns():
    chosen = select_modifiers(X, np.column_stack([SCORES, SCORES > 0]))
    assert list(chosen.columns) == ["group0", "group1"]
    with pytest.raises(InputError, match="shape"):
        select_modifiers(X, np.ones((N, 1, 1)))


def test_labels_that_all_differ_cannot_be_projected_on():
    own = pd.DataFrame({"q": [f"id{k}" for k in range(N)]})
    with pytest.raises(InputError, match="fewer labels than the 40 rows"):
        best_linear_projection(SCORES, own)
    once = pd.DataFrame({"q": ["rare", *["usual", "other"] * (N // 2)][:N]})
    with pytest.raises(InputError, match="decides a coefficient by itself"):
        best_linear_projection(SCORES, once)
    with pytest.raises(InputError, match="more rows than terms"):
        best_linear_projection(SCORES[:3], pd.DataFrame(np.eye(3)[:, :2]))


@pytest.mark.parametrize("size", [1e80, 1e-80])
def test_a_regression_refuses_what_its_squares_are_not(size):
    with pytest.raises(InputError, match="another unit"):
        best_linear_projection(SCORES * size, X)
    with pytest.raises(InputError, match="another unit"):
        best_linear_projection(SCORES, X * size)


@pytest.mark.parametrize("size", [1e307, 1e-300])
def test_a_curve_along_numbers_of_any_size(size):
    found, plain = effect_curve(SCORES, X["a"] * size), effect_curve(SCORES, X["a"])
    np.testing.assert_allclose(found.index / size, plain.index, rtol=1e-12)
    np.testing.assert_allclose(found, plain, rtol=1e-6)


@pytest.mark.parametrize("unit", [2.0**-600, 2.0**600])
def test_a_power_of_two_moves_no_digit(unit):
    groups = np.arange(N) % 3
    found, plain = group_effects(SCORES * unit, groups), group_effects(SCORES, groups)
    assert (found.table["standard_error"] / unit).tolist() == plain.table["standard_error"].tolist()
    assert found.p_value == plain.p_value
    scores, size = in_size(SCORES * unit)
    assert (scores * size == SCORES * unit).all()
    assert 0.5 <= np.abs(scores).max() < 1
