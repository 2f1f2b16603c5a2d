"""The trust benchmark: its truths are true, its tables stay the same, its verdicts are the goals', its parts run."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import foreign
import foreign_designs
import numpy as np
import pandas as pd
import pytest
import real_surfaces
import repeated_rows
import trust
import trust_figures

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
#: Standard errors of a share or of a mean within which a test takes it for what it should be.
TOLERANCE = 3.5


def assert_calibrated(z):
    """Errors of an oracle in units of its standard error: 95 % below 1.96, and a mean square of 1."""
    z = np.asarray(z)
    margin = TOLERANCE * np.sqrt(0.95 * 0.05 / z.size)
    assert abs(np.mean(np.abs(z) < 1.96) - 0.95) < margin
    assert abs(z.mean()) < TOLERANCE / np.sqrt(z.size)
    assert abs(np.mean(z**2) - 1) < 2 * TOLERANCE * np.sqrt(2 / z.size)


@pytest.mark.parametrize("draw", [foreign.random_population, foreign_designs.published_population])
def test_the_oracle_of_a_foreign_population_covers(draw):
    """AIPW with true propensities and means around the stated truth, with the stated attainable standard error."""
    z = []
    for index in range(60):
        rng = np.random.default_rng([1, index])
        population, _ = draw(rng, int(rng.integers(5, 30)))
        truth, error = population.truth(rng), population.attainable(rng, 600)
        z += [(population.influence(*population.sample(rng, 600)).mean() - truth) / error for _ in range(10)]
    assert_calibrated(z)


@pytest.mark.parametrize("name", list(foreign_designs.DESIGNS))
def test_the_truth_of_a_published_design(name):
    """The difference of the arms' mean outcomes, weighted by the true propensity."""
    needed, make = foreign_designs.DESIGNS[name]
    rng = np.random.default_rng(2)
    design = make(rng, needed + 1)
    population = foreign.Population(
        name, "", design.law, design.propensity, design.base, design.effect, lambda x: np.full(len(x), design.noise)
    )
    x, t, y = population.sample(rng, 100_000)
    e = population.propensity(x)
    assert min(e.min(), (1 - e).min()) > 0
    scores = y * (t / e - (1 - t) / (1 - e))
    assert abs(scores.mean() - population.truth(rng)) < TOLERANCE * scores.std() / np.sqrt(len(y)) + 1e-12


def test_the_oracle_of_real_covariates_covers():
    z = []
    for index in range(400):
        rng = np.random.default_rng([3, index])
        population = real_surfaces.real_population(rng, real_surfaces.DATASETS[index % 8])
        rows = min(800, len(population.x) * 4 // 5)
        chosen, t, y = population.sample(rng, rows)
        e, effect = population.propensity[chosen], population.effect[chosen]
        residual = y - population.base[chosen] - t * effect
        value = np.mean(effect + residual * (t / e - (1 - t) / (1 - e)))
        z.append((value - population.effect.mean()) / population.attainable(rows))
    assert_calibrated(z)


@pytest.mark.parametrize("draw", [foreign.foreign_table, real_surfaces.real_table])
def test_a_table_has_its_own_seed(draw):
    first, again, other, seeded = draw(3), draw(3), draw(4), draw(3, 1)
    assert np.array_equal(first.x, again.x)
    assert np.array_equal(first.y, again.y)
    assert (first.effect, first.attainable) == (again.effect, again.attainable)
    assert first.x.shape != other.x.shape or not np.array_equal(first.x, other.x)
    assert first.y.shape != seeded.y.shape or not np.array_equal(first.y, seeded.y)


def test_foreign_tables_vary_as_they_should():
    tables = [foreign.foreign_table(index) for index in range(50)]
    classes = pd.DataFrame([table.classes for table in tables])
    assert set(classes["columns"]) == {"2-5", "6-10", "11-15", "16-25", "26-40"}
    for column, names in (("overlap", 3), ("heterogeneity", 3), ("rows", 3)):
        assert classes[column].nunique() == names
    assert 8 <= (classes["null"] == "True").sum() <= 28
    assert all(table.effect == 0 for table in tables if table.classes["null"] == "True")
    for table in tables:
        low, high = map(int, table.classes["columns"].split("-"))
        assert low <= table.x.shape[1] <= high


@pytest.mark.parametrize("path", sorted(FOLDER.glob("foreign*.py")), ids=lambda path: path.name)
def test_the_foreign_simulator_knows_nothing_of_the_package(path):
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    assert names
    assert not any(name.startswith("dowhy_cina") for name in names)


def test_clusters_share_treatment_and_covariates():
    sample = repeated_rows.clustered_sample(0)
    x, t, y, _ = sample.rows
    assert x.shape == (400, 5)
    for values, means in ((x, sample.means.x), (t, sample.means.t)):
        assert np.array_equal(values, means[sample.cluster])
    assert np.allclose(y.reshape(100, 4).mean(axis=1), sample.means.y)


def test_shares_and_their_goals():
    figure = trust_figures.share("a", "b", [True] * 93 + [False] * 7, trust_figures.at_least(0.93))
    assert (figure.value, figure.count, figure.met) == (0.93, 100, True)
    assert figure.low == pytest.approx(0.8625, abs=1e-4)  # Wilson's limits, by hand
    assert figure.high == pytest.approx(0.9657, abs=1e-4)
    assert trust_figures.share("a", "b", [True] * 92 + [False] * 8, trust_figures.at_least(0.93)).met is False
    assert trust_figures.number("a", "b", 1.2, (0.85, 1.25)).met
    assert trust_figures.number("a", "b", 0.8, (0.85, 1.25)).met is False
    assert "MISSED" in str(trust_figures.number("a", "b", 0.8, (0.85, 1.25)))


def test_strata_are_judged_by_their_test():
    """255 of 300 are too few for 90 % (p = .004), 262 are not (p = .08); a handful of tables is not judged."""
    covered = [np.arange(300) < 255, np.arange(300) < 262, np.arange(5) < 1]
    frame = pd.DataFrame(
        {"covered": np.concatenate(covered), "rows": np.repeat(["10-20", "9-9", "few"], [300, 300, 5])}
    )
    found = {figure.label: figure.met for figure in trust_figures.strata("a", frame, ["rows"])}
    assert found == {
        "coverage, rows 9-9": True,
        "coverage, rows 10-20": False,
        "coverage, rows few": None,
        "worst stratum: rows 10-20": False,
    }


def test_the_price_is_that_of_the_same_tables():
    before = pd.DataFrame(
        {"part": "real", "table": list("abcd"), "family": list("xxyy"), "truth": 1.0, "covered": True}
    )
    before = before.assign(width=[1.0, 2.0, 3.0, 4.0], error=[0.1, 0.1, 0.2, 0.2])
    after = before.assign(width=before["width"] * [1.0, 3.0, 1.0, 1.0], error=before["error"] / 2)
    found = trust_figures.price(before, after.iloc[:3]).set_index("family")
    assert list(found.index) == ["all", "x", "y"]
    assert list(found["width ratio"]) == [1.0, 2.0, 1.0]
    assert np.allclose(found["mean error ratio"], 0.5)
    with pytest.raises(ValueError, match="same tables"):
        trust_figures.price(before, after.assign(truth=2.0))


def test_boosted_trees_find_an_effect():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1500, 3))
    t = (rng.random(1500) < 1 / (1 + np.exp(-x[:, 0]))).astype(float)
    value, error = real_surfaces.aipw(x, t, x[:, 0] + 2 * t + rng.normal(size=1500))
    attainable = np.sqrt((2 + 2 * np.exp(0.5)) / 1500)  # the mean of 1 / e + 1 / (1 - e) at noise of variance 1
    assert attainable < error < 3 * attainable
    assert abs(value - 2) < TOLERANCE * error


@pytest.mark.slow
def test_every_part_runs(tmp_path, monkeypatch, capsys):
    """A handful of tables of each part; what they are compared with themselves costs nothing."""
    plan = trust.Plan(foreign=10, real=8, noise=3, clusters=4, groups=3, doubled=1, seed=0, data=None)
    monkeypatch.setattr(trust, "Plan", lambda **_: plan)
    file = tmp_path / "tables.csv"
    for extra in ([], ["--compare", str(file)]):
        command = ["trust.py", "--threads", "1", "--tables", str(file), "--csv", str(tmp_path / "f.csv"), *extra]
        monkeypatch.setattr(sys, "argv", command)
        trust.main()
    printed = capsys.readouterr().out
    figures = pd.read_csv(tmp_path / "f.csv").set_index("label")
    assert set(figures["part"]) == {
        "clusters",
        "doubled rows",
        "foreign",
        "real covariates",
        "thin groups",
        "noise columns",
    }
    assert figures.loc["median width / earlier", "value"] == 1
    assert figures.loc["median width / earlier", "met"] in (True, "True")
    assert all(label in printed for label in figures.index)
    tables = pd.read_csv(file)
    assert tables.groupby("part").size().to_dict() == {
        "clusters": 4, "cluster means": 4, "foreign": 10, "real": 8, "noise 0": 3, "noise 10": 3, "noise 30": 3
    }  # fmt: skip
