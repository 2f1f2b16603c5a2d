"""Evaluation: classical methods against closed forms and references, and the table that the command prints."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

import dowhy_cina
from dowhy_cina import cli
from dowhy_cina.errors import InputError
from dowhy_cina.learning.evaluation import METHODS, classical, evaluate, measure, simulated_problems
from dowhy_cina.learning.evaluation.classical import (
    PENALTIES,
    difference_in_means,
    inverse_propensity,
    kernel_ridge,
    linear_regression,
)
from dowhy_cina.learning.evaluation.measure import folder_problems

EFFECT = 1.5
OWN = ("checkpoint", "checkpoint, weights alone", "exact", "exact, weights alone")


def table(seed, rows=1500):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    t = (rng.random(rows) < 1 / (1 + np.exp(-x[:, 0]))).astype(float)
    y = EFFECT * t + 2 * x[:, 0] + x[:, 1] + rng.normal(size=rows)
    return x, t, y


@pytest.mark.parametrize("name", [name for name in METHODS if name != "difference in means"])
def test_methods_find_a_known_effect(name):
    found = np.array([METHODS[name](*table(seed)) for seed in range(4)])
    # Cross-fitted trees overstate propensities on a table of this size, which is what one measures beside them.
    assert found[:, 0] == pytest.approx(EFFECT, abs=0.8 if name.startswith("AIPW") else 0.35)
    with_errors = found[~np.isnan(found[:, 1])]
    assert (np.abs(with_errors[:, 0] - EFFECT) < 4 * with_errors[:, 1]).all()
    assert all(difference_in_means(*table(seed))[0] > EFFECT + 1 for seed in range(4))


def test_plain_methods_agree_with_references():
    x, t, y = table(0)
    welch = sm.stats.CompareMeans(sm.stats.DescrStatsW(y[t == 1]), sm.stats.DescrStatsW(y[t == 0]))
    value, error = difference_in_means(x, t, y)
    assert value == pytest.approx(y[t == 1].mean() - y[t == 0].mean())
    assert error == pytest.approx(welch.std_meandiff_separatevar, rel=1e-3)
    fit = sm.OLS(y, sm.add_constant(np.column_stack([t, x]))).fit(cov_type="HC1")
    assert linear_regression(x, t, y) == pytest.approx((fit.params[1], fit.bse[1]))
    p = LogisticRegression(max_iter=1000).fit(StandardScaler().fit_transform(x), t)
    p = p.predict_proba(StandardScaler().fit_transform(x))[:, 1]
    means = [np.average(y, weights=weights) for weights in ((1 - t) / (1 - p), t / p)]
    assert inverse_propensity(x, t, y)[0] == pytest.approx(means[1] - means[0])


def test_linear_regression_takes_columns_that_are_combinations_of_others():
    x, t, y = table(1, 300)
    more = np.column_stack([x, x[:, 0] - 2 * x[:, 1], np.ones(300)])
    assert linear_regression(more, t, y) == pytest.approx(linear_regression(x, t, y))


def test_x_learner_trusts_the_controls_imputed_effects_where_treatment_is_likely(monkeypatch):
    monkeypatch.setattr(classical, "_regression", lambda: KNeighborsRegressor(7))
    monkeypatch.setattr(classical, "_classification", lambda: LogisticRegression())
    x, t, y = table(4, 400)

    def fit(rows, values):
        return KNeighborsRegressor(7).fit(x[rows], values[rows]).predict(x)

    control, treated = fit(t == 0, y), fit(t == 1, y)
    of_controls, of_treated = fit(t == 0, treated - y), fit(t == 1, y - control)
    p = LogisticRegression().fit(x, t).predict_proba(x)[:, 1]
    value, error = classical.x_learner(x, t, y)
    assert value == pytest.approx(np.mean(p * of_controls + (1 - p) * of_treated), rel=1e-9)
    assert abs(np.mean((1 - p) * of_controls + p * of_treated) - value) > 0.01
    assert np.isnan(error)


def gaussian(left, right):
    return np.exp(-((left[:, None] - right) ** 2).sum(2) / (2 * left.shape[1]))


def arm_mean(z, rows, y):
    """Mean prediction of the kernel ridge regression whose every row is left out in turn, for each penalty."""
    kernel, centred = gaussian(z[rows], z[rows]), y[rows] - y[rows].mean()

    def error(penalty):
        total = 0.0
        for out in range(len(rows)):
            kept = np.arange(len(rows)) != out
            solved = np.linalg.solve(kernel[np.ix_(kept, kept)] + penalty * np.eye(kept.sum()), centred[kept])
            total += (centred[out] - kernel[out, kept] @ solved) ** 2
        return total

    solved = np.linalg.solve(kernel + min(PENALTIES, key=error) * np.eye(len(rows)), centred)
    return y[rows].mean() + (gaussian(z, z[rows]) @ solved).mean()


def test_kernel_ridge_leaves_rows_out_for_its_penalty():
    """Also where rows are equal, so that the kernel has no root."""
    x, t, y = table(3, 80)
    x[1::2] = x[::2]
    z = StandardScaler().fit_transform(x)
    means = [arm_mean(z, np.flatnonzero(t == arm), y) for arm in (0, 1)]
    value, error = kernel_ridge(x, t, y)
    assert value == pytest.approx(means[1] - means[0], rel=1e-6)
    assert np.isnan(error)


def test_problems_are_reproducible_and_of_the_asked_size():
    first, again = (list(simulated_problems("scm", 6, 3, 400, 12)) for _ in range(2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.covariates, two.covariates)
        assert one.effect == two.effect
        assert 50 <= one.covariates.shape[0] <= 400
        assert 2 <= one.covariates.shape[1] <= 12
    assert len({problem.covariates.shape for problem in first}) > 3
    with pytest.raises(InputError, match=r"expected simulators \(mixed.*or a folder of tables, got 'forest'"):
        list(simulated_problems("forest", 1, 0, 100, 5))


def test_figures_by_hand():
    found = evaluate("cina-small", ["additive"], tables=3, rows=150, columns=5, progress=False)
    assert set(found.index.get_level_values("method")) == {*OWN, *METHODS}
    problems = list(simulated_problems("additive", 3, 0, 150, 5))
    for name, options in (("checkpoint", {}), ("checkpoint, weights alone", {"augmentation": "none"})):
        results = [dowhy_cina.estimate_effect(p.covariates, p.treatment, p.outcome, **options) for p in problems]
        row, effects = found.loc[("additive", name)], np.array([p.effect for p in problems])
        sds = np.array([p.outcome.std() for p in problems])
        low, high = np.array([r.confidence_interval for r in results]).T
        assert row["error"] == pytest.approx(np.mean(np.abs([r.value for r in results] - effects) / sds))
        assert row["coverage"] == pytest.approx(np.mean((low <= effects) & (effects <= high)))
        assert row["width"] == pytest.approx(np.median((high - low) / sds))
        assert row["gap"] == pytest.approx(np.median([r.duality_gap for r in results]))
        assert row["tables"] == 3
    means = np.array([difference_in_means(p.covariates, p.treatment, p.outcome)[0] for p in problems])
    naive = np.abs(means - effects) / sds
    assert found.loc[("additive", "difference in means"), "error"] == pytest.approx(np.mean(naive))


def test_coverage_counts_the_intervals_that_hold_the_effect_from_either_side(monkeypatch):
    problems = list(simulated_problems("additive", 4, 0, 150, 5))
    sds = [problem.outcome.std() for problem in problems]
    # About the effect, in sd of the outcome: an interval around it, one below, a longer one above, and none.
    intervals = [(-1.0, 1.0), (-3.0, -1.0), (1.0, 5.0), None]

    def known(covariates, treatment, outcome, **options):
        place = next(k for k, problem in enumerate(problems) if np.array_equal(problem.outcome, outcome))
        effect, sd, interval = problems[place].effect, sds[place], intervals[place]
        ends = None if interval is None else (effect + interval[0] * sd, effect + interval[1] * sd)
        return SimpleNamespace(value=effect - 0.1 * (place + 1) * sd, confidence_interval=ends, duality_gap=place)

    monkeypatch.setattr(measure, "estimate_effect", known)
    found = evaluate("cina-small", ["additive"], tables=4, rows=150, columns=5, classical=False, progress=False)
    for _, row in found.iterrows():
        assert row["coverage"] == pytest.approx(1 / 3)
        assert row["width"] == pytest.approx(2)
        assert row["error"] == pytest.approx(0.25)
        assert row["gap"] == pytest.approx(1.5)
        assert row["gap_95"] == pytest.approx(2.85)


def test_sizes_and_seed_reach_the_tables(tmp_path):
    """The command's figures are the library's; each option away from its default, and from each other."""
    given = {"tables": 3, "rows": 90, "columns": 4, "seed": 11}
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    path = tmp_path / "figures.csv"
    assert cli.main(["evaluate", "cina-small", "linear", "--no-classical", "--csv", str(path), *options]) == 0
    found = pd.read_csv(path, index_col=["collection", "method"]).drop(columns="seconds")

    def figures(**changed):
        table = evaluate("cina-small", ["linear"], classical=False, progress=False, **{**given, **changed})
        return table.drop(columns="seconds")

    pd.testing.assert_frame_equal(found, figures(), check_exact=False, rtol=1e-9, check_dtype=False)
    # So that the comparison says something: other values of each give other figures.
    for name, other in {"tables": 4, "rows": 120, "columns": 8, "seed": 0}.items():
        assert not np.isclose(figures(**{name: other})["width"], found["width"], rtol=1e-6).any(), name


@pytest.fixture
def folder(tmp_path):
    for seed in range(2):
        x, t, y = table(seed, 200)
        frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(t=t, y=y)
        frame.to_csv(tmp_path / f"{seed}.csv", index=False)
    (tmp_path / "collection.toml").write_text('treatment = "t"\ncovariates = ["a", "b", "c"]\n')
    return tmp_path


def test_a_folder_without_outcomes_gets_gaps_alone(folder, capsys):
    assert cli.main(["evaluate", "cina-small", str(folder), "--csv", str(folder / "out" / "figures.csv")]) == 0
    printed = capsys.readouterr().out
    assert "checkpoint, weights alone" in printed
    assert "T-learner" not in printed
    figures = pd.read_csv(folder / "out" / "figures.csv").set_index("method")
    assert list(figures.index) == list(OWN)
    assert figures["error"].isna().all()
    assert (figures["gap"] >= 0).all()


def test_a_folder_with_known_effects_gets_errors(folder):
    settings = 'outcome = "y"\n[effects]\n"0.csv" = 1.5\n"1.csv" = 1.5\n'
    (folder / "collection.toml").write_text((folder / "collection.toml").read_text() + settings)
    assert [problem.effect for problem in folder_problems(folder)] == [1.5, 1.5]
    found = evaluate("cina-small", [folder], progress=False)
    assert found.loc[(str(folder), "linear regression"), "error"] < 0.15
    assert found.loc[(str(folder), "checkpoint"), "error"] < 0.15
    assert evaluate("cina-small", [folder], classical=False, progress=False).shape[0] == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["cina-smal", "scm"], "cina-smal"),
        (["cina-small", "forest"], "'forest'"),
        (["cina-small", "."], "collection.toml"),
    ],
)
def test_refusals(capsys, monkeypatch, tmp_path, arguments, reason):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", *arguments, "--tables", "1"]) == 2
    streams = capsys.readouterr()
    assert reason in streams.err
    assert streams.out == ""
