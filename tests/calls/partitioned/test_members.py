"""Dask DataFrames whose outcomes are skewed or lines, or whose arms borrow: members and shares of the whole table."""

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


def common(treated, skewed, rows=500):
    """A table whose first rows are the treated, with a surface that the arms share, and a linear effect."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 3))
    t = (np.arange(rows) < treated).astype(int)
    level, noise = np.sin(2 * x[:, 0]) + x[:, 1], 0.3 * rng.normal(size=rows)
    y = np.exp(level + noise) if skewed else level + x[:, 1] * x[:, 2] + noise
    return pd.DataFrame(x, columns=list("abc")).assign(t=t, y=50 + 10 * (y + t * (1 + 0.5 * x[:, 2])))


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
        expected = theirs[arm].regression.own
        assert len(ours.logarithms) == len(expected.logarithms) == 2 * (arm in skewed)
        np.testing.assert_allclose([float(s) for s in ours.shares], [float(s) for s in expected.shares], atol=1e-7)
        for name in ("lower", "upper"):
            assert float(getattr(ours, name)) == pytest.approx(float(getattr(expected, name)), rel=1e-6)
        if arm in skewed:
            assert float(sum(log.share for log in ours.logarithms)) > 0.3
            for log, theirs_log in zip(ours.logarithms, expected.logarithms, strict=True):
                assert log.straight == theirs_log.straight
                for name, value in vars(theirs_log.link).items():
                    assert float(getattr(log.link, name)) == pytest.approx(float(value), rel=1e-7), name
                np.testing.assert_allclose(log.centre, theirs_log.centre, atol=1e-7)


@pytest.mark.parametrize("target", ["ate", "atc"])
@pytest.mark.parametrize(
    ("treated", "skewed", "turned", "borrowing"),
    [(50, False, False, (1,)), (250, False, False, (0, 1)), (50, True, False, (1,)), (50, True, True, (0,))],
)
def test_arms_that_borrow(treated, skewed, turned, borrowing, target, monkeypatch):
    """Also from a logarithm, and where a partition has no row at all or none of an arm."""
    fitted, forward = [], partitioned.fit_borrowing

    def spy(*given):
        fitted.append(forward(*given))
        return fitted[0]

    monkeypatch.setattr(partitioned, "fit_borrowing", spy)
    table = common(treated, skewed)
    if turned:
        table["t"] = 1 - table["t"]
    whole = dowhy_cina.estimate_effect(table, "t", "y", target_units=target)
    same(dowhy_cina.estimate_effect(split(table, [40, 40, 300]), "t", "y", target_units=target), whole)
    theirs = analyse(table[list("abc")], table["t"], table["y"])._state.outcomes
    for arm, ours in enumerate(fitted[0].arms):
        expected = theirs[arm].regression.borrowed
        assert (ours.borrowed is not None) == (expected is not None) == (arm in borrowing)
        if arm in borrowing:
            assert bool(ours.borrowed.source.logarithms) == skewed
            for name in ("share", "lower", "upper"):
                assert float(getattr(ours.borrowed, name)) == pytest.approx(float(getattr(expected, name)), rel=1e-6)
            np.testing.assert_allclose(ours.borrowed.effect.coefficients, expected.effect.coefficients, atol=1e-7)


def test_a_line_without_noise():
    table = frame([]).assign(y=lambda f: 10 * f["t"] + 3 * f["a"] - f["b"])
    found = dowhy_cina.estimate_effect(split(table, [300]), "t", "y")
    assert found.value == pytest.approx(10, abs=1e-2)
    assert found.value == pytest.approx(dowhy_cina.estimate_effect(table, "t", "y").value, abs=1e-5)


@pytest.mark.parametrize("unit", [1.0, 1e-160])
def test_an_arm_whose_rows_are_all_alike(unit):
    """No regression can learn from it, and rounding, which is another one here, does not choose its penalty."""
    x, t = np.full(9, np.nan), np.array([0, 1, 0, 1, 1, 0, 0, 0, 0])
    x[[1, 4]] = 0.821618, 0.905356
    table = pd.DataFrame({"a": x, "t": t, "y": np.arange(9) * unit})
    same(dowhy_cina.estimate_effect(split(table, [3, 6]), "t", "y"), dowhy_cina.estimate_effect(table, "t", "y"))


@pytest.mark.parametrize("level", [1.0, 1e15, 1e-250])
def test_an_outcome_of_few_digits(level):
    """It varies, or it does not, on either way alike, and a mean costs no digits of it."""
    rng = np.random.default_rng(0)
    for last in (5, 40):
        x, t = rng.normal(size=(24, 2)), np.arange(24) % 2
        y = level * (1 + np.finfo(float).eps * np.linspace(0, last, 24).round())
        table = pd.DataFrame(x, columns=["a", "b"]).assign(t=t, y=y)
        same(dowhy_cina.estimate_effect(split(table, [9, 12]), "t", "y"), dowhy_cina.estimate_effect(table, "t", "y"))


def test_an_arm_that_one_far_outcome_of_the_other_makes_constant():
    """Its outcomes hardly vary in the table's unit: nothing that is offered of them is borne out."""
    x, t = np.full(9, np.nan), np.array([0, 1, 0, 1, 1, 0, 1, 1, 1])
    x[7] = 0.773807
    y = np.array([1.034866, 1e12, 0.153582, 1.215758, 0.087919, 0.999701, 2.374887, 0.273932, -0.280382])
    table = pd.DataFrame({"a": x, "t": t, "y": y})
    same(dowhy_cina.estimate_effect(split(table, [3, 6]), "t", "y"), dowhy_cina.estimate_effect(table, "t", "y"))
