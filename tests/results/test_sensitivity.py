"""Robustness values and E-values against the bounds that define them and figures in print."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

import dowhy_cina
from dowhy_cina.errors import InputError
from dowhy_cina.results.sensitivity import e_value, e_value_of_risks, robustness_value, sensitivity

T_VALUES = st.floats(0.01, 200)
FREEDOM = st.integers(5, 10_000)


def bias_in_standard_errors(r2, freedom):
    """Bias of omitting a confounder with partial R2 r2 for treatment and outcome (Cinelli & Hazlett, equation 14)."""
    return np.sqrt(r2 * r2 / (1 - r2) * freedom)


def smallest_t(r2_outcome, r2_treatment, t_value, freedom):
    """The t-value with such a confounder included, its standard error adjusted (their equations 6 and 14)."""
    change = np.sqrt((1 - r2_outcome) / (1 - r2_treatment) * freedom / (freedom - 1))
    bias = np.sqrt(r2_outcome * r2_treatment / (1 - r2_treatment) * freedom)
    return (t_value - bias) / change


@given(T_VALUES, FREEDOM, st.sampled_from([0.5, 1.0]))
def test_confounder_of_this_strength_takes_the_estimate_away(t_value, freedom, q):
    assert bias_in_standard_errors(robustness_value(t_value, freedom, q), freedom) == pytest.approx(q * t_value)


@pytest.mark.parametrize("t_value", [2.5, 4.18, 12.0, 40.0, 300.0])
@pytest.mark.parametrize("freedom", [12, 100, 783])
def test_confounder_of_this_strength_is_the_weakest_that_undoes_significance(t_value, freedom):
    found = robustness_value(t_value, freedom, alpha=0.05)
    critical = stats.t.isf(0.025, freedom - 1)

    def worst(bound):
        # No share may exceed the bound; the harm is not monotone in the outcome's share, so it is searched.
        shares = np.linspace(0, bound, 4001)
        return smallest_t(shares, bound, t_value, freedom).min() - critical

    expected = 0.0 if t_value < critical else optimize.brentq(worst, 1e-9, 1 - 1e-9)
    assert found == pytest.approx(expected, abs=2e-3)


def test_published_example():
    """Darfur, Cinelli & Hazlett (2020), table 1: t = 4.18, 783 degrees of freedom, 13.9 % and 7.6 %."""
    assert robustness_value(4.18445, 783) == pytest.approx(0.139, abs=5e-4)
    assert robustness_value(4.18445, 783, alpha=0.05) == pytest.approx(0.076, abs=5e-4)


def test_a_confounder_of_this_strength_in_a_table():
    """Build the confounder in the sample and see the coefficient vanish when it is added."""
    rng = np.random.default_rng(0)
    n = 500
    treatment = rng.normal(size=n)
    outcome = 0.3 * treatment + rng.normal(size=n)
    short = sm.OLS(outcome, sm.add_constant(treatment)).fit()
    r = robustness_value(short.tvalues[1], short.df_resid)
    centred = treatment - treatment.mean()
    left = short.resid
    noise = sm.OLS(rng.normal(size=n), np.column_stack([np.ones(n), centred, left])).fit().resid
    unit = [column / np.linalg.norm(column) for column in (centred, left, noise)]
    # Partial correlation sqrt(r) with the treatment, and sqrt(r) with the outcome given the treatment.
    confounder = np.sqrt(r) * unit[0] + np.sqrt(1 - r) * (np.sqrt(r) * unit[1] + np.sqrt(1 - r) * unit[2])
    full = sm.OLS(outcome, sm.add_constant(np.column_stack([treatment, confounder]))).fit()
    assert full.params[1] == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(("ratio", "printed"), [(3.9, 7.26), (1.8, 3.0), (1.25, 1.81)])
def test_e_value_of_risk_ratios_in_print(ratio, printed):
    """VanderWeele & Ding (2017): 3.9 gives 7.26, its limit 1.8 gives 3.0."""
    assert e_value(np.log(ratio) / 0.91, 1.0) == pytest.approx(printed, abs=5e-3)


@given(st.floats(-5, 5), st.floats(0.1, 100))
def test_confounder_of_the_e_value_explains_the_ratio(effect, scale):
    found = e_value(effect * scale, scale)
    # The bounding factor RR_eu RR_ud / (RR_eu + RR_ud - 1) of a confounder with both ratios equal to the E-value.
    assert found**2 / (2 * found - 1) == pytest.approx(np.exp(0.91 * abs(effect)))
    assert found >= 1


def test_of_an_estimate():
    found = sensitivity(2.0, 0.5, (1.02, 2.98), 4.0, rows=500, columns=8)
    assert found.robustness_value == pytest.approx(robustness_value(4.0, 490))
    assert found.robustness_value_interval == pytest.approx(robustness_value(4.0, 490, alpha=0.05), rel=0.01)
    wider = sensitivity(2.0, 0.5, (0.1, 3.9), 4.0, rows=500, columns=8)
    assert wider.robustness_value_interval == pytest.approx(robustness_value(0.2, 490))
    assert 0 < found.robustness_value_interval < found.robustness_value
    assert found.e_value == pytest.approx(e_value(2, 4))
    assert found.e_value_interval == pytest.approx(e_value(1.02, 4))
    mirrored = sensitivity(-2.0, 0.5, (-2.98, -1.02), 4.0, rows=500, columns=8)
    assert mirrored == found
    assert "robustness value 16.5 %" in str(found)
    assert "E-value 2.53" in str(found)


def test_interval_with_zero_needs_no_confounder():
    found = sensitivity(0.5, 0.5, (-0.48, 1.48), 4.0, rows=500, columns=8)
    assert found.robustness_value_interval == 0
    assert found.e_value_interval == 1


def test_no_error_no_figures():
    assert sensitivity(0.5, None, None, 4.0, rows=500, columns=8) is None
    assert sensitivity(0.5, 0.1, (0.3, 0.7), 4.0, rows=10, columns=8) is None
    assert sensitivity(0.0, 0.1, (0.3, 0.7), 0.0, rows=100, columns=8) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: robustness_value(2, 1), "more than one degree of freedom"),
        (lambda: robustness_value(2, 10, alpha=0), "alpha in"),
        (lambda: e_value(1, 0), "positive standard deviation"),
        (lambda: sensitivity(1, 1, (0, 2), 1, 100, 2, level=1.0), "level in"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("t_value", [0.0, 1e-200, 1e-8, 1e8])
def test_extremes_have_no_nan(t_value):
    for alpha in (None, 0.05):
        assert 0 <= robustness_value(t_value, 100, alpha=alpha) <= 1
    assert e_value(1e6, 1.0) == np.inf


def test_in_short():
    assert sensitivity(2.0, 0.5, (1.02, 2.98), 4.0, rows=500, columns=8).in_short() == (
        "a hidden confounder that explains 16.5 % of what the covariates leave of treatment and outcome "
        "(8.8 % for the interval), or has risk ratios of 2.53 (1.84 for the interval)"
    )
    assert sensitivity(2.0, 0.5, None, 4.0, 500, 8).in_short() == (
        "a hidden confounder that explains 16.5 % of what the covariates leave of treatment and outcome, "
        "or has risk ratios of 2.53"
    )


def test_of_risks_it_is_the_published_ratio():
    """VanderWeele and Ding's example: a risk ratio of 3.9 has an E-value of 7.26, and so has its inverse."""
    assert e_value_of_risks(0.01, 0.029) == pytest.approx(7.26, abs=5e-3)
    assert e_value_of_risks(0.039, -0.029) == pytest.approx(7.26, abs=5e-3)
    assert e_value_of_risks(0.2, -0.3) == np.inf
    with pytest.raises(InputError, match="positive risk"):
        e_value_of_risks(0.0, 0.1)


def test_a_rare_event_is_judged_by_its_risks():
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(3000, 3)), rng.random(3000) < 0.5
    y = (rng.random(3000) < np.where(t, 0.05, 0.01)).astype(float)
    result = dowhy_cina.estimate_effect(x, t, y)
    ratio = y[t].mean() / y[~t].mean()
    assert result.sensitivity().e_value == pytest.approx(ratio + np.sqrt(ratio * (ratio - 1)), rel=0.15)
    assert result.sensitivity().e_value > 2 * e_value(result.value, result.outcome_scale)


def test_clusters_count_as_rows():
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(150, 3)), rng.random(150) < 0.5
    y, copies = x[:, 0] + 0.6 * t + rng.normal(size=150), np.repeat(np.arange(150), 4)
    once = dowhy_cina.estimate_effect(x, t, y).sensitivity()
    often = dowhy_cina.estimate_effect(x[copies], t[copies], y[copies], cluster=copies).sensitivity()
    assert often.robustness_value == pytest.approx(once.robustness_value, rel=1e-6)


def test_an_infinite_e_value_is_a_word():
    """Where the outcome never happens in one arm no risk ratio explains it away."""
    found = sensitivity(-0.75, 0.3, (-1.3, -0.2), 0.5, rows=60, columns=2, risk=0.75)
    assert math.isinf(found.e_value)
    for text in (str(found), found.in_short()):
        assert "infinity" in text
        assert "inf" not in text.replace("infinity", "").split()
