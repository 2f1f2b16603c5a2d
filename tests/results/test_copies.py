"""Copies of rows are counted where they are no coincidence, by hand and through the estimate."""

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina.results.copies import copied_rows, copies_warning
from dowhy_cina.tables.data import COVARIATES, OUTCOME, TREATMENT, load_nsw


def sample(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    covariates, treatment = rng.normal(size=(rows, 2)), rng.integers(0, 2, rows).astype(float)
    return covariates, treatment, covariates[:, 0] + treatment + rng.normal(size=rows)


def together(table, rows):
    """Rows of a table, equal ones beside each other."""
    return tuple(part[np.sort(rows)] for part in table)


def test_copies_are_counted():
    table = sample()
    assert copied_rows(*table) == 0
    assert copied_rows(*together(table, np.r_[np.arange(200), np.arange(10)])) == 10
    assert copied_rows(*together(table, np.r_[np.arange(200), np.zeros(10, dtype=int)])) == 10
    assert copied_rows(*together(table, np.repeat(np.arange(200), 3))) == 400


def test_few_copies_are_passed_over():
    assert copied_rows(*together(sample(), np.r_[np.arange(200), np.arange(6)])) == 0  # 2.9 %
    assert copied_rows(*together(sample(), np.r_[np.arange(200), np.arange(7)])) == 7


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_copy_is_one_of_everything(part):
    table = [np.repeat(values, 2, axis=0) for values in sample()]
    table[part][1::2] += 1.0
    assert copied_rows(*table) == 0


def test_equal_rows_of_a_discrete_table_are_coincidence():
    rng = np.random.default_rng(0)
    cells = np.sort(rng.integers(0, 16, 1000))  # two covariates of two levels, treatment, a binary outcome
    bits = [(cells >> place & 1).astype(float) for place in range(4)]
    assert copied_rows(np.column_stack(bits[:2]), bits[2], bits[3]) == 0
    covariates, treatment, outcome = sample(400)
    coarse = pd.DataFrame(np.column_stack([covariates.round(), treatment, outcome.round()])).sort_values([0, 1, 2, 3])
    assert coarse.duplicated().mean() > 0.3
    assert copied_rows(coarse[[0, 1]].to_numpy(), coarse[2].to_numpy(), coarse[3].to_numpy()) == 0


@pytest.mark.parametrize(("shared", "copies"), [(100, 20), (101, 0)])
def test_half_of_the_rows_have_an_outcome_of_their_own(shared, copies):
    covariates, treatment, outcome = sample()
    outcome[:shared] = 7.0
    assert (
        copied_rows(*together((covariates, treatment, outcome), np.r_[np.arange(200), np.arange(180, 200)])) == copies
    )


@pytest.mark.parametrize(("rows", "copies"), [(20, 180), (19, 0)])
def test_a_handful_of_distinct_rows_is_a_discrete_table(rows, copies):
    assert copied_rows(*together(sample(rows), np.r_[np.arange(rows), np.zeros(180, dtype=int)])) == copies


@pytest.mark.parametrize("comparison", ["experiment", "psid"])
def test_men_alike_without_earnings_are_no_copies(comparison):
    data = load_nsw(comparison)
    assert data.duplicated().mean() > 0.03
    found = dowhy_cina.estimate_effect(data[COVARIATES], data[TREATMENT], data[OUTCOME], target_units="att")
    assert "copies" not in " ".join(found.warnings)


def test_the_estimate_warns_unless_clusters_hold_the_copies_together():
    table = sample()
    twice = np.random.default_rng(1).permutation(np.r_[np.arange(200), np.arange(60)])
    covariates, treatment, outcome = (part[twice] for part in table)
    frame = pd.DataFrame(covariates).assign(color=np.where(covariates[:, 1] > 0, "red", "blue"))
    frame.loc[frame[0] < -1, 1] = np.nan
    frame.columns = frame.columns.astype(str)
    found = dowhy_cina.estimate_effect(frame, treatment, outcome)
    (warning,) = [text for text in found.warnings if "copies" in text]
    assert warning.startswith("60 of 260 rows are exact copies of others")
    assert "cluster=" in warning
    assert "sample_weight=" in warning
    assert "exact copies" in found.summary()
    assert "copies" not in " ".join(dowhy_cina.estimate_effect(frame, treatment, outcome, cluster=twice).warnings)
    assert "copies" not in " ".join(dowhy_cina.estimate_effect(*table).warnings)


def test_copies_make_an_error_too_small_that_clusters_put_right():
    table, thrice = sample(600), np.tile(np.arange(600), 3)
    plain = dowhy_cina.estimate_effect(*table).standard_error
    copies = [part[thrice] for part in table]
    assert dowhy_cina.estimate_effect(*copies).standard_error < 0.7 * plain
    assert dowhy_cina.estimate_effect(*copies, cluster=thrice).standard_error == pytest.approx(plain, rel=1e-6)


def test_text_is_empty_without_copies():
    assert copies_warning(*sample()) == ()
