"""One analysed table and its target populations: who is in them, and the doubly robust scores behind an effect."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import dowhy_cina
from dowhy_cina.calls.direct import analyse
from dowhy_cina.config import EstimatorOptions
from dowhy_cina.errors import InputError, InputTypeError


def draw(rows=600, seed=0):
    """A confounded table whose effect is 2 + x0."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    t = (rng.random(rows) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    return x, t, x.sum(1) + t * (2 + x[:, 0]) + rng.normal(size=rows)


@pytest.fixture(scope="module")
def table():
    return draw()


@pytest.fixture(scope="module")
def analysis(table):
    return analyse(*table)


TARGETS = {
    "ate": lambda x, t: "ate",
    "att": lambda x, t: "att",
    "atc": lambda x, t: "atc",
    "overlap": lambda x, t: "overlap",
    "mask": lambda x, t: x[:, 1] > 0.3,
}


@pytest.mark.parametrize("name", TARGETS)
def test_effect_is_that_of_the_population(table, analysis, name):
    x, t, _ = table
    found = analysis.effect(TARGETS[name](x, t))
    assert found.target_weights.sum() == pytest.approx(1)
    truth = 2 + found.target_weights @ x[:, 0]
    assert abs(found.value - truth) < 3 * found.standard_error
    assert found.standard_error < 0.3


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("augmentation", ["kernel", "none"])
def test_pseudo_outcomes_average_to_the_effect(table, name, augmentation):
    x, t, y = table
    found = analyse(x, t, y, options=EstimatorOptions(augmentation=augmentation)).effect(TARGETS[name](x, t))
    assert found.pseudo_outcomes.mean() == pytest.approx(found.value, rel=1e-9)
    spread = found.pseudo_outcomes.std() / np.sqrt(len(t))
    # Their spread is the sampling part of the error, to which what smoothing may have left is added.
    assert 0.5 * spread < found.standard_error < 3 * spread


def test_pseudo_outcomes_are_in_the_callers_order(table, analysis):
    x, t, y = table
    order = np.random.default_rng(1).permutation(len(t))
    other = analyse(x[order], t[order], y[order]).effect()
    np.testing.assert_allclose(other.pseudo_outcomes, analysis.effect().pseudo_outcomes[order], atol=1e-8)


def test_pseudo_outcomes_of_rows_set_aside_and_of_foreign_targets(table):
    x, t, y = table
    arms = np.r_[t[:-50], np.full(50, 2)]
    found = analyse(x, arms, y, treatment_value=1, control_value=0).effect()
    assert np.isnan(found.pseudo_outcomes[-50:]).all()
    assert found.pseudo_outcomes[:-50].mean() == pytest.approx(found.value)
    foreign = analyse(x, t, y).effect(pd.DataFrame(x[:20] + 0.01))
    assert np.isnan(foreign.pseudo_outcomes).all()
    assert foreign.to_dict()["pseudo_outcomes"] == [None] * len(t)


def test_overlap_weighs_rows_by_the_propensity(analysis):
    found = analysis.effect("overlap")
    expected = found.propensity * (1 - found.propensity)
    np.testing.assert_allclose(found.target_weights, expected / expected.sum())
    assert "overlap" in found.summary()


def test_overlap_is_the_most_precise_population():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(800, 2))
    t = (rng.random(800) < 1 / (1 + np.exp(-2.5 * x[:, 0]))).astype(int)
    y = x.sum(1) + 2 * t + rng.normal(size=800)
    analysis = analyse(x, t, y)
    assert analysis.effect("overlap").standard_error < analysis.effect("ate").standard_error


def test_overlap_without_a_common_population(analysis, monkeypatch):
    import dataclasses

    import torch

    certain = torch.where(analysis._table.treatment > 0, 1.2, -0.1)
    monkeypatch.setattr(analysis, "_named", {})
    monkeypatch.setattr(analysis, "_state", dataclasses.replace(analysis._state, propensity=certain))
    with pytest.raises(InputError, match="no common population"):
        analysis.effect("overlap")


def test_named_rows(table, analysis):
    x, _, _ = table
    mask = x[:, 1] > 0
    inside = analysis.effect(mask)
    assert inside.target_weights[~mask].sum() == 0
    foreign = analysis.effect(pd.DataFrame(np.r_[x[mask], x[mask][:1] + 0.01]))
    assert foreign.target_weights.sum() == 0
    assert foreign.value == pytest.approx(inside.value, abs=0.1)
    # The foreign rows count as a sample of their own, which knows nothing of the table's.
    assert foreign.standard_error == pytest.approx(inside.standard_error, rel=0.4)


def test_a_mask_of_an_arm_is_the_arm(table, analysis):
    _, t, _ = table
    assert analysis.effect(t == 1).value == pytest.approx(analysis.effect("att").value, rel=1e-9)


def test_without_columns_foreign_rows_are_any_rows(table):
    _, t, y = table
    found = analyse(np.ones((len(t), 1)), t, y).effect(pd.DataFrame({"x1": [1.0, 1.0]}))
    assert found.value == pytest.approx(y[t == 1].mean() - y[t == 0].mean())


@pytest.mark.parametrize(
    ("units", "error", "message"),
    [
        ("atee", InputError, "'overlap'.*got 'atee'"),
        (np.array([1, 2, 3]), InputTypeError, "boolean mask"),
        (np.ones(599, bool), InputTypeError, "shape"),
        (np.zeros(600, bool), InputError, "names no row"),
        (pd.DataFrame(np.zeros((0, 3))), InputError, "empty DataFrame"),
        (None, InputTypeError, "boolean mask"),
    ],
)
def test_targets_that_are_none(analysis, units, error, message):
    with pytest.raises(error, match=message):
        analysis.effect(units)


@pytest.mark.parametrize("level", [0, 1, -0.5, 1.5, float("nan")])
def test_levels_that_are_none(analysis, level):
    with pytest.raises(InputError, match="confidence_level"):
        analysis.effect(confidence_level=level)


def test_one_forward_pass_serves_all_targets(table, monkeypatch):
    from dowhy_cina.model.network import CinaModel

    passes = []
    original = CinaModel.forward
    monkeypatch.setattr(
        CinaModel, "forward", lambda self, *rest, **named: passes.append(1) or original(self, *rest, **named)
    )
    analysis = analyse(*table)
    for units in ("ate", "att", table[0][:, 0] > 0):
        analysis.effect(units)
    analysis.effect().conditional_effects(table[0])
    assert len(passes) == 1
    assert analysis.effect().value == dowhy_cina.estimate_effect(*table).value


def test_an_interval_of_more_than_two_ranges_is_no_answer():
    """The same twelve rows at the levels whose interval is just below and above twice the outcome's range."""
    rng = np.random.default_rng(0)
    covariates, treatment = rng.normal(size=(12, 2)), np.arange(12) % 2
    outcome = 1e3 * (covariates[:, 0] + rng.normal(size=12))
    table = analyse(covariates, treatment, outcome)
    plain = table.effect()
    found = {}
    for share in (0.99, 1.01):
        level = 2 * stats.t.cdf(share * np.ptp(outcome) / plain.standard_error, plain.degrees_of_freedom) - 1
        found[share] = table.effect(confidence_level=level)
        low, high = found[share].confidence_interval
        assert high - low == pytest.approx(2 * share * np.ptp(outcome))  # never cut
    assert "the interval is" not in str(found[0.99].overlap)
    assert found[1.01].overlap.grade == "the data do not answer this"
    reason = "the interval is 2.02 times as wide as the range of the outcome"
    assert reason in found[1.01].overlap.reasons
    assert reason in " ".join(found[1.01].warnings)
    assert found[1.01].value == plain.value
    assert found[1.01].standard_error == plain.standard_error


def test_numpys_numbers_are_as_good_as_pythons(table):
    level = np.float32(0.9)
    ours = analyse(*table, options=EstimatorOptions(refine=np.float32(1e-3), landmarks=np.int64(64)))
    plain = analyse(*table, options=EstimatorOptions(refine=np.float32(1e-3).item(), landmarks=64))
    ours, expected = ours.effect(confidence_level=level), plain.effect(confidence_level=level.item())
    assert json.dumps(ours.to_dict()) == json.dumps(expected.to_dict())
    assert repr(ours.confidence_level) == repr(level.item())
    groups, of_plain = ours.group_effects("x0", bins=np.int64(3)), expected.group_effects("x0", bins=3)
    pd.testing.assert_frame_equal(groups.table, of_plain.table)
    assert repr(groups.level) == repr(of_plain.level)
