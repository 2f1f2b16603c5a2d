"""Balance, effective sample sizes and warnings against formulas written out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dowhy_cina.diagnostics import (
    EffectiveSampleSize,
    balance_table,
    effective_sample_size,
    overlap_warnings,
    standardised_mean_differences,
)


def table(rows=200, columns=3, seed=0):
    rng = np.random.default_rng(seed)
    covariates = rng.normal(size=(rows, columns))
    treatment = (rng.random(rows) < 1 / (1 + np.exp(-covariates[:, 0]))).astype(float)
    return covariates, treatment, rng.random(rows)


def test_differences_by_hand():
    covariates, treatment, weights = table()
    before, after = standardised_mean_differences(covariates, treatment, weights)
    treated, control = covariates[treatment == 1], covariates[treatment == 0]
    unit = np.sqrt((treated.var(axis=0, ddof=1) + control.var(axis=0, ddof=1)) / 2)
    np.testing.assert_allclose(before, (treated.mean(axis=0) - control.mean(axis=0)) / unit)
    one = np.average(treated, axis=0, weights=weights[treatment == 1])
    zero = np.average(control, axis=0, weights=weights[treatment == 0])
    np.testing.assert_allclose(after, (one - zero) / unit)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-12, 1.0, 1e9, 1e300]), st.floats(-100, 100))
def test_differences_have_no_unit(seed, scale, shift):
    covariates, treatment, weights = table(40, 2, seed)
    expected = standardised_mean_differences(covariates, treatment, weights)
    found = standardised_mean_differences((covariates + shift) * scale, treatment, weights)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    flipped = standardised_mean_differences(-covariates, treatment, 7 * weights)
    np.testing.assert_allclose(flipped, np.negative(expected), atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 / 3])
def test_constant_covariates_are_balanced(value):
    treatment = np.r_[np.ones(3), np.zeros(4)]
    before, after = standardised_mean_differences(np.full((7, 1), value), treatment, np.arange(7.0))
    assert before == 0
    assert after == 0


def test_covariate_that_is_the_treatment():
    treatment = np.r_[np.ones(5), np.zeros(5)]
    before, after = standardised_mean_differences(treatment[:, None], treatment, np.ones(10))
    assert before == after == pytest.approx(2.0)


def test_single_rows_have_no_nan():
    before, after = standardised_mean_differences(np.array([[1.0, 5.0], [2.0, 5.0]]), np.array([1.0, 0.0]), np.ones(2))
    assert np.isfinite([before, after]).all()
    assert before[1] == 0
    before, after = standardised_mean_differences(np.arange(6.0)[:, None], np.array([1.0, 0, 0, 0, 0, 0]), np.ones(6))
    assert np.isfinite([before, after]).all()
    assert standardised_mean_differences(np.empty((4, 0)), np.array([1.0, 0, 1, 0]), np.ones(4))[0].shape == (0,)


def test_balance_table():
    covariates, treatment, weights = table()
    frame = pd.DataFrame(covariates, columns=["age", "income", 3])
    balance = balance_table(frame, treatment, weights)
    assert list(balance.columns) == ["before", "after"]
    assert balance.index.name == "covariate"
    assert list(balance.index) == ["age", "income", "3"]
    np.testing.assert_array_equal(balance["after"], standardised_mean_differences(covariates, treatment, weights)[1])
    assert balance_table(pd.DataFrame(index=range(200)), treatment, weights).empty


def test_effective_sample_size():
    treatment = np.array([1.0, 1, 1, 0, 0])
    assert effective_sample_size(np.array([1.0, 1, 1, 5, 5]), treatment) == EffectiveSampleSize(3, 2)
    size = effective_sample_size(np.array([0.5, 0.25, 0.25, 1, 0]), treatment)
    assert size.treated == pytest.approx(1 / (0.25 + 2 * 0.0625))
    assert size.control == 1
    assert effective_sample_size(np.full(5, 1e-200), treatment) == EffectiveSampleSize(3, 2)
    assert effective_sample_size(np.zeros(5), treatment) == EffectiveSampleSize(0, 0)


class TestWarnings:
    """A sound case, then one thing broken at a time."""

    rows = 400

    def case(self):
        rng = np.random.default_rng(1)
        treatment = np.tile([1.0, 0.0], self.rows // 2)
        return {
            "treatment": treatment,
            "weights": np.full(self.rows, 2 / self.rows),
            "target_weights": np.full(self.rows, 1 / self.rows),
            "propensity": rng.uniform(0.3, 0.7, self.rows),
            "balance": pd.DataFrame({"before": [0.5], "after": [0.05]}, index=pd.Index(["age"], name="covariate")),
        }

    def test_nothing_amiss(self):
        assert overlap_warnings(**self.case()) == ()

    @pytest.mark.parametrize(("arm", "start"), [("treated", 0), ("control", 1)])
    def test_few_rows_carry_the_estimate(self, arm, start):
        case = self.case()
        case["weights"][start::2] = np.r_[np.full(8, 1.0), np.zeros(self.rows // 2 - 8)]
        (warning,) = overlap_warnings(**case)
        assert f"Few {arm} rows" in warning
        assert "200" in warning
        assert "worth 8 " in warning

    def test_a_small_share_warns_too(self):
        treatment = np.r_[np.ones(20), np.zeros(1000)]
        weights = np.r_[np.ones(20), np.ones(40), np.zeros(960)]
        flat = np.full(1020, 0.2)
        (warning,) = overlap_warnings(treatment, weights, flat, flat, self.case()["balance"])
        assert "Few control rows" in warning

    @pytest.mark.parametrize(("after", "degree"), [(0.11, "is poor"), (-0.3, "is very poor")])
    def test_poor_balance(self, after, degree):
        case = self.case()
        case["balance"].loc["age", "after"] = after
        (warning,) = overlap_warnings(**case)
        assert f"Balance {degree}" in warning
        assert f"age ({abs(after):.2f})" in warning

    def test_poor_overlap(self):
        case = self.case()
        case["propensity"][1:61:2] = 0.001  # controls that nobody treated resembles, 7.5 % of the target
        (warning,) = overlap_warnings(**case)
        assert "Overlap is poor: 8 %" in warning
        att = case["treatment"] / case["treatment"].sum()
        assert overlap_warnings(**{**case, "target_weights": att}) == ()

    def test_beyond_the_other_arm(self):
        case = self.case()
        case["propensity"][0:60:2] = 0.95
        assert "Overlap" in overlap_warnings(**case)[0]

    def test_leave_one_out_shift_in_an_experiment_is_no_lack_of_overlap(self):
        case = self.case()
        case["propensity"] = np.where(case["treatment"] == 1, 0.499, 0.501)
        assert overlap_warnings(**case) == ()

    def test_target_elsewhere_and_no_covariates(self):
        case = self.case()
        case["target_weights"] = np.zeros(self.rows)
        case["propensity"][:] = np.where(case["treatment"] == 1, 1.0, 0.0)
        case["balance"] = case["balance"].iloc[:0]
        assert overlap_warnings(**case) == ()

    def test_single_row_and_few_rows(self):
        treatment = np.r_[1.0, np.zeros(5)]
        flat = np.full(6, 1 / 6)
        single, few = overlap_warnings(treatment, flat, flat, flat, self.case()["balance"])
        assert "The treated arm has a single row" in single
        assert "no standard error" in single
        assert "The control arm has 5 rows only" in few
