"""Standardisation against numpy, and to the last bit under permutations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from dowhy_cina.mathematics.scaling import CLIP, fit_scaling, standardise

N = 50


def columns(seed=0):
    return np.random.default_rng(seed).normal(size=(4, N)) * np.array([1, 1e-9, 1e6, 3])[:, None] + 2


def test_is_scikit_learns():
    x = columns()
    np.testing.assert_allclose(standardise(x)[0], StandardScaler().fit_transform(x.T).T, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_permutations_change_no_bit(seed):
    x, order = columns(seed), np.random.default_rng(seed).permutation(N)
    expected = standardise(x)[0][:, order]
    for layout in "CF":
        assert np.array_equal(standardise(np.array(x[:, order], order=layout))[0], expected)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-300, 1e-8, 1.0, 1e8, 1e300]), st.floats(-100, 100), st.booleans())
def test_has_no_unit(seed, scale, shift, flip):
    x = np.random.default_rng(seed).normal(size=(3, N))
    other = (x + shift) * (-scale if flip else scale)
    expected = standardise(x)[0] * (-1 if flip else 1)
    np.testing.assert_allclose(standardise(other)[0], expected, atol=1e-10)


def test_a_level_costs_no_digits():
    x = np.random.default_rng(0).integers(0, 8, size=(1, N)).astype(float)
    np.testing.assert_allclose(standardise(x + 1e9)[0], standardise(x)[0], atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e12, 1e-310, 1e308])
def test_constants_become_zero(value):
    scaled, scaling = standardise(np.full((1, N), value))
    assert scaling.constant.all()
    assert not scaled.any()


def test_rounding_is_constant_and_a_small_spread_is_not():
    rng = np.random.default_rng(0)
    rounding = 0.3 * (1 + rng.integers(-2, 3, size=N) * np.finfo(float).eps)
    spread = 1e9 + rng.normal(size=N)
    assert standardise(np.stack([rounding, spread]))[1].constant.tolist() == [True, False]


def test_outliers_are_cut():
    x = np.random.default_rng(0).normal(size=(1, 2000))
    x[0, 7] = 1e6
    scaled = standardise(x)[0]
    assert scaled[0, 7] == CLIP
    assert standardise(x, clip=2.0)[0].max() == 2.0


def test_other_rows_by_the_same_scaling():
    x = columns()
    scaled, scaling = standardise(x)
    assert np.array_equal(scaling.apply(x[:, :5]), scaled[:, :5])
    kept = np.array([2, 0])
    assert np.array_equal(scaling.take(kept).apply(x[kept]), scaled[kept])


def test_callers_columns_stay_as_they_were():
    x = columns()
    before, ascending = x.copy(), np.sort(x, axis=1)
    standardise(x)
    fit_scaling(ascending)
    assert np.array_equal(x, before)
    assert np.array_equal(ascending, np.sort(before, axis=1))
