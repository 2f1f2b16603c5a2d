"""Refits of parts of a table: what the whole table says of its columns, and what an estimate keeps for them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import dowhy_cina


def draw(rows=300, seed=0):
    """A table with a label and a number whose effect depends on both."""
    rng = np.random.default_rng(seed)
    covariates = pd.DataFrame({"a": rng.normal(size=rows), "s": rng.choice(["u", "v"], rows), "b": rng.random(rows)})
    treatment = (rng.random(rows) < 0.5).astype(int)
    outcome = covariates["a"] + treatment * (1 + (covariates["s"] == "u")) + rng.normal(size=rows)
    return covariates, treatment, outcome.to_numpy()


def rare_label(covariates, row):
    covariates.loc[row, "s"] = "w"


def missing_label(covariates, row):
    covariates.loc[row, "s"] = None


def missing_number(covariates, row):
    covariates.loc[row, "a"] = np.nan


def number_apart(covariates, row):
    covariates["b"] = (covariates.index == row).astype(float)


@pytest.mark.parametrize("change", [rare_label, missing_label, missing_number, number_apart])
def test_what_one_row_has_stops_no_refit(change):
    covariates, treatment, outcome = draw()
    second = dowhy_cina.estimate_effect(covariates, treatment, outcome).refits._parts(2) == 1
    for row in (np.flatnonzero(second)[0], np.flatnonzero(~second)[0]):
        changed = covariates.copy()
        change(changed, row)
        found = dowhy_cina.estimate_effect(changed, treatment, outcome)
        assert np.isfinite(found.refits.held_out.effects).all()
        assert found.uplift().standard_error > 0
        assert found.policy_value(0.3)["standard_error"].notna().all()
        assert found.policy_value("gainers")["standard_error"].notna().all()
        assert found.effect_distribution().share_positive == found.effect_distribution().share_positive
        assert len(found.search_groups().labels) == len(treatment)


def test_a_level_that_a_fold_lacks_is_a_column_of_zeros():
    """Each fold by hand: indicators of all levels, the fold's rows left out, their effects from the others."""
    covariates, treatment, outcome = draw()
    rare_label(covariates, 11)
    held = dowhy_cina.estimate_effect(covariates, treatment, outcome).refits.held_out
    numbers = covariates[["a"]].assign(
        **{f"s={level}": (covariates["s"] == level).astype(float) for level in "uvw"}, b=covariates["b"]
    )
    for number in range(5):
        own = held.fold == number
        others = dowhy_cina.estimate_effect(numbers[~own], treatment[~own], outcome[~own])
        expected = others.conditional_effects(numbers[own])["effect"]
        np.testing.assert_allclose(held.effects[own], expected, atol=1e-6)


def test_folds_without_covariates_that_vary():
    _, treatment, outcome = draw()
    found = dowhy_cina.estimate_effect(np.ones((300, 1)), treatment, outcome)
    assert np.isfinite(found.refits.held_out.effects).all()
    assert len(found.search_groups().labels) == 300
