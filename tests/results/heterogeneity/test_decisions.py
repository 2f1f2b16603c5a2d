"""Rules, rankings, distributions and searches, on scores whose nuisances are known and on estimates of whole tables."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import dowhy_cina
from dowhy_cina.errors import CinaError, InputError, InputTypeError
from dowhy_cina.results.heterogeneity import Halves, HeldOut, effect_distribution, rank_weighted_effect, search_groups
from dowhy_cina.results.heterogeneity.learned import Judge, ranks
from dowhy_cina.results.heterogeneity.policies import learned_rule, policy_table


def judge_of(rows, seed, *, effect=1.0, allowance=None):
    """Scores by true nuisances of effects ``effect * (1 + x)``; the mean without treatment is x."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    e = 1 / (1 + np.exp(-0.5 * x))
    t = rng.random(rows) < e
    noise = rng.normal(size=rows)
    scores = effect * (1 + x) + np.where(t, 1 / e, -1 / (1 - e)) * noise
    control = x + np.where(t, 0, 1 / (1 - e)) * noise
    found = {"pseudo_outcomes": scores, "weights": np.ones(rows)}
    error = scores.std(ddof=1) / np.sqrt(rows) if allowance is None else allowance
    return x, Judge.of(found, control, t, None, 0.95, error)


def test_values_of_policies_are_means_of_scores():
    x, judge = judge_of(300, 0)
    rule, price = x > 0, np.full(300, 0.25)
    table = policy_table(judge, rule, price, None, None)
    base, gain = 300 * judge.base, 300 * judge.added - 0.25
    assert table.loc["rule", "value"] == pytest.approx(np.where(rule, base + gain, base).mean())
    assert table.loc["all", "value"] - table.loc["none", "value"] == pytest.approx(judge.added.sum() - 0.25)
    assert table.loc["rule", "treated"] == pytest.approx(rule.mean())
    differences = policy_table(judge, rule, price, None, "none")
    assert differences.loc["none", ["value", "standard_error"]].tolist() == [0, 0]
    assert differences.loc["rule", "value"] == pytest.approx(table["value"]["rule"] - table["value"]["none"])


def test_intervals_of_a_learned_rule_hold_its_value():
    """The best half by x, with true nuisances: E(base) = 0, E((1 + x) 1(x > 0)) = 1/2 + 1 / sqrt(2 pi)."""
    truth, held, errors = 0.5 + 1 / np.sqrt(2 * np.pi), [], []
    for seed in range(200):
        x, judge = judge_of(250, seed)
        judge = Judge(judge.added, judge.base, judge.share, judge.treated, None, 0.95, 1.0)
        chosen, correction = learned_rule(judge, HeldOut(x, np.arange(250) % 5), 0.5, np.zeros(250))
        found = policy_table(judge, chosen, np.zeros(250), correction, None).loc["rule"]
        held.append(found["lower"] <= truth <= found["upper"])
        errors.append((found["value"] - truth) / found["standard_error"])
    assert 0.92 <= np.mean(held) <= 0.98
    assert abs(np.mean(errors)) < 0.2
    assert np.std(errors) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("weighting", ["qini", "autoc"])
def test_the_area_under_null_effects_holds_zero(weighting):
    held = []
    for seed in range(200):
        x, judge = judge_of(400, seed, effect=0.0)
        judge = Judge(judge.added, judge.base, judge.share, judge.treated, None, 0.95, 1.0)
        found = rank_weighted_effect(judge, ranks(x, judge.share, np.arange(400) % 5), weighting)
        held.append(found.lower <= 0 <= found.upper)
    assert 0.92 <= np.mean(held) <= 0.98


@pytest.mark.parametrize(("weighting", "truth"), [("qini", 1 / (2 * np.sqrt(np.pi))), ("autoc", 0.9032)])
def test_the_area_of_a_known_ranking(weighting, truth):
    """Effects 1 + x ranked by x: Qini's area is cov(x, Phi(x)) = 1 / (2 sqrt(pi)), AUTOC's E(-x log(1 - Phi(x)))."""
    values, errors, held = [], [], []
    for seed in range(200):
        x, judge = judge_of(400, seed)
        judge = Judge(judge.added, judge.base, judge.share, judge.treated, None, 0.95, 1.0)
        found = rank_weighted_effect(judge, ranks(x, judge.share, np.zeros(400, int)), weighting)
        values.append(found.area)
        errors.append(found.standard_error)
        held.append(found.lower <= truth <= found.upper)
    assert np.mean(values) == pytest.approx(truth, rel=0.03)
    assert np.std(values) == pytest.approx(np.mean(errors), rel=0.12)
    assert 0.91 <= np.mean(held) <= 0.98


def test_ranks_are_within_folds_and_share_ties():
    priority, fold = np.array([3.0, 1, 1, 9, 8]), np.array([0, 0, 0, 1, 1])
    place = ranks(priority, np.full(5, 0.2), fold).place
    np.testing.assert_allclose(place, [1 / 6, 2 / 3, 2 / 3, 1 / 4, 3 / 4])


def test_the_curve_ends_at_the_average():
    x, judge = judge_of(300, 1)
    curve = rank_weighted_effect(judge, ranks(x, judge.share, np.zeros(300, int))).curve
    assert curve["effect"][1.0] == pytest.approx(judge.added.sum())
    assert curve.loc[1.0, ["gain", "gain_lower", "gain_upper"]].abs().max() < 1e-12
    assert curve["effect"].iloc[0] > curve["effect"].iloc[-1]


def test_the_allowance_widens_every_interval():
    x, judge = judge_of(300, 2)
    _, wide = judge_of(300, 2, allowance=3 * judge.interval(0.0, judge.added - judge.added.mean())["value"] + 1)
    assert judge.allowance == pytest.approx(1, abs=0.02)
    assert wide.allowance > 3
    narrow, broad = (policy_table(one, x > 0, np.zeros(300), None, None)["standard_error"] for one in (judge, wide))
    np.testing.assert_allclose(broad, wide.allowance / judge.allowance * narrow)


def test_the_spread_is_corrected_in_both_directions():
    """Modelled effects that are too wide by noise and too narrow by a factor; the truth is 1 + x, of spread 1."""
    rng = np.random.default_rng(33)
    x, judge = judge_of(6000, 3)
    fold = np.arange(6000) % 5
    noisy = effect_distribution(judge, HeldOut(1 + x + rng.normal(size=6000), fold))
    assert noisy.modelled_spread == pytest.approx(np.sqrt(2), rel=0.05)
    assert noisy.spread == pytest.approx(1, rel=0.1)
    assert noisy.lower < 0.8413 < noisy.upper
    table = noisy.table
    assert ((table["lower"] < table["effect"]) & (table["effect"] < table["upper"])).all()
    expected = 1 + np.array([-1.645, -1.282, -0.674, 0, 0.674, 1.282, 1.645])
    np.testing.assert_allclose(table["effect"], expected, atol=0.2)
    # What is smoothed by a half is found half of the way (in the variance), as the documentation says.
    smooth = effect_distribution(judge, HeldOut(1 + x / 2, fold))
    assert smooth.spread == pytest.approx(np.sqrt(0.5), rel=0.1)


def test_the_interval_of_who_gains_widens_with_the_level():
    """Where the average is and how wide the effects spread is certain, the share is one of independent rows."""
    x, judge = judge_of(4000, 5)
    fold = np.zeros(4000, int)
    width = {}
    for level in (0.5, 0.8, 0.95, 0.999):
        one = Judge(judge.added, judge.base, judge.share, judge.treated, None, level, 1e-9)
        found = effect_distribution(one, HeldOut(1 + x, fold))
        part = found.share_positive
        width[level] = found.upper - found.lower
        half = stats.norm.ppf((1 + level) / 2) * np.sqrt(part * (1 - part) / 4000)
        assert width[level] == pytest.approx(2 * half, rel=1e-3)
    assert width[0.5] < width[0.8] < width[0.95] < width[0.999]


def test_no_distribution_without_heterogeneity():
    undefined = 0
    for seed in range(100):
        x, judge = judge_of(300, seed, effect=0.0)
        undefined += effect_distribution(judge, HeldOut(x, np.arange(300) % 5)).reason is not None
    assert undefined >= 92
    flat = effect_distribution(judge, HeldOut(np.ones(300), np.arange(300) % 5))
    assert np.isnan([flat.share_positive, flat.lower, flat.upper, *flat.table["effect"]]).all()
    assert "no heterogeneity detected" in str(flat)
    assert "may still differ" in flat.reason


# --- estimates of whole tables


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    covariates = pd.DataFrame(rng.normal(size=(500, 3)), columns=["a", "b", "c"]).assign(
        town=rng.choice(["u", "v"], 500), old=rng.random(500) < 0.4
    )
    treatment = (rng.random(500) < 1 / (1 + np.exp(-covariates["b"]))).astype(int)
    outcome = 5 + covariates["b"] + treatment * (0.5 + 1.5 * covariates["a"]) + rng.normal(size=500)
    return covariates, treatment, outcome


@pytest.fixture(scope="module")
def result(table):
    return dowhy_cina.estimate_effect(*table)


def test_scores_without_treatment(table, result):
    assert result.control_scores.mean() == pytest.approx(5, abs=0.3)
    values = result.policy_value(np.ones(500, bool))["value"]
    assert values["all"] - values["none"] == pytest.approx(result.value)
    assert values["rule"] == values["all"]
    assert result.policy_value("old", against="none").loc["all", "standard_error"] >= result.standard_error * 0.999
    alone = dowhy_cina.estimate_effect(*table, augmentation="none")
    treated = np.asarray(table[1]) == 1
    expected = np.average(table[2][~treated], weights=alone.weights[~treated])
    assert alone.control_scores.mean() == pytest.approx(expected)


def test_control_scores_mirror_the_treated_ones(table):
    """With the arms' names exchanged, controls have the scores that the treated had."""
    one = dowhy_cina.estimate_effect(*table)
    other = dowhy_cina.estimate_effect(table[0], 1 - table[1], table[2])
    np.testing.assert_allclose(other.control_scores, one.control_scores + one.pseudo_outcomes, atol=1e-6)


def test_effects_of_a_row_come_from_other_folds(table, result):
    held = result.refits.held_out
    assert np.corrcoef(held.effects, table[0]["a"])[0, 1] > 0.9
    assert np.bincount(held.fold).tolist() == [100] * 5 or np.ptp(np.bincount(held.fold)) <= 1
    outcome = table[2].to_numpy().copy()
    row = 7
    outcome[row] += 3
    again = dowhy_cina.estimate_effect(table[0], table[1], outcome).refits.held_out
    own = held.fold == held.fold[row]
    np.testing.assert_array_equal(held.fold, again.fold)
    np.testing.assert_allclose(again.effects[own], held.effects[own], atol=1e-9)
    assert not np.allclose(again.effects[~own], held.effects[~own], atol=1e-3)
    order = np.random.default_rng(1).permutation(500)
    moved = dowhy_cina.estimate_effect(table[0].iloc[order], table[1].iloc[order], table[2].iloc[order]).refits
    np.testing.assert_allclose(moved.held_out.effects, held.effects[order], atol=1e-6)


def test_clusters_and_rows_set_aside_stay_whole(table):
    covariates, treatment, outcome = table
    levels, cluster = treatment.copy(), np.arange(500) // 5
    levels[:10] = 9
    found = dowhy_cina.estimate_effect(covariates, levels, outcome, treatment_value=1, control_value=0, cluster=cluster)
    held = found.refits.held_out
    assert np.isnan(held.effects[:10]).all()
    assert (held.fold[:10] == -1).all()
    assert pd.Series(held.fold[10:]).groupby(cluster[10:]).nunique().max() == 1
    assert found.policy_value(0.3)["standard_error"].notna().all()
    assert found.uplift().standard_error > 0
    assert len(found.search_groups().labels) == 490


def test_who_gains_is_found(result):
    distribution, area = result.effect_distribution(), result.uplift()
    assert distribution.reason is None
    assert distribution.lower < 0.63 < distribution.upper  # P(x > -1/3)
    assert area.lower > 0
    assert "finds who gains more" in str(area)
    gain = result.policy_value("gainers", against="all").loc["rule"]
    assert gain["lower"] > 0
    dear = result.policy_value("gainers", cost=100.0)
    assert dear.loc["rule", "treated"] == 0
    assert dear.loc["rule", "value"] == pytest.approx(dear.loc["none", "value"])
    groups = result.search_groups()
    assert groups.differ
    assert "a " in groups.groups.table.index[0]
    assert groups.groups.table["effect"].is_monotonic_increasing
    assert "judged by 250 others" in str(groups)
    assert result.uplift("b").area < area.area


def test_a_flat_search_names_no_groups(result):
    halves = result.refits.halves("ate", result.target_weights > 0, 0.95)
    flat = search_groups(Halves(np.ones(500), *halves[1:]))
    assert str(flat).startswith("no groups")
    assert not flat.differ
    with pytest.raises(InputError, match="number of groups must be a whole number of at least 2"):
        search_groups(halves, 1)


@pytest.mark.parametrize(
    ("rule", "error", "text"),
    [
        (np.ones(3, bool), InputError, "each of 500 rows"),
        ("d", InputError, "covariates are"),
        ("a", InputError, "truth values"),
        (1.5, InputError, r"in \(0, 1\)"),
        (lambda frame: frame["a"], InputError, "truth values"),
    ],
)
def test_rules_that_are_none(result, rule, error, text):
    with pytest.raises(error, match=text):
        result.policy_value(rule)


def test_other_refusals(result, table):
    with pytest.raises(InputError, match=r"one cost, or one for each of 500 rows, got the shape \(3,\)"):
        result.policy_value("old", cost=np.ones(3))
    with pytest.raises(InputError, match=r"finite costs in the outcome's unit, got inf\."):
        result.policy_value("old", cost=np.inf)
    with pytest.raises(InputError, match="against must be"):
        result.policy_value("old", against="rule")
    with pytest.raises(InputError, match="weighting must be"):
        result.uplift(weighting="auuc")
    with pytest.raises(InputError, match="finite numbers to rank"):
        result.uplift("town")
    few = pd.Series(np.arange(500) < 6).astype(int)
    with pytest.raises(InputError, match="at least 10 rows"):
        dowhy_cina.estimate_effect(table[0], few, table[2]).uplift()
    with pytest.raises(InputError, match="not in the table"):
        dowhy_cina.estimate_effect(*table, target_units=table[0].head(9).assign(a=9.0)).policy_value("old")


def test_what_pickles_leave_out_is_said(result):
    again = pickle.loads(pickle.dumps(result))
    pd.testing.assert_frame_equal(again.policy_value(np.arange(500) < 250), result.policy_value(np.arange(500) < 250))
    with pytest.raises(InputTypeError, match="expected booleans"):
        again.policy_value("old")
    for ask in (again.effect_distribution, again.uplift, again.search_groups, lambda: again.policy_value(0.5)):
        with pytest.raises(CinaError, match=r"pickles leave out: estimate\s+again"):
            ask()
    for copied in (copy.copy(result), copy.deepcopy(result)):
        assert copied.uplift().area == result.uplift().area
        assert copied.conditional_effects(result.covariates.head(2)).notna().all(axis=None)
