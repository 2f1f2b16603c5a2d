"""Covariates by name: effects vary over the values that the estimate reads in them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import dowhy_cina
from dowhy_cina import plots
from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.results.heterogeneity import group_effects, select_modifiers

N = 1200


@pytest.fixture(scope="module")
def known():
    """What the columns of the table say, NaN where it is not known."""
    rng = np.random.default_rng(0)
    age = rng.integers(18, 80, N).astype(float)
    frame = pd.DataFrame(
        {"age": age, "pay": rng.integers(5000, 90_000, N), "heat": np.round(36 + 2 * rng.random(N), 1)}
    )
    frame["heat"] += 0.01 * rng.integers(0, 10, N)
    return frame.assign(
        age=frame["age"].where(rng.random(N) > 0.06),
        heat=frame["heat"].where(rng.random(N) > 0.05),
        site=7 * rng.integers(0, 30, N) + 1000,
        x=rng.normal(size=N),
    )


@pytest.fixture(scope="module")
def table(known):
    rng = np.random.default_rng(1)
    share = pd.Series(rng.uniform(0.1, 0.9, 30), np.unique(known["site"]))
    t = (rng.random(N) < known["site"].map(share)).astype(int)
    y = t * (1 + (known["age"] > 50)) + rng.normal(size=N)
    heat = known["heat"].map("{:.2f}".format).str.replace(".", ",").where(known["heat"].notna(), "unknown")
    covariates = known.assign(
        age=known["age"].fillna(-999).astype(int), pay=known["pay"].map("${:,}".format), heat=heat
    )
    return covariates, t, y


@pytest.fixture(scope="module")
def result(table):
    found = dowhy_cina.estimate_effect(*table)
    text = " ".join(found.warnings)
    assert "-999 in 'age'" in text
    assert "'pay' and 'heat' (a comma before decimals; 'unknown' for missing)" in text
    assert "'site' (30 values)" in text
    return found


def test_numbers_that_stand_for_missing_ones_are_missing(result, known):
    groups = result.group_effects("age")
    assert groups.table.index[-1] == "missing"
    assert not groups.table.index.str.contains("-999").any()
    assert groups.table.loc["missing", "rows"] == known["age"].isna().sum()
    pd.testing.assert_frame_equal(groups.table, result.group_effects(known["age"]).table)
    for ask in (result.effect_curve, result.best_linear_projection, result.uplift, plots_curve(result)):
        with pytest.raises(InputError, match="missing"):
            ask("age")
    assert not any("-999" in label for label in result.search_groups().labels.cat.categories)


def plots_curve(result):
    return lambda name: plots.effect_plot(result, name, ax=Figure().subplots())


@pytest.mark.parametrize("name", ["pay", "heat"])
def test_text_that_is_taken_for_numbers_is_cut_like_numbers(result, known, name):
    groups = result.group_effects(name).table
    assert len(groups) == 4 + known[name].isna().any()
    pd.testing.assert_frame_equal(groups, result.group_effects(known[name]).table)
    joined = result.group_effects([name, "x"], bins=2).table
    pd.testing.assert_frame_equal(joined, result.group_effects(known[[name, "x"]], bins=2).table)


def test_text_that_is_taken_for_numbers_has_curves_and_slopes(result, known):
    pd.testing.assert_frame_equal(result.effect_curve("pay"), result.effect_curve(known["pay"]))
    ours, own = result.best_linear_projection(["pay", "x"]), result.best_linear_projection(known[["pay", "x"]])
    pd.testing.assert_series_equal(ours.params, own.params)
    assert result.uplift("pay").area == result.uplift(known["pay"]).area
    assert plots_curve(result)("pay").get_xlabel() == "pay"
    with pytest.raises(InputError, match="or ones that were taken for missing"):
        result.effect_curve("heat")


def test_numbers_that_are_taken_for_labels_are_groups_by_value(result, known):
    groups = result.group_effects("site").table
    assert list(groups.index) == [str(value) for value in np.unique(known["site"])]
    pd.testing.assert_frame_equal(groups, result.group_effects(known["site"].astype(str)).table)
    assert len(result.best_linear_projection("site").params) == 30
    for ask in (result.effect_curve, result.uplift):
        with pytest.raises(InputError, match="took for labels give the numbers themselves"):
            ask("site")
    assert len(result.effect_curve(known["site"])) == 81
    assert len(plots_curve(result)("site").get_xticks()) == 30
    # The caller's own values are numbers.
    assert len(result.group_effects(known["site"]).table) == 4


def test_more_than_a_hundred_codes_are_cut_as_numbers():
    rng = np.random.default_rng(2)
    site, x = rng.integers(0, 150, 4000), rng.normal(size=4000)
    t = (rng.random(4000) < rng.uniform(0.05, 0.95, 150)[site]).astype(int)
    found = dowhy_cina.estimate_effect(pd.DataFrame({"x": x, "site": site}), t, t + rng.normal(size=4000))
    assert "'site' (150 values)" in " ".join(found.warnings)
    assert len(found.group_effects("site").table) == 4


def test_values_of_ones_own_stay_as_they_are(table, result):
    assert result.group_effects(table[0]["age"]).table.index[0].startswith("-999 to")
    with pytest.raises(InputError, match="one column of numbers"):
        result.effect_curve(table[0]["pay"])


def test_nothing_of_the_callers_is_changed(table, result):
    covariates, *_ = table
    before = covariates.copy()
    for name in ("age", "pay", "heat", "site"):
        result.group_effects(name)
    pd.testing.assert_frame_equal(covariates, before)
    pd.testing.assert_frame_equal(result.covariates, before)
    assert result.policy_value(lambda people: people["age"] == -999).loc["rule", "treated"] > 0


def test_arrays_are_read_likewise(table, result):
    found = dowhy_cina.estimate_effect(table[0].to_numpy(object), *table[1:])
    for name, column in (("age", "x0"), ("pay", "x1"), ("site", "x3")):
        ours, own = found.group_effects(column).table, result.group_effects(name).table
        assert list(ours.index) == list(own.index)
        np.testing.assert_allclose(ours, own, atol=1e-6)


def test_copies_read_as_the_result_does_and_pickles_need_values(table, result, known):
    for other in (copy.copy(result), copy.deepcopy(result)):
        assert other.reading is result.reading
        pd.testing.assert_frame_equal(other.group_effects("age").table, result.group_effects("age").table)
    kept = pickle.loads(pickle.dumps(result))
    assert kept.reading is None
    assert "reading" not in kept.to_dict()
    pd.testing.assert_frame_equal(kept.group_effects(known["age"]).table, result.group_effects("age").table)
    with pytest.raises(InputTypeError, match="not kept in pickles"):
        kept.group_effects("age")


def test_a_plain_table_is_read_as_it_is(known):
    found = dowhy_cina.estimate_effect(known[["pay", "x"]], np.arange(N) % 2, known["x"])
    frame = known[["x"]]
    assert found.reading.as_read(frame) is frame


def test_rows_set_aside_are_read_too(table, result):
    """One of them may hold a word that no other row has."""
    covariates, t, y = table
    more = pd.concat([covariates, covariates.head(2).assign(heat="broken")], ignore_index=True)
    found = dowhy_cina.estimate_effect(more, np.r_[t, 2, 2], np.r_[y, 0, 0], treatment_value=1, control_value=0)
    assert select_modifiers(more, "heat", found.reading)["heat"].tail(2).isna().all()
    pd.testing.assert_frame_equal(found.group_effects("heat").table, result.group_effects("heat").table)


def test_names_of_rows_are_no_groups(table, result):
    names = pd.Series([f"r{row}" for row in range(N)])
    with pytest.raises(InputError, match=r"at most 100 groups .* got 1,200, of which 1,200 have: group the levels"):
        result.group_effects(names)
    with pytest.raises(InputError, match="at most 100 groups"):
        result.group_effects(pd.DataFrame({"site": table[0]["site"], "six": np.arange(N) % 6}).astype(str))
    assert len(result.group_effects(names.where(names.index < 99)).table) == 100


def test_many_groups_of_many_rows_stay():
    rng = np.random.default_rng(3)
    groups, t = np.arange(6000) % 150, rng.integers(0, 2, 6000)
    assert len(group_effects(rng.normal(size=6000), groups, treatment=t).table) == 150
