"""The way from target to variance: each step once and only when it is asked for, and which weights it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dowhy_cina.estimating import pipeline
from dowhy_cina.estimating.pipeline import Estimation
from dowhy_cina.estimating.targets import Target
from dowhy_cina.estimating.weighting import Balancing, arm_against_arm, balance_arms, uniform
from dowhy_cina.mathematics.means import Solution
from dowhy_cina.model.network import CinaModel
from dowhy_cina.tables.preparation import CanonicalTable, table_batch


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3))
    t = (rng.random(80) < 1 / (1 + np.exp(-x[:, 0]))).astype(float)
    y = np.sin(x[:, 0]) + t + 0.3 * rng.normal(size=80)
    with torch.random.fork_rng():
        model = CinaModel().double().eval()
    table = table_batch([CanonicalTable.of(x, t, y)], 40, torch.device("cpu"))
    with torch.no_grad():
        return model, table, model(table)


def estimation(case, name="ate", **options):
    model, table, state = case
    return Estimation(model, table, state, Target.named(name, table, state), **options)


@torch.no_grad()
def test_an_effect_alone_pays_for_no_variance_and_no_certificate(case, monkeypatch):
    def refused(*_):
        raise AssertionError("nobody asked for this")

    for name in ("augmented_contributions", "sampling_variance", "bias_parts", "worst_case"):
        monkeypatch.setattr(pipeline, name, refused)
    monkeypatch.setattr(Solution, "certificate", property(refused))
    found = estimation(case)
    assert torch.isfinite(found.effect.value).all()
    for step in ("contributions", "worst_case"):
        with pytest.raises(AssertionError):
            getattr(found, step)
    with pytest.raises(AssertionError):
        found.weighting.certificate  # noqa: B018


@torch.no_grad()
def test_each_step_is_worked_out_once(case, monkeypatch):
    calls = []

    def counted(name):
        original = getattr(pipeline, name)
        monkeypatch.setattr(pipeline, name, lambda *given: calls.append(name) or original(*given))

    names = ["moments_of", "balance_arms", "augmented_effect", "augmented_contributions", "bias_parts"]
    for name in names:
        counted(name)
    found = estimation(case)
    for _ in range(2):
        assert found.variance > 0
        assert found.degrees_of_freedom >= 2
    assert sorted(calls) == sorted(names)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "alone", "expected"),
    [("ate", True, "arms"), ("ate", False, "target"), ("att", True, "kept"), ("att", False, "target")],
)
def test_which_problem_gives_the_weights(case, name, alone, expected, monkeypatch):
    """The paper's for its own estimator; else each arm to the target, which keeps its weights if they stand alone."""
    model, table, state = case
    asked = []
    monkeypatch.setattr(pipeline, "balance_arms", lambda *given: asked.append(given[5]) or balance_arms(*given))
    found = estimation(case, name, alone=alone)
    features = found.moments.balance
    weights = {
        "arms": arm_against_arm(model, table, state, Balancing()),
        "target": balance_arms(model, table, state, features),
        "kept": balance_arms(model, table, state, features, untouched="att"),
    }
    # An arm that is the target keeps its weights by either problem, to rounding.
    for kind, other in weights.items():
        close = torch.allclose(found.weighting.weights, other.weights, rtol=0, atol=1e-8)
        assert close == (kind == expected or (name == "att" and kind != "arms"))
    assert torch.equal(found.weighting.weights, weights[expected].weights)
    assert asked == {"arms": [], "target": [None], "kept": ["att"]}[expected]


@torch.no_grad()
def test_weights_alone_and_tables_without_columns_have_no_bias_parts(case):
    model, _, _ = case
    alone = estimation(case, alone=True)
    assert torch.equal(alone.variance, alone.sampling)
    rng = np.random.default_rng(1)
    blank = table_batch(
        [CanonicalTable.of(np.zeros((30, 0)), rng.integers(0, 2, 30) * 1.0, rng.normal(size=30))],
        10,
        torch.device("cpu"),
    )
    found = estimation((model, blank, model(blank)))
    assert torch.equal(found.weighting.weights, uniform(blank).weights)
    assert torch.equal(found.variance, found.sampling)
    full = estimation(case)
    assert not torch.equal(full.variance, full.sampling)
