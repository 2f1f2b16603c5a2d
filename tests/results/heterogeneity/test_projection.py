"""Projections and curves against statsmodels, closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from dowhy_cina.errors import InputError
from dowhy_cina.results.heterogeneity import best_linear_projection, effect_curve, group_effects


def freedom(fit, combinations):
    """Effective number of rows behind each combination of the coefficients, less one, from the fit without each row."""
    design, outcome = fit.model.exog, fit.model.endog
    without = [np.delete(np.arange(len(design)), row) for row in range(len(design))]
    moved = fit.params.to_numpy() if hasattr(fit.params, "to_numpy") else fit.params
    moved = np.array([np.linalg.lstsq(design[rows], outcome[rows], rcond=None)[0] for rows in without]) - moved
    squares = (moved @ combinations.T) ** 2
    return (3 * squares.sum(0) ** 2 / (squares**2).sum(0) - 1).clip(1, fit.df_resid)


def test_a_coefficient_of_few_rows_has_few_degrees_of_freedom(scored):
    table = scored(300, 0)
    rare = np.arange(300) < 6
    scores = np.where(rare, 8 * table.scores, table.scores)
    found = best_linear_projection(scores, pd.DataFrame({"rare": rare}))
    assert found.df_resid_inference < 20 < freedom(sm.OLS(table.scores, np.ones(300)).fit(), np.eye(1))[0]
    clusters = best_linear_projection(scores, pd.DataFrame({"rare": rare}), cluster=np.arange(300) // 2)
    assert clusters.df_resid_inference < 10


def test_equal_weights_are_ols_with_hc3(scored):
    table = scored(200, 0)
    found = best_linear_projection(table.scores, table.covariates)
    expected = sm.OLS(table.scores, sm.add_constant(table.covariates)).fit(cov_type="HC3", use_t=True)
    np.testing.assert_allclose(found.params, expected.params)
    np.testing.assert_allclose(found.bse, expected.bse)
    least = freedom(expected, np.eye(3)).min()
    assert found.df_resid_inference == pytest.approx(least)
    np.testing.assert_allclose(found.pvalues, 2 * stats.t.sf(np.abs(expected.tvalues), least))
    half = stats.t.ppf(0.975, least) * expected.bse
    np.testing.assert_allclose(found.conf_int(), np.column_stack([expected.params - half, expected.params + half]))
    assert list(found.params.index) == ["constant", "x", "b"]
    assert "HC3" in str(found.summary())


def test_clusters(scored):
    table = scored(200, 0)
    cluster = np.arange(200) // 5
    found = best_linear_projection(table.scores, table.covariates, cluster=cluster.astype(str))
    expected = sm.OLS(table.scores, sm.add_constant(table.covariates)).fit(
        cov_type="cluster", cov_kwds={"groups": cluster}, use_t=True
    )
    np.testing.assert_allclose(found.bse, expected.bse)


def test_rows_outside_the_target_add_their_residuals(scored):
    """Normal equations of the ATT written out: sum_i (a_i x_i - q_i x_i x_i' beta) = 0."""
    table = scored(300, 4, "att")
    x = sm.add_constant(table.covariates).to_numpy()
    added = (table.scores - table.scores.mean()) / 300 + table.target * table.scores.mean()
    bread = np.linalg.inv(x.T @ (table.target[:, None] * x))
    beta = bread @ x.T @ added
    found = best_linear_projection(table.scores, table.covariates, weights=table.target)
    np.testing.assert_allclose(found.params, beta, rtol=1e-6)
    meat = x * (added - table.target * (x @ beta))[:, None]
    robust = np.sqrt(np.diag(bread @ meat.T @ meat @ bread))
    np.testing.assert_allclose(found.HC0_se, robust, rtol=1e-5)


@pytest.mark.parametrize("target", ["ate", "att"])
def test_intervals_cover(scored, target):
    """Brute force: the effect is linear, so the projection is it: constant 1, slopes 1 and 2."""
    truth, covered = np.array([1.0, 1.0, 2.0]), []
    for seed in range(250):
        table = scored(300, seed, target)
        interval = best_linear_projection(table.scores, table.covariates, weights=table.target).conf_int().to_numpy()
        covered.append((interval[:, 0] <= truth) & (truth <= interval[:, 1]))
    assert 0.915 < np.mean(covered) < 0.975


def test_labels_become_indicators(scored):
    table = scored(200, 0)
    frame = pd.DataFrame(
        {"city": np.tile(["x", "y"], 100), "wed": table.covariates["b"] > 0, "x": table.covariates["x"]}
    )
    assert list(best_linear_projection(table.scores, frame).params.index) == ["constant", "wed", "x", "city_y"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(b=np.nan), "missing values"),
        (lambda frame: frame.assign(b=1.0), "constant ones"),
        (lambda frame: frame.assign(c=frame["x"] + frame["b"]), "combination of the others"),
        (lambda frame: frame[[]], "at least one covariate"),
        (lambda frame: frame.iloc[:7], "covariates for each of 200"),
    ],
)
def test_refusals(scored, change, message):
    table = scored(200, 0)
    with pytest.raises(InputError, match=message):
        best_linear_projection(table.scores, change(table.covariates))


def test_curve_of_a_linear_effect_covers(scored):
    """Brute force: the average effect given x is 1 + x + 2 P(b = 1) = 2 + x."""
    pointwise, whole = [], []
    for seed in range(250):
        table = scored(400, seed)
        curve = effect_curve(table.scores, table.covariates["x"], points=21)
        truth = 2 + curve.index.to_numpy()
        pointwise.append((curve["lower"] <= truth) & (truth <= curve["upper"]))
        whole.append(((curve["band_lower"] <= truth) & (truth <= curve["band_upper"])).all())
    assert 0.92 < np.mean(pointwise) < 0.97
    assert 0.90 < np.mean(whole) < 0.985


def test_curve_follows_a_bend():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, 3000)
    curve = effect_curve(np.sin(1.5 * x) + 0.1 * rng.normal(size=3000), x)
    np.testing.assert_allclose(curve["effect"], np.sin(1.5 * curve.index), atol=0.15)
    assert (curve["band_upper"] >= curve["upper"]).all()
    assert curve.index[0] == pytest.approx(np.quantile(x, 0.025))


def test_curve_has_no_unit(scored):
    table = scored(300, 2)
    one = effect_curve(table.scores, table.covariates["x"])
    other = effect_curve(table.scores, 1e6 + 1e4 * table.covariates["x"])
    np.testing.assert_allclose(other["effect"], one["effect"], rtol=1e-5)


def truncated_powers(x, knots):
    """Natural cubic splines as textbooks write them (Hastie, Tibshirani and Friedman, eq. 5.4 and 5.5)."""
    unit = (x - knots[0]) / np.ptp(knots)
    cubes = np.maximum(unit[:, None] - (knots - knots[0]) / np.ptp(knots), 0) ** 3
    slopes = (cubes[:, :-1] - cubes[:, -1:]) * (np.ptp(knots) / (knots[-1] - knots[:-1]))
    return np.column_stack([np.ones(len(x)), unit, slopes[:, :-1] - slopes[:, -1:]])


@pytest.mark.parametrize("rows", [60, 300, 3000])
@pytest.mark.parametrize("kind", ["normal", "skew", "tied"])
def test_curve_is_the_natural_spline_of_the_textbooks(rows, kind):
    rng = np.random.default_rng(rows)
    x = {"normal": rng.normal(size=rows), "skew": rng.gamma(2, size=rows), "tied": rng.integers(0, 30, rows) / 3}[kind]
    scores = np.sin(2 * x) + rng.normal(size=rows)
    quantiles = {60: [0.1, 0.5, 0.9], 300: [0.05, 0.35, 0.65, 0.95], 3000: [0.05, 0.275, 0.5, 0.725, 0.95]}[rows]
    knots = np.quantile(x, quantiles)
    fit = sm.OLS(scores, truncated_powers(x, knots)).fit(cov_type="HC3", use_t=True)
    curve = effect_curve(scores, x)
    assert curve.index[0] < knots[0]
    assert curve.index[-1] > knots[-1]
    basis = truncated_powers(curve.index.to_numpy(), knots)
    expected = fit.get_prediction(basis)
    half = stats.t.ppf(0.975, freedom(fit, basis)) * expected.se_mean
    np.testing.assert_allclose(curve["effect"], expected.predicted_mean, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(curve["standard_error"], expected.se_mean, rtol=1e-8)
    np.testing.assert_allclose(curve["lower"], expected.predicted_mean - half, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(curve["upper"], expected.predicted_mean + half, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("target", ["ate", "att"])
def test_curve_of_two_values_is_the_line_through_their_effects(scored, target):
    table = scored(300, 2, target)
    curve = effect_curve(table.scores, table.covariates["b"], weights=table.target)
    groups = group_effects(table.scores, table.covariates["b"], weights=table.target).table
    np.testing.assert_allclose(curve["effect"].iloc[[0, -1]], groups["effect"])
    np.testing.assert_allclose(curve["standard_error"].iloc[[0, -1]], groups["standard_error"], rtol=0.02)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.99])
def test_band_of_a_line_holds_all_of_it_at_the_level(scored, level):
    """The errors of both ends and of the middle give the law of all t-ratios along the line."""
    table = scored(300, 2)
    curve = effect_curve(table.scores, table.covariates["b"], level=level)
    error = curve["standard_error"].to_numpy()
    first, middle, last = error[[0, 40, 80]] ** 2
    joint = 2 * middle - (first + last) / 2
    ends = np.random.default_rng(1).multivariate_normal([0, 0], [[first, joint], [joint, last]], 50_000)
    along = np.linspace(0, 1, 81)
    widest = np.abs((ends[:, :1] * (1 - along) + ends[:, 1:] * along) / error).max(axis=1)
    half = (curve["band_upper"] - curve["band_lower"]).to_numpy() / 2
    np.testing.assert_allclose(half / error, np.quantile(widest, level), rtol=0.06)


def test_curve_refusals(scored):
    table = scored(300, 2)
    with pytest.raises(InputError, match="varies"):
        effect_curve(table.scores, np.ones(300))
    with pytest.raises(InputError, match="finite numbers"):
        effect_curve(table.scores, np.full(300, np.nan))
