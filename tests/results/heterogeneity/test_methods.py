"""From a result to groups, projections and curves: names, rows set aside, clusters, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.results.heterogeneity import VaryingEffect, best_linear_projection, effect_curve, group_effects


def result(table, **changes):
    fields = {
        "pseudo_outcomes": table.scores,
        "target_weights": table.target,
        "treatment": table.treatment.astype(np.int8),
        "confidence_level": 0.9,
        "covariates": table.covariates,
        "cluster": None,
        "standard_error": None,
    }
    return VaryingEffect(**fields | changes)


@pytest.fixture
def table(scored):
    return scored(240, 5, "att")


def test_methods_are_the_functions(table):
    found, weights = result(table), {"weights": table.target}
    expected = group_effects(table.scores, table.covariates["b"], 0.9, **weights, treatment=table.treatment)
    np.testing.assert_allclose(found.group_effects("b").table, expected.table)
    assert found.group_effects("b").p_value == pytest.approx(expected.p_value)
    at_once = group_effects(
        table.scores, table.covariates["b"], 0.9, **weights, treatment=table.treatment, simultaneous=True
    )
    np.testing.assert_allclose(found.group_effects("b", simultaneous=True).table, at_once.table)
    assert (at_once.table["upper"] > expected.table["upper"]).all()
    projection = best_linear_projection(table.scores, table.covariates, **weights)
    np.testing.assert_allclose(found.best_linear_projection(["x", "b"]).params, projection.params)
    curve = effect_curve(table.scores, table.covariates["x"], 0.9, **weights)
    pd.testing.assert_frame_equal(found.effect_curve("x"), curve)
    assert len(found.group_effects("x", bins=3).table) == 3


def test_rows_set_aside_do_not_count(table):
    treatment = table.treatment.astype(np.int8)
    longer = {
        "treatment": np.r_[-1, treatment, -1].astype(np.int8),
        "pseudo_outcomes": np.r_[np.nan, table.scores, np.nan],
        "target_weights": np.r_[0, table.target, 0],
        "covariates": pd.DataFrame(
            {"x": np.r_[1e9, table.covariates["x"], np.nan], "b": np.r_[7, table.covariates["b"], 7]}
        ),
    }
    for ask in (lambda r: r.group_effects("b").table, lambda r: r.effect_curve("x")):
        pd.testing.assert_frame_equal(ask(result(table, **longer)), ask(result(table)))


def test_clusters_are_remembered(table):
    cluster = np.arange(240) // 6
    found = result(table, cluster=cluster)
    expected = group_effects(table.scores, table.covariates["b"], 0.9, cluster, table.target, table.treatment)
    np.testing.assert_allclose(found.group_effects("b").table, expected.table)
    assert "cluster" in str(found.best_linear_projection("x").summary())


def test_values_of_ones_own_and_arrays(table):
    found = result(table)
    own = pd.Series(np.tile(["u", "v"], 120), name="site", index=np.arange(240) + 7)
    by_position = group_effects(
        table.scores, own.to_numpy(), 0.9, weights=table.target, treatment=table.treatment
    ).table
    np.testing.assert_allclose(found.group_effects(own).table, by_position)
    assert found.group_effects(own).table.index.name == "site"
    np.testing.assert_allclose(found.group_effects(own.to_numpy()).table, by_position)
    as_array = result(table, covariates=table.covariates.to_numpy())
    np.testing.assert_allclose(as_array.group_effects("x1").table, found.group_effects("b").table)


@pytest.mark.parametrize("by", ["outcome", ["x", "outcome"], []])
def test_not_a_covariate(table, by):
    with pytest.raises(InputError, match=r"expected covariates as effect modifiers.*\['x', 'b'\]"):
        result(table).group_effects(by)


def test_refusals(table):
    with pytest.raises(InputError, match="each of 240 rows, got 3"):
        result(table).group_effects(np.ones(3))
    with pytest.raises(InputError, match="not in the table"):
        result(table, target_weights=np.zeros(240)).group_effects("b")
    with pytest.raises(InputError, match="one column of numbers"):
        result(table).effect_curve(["x", "b"])
    with pytest.raises(InputTypeError, match="columns themselves"):
        result(table, covariates=None).group_effects("b")
