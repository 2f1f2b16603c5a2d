"""Simulated tables: shapes, reproducibility, exactness of the stated truth, width of the prior."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from scipy import stats
from sklearn.ensemble import RandomForestRegressor

from dowhy_cina.errors import InputError
from dowhy_cina.learning.simulators import DEFAULT_WEIGHTS, REGISTRY, SimulatedTable, draw_table
from dowhy_cina.learning.simulators.covariates import REAL_TABLES, real_covariates, real_table
from dowhy_cina.learning.simulators.laws import ADDITIVE_KINDS, KINDS, OutcomeLaw, assign, outcome_laws, propensities
from dowhy_cina.learning.simulators.mechanisms import MECHANISMS, random_function

SHAPES = [(50, 1), (60, 250), (300, 5), (1000, 23)]


def arrays(table: SimulatedTable) -> dict[str, np.ndarray]:
    return {f.name: getattr(table, f.name) for f in fields(table) if f.name != "family"}


@pytest.fixture(scope="module")
def many_tables() -> list[SimulatedTable]:
    rng = np.random.default_rng(7)
    return [draw_table(rng, 400, int(rng.integers(1, 30))) for _ in range(800)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", REGISTRY)
def test_every_family_gives_a_sound_table_of_any_shape(family: str, shape: tuple[int, int]) -> None:
    rows, columns = shape
    for seed in range(8):
        table = draw_table(np.random.default_rng(seed), rows, columns, families=[family])
        assert table.family == family
        assert table.covariates.shape == shape
        for name, values in arrays(table).items():
            assert values.dtype == np.float64
            assert values.shape[0] == rows
            assert np.isfinite(values).all(), name
        assert set(np.unique(table.treatment)) == {0.0, 1.0}
        assert 10 <= table.treatment.sum() <= rows - 10
        assert (table.noise_sd > 0).all()
        assert ((table.propensity > 0) & (table.propensity < 1)).all()
        assert np.ptp(table.outcome) > 0


@pytest.mark.parametrize("family", REGISTRY)
def test_equal_generators_give_equal_tables(family: str) -> None:
    first, again, other = (REGISTRY[family](np.random.default_rng(seed), 120, 9) for seed in (3, 3, 4))
    for name, values in arrays(first).items():
        np.testing.assert_array_equal(values, arrays(again)[name])
    assert not np.array_equal(first.covariates, other.covariates)


def test_global_random_state_is_neither_used_nor_changed() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr, index]
    draw_table(np.random.default_rng(0), 100, 5)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_stated_mean_and_sd_are_those_of_repeated_draws(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    response, draws = rng.normal(size=40), 20_000
    law, _ = outcome_laws(rng, kind, (response, response), noise_share=0.4, spread=response)
    sample = np.stack([law.draw(rng) for _ in range(draws)])
    z = (sample.mean(axis=0) - law.mean) / (law.sd / np.sqrt(draws))
    assert np.abs(z).max() < 4.5
    tolerance = 0.35 if kind == "heavy_tailed" else 0.12  # t3 has no fourth moment: its sample sd converges slowly
    np.testing.assert_allclose(sample.std(axis=0), law.sd, rtol=tolerance)


def exact_moments(law: OutcomeLaw) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of every row, by scipy's distributions and, where the outcome is cut, by a sum over quantiles."""
    if law.kind == "binary":
        return law.mean, stats.bernoulli(law.mean).std()
    if law.kind == "count" and np.isinf(law.shape):
        return law.mean, stats.poisson(law.mean).std()
    if law.kind == "count":
        drawn = stats.nbinom(law.shape, law.shape / (law.shape + law.mean))
        return drawn.mean(), drawn.std()
    if law.kind == "zero_inflated":
        size = stats.gamma(law.shape, scale=law.mean / law.parameter / law.shape)
        mean, second = law.parameter * size.mean(), law.parameter * (size.var() + size.mean() ** 2)
        return mean, np.sqrt(second - mean**2)
    if law.kind == "lognormal":
        drawn = stats.lognorm(law.shape, scale=law.mean * np.exp(-(law.shape**2) / 2))
        return drawn.mean(), drawn.std()
    quantiles = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    values = np.clip(law.parameter[:, None] + law.shape * quantiles, *law.bounds)
    return values.mean(axis=1), np.maximum(values.std(axis=1), 1e-3 * law.shape)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ADDITIVE_KINDS])
@pytest.mark.parametrize("seed", range(4))
def test_stated_moments_are_exact(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    responses = rng.normal(size=(2, 12))
    for law in outcome_laws(rng, kind, tuple(responses), noise_share=0.85, spread=responses[0]):
        mean, sd = exact_moments(law)
        np.testing.assert_allclose(law.mean, mean, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(law.sd, sd, rtol=1e-3)


def test_observed_outcomes_agree_with_the_stated_truth(many_tables: list[SimulatedTable]) -> None:
    pooled = [(t.outcome - np.where(t.treatment == 1, t.mu1, t.mu0)) / t.noise_sd for t in many_tables]
    means = np.array([r.mean() * np.sqrt(r.size) for r in pooled])
    assert abs(means.mean()) < 4 / np.sqrt(means.size)
    assert means.std() == pytest.approx(1, abs=0.1)
    assert np.mean([np.mean(r**2) for r in pooled]) == pytest.approx(1, abs=0.1)


def test_observed_treatments_agree_with_the_stated_propensity(many_tables: list[SimulatedTable]) -> None:
    z = [(t.treatment - t.propensity).sum() / np.sqrt((t.propensity * (1 - t.propensity)).sum()) for t in many_tables]
    assert np.std(z) == pytest.approx(1, abs=0.12)
    brier = [np.mean((t.treatment - t.propensity) ** 2 - t.propensity * (1 - t.propensity)) for t in many_tables]
    assert abs(np.mean(brier)) < 4 * np.std(brier) / np.sqrt(len(brier))


def test_oracle_label_is_unbiased_for_the_effect(many_tables: list[SimulatedTable]) -> None:
    errors = []
    for table in many_tables:
        p, treated = table.propensity, table.treatment == 1
        variance = np.mean((np.where(treated, 1 / p, 1 / (1 - p)) * table.noise_sd) ** 2) / p.size
        errors.append((table.oracle_label - table.effect) / np.sqrt(variance))
    assert abs(np.mean(errors)) < 4 / np.sqrt(len(errors))
    assert np.std(errors) == pytest.approx(1, abs=0.15)


def test_effects_are_means_of_the_difference() -> None:
    table = draw_table(np.random.default_rng(1), 200, 4)
    difference = table.mu1 - table.mu0
    assert table.effect == pytest.approx(difference.mean())
    assert table.effect_treated == pytest.approx(difference[table.treatment == 1].mean())


def test_the_prior_is_wide(many_tables: list[SimulatedTable]) -> None:
    null = np.mean([np.array_equal(t.mu0, t.mu1) for t in many_tables])
    assert null == pytest.approx(0.25, abs=0.04)
    shares = np.array([t.treatment.mean() for t in many_tables])
    assert shares.min() < 0.06
    assert shares.max() > 0.94
    assert np.mean((shares > 0.1) & (shares < 0.9)) > 0.6
    signal = np.array([np.where(t.treatment == 1, t.mu1, t.mu0).var() / t.outcome.var() for t in many_tables])
    assert np.quantile(signal, 0.1) < 0.25
    assert np.quantile(signal, 0.9) > 0.75
    randomised = np.mean([np.ptp(t.propensity) < 1e-9 for t in many_tables])
    assert 0.04 < randomised < 0.2
    assert {t.family for t in many_tables} == set(REGISTRY)
    naive = [
        (t.outcome[t.treatment == 1].mean() - t.outcome[t.treatment == 0].mean() - t.effect) / t.outcome.std()
        for t in many_tables
    ]
    assert np.quantile(np.abs(naive), 0.9) > 0.3  # there is confounding to remove


def test_rare_treated_tables_have_few_treated_away_from_the_target() -> None:
    tables = [draw_table(np.random.default_rng(s), 4000, 12, families=["rare_treated"]) for s in range(25)]
    assert all(t.treatment.mean() < 0.13 for t in tables)
    assert min(t.treatment.mean() for t in tables) < 0.025
    ratio = [np.average(t.propensity, weights=t.treatment) / t.propensity.mean() for t in tables]
    assert np.median(ratio) > 3


@pytest.mark.parametrize("family", ["targeted", "records"])
def test_targeted_tables_select_on_the_prognosis(family: str) -> None:
    tables = [draw_table(np.random.default_rng(s), 2000, 20, families=[family]) for s in range(25)]
    link = [abs(np.corrcoef(np.argsort(np.argsort(t.mu0)), t.propensity)[0, 1]) for t in tables]
    assert np.median(link) > 0.4


def test_far_controls_are_far_and_their_effect_is_not_that_of_the_treated() -> None:
    tables = [draw_table(np.random.default_rng(s), 4000, 12, families=["far_controls"]) for s in range(40)]
    shares = np.array([t.treatment.mean() for t in tables])
    assert (shares < 0.09).all()
    assert (shares < 0.02).any()
    # Hardly any control is as likely to be treated as the treated are.
    alike = [np.mean(t.propensity[t.treatment == 0] > np.median(t.propensity[t.treatment == 1])) for t in tables]
    assert np.median(alike) < 0.05
    apart = [abs(t.effect - t.effect_treated) / t.outcome.std() for t in tables]
    assert np.quantile(apart, 0.75) > 0.3
    at_zero = [np.mean(t.outcome == t.outcome.min()) for t in tables]
    assert np.mean(np.array(at_zero) > 0.03) > 0.5


def test_records_are_wide_discrete_and_rarely_of_any_other_outcome() -> None:
    tables = [draw_table(np.random.default_rng(s), 3000, 200, families=["records"]) for s in range(12)]
    binary = [np.mean([np.unique(column).size == 2 for column in t.covariates.T]) for t in tables]
    assert np.median(binary) > 0.7
    assert np.mean([np.unique(t.outcome).size == 2 for t in tables]) > 0.5


def test_parents_of_a_structural_treatment_are_observed() -> None:
    """The propensity is a function of the observed columns: a flexible regression on them finds it."""
    explained = []
    for seed in range(6):
        table = draw_table(np.random.default_rng(seed), 4000, 6, families=["scm"])
        if np.ptp(table.propensity) < 1e-9:
            continue
        half = slice(None, 2000), slice(2000, None)
        forest = RandomForestRegressor(50, min_samples_leaf=3, random_state=0, n_jobs=1)
        forest.fit(table.covariates[half[0]], table.propensity[half[0]])
        explained.append(forest.score(table.covariates[half[1]], table.propensity[half[1]]))
    assert len(explained) >= 3
    assert min(explained) > 0.9


def test_real_covariates_keep_their_columns_distribution() -> None:
    for name in REAL_TABLES:
        values, names = real_table(name)
        assert values.shape[1] == len(names) >= 4
        assert np.isfinite(values).all()
    rng = np.random.default_rng(0)
    drawn = [column for _ in range(20) for column in real_covariates(rng, 100, 5).T]
    known = [np.unique(column) for name in REAL_TABLES for column in real_table(name)[0].T]
    known.append(np.array([0.0, 1.0]))  # of a one-hot encoding
    assert all(any(np.isin(column, values).all() for values in known) for column in drawn)
    assert real_covariates(rng, 20_000, 3).shape == (20_000, 3)


@pytest.mark.parametrize("kind", MECHANISMS)
@pytest.mark.parametrize("columns", [1, 7, 60])
def test_functions_are_standardised(kind: str, columns: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        values = random_function(rng, rng.normal(size=(500, columns)), [kind])
        assert values.shape == (500,)
        assert abs(values.mean()) < 0.3  # cut extremes may move it a little
        assert 0.5 < values.std() <= 1 + 1e-9


@pytest.mark.parametrize("share", [0.02, 0.3, 0.97])
@pytest.mark.parametrize("overlap", [0.0, 1.0, 3.0])
def test_propensities_have_the_share_and_stay_inside(share: float, overlap: float) -> None:
    index = np.random.default_rng(0).normal(size=5000)
    propensity = propensities(index, share, overlap)
    assert propensity.mean() == pytest.approx(share, rel=0.15)
    assert propensity.min() >= min(0.003, share / 20, (1 - share) / 20) - 1e-12
    assert propensity.max() <= 1 - min(0.003, share / 20, (1 - share) / 20) + 1e-12


def test_assignment_never_leaves_an_arm_empty() -> None:
    for chance in (1e-4, 1 - 1e-4):
        treatment = assign(np.random.default_rng(0), np.full(100, chance))
        assert 10 <= treatment.sum() <= 90


def test_families_may_be_named_and_wrong_requests_say_so() -> None:
    assert set(DEFAULT_WEIGHTS) == set(REGISTRY)
    assert sum(DEFAULT_WEIGHTS.values()) == pytest.approx(1)
    with pytest.raises(InputError, match=r"expected simulators \(mixed.*got 'forest'"):
        draw_table(np.random.default_rng(0), 100, 3, families=["forest"])
    with pytest.raises(InputError, match="rows must be a whole number of at least 20, got 5"):
        draw_table(np.random.default_rng(0), 5, 3)
