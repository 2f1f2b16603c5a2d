"""Outcomes that are not what they seem: a covariate tells them, or numbers stand for missing ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina.errors import InputTypeError

ROWS = 300


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 2))
    t = (rng.random(ROWS) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    return pd.DataFrame(x, columns=["a", "b"]).assign(t=t, y=x[:, 0] + t + rng.normal(size=ROWS))


def warnings_of(table, **options):
    return dowhy_cina.estimate_effect(table, "t", "y", **options).warnings


@pytest.mark.parametrize(
    "of",
    [
        lambda f: f["y"],
        lambda f: 3 - 1e6 * f["y"],
        lambda f: f["y"] - 2 * f["t"],
        lambda f: f["y"] + 0.005 * f["y"].std() * np.cos(np.arange(len(f))),
    ],
)
@pytest.mark.parametrize("unit", [1, 1e200])
def test_a_covariate_that_is_the_outcome_is_named(table, of, unit):
    (text,) = warnings_of(table.assign(later=of(table), y=table["y"] * unit))
    assert text.startswith("Outcomes can be told from 'later' alone all but exactly (")
    assert text.endswith("leave it out.")


def test_covariates_that_tell_the_outcome_together_are_named(table):
    for later in (table["y"] - table["b"], np.exp(table["y"] / 5)):
        (text,) = warnings_of(table.assign(later=later))
        assert text.startswith("Outcomes can be told from the covariates all but exactly (")


def test_a_copy_of_the_treatment_is_named(table):
    for copy in (table["t"], table["t"].map({0: "placebo", 1: "drug"}), 10 * table["t"] + table["b"].rank() / 1000):
        texts = warnings_of(table.assign(dose=copy))
        assert any(text.startswith("Who is treated can be told from 'dose") for text in texts)
        assert not any(text.startswith("No ") for text in texts)


def test_a_copy_of_an_outcome_of_two_values_is_named(table):
    binary = table.assign(y=(table["y"] > 0).astype(int))
    assert any("told from 'later' alone" in text for text in warnings_of(binary.assign(later=binary["y"])))
    assert not any("told from" in text for text in warnings_of(binary))


def test_many_tables_say_the_same_and_many_rows_too(table):
    copies = table.assign(later=table["y"])
    for found in dowhy_cina.estimate_effects([(copies, "t", "y")] * 2):
        assert "'later'" in found.warnings[0]
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(9000, 2)), rng.integers(0, 2, 9000)
    y = x[:, 0] + t
    assert "'x0'" in dowhy_cina.estimate_effect(x, t, y).warnings[0]
    assert dowhy_cina.estimate_effect(x, t, y + 0.1 * rng.normal(size=9000)).warnings == ()


def test_a_measurement_before_is_no_copy(table):
    rng = np.random.default_rng(2)
    assert warnings_of(table.assign(before=table["y"] + 0.1 * table["y"].std() * rng.normal(size=ROWS))) == ()


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (lambda y: 5000 + 100 * y, -999),
        (lambda y: 5000 + 100 * y, 9999),
        (lambda y: (y + 12).round(), 99),
        (lambda y: np.clip(y.round() + 3, 1, 5), 9),
        (lambda y: np.clip(y.round() + 3, 1, 5), -9),
        (lambda y: np.abs(y) / 2 + 3, -1),
    ],
)
def test_known_codes_of_outcomes_are_named(table, outcome, code):
    y = outcome(table["y"])
    assert warnings_of(table.assign(y=y)) == ()
    (text,) = [
        text for text in warnings_of(table.assign(y=y.where(np.arange(ROWS) % 40 > 0, code))) if "outcome" in text
    ]
    assert text.startswith(f"The outcome is {code} in 8 rows")


def test_other_outcomes_hold_no_codes(table):
    rng = np.random.default_rng(0)
    counts, spent = rng.poisson(2, ROWS), np.where(rng.random(ROWS) < 0.8, 0, rng.integers(1, 99, ROWS))
    better = np.sign(table["y"].round())
    for y in (
        counts.clip(0, 9),
        (table["y"] > 0) * 99,
        -(table["y"] > 0) * 1.0,
        table["y"].round(),
        9 - counts,
        better,
    ):
        assert not any("stands for" in text for text in warnings_of(table.assign(y=y)))
    spent[:3] = 99
    assert not any("stands for" in text for text in warnings_of(table.assign(y=spent)))


def test_large_effects_and_small_arms_are_no_copies():
    """What the treatment does is not told by covariates; of many columns one tells two treated rows apart by chance."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, t = rng.normal(size=(24, 15)), np.arange(24) < 2
        found = dowhy_cina.estimate_effect(x, t.astype(int), rng.normal(size=24))
        assert not any("can be told" in text for text in found.warnings)
    rng = np.random.default_rng(0)
    t = rng.integers(0, 2, 400)
    found = dowhy_cina.estimate_effect(rng.normal(size=(400, 3)), t, 100 * t + rng.normal(size=400))
    assert found.warnings == ()


def test_numbers_that_stand_for_a_missing_outcome_are_named(table):
    odd = table.copy()
    odd.loc[:9, "y"], odd.loc[10:14, "y"] = -999, 9999
    (text,) = [text for text in warnings_of(odd) if "outcome" in text]
    assert text.startswith("The outcome is -999 in 10 rows and 9999 in 5 rows, far from all its other numbers.")
    assert warnings_of(table) == ()
    costs = table.assign(y=np.where(table["y"] > 1, np.exp(table["y"]), 0))
    assert not any("far from all" in text for text in warnings_of(costs))


def test_a_constant_outcome_has_no_error_and_a_remark(table):
    for level in (0.0, 1.0, 1e6):
        found = dowhy_cina.estimate_effect(table.assign(y=level), "t", "y")
        assert (found.value, found.standard_error, found.p_value) == (0, 0, 1)
        assert found.confidence_interval == (0, 0)
        assert "outcome is constant" in found.warnings[0]


@pytest.mark.parametrize("written", ["{:.2f}", "{:,.2f}", "$ {:.0f}", "{:.1f} kg"])
def test_an_outcome_of_numbers_as_text_is_named_as_such(table, written):
    text = (1000 * table["y"]).map(written.format)
    for outcome in (text, text.str.translate(str.maketrans(",.", ".,")), text.where(table["a"] > -1, "n/a")):
        with pytest.raises(InputTypeError, match=r"outcome: .*numbers written as text.*pandas\.to_numeric.*decimal="):
            warnings_of(table.assign(y=outcome))
    with pytest.raises(InputTypeError, match="Code it as numbers, for example 1"):
        warnings_of(table.assign(y=np.where(table["y"] > 0, "ill", "well")))


def rare_events(seed, rows=600, share=0.1, rate=0.02, none=False):
    """A trial of rare events without an effect; ``none`` where no treated row has one."""
    rng = np.random.default_rng(seed)
    t = np.zeros(rows, dtype=int)
    t[rng.permutation(rows)[: int(share * rows)]] = 1
    y = (rng.random(rows) < rate).astype(float)
    return rng.normal(size=(rows, 3)), t, y * (1 - t) if none else y


def test_an_arm_without_an_event_is_no_proof():
    """Its noise is not zero: as many events as the other arm has would hardly have shown."""
    for mirror in (False, True):
        x, t, y = rare_events(0, rate=0.04, none=True)
        result = dowhy_cina.estimate_effect(x, t, 1 - y if mirror else y)
        low, high = result.confidence_interval
        assert low < 0 < high
        events = y[t == 0].mean()
        assert result.standard_error > np.sqrt(events * (1 - events) / 60)
        (text,) = [text for text in result.warnings if "the same outcome" in text]
        assert text.startswith("All 60 treated rows have the same outcome, the control rows have not")


def test_arms_without_an_event_are_rarely_taken_for_an_effect():
    tables = [rare_events(seed, rate=0.015) for seed in range(40)]
    assert sum(not y[t == 1].any() for _, t, y in tables) >= 10
    results = dowhy_cina.estimate_effects([one for one in tables if one[2].any()])
    assert sum(result.p_value < 0.05 for result in results) <= 2


def test_rows_that_are_alike_have_the_same_weight():
    """Whatever their own outcomes are: weights cannot choose rows by their noise."""
    rng = np.random.default_rng(1)
    visits = rng.negative_binomial(1, 0.2, 600)
    t = (rng.random(600) < 1 / (1 + np.exp(1.5 - np.log1p(visits)))).astype(int)
    y = 1.5 * np.log1p(visits) + 0.3 * t + rng.normal(size=600)
    result = dowhy_cina.estimate_effect(pd.DataFrame({"visits": visits}), t, y)
    weights = pd.Series(result.weights).groupby([visits, t])
    assert weights.size().max() > 20
    assert float((weights.max() - weights.min()).max()) < 1e-9
