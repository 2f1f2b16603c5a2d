"""What an arm borrows from the other: where it helps, where it does not, and that no outcome speaks for itself.

Letters: N rows, D covariates.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dowhy_cina.calls.direct import analyse
from dowhy_cina.mathematics.ridge import fit_ridge, gram_statistics
from dowhy_cina.model import fitting
from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.shares import likeness
from dowhy_cina.model.state import TableBatch, one_table, without_rows

N, D = 400, 5


def draw(seed, share=0.15, common=1.0):
    """Tables whose arms have a surface in common, as far as asked for, and a linear effect; few rows are treated."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, D))
    surfaces = [np.sin(2 * x @ rng.normal(size=D) / D**0.5) + x[:, k] * x[:, k + 1] for k in (0, 2)]
    chance = 1 / (1 + np.exp(-np.log(share / (1 - share)) - 0.7 * x[:, 0]))
    t = (rng.random(N) < chance).astype(float)
    effect = 1 + 0.3 * x[:, 0] + (1 - common) * (surfaces[1] - surfaces[0])
    y = surfaces[0] + t * effect + 0.5 * rng.normal(size=N)
    return x, t, y, effect


def shares(analysis):
    """Of what the control and the treated arm borrow."""
    pair = [fitted.regression.borrowed for fitted in analysis._state.outcomes]
    return [0.0 if borrowed is None else float(borrowed.share) for borrowed in pair]


def test_a_small_arm_borrows_a_surface_and_single_effects_gain(monkeypatch):
    errors = {True: [], False: []}
    for seed in range(10):
        x, t, y, effect = draw(seed)
        for borrowing in (True, False):
            with monkeypatch.context() as patched:
                if not borrowing:
                    patched.setattr(fitting, "borne_out", lambda wanted, *_: torch.zeros_like(wanted[:, 0]))
                analysis = analyse(x, t, y)
            errors[borrowing].append(np.sqrt(np.mean((analysis.function.at(x)[0] - effect) ** 2)))
    assert np.median(np.array(errors[True]) / errors[False]) < 0.75


def test_shares_follow_what_the_arms_have_in_common():
    alike, apart = ([shares(analyse(*draw(seed, 0.15, common)[:3]))[1] for seed in range(12)] for common in (1.0, 0.0))
    assert min(alike) > 0.2
    assert max(apart) < 0.1


@pytest.fixture(scope="module")
def case():
    """One table, and what an untrained model says of it."""
    x, t, y, _ = draw(7, 0.5)
    every = torch.arange(N)[None]
    standard = (y - y.mean()) / y.std()
    table = TableBatch(*(torch.from_numpy(part)[None] for part in (x, t, standard)), every[:, ::4], every)
    with torch.no_grad(), torch.random.fork_rng():
        state = CinaModel().double().eval()(table)
    assert all(float(fitted.regression.borrowed.share) > 0.2 for fitted in state.outcomes)
    return table, state


@pytest.mark.parametrize("arm", [0, 1])
def test_no_outcome_speaks_for_itself(case, arm):
    """A row's prediction is by a refit of the effect without it; scores of all rows borrow nothing."""
    table, state = case
    fitted, other = state.outcomes[arm], state.outcomes[1 - arm].regression.own
    borrowed, rows, columns = fitted.regression.borrowed, table.arm(arm), fitted.rows.own.columns
    own, source = (
        fitting.fit_own(
            regression.space,
            one.kernel.keys,
            table.covariates,
            table.outcome,
            table.arm(which),
            likeness(table.arm(which), state.propensity, which),
            torch.ones(1, dtype=torch.float64),
            table.storage,
            "",
        )
        for regression, one, which in (
            (fitted.regression.own, fitted.rows.own, arm),
            (other, fitted.rows.other, 1 - arm),
        )
    )
    lent = other.clip(source.fitted)
    said = table.outcome - fitted.loo_residuals
    for row in (rows[0] > 0).nonzero()[:, 0][:12]:
        rest = rows.clone()
        rest[0, row] = 0
        refit = fit_ridge(gram_statistics(columns, table.outcome - lent, rest), borrowed.effect.penalty)
        expected = lent[0, row] + refit.predict(columns)[0, row]
        expected = own.clean[0, row] + borrowed.share[0] * (expected - own.clean[0, row])
        torch.testing.assert_close(said[0, row], expected, rtol=1e-6, atol=1e-8)
    outside = rows[0] == 0
    alone = fitted.regression.own.clip(own.fitted)
    torch.testing.assert_close(fitted.prognosis, alone)
    assert not torch.allclose(fitted.prognosis[0, outside], fitted.means[0, outside], atol=1e-3)


def test_predictions_and_means_agree_with_what_the_fit_says(case):
    """Those of the table's rows as foreign ones, and mean outcomes of populations by their moments."""
    state = case[1]
    weights = torch.rand(1, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights /= weights.sum()
    for fitted in state.outcomes:
        regression = fitted.regression
        torch.testing.assert_close(regression.predict(fitted.rows), fitted.means)
        own = regression.own.combined(regression.own.parts(fitted.rows.own))
        lent = regression.borrowed.unclipped(fitted.rows)
        expected = (weights * (own + regression.borrowed.share[:, None] * (lent - own))).sum(1)
        torch.testing.assert_close(regression.mean(fitted.moment(weights)), expected)


def test_the_effect_stays_in_the_range_of_the_arms_rows(case):
    """A linear effect goes on for ever; that of rows far away is hardly larger than what the arm's rows show."""
    state = case[1]
    for fitted in state.outcomes:
        borrowed, columns = fitted.regression.borrowed, fitted.rows.own.columns
        far = borrowed.effect.predict(type(columns)(100 * columns.values))
        kept = borrowed.clip(far)
        assert float(kept.max()) == float(borrowed.upper)
        assert float(kept.min()) == float(borrowed.lower)
        assert float(far.max()) > float(borrowed.upper)


def test_both_arms_lend_what_they_have(case):
    """Nothing is there twice in what conditional effects keep, nor in one table of a batch."""
    _, state = case
    for kept in (state, without_rows(state), one_table(state, 0)):
        control, treated = (fitted.regression for fitted in kept.outcomes)
        assert control.borrowed.source is treated.own
        assert treated.borrowed.source is control.own
