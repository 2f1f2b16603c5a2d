"""An estimate with sampling weights of which some are zero: bootstraps and refits are those of the other rows."""

import numpy as np
import pandas as pd
import pytest
from dowhy import CausalModel

import dowhy_cina

OPTIONS = {"method_params": {"sample_weight": "w"}}


@pytest.fixture(scope="module")
def problems(make_frame, make_estimate):
    """The whole table, in which rows without a weight have an outcome that would show, and the others alone."""
    frame = make_frame(200)
    frame["w"] = np.where(frame.index % 4 == 0, 0.0, 1.0 + frame.index % 3)
    frame.loc[frame["w"] == 0, "y"] = 1e3
    return [make_estimate(part, ["x", "z", "flag"], **OPTIONS) for part in (frame, frame[frame["w"] > 0])]


def test_estimates_agree(problems):
    one, other = (estimate for *_, estimate in problems)
    assert one.value == other.value
    assert one.get_confidence_intervals() == other.get_confidence_intervals()
    assert one.cina_result.rows_without_weight == 50


def test_bootstraps_agree(problems):
    found = []
    for *_, estimate in problems:
        np.random.seed(1)
        found.append(estimate.get_standard_error(method="bootstrap", num_simulations=12))
    assert found[0] == found[1]


@pytest.mark.parametrize("refuter", ["placebo_treatment_refuter", "data_subset_refuter", "dummy_outcome_refuter"])
def test_refits_agree(refuter, problems):
    options = {"refuters": [refuter], "simulations": 3, "random_state": 0, "n_jobs": 1, "progress": False}
    one, other = (dowhy_cina.refute(*problem, **options).refutations[0] for problem in problems)
    np.testing.assert_array_equal(one.effects, other.effects)
    assert len(one.effects) == 3


@pytest.mark.parametrize("target", ["ate", "att", "overlap", lambda frame: frame["x"] > 0])
def test_groups_of_effect_modifiers_agree(target, make_frame):
    frame = make_frame(240)
    frame["w"] = np.where(frame.index % 4 == 0, 0.0, 1.0 + frame.index % 3)
    frame.loc[frame["w"] == 0, "z"] += 5.0  # which would move the quantiles between groups
    found = []
    for part in (frame, frame[frame["w"] > 0]):
        model = CausalModel(part, "t", "y", common_causes=["x"], effect_modifiers=["z"])
        estimand = model.identify_effect()
        estimate = model.estimate_effect(estimand, method_name="backdoor.cina", target_units=target, **OPTIONS)
        found.append((estimate.value, estimate.conditional_estimates))
    assert found[0][0] == found[1][0]
    pd.testing.assert_series_equal(found[0][1], found[1][1])
