"""Arms of a batch, and scores as coordinates of keys, by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from dowhy_cina.model.state import ScoreModel, ScorePair, TableBatch


def double(values):
    return torch.as_tensor(np.asarray(values, dtype=np.float64))


def test_arms_carry_the_sampling_weights():
    treatment, weights = double([[0, 1, 1, 0]]), double([[0.5, 2, 1, 0.5]])
    rows = torch.arange(4)[None]
    plain = TableBatch(double(np.zeros((1, 4, 1))), treatment, double(np.zeros((1, 4))), rows, rows)
    assert [plain.arm(arm).tolist() for arm in (0, 1)] == [[[1, 0, 0, 1]], [[0, 1, 1, 0]]]
    assert plain.rows.tolist() == [[1, 1, 1, 1]]
    table = dataclasses.replace(plain, weights=weights)
    assert [table.arm(arm).tolist() for arm in (0, 1)] == [[[0.5, 0, 0, 0.5]], [[0, 2, 1, 0]]]
    assert torch.equal(table.rows, weights)


def test_prognostic_coordinates_are_standardised_and_bounded():
    centres, divisors = ([[1.0], [0.0]], [[-1.0], [0.0]]), ([[2.0], [1.0]], [[0.5], [1.0]])
    pair = ScorePair(tuple(map(double, centres)), tuple(map(double, divisors)))
    scores = double([[1.0, 5.0, 100.0, -100.0], [4.0, 4.1, -4.1, 0.5]])
    control, treated = pair.coordinates((scores, scores - 2))
    assert control.tolist() == [[0.0, 2.0, 4.0, -4.0], [4.0, 4.0, -4.0, 0.5]]
    np.testing.assert_allclose(treated, [[0.0, 4.0, 4.0, -4.0], [2.0, 2.1, -4.0, -1.5]], rtol=1e-12)


def test_a_propensity_of_little_spread_is_measured_in_the_floor():
    of = ScoreModel.of(None, None, double([[0.5], [0.5]]), double([[0.2], [0.01]]), double([[0.1], [0.1]]))
    found = of.coordinate(double([[0.5, 0.9, 2.0, -2.0], [0.5, 0.9, 0.6, 0.45]]))
    np.testing.assert_allclose(found, [[0.0, 2.0, 4.0, -4.0], [0.0, 4.0, 1.0, -0.5]], rtol=1e-12)
