"""What an estimate says of varying effects, overlap and sensitivity: wired to the functions, and in the summary."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina.errors import InputError
from dowhy_cina.results.heterogeneity import best_linear_projection, effect_curve, group_effects, group_labels
from dowhy_cina.tables.data import COVARIATES, OUTCOME, TREATMENT, load_nsw


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    covariates = pd.DataFrame(rng.normal(size=(400, 3)), columns=["a", "b", "c"])
    treatment = (rng.random(400) < 1 / (1 + np.exp(-covariates["a"]))).astype(int)
    outcome = covariates["b"] + treatment * (1 + 2 * covariates["a"]) + rng.normal(size=400)
    return covariates, treatment, outcome


@pytest.mark.parametrize("target", ["ate", "att", "atc"])
def test_groups_average_to_the_effect_and_find_the_modifier(table, target):
    found = dowhy_cina.estimate_effect(*table, target_units=target)
    groups = found.group_effects("a")
    assert np.average(groups.table["effect"], weights=groups.table["rows"]) == pytest.approx(found.value)
    assert groups.p_value < 1e-3
    assert groups.table["effect"].is_monotonic_increasing
    slope = found.best_linear_projection(["a", "c"])
    assert abs(slope.params["a"] - 2) < 4 * slope.bse["a"]
    assert abs(slope.params["c"]) < 4 * slope.bse["c"]


def everybody(found):
    """Effect in a group of all rows, by their scores alone, and its standard error."""
    kept = found.treatment >= 0
    cluster = None if found.cluster is None else np.asarray(found.cluster)[kept]
    one = group_effects(found.pseudo_outcomes[kept], kept[kept], cluster=cluster, treatment=found.treatment[kept])
    return one.table.iloc[0][["effect", "standard_error"]].tolist()


def test_a_group_of_everybody_has_the_estimates_own_error(table):
    found = dowhy_cina.estimate_effect(*table)
    own, scores = found.group_effects(np.zeros(400)).table.iloc[0], everybody(found)
    assert own["effect"] == pytest.approx(found.value)
    assert own["standard_error"] == pytest.approx(found.standard_error)
    assert found.standard_error > 1.02 * scores[1]
    # All rows share it: neither slopes nor differences of groups have it.
    shared, frame = found.standard_error**2 - scores[1] ** 2, table[0]
    ours, plain = found.best_linear_projection("b"), best_linear_projection(found.pseudo_outcomes, frame[["b"]])
    np.testing.assert_allclose(ours.bse**2, plain.bse**2 + [shared, 0])
    np.testing.assert_allclose(ours.tvalues, plain.params / ours.bse)
    curve, by_hand = found.effect_curve("b"), effect_curve(found.pseudo_outcomes, frame["b"])
    np.testing.assert_allclose(curve["standard_error"] ** 2, by_hand["standard_error"] ** 2 + shared)
    groups, alone = (
        found.group_effects("b"),
        group_effects(found.pseudo_outcomes, group_labels(frame[["b"]]), treatment=found.treatment),
    )
    np.testing.assert_allclose(groups.table["standard_error"] ** 2, alone.table["standard_error"] ** 2 + shared)
    assert groups.p_value == pytest.approx(alone.p_value)


def test_clusters_and_rows_set_aside(table):
    covariates, treatment, outcome = table
    levels = treatment.copy()
    levels[:20] = 7
    cluster = np.arange(400) // 4
    found = dowhy_cina.estimate_effect(covariates, levels, outcome, treatment_value=1, control_value=0, cluster=cluster)
    kept = found.treatment >= 0
    by_hand = group_effects(
        found.pseudo_outcomes[kept],
        (covariates["b"] > 0)[kept],
        0.95,
        cluster[kept],
        treatment=levels[kept],
        shared_error=np.sqrt(found.standard_error**2 - everybody(found)[1] ** 2),
    )
    np.testing.assert_allclose(found.group_effects(covariates["b"] > 0).table, by_hand.table)


def test_a_group_without_treated_rows_stays_out_of_the_test():
    """Far from the others, without scatter of its own: its scores would make it the surest of all groups."""
    rng = np.random.default_rng(1)
    site = np.r_[np.repeat(np.arange(23), 30), np.full(6, 23)]
    thin = site == 23
    covariates = pd.DataFrame(rng.normal(size=(len(site), 2)), columns=["a", "b"])
    covariates.loc[thin, "a"] = 6
    treatment = np.where(thin, 0, rng.integers(0, 2, len(site)))
    outcome = covariates["a"] + 2 * treatment + np.where(thin, 0.05, 1) * rng.normal(size=len(site))
    found = dowhy_cina.estimate_effect(covariates, treatment, outcome)
    labels = pd.Series([f"s{number:02d}" for number in site])
    blind = group_effects(found.pseudo_outcomes, labels)
    assert blind.table["standard_error"].idxmin() == "s23"
    assert blind.p_value < 1e-10
    groups = found.group_effects(labels)
    assert groups.p_value > 0.05
    rest = group_effects(found.pseudo_outcomes[~thin], labels[~thin], treatment=treatment[~thin])
    assert groups.p_value == pytest.approx(rest.p_value)
    assert groups.table.loc["s23", ["treated", "control"]].tolist() == [0, 6]
    assert groups.table["effect"]["s23"] == pytest.approx(blind.table["effect"]["s23"])
    assert groups.table["standard_error"].isna().sum() == 1


def test_no_covariate_and_foreign_targets(table):
    with pytest.raises(InputError, match=r"\['y'\]"):
        dowhy_cina.estimate_effect(*table).group_effects("y")
    elsewhere = table[0].head(9).assign(a=0.5 * table[0]["a"])
    with pytest.raises(InputError, match="not in the table"):
        dowhy_cina.estimate_effect(*table, target_units=elsewhere).group_effects("a")


def test_cps_is_no_population_for_an_ate():
    data = load_nsw("cps")
    found = dowhy_cina.estimate_effect(data[COVARIATES], data[TREATMENT], data[OUTCOME])
    assert found.overlap.grade == "the data do not answer this"
    assert "'att'" in found.overlap.advice
    assert "the data do not answer this" in found.summary()
    assert any(found.overlap.advice in warning for warning in found.warnings)


def test_sensitivity_agrees_with_the_interval(table):
    found = dowhy_cina.estimate_effect(*table)
    low, high = found.confidence_interval
    assert (found.sensitivity().e_value_interval > 1) == (low > 0 or high < 0)
    assert found.sensitivity().in_short() in " ".join(found.summary().split())


def test_pickles_and_json(table):
    found = dowhy_cina.estimate_effect(*table)
    again = pickle.loads(pickle.dumps(found))
    assert again.covariates is None
    np.testing.assert_allclose(again.group_effects(table[0]["a"]).table, found.group_effects("a").table)
    assert json.loads(json.dumps(found.to_dict()))["overlap"]["grade"] == found.overlap.grade
