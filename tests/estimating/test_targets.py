"""Target populations by hand: whole arms, overlap, any rows and other rows, with sampling weights and in batches."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dowhy_cina.errors import InputError
from dowhy_cina.estimating.targets import ARMS_OF, Target, arm_shares
from dowhy_cina.model.state import TableBatch

TREATMENT = np.array([[1.0, 0, 0, 1, 0], [0, 1, 1, 1, 0]])
WEIGHTS = np.array([[2.0, 1, 0.5, 1, 0.5], [1, 1, 3, 0, 0]])
PROPENSITY = np.array([[0.5, 0.2, 1.3, 0.9, -0.1], [0.1, 0.5, 0.25, 0.5, 0.75]])


def batch(weighted):
    columns = np.zeros((2, 5, 1)), TREATMENT, np.zeros((2, 5)), np.zeros((2, 1), int)
    return TableBatch.stack(*columns, weights=WEIGHTS if weighted else None)


STATE = SimpleNamespace(propensity=torch.from_numpy(PROPENSITY))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["ate", "att", "atc", "overlap"])
def test_named(name, weighted):
    e = PROPENSITY.clip(0, 1)
    members = {"ate": np.ones((2, 5)), "att": TREATMENT, "atc": 1 - TREATMENT, "overlap": e * (1 - e)}[name]
    rows = members * (WEIGHTS if weighted else 1)
    target = Target.named(name, batch(weighted), STATE)
    np.testing.assert_allclose(target.weights, rows / rows.sum(1, keepdims=True), rtol=1e-15)
    assert (target.name, target.foreign) == (name, None)


def test_no_common_population_in_one_table_of_the_batch():
    certain = SimpleNamespace(propensity=torch.tensor([[0.5] * 5, [0, 1, 1, 1.2, -0.3]]).double())
    with pytest.raises(InputError, match="no common population"):
        Target.named("overlap", batch(False), certain)


def test_any_rows_and_rows_from_elsewhere():
    members = torch.tensor([[1.0, 1, 0, 0, 0], [0, 0, 2, 0, 1]]).double()
    target = Target.rows(members, batch(True))
    np.testing.assert_allclose(target.weights, [[2 / 3, 1 / 3, 0, 0, 0], [0, 0, 1, 0, 0]])
    other = torch.ones(2, 3, 1).double()
    found = Target.elsewhere(other, batch(True))
    assert (target.name, found.name) == ("rows", "rows")
    assert found.foreign is other
    assert not found.weights.any()


@pytest.mark.parametrize("name", ARMS_OF)
def test_shares_of_whole_arms_are_the_weights_of_their_rows(name):
    weights = Target.named(name, batch(False), STATE).weights[0].numpy()
    control, treated = arm_shares(name, (3, 2))
    np.testing.assert_allclose(weights, np.where(TREATMENT[0] > 0, treated, control))
