"""Dask DataFrames whose outcomes are skewed or lines: the members and shares of the whole table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina.calls.direct import analyse
from dowhy_cina.calls.partitioned import model as partitioned

dask = pytest.importorskip("dask")
dd = pytest.importorskip("dask.dataframe")


def frame(skewed, sign=1, rows=900, seed=7):
    """A table in whose arms of these numbers the logarithm of the outcome is a curve."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    t = (rng.random(rows) < 1 / (1 + np.exp(-0.5 * x[:, 0]))).astype(int)
    level, noise = x[:, 0] + 0.3 * np.sin(2 * x[:, 1]), 0.3 * rng.normal(size=rows)
    y = np.where(np.isin(t, skewed), np.exp(1.4 * level + noise), 2 + level + t + noise)
    return pd.DataFrame(x, columns=list("abc")).assign(t=t, y=50 + 10 * sign * y)


def split(table, cuts):
    """A Dask DataFrame with these partitions."""
    parts = [dask.delayed(table.iloc[part]) for part in np.split(np.arange(len(table)), cuts)]
    return dd.from_delayed(parts, meta=table.iloc[:0], verify_meta=False)


def same(ours, whole):
    for name in ("value", "standard_error", "worst_case_bias", "degrees_of_freedom", "correction_share"):
        assert getattr(ours, name) == pytest.approx(getattr(whole, name), rel=1e-6), name
    assert ours.duality_gap == pytest.approx(whole.duality_gap, abs=1e-7)
    np.testing.assert_allclose(ours.weights.compute(), whole.weights, atol=1e-6 * whole.weights.max())


@pytest.mark.parametrize("target", ["ate", "att"])
@pytest.mark.parametrize(("skewed", "sign"), [([], 1), ([0], 1), ([1], -1), ([0, 1], 1)])
def test_logarithms_in_some_arms(skewed, sign, target, monkeypatch):
    """Also where a partition has no row at all or none of an arm."""
    fitted, forward = [], partitioned.fit_outcomes

    def spy(*given):
        found = forward(*given)
        fitted.append(found[0].regressions)
        return found

    monkeypatch.setattr(partitioned, "fit_outcomes", spy)
    table = frame(skewed, sign).sort_values("t", kind="stable").reset_index(drop=True)
    whole = dowhy_cina.estimate_effect(table, "t", "y", target_units=target)
    same(dowhy_cina.estimate_effect(split(table, [100, 100, 460]), "t", "y", target_units=target), whole)
    theirs = analyse(table[list("abc")], table["t"], table["y"])._state.outcomes
    for arm, ours in enumerate(fitted[0]):
        expected = theirs[arm].regression
        assert (ours.logarithm is not None) == (expected.logarithm is not None) == (arm in skewed)
        np.testing.assert_allclose([float(s) for s in ours.shares], [float(s) for s in expected.shares], atol=1e-7)
        for name in ("lower", "upper"):
            assert float(getattr(ours, name)) == pytest.approx(float(getattr(expected, name)), rel=1e-6)
        if arm in skewed:
            assert float(ours.logarithm.share) > 0.3
            for name, value in vars(expected.logarithm.link).items():
                assert float(getattr(ours.logarithm.link, name)) == pytest.approx(float(value), rel=1e-7), name
            np.testing.assert_allclose(ours.logarithm.centre, expected.logarithm.centre, atol=1e-7)


def test_a_line_without_noise():
    table = frame([]).assign(y=lambda f: 10 * f["t"] + 3 * f["a"] - f["b"])
    found = dowhy_cina.estimate_effect(split(table, [300]), "t", "y")
    assert found.value == pytest.approx(10, abs=1e-2)
    assert found.value == pytest.approx(dowhy_cina.estimate_effect(table, "t", "y").value, abs=1e-5)
