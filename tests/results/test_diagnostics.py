"""Balance, effective sample sizes and warnings against formulas written out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dowhy_cina.results.diagnostics import (
    EffectiveSampleSize,
    balance_table,
    effective_sample_size,
    outside_support,
    standardised_mean_differences,
    sum_arms,
)
from dowhy_cina.results.overlap import (
    GRADES,
    OverlapVerdict,
    grade_overlap,
    overlap_verdict,
    overlap_warnings,
    relative_width,
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


def test_sampling_weights_are_in_the_means_before_and_not_in_the_unit():
    covariates, treatment = np.array([[0.0], [2.0], [4.0], [1.0], [3.0]]), np.array([1.0, 1, 1, 0, 0])
    sampled = np.array([2.0, 0, 2, 3, 1])  # means 2 and 1.5, variances of the unweighted arms 4 and 2
    balance = balance_table(pd.DataFrame(covariates, columns=["x"]), treatment, np.ones(5), sampled)
    assert balance["before"].tolist() == pytest.approx([0.5 / np.sqrt(3)])
    assert balance["after"].tolist() == pytest.approx([0.0])
    found = standardised_mean_differences(covariates, treatment, np.ones(5), 7 * sampled)
    np.testing.assert_allclose(np.ravel(found), balance.to_numpy().ravel())


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


def test_memory_layout_does_not_matter():
    covariates, treatment, weights = table()
    answers = [standardised_mean_differences(np.array(covariates, order=order), treatment, weights) for order in "CF"]
    np.testing.assert_array_equal(*answers)


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


class TestOutsideSupport:
    def test_by_hand(self):
        treatment = np.r_[np.ones(100), np.zeros(100)]
        propensity = np.r_[np.full(70, 0.5), np.full(30, 0.99), np.full(95, 0.5), np.full(5, 0.99)]
        outside = outside_support(treatment, propensity)
        assert outside[70:100].all()  # only five controls went against such odds
        assert outside.sum() == 30
        # The same with the arms and the odds turned round.
        np.testing.assert_array_equal(outside_support(1 - treatment, 1 - propensity), outside)
        propensity[175:] = 0.99
        assert not outside_support(treatment, propensity).any()  # twenty-five controls did

    def test_rare_treatment_by_lot_is_no_lack_of_support(self):
        rng = np.random.default_rng(0)
        treatment = (np.arange(3000) < 45).astype(float)
        propensity = np.clip(0.015 + 0.002 * rng.normal(size=3000), 0, 1)
        assert not outside_support(treatment, propensity).any()

    def test_leave_one_out_shift_is_no_lack_of_support(self):
        treatment = np.tile([1.0, 0.0], 50)
        assert not outside_support(treatment, np.where(treatment == 1, 0.01, 0.012)).any()

    def test_known_propensities(self):
        """On logistic tables it finds most of the rows whose true odds are longer than one in fifty."""
        rng = np.random.default_rng(0)
        propensity = 1 / (1 + np.exp(-3 * rng.normal(size=2000)))
        treatment = (rng.random(2000) < propensity).astype(float)
        lonely = np.where(treatment == 1, propensity > 0.98, propensity < 0.02)
        outside = outside_support(treatment, propensity)
        assert not (outside & ~lonely).any()
        assert (outside & lonely).sum() > 0.9 * lonely.sum()

    @settings(max_examples=100, deadline=None)
    @given(st.integers(0, 10**6), st.integers(2, 90), st.sampled_from([1, 5, 40]))
    def test_counterparts_counted_one_by_one(self, seed, rows, levels):
        """The definition, row by row, with ties between the arms and arms of which 30 % is no whole number."""
        rng = np.random.default_rng(seed)
        treatment = (rng.permutation(rows) < rng.integers(1, rows)).astype(float)
        propensity = rng.integers(0, levels + 1, rows) / (100 * levels)
        propensity = np.where(rng.random(rows) < 0.5, propensity, 1 - propensity)
        expected = []
        for arm, chance in zip(treatment, np.where(treatment == 1, 1 - propensity, propensity), strict=True):
            others = (1 - propensity if arm else propensity)[treatment != arm]
            little = min(0.02, 0.2 * len(others) / rows)
            expected.append(chance < little and (others <= chance).sum() < min(20, 0.3 * len(others)))
        assert outside_support(treatment, propensity).tolist() == expected

    def test_single_rows(self):
        assert outside_support(np.array([1.0, 0, 0]), np.array([1.0, 0.0, 0.5])).tolist() == [True, True, False]


class Case:
    """A sound case, in which one thing is broken at a time."""

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

    def with_lonely_controls(self, count):
        case = self.case()
        case["propensity"][1 : 2 * count : 2] = 0.001
        return case


class TestVerdict(Case):
    def test_good(self):
        verdict = overlap_verdict(**self.case())
        assert verdict == OverlapVerdict("good", (), "")
        assert str(verdict) == "good"

    @pytest.mark.parametrize(("count", "grade"), [(30, "good"), (60, "strained"), (198, "strained")])
    def test_no_counterpart(self, count, grade):
        verdict = overlap_verdict(**self.with_lonely_controls(count))
        assert verdict.grade == grade
        if grade != "good":
            assert verdict.reasons[0] == f"{100 * count / 400:.0f} % of the target population have no counterpart " + (
                "in the other arm"
            )
            assert "'att'" in verdict.advice  # no treated row lacks one
            assert "overlap" in verdict.advice

    def test_target_without_counterparts(self):
        case = self.with_lonely_controls(150)
        controls = (case["treatment"] == 0) / 200
        verdict = overlap_verdict(**{**case, "target_weights": controls})
        assert verdict.grade == "the data do not answer this"
        assert "75 %" in verdict.reasons[0]
        assert "'att'" in verdict.advice
        assert "add treated rows" in verdict.advice
        treated = (case["treatment"] == 1) / 200
        assert overlap_verdict(**{**case, "target_weights": treated}).grade == "good"

    @pytest.mark.parametrize(("lonely", "named"), [(80, False), (51, False), (37, True)])
    def test_another_target_is_named_only_if_it_lacks_half_as_much(self, lonely, named):
        case = self.with_lonely_controls(120)
        case["propensity"][0 : 2 * lonely : 2] = 0.999
        verdict = overlap_verdict(**case)
        assert verdict.reasons[0].startswith(f"{(120 + lonely) / 4:.0f} % of the target")
        assert ("'att'" in verdict.advice) == named
        assert (f"of whom {lonely / 2:.0f} % lack a counterpart" in verdict.advice) == named

    @pytest.mark.parametrize(("arm", "start"), [("treated", 0), ("control", 1)])
    @pytest.mark.parametrize(("carriers", "grade"), [(40, 0), (20, 1), (4, 2), (2, 2)])
    def test_few_rows_carry_the_estimate(self, arm, start, carriers, grade):
        case = self.case()
        case["weights"][start::2] = np.r_[np.full(carriers, 1.0), np.zeros(self.rows // 2 - carriers)] / carriers
        verdict = overlap_verdict(**case)
        assert verdict.grade == GRADES[grade]
        if grade:
            assert f"200 {arm} rows are worth {carriers} equally" in verdict.reasons[0]
            assert f"add {arm} rows" in verdict.advice
        assert ("the heaviest carries" in str(verdict)) == (carriers < 5)

    def test_one_heavy_row(self):
        case = self.case()
        case["weights"][0::2] = np.r_[0.3, np.full(199, 0.7 / 199)]
        verdict = overlap_verdict(**case)
        assert verdict.grade == "the data do not answer this" if verdict.reasons[0].count(" 9.") else "strained"
        assert "the heaviest carries 30 %" in verdict.reasons[0]

    def test_a_small_experiment_is_strained_at_most(self):
        treatment = np.tile([1.0, 0.0], 8)
        flat = np.full(16, 1 / 8)
        verdict = overlap_verdict(treatment, flat, flat, np.full(16, 0.5), self.case()["balance"])
        assert verdict.grade == "strained"

    @pytest.mark.parametrize(
        ("treated", "control", "added"), [(12, 60, "treated"), (60, 12, "control"), (20, 20, "treated and control")]
    )
    @pytest.mark.parametrize("targets", [(1, 1), (1, 0), (0, 1)])
    def test_a_small_arm_of_even_weights_lacks_rows_and_not_overlap(self, treated, control, added, targets):
        """Whoever the target is; an interval that is wide because of it changes nothing."""
        treatment = np.repeat([1.0, 0.0], [treated, control])
        flat = np.where(treatment == 1, 1 / treated, 1 / control)
        target = np.where(treatment == 1, *targets).astype(float)
        arms = sum_arms(treatment, flat, target, np.full(len(flat), 0.5))
        for width in (0.0, 3.0):
            verdict = grade_overlap(arms, self.case()["balance"], width)
            assert verdict.grade == GRADES[2 if width else 1]
            assert verdict.advice == f"Add {added} rows: it is their number that is lacking, not overlap."
        name, rows = ("treated", treated) if treated < 30 else ("control", control)
        small = f"the {name} arm is small, with {rows} rows that are worth {rows} equally weighted rows"
        assert verdict.reasons[1] == small

    @pytest.mark.parametrize(("carriers", "trim"), [(24, False), (20, False), (19, True), (12, True)])
    def test_trimming_is_advised_where_weights_cost_something(self, carriers, trim):
        treatment = np.repeat([1.0, 0.0], [25, 100])
        weights = np.where(treatment == 1, np.arange(125) < carriers, 1.0)
        verdict = overlap_verdict(treatment, weights, np.ones(125), np.full(125, 0.5), self.case()["balance"])
        assert verdict.grade == "strained"
        assert ("target_units='overlap'" in verdict.advice) == trim
        assert ("the treated arm is small" in verdict.reasons[0]) != trim
        assert ("it is their number" in verdict.advice) != trim

    def test_trimming_is_advised_where_small_arms_differ(self):
        treatment = np.repeat([1.0, 0.0], 25)
        balance = self.case()["balance"].assign(after=0.3)
        verdict = overlap_verdict(treatment, np.ones(50), np.ones(50), np.full(50, 0.5), balance)
        assert "target_units='overlap'" in verdict.advice
        assert [text[:15] for text in verdict.reasons] == ["the treated arm", "the control arm", "the arms still "]

    def test_few_clusters_are_told_as_clusters(self):
        """Twenty in each arm, of ten rows each, of unequal size, and with weights that leave half of them out."""
        cluster = np.repeat(np.arange(40), 10)
        arms, verdict = self.verdict_of_clusters(cluster, np.ones(400))
        assert (arms.treated.clusters, arms.treated.effective_size) == (20, 20)
        small = "the {} arm is small, with 200 rows in 20 clusters that are worth 20 equally weighted clusters"
        assert verdict.reasons == (small.format("treated"), small.format("control"))
        assert verdict.advice == (
            "Add clusters with treated and with control rows: it is their number that is lacking, not overlap."
        )
        cluster = np.repeat(np.arange(40), np.r_[np.full(36, 5), np.full(4, 55)])
        arms, verdict = self.verdict_of_clusters(cluster, np.ones(400))
        assert arms.treated.effective_size == pytest.approx(200**2 / (18 * 5**2 + 2 * 55**2))
        assert "200 rows in 20 clusters of unequal size that are worth 6.15 equally" in verdict.reasons[0]
        assert verdict.advice.startswith("Add clusters with treated and with control rows: ")
        cluster = np.repeat(np.arange(160), 10)
        _, verdict = self.verdict_of_clusters(cluster, np.where(cluster < 40, 1.0, 0.0))
        worth = "the weights of the 800 {} rows in 80 clusters are worth 20 equally weighted clusters"
        assert verdict.reasons == (worth.format("treated"), worth.format("control"))
        assert verdict.advice == (
            "Trim to the rows where both arms are comparable (target_units='overlap'), or add clusters with treated "
            "rows that resemble the target population."
        )

    def verdict_of_clusters(self, cluster, weights):
        """What the arms add up to, of which every other cluster is treated, and the verdict."""
        ones = np.ones(len(cluster))
        arms = sum_arms((cluster % 2 == 0).astype(float), weights, ones, 0.5 * ones, cluster)
        return arms, grade_overlap(arms, self.case()["balance"])

    @pytest.mark.parametrize(("after", "grade"), [(0.2, 0), (-0.3, 1), (0.9, 2)])
    def test_imbalance(self, after, grade):
        case = self.case()
        case["balance"].loc["age", "after"] = after
        verdict = overlap_verdict(**case)
        assert verdict.grade == GRADES[grade]
        if grade:
            assert f"{abs(after):.2f} standard deviations in age" in verdict.reasons[0]

    @pytest.mark.parametrize(("width", "grade"), [(0.0, 0), (1.99, 0), (2.01, 2), (np.inf, 2)])
    def test_an_interval_wider_than_every_effect(self, width, grade):
        case = self.case()
        arms = sum_arms(*(case[name] for name in ("treatment", "weights", "target_weights", "propensity")))
        verdict = grade_overlap(arms, case["balance"], width)
        assert verdict.grade == GRADES[grade]
        assert len(verdict.reasons) == grade // 2
        if grade:
            assert verdict.reasons[0] == f"the interval is {width:.3g} times as wide as the range of the outcome"
            assert verdict.advice

    def test_width_in_ranges(self):
        assert relative_width((-1.0, 5.0), 2.0) == 3
        assert relative_width(None, 2.0) == 0
        assert relative_width((-1e-9, 1e-9), 0.0) == 0

    def test_the_worst_reason_comes_first(self):
        case = self.with_lonely_controls(60)
        case["balance"].loc["age", "after"] = 1.2
        verdict = overlap_verdict(**case)
        assert verdict.grade == "the data do not answer this"
        assert "age" in verdict.reasons[0]
        assert "15 %" in verdict.reasons[1]
        assert str(verdict).startswith("the data do not answer this: the arms still differ")

    def test_target_elsewhere_and_no_covariates(self):
        case = self.case()
        case["target_weights"] = np.zeros(self.rows)
        case["propensity"][:] = np.where(case["treatment"] == 1, 1.0, 0.0)
        case["balance"] = case["balance"].iloc[:0]
        assert overlap_verdict(**case).grade == "good"


def warned(case):
    """Warnings of a table."""
    columns = [case[name] for name in ("treatment", "weights", "target_weights", "propensity")]
    return overlap_warnings(sum_arms(*columns), overlap_verdict(**case))


class TestWarnings(Case):
    def test_nothing_amiss(self):
        assert warned(self.case()) == ()

    def test_the_verdict_is_a_warning(self):
        case = self.with_lonely_controls(60)
        verdict = overlap_verdict(**case)
        (warning,) = warned(case)
        assert warning.startswith("The data are strained: 15 % of the target")
        assert warning.endswith(verdict.advice)
        case["balance"].loc["age", "after"] = 1.2
        assert warned(case)[0].startswith("The data do not answer this: ")

    def test_single_row_and_few_rows(self):
        treatment = np.r_[1.0, np.zeros(5)]
        flat = np.full(6, 1 / 6)
        found = overlap_verdict(treatment, flat, flat, flat, self.case()["balance"])
        single, few, verdict = overlap_warnings(sum_arms(treatment, flat, flat, flat), found)
        assert "The treated arm has a single row" in single
        assert "no standard error" in single
        assert "The control arm has 5 rows only" in few
        assert verdict.startswith("The data are strained: the treated arm is a single row; the control ")
        assert "the control arm is small, with 5 rows that are worth 5 equally weighted rows" in verdict
