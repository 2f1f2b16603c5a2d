"""The same answers as DoWhy's own loop, within simulation error."""

import importlib
import logging
import warnings

import numpy as np
import pytest
from scipy import stats

from dowhy_cina.adapter.refutation import refits, refute, simulations
from dowhy_cina.adapter.refutation.refits import Batch
from dowhy_cina.adapter.refutation.refuters import Refits

SAMPLED = (
    "random_common_cause",
    "placebo_treatment_refuter",
    "data_subset_refuter",
    "bootstrap_refuter",
    "dummy_outcome_refuter",
)


@pytest.fixture
def plain(make_frame, make_estimate):
    return make_estimate(make_frame(80, seed=3), ["x", "z", "flag"], target_units="att")


@pytest.fixture
def long(make_frame, make_estimate):
    """More rows than landmarks, so that refits with fewer of them are other estimates than DoWhy's loop makes."""
    return make_estimate(make_frame(300, seed=3), ["x", "z", "flag"])


@pytest.fixture(autouse=True)
def _seeded():
    logging.getLogger("dowhy").setLevel(logging.ERROR)
    np.random.seed(0)  # DoWhy's refuters draw from the global state


def effects_in_dowhy(problem, refuter, count, monkeypatch):
    """Effects of single refits, which DoWhy hands to its test only."""
    model, estimand, estimate = problem
    found = []

    def record(_, effects):
        found.extend(effects)
        return {"p_value": 1.0, "is_statistically_significant": False}

    monkeypatch.setattr(importlib.import_module(f"dowhy.causal_refuters.{refuter}"), "test_significance", record)
    options = {"placebo_type": "permute"} if refuter == "placebo_treatment_refuter" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.refute_estimate(estimand, estimate, method_name=refuter, num_simulations=count, **options)
    return np.array(found)


def assert_same_law(ours, theirs):
    """Distributions (Kolmogorov and Smirnov), means and quartiles agree as well as samples of one law do."""
    assert len(ours) == len(theirs)
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-3
    assert abs(ours.mean() - theirs.mean()) < 3.5 * np.hypot(stats.sem(ours), stats.sem(theirs))
    assert abs(np.log(stats.iqr(ours) / stats.iqr(theirs))) < 7 / np.sqrt(len(ours))


def ours_of(problem, refuter, count):
    (row,) = refute(*problem, refuters=refuter, simulations=count, random_state=1, progress=False).refutations
    assert row.failed == 0
    return row.effects


@pytest.mark.parametrize("refuter", SAMPLED)
def test_few_refits_have_the_law_of_dowhys(refuter, plain, monkeypatch):
    assert_same_law(ours_of(plain, refuter, 40), effects_in_dowhy(plain, refuter, 40, monkeypatch))


@pytest.mark.weekly
@pytest.mark.parametrize("refuter", SAMPLED)
def test_a_thousand_refits_have_the_law_of_dowhys(refuter, long, monkeypatch):
    assert_same_law(ours_of(long, refuter, 1000), effects_in_dowhy(long, refuter, 1000, monkeypatch))


def hidden_causes(problem, make_setting, count):
    """Effects under one strength of a hidden cause, by the battery's own refits and by DoWhy's."""
    share, slope = 0.15, 0.6
    setting = make_setting(problem)
    drawn = Refits(count, lambda _, generator: simulations.unobserved_common_cause(setting, (share, slope), generator))
    ours = refits._run_batch(setting, Batch(5, drawn, range(count)), 0).effects
    model, estimand, estimate = problem
    theirs = [
        model.refute_estimate(
            estimand,
            estimate,
            method_name="add_unobserved_common_cause",
            effect_strength_on_treatment=share,
            effect_strength_on_outcome=slope,
        ).new_effect
        for _ in range(count)
    ]
    return np.array(list(ours.values())), np.array(theirs)


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.weekly)])
def test_a_hidden_cause_acts_as_in_dowhy(count, plain, make_setting):
    assert_same_law(*hidden_causes(plain, make_setting, count))


def test_each_strength_starts_from_the_data(plain, make_setting):
    """DoWhy's grid keeps the changes of one point in the data of the next; ours does not."""
    setting = make_setting(plain)
    strengths = simulations.Strengths(np.array([0.2, 0.0]), np.array([1.0, 0.0]))
    draw = simulations.graded(setting, strengths)
    draw(0, np.random.default_rng(0))
    untouched = draw(3, np.random.default_rng(1))
    assert (untouched.treatment.to_numpy() == setting.data.t.to_numpy()).all()
    np.testing.assert_array_equal(untouched.outcome, setting.data.y)
