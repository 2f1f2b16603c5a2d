"""Propensity scores: what they must not see, and what keys must not tell."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dowhy_cina.model.network import CinaModel
from dowhy_cina.model.state import TableBatch


@pytest.fixture(scope="module")
def model():
    """Corrections that are not zero, so that outcomes have a say in the settings."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = CinaModel().double().eval()
        for parameter in made.encoder.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    return made


def test_outcomes_do_not_enter_propensities(model):
    rng = np.random.default_rng(1)
    x, t = rng.normal(size=(60, 3)), rng.integers(0, 2, 60).astype(float)
    table = TableBatch.stack([x], [t], [rng.normal(size=60)], [np.arange(30)])
    settings = model.settings(table, model.pilot(table))
    other = dataclasses.replace(table, outcome=table.outcome.flip(1))
    for before, after in zip(model.fit_scores(table, settings)[1:], model.fit_scores(other, settings)[1:], strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("clustered", [False, True])
def test_keys_do_not_tell_the_treated_from_controls_who_are_alike(model, clustered):
    """Scores left out do: in a cell of few rows they are lower for its treated."""
    rng = np.random.default_rng(0)
    cells = np.repeat(np.arange(12), 5)
    x, t = rng.normal(size=(12, 3))[cells], (rng.random(60) < 0.2 + 0.6 * (cells % 2)).astype(float)
    table = TableBatch.stack([x], [t], [rng.normal(size=60)], [np.arange(60)])
    table = dataclasses.replace(table, cluster=torch.arange(60)[None]) if clustered else table
    with torch.no_grad():
        state = model(table)
    mixed = [cell for cell in range(12) if 0 < t[cells == cell].sum() < 5]
    assert len(mixed) > 5
    for cell in mixed:
        own, treated = torch.from_numpy(cells == cell), torch.from_numpy(t > 0)
        assert float(state.coordinate[0, own].std()) < 1e-9
        assert float(state.propensity[0, own & treated].max()) < float(state.propensity[0, own & ~treated].min())
