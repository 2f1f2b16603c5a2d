"""Arguments of what is asked of a varying effect: words, rules and modifiers that are none."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina import plots
from dowhy_cina.errors import InputError, InputTypeError
from dowhy_cina.results.heterogeneity import VaryingEffect
from dowhy_cina.results.heterogeneity.decisions import Decisions

N = 200


@pytest.fixture(scope="module")
def result():
    rng = np.random.default_rng(1)
    covariates = pd.DataFrame({"a": rng.normal(size=N), "b": rng.integers(0, 2, N)})
    treatment = rng.integers(0, 2, N)
    return dowhy_cina.estimate_effect(covariates, treatment, treatment * (1 + covariates["a"]) + rng.normal(size=N))


ARRAYS = [np.ones(N), pd.Series(["all"] * N), pd.DataFrame({"a": np.ones(N)}), np.zeros(3, "V8"), ["all"]]


@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: type(value).__name__)
def test_values_where_a_word_is_asked_for(result, value):
    with pytest.raises(InputTypeError, match="against must be 'all', 'none' or None, got an object of type"):
        result.policy_value(0.5, against=value)
    with pytest.raises(InputTypeError, match="weighting must be 'qini' or 'autoc', got an object of type"):
        result.uplift(weighting=value)
    with pytest.raises(
        InputTypeError, match="number of groups must be a whole number of at least 2, got an object of type"
    ):
        result.search_groups(value)


def test_words_and_numbers_are_checked_before_anything_is_fitted(result, monkeypatch):
    def refits(*_):
        raise AssertionError("nothing must be fitted again")

    monkeypatch.setattr(Decisions, "_refits", refits)
    monkeypatch.setattr(VaryingEffect, "_scored", refits)
    with pytest.raises(InputError, match="against must be"):
        result.policy_value("gainers", against="nobody")
    with pytest.raises(InputError, match=r"weighting must be .*, got 'quini' \(did you mean 'qini'\?\)"):
        result.uplift(weighting="quini")
    with pytest.raises(InputError, match="number of groups must be a whole number of at least 2, got 1"):
        result.search_groups(1)
    with pytest.raises(InputTypeError, match="number of groups must be a whole number of at least 2, got 3"):
        result.search_groups(3.0)


@pytest.mark.parametrize("rule", [lambda: True, lambda frame, cut: frame["a"] > cut, lambda *, frame: frame["a"] > 0])
def test_a_rule_takes_the_covariates_alone(result, rule):
    with pytest.raises(InputTypeError, match="expected a rule that takes one argument, the frame of the covariates"):
        result.policy_value(rule)


def test_rules_with_more_arguments_that_may_be_left_out(result):
    plain = result.policy_value(lambda frame: frame["a"] > 0)
    rules = [
        lambda frame, cut=0: frame["a"] > cut,
        lambda *frames: frames[0]["a"] > 0,
        functools.partial(lambda frame, cut: frame["a"] > cut, cut=0),
    ]
    for rule in rules:
        pd.testing.assert_frame_equal(result.policy_value(rule), plain)


def test_what_a_rule_raises_itself_comes_through(result):
    with pytest.raises(ZeroDivisionError):
        result.policy_value(lambda frame: 1 / 0)


RECORDS = np.zeros(N, dtype=[("p", float), ("q", int)])


@pytest.mark.parametrize("records", [RECORDS, RECORDS[:, None], RECORDS.view(np.recarray), np.zeros(N, "V8")])
@pytest.mark.parametrize(
    "ask",
    [
        lambda result, by: result.group_effects(by),
        lambda result, by: result.best_linear_projection(by),
        lambda result, by: result.effect_curve(by),
        lambda result, by: result.uplift(by),
        lambda result, by: result.policy_value(0.5, cost=by),
        lambda result, by: plots.effect_plot(result, by),
    ],
)
def test_records_are_no_modifiers(result, ask, records):
    with pytest.raises(InputTypeError, match="expected one value for each row, got records of dtype"):
        ask(result, records)


def test_fields_of_records_are(result):
    records = RECORDS.copy()
    records["p"] = np.arange(N)
    one, other = (result.group_effects(by).table for by in (records["p"], np.arange(N)))
    np.testing.assert_allclose(one, other)
    assert len(result.group_effects(pd.DataFrame(records)).table) == 4


@pytest.mark.parametrize("empty", [pd.DataFrame(index=range(N)), np.empty((N, 0))])
def test_modifiers_without_columns(result, empty):
    for ask in (result.group_effects, result.uplift, lambda by: plots.effect_plot(result, by)):
        with pytest.raises(InputError, match="expected at least one column"):
            ask(empty)


@pytest.mark.parametrize("weighting", ["qini", "autoc"])
@pytest.mark.parametrize("rows", [30, 60])
def test_an_area_is_tested_as_its_interval_says(weighting, rows):
    """The p-value is one less the level at which an end of the interval is zero."""
    rng = np.random.default_rng(rows)
    x, t = rng.normal(size=rows), rng.integers(0, 2, rows)
    table = pd.DataFrame({"x": x})
    given = table, t, t * (1 + x) + rng.normal(size=rows)
    p_value = dowhy_cina.estimate_effect(*given).uplift("x", weighting).p_value
    assert 1e-8 < p_value < 1
    found = dowhy_cina.estimate_effect(*given, confidence_level=1 - p_value).uplift("x", weighting)
    nearest = min(abs(found.lower), abs(found.upper))
    assert nearest < 1e-6 * found.standard_error
