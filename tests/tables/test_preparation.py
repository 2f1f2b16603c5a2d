"""Encoded tables as the model takes them: an order that no permutation changes, scales, landmarks, models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dowhy_cina.tables import Preprocessor
from dowhy_cina.tables.preparation import (
    PILOT_ROWS,
    CanonicalTable,
    leading_count,
    rows_of_clusters,
    stratified_rows,
    table_batch,
)

CPU = torch.device("cpu")


def encoded(rows=50, columns=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, columns))
    t = np.r_[0.0, 1.0, rng.integers(0, 2, rows - 2)]
    return x, t, 10 + 4 * rng.normal(size=rows)


def test_rows_keep_together_and_order_leads_back():
    x, t, y = encoded()
    weights = np.random.default_rng(1).random(50)
    table = CanonicalTable.of(x, t, y, weights)
    np.testing.assert_array_equal(table.covariates, x[table.order])
    np.testing.assert_array_equal(table.treatment, t[table.order])
    np.testing.assert_allclose(table.outcome, ((y - y.mean()) / y.std())[table.order])
    np.testing.assert_allclose(table.weights, (weights / weights.mean())[table.order])
    assert table.scale == pytest.approx(y.std())
    assert sorted(table.order) == list(range(50))
    assert table.weighted


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_no_permutation_changes_a_digit(seed, weighted, tied):
    """Also where rows share covariates, arms, outcomes or weights."""
    rng = np.random.default_rng(seed)
    x, t, y = encoded(seed=seed)
    if tied:
        x, y = x.round(), y.round()
    weights = rng.choice([0.5, 1.0, 2.0], 50) if weighted else None
    table, order = CanonicalTable.of(x, t, y, weights), rng.permutation(50)
    other = CanonicalTable.of(x[order], t[order], y[order], weights[order] if weighted else None)
    for name in ("covariates", "treatment", "outcome", "weights"):
        np.testing.assert_array_equal(getattr(other, name), getattr(table, name))
    assert other.scale == table.scale


def test_without_weights_every_row_counts_one():
    table = CanonicalTable.of(*encoded())
    np.testing.assert_array_equal(table.weights, np.ones(50))
    assert not table.weighted
    assert table_batch([table], 20, CPU).weights is None


def test_weights_of_any_level_have_mean_one():
    for level in (1e-9, 1e9):
        table = CanonicalTable.of(*encoded(), np.full(50, level))
        np.testing.assert_allclose(table.weights, 1)


def test_no_column_becomes_one_of_zeros():
    x, t, y = encoded()
    table = CanonicalTable.of(x[:, :0], t, y)
    np.testing.assert_array_equal(table.covariates, np.zeros((50, 1)))
    assert table_batch([table], 20, CPU).blank
    assert not table_batch([CanonicalTable.of(x, t, y)], 20, CPU).blank


def test_constant_outcome_has_a_scale():
    x, t, y = encoded()
    table = CanonicalTable.of(x, t, np.full_like(y, 7.0))
    assert table.scale > 0
    assert not table.outcome.any()


def test_a_batch_stacks_tables():
    tables = [CanonicalTable.of(*encoded(seed=seed)) for seed in range(3)]
    batch = table_batch(tables, 20, CPU)
    assert batch.covariates.shape == (3, 50, 3)
    assert batch.landmarks.shape == (3, 20)
    assert batch.pilot.shape == (3, 50)
    for k, table in enumerate(tables):
        np.testing.assert_array_equal(batch.covariates[k], table.covariates)
        np.testing.assert_array_equal(batch.outcome[k], table.outcome)
        np.testing.assert_array_equal(batch.landmarks[k], stratified_rows(table.treatment, 20))
    x, t, y = encoded(seed=4)
    mixed = table_batch([tables[0], CanonicalTable.of(x, t, y, np.arange(50.0))], 20, CPU)
    np.testing.assert_array_equal(mixed.weights[0], np.ones(50))
    assert float(mixed.weights[1].mean()) == pytest.approx(1)


def test_landmarks_are_half_from_each_arm_where_both_have_enough():
    treatment = np.r_[np.ones(10), np.zeros(990)]
    rows = stratified_rows(treatment, 100)
    assert len(rows) == 100
    assert treatment[rows].sum() == 10
    assert stratified_rows(1 - treatment, 100).size == 100
    assert (1 - treatment)[stratified_rows(1 - treatment, 100)].sum() == 90
    even = stratified_rows(np.arange(1000) % 2 * 1.0, 100)
    assert len(even) == 100
    assert (even % 2).sum() == 50
    assert (np.diff(even) > 0).all()
    assert (stratified_rows(treatment, 5000) == np.arange(1000)).all()


@pytest.mark.parametrize("size", [7, 8, 31])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.97])
def test_landmarks_do_not_know_which_arm_is_called_treated(size, share):
    rng = np.random.default_rng(0)
    treatment = rng.permutation((np.arange(200) < 200 * share) * 1.0)
    rows = stratified_rows(treatment, size)
    assert len(rows) == size - size % 2
    np.testing.assert_array_equal(stratified_rows(1 - treatment, size), rows)


def test_an_odd_number_of_landmarks_counts_as_one_fewer():
    """In every table alike, so that tables of one length have as many."""
    for treated in (1, 30, 50, 70):
        treatment = (np.arange(100) < treated) * 1.0
        assert len(stratified_rows(treatment, 51)) == leading_count(100, 51) == 50
        assert treatment[stratified_rows(treatment, 51)].sum() == min(treated, 25)
    for size in (99, 100):
        assert len(stratified_rows(treatment[:99], size)) == leading_count(99, size) == 99


def test_landmarks_are_of_all_kinds_of_rows():
    rng = np.random.default_rng(1)
    x = Preprocessor().fit_transform(rng.integers(0, 4, (600, 2)))
    t, y = rng.integers(0, 2, 600) * 1.0, rng.normal(size=600)
    table = CanonicalTable.of(x, t, y)
    marks = table_batch([table], 40, CPU).landmarks[0].numpy()
    for arm in (0, 1):
        kinds, counts = np.unique(table.covariates[marks][table.treatment[marks] == arm], axis=0, return_counts=True)
        assert len(kinds) == 16
        assert counts.max() - counts.min() == 1


def test_long_tables_have_a_pilot():
    x, t, y = encoded(rows=PILOT_ROWS + 100)
    batch = table_batch([CanonicalTable.of(x, t, y)], 20, CPU)
    assert batch.pilot.shape == (1, PILOT_ROWS)


def test_as_few_rows_of_each_cluster_as_make_up_a_size():
    cluster = np.array([0, 1, 0, 2, 0, 1, 2, 0])
    assert rows_of_clusters(cluster, 2).tolist() == [0, 1, 3]  # one of each at least
    assert rows_of_clusters(cluster, 5).tolist() == [0, 1, 3]
    assert rows_of_clusters(cluster, 6).tolist() == [0, 1, 2, 3, 5, 6]
    assert rows_of_clusters(cluster, 8).tolist() == list(range(8))


def test_landmarks_are_no_siblings_and_no_copies_of_each_other():
    x, t, y = encoded(rows=120)
    cluster = np.random.default_rng(0).permutation(np.arange(120) // 3)
    table = CanonicalTable.of(x, t, y, cluster=cluster)
    marks = table_batch([table], 40, CPU).landmarks[0].numpy()
    assert len(np.unique(table.cluster[marks])) == len(marks) == 40
    assert len(table_batch([table], 30, CPU).landmarks[0]) == 30
    assert len(table_batch([table], 120, CPU).landmarks[0]) == 120
    copies = CanonicalTable.of(x[cluster], t[cluster], y, cluster=cluster)
    assert len(table_batch([copies], 120, CPU).landmarks[0]) == 40


def test_a_table_with_clusters_counts_as_many_rows():
    x, t, y = encoded(rows=60)
    weights = np.random.default_rng(0).uniform(1, 3, 60)
    table = CanonicalTable.of(x, t, y, weights, np.arange(60) // 3)
    assert table.weights.sum() == pytest.approx(60)
    batch = table_batch([table], 20, CPU)
    assert float(batch.rows.sum()) == pytest.approx(20)
    np.testing.assert_array_equal(table.cluster, batch.cluster[0])
    assert (np.diff([np.flatnonzero(table.cluster == code)[0] for code in range(20)]) > 0).all()
    control, treated = (float(size) for size in batch.arm_sizes)
    assert (control, treated) == tuple(len(np.unique(table.cluster[table.treatment == arm])) for arm in (0, 1))
