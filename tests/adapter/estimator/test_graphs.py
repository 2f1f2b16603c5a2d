"""Graphs in every form that DoWhy reads, and what importing the package leaves as it was."""

from __future__ import annotations

import subprocess
import sys

import networkx as nx
import pytest
from dowhy import CausalModel

METHOD = "backdoor.cina"
EDGES = [("x", "t"), ("x", "y"), ("z", "t"), ("z", "y"), ("t", "y")]
DOT = "digraph {" + "; ".join(f"{cause} -> {effect}" for cause, effect in EDGES) + "}"
GML = "\n".join(nx.generate_gml(nx.DiGraph(EDGES)))


def written(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "graph",
    [
        lambda folder: nx.DiGraph(EDGES),
        lambda folder: DOT,
        lambda folder: GML,
        lambda folder: written(folder, "graph.dot", DOT),
        lambda folder: written(folder, "graph.gml", GML),
    ],
    ids=["networkx", "dot", "gml", "dot file", "gml file"],
)
def test_every_form_of_a_graph_gives_the_same_estimate(plain, graph, tmp_path):
    table, model, estimand = plain
    expected = model.estimate_effect(estimand, method_name=METHOD)
    other = CausalModel(table, treatment="t", outcome="y", graph=graph(tmp_path))
    estimate = other.estimate_effect(other.identify_effect(), method_name=METHOD)
    assert estimate.value == expected.value
    assert str(estimate) == str(expected)


def test_common_causes_stand_for_a_graph(plain):
    table, model, estimand = plain
    other = CausalModel(table, treatment="t", outcome="y", common_causes=["z", "x"])
    estimate = other.estimate_effect(other.identify_effect(), method_name=METHOD)
    assert estimate.value == model.estimate_effect(estimand, method_name=METHOD).value


def test_adjustment_leaves_out_what_must_not_be_adjusted_for(frame):
    """``d`` is caused by the treatment: adjusting for it would hide a part of the effect."""
    graph = nx.DiGraph([*EDGES, ("t", "d"), ("d", "y")])
    model = CausalModel(frame, treatment="t", outcome="y", graph=graph)
    estimand = model.identify_effect()
    for method in (METHOD, "general_adjustment.cina"):
        estimator = model.estimate_effect(estimand, method_name=method).estimator
        assert list(estimator._table.covariates.columns) == ["x", "z"]


def test_modifiers_come_from_the_graph_or_from_the_call(frame, problem, make_plain_model):
    model, estimand = problem
    from_graph = model.estimate_effect(estimand, method_name=METHOD)
    named = model.estimate_effect(estimand, method_name=METHOD, effect_modifiers=["x"])
    assert from_graph.conditional_estimates.index.name == "__categorical__m"
    assert named.conditional_estimates.index.name == "__categorical__x"
    plain_model, plain_estimand = make_plain_model(frame[["x", "z", "t", "y"]])
    assert plain_model.estimate_effect(plain_estimand, method_name=METHOD).conditional_estimates is None


def test_importing_changes_nothing_in_dowhy():
    code = """
import sys, dowhy, dowhy.causal_estimators
watched = [dowhy, dowhy.CausalModel, dowhy.causal_estimator.CausalEstimator, dowhy.causal_estimators]
before = [dict(vars(item)) for item in watched]
import dowhy_cina
after = [dict(vars(item)) for item in watched]
assert after[-1].pop("cina_estimator") is sys.modules["dowhy.causal_estimators.cina_estimator"]
assert after == before
"""
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr


def test_the_model_can_still_be_looked_at(plain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    plain[1].view_model(file_name="model")
    assert (tmp_path / "model.png").stat().st_size > 1000
