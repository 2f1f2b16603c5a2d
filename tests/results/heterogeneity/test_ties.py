"""Ties of a ranking: what a cut among them takes is what breaking them at random takes on average."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

import dowhy_cina
from dowhy_cina.results.heterogeneity import HeldOut, rank_weighted_effect
from dowhy_cina.results.heterogeneity.learned import Judge, ranks
from dowhy_cina.results.heterogeneity.policies import learned_rule, policy_table

PRIORITY = np.array([3.0, 1, 1, 1, 1, 0, 2, 2, 0, 0])


def judge_of(rows, seed, weights=None):
    """Scores by true nuisances of effects 1 + x for a binary x; the mean without treatment is x."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, rows).astype(float)
    e = np.where(x > 0, 0.6, 0.4)
    t = rng.random(rows) < e
    noise = rng.normal(size=rows)
    found = {
        "pseudo_outcomes": 1 + x + np.where(t, 1 / e, -1 / (1 - e)) * noise,
        "weights": np.ones(rows) if weights is None else weights,
    }
    judge = Judge.of(found, x + np.where(t, 0, 1 / (1 - e)) * noise, t, None, 0.95, None)
    return x, Judge(judge.added, judge.base, judge.share, t, None, 0.95, 1.0)


def broken(priority):
    """All ways to break the four ties of ones, with the others' broken in one."""
    for order in permutations(range(4)):
        one = priority + 0.001 * np.arange(len(priority))
        one[priority == 1] = 1 + 0.1 * np.array(order)
        yield one


@pytest.mark.parametrize("weighting", ["qini", "autoc"])
def test_curve_and_area_are_averages_over_broken_ties(weighting):
    _, judge = judge_of(10, 0)
    priority = np.array([3.0, 1, 1, 1, 1, 0, 2, 2.5, 0.5, 0.7])
    fold = np.zeros(10, int)
    found = rank_weighted_effect(judge, ranks(priority, judge.share, fold), weighting)
    ways = [rank_weighted_effect(judge, ranks(one, judge.share, fold), weighting) for one in broken(priority)]
    assert len(ways) == 24
    assert found.area == pytest.approx(np.mean([way.area for way in ways]), abs=1e-12)
    for name in ("effect", "excess", "gain"):
        expected = np.mean([way.curve[name] for way in ways], axis=0)
        np.testing.assert_allclose(found.curve[name], expected, atol=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4, 0.5, 0.65, 0.9])
def test_a_share_is_what_is_treated(share):
    """With weights and folds, whatever ties; of the row that a cut meets a part."""
    rng = np.random.default_rng(1)
    weights = rng.gamma(2, size=200) * (rng.random(200) < 0.8)
    x, judge = judge_of(200, 2, weights)
    fold = np.arange(200) % 5
    for effects in (np.ones(200), x, x + np.round(rng.normal(size=200)), rng.normal(size=200)):
        chosen, _ = learned_rule(judge, HeldOut(effects, fold), share, np.zeros(200))
        table = policy_table(judge, chosen, np.zeros(200), None, None)
        assert table.loc["rule", "treated"] == pytest.approx(share, abs=1e-9)
        assert ((chosen >= 0) & (chosen <= 1)).all()
    # Of equal effects a share is a draw of lots.
    chosen, _ = learned_rule(judge, HeldOut(np.ones(200), fold), share, np.zeros(200))
    values = policy_table(judge, chosen, np.zeros(200), None, "none")["value"]
    assert values["rule"] == pytest.approx(share * values["all"], rel=0.05, abs=0.01)


def test_without_ties_whole_rows_are_taken():
    place = ranks(np.arange(40.0), np.full(40, 1 / 40), np.zeros(40, int))
    for count in range(41):
        assert place.taken(count / 40).tolist() == (np.arange(40) >= 40 - count).astype(float).tolist()
    assert place.taken(10.25 / 40).sum() == pytest.approx(10.25)


def test_stretches_of_ties():
    ranking = ranks(PRIORITY, np.full(10, 0.1), np.zeros(10, int))
    np.testing.assert_allclose(ranking.place, [0.05, 0.5, 0.5, 0.5, 0.5, 0.85, 0.2, 0.2, 0.85, 0.85])
    np.testing.assert_allclose(np.sort(ranking.each), np.arange(0.05, 1, 0.1))
    np.testing.assert_allclose(ranking.taken(0.4), [1, 0.25, 0.25, 0.25, 0.25, 0, 1, 1, 0, 0])


@pytest.mark.parametrize(("share", "truth"), [(0.3, 1.1), (0.6, 1.6)])
def test_intervals_of_a_rule_among_ties_hold_its_value(share, truth):
    """Mean without treatment 1/2; half of the rows gain 2, the others 1."""
    held, errors = [], []
    for seed in range(300):
        x, judge = judge_of(250, seed)
        chosen, correction = learned_rule(judge, HeldOut(x, np.arange(250) % 5), share, np.zeros(250))
        found = policy_table(judge, chosen, np.zeros(250), correction, None).loc["rule"]
        held.append(found["lower"] <= truth <= found["upper"])
        errors.append((found["value"] - truth) / found["standard_error"])
    assert 0.92 <= np.mean(held) <= 0.98
    assert abs(np.mean(errors)) < 0.2
    assert np.std(errors) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize(("weighting", "truth"), [("qini", 0.125), ("autoc", np.log(2) / 2)])
def test_the_area_of_a_binary_ranking(weighting, truth):
    """The gain rises to 1/4 at one half and falls again; the excess is 1/2, then (1 - u) / (2 u)."""
    errors, held, points = [], [], []
    for seed in range(300):
        x, judge = judge_of(400, seed)
        found = rank_weighted_effect(judge, ranks(x, judge.share, np.zeros(400, int)), weighting)
        errors.append((found.area - truth) / found.standard_error)
        held.append(found.lower <= truth <= found.upper)
        points.append((found.curve["gain_lower"] <= 0.1) & (found.curve["gain_upper"] >= 0.1))
        assert found.curve.notna().all(axis=None)
        if weighting == "qini":  # the curve's trapezoids are the area but for the bend near one half
            assert found.curve["gain"].sum() / 20 == pytest.approx(found.area, abs=0.002)
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.std(errors) == pytest.approx(1, abs=0.12)
    assert 0.92 <= np.mean(points, axis=0)[3] <= 0.98  # a fifth, of a gain of 1/2 each


def test_one_binary_covariate_of_a_table():
    rng = np.random.default_rng(0)
    b, t = rng.integers(0, 2, 400).astype(float), rng.integers(0, 2, 400)
    found = dowhy_cina.estimate_effect(pd.DataFrame({"b": b}), t, t * (1 + b) + rng.normal(size=400))
    for share in (0.05, 0.1, 0.2, 0.3, 0.5):
        assert found.policy_value(share).loc["rule", "treated"] == pytest.approx(share)
    area = found.uplift("b")
    assert area.curve.notna().all(axis=None)
    assert area.curve["gain"].sum() / 20 == pytest.approx(area.area, rel=0.01)


def test_the_margin_of_a_cut_knows_who_is_dear():
    """A price of its own for each row moves the cut's correction by the price there, not by the average price."""
    x, judge = judge_of(400, 3)
    price = np.where(x > 0, 0.0, 5.0)
    chosen, correction = learned_rule(judge, HeldOut(1 + x, np.zeros(400, int)), 0.25, price)
    margin = judge.added[x > 0].sum() / judge.share[x > 0].sum()
    np.testing.assert_allclose(correction, -margin * judge.share * (chosen - 0.25))
