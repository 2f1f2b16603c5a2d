"""The benchmark of conditional effects: its splits, its truths, what another interpreter is asked, the table."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import conditional
import conditional_econml
import numpy as np
import pandas as pd
import pytest

RIDGE = "T-learner, ridge"
#: A folder's ``load.py``, whose outcomes make every effect 1 plus the first covariate.
LOADER = """
import numpy as np

def load(name, onehot=False):
    for index in range(3):
        rng = np.random.default_rng([index, len(name)])
        x, t = rng.normal(size=(90, 2)), rng.permutation(np.repeat([0, 1], [60, 30]))
        y0 = x[:, 1] + 0.1 * rng.normal(size=90)
        y1 = y0 + 1 + x[:, 0]
        truth = {"index": index, "y0": y0, "y1": y1}
        if name == "ihdp":
            truth |= {"mu0": x[:, 1], "mu1": x[:, 1] + 1 + x[:, 0], "cfr_test_mask": np.arange(90) % 9 == index}
        yield x, t, np.where(t == 1, y1, y0), truth
"""
#: In place of EconML: effects that are the first covariate, so that the error is 1 everywhere.
ECONML = """
class Model:
    def __init__(self, **options):
        assert options["discrete_treatment"]
    def fit(self, y, t, X):
        assert len(y) == len(t) == len(X) in (80, 81)
        return self
    def effect(self, X):
        return X[:, 0]

class CausalForestDML(Model):
    def effect_interval(self, X, alpha):
        assert alpha == 0.05
        return X[:, 0] - 2, X[:, 0] + 2
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "load.py").write_text(LOADER)
    return tmp_path


@pytest.fixture
def econml(tmp_path, monkeypatch):
    (tmp_path / "econml").mkdir()
    (tmp_path / "econml" / "__init__.py").touch()
    (tmp_path / "econml" / "dml.py").write_text(ECONML)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def run(monkeypatch, folder, *options):
    file = folder / "conditional.csv"
    monkeypatch.setattr(sys, "argv", ["conditional.py", "--data", str(folder), "--csv", str(file), *options])
    conditional.main()
    return pd.read_csv(file).set_index(["collection", "method"])


def test_the_published_split_and_a_drawn_one(folder):
    problems = [conditional.problem_of(*one) for one in conditional.realisations(folder, "ihdp")]
    x, *_ = next(conditional.realisations(folder, "ihdp"))
    np.testing.assert_array_equal(problems[0].at, x[::9])
    np.testing.assert_allclose(problems[0].effects, 1 + x[::9, 0])
    assert all(problem.exact for problem in problems)
    drawn = [conditional.problem_of(*one) for one in conditional.realisations(folder, "acic2016")]
    again = [conditional.problem_of(*one) for one in conditional.realisations(folder, "acic2016")]
    assert [len(problem.at) for problem in drawn] == [9, 9, 9]
    assert [problem.treatment.sum() for problem in drawn] == [27, 27, 27]
    assert not any(problem.exact for problem in drawn)
    for one, two in zip(drawn, again, strict=True):
        np.testing.assert_array_equal(one.at, two.at)


def test_the_table(folder, econml, monkeypatch, capsys):
    monkeypatch.setattr(conditional, "ROW_METHODS", {RIDGE: conditional.ROW_METHODS[RIDGE]})
    monkeypatch.setattr(conditional_econml, "METHODS", {"CausalForestDML": None})
    found = run(monkeypatch, folder, "--collections", "ihdp", "lalonde_psid_realcause", "--realisations", "2")
    assert set(found.loc["lalonde_psid_realcause"].index) == {
        "cina-small",
        RIDGE,
        "CausalForestDML, EconML",
        "CausalPFN (published)",
    }
    published = found[found.index.get_level_values("method").str.contains("published")]
    assert published["PEHE"].to_list() == [0.58, 0.76, 14_000]
    assert published["realisations"].to_list() == [100, 1000, 100]
    assert published[["median PEHE", "standard error", "coverage", "seconds"]].isna().all(axis=None)
    measured = found.drop(index=published.index)
    assert (measured["realisations"] == 2).all()
    assert (measured["seconds"] >= 0).all()
    # What the stand-in for EconML errs by, and what its intervals hold; a noisy truth is no matter of intervals.
    forest = found.xs("CausalForestDML, EconML", level="method")
    assert forest["PEHE"].to_list() == [1, 1]
    assert forest.loc["ihdp", "coverage"] == 1
    assert found.loc["lalonde_psid_realcause", "coverage"].isna().all()
    assert found.loc[("ihdp", RIDGE), "PEHE"] < 0.2
    own = found.loc[("ihdp", "cina-small")]
    problems = [conditional.problem_of(*one) for one in conditional.realisations(folder, "ihdp")][:2]
    errors = [conditional.measure_rows(problem, conditional.own("cina-small"))["pehe"] for problem in problems]
    assert own["PEHE"] == pytest.approx(np.mean(errors), rel=5e-3)
    assert own["standard error"] == pytest.approx(np.std(errors, ddof=1) / np.sqrt(2), rel=5e-3)
    assert "CausalPFN (published)" in capsys.readouterr().out


def test_an_interpreter_without_econml_leaves_its_methods_out(folder, monkeypatch, capsys):
    monkeypatch.setattr(conditional, "ROW_METHODS", {})
    (folder / "econml.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    found = run(monkeypatch, folder, "--collections", "acic2016", "--realisations", "1")
    assert found.loc["acic2016"].index.to_list() == ["cina-small", "CausalPFN (published)"]
    assert "CausalForestDML: left out (" in capsys.readouterr().err


def test_options_of_econml(monkeypatch):
    given = {}

    def record(name):
        return lambda **options: given.setdefault(name, options)

    stub = SimpleNamespace(CausalForestDML=record("forest"), NonParamDML=record("plain"))
    monkeypatch.setitem(sys.modules, "econml", SimpleNamespace(dml=stub))
    monkeypatch.setitem(sys.modules, "econml.dml", stub)
    monkeypatch.setitem(sys.modules, "econml.dr", SimpleNamespace(DRLearner=record("doubly robust")))
    for make in conditional_econml.METHODS.values():
        make()
    assert given["forest"] == {"discrete_treatment": True, "n_jobs": 1, "random_state": 0}
    assert given["doubly robust"] == {"random_state": 0}
    assert [type(given["plain"][name]).__name__ for name in ("model_y", "model_t", "model_final")] == [
        "HistGradientBoostingRegressor",
        "HistGradientBoostingClassifier",
        "HistGradientBoostingRegressor",
    ]
