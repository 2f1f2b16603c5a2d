"""Learners of conditional effects against closed forms and a known surface, and the figures of rows by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import dowhy_cina
from dowhy_cina.errors import InputError
from dowhy_cina.learning.evaluation import conditional, evaluate_conditional, learners
from dowhy_cina.learning.evaluation.conditional import (
    ROW_METHODS,
    RowEffects,
    RowProblem,
    draw_test_rows,
    measure_rows,
    own,
    row_figures,
    simulated_rows,
    split,
    summarise_rows,
)

#: Errors of effects whose standard deviation is 2; noisy scores are what the DR-learner regresses.
LARGEST = {name: 0.1 if "ridge" in name else 0.8 for name in ROW_METHODS} | {"DR-learner, boosted trees": 1.5}


def table(seed, rows=1500):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    t = (rng.random(rows) < 1 / (1 + np.exp(-0.5 * x[:, 0]))).astype(float)
    effects = 1 + 2 * x[:, 1]
    return x, t, x[:, 0] + t * effects + 0.5 * rng.normal(size=rows), effects


@pytest.mark.parametrize("name", list(ROW_METHODS))
def test_learners_find_effects_that_differ(name):
    x, t, y, effects = table(0, 800)
    found = ROW_METHODS[name](x[:700], t[:700], y[:700], x[700:])
    assert found.lower is None
    assert np.sqrt(np.mean((found.effects - effects[700:]) ** 2)) < LARGEST[name]


def test_learners_on_linear_models_by_hand():
    """With least squares the T- and X-learner agree; the DR-learner regresses its scores."""
    x, t, y, _ = table(1, 300)
    at = x[:7] + 0.1
    design = np.column_stack([np.ones(300), x])
    control, treated = (np.linalg.lstsq(design[t == arm], y[t == arm], rcond=None)[0] for arm in (0, 1))
    expected = np.column_stack([np.ones(7), at]) @ (treated - control)
    models = {"regression": LinearRegression, "classification": LogisticRegression}
    np.testing.assert_allclose(learners.t_learner(x, t, y, at, LinearRegression), expected, rtol=1e-8)
    np.testing.assert_allclose(learners.x_learner(x, t, y, at, **models), expected, rtol=1e-8)
    scores = learners.doubly_robust_scores(x, t, y, **models)
    coefficients = np.linalg.lstsq(design, scores, rcond=None)[0]
    expected = np.column_stack([np.ones(7), at]) @ coefficients
    np.testing.assert_allclose(learners.dr_learner(x, t, y, at, **models), expected, rtol=1e-8)


def test_scores_know_nothing_of_their_own_rows():
    """What a row's outcome adds to its score is the weight of its residual; it is in no model that predicts it."""
    x, t, y, _ = table(2, 200)
    models = {"regression": LinearRegression, "classification": LogisticRegression}
    before = learners.doubly_robust_scores(x, t, y, **models)
    raised = y.copy()
    raised[5] += 1
    slope = (learners.doubly_robust_scores(x, t, raised, **models) - before)[5]
    assert slope == pytest.approx(learners.doubly_robust_scores(x, t, raised * 2, **models)[5] - 2 * before[5] - slope)
    assert 1 <= slope * (2 * t[5] - 1) <= 1 / learners.TREES_CLIP


def test_test_rows_are_a_tenth_of_each_arm():
    t = np.repeat([0.0, 1.0], [105, 39])
    test = draw_test_rows(t, np.random.default_rng(0))
    assert (test[t == 0].sum(), test[t == 1].sum()) == (10, 3)
    assert np.array_equal(test, draw_test_rows(t, np.random.default_rng(0)))
    assert not np.array_equal(test, draw_test_rows(t, np.random.default_rng(1)))


def test_a_split_fits_the_other_rows():
    x, t, y, effects = table(3, 60)
    test = draw_test_rows(t, np.random.default_rng(0))
    assert test.any()
    problem = split(x, t, y, effects, test)
    assert len(problem.outcome) + len(problem.effects) == 60
    np.testing.assert_array_equal(problem.covariates, x[~test])
    np.testing.assert_array_equal(problem.effects, effects[test])


def test_figures_of_rows_by_hand():
    problem = RowProblem(*(np.empty(0),) * 4, effects=np.array([1.0, 2.0, 3.0, 4.0]))
    found = RowEffects(np.array([2.0, 2.0, 3.0, 7.0]), np.array([0.0, 1, 3.5, 5]), np.array([3.0, 3, 4, 9]))
    assert row_figures(problem, found, 0.5) == {"pehe": np.sqrt(10 / 4), "coverage": 0.5, "seconds": 0.5}
    noisy = RowProblem(*(np.empty(0),) * 4, effects=problem.effects, exact=False)
    for one, effects in ((noisy, found), (problem, RowEffects(found.effects))):
        assert np.isnan(row_figures(one, effects, 0.5)["coverage"])


def test_the_summary_by_hand():
    figures = [{"pehe": value, "coverage": 0.9, "seconds": value} for value in (1.0, 2.0, 6.0)]
    found = summarise_rows(figures)
    assert (found["pehe"], found["median"], found["seconds"], found["tables"]) == (3, 2, 2, 3)
    assert found["standard error"] == pytest.approx(np.sqrt(7 / 3))
    assert found["coverage"] == pytest.approx(0.9)


def test_figures_of_a_checkpoint_are_those_of_its_results():
    found = evaluate_conditional(families=["additive", "skewed"], tables=2, rows=200, columns=4, progress=False)
    problems = list(simulated_rows("additive", 2, 0, 200, 4))
    errors, held = [], []
    for problem in problems:
        assert problem.covariates.shape[1] == 4
        result = dowhy_cina.estimate_effect(problem.covariates, problem.treatment, problem.outcome)
        rows = result.conditional_effects(problem.at)
        errors.append(np.sqrt(np.mean((rows["effect"] - problem.effects) ** 2)))
        held.append(np.mean((rows["lower"] <= problem.effects) & (problem.effects <= rows["upper"])))
    row = found.loc[("additive", "checkpoint")]
    assert row["pehe"] == pytest.approx(np.mean(errors), rel=1e-6)
    assert row["coverage"] == pytest.approx(np.mean(held))
    other = found.loc[("additive", conditional.T_LEARNER)]
    theirs = [measure_rows(problem, ROW_METHODS[conditional.T_LEARNER])["pehe"] for problem in problems]
    assert other["pehe"] == pytest.approx(np.mean(theirs))
    assert pd.isna(other["coverage"])


def test_checkpoint_and_seed_reach_the_tables():
    first = next(simulated_rows("linear", 1, 3, 100, 2))
    assert not np.array_equal(first.outcome, next(simulated_rows("linear", 1, 4, 100, 2)).outcome)
    given = (first.covariates, first.treatment, first.outcome, first.at)
    assert not np.allclose(own("cina-small")(*given).effects, own("cina-selfsup")(*given).effects)


@pytest.mark.parametrize("families", [["forest"], []])
def test_unknown_simulators(families):
    with pytest.raises(InputError, match=r"expected simulators \(mixed.*got ('forest'|none)"):
        evaluate_conditional(families=families)
