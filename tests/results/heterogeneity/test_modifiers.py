"""Columns that effects vary over: numbers among objects, complex numbers, names, and what is refused in words."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.results.heterogeneity import best_linear_projection, effect_curve, group_labels, select_modifiers

N = 200
SCORES = np.random.default_rng(0).normal(size=N)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(1)
    covariates = pd.DataFrame({"a": rng.normal(size=N), "b": rng.integers(0, 2, N), "town": rng.choice(["u", "v"], N)})
    treatment = rng.integers(0, 2, N)
    return covariates, treatment, treatment * (1 + covariates["a"].to_numpy()) + rng.normal(size=N)


@pytest.fixture(scope="module")
def result(table):
    return dowhy_cina.estimate_effect(*table)


@pytest.fixture(scope="module")
def mixed(table):
    """The same covariates as every mixed array has them: as objects, under x0, x1, x2."""
    return dowhy_cina.estimate_effect(table[0].to_numpy(object), *table[1:])


def test_numbers_among_objects_are_numbers(result, mixed):
    assert mixed.value == pytest.approx(result.value, abs=1e-9)
    for name, column in (("a", "x0"), ("b", "x1"), ("town", "x2"), (["a", "town"], ["x0", "x2"])):
        one, other = result.group_effects(name).table, mixed.group_effects(column).table
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert len(one) < 10
    np.testing.assert_allclose(result.effect_curve("a"), mixed.effect_curve("x0"), atol=1e-6)
    assert mixed.uplift("x0").area == pytest.approx(result.uplift("a").area, abs=1e-6)
    one, other = (
        found.best_linear_projection(names) for found, names in ((result, ["a", "town"]), (mixed, ["x0", "x2"]))
    )
    np.testing.assert_allclose(one.params, other.params, atol=1e-6)
    assert list(other.params.index) == ["constant", "x0", "x2_v"]


@pytest.mark.parametrize(
    "change",
    [
        lambda column: column.astype(object),
        lambda column: column.map(lambda value: Decimal(repr(value))),
        lambda column: column.astype("Float64"),
        lambda column: column.astype(pd.SparseDtype(float)),
    ],
)
def test_numbers_of_other_types_are_numbers(table, result, change):
    column = change(table[0]["a"])
    for ask in (
        lambda by: result.group_effects(by).table,
        result.effect_curve,
        lambda by: result.uplift(by).curve,
        lambda by: result.best_linear_projection(by).params,
    ):
        np.testing.assert_allclose(ask(column), ask(table[0]["a"]), rtol=1e-9)
    frame = pd.DataFrame({"a": column})
    assert list(group_labels(frame)) == list(group_labels(table[0][["a"]]))
    np.testing.assert_allclose(
        best_linear_projection(SCORES, frame).params, best_linear_projection(SCORES, table[0][["a"]]).params
    )
    np.testing.assert_allclose(effect_curve(SCORES, column), effect_curve(SCORES, table[0]["a"]))


def test_truth_values_and_dates_still_make_groups(result):
    flags = pd.Series(np.arange(N) % 2 == 0, dtype=object)
    assert list(result.group_effects(flags).table.index) == ["False", "True"]
    for holes in (pd.Series([True, None] * (N // 2)), pd.Series([True, None] * (N // 2), dtype="boolean")):
        assert list(result.group_effects(holes).table.index) == ["True", "missing"]
        with pytest.raises(InputError, match="missing or infinite"):
            result.uplift(holes)
    days = pd.Series(pd.Timestamp("2020-01-01").date() if flag else pd.Timestamp("2021-01-01").date() for flag in flags)
    assert list(result.group_effects(days).table.index) == ["2020-01-01", "2021-01-01"]


@pytest.mark.parametrize("kind", [complex, object])
def test_complex_numbers_keep_no_real_part(result, kind):
    own = pd.Series(SCORES + 1j, dtype=kind)
    for ask in (result.group_effects, result.effect_curve, result.uplift, result.best_linear_projection):
        with pytest.raises(InputTypeError, match=r"complex|numbers, text or categories"):
            ask(own)
    with pytest.raises(InputTypeError, match=r"complex|numbers, text or categories"):
        best_linear_projection(SCORES, own.to_frame("a"))
    with pytest.raises(InputTypeError, match=r"complex|numbers, text or categories"):
        effect_curve(SCORES, own)
    with pytest.raises(InputTypeError, match="cost"):
        result.policy_value("b", cost=own)


@pytest.mark.parametrize("values", [[[1]] * N, [{}] * N, [(1, 2)] * N])
def test_containers_are_no_modifiers(result, values):
    own = pd.Series(values)
    for ask in (result.group_effects, result.effect_curve, result.uplift, result.best_linear_projection):
        with pytest.raises(InputTypeError, match="Turn each into one number or one label"):
            ask(own)
    with pytest.raises(InputTypeError, match="Turn each into one number or one label"):
        best_linear_projection(SCORES, own.to_frame("a"))


def test_no_column_makes_no_groups(result, table):
    with pytest.raises(InputError, match="at least one column"):
        result.group_effects(table[0][[]])


def test_labels_make_no_curve_and_no_ranking(result):
    with pytest.raises(InputError, match=r"one column of numbers for a curve, got \['town'\]"):
        result.effect_curve("town")
    with pytest.raises(InputError, match=r"finite numbers to rank by, got \['town'\]"):
        result.uplift("town")
    with pytest.raises(InputError, match="missing or infinite"):
        result.uplift(np.r_[np.nan, SCORES[1:]])
    with pytest.raises(InputTypeError, match="expected numbers, got 'u'"):
        effect_curve(SCORES, np.tile(["u", "v"], N // 2))


def test_a_covariate_may_be_called_constant():
    x = np.random.default_rng(2).normal(size=N)
    found = best_linear_projection(SCORES, pd.DataFrame({"constant": x}))
    assert list(found.params.index) == ["(constant)", "constant"]
    np.testing.assert_allclose(found.params, best_linear_projection(SCORES, pd.DataFrame({"x": x})).params)


def test_names_that_come_twice(result):
    rng = np.random.default_rng(2)
    twice = pd.DataFrame(rng.normal(size=(N, 2)), columns=["a", "a"])
    for ask in (
        lambda: best_linear_projection(SCORES, twice),
        lambda: result.group_effects(twice),
        lambda: result.best_linear_projection(["a", "a"]),
    ):
        with pytest.raises(InputError, match="distinct column names, got 'a' more than once"):
            ask()
    levels = pd.DataFrame({"q": np.tile(["u", "v"], N // 2), "q_v": rng.normal(size=N)})
    with pytest.raises(InputError, match="'q_v' more than once"):
        best_linear_projection(SCORES, levels)


def test_a_column_alone_has_its_name():
    x = np.random.default_rng(3).normal(size=N)
    assert list(select_modifiers(x, "x0").columns) == ["x0"]
    assert list(select_modifiers(pd.Series(x, name="age"), "age").columns) == ["age"]


@pytest.mark.parametrize(("cost", "word"), [("a", "got 'a'"), ("3", "got '3'"), ([[1], [1, 2]], "cost"), ({}, "cost")])
def test_costs_that_are_no_numbers(result, cost, word):
    with pytest.raises(InputTypeError, match=word):
        result.policy_value("b", cost=cost)


def test_a_rule_cannot_change_the_covariates(table, result):
    def rule(people):
        people["new"] = 1
        people["a"] = 0.0
        return people["b"] == 1

    before = table[0].copy()
    values = result.policy_value(rule)
    pd.testing.assert_frame_equal(table[0], before)
    pd.testing.assert_frame_equal(values, result.policy_value("b"))
    array = table[0][["a", "b"]].to_numpy()
    kept = array.copy()

    def write(people):
        people.loc[:, "x0"] = 7.0
        return people["x1"] == 1

    dowhy_cina.estimate_effect(array, *table[1:]).policy_value(write)
    np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("rule", [[{}] * N, np.full(N, "yes")])
def test_rules_that_hold_no_truth(result, rule):
    with pytest.raises(InputError, match="truth values"):
        result.policy_value(rule)
