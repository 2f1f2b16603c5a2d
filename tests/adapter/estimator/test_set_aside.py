"""Rows of other treatments, values of other types and labels in another order, through DoWhy."""

from __future__ import annotations

import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from dowhy import CausalModel

import dowhy_cina
from dowhy_cina.errors import InputError, InputTypeError

METHOD = "backdoor.cina"


@pytest.fixture(scope="module")
def three():
    """A table of three treatments, the third of which has no outcome in a group of its own."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=120), "z": rng.normal(size=120)})
    frame["site"], frame["t"] = ["A"] * 80 + ["B"] * 40, ["a", "b"] * 40 + ["c"] * 40
    frame["y"] = (frame.x + (frame.t == "b") + 0.1 * rng.normal(size=120)).where(frame.t != "c")
    model = CausalModel(frame, "t", "y", common_causes=["x", "z"], effect_modifiers=["site"])
    return model, model.identify_effect(proceed_when_unidentifiable=True)


def estimated(problem, units="ate"):
    values = {"treatment_value": "b", "control_value": "a"}
    return problem[0].estimate_effect(problem[1], method_name=METHOD, target_units=units, **values)


def test_groups_of_a_function_have_compared_rows(three):
    every = estimated(three, lambda frame: frame.x > -9)
    assert list(every.conditional_estimates.index) == ["A"]
    assert every.conditional_estimates["A"] == pytest.approx(estimated(three).conditional_estimates["A"])


def test_resamples_of_a_function_have_compared_rows_of_the_target(three):
    few = estimated(three, lambda frame: pd.Series(np.isin(np.arange(120), [0, 1, *range(80, 120)]), frame.index))
    low, high = few.get_confidence_intervals(method="bootstrap", num_simulations=20)
    assert np.isfinite([low, high]).all()


def test_placebos_are_drawn_from_compared_rows(three):
    report = dowhy_cina.refute(
        *three, estimated(three), simulations=3, refuters=["placebo_treatment_refuter"], progress=False, random_state=0
    )
    assert "not applicable" not in str(report)


def test_decimals_are_the_numbers_that_they_are(plain, make_plain_model):
    frame = plain[0].assign(t=[Decimal("0.3") if t else Decimal("0.1") for t in plain[0].t])
    problem = make_plain_model(frame)
    values = {"treatment_value": 0.3, "control_value": 0.1}
    estimate = problem[0].estimate_effect(problem[1], method_name=METHOD, **values)
    plainly = plain[1].estimate_effect(plain[2], method_name=METHOD)
    assert estimate.value == pytest.approx(plainly.value, rel=1e-9)
    assert np.isfinite(estimate.get_confidence_intervals(method="bootstrap", num_simulations=3)).all()


@pytest.mark.parametrize("which", ["treatment_value", "control_value"])
def test_a_value_is_named(plain, which):
    with pytest.raises(InputError, match=f"{which} must be a single value of the treatment, got None"):
        plain[1].estimate_effect(plain[2], method_name=METHOD, **{which: None})


def test_answers_of_a_function_are_in_the_order_of_the_rows(plain):
    with pytest.raises(InputError, match="target_units: expected rows in the order of the table"):
        plain[1].estimate_effect(
            plain[2], method_name=METHOD, target_units=lambda frame: frame.sort_values("x", ascending=False).x > 0
        )


@pytest.mark.parametrize("name", ["sample_weight", "cluster"])
def test_values_in_place_of_a_column_are_named(plain, name):
    params = {"init_params": {name: plain[0].x}}
    with pytest.raises(InputTypeError, match=f"{name} must be the name of a column"):
        plain[1].estimate_effect(plain[2], method_name=METHOD, method_params=params)


def test_bootstraps_can_be_pickled(plain):
    estimate = plain[1].estimate_effect(plain[2], method_name=METHOD)
    ends = estimate.get_confidence_intervals(method="bootstrap", num_simulations=5)
    again = pickle.loads(pickle.dumps(estimate))
    assert again.get_confidence_intervals(method="bootstrap", num_simulations=5) == ends
    with pytest.raises(InputError, match="num_simulations must be a whole number of at least 1"):
        estimate.get_confidence_intervals(method="bootstrap", num_simulations=0)
