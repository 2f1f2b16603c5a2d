"""Random outcomes on given rows: known effects, and a propensity that says nothing of a row's own treatment."""

from __future__ import annotations

import multiprocessing
import sys

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from dowhy_cina.learning.simulators import draw_table
from dowhy_cina.learning.simulators.clinics import COLUMNS, draw_clinics
from dowhy_cina.learning.simulators.outcomes import FLOOR, left_out_propensity, random_outcome


def pair(seed=0, rows=300, others=900, family="trees"):
    table = draw_table(np.random.default_rng(seed), rows + others, 5, families=[family])
    x, t = table.covariates, table.treatment
    return (x[:rows], t[:rows]), (x[rows:], t[rows:]), table.propensity[:rows]


def test_outcomes_are_reproducible_and_their_effects_known():
    (x, t), left_out, _ = pair()
    effects, spread, follows = [], [], []
    for seed in range(60):
        table = random_outcome(np.random.default_rng(seed), x, t, left_out)
        again = random_outcome(np.random.default_rng(seed), x, t, left_out)
        np.testing.assert_array_equal(table.outcome, again.outcome)
        assert table.covariates is x
        np.testing.assert_array_equal(table.treatment, t)
        assert all(np.isfinite(part).all() for part in (table.outcome, table.mu0, table.mu1, table.noise_sd))
        effects.append(table.mu1 - table.mu0)
        residual = (table.outcome - np.where(t > 0, table.mu1, table.mu0)) / np.maximum(table.noise_sd, 1e-12)
        spread.append(residual.mean())
        follows.append(abs(np.corrcoef(table.mu0, table.propensity)[0, 1]))
    null = [not effect.any() for effect in effects]
    assert 5 <= sum(null) <= 28  # a quarter, give or take three standard errors
    varies = [np.ptp(effect) > 1e-6 for effect in effects]
    assert any(varies)
    assert not all(vary or nothing for vary, nothing in zip(varies, null, strict=True))  # some are constant
    assert abs(np.mean(spread)) < 4 * np.std(spread) / np.sqrt(60)
    assert np.mean(np.array(follows) > 0.5) > 0.2
    assert np.mean(np.array(follows) < 0.3) > 0.2


@pytest.mark.parametrize("seed", range(4))
def test_the_propensity_is_learned_from_other_rows(seed):
    (x, t), (others, theirs), truth = pair(seed)
    found = left_out_propensity(np.random.default_rng(seed), (others, theirs), x)
    floor = FLOOR * min(theirs.mean(), 1 - theirs.mean())
    assert ((found > 0.5 * floor) & (found < 1 - 0.5 * floor)).all()
    assert np.corrcoef(found, truth)[0, 1] > 0.3
    # Nothing of the rows' own treatment is asked for; a treatment at random is not foretold.
    shuffled = np.random.default_rng(seed).permutation(theirs)
    guess = left_out_propensity(np.random.default_rng(seed), (others, shuffled), x)
    assert abs(np.corrcoef(guess, t)[0, 1]) < 4 / np.sqrt(len(t))


def test_other_rows_of_one_arm_tell_nothing():
    (x, t), (others, theirs), _ = pair()
    one = np.flatnonzero(theirs == 1)
    found = left_out_propensity(np.random.default_rng(0), (others[one], theirs[one]), x)
    assert len(set(found.tolist())) == 1
    table = random_outcome(np.random.default_rng(0), x, t, (others[one], theirs[one]))
    assert np.isfinite(table.outcome).all()


def test_clinics_record_the_same_and_select_alike():
    tables = draw_clinics(np.random.default_rng(0), 6, rows=(100, 140))
    again = draw_clinics(np.random.default_rng(0), 6, rows=(100, 140))
    for table, other in zip(tables, again, strict=True):
        np.testing.assert_array_equal(table.outcome, other.outcome)
        assert table.covariates.shape[1] == len(COLUMNS)
        assert 100 <= len(table.treatment) <= 140
        assert 10 <= table.treatment.sum() <= len(table.treatment) - 10
    # Inflammation is treated everywhere, and the weekend nowhere.
    crp, weekend = COLUMNS.index("crp"), COLUMNS.index("weekend")
    ranks = [np.argsort(np.argsort(table.covariates[:, crp])) for table in tables]
    assert min(np.corrcoef(rank, table.propensity)[0, 1] for rank, table in zip(ranks, tables, strict=True)) > 0.3
    assert abs(np.mean([np.corrcoef(t.covariates[:, weekend], t.propensity)[0, 1] for t in tables])) < 0.2
    naive = [t.outcome[t.treatment > 0].mean() - t.outcome[t.treatment == 0].mean() for t in tables]
    bias = [(value - t.effect) / t.outcome.std() for value, t in zip(naive, tables, strict=True)]
    assert -0.9 < np.mean(bias) < -0.3


@pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")
def test_a_forked_worker_does_not_wait_for_the_threads_of_openmp():
    """As those of a data loader, in a process where trees have been grown on several threads."""
    (x, t), left_out, _ = pair()
    HistGradientBoostingClassifier(max_iter=5).fit(x, t)
    worker = multiprocessing.get_context("fork").Process(target=_draw_ten, args=(x, t, left_out), daemon=True)
    worker.start()
    worker.join(60)
    worker.kill()
    assert worker.exitcode == 0


def _draw_ten(x, t, left_out):
    for seed in range(10):
        random_outcome(np.random.default_rng(seed), x, t, left_out)
