"""Families whose confounding is hard to learn: shares, nulls, what selection and outcome have in common."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from dowhy_cina.config import TrainingConfig
from dowhy_cina.learning.simulators import REGISTRY, SimulatedTable, confounding
from dowhy_cina.learning.simulators.confounding import active_columns, paired
from dowhy_cina.learning.simulators.covariates import REAL_TABLES, any_covariates, real_covariates, real_table
from dowhy_cina.learning.simulators.latents import LAWS
from dowhy_cina.learning.simulators.mechanisms import MECHANISMS, quadratic, random_function, unit
from dowhy_cina.learning.training.collections import training_families

FAMILIES = ("gaussian_process", "kinks", "ranks", "wide", "score_driven", "skewed", "quadratic_forms")


def logit(table: SimulatedTable) -> np.ndarray:
    return np.log(table.propensity / (1 - table.propensity))


def draws(family: str, count: int, rows: int = 1500, columns: int = 12) -> list[SimulatedTable]:
    return [REGISTRY[family](np.random.default_rng([5, seed]), rows, columns) for seed in range(count)]


@pytest.fixture(scope="module", params=FAMILIES)
def tables(request) -> list[SimulatedTable]:
    return draws(request.param, 120)


def test_treated_shares_of_every_family_overlap(tables):
    shares = np.array([t.treatment.mean() for t in tables])
    assert shares.min() < 0.06
    assert shares.max() > 0.9
    assert np.mean((shares > 0.2) & (shares < 0.8)) > 0.3


def test_a_quarter_of_the_tables_has_no_effect_on_any_row(tables):
    null = [np.array_equal(t.mu0, t.mu1) for t in tables]
    assert np.mean(null) == pytest.approx(0.25, abs=0.12)  # 120 tables: three standard errors
    for table, nothing in zip(tables, null, strict=True):
        assert (table.effect == 0) is bool(nothing)
        assert nothing is False or table.effect_treated == 0


def test_null_tables_have_no_effect_in_the_data_either(tables):
    """With the true propensity and mean response known, treated and controls differ by noise alone."""
    z = []
    for table in tables:
        if not np.array_equal(table.mu0, table.mu1):
            continue
        ratio = np.where(table.treatment == 1, 1 / table.propensity, -1 / (1 - table.propensity))
        z.append((ratio @ (table.outcome - table.mu0)) / np.sqrt(np.sum((ratio * table.noise_sd) ** 2)))
    assert len(z) > 10
    assert abs(np.mean(z)) < 4 / np.sqrt(len(z))


def test_treatments_are_as_frequent_as_the_propensity_says_at_every_level(tables):
    propensity = np.concatenate([t.propensity for t in tables])
    treatment = np.concatenate([t.treatment for t in tables])
    level = np.digitize(propensity, [0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98])
    for chosen in (level == k for k in range(10)):
        variance = np.sum(propensity[chosen] * (1 - propensity[chosen]))
        assert variance > 20
        assert abs(np.sum(treatment[chosen] - propensity[chosen])) < 4 * np.sqrt(variance)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"score_driven", "skewed"}))
def test_selection_and_outcome_share_a_component_in_half_of_the_tables(family, monkeypatch):
    """Both are functions of one table's correlated columns, so a little correlation is there by chance."""

    def common() -> np.ndarray:
        found = draws(family, 80, columns=20)
        return np.array([abs(np.corrcoef(logit(t), t.mu0)[0, 1]) for t in found if np.ptp(t.propensity) > 1e-9])

    as_drawn = common()
    monkeypatch.setattr(confounding, "SHARED", 0.0)
    never = common()
    monkeypatch.setattr(confounding, "SHARED", 1.0)
    always = common()
    assert np.median(always) > np.median(never) + 0.15
    assert np.median(never) < np.mean(as_drawn) < np.median(always)
    strong = [np.mean(values > 0.35) for values in (never, as_drawn, always)]
    assert strong[0] < strong[1] - 0.05 < strong[2] - 0.1


def test_a_pair_is_correlated_in_half_of_its_draws_and_either_way():
    rng = np.random.default_rng(0)
    pairs = [paired(rng, lambda: rng.normal(size=2000)) for _ in range(400)]
    correlation = np.array([np.corrcoef(index, prognosis)[0, 1] for index, prognosis in pairs])
    assert np.mean(np.abs(correlation) > 0.08) == pytest.approx(0.5, abs=0.08)
    shared = correlation[np.abs(correlation) > 0.08]
    assert np.mean(shared > 0) == pytest.approx(0.5, abs=0.12)
    assert np.abs(shared).max() > 0.8
    for values in pairs[0]:
        assert values.std() == pytest.approx(1)


def test_outcomes_follow_the_score_where_they_are_to():
    explained = []
    for table in draws("score_driven", 60):
        order = np.argsort(logit(table))
        groups = np.array_split(table.mu0[order], 50)
        explained.append(np.var([g.mean() for g in groups]) / table.mu0.var())
    assert np.median(explained) > 0.3


def test_skewed_outcomes_are_skewed():
    skewness = [np.mean(unit(t.mu0) ** 3) for t in draws("skewed", 60)]
    assert np.median(skewness) > 1
    assert max(skewness) > 4


def test_gaussian_processes_are_from_nearly_linear_to_far_from_it():
    rng = np.random.default_rng(1)
    explained = []
    for _ in range(60):
        view = unit(rng.normal(size=(1500, 15)))
        values = random_function(rng, view, ["gaussian_process"])
        explained.append(LinearRegression().fit(view, values).score(view, values))
    assert min(explained) < 0.2
    assert max(explained) > 0.75


@pytest.mark.parametrize("columns", [2, 20, 60])
def test_gaussian_processes_are_smooth_over_a_hundredth_of_the_distance_of_rows(columns):
    for seed in range(10):
        view = np.random.default_rng([seed, columns]).normal(size=(400, columns))
        near = view + 0.01 * np.roll(view, 1, axis=0)
        values = random_function(np.random.default_rng(seed), np.vstack([view, near]), ["gaussian_process"])
        assert np.sqrt(np.mean((values[:400] - values[400:]) ** 2)) < 0.15


def test_ranks_do_not_depend_on_the_scale_and_equal_rows_stay_equal():
    view = np.random.default_rng(0).normal(size=(300, 5))
    view[:, 3] = view[:, 3] > 0.3
    for seed in range(10):
        values = random_function(np.random.default_rng(seed), view, ["ranks"])
        again = random_function(np.random.default_rng(seed), np.exp(view), ["ranks"])
        np.testing.assert_allclose(values, again, atol=1e-12)
        doubled = random_function(np.random.default_rng(seed), np.vstack([view, view]), ["ranks"])
        np.testing.assert_allclose(doubled[:300], doubled[300:], atol=1e-12)


def test_a_quadratic_form_has_no_terms_of_third_order():
    rng = np.random.default_rng(0)
    view = rng.normal(size=(500, 4))
    terms = np.column_stack([view, *(view[:, i] * view[:, j] for i in range(4) for j in range(i + 1))])
    for _ in range(20):
        values = quadratic(rng, view)
        assert LinearRegression().fit(terms, values).score(terms, values) == pytest.approx(1, abs=0.02)  # cut extremes


def test_quadratic_forms_are_kept_from_training_and_calibration():
    assert "quadratic_forms" not in training_families(TrainingConfig())
    assert set(FAMILIES) - set(training_families(TrainingConfig())) == {"quadratic_forms"}
    assert quadratic not in MECHANISMS.values()


def test_active_columns_are_all_or_few():
    rng = np.random.default_rng(0)
    widths = np.array([active_columns(rng, np.ones((3, 60))).shape[1] for _ in range(400)])
    assert np.mean(widths == 60) == pytest.approx(0.5, abs=0.08)
    assert np.mean(widths <= 6) > 0.2
    assert active_columns(rng, np.ones((3, 1))).shape == (3, 1)


@pytest.mark.parametrize("columns", [1, 7, 100])
@pytest.mark.parametrize("law", LAWS)
def test_columns_before_types_are_finite_of_unit_scale_and_reproducible(law, columns):
    for seed in range(5):
        values = LAWS[law](np.random.default_rng(seed), 600, columns)
        assert values.shape == (600, columns)
        assert np.isfinite(values).all()
        assert 0.5 < np.sqrt(np.mean(values**2)) < 1.5
        np.testing.assert_array_equal(values, LAWS[law](np.random.default_rng(seed), 600, columns))


def measure(law: str, statistic, columns: int = 30) -> float:
    """Median of a statistic of the columns over draws of a law."""
    return float(np.median([statistic(LAWS[law](np.random.default_rng(s), 2000, columns)) for s in range(30)]))


def test_laws_differ_in_what_they_are_named_after():
    def correlation(values):
        return np.mean(np.abs(np.corrcoef(values.T)) > 0.3)

    def kurtosis(values):
        return np.median(np.mean(unit(values) ** 4, axis=0))

    def spread(values):
        return np.max(np.abs(np.corrcoef(np.abs(unit(values)).T, values.T)[:30, 30:]))

    def neighbours(values):
        return np.mean(np.abs(np.diagonal(np.corrcoef(values.T), 1)))

    assert measure("blocks", correlation) > measure("independent", correlation) + 0.03
    assert measure("heavy_tails", kurtosis) > 4.5 > 3.2 > measure("correlated_gaussians", kurtosis)
    assert measure("unequal_spread", spread) > measure("correlated_gaussians", spread) + 0.2
    assert measure("banded", neighbours) > 0.4
    assert measure("clusters", lambda values: np.mean(np.abs(np.corrcoef(values.T)))) > 0.1


@pytest.mark.parametrize("shape", [(60, 1), (3000, 100)])
def test_covariates_of_any_kind_have_the_shape(shape):
    for seed in range(20):
        values = any_covariates(np.random.default_rng(seed), *shape)
        assert values.shape == shape
        assert np.isfinite(values).all()


def test_new_rows_like_real_ones_keep_values_and_rank_correlations(monkeypatch):
    from dowhy_cina.learning.simulators import covariates

    monkeypatch.setattr(covariates, "REAL_TABLES", {"breast_cancer": REAL_TABLES["breast_cancer"]})
    values = real_table("breast_cancer")[0]
    new = covariates._alike(np.random.default_rng(0), values, 5000)
    assert all(np.isin(drawn, column).all() for drawn, column in zip(new.T, values.T, strict=True))
    ranks = [np.argsort(np.argsort(table, axis=0), axis=0) for table in (values, new)]
    known, found = (np.corrcoef(rank.T) for rank in ranks)
    assert np.abs(known - found).max() < 0.1
    assert np.unique(new, axis=0).shape[0] > 4900
    # Of a table of 569 rows, more rows than that are either repeated with jitter or new ones.
    alike = [np.isin(real_covariates(np.random.default_rng(s), 2000, 30)[:, 0], values).all() for s in range(100)]
    assert 0.15 < np.mean(alike) < 0.45
