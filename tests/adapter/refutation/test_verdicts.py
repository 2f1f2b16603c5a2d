"""P-values are DoWhy's own, and verdicts follow from them."""

import dataclasses
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from dowhy.causal_refuter import test_significance as significance_in_dowhy

from dowhy_cina.adapter.refutation.refits import Tally
from dowhy_cina.adapter.refutation.refuters import REFUTERS, Refits
from dowhy_cina.adapter.refutation.report import judge, judge_overlap, p_value
from dowhy_cina.results.overlap import overlap_verdict

BY_NAME = {refuter.name: refuter for refuter in REFUTERS}


def tally(effects, failures=None, planned=None):
    failures = failures or {}
    count = planned or len(effects) + len(failures)
    return Tally(Refits(count, draw=None), effects=dict(enumerate(effects)), failures=failures)


@pytest.mark.parametrize("count", [5, 99, 100, 101, 250])
@pytest.mark.parametrize("expected", [-1.0, 0.0, 0.3, 4.0])
def test_p_value_is_that_of_dowhy(count, expected):
    effects = np.random.default_rng(count).normal(size=count)
    effects[3] = 0.3
    theirs = significance_in_dowhy(SimpleNamespace(value=expected), effects)["p_value"]
    assert p_value(effects, expected) == pytest.approx(theirs, abs=1e-12)


def test_p_value_without_spread_is_none_or_all():
    for count in (10, 100):
        assert p_value(np.full(count, 2.0), 2.0) == 1
        assert p_value(np.full(count, 2.0), 3.0) == 0
        assert p_value(np.full(count, 2.0), 2.0 + 1e-9, tolerance=1e-6) == 1


def test_verdict_follows_the_p_value():
    effects = np.random.default_rng(0).normal(3.0, 0.1, size=100)
    subset, placebo = BY_NAME["data_subset_refuter"], BY_NAME["placebo_treatment_refuter"]
    good, bad = judge(subset, tally(effects), 3.0, 1.0), judge(placebo, tally(effects), 3.0, 1.0)
    assert (good.verdict, good.expected, good.meaning) == ("pass", 3.0, subset.passes)
    assert (bad.verdict, bad.expected, bad.meaning) == ("fail", 0.0, placebo.fails)
    assert good.new_effect == pytest.approx(effects.mean())
    assert judge(subset, tally(effects), 4.0, 1.0).verdict == "fail"


def test_dummy_outcome_is_told_in_its_own_unit():
    row = judge(BY_NAME["dummy_outcome_refuter"], tally([0.1, -0.1, 0.2]), 500.0, 1000.0)
    assert row.unit == 1000.0
    assert row.new_effect == pytest.approx(0.2 / 3)


@pytest.mark.parametrize(
    ("effects", "verdict", "nearest"),
    [([2.0, 0.5, 3.0], "pass", 0.5), ([1.0, -0.2], "fail", -0.2), ([-0.4, -0.1], "fail", -0.1)],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_hidden_cause_fails_where_its_range_leaves_the_estimates_side(effects, verdict, nearest, sign):
    effects, nearest = [sign * effect for effect in effects], sign * nearest
    row = judge(BY_NAME["add_unobserved_common_cause"], tally(effects), 2.0 * sign, 1.0)
    assert (row.verdict, row.new_effect) == (verdict, nearest)
    assert math.isnan(row.p_value)
    assert f"from {min(effects):.4g} to {max(effects):.4g}" in row.meaning


@pytest.mark.parametrize(
    ("name", "effects", "verdict"),
    [
        ("placebo_treatment_refuter", (-0.1, 0.0, 0.1), "uninformative"),
        ("placebo_treatment_refuter", (0.9, 1.0, 1.1), "fail"),
        ("dummy_outcome_refuter", (-0.1, 0.0, 0.1), "pass"),
        ("dummy_outcome_refuter", (0.9, 1.0, 1.1), "fail"),
        ("add_unobserved_common_cause", (0.1, 0.2), "uninformative"),
        ("add_unobserved_common_cause", (-0.1, 0.2), "uninformative"),
        ("bootstrap_refuter", (0.0, 0.3, 0.4), "pass"),
        ("bootstrap_refuter", (-0.5, 0.1, 0.4), "uninformative"),
        ("bootstrap_refuter", (4.9, 5.0, 5.1), "fail"),
    ],
)
def test_an_estimate_that_may_be_zero_leaves_some_refuters_nothing_to_say(name, effects, verdict):
    assert judge(BY_NAME[name], tally(effects), 0.3, 1.0, distinguishable=False).verdict == verdict


@pytest.mark.parametrize("name", ["random_common_cause", "data_subset_refuter", "bootstrap_refuter"])
@pytest.mark.parametrize(("share", "verdict"), [(0.6, "pass"), (1.4, "pass"), (0.4, "fail"), (1.6, "fail")])
def test_refits_that_move_by_more_than_half_the_effect_have_not_found_it_again(name, share, verdict):
    effects = 3 * share + np.linspace(-2, 2, 25)
    row = judge(BY_NAME[name], tally(effects), 3.0, 1.0)
    assert row.p_value > 0.05
    assert row.verdict == verdict
    assert ("by more than 50 % of the estimate" in row.meaning) == (verdict == "fail")


@pytest.mark.parametrize(
    ("shift", "spread", "verdict"), [(0.3, 0.01, "pass"), (-1.2, 0.01, "fail"), (0.0, 0.1, "pass"), (0.0, 2.0, "fail")]
)
@pytest.mark.parametrize("count", [30, 100])
def test_noise_may_move_an_estimate_by_less_than_its_standard_error(shift, spread, verdict, count):
    """Whatever the share of refits on either side of it; by more it hangs on noise, to one side or to both."""
    error = 0.2
    effects = 3 + error * (shift + spread * np.where(np.arange(count) % 2, 1, -1))
    row = judge(BY_NAME["random_common_cause"], tally(effects), 3.0, 1.0, standard_error=error)
    assert row.verdict == verdict
    assert (row.p_value > 0.05) == (shift == 0)  # as DoWhy computes it
    assert f"{max(abs(shift), spread):.2g} standard errors away on the average" in row.meaning
    assert "standard errors" not in judge(BY_NAME["bootstrap_refuter"], tally(effects), 3.0, 1.0).meaning


def test_failed_refits_are_counted_and_the_reason_told():
    row = judge(
        BY_NAME["bootstrap_refuter"],
        tally([1.0, 1.1, 0.9], {3: "no treated row.", 4: "odd", 5: "no treated row."}),
        1.0,
        1.0,
    )
    assert (row.failed, row.planned) == (3, 6)
    assert row.meaning.endswith("; 3 of 6 refits failed, most often since no treated row")


def test_too_few_refits_are_no_verdict():
    refuter = BY_NAME["bootstrap_refuter"]
    for given, reason in [
        (tally([], {0: "no treated row.", 1: "no treated row."}), "2 of 2 refits failed"),
        (tally([1.0], planned=20), "only 1 of 20 refits"),
        (Tally(reason="the outcome is constant."), "the outcome is constant."),
    ]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            row = judge(refuter, given, 1.0, 1.0)
        assert row.verdict == "not applicable"
        assert reason in row.meaning
        assert math.isnan(row.p_value)


def test_interrupted_refits_are_told():
    row = judge(BY_NAME["bootstrap_refuter"], tally([1.0, 1.1], planned=20), 1.0, 1.0)
    assert "interrupted after 2 of 20 refits" in row.meaning


def test_overlap_is_judged_by_the_rows_without_a_counterpart(problem):
    result = problem[2].cina_result
    assert judge_overlap(result).verdict == "pass"
    apart = np.where(result.treatment == 1, 0.999, 0.001)
    columns = (result.treatment, result.weights, result.target_weights, apart, result.balance)
    row = judge_overlap(dataclasses.replace(result, overlap=overlap_verdict(*columns)))
    assert row.verdict == "fail"
    assert "100 % of the target population have no counterpart" in row.meaning
