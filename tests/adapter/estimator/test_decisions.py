"""Who gains, through DoWhy: the same answers as directly, for any target units, and what a pickle says of them."""

import pickle

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina.errors import CinaError

METHOD = "backdoor.cina"


@pytest.fixture(scope="module")
def problem():
    from dowhy import CausalModel

    rng = np.random.default_rng(4)
    table = pd.DataFrame({"x": rng.normal(size=240), "m": rng.normal(size=240)})
    table["t"] = (rng.random(240) < 1 / (1 + np.exp(-table["x"]))).astype(int)
    table["y"] = table["x"] + table["t"] * (1 + 2 * table["m"]) + rng.normal(size=240)
    model = CausalModel(table, treatment="t", outcome="y", common_causes=["x"], effect_modifiers=["m"])
    return table, model, model.identify_effect(proceed_when_unidentifiable=True)


@pytest.mark.parametrize("units", ["ate", "att", lambda data: data["x"] > -1])
def test_the_same_as_directly(problem, units):
    table, model, estimand = problem
    found = model.estimate_effect(estimand, method_name=METHOD, target_units=units).cina_result
    mask = units(table).to_numpy() if callable(units) else units
    direct = dowhy_cina.estimate_effect(table[["x", "m"]], table["t"], table["y"], target_units=mask)
    assert found.uplift().area == pytest.approx(direct.uplift().area, abs=1e-6)
    pd.testing.assert_frame_equal(found.policy_value(0.5), direct.policy_value(0.5), rtol=1e-6)
    assert found.uplift("m").lower > 0
    assert str(found.search_groups()) == str(direct.search_groups())


def test_conditional_estimates_and_groups_agree(problem):
    """DoWhy's groups of a modifier are target populations of their own; their effects grow with it too."""
    table, model, estimand = problem
    estimate = model.estimate_effect(estimand, method_name=METHOD)
    assert estimate.conditional_estimates.is_monotonic_increasing
    groups = estimate.cina_result.group_effects(pd.qcut(table["m"], 5))
    np.testing.assert_allclose(estimate.conditional_estimates, groups.table["effect"], atol=0.6)


def test_pickles_say_what_they_left_out_and_how_to_get_it_back(problem):
    table, model, estimand = problem
    estimate = model.estimate_effect(estimand, method_name=METHOD)
    back = pickle.loads(pickle.dumps(estimate))
    for ask in (back.cina_result.uplift, lambda: back.cina_result.conditional_effects(table[["x", "m"]])):
        with pytest.raises(CinaError, match=r"estimate\.estimator\.estimate_effect\(data\)"):
            ask()
    again = back.estimator.estimate_effect(table).cina_result
    assert again.uplift().area == estimate.cina_result.uplift().area
    one, other = (found.conditional_effects(table[["x", "m"]]) for found in (again, estimate.cina_result))
    pd.testing.assert_frame_equal(one, other)
