"""What a result says: figures, text, JSON, pickles, conditional effects."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import dowhy_cina
from dowhy_cina.errors import CinaError, InputError, InputTypeError
from dowhy_cina.results.sensitivity import sensitivity


@pytest.fixture(scope="module")
def table(linear_table):
    return linear_table()


@pytest.fixture(scope="module")
def result(table):
    return dowhy_cina.estimate_effect(*table)


class TestResult:
    def test_summary_names_the_covariates_that_differ_most(self, table):
        x, t, y = table
        frame = pd.DataFrame(x, columns=["age", "income", "school", "height"])
        found = dowhy_cina.estimate_effect(frame, t, y)
        left = found.balance.assign(after=[0.01, 0.02, -0.07, 0.03])
        text = " ".join(dataclasses.replace(found, balance=left).summary().split())
        before = abs(found.balance.before["age"])
        told = f"{before:.3f} before weighting (age), 0.070 after (school), each the largest"
        assert f" largest imbalance {told}, in standard deviations overlap " in text

    def test_summary_says_that_the_worst_case_is_a_bound(self, result):
        told = f"worst-case bias {result.minimised_bias:.4g}, if outcomes were the worst function as smooth as "
        text = " ".join(result.summary().split())
        assert f"{told}the model takes them to be: a bound, not what to expect of this table; no weights" in text
        none = dataclasses.replace(result, minimised_bias=0.0).summary()
        assert "a bound" not in none

    def test_weights_sum_to_one_in_each_arm(self, result, table):
        _, t, _ = table
        assert result.weights.min() >= 0
        assert result.weights[t == 1].sum() == pytest.approx(1)
        assert result.weights[t == 0].sum() == pytest.approx(1)
        assert result.effective_sample_size.treated == pytest.approx(1 / np.sum(result.weights[t == 1] ** 2))

    def test_types(self, result):
        assert type(result.value) is float
        assert type(result.p_value) is float
        assert all(type(bound) is float for bound in result.confidence_interval)
        assert list(result.balance.columns) == ["before", "after"]
        assert 0 <= result.duality_gap < 0.05
        assert result.propensity.min() >= 0
        assert result.propensity.max() <= 1

    def test_to_dict_is_json(self, result):
        content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert content["value"] == result.value
        assert len(content["weights"]) == 600

    def test_summary_says_what_people_ask(self, result):
        text = result.summary()
        for part in ("standard error", "95 % interval", "all rows", "effective sample size", "before", "after", "rows"):
            assert part in text

    def test_confidence_level(self, table, result):
        wide = dowhy_cina.estimate_effect(*table, confidence_level=0.99)
        assert wide.confidence_interval[0] < result.confidence_interval[0]
        assert "99 % interval" in wide.summary()

    def test_figures_of_the_correction_and_of_the_t_distribution(self, result):
        assert 0 <= result.correction_share <= 1
        assert 2 <= result.degrees_of_freedom <= 600
        half = stats.t.ppf(0.975, result.degrees_of_freedom) * result.standard_error
        assert result.confidence_interval == pytest.approx((result.value - half, result.value + half))
        expected = 2 * stats.t.sf(abs(result.value) / result.standard_error, result.degrees_of_freedom)
        assert result.p_value == pytest.approx(expected)

    def test_pseudo_outcomes_have_the_mean_of_the_effect(self, result):
        assert result.pseudo_outcomes.shape == (600,)
        assert result.pseudo_outcomes.mean() == pytest.approx(result.value, rel=1e-9)

    def test_sensitivity_counts_the_rows_that_are_compared(self, result, table):
        x, t, y = table
        more = np.r_[x, x], np.r_[t, np.full(600, 2)], np.r_[y, y]
        found = dowhy_cina.estimate_effect(*more, treatment_value=1, control_value=0)
        assert found.rows_set_aside == 600
        expected = sensitivity(
            found.value, found.standard_error, found.confidence_interval, found.outcome_scale, rows=600, columns=4
        )
        assert found.sensitivity() == expected
        assert expected.robustness_value == pytest.approx(result.sensitivity().robustness_value, rel=1e-9)

    def test_pickles_without_the_regressions(self, result):
        loaded = pickle.loads(pickle.dumps(result))
        assert loaded.function is None
        assert loaded.covariates is None
        assert result.function is not None
        assert loaded.to_dict() == result.to_dict()
        assert len(pickle.dumps(result)) < 200_000
        with pytest.raises(CinaError, match="pickles leave out"):
            loaded.conditional_effects(np.zeros((1, 4)))

    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
    def test_copies_keep_the_regressions(self, table, result, duplicate):
        other = duplicate(result)
        assert other is not result
        assert other.to_dict() == result.to_dict()
        assert other.covariates is result.covariates
        pd.testing.assert_frame_equal(other.conditional_effects(table[0]), result.conditional_effects(table[0]))
        assert (other.weights is result.weights) == (duplicate is copy.copy)

    def test_identity_is_what_is_compared(self, result):
        other = copy.deepcopy(result)
        assert result == result
        assert result != other
        assert len({result, other, result}) == 2
        groups = result.group_effects(np.arange(600) % 2)
        assert groups in {groups}
        assert groups != copy.copy(groups)

    def test_representation_is_short(self, result):
        low, high = result.confidence_interval
        told = f"value={result.value:.4g}, 95 % interval {low:.4g} to {high:.4g}"
        assert repr(result) == f"EffectResult({told}, target='ate', overlap='good')"


class TestConditionalEffects:
    def test_frame(self, table, result):
        x, _, _ = table
        rows = pd.DataFrame(x[:9], index=list("abcdefghi"))
        found = result.conditional_effects(rows)
        assert list(found.columns) == ["effect", "standard_error", "lower", "upper"]
        assert list(found.index) == list("abcdefghi")
        half = stats.norm.ppf(0.975) * found["standard_error"]
        np.testing.assert_allclose(found["lower"], found["effect"] - half)
        np.testing.assert_allclose(found["upper"], found["effect"] + half)
        np.testing.assert_allclose(result.conditional_effects(x[:9]), found)

    def test_level(self, table):
        x, t, y = table
        wide, narrow = (
            dowhy_cina.estimate_effect(x, t, y, confidence_level=level).conditional_effects(x[:3])
            for level in (0.99, 0.5)
        )
        np.testing.assert_allclose(wide["effect"], narrow["effect"])
        ratio = (wide["upper"] - wide["effect"]) / (narrow["upper"] - narrow["effect"])
        np.testing.assert_allclose(ratio, stats.norm.ppf(0.995) / stats.norm.ppf(0.75))

    def test_in_the_unit_of_the_outcome(self, table, result):
        x, t, y = table
        other = dowhy_cina.estimate_effect(x, t, 100 * y + 7).conditional_effects(x[:5])
        np.testing.assert_allclose(other, 100 * result.conditional_effects(x[:5]), rtol=1e-6)

    def test_without_regressions(self, table):
        found = dowhy_cina.estimate_effect(*table, augmentation="none")
        with pytest.raises(CinaError, match="augmentation='kernel'"):
            found.conditional_effects(table[0])

    def test_rows_that_are_none(self, result):
        with pytest.raises(InputError, match="4 columns"):
            result.conditional_effects(np.zeros((2, 3)))
        with pytest.raises((InputError, InputTypeError)):
            result.conditional_effects(np.zeros((0, 4)))
        with pytest.raises((InputError, InputTypeError)):
            result.conditional_effects("all")
