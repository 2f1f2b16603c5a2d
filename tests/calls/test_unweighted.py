"""Rows whose sampling weight is zero: every answer is that of the table without them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina.calls.direct import analyse
from dowhy_cina.errors import InputError

OF_ROWS = ("weights", "target_weights", "treatment", "propensity", "pseudo_outcomes", "control_scores")


def draw(rows=400, seed=0):
    """A table in which a fifth of the rows weighs nothing, among them all of a third town and a missing outcome."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["a", "b", "c"])
    frame["town"] = rng.choice(["u", "v"], rows)
    frame["t"] = (rng.random(rows) < 1 / (1 + np.exp(-frame["a"]))).astype(int)
    frame["y"] = frame["a"] + frame["t"] * (1 + frame["b"]) + rng.normal(size=rows)
    frame["w"] = np.where(np.arange(rows) % 5 == 0, 0.0, rng.choice([0.5, 1.0, 3.0], rows))
    frame["g"] = np.arange(rows) // 4
    frame.loc[frame["w"] == 0, ["town", "a"]] = ["nowhere", 50.0]
    frame.loc[0, "y"] = np.nan
    return frame


@pytest.fixture(scope="module")
def frame():
    return draw()


def estimate(frame, **options):
    return dowhy_cina.estimate_effect(frame, "t", "y", covariates=["a", "b", "c", "town"], sample_weight="w", **options)


def assert_same(found, without, here):
    """The two answers are one; ``here`` are the rows of the first that the second has."""
    told, expected = found.to_dict(), without.to_dict()
    assert told.pop("rows_without_weight") == (~here).sum()
    assert expected.pop("rows_without_weight") == 0
    for name in OF_ROWS:
        np.testing.assert_array_equal(getattr(found, name)[here], getattr(without, name))
        told.pop(name), expected.pop(name)
    assert told == expected
    assert not found.weights[~here].any()
    assert not found.target_weights[~here].any()
    assert (found.treatment[~here] == -1).all()
    assert np.isnan(found.pseudo_outcomes[~here]).all()


@pytest.mark.parametrize("target", ["ate", "att", "atc", "overlap", "mask"])
@pytest.mark.parametrize("cluster", [None, "g"])
def test_the_answer_is_that_of_the_table_without_them(frame, target, cluster):
    here = (frame["w"] > 0).to_numpy()
    first, second = [frame["b"] > 0, frame["b"][here] > 0] if target == "mask" else [target, target]
    found = estimate(frame, target_units=first, cluster=cluster)
    without = estimate(frame[here], target_units=second, cluster=cluster)
    assert_same(found, without, here)
    pd.testing.assert_frame_equal(found.group_effects("town").table, without.group_effects("town").table)
    pd.testing.assert_frame_equal(found.group_effects("b").table, without.group_effects("b").table)
    pd.testing.assert_frame_equal(found.balance_of(), without.balance_of())
    own = frame.loc[here, ["a", "b", "c", "town"]]
    pd.testing.assert_frame_equal(found.conditional_effects(own), without.conditional_effects(own))
    assert "80 rows of no sampling weight" in found.summary()
    assert "80 rows of no sampling weight" in found._repr_html_()


def test_refits_and_decisions_are_those_of_the_table_without_them(frame):
    here = (frame["w"] > 0).to_numpy()
    found, without = estimate(frame), estimate(frame[here])
    np.testing.assert_array_equal(found.refits.held_out.effects[here], without.refits.held_out.effects)
    assert (found.refits.held_out.fold[~here] == -1).all()
    assert found.uplift().area == without.uplift().area
    for rule in (0.3, "gainers"):
        pd.testing.assert_frame_equal(found.policy_value(rule), without.policy_value(rule))
    assert str(found.search_groups()) == str(without.search_groups())
    assert found.effect_distribution().share_positive == without.effect_distribution().share_positive


def test_beside_rows_with_another_treatment(frame):
    here = (frame["w"] > 0).to_numpy()
    levels = frame.assign(t=frame["t"].where(frame.index >= 50, 2))
    values = {"treatment_value": 1, "control_value": 0}
    found, without = estimate(levels, **values), estimate(levels[here], **values)
    assert (found.rows_set_aside, found.rows_without_weight) == (50, 70)
    assert (without.rows_set_aside, without.rows_without_weight) == (40, 0)
    assert (found.value, found.standard_error) == (without.value, without.standard_error)
    assert "50 rows with another treatment value, 70 rows of no sampling weight" in found.summary()


def test_many_tables_give_the_same(frame):
    covariates = frame[["a", "b", "c", "town"]]
    tables = [(covariates, frame["t"], frame["y"])] * 3
    alone = estimate(frame)
    for found in dowhy_cina.estimate_effects(tables, sample_weight=frame["w"]):
        assert found.value == pytest.approx(alone.value, rel=1e-9)
        assert found.standard_error == pytest.approx(alone.standard_error, rel=1e-9)
        assert found.rows_without_weight == 80


def test_rows_of_no_weight_are_no_evidence():
    """Where x0 is positive all treated rows weigh nothing: no group effect there, and overlap that says so."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    t = rng.integers(0, 2, 600)
    y = x[:, 0] + t + rng.normal(size=600)
    weights = np.where((x[:, 0] > 0) & (t == 1), 0.0, 1.0)
    found = dowhy_cina.estimate_effect(x, t, y, sample_weight=weights)
    assert found.overlap.grade != "good"
    groups = found.group_effects(x[:, 0] > 0).table
    assert groups["treated"].tolist()[1] == 0
    assert np.isnan(groups["standard_error"].iloc[1])
    assert found.plan.rows == (weights > 0).sum()


def test_an_arm_without_weight_is_refused(frame):
    for arm, name in ((1, "treated"), (0, "control")):
        with pytest.raises(InputError, match=f"none among the {name} rows.*set aside: give {name} rows a weight"):
            estimate(frame.assign(w=frame["w"].where(frame["t"] != arm, 0.0)))


def test_an_arm_of_one_row_with_weight_has_no_standard_error(frame):
    first = frame.index[(frame["t"] == 1) & (frame["w"] > 0)][0]
    found = estimate(frame.assign(w=frame["w"].where((frame["t"] == 0) | (frame.index == first), 0.0)))
    assert found.standard_error is None
    assert any("treated arm has a single row" in text for text in found.warnings)


def test_weights_beyond_floats_are_kept_apart_from_zero(frame):
    whole = frame.dropna()
    huge = np.where(whole["w"] > 0, whole["w"] * 1e300, 0.0)
    found = analyse(whole[["b"]], whole["t"], whole["y"], sample_weight=huge).effect()
    assert found.rows_without_weight == (huge == 0).sum()
