"""Intervals, bootstraps and pickles through DoWhy, and what must stay untouched by them."""

from __future__ import annotations

import logging
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import dowhy_cina
from dowhy_cina.calls import direct
from dowhy_cina.errors import InputError

METHOD = "backdoor.cina"


# --- bootstraps


def test_a_bootstrap_runs_when_asked_for_once(plain, monkeypatch):
    _, model, estimand = plain
    calls = []
    monkeypatch.setattr(
        direct, "analyse", lambda *a, _analyse=direct.analyse, **k: calls.append(1) or _analyse(*a, **k)
    )
    estimate = model.estimate_effect(
        estimand,
        method_name=METHOD,
        confidence_intervals="bootstrap",
        method_params={"num_simulations": 12, "confidence_level": 0.8},
    )
    lower, upper = estimate.get_confidence_intervals()
    assert f"80.0% confidence interval: ({lower}, {upper})" in str(estimate)
    assert lower < upper
    assert type(estimate.get_standard_error()) is type(lower) is float
    # DoWhy asks the estimator, then the estimate: the resamples are the same.
    assert len(calls) == 13


@pytest.mark.parametrize("units", ["att", lambda data: data.x > 0, "frame"])
def test_a_bootstrap_agrees_with_the_analytic_error(make_frame, make_plain_model, units):
    # In small tables it does not: leave-one-out scores and penalties see the copies of a resampled row.
    table = make_frame(rows=1500)
    model, estimand = make_plain_model(table)
    units = table[table.x > 0] if isinstance(units, str) and units == "frame" else units
    estimate = model.estimate_effect(estimand, method_name=METHOD, target_units=units)
    resampled = estimate.get_standard_error(method="bootstrap", num_simulations=20)
    assert 0.6 < resampled / estimate.get_standard_error() < 1.6


def test_a_bootstrap_follows_the_seed_and_draws_nothing_from_it(plain):
    _, model, estimand = plain
    estimate = model.estimate_effect(estimand, method_name=METHOD)

    def interval(seed):
        np.random.seed(seed)
        estimate.estimator._bootstrap_estimates = None
        answer = estimate.get_confidence_intervals(method="bootstrap", num_simulations=3)
        assert np.random.get_state()[2] == 624  # nothing drawn since seeding
        return answer

    assert interval(0) == interval(0) != interval(1)


def test_a_bootstrap_needs_two_rows(plain):
    _, model, estimand = plain
    estimate = model.estimate_effect(estimand, method_name=METHOD)
    with pytest.raises(InputError, match="sample_size_fraction"):
        estimate.get_confidence_intervals(method="bootstrap", sample_size_fraction=0.001)


def test_significance_by_permutation_when_asked_for(plain):
    _, model, estimand = plain
    estimate = model.estimate_effect(
        estimand, method_name=METHOD, test_significance="bootstrap", method_params={"num_null_simulations": 5}
    )
    assert estimate.test_stat_significance()["p_value"] == (0, 0.2)


def test_unknown_inference_methods_are_refused(estimate):
    with pytest.raises(InputError, match="'default' \\(analytic\\) or 'bootstrap', got 'jackknife'"):
        estimate.get_confidence_intervals(method="jackknife")


def test_an_arm_with_one_row_has_a_value_and_no_interval(plain, no_bootstrap, make_plain_model):
    table, _, _ = plain
    table = pd.concat([table[table.t == 0], table[table.t == 1].head(1)])
    model, estimand = make_plain_model(table)
    with pytest.warns(UserWarning, match="single|one row"):
        estimate = model.estimate_effect(
            estimand, method_name=METHOD, confidence_intervals=True, test_significance=True
        )
    assert np.isfinite(estimate.value)
    with pytest.warns(UserWarning, match="no interval, standard error or p-value"):
        assert estimate.get_confidence_intervals() == (None, None)
    with pytest.warns(UserWarning, match="no interval"):
        assert estimate.get_standard_error() is None
    with pytest.warns(UserWarning, match="no interval"):
        assert estimate.test_stat_significance() == {"p_value": None}
    with pytest.warns(UserWarning, match="no interval"):
        assert "95.0% confidence interval: (None, None)" in str(estimate)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refit = estimate.estimator.get_new_estimator_object(estimand).fit(table).estimate_effect(table)
    assert refit.value == estimate.value


# --- pickles


def test_pickled_estimates_answer_as_before(plain):
    _, model, estimand = plain
    estimate = model.estimate_effect(estimand, method_name=METHOD, confidence_intervals=True)
    back = pickle.loads(pickle.dumps(estimate))
    assert back.estimator._analyses == {}
    assert back.get_confidence_intervals() == estimate.get_confidence_intervals()
    assert back.get_confidence_intervals(confidence_level=0.6) == estimate.get_confidence_intervals(
        confidence_level=0.6
    )
    assert str(back) == str(estimate)


# --- what must stay untouched


def test_nothing_of_the_users_changes(frame, make_model):
    def surroundings():
        loggers = {
            name: logging.getLogger(name).level for name in ("", "dowhy", "dowhy.causal_estimator", "dowhy_cina")
        }
        handlers = [len(logging.getLogger(name).handlers) for name in loggers]
        torch_settings = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
        return loggers, handlers, torch_settings, torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()

    table = frame.copy()
    model, estimand = make_model(table)
    dowhy_cina.estimate_effect(frame[["x"]], frame.t, frame.y)  # what torch does once, at its first use
    before = surroundings()
    params = {"init_params": {"augmentation": "kernel"}}
    estimate = model.estimate_effect(
        estimand, method_name=METHOD, confidence_intervals=True, test_significance=True, method_params=params
    )
    str(estimate)
    for units in ("att", lambda data: data.x > 0, table.head(50)):
        model.estimate_effect(estimand, method_name=METHOD, target_units=units)
    assert surroundings() == before
    pd.testing.assert_frame_equal(table, frame)
    assert params == {"init_params": {"augmentation": "kernel"}}


# --- what the estimate says of groups


@pytest.mark.parametrize("units", ["ate", "att"])
def test_groups_of_a_hosts_estimate_hold_at_once(frame, problem, units):
    model, estimand = problem
    found = model.estimate_effect(estimand, method_name=METHOD, target_units=units).cina_result
    alone, together = (found.group_effects("c", simultaneous=both) for both in (False, True))
    assert together.table.index.tolist() == ["a", "b", "c"]
    assert (together.table["lower"] < alone.table["lower"]).all()
    assert (together.table["upper"] > alone.table["upper"]).all()
    assert together.table["rows"].sum() == (len(frame) if units == "ate" else frame["t"].sum())
    assert together.p_value == alone.p_value
